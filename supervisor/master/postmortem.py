"""What is known of a dead child, collected: its row, its black box, what the kernel says."""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Collection
from typing import Final

from supervisor.master.death import Crash, cause_of, own_part
from supervisor.master.frame import Frame, Slot
from supervisor.scoreboard.layout import ACTIVE, READY_AT, State, text_of
from supervisor.scoreboard.writer import Scoreboard
from supervisor.system import cgroup
from supervisor.system.clock import wall_clock
from supervisor.system.process import Death
from supervisor.system.resources import clear_journal, journal_of, remove
from supervisor.system.runtime import RuntimeDirectory

_BLACK_BOX_SIZE: Final = 65_536  # bytes read back, the last ones


class Examiner:
    """Of one generation: it knows how often the kernel had killed for memory when that began."""

    def __init__(self, frame: Frame, board: Scoreboard, generation: int) -> None:
        self._board = board
        self._generation = generation
        self._shared = frame.loaded.shared
        self._oom_kills = cgroup.oom_kills()

    def examine(self, slot: Slot, death: Death, *, late: Collection[int], is_cause: bool) -> Crash:
        """The facts. `late`: the slots that were not ready in time; `is_cause`: it is no
        consequence of another's end.
        """
        now = wall_clock()
        row = self._board.row(slot.number)
        state, since = self._board.state(slot.number)
        is_late = slot.number in late and death.signum == signal.SIGALRM
        cause = cause_of(
            death,
            active=row[ACTIVE],
            has_request_timeout=slot.section.section.common.request_timeout > 0,
            is_stopping=state is State.STOPPING,
        )
        return Crash(
            at=now / 1e9,
            generation=self._generation,
            slot=slot.number,
            worker=slot.name,
            death=death,
            cause="start_timeout" if is_late else cause,
            state=state,
            in_state=(time.monotonic_ns() - since) / 1e9,
            uptime=(now - self._board.started_at(slot.number)) / 1e9,
            request=text_of(row),
            lock=self._lock_name(slot.number),
            traceback=read_black_box(slot.black_box),
            was_ready=row[READY_AT] != 0,
            oom_killed=is_cause and self._was_killed_for_memory(death),
        )

    def _was_killed_for_memory(self, death: Death) -> bool:
        return death.signum == signal.SIGKILL and cgroup.oom_kills() > self._oom_kills

    def _lock_name(self, slot: int) -> str | None:
        held = self._board.lock_of(slot)
        names = list(self._shared.locks)
        # The number is the child's word: it may have died of writing anywhere.
        return names[held - 1] if 0 < held <= len(names) else None


def read_black_box(descriptor: int) -> str:
    """Its last words, without what was the master's before the fork."""
    size = os.fstat(descriptor).st_size
    data = os.pread(descriptor, _BLACK_BOX_SIZE, max(0, size - _BLACK_BOX_SIZE))
    return own_part(data.decode("utf-8", "replace"))


def remove_temporary(runtime: RuntimeDirectory, slot: int) -> None:
    """Remove what a dead child registered, and its own directory."""
    if not runtime.temporary.exists():
        return
    tempdir = runtime.temporary / str(slot)
    clear_journal(journal_of(tempdir))
    remove(journal_of(tempdir))
    remove(tempdir)
