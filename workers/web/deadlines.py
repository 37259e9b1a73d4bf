"""Which connection is late next. A deadline that moves costs one store; the heap is looked at when
its first entry is due, and an entry that was overtaken by a later deadline is put back then.
"""

from __future__ import annotations

import heapq
from itertools import count
from typing import Generic, Protocol, TypeVar


class Timed(Protocol):
    """`deadline`: monotonic ns, 0 = none. `queued`: for which it stands in the heap, 0 = not."""

    deadline: int
    queued: int


T = TypeVar("T", bound=Timed)


class Deadlines(Generic[T]):
    """The deadlines of all connections of a loop."""

    def __init__(self) -> None:
        self._heap: list[tuple[int, int, T]] = []
        self._order = count()
        self._stale = 0  # entries of requests that are gone

    def set(self, timed: T, deadline: int) -> None:
        """From now on this is its deadline (monotonic ns)."""
        timed.deadline = deadline
        if not timed.queued or deadline < timed.queued:
            self.push(timed)

    def pause(self, timed: T) -> None:
        """It has none for a while."""
        timed.deadline = 0

    def forget(self, timed: T) -> None:
        """It is gone. Its entry would keep it in memory until it is due: where most entries are of
        that kind, all of them are thrown out.
        """
        self._stale += timed.queued != 0
        timed.deadline = timed.queued = 0
        if self._stale * 2 > len(self._heap):
            # A paused one keeps its entry, of one that is gone `queued` is 0.
            self._heap = [one for one in self._heap if one[0] == one[2].queued]
            heapq.heapify(self._heap)
            self._stale = 0

    def next(self) -> int:
        """The instant to look again, 0 = never."""
        return self._heap[0][0] if self._heap else 0

    def late(self, now: int) -> list[T]:
        """Those whose deadline has passed; each is told once."""
        found = []
        while self._heap and self._heap[0][0] <= now:
            at, _, timed = heapq.heappop(self._heap)
            if at != timed.queued:
                continue
            timed.queued = 0
            if not timed.deadline:
                continue
            if timed.deadline <= now:
                found.append(timed)
            else:
                self.push(timed)
        return found

    def push(self, timed: T) -> None:
        """Its deadline has become earlier than the one for which it stands in the heap, or it does
        not stand there.
        """
        timed.queued = timed.deadline
        heapq.heappush(self._heap, (timed.deadline, next(self._order), timed))
