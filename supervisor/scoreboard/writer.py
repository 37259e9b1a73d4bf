"""The writers' side of a scoreboard: the master before the fork and after the reap, a child in
between.

The master keeps in memory of its own what it writes into the header and the texts. A child that
goes wild can scribble over the file, and the master must not believe it.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import time
from array import array
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec

from supervisor.errors import StartError, SystemFailure
from supervisor.scoreboard import layout
from supervisor.scoreboard.layout import (
    ACTIVE,
    ERRORS,
    H_BEGUN_AT,
    H_DESCRIPTION,
    H_DOOR,
    H_DRAINING,
    H_DRAINS,
    H_FORCED,
    H_GENERATION,
    H_HISTORY,
    H_MAGIC,
    H_MASTER,
    H_ORPHANED,
    H_SHARED,
    H_SIZE,
    H_SLOTS,
    H_STARTED_AT,
    H_STATE,
    H_VERSION,
    HEADER,
    LOCK,
    MAGIC,
    READY_AT,
    REQUESTS,
    STARTED_AT,
    STATE,
    STRIDE,
    VERSION,
    ServerState,
    State,
    file_size,
)
from supervisor.scoreboard.reader import Snapshot, own_file
from supervisor.scoreboard.records import Description, Drain, History
from supervisor.scoreboard.row import Block
from supervisor.scoreboard.view import RowView, count
from supervisor.system.clock import Instant
from supervisor.system.files import remove_file

_WORD: Final = 2**64


class Scoreboard:
    """The writers' side. Made by the master, one for each generation, and inherited by fork."""

    def __init__(self, path: Path, slots: int, generation: int, started_at: Instant) -> None:
        size = file_size(slots)
        self._path = path
        self._beside = own_file(path, generation)
        try:
            self._map = _map_new(self._beside, size)
        except OSError as error:
            raise SystemFailure(f"{path}: cannot map {size} bytes: {error.strerror}") from error
        self.words = memoryview(self._map).cast("Q")
        self._slots = slots
        self._header = array("Q", bytes(HEADER * 8))
        self._texts = {layout.DESCRIPTION_AT: b"", layout.HISTORY_AT: b""}
        self._master = os.getpid()
        self._set_header(
            {
                H_MAGIC: MAGIC,
                H_VERSION: VERSION,
                H_SIZE: size,
                H_GENERATION: generation,
                H_SLOTS: slots,
                H_MASTER: self._master,
                H_STARTED_AT: started_at.wall,
                H_BEGUN_AT: started_at.monotonic,
            }
        )

    def row_base(self, slot: int) -> int:
        """Index of the first word of a slot; -1 is the master's row."""
        return layout.row_base(slot, self._slots)

    def block(self, first: int) -> Block:
        """The shared words of the section whose first slot is `first`."""
        return Block(self.words, first, self._slots)

    def describe(self, description: Description) -> None:
        """Write down what the words mean. Before the first fork.

        Raises StartError when there are more names than fit.
        """
        data = msgspec.json.encode(description)
        if len(data) > layout.DESCRIPTION_SIZE:
            raise StartError("too many names of sections, counters and locks for the scoreboard")
        first = 0
        for section in description.workers:
            self.block(first).words[layout.CHILDREN] = section.children
            first += section.children
        self._set_text(layout.DESCRIPTION_AT, H_DESCRIPTION, data)

    def publish(self) -> None:
        """Let readers find it, described, in the place of the one before. It keeps its own name:
        there they look while it drains.
        """
        link = self._path.with_name(f".{self._path.name}.new")
        try:
            os.link(self._beside, link)
        except OSError:  # a file system without links
            link = self._beside
        link.replace(self._path)

    def keep(self) -> None:
        """Keep the file where readers do not find it, so that it can be published once more."""
        remove_file(self._beside)
        os.link(self._path, self._beside, follow_symlinks=False)

    def set_server_state(self, state: ServerState) -> None:
        """Master only."""
        self._set_header({H_STATE: state})

    def set_draining(self, drains: Sequence[Drain]) -> None:
        """Name the older generations that still drain, oldest first; replaces those named
        before.
        """
        flat = [number for drain in drains[: layout.MAX_DRAINS] for number in drain]
        flat += [0] * (layout.MAX_DRAINS * layout.DRAIN - len(flat))
        self._set_header(dict(enumerate(flat, H_DRAINS)))

    def begin_drain_delay(self) -> None:
        """Not ready any more, though all goes on: each answer ends its connection."""
        self._set_header({H_DRAINING: 1})

    @property
    def is_draining(self) -> bool:
        """True once the server is about to end. Anybody, at any time."""
        return self.words[H_DRAINING] != 0

    @property
    def ending(self) -> memoryview:
        """The word that says so."""
        return self.words[H_DRAINING : H_DRAINING + 1]

    def close_door(self) -> None:
        """Nobody serves the accept queues after these children."""
        self._set_header({H_DOOR: 1})

    @property
    def door_is_closed(self) -> bool:
        """True once what waits in the queues is to be served before the end. Anybody, at any
        time.
        """
        return self.words[H_DOOR] != 0

    def set_shared(self, shared: bool) -> None:
        """Whether another master serves the same listeners beside these children."""
        self._set_header({H_SHARED: int(shared)})

    @property
    def is_shared(self) -> bool:
        """True where what waits in the queues is served by others. Anybody, at any time."""
        return self.words[H_SHARED] != 0

    def set_forced(self, count: int) -> None:
        """Note how many children needed SIGKILL to stop."""
        self._set_header({H_FORCED: count})

    def claim_group(self) -> bool:
        """True for the first child that asks: it tells the process group that the master is dead.

        Two that ask in the same microsecond may both be told so, which does no harm.
        """
        is_first = not self.words[H_ORPHANED]
        self.words[H_ORPHANED] = 1
        return is_first

    def begin_slot(self, slot: int) -> None:
        """The master's note before it forks."""
        self.words[self.row_base(slot) + STARTED_AT] = time.monotonic_ns()
        self.set_state(slot, State.STARTING)

    def mark_ready(self, slot: int) -> None:
        """Note it for a child that does not write itself; one that does was faster."""
        base = self.row_base(slot)
        if not self.words[base + READY_AT]:
            self.words[base + READY_AT] = time.monotonic_ns()
            self.set_state(slot, State.IDLE)

    def set_state(self, slot: int, state: State) -> None:
        """Master, for a slot whose child is dead or does not write itself."""
        self.words[self.row_base(slot) + STATE] = layout.stamped(state)

    def end_slot(self, slot: int, finished: bool = False) -> None:
        """The master's note after it reaped. What the child had in hand counts as failed."""
        base = self.row_base(slot)
        lost, self.words[base + ACTIVE] = count(self.words[base + ACTIVE]), 0
        for word in (base + REQUESTS, base + ERRORS):
            self.words[word] = (self.words[word] + lost) % _WORD
        self.set_state(slot, State.FINISHED if finished else State.DEAD)

    def state(self, slot: int) -> tuple[State, int]:
        """The state a slot reports, and since when (monotonic ns)."""
        return layout.unpack_state(self.words[self.row_base(slot) + STATE])

    def row(self, slot: int) -> RowView:
        """A copy of what a slot says."""
        base = self.row_base(slot)
        return RowView(memoryview(self.words[base : base + STRIDE].tobytes()).cast("Q"))

    def lock_of(self, slot: int) -> int:
        """The number of the lock that a slot says it holds, 0 = none."""
        return self.words[self.row_base(slot) + LOCK]

    def state_of_owner(self, lock: int) -> State | None:
        """The state of the slot that says it holds `lock`, None if none does."""
        for slot in range(self._slots):
            if self.lock_of(slot) == lock:
                return self.state(slot)[0]
        return None

    def total(self, word: int) -> int:
        """The sum of a word of all children's rows (REQUESTS, ...), as they say."""
        return sum(count(self.words[self.row_base(slot) + word]) for slot in range(self._slots))

    def set_history(self, history: History) -> None:
        """Keep for readers what went wrong so far."""
        self._set_text(layout.HISTORY_AT, H_HISTORY, history.encode())

    def snapshot(self) -> Snapshot:
        """Copy of everything, as a reader from outside would see it; in the master, with its own
        header and texts. Raises ScoreboardError.
        """
        data = bytearray(self._map)
        if os.getpid() != self._master:
            snapshot = Snapshot(bytes(data))
            snapshot.see_drains(self._path)
            return snapshot
        data[: HEADER * 8] = self._header.tobytes()
        for start, text in self._texts.items():
            data[start : start + len(text)] = text
        return Snapshot(bytes(data))

    def close(self) -> None:
        """Unmap. The file itself belongs to the runtime directory."""
        self.words.release()
        with contextlib.suppress(BufferError):
            self._map.close()
        with contextlib.suppress(OSError):
            remove_file(self._beside)

    def _set_header(self, words: dict[int, int]) -> None:
        """Write header words; what else a child may have scribbled there is put right as well."""
        for word, value in words.items():
            self._header[word] = value
        self._map[: HEADER * 8] = self._header.tobytes()

    def _set_text(self, start: int, length: int, data: bytes) -> None:
        """Write a text; a reader that comes meanwhile finds none."""
        self._set_header({length: 0})
        self._map[start : start + len(data)] = data
        self._texts[start] = data
        self._set_header({length: len(data)})


def _map_new(path: Path, size: int) -> mmap.mmap:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, 0o644)
    try:
        os.posix_fallocate(descriptor, 0, size)  # a full disk is an error here, not SIGBUS later
        return mmap.mmap(descriptor, size)
    except OSError:
        path.unlink()
        raise
    finally:
        os.close(descriptor)
