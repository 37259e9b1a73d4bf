"""Shared memory of one generation: a mapped file that children write and anyone may read, and the
locks.

Layout, in native 64-bit words: a header (HEADER words), two texts (JSON: what the words mean, and
the last crash), then rows of STRIDE words: row 0 is the master's, row n+1 is slot n's. Every word
has one writer at a time: the master before the fork and after the reap, the child in between.
Stores are plain: an aligned word is never torn, a group of words is never consistent, so what must
agree shares a word (STATE).
"""

from __future__ import annotations

import enum
import time
from typing import Final

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


H_ORPHANED: Final = 31  # 1 = the master is dead, and a child has told the process group


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


def stamped(state: State) -> int:
    """A STATE word: this state, from now on."""
    return (time.monotonic_ns() & ~7) | state


def unpack_state(word: int) -> tuple[State, int]:
    """(state, since when in monotonic ns) of a STATE word. What no child writes counts as DEAD."""
    return _STATES[word & 7], word & ~7


def text_of(row: memoryview) -> str:
    """The request that a row names, or ""."""
    data = row[TEXT : TEXT + TEXT_SIZE // 8].tobytes()
    return data.split(b"\0", 1)[0].decode("utf-8", "replace")
