"""Shared memory of one generation: a mapped file that children write and anyone may read, and the
locks.

Layout, in native 64-bit words: a header (HEADER words), two texts (JSON: what the words mean, and
the last crash), then rows of STRIDE words: row 0 is the master's, row n+1 is slot n's. Every word
has one writer at a time: the master before the fork and after the reap, the child in between.
Stores are plain: an aligned word is never torn, a group of words is never consistent, so what must
agree shares a word (STATE).
"""

from __future__ import annotations

import contextlib
import enum
import json
import mmap
import os
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from supervisor.errors import ScoreboardError, StartError, SystemFailure

MAGIC: Final = int.from_bytes(b"prefork\0", "little")
VERSION: Final = 1

# Header words.
(
    H_MAGIC,
    H_VERSION,
    H_SIZE,  # of the file, bytes
    H_GENERATION,
    H_SLOTS,
    H_MASTER,  # pid
    H_STATE,  # ServerState
    H_STARTED_AT,  # ns since 1970: the server
    H_GENERATION_AT,  # ns since 1970: this generation
    H_READY_AT,  # ns since 1970, 0 = not yet
    H_DOOR,  # 1 = closed for good: serve what waits in the queues, then leave
    H_FORCED,  # children that needed SIGKILL to stop
    H_DESCRIPTION,  # bytes of JSON
    H_CRASH,  # bytes of JSON, 0 = none
) = range(14)
HEADER: Final = 64
_DESCRIPTION_AT: Final = HEADER * 8  # bytes
_DESCRIPTION_SIZE: Final = 65_536
_CRASH_AT: Final = _DESCRIPTION_AT + _DESCRIPTION_SIZE
_CRASH_SIZE: Final = 65_536
_ROWS_AT: Final = (_CRASH_AT + _CRASH_SIZE) // 8  # words

# Words of a row.
(
    PID,
    STATE,  # State in the low 3 bits, since when (monotonic ns) in the others
    STARTED_AT,  # ns since 1970: the fork
    READY_AT,  # ns since 1970, 0 = not yet
    REQUESTS,
    ERRORS,
    ACTIVE,
    BUSY,  # ns with at least one request in hand, those in hand now left out
    BUSY_SINCE,  # monotonic ns, while ACTIVE
    BYTES,
    LOCK,  # number of the lock held, 0 = none
    LATENCY_SUM,  # ns
    LATENCY_MAX,  # ns
) = range(13)
TEXT: Final = 16  # the request in hand, if the worker names it
TEXT_SIZE: Final = 128  # bytes, NUL-padded
HISTOGRAM: Final = TEXT + TEXT_SIZE // 8
BUCKETS: Final = 248
COUNTERS: Final = HISTOGRAM + BUCKETS
MAX_COUNTERS: Final = 64
_UNIT: Final = 7  # bits: the histogram counts in 128 ns, so that 1 us is told as well as 1000 s
STRIDE: Final = COUNTERS + MAX_COUNTERS + 8 - (COUNTERS + MAX_COUNTERS) % 8

MAX_LOCKS: Final = 1024


class State(enum.IntEnum):
    """What a child does."""

    EMPTY = 0
    STARTING = 1
    IDLE = 2
    BUSY = 3
    STOPPING = 4
    DEAD = 5
    FINISHED = 6


_STATES: Final = (*State, State.DEAD)


class ServerState(enum.IntEnum):
    """What the server does."""

    STARTING = 0
    RUNNING = 1
    STOPPING = 2


def bucket_of(nanoseconds: int) -> int:
    """The histogram bucket of a latency: 8 a doubling, so a bucket is at most 1/8 wide of its lower
    bound.
    """
    units = nanoseconds >> _UNIT
    shift = units.bit_length() - 4
    bucket = 8 * shift + (units >> shift) if shift > 0 else units
    return bucket if bucket < BUCKETS else BUCKETS - 1


