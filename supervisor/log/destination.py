"""Where entries go: descriptor 2, or a file. (To journald: journald.py.)"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from typing import Protocol

from supervisor.log.file import LogFile, write_all
from supervisor.log.forms import Entry, Origin

Form = Callable[[Entry, Origin], str]


class Destination(Protocol):
    """Takes entries. Nothing here raises OSError."""

    def put(self, entry: Entry, origin: Origin) -> None:
        """Write one entry, of this process."""

    def give_to(self, uid: int, gid: int) -> None:
        """Let another user own what is written to, where that is a file. Raises OSError."""

    def close(self) -> None:
        """Give back what was opened."""


class ToStderr:
    """Descriptor 2, at once; a reader that is gone is no reason to fail."""

    def __init__(self, form: Form) -> None:
        self._form = form

    def put(self, entry: Entry, origin: Origin) -> None:
        with contextlib.suppress(OSError):
            write_all(2, encoded(self._form(entry, origin)))

    def give_to(self, uid: int, gid: int) -> None:
        """Do nothing: standard error belongs to the process that started us."""

    def close(self) -> None:
        """Do nothing: it is not ours to close."""


class ToFile:
    """A file that is followed by its name."""

    def __init__(self, form: Form, path: str, say: Callable[[str], None]) -> None:
        self._form = form
        self._file = LogFile(path, say)

    def put(self, entry: Entry, origin: Origin) -> None:
        self._file.write(encoded(self._form(entry, origin)))

    def give_to(self, uid: int, gid: int) -> None:
        self._file.give_to(uid, gid)

    def close(self) -> None:
        self._file.close()


def wants_colour() -> bool:
    """True on a terminal that can, unless the user says no (https://no-color.org)."""
    if os.environ.get("NO_COLOR") or os.environ.get("TERM", "dumb") == "dumb":
        return False
    return os.isatty(2)


def encoded(text: str) -> bytes:
    """Text as it is written."""
    return text.encode("utf-8", "backslashreplace")
