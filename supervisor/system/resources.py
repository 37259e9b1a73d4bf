"""What must not outlive us: a stack of releases, a journal of paths for the next start, and the
runtime directory.
"""

from __future__ import annotations

import contextlib
import os
from collections.abc import Callable
from pathlib import Path

from supervisor.errors import SupervisorError
from supervisor.log.entries import log
from supervisor.system.listeners import clear_stale
from supervisor.system.privileges import acting_as


class Resources:
    """Releases in reverse order of acquisition, each once, a failing one logged.

    Paths are also written to a journal before they exist; what a killed master left is removed by
    the next start from there.
    """

    def __init__(self) -> None:
        self._releases: list[tuple[str, Callable[[], object]]] = []
        self._journal: Path | None = None

    def add(self, what: str, release: Callable[[], object]) -> None:
        """Call `release` at the end. `what` names it in the log if it fails."""
        self._releases.append((what, release))

    def add_path(self, path: Path | str) -> Path:
        """Remove the file or directory tree at `path` at the end. Call it before it is made."""
        path = Path(os.path.abspath(path))
        self.write_down(path)
        self.add(str(path), lambda: remove(path))
        return path

    def write_down(self, path: Path | str, kind: str = "path") -> None:
        """Let the next start remove `path`, should we be killed; a "socket" only if it is a dead
        one.
        """
        if self._journal is not None:
            with self._journal.open("ab") as file:
                file.write(kind.encode() + b" " + os.fsencode(path) + b"\0")

    def use_journal(self, journal: Path) -> None:
        """Remove what the journal of a killed predecessor names, then write into it from now on."""
        clear_journal(journal)
        self._journal = journal
        journal.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        journal.unlink(missing_ok=True)
        journal.touch(exist_ok=False)

    def branch(self) -> Resources:
        """A stack of its own that writes into the same journal: for a generation beside another."""
        branch = Resources()
        branch._journal = self._journal
        return branch

    def mark(self) -> int:
        """A place to release down to."""
        return len(self._releases)

    def release(self, mark: int = 0) -> None:
        """Release everything acquired since `mark`, newest first."""
        while len(self._releases) > mark:
            what, release = self._releases.pop()
            try:
                release()
            except Exception as error:
                log.warning("cannot release", what=what, error=str(error))


def journal_of(tempdir: Path) -> Path:
    """Where a child with this temporary directory writes down its paths: beside it."""
    return tempdir.with_name(f"{tempdir.name}.paths")


def clear_journal(journal: Path) -> None:
    """Remove what a dead process wrote down and could not remove itself."""
    with contextlib.suppress(FileNotFoundError), _rights_of_owner(journal):
        for kind, path in _entries(journal):
            if kind == "socket":
                with contextlib.suppress(SupervisorError, OSError):
                    clear_stale(str(path))
            elif os.path.lexists(path):
                log.warning("stale path removed", path=path)
                with contextlib.suppress(PermissionError):
                    remove(path)


def remove_tempdir(tempdir: Path) -> None:
    """Remove a dead child's directory, and what it registered; or that of a whole generation."""
    if not tempdir.parent.exists():
        return
    clear_journal(journal_of(tempdir))
    remove(journal_of(tempdir))
    remove(tempdir)


def _rights_of_owner(journal: Path) -> contextlib.AbstractContextManager[None]:
    """The rights under which a journal is obeyed: whoever wrote it must not remove root's files by
    it.
    """
    facts = journal.lstat()
    if os.geteuid() != 0 or facts.st_uid == 0:
        return contextlib.nullcontext()
    return acting_as(facts.st_uid, facts.st_gid)


def remove(path: Path) -> None:
    """Remove a file or a tree; no matter if it is gone already."""
    with contextlib.suppress(FileNotFoundError):
        if path.is_dir() and not path.is_symlink():
            import shutil

            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink()


def write_atomically(path: Path, data: bytes) -> None:
    """Write beside and rename over: a reader sees the old file or the new one.

    Through no link that somebody has put there.
    """
    beside = path.with_name(f".{path.name}.new")
    try:
        beside.unlink(missing_ok=True)
        with beside.open("xb") as file:
            file.write(data)
        beside.replace(path)
    finally:
        beside.unlink(missing_ok=True)


def _entries(journal: Path) -> list[tuple[str, Path]]:
    with contextlib.suppress(FileNotFoundError):
        # What stands after the last NUL was cut in the writing: half a path is another path.
        lines = [os.fsdecode(line) for line in journal.read_bytes().split(b"\0")[:-1]]
        return [(kind, Path(path)) for kind, _, path in (line.partition(" ") for line in lines)]
    return []
