"""The pipe through which a child tells what it does now: a named one in the runtime directory.

It is a pipe since faulthandler, inside a C call, can do no more than write(2) to a descriptor, and
since a reader can wait for its data; shared memory would have to be looked at again and again. It
has a name since the descriptors below /proc/PID/fd are only for those who may trace the process,
which root of a container may not. And it is bounded: a page while nobody reads, for what somebody
sends unasked; a reader widens it for the time that it reads.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import os
import stat
from types import TracebackType
from typing import Final

_IDLE: Final = 4096  # bytes that it holds; of such a user may have many (pipe(7), soft limit)
_READ: Final = 262_144  # the same, while somebody reads
_MOST: Final = 1 << 20  # bytes of one answer, more is no answer
_FLAGS: Final = os.O_NONBLOCK | os.O_NOFOLLOW | os.O_NOCTTY | os.O_CLOEXEC


def hold(path: str) -> int:
    """A descriptor of both ends, for the child: no write of its own waits, or fails for want of a
    reader.
    """
    descriptor = os.open(path, os.O_RDWR | _FLAGS)
    _resize(descriptor, _IDLE)
    return descriptor


class StackPipe:
    """The end of a reader, as a context; one reader at a time, the others wait.

    Raises OSError, ENXIO where no process holds the pipe: its child is gone, or another program.
    """

    def __init__(self, name: str, directory: int) -> None:
        self._descriptor = _opened(name, directory)
        self.text = bytearray()  # read so far
        self.has_ended = False  # nobody is left to write

    def __enter__(self) -> StackPipe:
        fcntl.flock(self._descriptor, fcntl.LOCK_EX)
        self.read()
        self.text.clear()  # told when nobody had asked, or too late
        _resize(self._descriptor, _READ)
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        _resize(self._descriptor, _IDLE)
        os.close(self._descriptor)

    def fileno(self) -> int:
        """Readable when there is more to read."""
        return self._descriptor

    def read(self) -> None:
        """Take in what there is."""
        with contextlib.suppress(BlockingIOError):
            while data := os.read(self._descriptor, 65_536):
                self.text += data[: _MOST - len(self.text)]
            self.has_ended = True


def _opened(name: str, directory: int) -> int:
    writer = os.open(name, os.O_WRONLY | _FLAGS, dir_fd=directory)
    try:
        if not stat.S_ISFIFO(os.fstat(writer).st_mode):
            raise OSError(errno.EINVAL, "not a pipe", name)
        return os.open(name, os.O_RDONLY | _FLAGS, dir_fd=directory)
    finally:
        os.close(writer)


def _resize(descriptor: int, size: int) -> None:
    """Where it cannot be (EPERM: the user has too many; EBUSY: it holds more) it stays as it is."""
    with contextlib.suppress(OSError):
        fcntl.fcntl(descriptor, fcntl.F_SETPIPE_SZ, size)
