"""Where a process writes: its own row of the scoreboard."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

from supervisor.scoreboard.layout import STRIDE

if TYPE_CHECKING:
    from supervisor.scoreboard.lock import Lock


class Row:
    """Where this process writes: the master's row, and after the fork the child's own.

    `wait_for` is how a child waits for a lock; the master, alone before the fork, never waits.
    """

    __slots__ = ("base", "wait_for", "words")

    def __init__(self) -> None:
        self.words: memoryview = memoryview(bytearray(STRIDE * 8)).cast("Q")
        self.base = 0
        self.wait_for: Callable[[Lock, float | None], bool] | None = None


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
