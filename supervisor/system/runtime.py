"""The runtime directory of one server, as its master has it: taken, locked, cleared, given back.

Only what bears our marker is cleared, only names of ours are removed, and each by a descriptor of
the directory, so that neither a link nor another directory at the same path can lead us elsewhere.
"""

from __future__ import annotations

import contextlib
import os
import re
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from supervisor.errors import (
    AlreadyRunning,
    NoPermission,
    SupervisorError,
    SystemFailure,
    is_shortage,
)
from supervisor.log.entries import log
from supervisor.system import record_lock
from supervisor.system.files import (
    leads_to,
    open_directory,
    read_regular,
    remove_file,
    write_atomically,
    write_new,
)
from supervisor.system.paths import clear_journal
from supervisor.system.resources import Resources
from supervisor.system.tempdirs import TEMPORARY, clear_all, clear_generation, clear_slot

MARKER: Final = ".supervisor"  # holds the server's name; what lies beside it is ours
LOCK: Final = "lock"
PID: Final = "pid"
SCOREBOARD: Final = "scoreboard"
JOURNAL: Final = "paths"

_REMOVED: Final = re.compile(rf"{PID}|{SCOREBOARD}|\.{PID}\.new|\.{SCOREBOARD}(\.\d+)?\.new")
_LARGEST_MARKER: Final = 256  # bytes
_TRIES: Final = 100  # another server's start or end in between makes us look again


