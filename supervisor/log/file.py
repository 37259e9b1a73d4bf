"""A file that is written to by its name: renamed or removed, it is made anew. For the log and for
access logs.
"""

from __future__ import annotations

import contextlib
import os
import stat
from collections.abc import Callable
from typing import Final

_FLAGS: Final = os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC


class LogFile:
    """Appends to `path`, one entry by one write(2), so that those of many processes never mix.

    Raises OSError where the file cannot be opened at first. Later nothing raises: while it cannot
    be opened again the old one is written on, `say` is told once, and each entry tries anew.
    """

    def __init__(self, path: str, say: Callable[[str], None]) -> None:
        self._path = path
        self._say = say
        self._said = False
        self._descriptor = os.open(path, _FLAGS, 0o644)
        self._identity = _identity(os.fstat(self._descriptor))

    def write(self, data: bytes) -> None:
        """Append one entry; a full disk loses it, and nothing else."""
        self._follow()
        with contextlib.suppress(OSError):
            write_all(self._descriptor, data)

    def give_to(self, uid: int, gid: int) -> None:
        """Let another user own the file, so that it can open it again after a rotation."""
        if stat.S_ISREG(os.fstat(self._descriptor).st_mode):
            os.fchown(self._descriptor, uid, gid)

    def close(self) -> None:
        """Give the descriptor back."""
        os.close(self._descriptor)

    def _follow(self) -> None:
        try:
            if _identity(os.stat(self._path)) == self._identity:
                return
        except OSError:
            pass  # the open below says why
        try:
            self._open_again()
        except OSError as error:
            if not self._said:
                self._said = True
                self._say(f"{self._path}: cannot be opened again: {error.strerror}")
        else:
            self._said = False

    def _open_again(self) -> None:
        """The number stays the same, so a thread or a signal handler that writes meanwhile hits
        the old file or the new one, never a stranger's.
        """
        fresh = os.open(self._path, _FLAGS, 0o644)
        try:
            os.dup2(fresh, self._descriptor, inheritable=False)
            self._identity = _identity(os.fstat(fresh))
        finally:
            os.close(fresh)


def write_all(descriptor: int, data: bytes) -> None:
    """Write all of `data`, by one write(2) if the kernel takes it. Raises OSError."""
    while data:
        data = data[os.write(descriptor, data) :]


def _identity(facts: os.stat_result) -> tuple[int, int]:
    return facts.st_dev, facts.st_ino
