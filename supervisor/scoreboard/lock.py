"""A mutual exclusion between all children that stays held when its owner dies, and names it."""

from __future__ import annotations

import os

from supervisor.scoreboard.layout import LOCK
from supervisor.scoreboard.row import Row


class Lock:
    """A mutual exclusion between all children that stays held when its owner dies, and names it.

    An eventfd(2) as semaphore: a record lock would pass to the next waiter, right into what the
    dead child left half written. Not reentrant. While held, the owner's row carries the lock's
    number.
    """

    def __init__(self, number: int, row: Row) -> None:
        self._number = number
        self._row = row
        self._outer = 0
        self._fd = -1

    @property
    def number(self) -> int:
        """From 1; what the owner's LOCK word says."""
        return self._number

    def fileno(self) -> int:
        """Readable when free."""
        return self._fd

    def renew(self) -> None:
        """Make it free and unknown to the generation before. Master, before the fork."""
        self.close()
        self._fd = os.eventfd(1, os.EFD_SEMAPHORE | os.EFD_NONBLOCK | os.EFD_CLOEXEC)

    def close(self) -> None:
        """Give the descriptor back."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1

    def acquire(self, timeout: float | None = None) -> bool:
        """Take it, waiting at most `timeout` seconds; False when that passed.

        A child that waits outside a request raises Stop when it is told to stop; inside one it
        waits on, unless the owner is dead.
        """
        wait_for = self._row.wait_for
        if not self.try_take() and (wait_for is None or not wait_for(self, timeout)):
            return False
        words, at = self._row.words, self._row.base + LOCK
        self._outer = words[at]
        words[at] = self._number
        return True

    def try_take(self) -> bool:
        """One attempt, without the note in the row; for `Row.wait_for`."""
        try:
            os.eventfd_read(self._fd)
        except BlockingIOError:
            return False
        return True

    def release(self) -> None:
        """Let the next one in."""
        self._row.words[self._row.base + LOCK] = self._outer
        os.eventfd_write(self._fd, 1)

    def __enter__(self) -> Lock:
        self.acquire()
        return self

    def __exit__(self, *_: object) -> None:
        self.release()
