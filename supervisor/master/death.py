"""The death of a child: all that is known of it, and one entry of the log that says which child
died, of what, doing what, holding what, with its traceback.
"""

from __future__ import annotations

import itertools
import os
import signal
import time
from typing import Any, Final, NamedTuple

from supervisor.child.shared import Shared
from supervisor.master.booted import Slot
from supervisor.scoreboard.layout import State
from supervisor.scoreboard.records import Report
from supervisor.scoreboard.view import elapsed
from supervisor.scoreboard.writer import Scoreboard
from supervisor.system import cgroup
from supervisor.system.clock import wall_clock
from supervisor.system.process import Death
from supervisor.views import crashes
from supervisor.views.tracebacks import own_part

_BLACK_BOX_SIZE: Final = 65_536  # bytes read back, the last ones


class Crash(NamedTuple):
    """Everything known about one child's death. Instants in seconds since 1970, durations in
    seconds.
    """

    at: float
    generation: int
    slot: int
    worker: str
    death: Death
    cause: str
    state: State
    in_state: float
    uptime: float
    requests: tuple[str, ...]
    lock: str | None
    traceback: str
    was_ready: bool
    oom_killed: bool

    def report(self) -> Report:
        """The record of it that statistics and `why` show."""
        death = self.death
        return Report(
            at=self.at,
            generation=self.generation,
            slot=self.slot,
            worker=self.worker,
            pid=death.pid,
            cause=self.cause,
            signal=None if death.signum is None else death.cause,
            state=self.state.name.lower(),
            lock=self.lock,
            peak_rss_bytes=death.peak_rss,
            oom=self.oom_killed,
            requests=self.requests,
            traceback=self.traceback,
            exit_code=death.exit_code,
            core_dumped=death.dumped_core,
            was_ready=self.was_ready,
            uptime=self.uptime,
            in_state=self.in_state,
            cpu_seconds=death.cpu_seconds,
        )

    def message(self) -> str:
        """One line for standard error."""
        what = "died" if self.was_ready else "failed before it was ready"
        why = last_line(self.traceback)
        text = f"workers.{self.worker}: slot {self.slot} {what}: {self.cause}"
        return f"{text}: {why}" if why else text

    def facts(self) -> dict[str, Any]:
        """The facts of the log entry, with what the black box holds."""
        return crashes.facts(self.report())


def cause_of(death: Death, *, active: int, has_request_timeout: bool, is_stopping: bool) -> str:
    """`SIGSEGV`, `exit 3`, or for SIGALRM the deadline that sent it."""
    if death.signum == signal.SIGALRM:
        if is_stopping:
            return "stop_timeout"
        if active and has_request_timeout:
            return "request_timeout"
    return death.cause


def last_line(traceback: str) -> str:
    """The line of a traceback that says what happened: the exception, or faulthandler's first."""
    lines = [line.strip() for line in traceback.splitlines() if line.strip()]
    if lines and lines[0].startswith(("Fatal Python error", "Timeout")):
        return lines[0]
    for heading, frame in itertools.pairwise(lines):
        if heading.endswith("(most recent call first):"):
            return frame
    return lines[-1] if lines else ""


class Examiner:
    """Of one generation: it knows how often the kernel had killed for memory when that began."""

    def __init__(self, board: Scoreboard, shared: Shared, generation: int) -> None:
        self._board = board
        self._generation = generation
        self._shared = shared
        self._oom_kills = cgroup.oom_kills()

    def examine(
        self,
        slot: Slot,
        death: Death,
        black_box: int,
        *,
        uptime: float,
        is_late: bool,
        is_cause: bool,
    ) -> Crash:
        """The facts. `uptime` in s; `is_late`: it was not ready in time; `is_cause`: it is no
        consequence of another's end.
        """
        row, now = self._board.row(slot.number), time.monotonic_ns()
        state = row.state
        cause = cause_of(
            death,
            active=row.active,
            has_request_timeout=slot.request_timeout > 0,
            is_stopping=state is State.STOPPING,
        )
        return Crash(
            at=wall_clock() / 1e9,
            generation=self._generation,
            slot=slot.number,
            worker=slot.section,
            death=death,
            cause="start_timeout" if is_late and death.signum == signal.SIGALRM else cause,
            state=state,
            in_state=elapsed(row.state_since, now),
            uptime=uptime,
            requests=tuple(one.told(now) for one in row.in_hand()),
            lock=self._lock_name(row.lock),
            traceback=read_black_box(black_box),
            was_ready=row.is_ready,
            oom_killed=is_cause and self._was_killed_for_memory(death),
        )

    def _was_killed_for_memory(self, death: Death) -> bool:
        return death.signum == signal.SIGKILL and cgroup.oom_kills() > self._oom_kills

    def _lock_name(self, held: int) -> str | None:
        names = list(self._shared.locks)
        # The number is the child's word: it may have died of writing anywhere.
        return names[held - 1] if 0 < held <= len(names) else None


def read_black_box(descriptor: int) -> str:
    """Its last words, without what was the master's before the fork."""
    size = os.fstat(descriptor).st_size
    data = os.pread(descriptor, _BLACK_BOX_SIZE, max(0, size - _BLACK_BOX_SIZE))
    return own_part(data.decode("utf-8", "replace"))
