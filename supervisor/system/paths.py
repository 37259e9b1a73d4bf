"""Paths that must not outlive a process, and the journal by which the next one removes them.

Each entry is NUL-terminated: `KIND DEVICE INODE PATH`. The first three tell which file stood there
when the path was looked at; DEVICE and INODE are 0 while nothing was there yet, and KIND is then
what may come: "any", or "socket". "gone" takes an entry back.
"""

from __future__ import annotations

import contextlib
import os
from pathlib import Path
from typing import Final

from supervisor.errors import SupervisorError
from supervisor.log.entries import log
from supervisor.system.files import (
    FileId,
    identify,
    opened_regular,
    read_open,
    remove_file,
    remove_if,
    write_new,
)
from supervisor.system.listeners import clear_stale
from supervisor.system.privileges import acting_as

_LARGEST: Final = 268_435_456  # bytes of a journal
_APPEND: Final = os.O_WRONLY | os.O_APPEND | os.O_NOFOLLOW | os.O_CLOEXEC


class Paths:
    """The registered paths, each with the file that was seen there, or may come.

    A path is removed only while it leads to that file. Before one was seen nothing was there when
    it was registered, so what is there then has come since.
    """

    def __init__(self) -> None:
        self._known: dict[Path, FileId] = {}
        self._journal: Path | None = None
        self._file: FileId | None = None  # of the journal

    def keep_in(self, journal: Path) -> None:
        """Write all into a new journal, and what follows too."""
        remove_file(journal)
        write_new(journal, b"".join(_entry(*item) for item in self._known.items()))
        self._journal, self._file = journal, identify(journal)

    def register(self, path: Path, kind: str = "any") -> None:
        """Note a path before it is made. What stands there already is what will be removed."""
        self.look()
        self._note(path, identify(path) or FileId(kind, 0, 0))

    def see(self, path: Path) -> None:
        """Note the file that stands at a registered path now: it is ours."""
        found = identify(path)
        if found is not None:
            self._note(path, found)

    def look(self) -> None:
        """Note each that has come since the last look."""
        for path in [path for path, known in self._known.items() if not known.inode]:
            self.see(path)

    def remove(self, path: Path) -> None:
        """Remove what was registered as `path`, if it is there."""
        known = self._known.pop(path, None)
        if known is not None:
            _remove(path, known)
            self._write(_entry(path, FileId("gone", 0, 0)))

    def forget(self, path: Path) -> None:
        """Do not remove what was registered as `path`."""
        if self._known.pop(path, None) is not None:
            self._write(_entry(path, FileId("gone", 0, 0)))

    def _note(self, path: Path, found: FileId) -> None:
        if self._known.get(path) != found:
            self._known[path] = found
            self._write(_entry(path, found))

    def _write(self, entry: bytes) -> None:
        """Only into the journal that we began: its directory may have been removed, and be
        another's now.
        """
        if self._journal is None:
            return
        with contextlib.suppress(FileNotFoundError):
            descriptor = os.open(self._journal, _APPEND)
            with open(descriptor, "ab") as file:
                if identify(self._journal) == self._file:
                    file.write(entry)


def clear_journal(journal: Path | str, directory: int | None = None) -> None:
    """Remove what a dead process registered and could not remove itself, then its journal.

    With the rights of the user that wrote it: otherwise a user could have root's files removed
    by writing their paths into it.
    """
    with (
        contextlib.suppress(OSError),
        opened_regular(journal, directory) as descriptor,
        _rights_of_owner(descriptor),
    ):
        for path, known in reversed(_entries(read_open(descriptor, _LARGEST)).items()):
            _clear(path, known)
    remove_file(journal, directory)


def _clear(path: Path, known: FileId) -> None:
    if _remove(path, known):
        log.warning("stale path removed", path=path)


def _remove(path: Path, known: FileId) -> bool:
    """True when it was there, and what it should be, and is gone."""
    with contextlib.suppress(OSError, SupervisorError):
        found = identify(path)
        if found is None or not _is_meant(found, known):
            return False
        if found.kind == "socket":
            clear_stale(str(path))  # never a live one
            return False
        return remove_if(path, found)
    return False


def _is_meant(found: FileId, known: FileId) -> bool:
    return found == known if known.inode else known.kind in ("any", found.kind)


def _rights_of_owner(descriptor: int) -> contextlib.AbstractContextManager[None]:
    owner = os.fstat(descriptor)
    if os.geteuid() != 0 or owner.st_uid == 0:
        return contextlib.nullcontext()
    return acting_as(owner.st_uid, owner.st_gid)


def _entry(path: Path, found: FileId) -> bytes:
    return f"{found.kind} {found.device} {found.inode} ".encode() + os.fsencode(path) + b"\0"


def _entries(data: bytes) -> dict[Path, FileId]:
    """The paths to be removed, oldest first. The rest after the last NUL was cut in the writing:
    half a path is another path.
    """
    found: dict[Path, FileId] = {}
    for line in data.split(b"\0")[:-1]:
        kind, device, inode, path = [*line.split(b" ", 3), b"", b"", b""][:4]
        if not (path.startswith(b"/") and device.isdigit() and inode.isdigit()):
            continue
        known = FileId(kind.decode("ascii", "replace"), int(device), int(inode))
        found.pop(Path(os.fsdecode(path)), None)
        if known.kind != "gone":
            found[Path(os.fsdecode(path))] = known
    return found