class RuntimeDirectory:
    """The directory of the server `name`. A start takes it, its end gives it back."""

    def __init__(self, path: Path, name: str) -> None:
        self.path = path
        self.name = name
        self.lock = path / LOCK
        self.pid_file = path / PID
        self.scoreboard = path / SCOREBOARD
        self.temporary = path / TEMPORARY
        self.journal = path / JOURNAL
        self.made = False  # it did not exist before us
        self._directory = -1  # its descriptor, while it is ours
        self._lock = -1  # of the locked file, likewise
        self._heir: int | None = None
        self._before: os.stat_result | None = None  # the directory, where somebody broke into it
        self._resources = Resources()

    def descriptors(self) -> tuple[int, ...]:
        """For a child to close."""
        return tuple(one for one in (self._directory, self._lock) if one >= 0)

    def acquire(self, resources: Resources, heir: int | None = None) -> None:
        """Make the directory ours, lock it, and clear what a dead server left in it.

        It may also belong to the uid `heir`, to whom a server before us gave it. Raises
        AlreadyRunning (naming the pid), NoPermission for a directory that is not ours, which is
        left as it is, and SystemFailure.
        """
        self._heir, self._resources = heir, resources
        self._take()
        resources.add("runtime directory", self._release)
        with self._told():
            self._take_back()
            self._clear()
            self._begin()

    def ensure(self) -> None:
        """Make the directory anew where somebody has removed it, or what is in it. For before a
        later generation; raises as `acquire` does, AlreadyRunning where another server has it now.
        """
        if self._leads_to_us() and self._is_marked(self._directory):
            return
        log.warning("runtime directory was removed; made again", path=self.path)
        if not self._leads_to_us():
            self._take_again()
        with self._told():
            self._begin()

    def give_to(self, uid: int, gid: int) -> None:
        """Let another user own the directory and what is in it; before we become that user."""
        for name in (MARKER, LOCK, PID, JOURNAL):
            os.chown(name, uid, gid, dir_fd=self._directory, follow_symlinks=False)
        os.fchown(self._directory, uid, gid)

    def tempdir(self, generation: int, slot: int) -> Path:
        """Where a child may keep files; made when it is needed."""
        return self.temporary / str(generation) / str(slot)

    def clear_child(self, generation: int, slot: int) -> None:
        """Remove what a dead child registered, and its own directory."""
        clear_slot(self._directory, generation, slot)

    def clear_generation(self, generation: int) -> None:
        """Remove what is left of all children of a generation that has ended."""
        clear_generation(self._directory, generation)

    # Taken.

    def _take(self) -> None:
        for _ in range(_TRIES):
            self.made = self._make() or self.made
            if self._is_taken():
                return
        raise SystemFailure(f"{self.path}: cannot be locked: others come and go in it")

    def _take_again(self) -> None:
        """Keep the old descriptors until we have new ones: nothing else gets their inodes."""
        directory, lock = self._directory, self._lock
        self._before, self._directory, self._lock = os.fstat(directory), -1, -1
        try:
            self._take()
        except SupervisorError:
            self._directory, self._lock = directory, lock
            raise
        os.close(directory)
        os.close(lock)

    def _make(self) -> bool:
        with self._told("cannot make the runtime directory"):
            try:
                self.path.mkdir(mode=0o755)
            except FileExistsError:
                return False
            self.path.chmod(0o755)
            return True

    def _is_taken(self) -> bool:
        """True once it is locked; False where its last owner removed lock or directory."""
        try:
            self._directory = self._open()
            if self._directory >= 0:
                self._check(self._directory)
                self._lock = self._lock_in(self._directory)
        finally:
            if self._lock < 0:
                self._close()
                self._remove_empty()
        return self._lock >= 0

    def _open(self) -> int:
        """-1 where it has just been removed."""
        with self._told("cannot enter the runtime directory"):
            try:
                return open_directory(self.path)
            except FileNotFoundError:
                return -1
            except NotADirectoryError:
                raise NoPermission(f"{self.path}: is not a directory") from None

    def _check(self, directory: int) -> None:
        """Refuse what is not ours: another user's directory, one with files and without our
        marker.
        """
        facts = os.fstat(directory)
        # An empty volume that root has mounted for us will do; a common place like /tmp will not.
        is_roots = facts.st_uid == 0 and not facts.st_mode & stat.S_ISVTX
        if not is_roots and facts.st_uid not in (os.geteuid(), self._heir):
            raise NoPermission(
                f"{self.path}: belongs to uid {facts.st_uid}, not to us; choose another "
                "master.runtime_directory"
            )
        if not self._is_ours(directory, facts):
            raise NoPermission(
                f"{self.path}: neither empty nor marked as ours; choose another "
                "master.runtime_directory"
            )

    def _is_ours(self, directory: int, facts: os.stat_result) -> bool:
        if self._before is not None and os.path.samestat(self._before, facts):
            return True  # and has never been another's: somebody has removed our lock
        # Looked at again at last: a server that ends removes its marker when all else is gone.
        return self._is_marked(directory) or _is_vacant(directory) or self._is_marked(directory)

    def _is_marked(self, directory: int) -> bool:
        """True for our marker. Raises NoPermission for the one of a server with another name."""
        with contextlib.suppress(OSError):
            owner = os.stat(MARKER, dir_fd=directory, follow_symlinks=False).st_uid
            name = read_regular(MARKER, _LARGEST_MARKER, directory).decode(errors="replace").strip()
            if name and name != self.name:
                raise NoPermission(f"{self.path}: is the runtime directory of the server {name!r}")
            return bool(name) and owner in (os.geteuid(), self._heir)
        return False

    def _lock_in(self, directory: int) -> int:
        """A descriptor of the locked file; -1 where a server that ended has just removed it."""
        flags = os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
        try:
            descriptor = os.open(LOCK, flags, 0o644, dir_fd=directory)
        except FileNotFoundError:
            return -1
        except OSError as error:
            kind = SystemFailure if is_shortage(error) else NoPermission
            raise kind(f"{self.lock}: {error.strerror}") from None
        is_ours = False
        try:
            with self._told("cannot lock"):
                is_ours = self._is_locked(descriptor, directory)
        finally:
            if not is_ours:
                os.close(descriptor)
        return descriptor if is_ours else -1

    def _is_locked(self, descriptor: int, directory: int) -> bool:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise NoPermission(f"{self.lock}: is not a regular file")
        if record_lock.take(descriptor):
            # Its owner may have removed it between our open and our lock: then it leads nowhere.
            return leads_to(descriptor, LOCK, directory)
        pid = record_lock.holder(descriptor)
        if pid is not None:
            where = f"pid {pid}" if pid != record_lock.ELSEWHERE else "in another pid namespace"
            raise AlreadyRunning(f"already running: {where}, runtime directory {self.path}")
        # Locked by a process that may only read it, so by no master: it may keep that file.
        if leads_to(descriptor, LOCK, directory):
            os.unlink(LOCK, dir_fd=directory)
        return False

    def _take_back(self) -> None:
        """Take the directory's ownership before a path in it is used.

        Otherwise the user to whom it was given could replace a file in it by a link between our
        look at it and our use of it, and we would follow that link with root's rights.
        """
        facts = os.fstat(self._directory)
        if facts.st_uid not in (os.geteuid(), 0):
            os.fchown(self._directory, os.geteuid(), os.getegid())
            os.fchmod(self._directory, 0o755)
        elif facts.st_uid == os.geteuid() and facts.st_mode & 0o022:
            os.fchmod(self._directory, stat.S_IMODE(facts.st_mode) & ~0o022)

    def _clear(self) -> None:
        """Remove what a dead server left. Where no marker is, nothing is."""
        if self._is_marked(self._directory):
            self._remove_ours()
            clear_journal(JOURNAL, self._directory)

    def _begin(self) -> None:
        if not self._is_marked(self._directory):
            remove_file(MARKER, self._directory)
            write_new(MARKER, f"{self.name}\n".encode(), self._directory)
        self._resources.use_journal(self.journal)
        write_atomically(self.pid_file, b"%d\n" % os.getpid())

    @contextlib.contextmanager
    def _told(self, what: str = "cannot write") -> Iterator[None]:
        """Turns an error of the system into one line."""
        try:
            yield
        except OSError as error:
            kind = SystemFailure if is_shortage(error) else NoPermission
            raise kind(f"{self.path}: {what}: {error.strerror}") from None

    # Given back.

    def _leads_to_us(self) -> bool:
        """True while the path leads to the lock that we hold. The file is open, so no other has its
        inode.
        """
        return self._lock >= 0 and leads_to(self._lock, self.lock)

    def _release(self) -> None:
        """Remove what is ours, if the directory still is; the marker goes when nothing is left but
        the lock, so that whoever finds it missing finds an empty directory.
        """
        if self._lock >= 0 and leads_to(self._lock, LOCK, self._directory):
            self._remove_ours()
            remove_file(JOURNAL, self._directory)
            left = set(os.listdir(self._directory)) - {MARKER, LOCK}
            if left:
                log.warning("runtime directory stays", path=self.path, left=", ".join(sorted(left)))
            else:
                remove_file(MARKER, self._directory)
            remove_file(LOCK, self._directory)
            self._remove_empty()
        self._close()

    def _remove_ours(self) -> None:
        """Remove all that a server keeps here, but for marker, lock and journal."""
        clear_all(self._directory)
        for name in filter(_REMOVED.fullmatch, os.listdir(self._directory)):
            remove_file(name, self._directory)

    def _remove_empty(self) -> None:
        """Remove the directory if it was made by us and is empty."""
        if self.made:
            with contextlib.suppress(OSError):
                self.path.rmdir()

    def _close(self) -> None:
        for descriptor in self.descriptors():
            os.close(descriptor)
        self._directory = self._lock = -1


def file_of(directory: Path, name: str, pid: int) -> Path:
    """The path of a file that a master with this pid keeps in its runtime directory as long as it
    lives; so two masters, of which one succeeds the other, have one each.
    """
    return directory / f"{name}.{pid}"


def _is_vacant(directory: int) -> bool:
    """True for an empty directory; a server that was killed as it came or went may have left lock
    and marker, both empty.
    """
    names = os.listdir(directory)
    return all(name in (MARKER, LOCK) and _is_empty_file(name, directory) for name in names)


def _is_empty_file(name: str, directory: int) -> bool:
    with contextlib.suppress(FileNotFoundError):
        facts = os.stat(name, dir_fd=directory, follow_symlinks=False)
        return stat.S_ISREG(facts.st_mode) and facts.st_size == 0
    return True
