"""Waiting with a time limit, for thousands at a time, with one timer."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator
from time import monotonic
from typing import Any, Final

_SOON: Final = 0.001  # s


class Waits:
    """Those who wait for the same thing, oldest first. `late` is called with each who has waited
    for `seconds`, and is forgotten before.

    The timer is set for the oldest at that moment. Who comes and goes in the meantime costs a store
    and a removal; at most one wake-up finds nothing to do.
    """

    def __init__(
        self, loop: asyncio.AbstractEventLoop, seconds: float, late: Callable[[Any], object]
    ) -> None:
        self.seconds = seconds
        self._loop = loop
        self._late = late
        self.since: dict[Any, float] = {}  # monotonic s; a request takes its connection out itself
        self._timer: asyncio.TimerHandle | None = None

    def __len__(self) -> int:
        return len(self.since)

    def __contains__(self, one: object) -> bool:
        return one in self.since

    def __iter__(self) -> Iterator[Any]:
        """A copy, oldest first."""
        return iter(list(self.since))

    def add(self, one: Any) -> None:
        """It begins to wait, now; once more, if it was waiting."""
        since = self.since
        since.pop(one, None)
        since[one] = monotonic()
        if self._timer is None:
            self._timer = self._loop.call_later(self.seconds, self._look)

    def remove(self, one: Any) -> None:
        """It has what it waited for."""
        self.since.pop(one, None)

    def _look(self) -> None:
        self._timer = None
        begun_by = monotonic() - self.seconds
        for one, since in list(self.since.items()):
            if since > begun_by:
                delay = max(_SOON, since - begun_by)
                self._timer = self._timer or self._loop.call_later(delay, self._look)
                return
            self.remove(one)
            self._late(one)
