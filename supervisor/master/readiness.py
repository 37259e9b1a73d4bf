"""How the master learns that its children are ready, or have grown old: those that run our code
write into one pipe, for each of the others there is a Watch.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Collection, Mapping

from supervisor.child import news
from supervisor.child.news import News
from supervisor.child.worker import Watch


class Readiness:
    """The master's ends. Made anew in each generation, before the first fork."""

    def __init__(self) -> None:
        self._reader, self.writer = os.pipe()
        os.set_blocking(self._reader, False)
        self._watches: dict[int, Watch] = {}  # by slot

    def add(self, slot: int, watch: Watch) -> None:
        """Let `watch` speak for the child of `slot`."""
        self._watches[slot] = watch

    def descriptors(self) -> list[int]:
        """Readable when `take` has something to do."""
        watched = [watch.fileno() for watch in self._watches.values()]
        return [descriptor for descriptor in (self._reader, *watched) if descriptor >= 0]

    def take(self, pids: Callable[[], Mapping[int, int]]) -> list[tuple[News, int]]:
        """(kind, slot) of what has happened since the last call. `pids` gives the pid by slot.

        It is asked only where somebody is watched, for this runs at each wake.
        """
        by_slot = pids() if self._watches else {}
        told = [
            (News.READY, slot)
            for slot, watch in self._watches.items()
            if slot in by_slot and watch.becomes_ready(by_slot[slot])
        ]
        return [*self._from_pipe(), *told]

    def _from_pipe(self) -> list[tuple[News, int]]:
        if self._reader < 0:
            return []
        try:
            data = os.read(self._reader, 65_536)
        except BlockingIOError:
            return []
        if not data:
            # Whoever still starts has no pipe any more: it would be readable for ever.
            self._close_reader()
        return list(news.decode(data))

    def seal(self, wanted: Collection[int], forked: Collection[int], *, is_last: bool) -> None:
        """After a fork of the slots `wanted`, of which those in `forked` have a child: what is the
        children's is closed here; the pipe's writing end after the last.
        """
        if is_last:
            self._close_writer()
        for slot in set(wanted) - set(forked):
            self.forget(slot)
        for slot in forked:
            if slot in self._watches:
                self._watches[slot].seal()

    def complete(self) -> None:
        """All are ready: nothing more comes through the pipe."""
        self._close_reader()

    def forget(self, slot: int) -> None:
        """The child of `slot` is dead."""
        watch = self._watches.pop(slot, None)
        if watch is not None:
            watch.close()

    def is_watched(self, slot: int) -> bool:
        """True for a child that writes nothing into its row, so that the master does."""
        return slot in self._watches

    def drop_foreign(self, slot: int) -> None:
        """In the child of `slot`: close what is the master's or another child's."""
        self._close_reader()
        for other in self._watches.keys() - {slot}:
            self.forget(other)

    def close(self) -> None:
        """Close all that is open."""
        self._close_writer()
        self._close_reader()
        for slot in list(self._watches):
            self.forget(slot)

    def _close_writer(self) -> None:
        if self.writer >= 0:
            os.close(self.writer)
            self.writer = -1

    def _close_reader(self) -> None:
        if self._reader >= 0:
            os.close(self._reader)
            self._reader = -1
