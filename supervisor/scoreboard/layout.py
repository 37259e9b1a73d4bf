"""The layout of a scoreboard: each offset is named here, once.

In native 64-bit words: a header (HEADER words), two texts (JSON, see records.py: what the words
mean, and what went wrong so far), then a block of SECTION words and a row of STRIDE words for each
slot, the rows preceded by one of the master's.

Every word has one writer at a time: the master before the fork and after the reap, the child in
between; only the words of a section's block are written by any of its children. Stores are plain:
an aligned word is never torn, a group of words is never consistent, so what must agree shares a
word (STATE).
"""

from __future__ import annotations

import enum
import struct
import time
from typing import Final

MAGIC: Final = int.from_bytes(b"prefork\0", "little")
VERSION: Final = 4

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
    H_BEGUN_AT,  # monotonic ns: the same instant
    H_DOOR,  # 1 = closed for good: serve what waits in the queues, then leave
    H_DRAINING,  # 1 = about to end: not ready, and each answer ends its connection
    H_FORCED,  # children that needed SIGKILL to stop
    H_DESCRIPTION,  # bytes of JSON
    H_HISTORY,  # bytes of JSON, 0 = none
    H_SHARED,  # 1 = another master serves the same listeners, as predecessor or successor
) = range(15)

# Older generations that still drain: MAX_DRAINS times generation (0 = none), master, active,
# children.
H_DRAINS: Final = 32
MAX_DRAINS: Final = 8
DRAIN: Final = 4  # words of one

H_ORPHANED: Final = 31  # 1 = the master is dead, and a child has told the process group

HEADER: Final = 64

_WORD: Final = 8  # bytes

DESCRIPTION_AT: Final = HEADER * _WORD  # bytes
DESCRIPTION_SIZE: Final = 65_536
HISTORY_AT: Final = DESCRIPTION_AT + DESCRIPTION_SIZE
HISTORY_SIZE: Final = 262_144

_SECTIONS_AT: Final = (HISTORY_AT + HISTORY_SIZE) // _WORD  # words

# Words of a section's block, which is that of its first slot.
(
    SLOW_UNTIL,  # monotonic ns: until then its answers end their connections
    CHILDREN,  # of the section; written by the master
) = range(2)

SECTION: Final = 8

# Words of a row.
(
    PID,
    STATE,  # State in the low 3 bits, since when (monotonic ns) in the others
    STARTED_AT,  # monotonic ns: the fork
    READY_AT,  # monotonic ns, 0 = not yet
    REQUESTS,
    ERRORS,
    ACTIVE,
    BUSY,  # ns with at least one request in hand, those in hand now left out
    BUSY_SINCE,  # monotonic ns, while ACTIVE
    LOCK,  # number of the lock held, 0 = none
    LATENCY_SUM,  # ns
    LATENCY_MAX,  # ns
    CONNECTIONS,  # open now
    STREAMS,  # of the requests in hand, those whose answer goes on for long (SSE, WebSocket)
    RESPONSES,  # the first of five: answers with a status of 1xx, 2xx, ... 5xx
) = range(15)

CODE_CLASSES: Final = 5

# The requests in hand that are named: PLACES times a place of PLACE words.
NAMES: Final = 24
PLACES: Final = 8
PLACE: Final = 32
# A place: the name and the id, each behind a byte that holds its length; then the instant of the
# begin (monotonic ns), which is written last. While that is 0 the place is free.
NAME_SIZE: Final = 198  # bytes
ID_SIZE: Final = 48  # bytes
NAMED: Final = struct.Struct(f"{NAME_SIZE + 1}p{ID_SIZE + 1}pQ")
P_BEGUN_AT: Final = PLACE - 1

HISTOGRAM: Final = NAMES + PLACES * PLACE
BUCKETS: Final = 248
COUNTERS: Final = HISTOGRAM + BUCKETS
MAX_COUNTERS: Final = 64

UNIT: Final = 7  # bits: the histogram counts in 128 ns, so that 1 us is told as well as 1000 s

STRIDE: Final = COUNTERS + MAX_COUNTERS + -(COUNTERS + MAX_COUNTERS) % 8  # whole cache lines

MAX_LOCKS: Final = 1024


class State(enum.IntEnum):
    """The states of a child."""

    EMPTY = 0
    STARTING = 1
    IDLE = 2
    BUSY = 3
    STOPPING = 4
    DEAD = 5
    FINISHED = 6


LIVING: Final = (State.STARTING, State.IDLE, State.BUSY, State.STOPPING)

_STATES: Final = (*State, State.DEAD)


class ServerState(enum.IntEnum):
    """The states of the server."""

    STARTING = 0
    RUNNING = 1
    STOPPING = 2


def bucket_of(nanoseconds: int) -> int:
    """The histogram bucket of a latency: 8 a doubling, so a bucket is at most 1/8 wide of its lower
    bound.
    """
    units = nanoseconds >> UNIT
    shift = units.bit_length() - 4
    bucket = 8 * shift + (units >> shift) if shift > 0 else units
    return bucket if bucket < BUCKETS else BUCKETS - 1


def bucket_bounds(bucket: int) -> tuple[int, int]:
    """The latencies in ns that fall into a bucket: lower (included), upper (excluded)."""
    shift = max(0, bucket // 8 - 1)
    mantissa = bucket - 8 * shift
    return mantissa << shift + UNIT, mantissa + 1 << shift + UNIT


def section_base(first: int) -> int:
    """Index of the first word of the block of the section whose first slot is `first`."""
    return _SECTIONS_AT + first * SECTION


def row_base(slot: int, slots: int) -> int:
    """Index of the first word of a slot in a scoreboard of so many; -1 is the master's row."""
    return _SECTIONS_AT + slots * SECTION + (slot + 1) * STRIDE


def file_size(slots: int) -> int:
    """Bytes of a scoreboard with so many slots."""
    return row_base(slots, slots) * _WORD


def stamped(state: State) -> int:
    """A STATE word: this state, from now on."""
    return (time.monotonic_ns() & ~7) | state


def unpack_state(word: int) -> tuple[State, int]:
    """(state, since when in monotonic ns) of a STATE word. What no child writes counts as DEAD."""
    return _STATES[word & 7], word & ~7
