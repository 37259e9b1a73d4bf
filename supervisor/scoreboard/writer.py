"""The writers' side of a scoreboard: the master before the fork and after the reap, a child in
between.
"""

from __future__ import annotations

import contextlib
import json
import mmap
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from supervisor.errors import StartError, SystemFailure
from supervisor.scoreboard.layout import (
    _CRASH_AT,
    _CRASH_SIZE,
    _DESCRIPTION_AT,
    _DESCRIPTION_SIZE,
    _ROWS_AT,
    H_CRASH,
    H_DESCRIPTION,
    H_GENERATION,
    H_GENERATION_AT,
    H_MAGIC,
    H_MASTER,
    H_ORPHANED,
    H_READY_AT,
    H_SIZE,
    H_SLOTS,
    H_STARTED_AT,
    H_STATE,
    H_VERSION,
    LOCK,
    MAGIC,
    PID,
    READY_AT,
    STARTED_AT,
    STATE,
    STRIDE,
    VERSION,
    ServerState,
    State,
    file_size,
    stamped,
    unpack_state,
)
from supervisor.scoreboard.reader import Snapshot
from supervisor.system.clock import wall_clock


class Scoreboard:
    """The writers' side. Made by the master, one for each generation, and inherited by fork."""

    def __init__(self, path: Path, slots: int, generation: int, started_at: int) -> None:
        size = file_size(slots)
        self._path = path
        self._beside = path.with_name(f".{path.name}.new")
        try:
            self._map = _map_new(self._beside, size)
        except OSError as error:
            raise SystemFailure(f"{path}: cannot map {size} bytes: {error.strerror}") from error
        self.words = memoryview(self._map).cast("Q")
        header = {
            H_MAGIC: MAGIC,
            H_VERSION: VERSION,
            H_SIZE: size,
            H_GENERATION: generation,
            H_SLOTS: slots,
            H_MASTER: os.getpid(),
            H_STARTED_AT: started_at,
            H_GENERATION_AT: wall_clock(),
        }
        for word, value in header.items():
            self.words[word] = value

    def row_base(self, slot: int) -> int:
        """Index of the first word of a slot; -1 is the master's row."""
        return _ROWS_AT + (slot + 1) * STRIDE

    def publish(self, description: Mapping[str, Any]) -> None:
        """Write down what the words mean, then let readers find the file. Before the first fork.

        Raises StartError when there are more names than fit.
        """
        data = json.dumps(description).encode()
        if len(data) > _DESCRIPTION_SIZE:
            raise StartError("too many names of sections, counters and locks for the scoreboard")
        self._map[_DESCRIPTION_AT : _DESCRIPTION_AT + len(data)] = data
        self.words[H_DESCRIPTION] = len(data)
        self._beside.replace(self._path)

    @property
    def is_published(self) -> bool:
        """True once readers can find it and know what its words mean."""
        return bool(self.words[H_DESCRIPTION])

    def set_server_state(self, state: ServerState) -> None:
        """Master only."""
        self.words[H_STATE] = state
        if state is ServerState.RUNNING:
            self.words[H_READY_AT] = wall_clock()

    def claim_group(self) -> bool:
        """True for the first child that asks: it tells the process group that the master is dead.

        Two that ask in the same microsecond may both be told so, which does no harm.
        """
        is_first = not self.words[H_ORPHANED]
        self.words[H_ORPHANED] = 1
        return is_first

    def begin_slot(self, slot: int) -> None:
        """The master's note before it forks."""
        base = self.row_base(slot)
        self.words[base + STARTED_AT] = wall_clock()
        self.words[base + STATE] = stamped(State.STARTING)

    def mark_ready(self, slot: int) -> None:
        """Note it for a child that does not write itself; one that does was faster."""
        base = self.row_base(slot)
        if not self.words[base + READY_AT]:
            self.words[base + READY_AT] = wall_clock()
            self.set_state(slot, State.IDLE)

    def set_state(self, slot: int, state: State) -> None:
        """Master, for a slot whose child is dead or does not write itself."""
        self.words[self.row_base(slot) + STATE] = stamped(state)

    def end_slot(self, slot: int, finished: bool = False) -> None:
        """The master's note after it reaped."""
        self.set_state(slot, State.FINISHED if finished else State.DEAD)

    def state(self, slot: int) -> tuple[State, int]:
        """The state a slot reports, and since when (monotonic ns)."""
        return unpack_state(self.words[self.row_base(slot) + STATE])

    def pid(self, slot: int) -> int:
        """The pid that a slot wrote down, 0 before it did."""
        return self.words[self.row_base(slot) + PID]

    def started_at(self, slot: int) -> int:
        """When a slot was forked, ns since 1970."""
        return self.words[self.row_base(slot) + STARTED_AT]

    def row(self, slot: int) -> memoryview:
        """A copy of the words of a slot."""
        base = self.row_base(slot)
        return memoryview(self.words[base : base + STRIDE].tobytes()).cast("Q")

    def lock_of(self, slot: int) -> int:
        """The number of the lock that a slot says it holds, 0 = none."""
        return self.words[self.row_base(slot) + LOCK]

    def state_of_owner(self, lock: int) -> State | None:
        """The state of the slot that says it holds `lock`, None if none does."""
        for slot in range(self.words[H_SLOTS]):
            if self.lock_of(slot) == lock:
                return self.state(slot)[0]
        return None

    def set_crash(self, crash: Mapping[str, Any] | None) -> None:
        """Keep the last crash for readers; a long traceback loses its beginning, not its end."""
        self.words[H_CRASH] = 0
        if crash is None:
            return
        data = _encode(crash)
        if len(data) > _CRASH_SIZE:
            text = crash["traceback"].encode("utf-8", "replace")
            kept = text[len(data) - _CRASH_SIZE + len("...") :].decode("utf-8", "ignore")
            data = _encode({**crash, "traceback": f"...{kept}"})
        self._map[_CRASH_AT : _CRASH_AT + len(data)] = data
        self.words[H_CRASH] = len(data)

    def snapshot(self) -> Snapshot:
        """Copy of everything, as a reader from outside would see it."""
        return Snapshot(bytes(self._map))

    def close(self) -> None:
        """Unmap. The file itself belongs to the runtime directory."""
        self.words.release()
        with contextlib.suppress(BufferError):
            self._map.close()
        self._beside.unlink(missing_ok=True)


def _map_new(path: Path, size: int) -> mmap.mmap:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        os.posix_fallocate(descriptor, 0, size)  # a full disk is an error here, not SIGBUS later
        return mmap.mmap(descriptor, size)
    finally:
        os.close(descriptor)


def _encode(crash: Mapping[str, Any]) -> bytes:
    return json.dumps(crash, ensure_ascii=False).encode("utf-8", "replace")
