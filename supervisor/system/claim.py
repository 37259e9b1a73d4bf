"""Whose a runtime directory is: our claim on it is a lock, behind a marker file with the server's
name. It is made by a start, or handed over by a predecessor, half of the lock at a time.
"""

from __future__ import annotations

import contextlib
import os
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
from supervisor.system import record_lock
from supervisor.system.files import leads_to, open_directory, read_regular

MARKER: Final = ".supervisor"  # holds the server's name; what lies beside it is ours
LOCK: Final = "lock"

_LARGEST_MARKER: Final = 256  # bytes
_LOCK_FLAGS: Final = os.O_RDWR | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
_TRIES: Final = 100  # another server's start or end in between makes us look again


class Claim:
    """On the directory of the server `name`."""

    def __init__(self, path: Path, name: str) -> None:
        self.path = path
        self.directory = -1  # its descriptor, while it is ours
        self.made = False  # it did not exist before us
        self.heir: int | None = None  # a uid that may own it as well
        self.is_ours = False
        self._name = name
        self._lock = -1  # descriptor of the lock file, likewise
        self._before: os.stat_result | None = None  # the directory, where somebody broke into it

    def descriptors(self) -> tuple[int, ...]:
        """For a child to close."""
        return tuple(one for one in (self.directory, self._lock) if one >= 0)

    def take(self) -> None:
        """Make the directory and lock it. Raises AlreadyRunning (naming the pid), NoPermission for
        a directory that is not ours, which is left as it is, and SystemFailure.
        """
        for _ in range(_TRIES):
            self.made = self._make() or self.made
            if self._is_taken():
                self.is_ours = True
                return
        raise SystemFailure(f"{self.path}: cannot be locked: others come and go in it")

    def take_again(self) -> None:
        """Keep the old descriptors until we have new ones: nothing else gets their inodes."""
        directory, lock = self.directory, self._lock
        self._before, self.directory, self._lock = os.fstat(directory), -1, -1
        try:
            self.take()
        except SupervisorError:
            self.directory, self._lock = directory, lock
            raise
        os.close(directory)
        os.close(lock)

    def join(self) -> None:
        """Open what a predecessor has locked. Raises NoPermission and SystemFailure."""
        self.directory = self._open()
        if self.directory < 0:
            raise SystemFailure(f"{self.path}: was removed")
        with self.told():
            self._check(self.directory)
            self._lock = os.open(LOCK, _LOCK_FLAGS, dir_fd=self.directory)

    def leads_to_us(self) -> bool:
        """True while the path leads to the lock that we hold. The file is open, so no other has its
        inode.
        """
        return self._lock >= 0 and leads_to(self._lock, self.path / LOCK)

    def is_in_force(self) -> bool:
        """True while the lock that stands in the directory is ours."""
        return self.is_ours and self._lock >= 0 and leads_to(self._lock, LOCK, self.directory)

    def is_marked(self) -> bool:
        """True for our marker. Raises NoPermission for the one of a server with another name."""
        return self._is_marked(self.directory)

    def remove_empty(self) -> None:
        """Remove the directory if it was made by us and is empty."""
        if self.made:
            with contextlib.suppress(OSError):
                self.path.rmdir()

    def close(self) -> None:
        """Give it up, and with it the lock."""
        for descriptor in self.descriptors():
            os.close(descriptor)
        self.directory = self._lock = -1

    @contextlib.contextmanager
    def told(self, what: str = "cannot write") -> Iterator[None]:
        """Turns an error of the system into one line."""
        try:
            yield
        except OSError as error:
            kind = SystemFailure if is_shortage(error) else NoPermission
            raise kind(f"{self.path}: {what}: {error.strerror}") from None

    # Handed over: by its owner `offer`, `let_go`, perhaps `take_back`; by the successor
    # `take_hold`, `take_over`.

    def offer(self) -> None:
        """Let a successor take the second half of the lock."""
        record_lock.give_up(self._lock, record_lock.SECOND)

    def take_hold(self) -> bool:
        """Take that half; False where the directory is not the one that we have joined."""
        return self.leads_to_us() and record_lock.take(self._lock, record_lock.SECOND)

    def let_go(self) -> None:
        """Own nothing any more."""
        record_lock.give_up(self._lock, record_lock.FIRST)
        self.is_ours = False

    def take_over(self) -> bool:
        """Take the whole lock; False where another has it."""
        self.is_ours = record_lock.take(self._lock)
        return self.is_ours

    def take_back(self) -> bool:
        """Be the owner again, of a successor that has ended or is about to; False where another
        is.
        """
        self.is_ours = record_lock.take(self._lock, record_lock.FIRST)
        if self.is_ours:
            record_lock.take(self._lock, record_lock.SECOND)
        return self.is_ours

    def holder(self) -> int | None:
        """The pid of the master that owns the directory, where that is not this process."""
        return record_lock.holder(self._lock) if self._lock >= 0 else None

    # Taken.

    def _make(self) -> bool:
        with self.told("cannot make the runtime directory"):
            try:
                self.path.mkdir(mode=0o755)
            except FileExistsError:
                return False
            self.path.chmod(0o755)
            return True

    def _is_taken(self) -> bool:
        """True once it is locked; False where its last owner removed lock or directory."""
        try:
            self.directory = self._open()
            if self.directory >= 0:
                self._check(self.directory)
                self._lock = self._lock_in(self.directory)
        finally:
            if self._lock < 0:
                self.close()
                self.remove_empty()
        return self._lock >= 0

    def _open(self) -> int:
        """-1 where it has just been removed."""
        with self.told("cannot enter the runtime directory"):
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
        if not is_roots and facts.st_uid not in (os.geteuid(), self.heir):
            raise NoPermission(
                f"{self.path}: belongs to uid {facts.st_uid}, not to us; choose another "
                "master.runtime_directory"
            )
        if not self._is_acceptable(directory, facts):
            raise NoPermission(
                f"{self.path}: neither empty nor marked as ours; choose another "
                "master.runtime_directory"
            )

    def _is_acceptable(self, directory: int, facts: os.stat_result) -> bool:
        if self._before is not None and os.path.samestat(self._before, facts):
            return True  # and has never been another's: somebody has removed our lock
        # Looked at again at last: a server that ends removes its marker when all else is gone.
        return self._is_marked(directory) or _is_vacant(directory) or self._is_marked(directory)

    def _is_marked(self, directory: int) -> bool:
        with contextlib.suppress(OSError):
            owner = os.stat(MARKER, dir_fd=directory, follow_symlinks=False).st_uid
            name = read_regular(MARKER, _LARGEST_MARKER, directory).decode(errors="replace").strip()
            if name and name != self._name:
                raise NoPermission(f"{self.path}: is the runtime directory of the server {name!r}")
            return bool(name) and owner in (os.geteuid(), self.heir)
        return False

    def _lock_in(self, directory: int) -> int:
        """A descriptor of the locked file; -1 where a server that ended has just removed it."""
        try:
            descriptor = os.open(LOCK, _LOCK_FLAGS | os.O_CREAT, 0o644, dir_fd=directory)
        except FileNotFoundError:
            return -1
        except OSError as error:
            kind = SystemFailure if is_shortage(error) else NoPermission
            raise kind(f"{self.path / LOCK}: {error.strerror}") from None
        is_ours = False
        try:
            with self.told("cannot lock"):
                is_ours = self._is_locked(descriptor, directory)
        finally:
            if not is_ours:
                os.close(descriptor)
        return descriptor if is_ours else -1

    def _is_locked(self, descriptor: int, directory: int) -> bool:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise NoPermission(f"{self.path / LOCK}: is not a regular file")
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
