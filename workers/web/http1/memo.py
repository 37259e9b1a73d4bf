"""Values that were worked out once: for small pure functions on the path of every request."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Memo(dict[K, V]):
    """The values of a function by its argument, at most `most` of them; then it begins anew, for
    the arguments may be a client's invention. A subscript costs a third of what a call of
    functools.lru_cache does. An exception of the function is raised, and not kept.
    """

    def __init__(self, make: Callable[[K], V], most: int) -> None:
        self._make = make
        self._most = most

    def __missing__(self, key: K) -> V:
        value = self._make(key)
        if len(self) >= self._most:
            self.clear()
        self[key] = value
        return value
