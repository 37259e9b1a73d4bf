"""A child that looks at its own figures, at the end of a request and now and then only, and says
once that its generation has grown old.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import Final, NamedTuple

from supervisor.child import news
from supervisor.child.news import News

EVERY: Final = 256  # requests between two looks
_JITTER: Final = 0.1  # of a limit: children that grow alike do not say so at once


class Limits(NamedTuple):
    """After how many requests, and at what size (bytes of PSS), a child is old; 0 = never."""

    requests: int = 0
    memory: int = 0

    def __bool__(self) -> bool:
        return any(self)


class Renewal:
    """The limits of this very child. `memory` tells its size in bytes."""

    def __init__(self, limits: Limits, slot: int, pipe: int, memory: Callable[[], int]) -> None:
        self._requests = round(jittered(limits.requests))
        self._size = round(jittered(limits.memory))
        self._memory = memory
        self._slot, self._pipe = slot, pipe

    def first_look(self) -> float:
        """The number of requests at which to look first."""
        return self._next(0) if self._pipe >= 0 else float("inf")

    def look(self, ended: int) -> float:
        """After so many requests; returns the number at which to look next, infinite once the
        master was told.
        """
        if self._requests and ended >= self._requests:
            return self._say(News.REQUESTS)
        if self._size and self._memory() >= self._size:
            return self._say(News.MEMORY)
        return self._next(ended)

    def _next(self, ended: int) -> float:
        at = ended + EVERY
        return min(at, max(self._requests, ended + 1)) if self._requests else at

    def _say(self, kind: News) -> float:
        # A master that has told this child to stop listens no more.
        with contextlib.suppress(BrokenPipeError, BlockingIOError):
            os.write(self._pipe, news.encode(kind, self._slot))
        os.close(self._pipe)
        return float("inf")


def jittered(value: float) -> float:
    """The value, up to a tenth less or more. The kernel's own random numbers: the module random
    would cost each start its import, hashes and all.
    """
    share = int.from_bytes(os.urandom(4)) / 2**32
    return value * (1 + _JITTER * (2 * share - 1))
