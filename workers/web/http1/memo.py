"""Values that were worked out once: for small pure functions on the path of every request."""

from __future__ import annotations

from collections.abc import Callable
from typing import TypeVar

K = TypeVar("K")
V = TypeVar("V")


class Bounded(dict[K, V]):
    """At most `most` values; then it begins anew, for the keys may be a client's invention."""

    def __init__(self, most: int) -> None:
        self._most = most

    def keep(self, key: K, value: V) -> None:
        """Add one."""
        if len(self) >= self._most:
            self.clear()
        self[key] = value


class Memo(Bounded[K, V]):
    """The values of a function by its argument. A subscript costs a third of what a call of
    functools.lru_cache does. An exception of the function is raised, and not kept.
    """

    def __init__(self, make: Callable[[K], V], most: int) -> None:
        super().__init__(most)
        self._make = make

    def of(self, key: K) -> V:
        """The value, also of a key that has no hash (a pair in it is a list): it is not kept."""
        try:
            return self[key]
        except TypeError:
            return self._make(key)

    def __missing__(self, key: K) -> V:
        value = self._make(key)
        self.keep(key, value)
        return value
