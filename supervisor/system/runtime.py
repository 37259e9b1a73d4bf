"""The runtime directory of one running server: where it is, who holds its lock, what is in it."""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
import struct
from pathlib import Path
from typing import Final

from supervisor.errors import AlreadyRunning, NoPermission, SystemFailure
from supervisor.system.resources import Resources, clear_journal, remove, write_atomically

_FLOCK: Final = "hhqqi"  # struct flock of fcntl(2): type, whence, start, length, pid


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
        for journal in self.temporary.glob("**/*.paths"):
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
