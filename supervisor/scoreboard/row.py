"""Where a process writes: its own row of the scoreboard, and its section's block."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Final

from supervisor.scoreboard import layout
from supervisor.scoreboard.layout import READY_AT, STATE, STRIDE, State, stamped
from supervisor.scoreboard.view import RowView

if TYPE_CHECKING:
    from supervisor.scoreboard.lock import Lock


_ALL: Final = 2**64 - 1
_write: Final = layout.NAMED.pack_into


class Row:
    """Where this process writes: the master's row, and after the fork the child's own.

    `wait_for` is how a child waits for a lock; the master, alone before the fork, never waits.
    """

    __slots__ = ("base", "wait_for", "words")

    def __init__(self) -> None:
        self.words: memoryview = memoryview(bytearray(STRIDE * 8)).cast("Q")
        self.base = 0
        self.wait_for: Callable[[Lock, float | None], bool] | None = None

    def note_pid(self, pid: int) -> None:
        """Note whose it is."""
        self.words[self.base + layout.PID] = pid

    def set_state(self, state: State) -> None:
        """Note state and instant in one word."""
        self.words[self.base + STATE] = stamped(state)

    def mark_ready(self) -> None:
        """Note the instant at which this child became ready."""
        self.words[self.base + READY_AT] = time.monotonic_ns()

    def view(self) -> RowView:
        """A view of the row as it is: later writes show."""
        return RowView(self.words[self.base : self.base + STRIDE])


class Counter:
    """A number that every process adds to in its own row; readers sum the rows."""

    __slots__ = ("_offset", "_row")

    def __init__(self, row: Row, offset: int) -> None:
        self._row = row
        self._offset = offset

    def add(self, amount: int = 1) -> None:
        """Add `amount` (>= 0). About 0.1 us; never blocks."""
        words, at = self._row.words, self._row.base + self._offset
        words[at] = (words[at] + amount) & _ALL  # another child may have scribbled there


class Names:
    """The requests in hand that a row names, at most PLACES: which, since when, with which id.

    One owner, the child, in any of its threads: a place is taken from a list in one step, and from
    then on nobody else writes there. It is known by the word of its begin, which is written last;
    `free` are those that are. With 0 in that word, and in the list again, it is free.
    """

    __slots__ = ("_bytes", "_words", "free")

    def __init__(self, row: memoryview) -> None:
        self._words = row
        self._bytes = row.cast("B")
        first = layout.NAMES + layout.P_BEGUN_AT
        self.free = [first + place * layout.PLACE for place in range(layout.PLACES)]

    def add(self, begun: int, name: bytes, request_id: bytes = b"") -> int:
        """Name a request that began at `begun` (monotonic ns): `GET /cart`, without its query, for
        anybody may read it. Returns its place for `remove`; -1 where all places are taken.
        """
        if not self.free:
            return -1
        place = self.free.pop()
        _write(self._bytes, (place - layout.P_BEGUN_AT) * 8, name, request_id, begun)
        return place

    def remove(self, place: int) -> None:
        """It is no longer in hand. `place` as `add` returned it."""
        if place >= 0:
            self._words[place] = 0
            self.free.append(place)


class Block:
    """The words that all children of a section share; any of them writes, the last one wins."""

    __slots__ = ("_all", "_bases", "header", "words")

    def __init__(self, words: memoryview, first: int, slots: int) -> None:
        base = layout.section_base(first)
        # Both for code that runs for every request, where a call costs.
        self.words = words[base : base + layout.SECTION]
        self.header = words[: layout.HEADER]
        self._all = words
        self._bases = [layout.row_base(slot, slots) for slot in range(first, slots)]

    def be_slow_until(self, instant: int) -> None:
        """Let the section's answers end their connections until then (monotonic ns)."""
        self.words[layout.SLOW_UNTIL] = instant

    def mean_connections(self) -> float:
        """The open connections of a child of this section, on the mean."""
        own = self._bases[: max(1, self.words[layout.CHILDREN])]
        return sum(self._all[base + layout.CONNECTIONS] for base in own) / len(own)