def bucket_bounds(bucket: int) -> tuple[int, int]:
    """The latencies in ns that fall into a bucket: lower (included), upper (excluded)."""
    shift = max(0, bucket // 8 - 1)
    mantissa = bucket - 8 * shift
    return mantissa << shift + _UNIT, mantissa + 1 << shift + _UNIT


def file_size(slots: int) -> int:
    """Bytes of a scoreboard with so many slots."""
    return (_ROWS_AT + (slots + 1) * STRIDE) * 8


class Row:
    """Where this process writes: the master's row, and after the fork the child's own.

    `wait_for` is how a child waits for a lock; the master, alone before the fork, never waits.
    """

    __slots__ = ("base", "wait_for", "words")

    def __init__(self) -> None:
        self.words: memoryview = memoryview(bytearray(STRIDE * 8)).cast("Q")
        self.base = 0
        self.wait_for: Callable[[Lock, float | None], bool] | None = None

    def set_state(self, state: State) -> None:
        """Note state and instant in one word."""
        self.words[self.base + STATE] = (time.monotonic_ns() & ~7) | state


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

    def begin_slot(self, slot: int) -> None:
        """The master's note before it forks."""
        base = self.row_base(slot)
        self.words[base + STARTED_AT] = wall_clock()
        self.words[base + STATE] = (time.monotonic_ns() & ~7) | State.STARTING

    def mark_ready(self, slot: int) -> None:
        """Note it for a child that does not write itself; one that does was faster."""
        base = self.row_base(slot)
        if not self.words[base + READY_AT]:
            self.words[base + READY_AT] = wall_clock()
            self.set_state(slot, State.IDLE)

    def set_state(self, slot: int, state: State) -> None:
        """Master, for a slot whose child is dead or does not write itself."""
        self.words[self.row_base(slot) + STATE] = (time.monotonic_ns() & ~7) | state

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


class Snapshot:
    """A copy of a scoreboard, checked. `words` as in the file, `description` and `crash` decoded.

    Raises ScoreboardError for what is no whole scoreboard of our version.
    """

    def __init__(self, data: bytes) -> None:
        if len(data) < HEADER * 8:
            raise ScoreboardError(f"scoreboard truncated: {len(data)} bytes")
        words = memoryview(data[: len(data) // 8 * 8]).cast("Q")
        if words[H_MAGIC] != MAGIC:
            raise ScoreboardError("not a scoreboard")
        if words[H_VERSION] != VERSION:
            raise ScoreboardError(
                f"scoreboard of version {words[H_VERSION]}; this program reads version {VERSION}"
            )
        if len(data) < words[H_SIZE] or words[H_SIZE] != file_size(words[H_SLOTS]):
            raise ScoreboardError(f"scoreboard truncated: {len(data)} of {words[H_SIZE]} bytes")
        self.words = words
        self.slots = words[H_SLOTS]
        self.crash = _json(data, _CRASH_AT, words[H_CRASH]) if words[H_CRASH] else None
        description = _json(data, _DESCRIPTION_AT, words[H_DESCRIPTION])
        if description is None:
            raise ScoreboardError("scoreboard damaged: it does not say what its words mean")
        self.description = description

    def row(self, slot: int) -> memoryview:
        """The words of a slot; -1 is the master's row."""
        base = _ROWS_AT + (slot + 1) * STRIDE
        return self.words[base : base + STRIDE]


def read(path: Path) -> Snapshot:
    """Copy the scoreboard at `path`, opened read-only. Raises ScoreboardError,
    FileNotFoundError.
    """
    try:
        return Snapshot(path.read_bytes())
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ScoreboardError(f"{path}: cannot read: {error.strerror}") from None


def unpack_state(word: int) -> tuple[State, int]:
    """(state, since when in monotonic ns) of a STATE word. What no child writes counts as DEAD."""
    return _STATES[word & 7], word & ~7


def text_of(row: memoryview) -> str:
    """The request that a row names, or ""."""
    data = row[TEXT : TEXT + TEXT_SIZE // 8].tobytes()
    return data.split(b"\0", 1)[0].decode("utf-8", "replace")


def wall_clock() -> int:
    """Now, in ns since 1970."""
    return time.time_ns()


def _map_new(path: Path, size: int) -> mmap.mmap:
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT | os.O_TRUNC, 0o644)
    try:
        os.posix_fallocate(descriptor, 0, size)  # a full disk is an error here, not SIGBUS later
        return mmap.mmap(descriptor, size)
    finally:
        os.close(descriptor)


def _encode(crash: Mapping[str, Any]) -> bytes:
    return json.dumps(crash, ensure_ascii=False).encode("utf-8", "replace")


def _json(data: bytes, start: int, length: int) -> dict[str, Any] | None:
    try:
        value = json.loads(data[start : start + length])
    except ValueError:
        return None  # being written
    return value if isinstance(value, dict) else None


class Counter:
    """A number that every process adds to in its own row; readers sum the rows."""

    __slots__ = ("_offset", "_row")

    def __init__(self, row: Row, offset: int) -> None:
        self._row = row
        self._offset = offset

    def add(self, amount: int = 1) -> None:
        """Add `amount` (>= 0). About 0.1 us; never blocks."""
        row = self._row
        row.words[row.base + self._offset] += amount


class Lock:
    """A mutual exclusion between all children that stays held when its owner dies, and names it.

    An eventfd(2) as semaphore: a record lock would pass to the next waiter, right into what the
    dead child left half written. Not reentrant. While held, the owner's row carries the lock's
    number.
    """

    def __init__(self, number: int, row: Row) -> None:
        self._number = number
        self._row = row
        self._outer = 0
        self._fd = -1

    @property
    def number(self) -> int:
        """From 1; what the owner's LOCK word says."""
        return self._number

    def fileno(self) -> int:
        """Readable when free."""
        return self._fd

    def renew(self) -> None:
        """Make it free and unknown to the generation before. Master, before the fork."""
        self.close()
        self._fd = os.eventfd(1, os.EFD_SEMAPHORE | os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def close(self) -> None:
        """Give the descriptor back."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def acquire(self, timeout: float | None = None) -> bool:
        """Take it, waiting at most `timeout` seconds; False when that passed.

        A child that waits outside a request raises Stop when it is told to stop; inside one it
        waits on, unless the owner is dead.
        """
        wait_for = self._row.wait_for
        if not self.try_take() and (wait_for is None or not wait_for(self, timeout)):
            return False
        words, at = self._row.words, self._row.base + LOCK
        self._outer = words[at]
        words[at] = self._number
        return True

    def try_take(self) -> bool:
        """One attempt, without the note in the row; for `Row.wait_for`."""
        try:
            os.eventfd_read(self._fd)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        """Let the next one in."""
        self._row.words[self._row.base + LOCK] = self._outer
        os.eventfd_write(self._fd, 1)

    def __enter__(self) -> Lock:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
