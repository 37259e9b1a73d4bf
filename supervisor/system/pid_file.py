"""`[master] pid_file`, besides the one in the runtime directory."""

from __future__ import annotations

import os
from pathlib import Path

from supervisor.errors import ConfigError, NoPermission
from supervisor.system.files import is_pid_file, remove_file, write_atomically, write_new
from supervisor.system.resources import Resources


class PidFile:
    """One such file. `where` names its key for people. Every method raises ConfigError and
    NoPermission.
    """

    def __init__(self, path: str, where: str, resources: Resources) -> None:
        self.path = Path(os.path.abspath(path))
        self._where = f"{where}: {self.path}"
        self._resources = resources
        self._beside = self.path.with_name(f".{self.path.name}.new")
        self._is_staged = False

    def write(self) -> None:
        """Write it, and remove it at the end."""
        self._check()
        self._resources.add_path(self.path)
        try:
            write_atomically(self.path, _content())
        except OSError as error:
            raise self._refused(error) from None
        self._resources.see(self.path)

    def stage(self) -> None:
        """Prepare it beside the file of a predecessor, so that `take_over` cannot fail.

        Where the directory is not ours any more but the file is, that will be written in place.
        """
        self._check()
        try:
            remove_file(self._beside)
            write_new(self._beside, _content())
        except PermissionError as error:
            if not os.access(self.path, os.W_OK):
                raise self._refused(error) from None
        except OSError as error:
            raise self._refused(error) from None
        else:
            self._is_staged = True
            self._resources.add("pid file", self._give_up)

    def take_over(self) -> None:
        """It is ours from now on, and removed at the end."""
        if self._is_staged:
            self._is_staged = False
            self._beside.replace(self.path)
        else:
            _overwrite(self.path, _content())
        self._resources.add_path(self.path)

    def take_back(self) -> None:
        """It was ours before a successor wrote its own."""
        self.stage()
        self.take_over()

    def disown(self) -> None:
        """It is a successor's."""
        self._resources.disown(self.path)

    def give_to(self, uid: int, gid: int) -> None:
        """Let another user own it."""
        os.chown(self._beside if self._is_staged else self.path, uid, gid, follow_symlinks=False)

    def _give_up(self) -> None:
        if self._is_staged:
            remove_file(self._beside)

    def _check(self) -> None:
        try:
            is_ours = is_pid_file(self.path)
        except OSError as error:
            raise self._refused(error) from None
        if not is_ours:
            raise ConfigError([f"{self._where}: exists and is no pid file; not overwritten"])

    def _refused(self, error: OSError) -> ConfigError | NoPermission:
        if isinstance(error, PermissionError):
            return NoPermission(f"{self._where}: {error.strerror}")
        return ConfigError([f"{self._where}: {error.strerror}"])


def _content() -> bytes:
    return b"%d\n" % os.getpid()


def _overwrite(path: Path, content: bytes) -> None:
    """In one write, padded with empty lines: a reader sees the old number or the new one."""
    descriptor = os.open(path, os.O_WRONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
    try:
        size = os.fstat(descriptor).st_size
        os.pwrite(descriptor, content.ljust(size, b"\n"), 0)
        os.ftruncate(descriptor, len(content))
    finally:
        os.close(descriptor)
