"""Files and directories by descriptor: no link is followed, nothing blocks, and only what was meant
is read or removed (openat(2), unlinkat(2)).
"""

from __future__ import annotations

import contextlib
import errno
import os
import stat
from collections.abc import Iterator
from pathlib import Path
from typing import Final, NamedTuple

_DIRECTORY: Final = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_LARGEST_PID: Final = 32  # bytes of a pid file
_KINDS: Final = {
    stat.S_IFDIR: "directory",
    stat.S_IFREG: "file",
    stat.S_IFSOCK: "socket",
    stat.S_IFLNK: "link",
}
# Removed under a name of ours. A link goes as a link; where it leads is left alone.
_FILES: Final = ("file", "socket", "link")


class FileId(NamedTuple):
    """Tells one file from the next that has its name. `kind`: directory, file, socket, link,
    other.
    """

    kind: str
    device: int
    inode: int


def identify(path: Path | str, directory: int | None = None) -> FileId | None:
    """The file at `path` itself, not where it leads; None if nothing is there."""
    try:
        facts = os.stat(path, dir_fd=directory, follow_symlinks=False)
    except (FileNotFoundError, NotADirectoryError):
        return None
    return FileId(_KINDS.get(stat.S_IFMT(facts.st_mode), "other"), facts.st_dev, facts.st_ino)


def leads_to(descriptor: int, path: Path | str, directory: int | None = None) -> bool:
    """True while `path` is the file that is open as `descriptor`."""
    with contextlib.suppress(OSError):
        there = os.stat(path, dir_fd=directory, follow_symlinks=False)
        return os.path.samestat(os.fstat(descriptor), there)
    return False


@contextlib.contextmanager
def opened(path: Path | str, flags: int, directory: int | None = None) -> Iterator[int]:
    """A descriptor of `path`, closed at the end."""
    descriptor = os.open(path, flags, dir_fd=directory)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


def open_directory(path: Path | str, directory: int | None = None) -> int:
    """A descriptor of a directory that is no link. Raises OSError."""
    return os.open(path, _DIRECTORY, dir_fd=directory)


@contextlib.contextmanager
def directory_at(path: Path | str, directory: int | None = None) -> Iterator[int]:
    """The same as a context."""
    with opened(path, _DIRECTORY, directory) as descriptor:
        yield descriptor


@contextlib.contextmanager
def opened_regular(path: Path | str, directory: int | None = None) -> Iterator[int]:
    """A descriptor for reading. A FIFO blocks nobody and, as whatever is not a regular file, is
    refused. Raises OSError.
    """
    flags = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_NOCTTY | os.O_CLOEXEC
    with opened(path, flags, directory) as descriptor:
        if not stat.S_ISREG(os.fstat(descriptor).st_mode):
            raise OSError(errno.EINVAL, "not a regular file", str(path))
        yield descriptor


def read_regular(path: Path | str, limit: int, directory: int | None = None) -> bytes:
    """The content of a regular file of at most `limit` bytes. Raises OSError."""
    with opened_regular(path, directory) as descriptor:
        return read_open(descriptor, limit)


def read_open(descriptor: int, limit: int) -> bytes:
    """The same of an open file, from its beginning."""
    size = os.fstat(descriptor).st_size
    if size > limit:
        raise OSError(errno.EFBIG, f"{size} bytes, more than the {limit} that may be")
    with open(os.dup(descriptor), "rb") as file:
        return file.read(size)


def write_new(path: Path | str, data: bytes, directory: int | None = None) -> None:
    """Write a file that did not exist, whole or not at all."""
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
    try:
        with open(os.open(path, flags, 0o644, dir_fd=directory), "wb") as file:
            file.write(data)
    except FileExistsError:
        raise
    except OSError:
        remove_file(path, directory)
        raise


def write_atomically(path: Path, data: bytes) -> None:
    """Write beside and rename over: a reader sees the old file or the new one.

    Through no link that somebody has put there.
    """
    beside = path.with_name(f".{path.name}.new")
    remove_file(beside)
    write_new(beside, data)
    try:
        beside.replace(path)
    except OSError:
        remove_file(beside)
        raise


def is_pid_file(path: Path) -> bool:
    """True where a pid file may be written: nothing is there, or a number, or an empty file."""
    try:
        text = read_regular(path, _LARGEST_PID)
    except FileNotFoundError:
        return True
    except OSError as error:
        if error.errno not in (errno.ELOOP, errno.EFBIG, errno.EINVAL, errno.ENXIO):
            raise
        return False
    return not text.strip() or text.strip().isdigit()


def remove_file(path: Path | str, directory: int | None = None) -> None:
    """Remove a regular file, a socket or a link; what is anything else stays."""
    found = identify(path, directory)
    if found is not None and found.kind in _FILES:
        with contextlib.suppress(FileNotFoundError):
            os.unlink(path, dir_fd=directory)


def remove_tree(path: Path | str, directory: int | None = None) -> None:
    """Remove a directory and all in it, as far as we may. Nothing on another file system: where
    something is mounted, it stays.
    """
    with contextlib.suppress(OSError, RecursionError):
        with directory_at(path, directory) as inner:
            if os.fstat(inner).st_dev == _device_above(path, directory):
                _empty(inner)
        os.rmdir(path, dir_fd=directory)


def _device_above(path: Path | str, directory: int | None) -> int:
    """The file system that the name stands in, which is not that of what is mounted on it."""
    return os.stat(Path(path).parent, dir_fd=directory).st_dev


def _empty(directory: int) -> None:
    for name in os.listdir(directory):
        found = identify(name, directory)
        with contextlib.suppress(OSError):
            if found is not None and found.kind == "directory":
                remove_tree(name, directory)
            else:
                os.unlink(name, dir_fd=directory)


def remove_if(path: Path, known: FileId) -> bool:
    """Remove what is at `path`, file or tree, if it is still `known`; tells whether it was."""
    with contextlib.suppress(OSError), directory_at(path.parent.resolve()) as parent:
        if identify(path.name, parent) != known:
            return False
        if known.kind == "directory":
            remove_tree(path.name, parent)
        else:
            os.unlink(path.name, dir_fd=parent)
        return True
    return False
