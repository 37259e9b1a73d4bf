"""What must not outlive us: a stack of releases, a journal of paths for the next start, and the
runtime directory.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Final

from supervisor.errors import AlreadyRunning, NoPermission, SupervisorError, SystemFailure
from supervisor.listeners import clear_stale
from supervisor.log import log, pairs
from supervisor.privileges import acting_as

_FLOCK: Final = "hhqqi"  # struct flock of fcntl(2): type, whence, start, length, pid


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
                log.warning("cannot release %s", pairs(what=what, error=str(error)))


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
                log.warning("stale path removed %s", pairs(path=path))
                with contextlib.suppress(PermissionError):
                    remove(path)


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


class RuntimeDirectory:
    """The directory of one running server, and the record lock that says who it is.

    The lock is a POSIX record lock: the kernel drops it with its owner and F_GETLK names the owner,
    so a stale file or a reused pid fools nobody. Closing any descriptor of the file would drop it:
    the master never opens it twice.
    """

    def __init__(self, path: Path) -> None:
        self.path = path
        self.lock = path / "lock"
        self.pid_file = path / "pid"
        self.scoreboard = path / "scoreboard"
        self.temporary = path / "tmp"
        self.journal = path / "paths"
        self.descriptor = -1  # of the lock, while it is ours
        self.made = False  # it did not exist before us

    def acquire(self, resources: Resources, heir: int | None = None) -> None:
        """Make the directory ours, lock it, and clear what a dead server left in it.

        It may also belong to the uid `heir`, to whom a server before us gave it. Raises
        AlreadyRunning (naming the pid) and NoPermission.
        """
        made = self.made = self._make(heir)
        try:
            self.descriptor = self._lock()
        except NoPermission:
            if made:
                self.path.rmdir()
            raise
        resources.add("lock", lambda: self._release(made))
        try:
            self._take_back()
            self._clear()
            resources.use_journal(self.journal)
            write_atomically(self.pid_file, b"%d\n" % os.getpid())
        except OSError as error:
            raise NoPermission(f"{self.path}: cannot write: {error.strerror}") from None

    def give_to(self, uid: int, gid: int) -> None:
        """Let another user own the directory and what is in it; before we become that user."""
        for path in (self.path, *self.path.iterdir()):
            os.chown(path, uid, gid, follow_symlinks=False)

    def _take_back(self) -> None:
        """Be its owner before a path in it is trusted: its last one must not put a link in our
        way.
        """
        if self.path.lstat().st_uid != os.geteuid():
            os.chown(self.path, os.geteuid(), os.getegid(), follow_symlinks=False)
            self.path.chmod(0o755)

    def _make(self, heir: int | None) -> bool:
        try:
            self.path.mkdir(mode=0o755)
            return True
        except FileExistsError:
            facts = self.path.lstat()
            if not stat.S_ISDIR(facts.st_mode):
                raise NoPermission(f"{self.path}: is not a directory") from None
            if facts.st_uid not in (os.geteuid(), heir):
                raise NoPermission(
                    f"{self.path}: belongs to uid {facts.st_uid}, not to us; choose another "
                    "master.runtime_directory"
                ) from None
            return False
        except OSError as error:
            raise NoPermission(
                f"{self.path}: cannot make the runtime directory: {error.strerror}"
            ) from None

    def _lock(self) -> int:
        while True:
            try:
                descriptor = os.open(self.lock, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW, 0o644)
            except OSError as error:
                raise NoPermission(f"{self.lock}: {error.strerror}") from None
            try:
                fcntl.lockf(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except OSError as error:
                os.close(descriptor)
                if error.errno not in (errno.EACCES, errno.EAGAIN):
                    raise SystemFailure(f"{self.lock}: cannot lock: {error.strerror}") from None
                raise AlreadyRunning(
                    f"already running: pid {self.owner()}, runtime directory {self.path}"
                ) from None
            # The owner may have removed the file between our open and our lock: then it is another
            # file.
            with contextlib.suppress(FileNotFoundError):
                if os.path.samestat(os.fstat(descriptor), os.stat(self.lock)):
                    return descriptor
            os.close(descriptor)

    def owner(self) -> int | None:
        """The pid of the running master, None when nobody holds the lock. For readers; never in the
        master.
        """
        try:
            descriptor = os.open(self.lock, os.O_RDONLY | os.O_CLOEXEC)
        except OSError:
            return None
        try:
            request = struct.pack(_FLOCK, fcntl.F_WRLCK, os.SEEK_SET, 0, 0, 0)
            answer = fcntl.fcntl(descriptor, fcntl.F_GETLK, request)
        finally:
            os.close(descriptor)
        kind, _, _, _, pid = struct.unpack(_FLOCK, answer)
        if kind == fcntl.F_UNLCK:
            return None
        return pid if pid > 0 else self._written_pid()

    def _written_pid(self) -> int | None:
        """The owner lives in another pid namespace or mount: take its word for it."""
        with contextlib.suppress(OSError, ValueError):
            return int(self.pid_file.read_text())
        return None

    def _clear(self) -> None:
        """Remove all that a server keeps here, but for the lock and the journal."""
        for path in (self.pid_file, self.scoreboard):
            remove(path)
            remove(path.with_name(f".{path.name}.new"))
        for journal in self.temporary.glob("*.paths"):
            clear_journal(journal)
        remove(self.temporary)

    def _release(self, made: bool) -> None:
        self._clear()
        remove(self.journal)
        self.lock.unlink(missing_ok=True)
        os.close(self.descriptor)
        if made:
            with contextlib.suppress(OSError):
                self.path.rmdir()


def runtime_directories(name: str, configured: str) -> list[Path]:
    """Where the runtime directory of server `name` may be, the one that a start uses first."""
    if configured:
        return [Path(os.path.abspath(configured))]
    environ, uid = os.environ, os.geteuid()
    given = environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
    user = environ.get("XDG_RUNTIME_DIR", "")
    places = [Path(given)] if given else []
    if uid == 0:
        places.append(Path("/run") / name)
    if user and os.path.isdir(user):
        places.append(Path(user) / name)
    places.append(Path("/tmp") / f"{name}-{uid}")
    return places if uid == 0 else [*places, Path("/run") / name]


def find_running(name: str, configured: str) -> tuple[RuntimeDirectory, int] | None:
    """The runtime directory of the running server `name` and its master's pid."""
    for place in runtime_directories(name, configured):
        directory = RuntimeDirectory(place)
        pid = directory.owner()
        if pid is not None:
            return directory, pid
    return None
