"""Module `cache`: keys and values that all children share, on lmdb, and that outlive the server."""

from __future__ import annotations

import contextlib
import errno
import os
import resource
import struct
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, ClassVar, Final

from msgspec import Meta

from supervisor.child.child import Child
from supervisor.child.module import Module
from supervisor.child.shared import Server
from supervisor.config.schema import Options
from supervisor.errors import SystemFailure, is_shortage
from supervisor.log.entries import log
from supervisor.system.clock import wall_clock

if TYPE_CHECKING:
    import lmdb

# A value is stored behind (expires, stamp): ns since 1970, 0 = never; and its place in the order of
# writing, by which the oldest give way.
_HEAD: Final = struct.Struct(">QQ")
_STAMP: Final = struct.Struct(">Q")
_PAGE: Final = resource.getpagesize()  # lmdb's own as well
_OVERHEAD: Final = 4 * _PAGE  # what one entry may need beside its value: split pages of both tables
_READERS: Final = 4096
_LOCK_SIZE: Final = (_READERS + 64) * 64  # bytes: a cache line for each reader, and the head
# The file's bound. A reader that the scheduler takes off its CPU keeps all pages from being used
# again meanwhile, and writers go on into new ones.
_ROOM: Final = 67_108_864  # bytes, and 4 times the size


class CacheOptions(Options, frozen=True):
    """Options of module `cache`."""

    path: Annotated[
        str, Meta(description="the directory of the database, made if missing", examples=["cache"])
    ]
    size: Annotated[
        int,
        Meta(
            ge=262_144,
            description="that keys and values may take; the file grows beyond it where many write "
            "at once",
            extra={"unit": "bytes"},
        ),
    ] = 67_108_864


class Cache(Module):
    """A key-value cache common to all children, kept on disk.

    `get`, `put` with a time to live, `delete`. When it is full, what was written first goes.

    Each child opens the database after the fork; what was put is on disk once `destroy` is done.
    """

    Options: ClassVar[type[Options]] = CacheOptions
    needs: ClassVar[Mapping[str, str]] = {"lmdb": "cache"}

    def init(self, server: Server) -> None:
        """Make the database, so that a damaged file, a missing right or a full disk ends the start;
        and close it: an open one must not cross a fork, nor be opened twice by one process.
        """
        self._path = Path(self.options.path).absolute()
        with _no_room(self._path):
            self._path.mkdir(mode=0o750, parents=True, exist_ok=True)
            _allocate(self._path / "lock.mdb", _LOCK_SIZE)
            self._use()
            self._database.close()
        self._hits, self._misses = server.counter("hits"), server.counter("misses")
        self._puts, self._evicted = server.counter("puts"), server.counter("evicted")
        self._refused = server.counter("refused")

    def child_init(self, child: Child) -> None:
        self._use()

    def child_exit(self, child: Child) -> None:
        self._database.close()

    def destroy(self) -> None:
        """Children are gone: free what dead readers hold, and write all to disk."""
        database = self._open()
        with contextlib.closing(database):
            stale = database.reader_check()
            database.sync(True)
            entries = database.stat()["entries"]
        log.debug("cache synced", path=self._path, entries=entries, stale_readers=stale)

    def get(self, key: str | bytes) -> bytes | None:
        """The value of `key`; None when there is none, or it has expired."""
        with self._database.begin(db=self._values) as transaction:
            stored = transaction.get(_key(key))
        if stored is None or _has_expired(stored, wall_clock()):
            self._misses.add()
            return None
        self._hits.add()
        return stored[_HEAD.size :]

    def put(self, key: str | bytes, value: bytes, ttl: float | None = None) -> bool:
        """Store `value`, for `ttl` seconds if given. False when it does not fit: what was there
        before stays.

        Raises ValueError for a key that is empty or longer than 511 bytes, OSError where the disk
        is full: nothing has changed then.
        """
        import lmdb

        now = wall_clock()
        expires = 0 if ttl is None else now + int(ttl * 1e9)
        try:
            stored: bool = len(value) + _OVERHEAD <= self.options.size
            if stored:
                self._store(_key(key), value, now, expires)
        except lmdb.MapFullError:
            stored = False
        except lmdb.Error as error:
            raise _not_written(self._path, error) from error
        (self._puts if stored else self._refused).add()
        return stored

    def delete(self, key: str | bytes) -> bool:
        """Remove `key`; False when it was not there. Raises as `put` does."""
        import lmdb

        try:
            with self._database.begin(write=True) as transaction:
                return self._forget(transaction, _key(key))
        except lmdb.Error as error:
            raise _not_written(self._path, error) from error

    def sync(self) -> None:
        """Write everything to disk now. Raises OSError."""
        import lmdb

        try:
            self._database.sync(True)
        except lmdb.Error as error:
            raise _not_written(self._path, error) from error

    def _use(self) -> None:
        self._database = self._open()
        self._values = self._database.open_db(b"values")
        self._ages = self._database.open_db(b"ages")

    def _open(self) -> lmdb.Environment:
        """No sync at each commit: the kernel keeps what a killed process wrote; only a machine that
        stops loses what came after the last sync, and lmdb's order of writes keeps it whole.
        """
        import lmdb

        return lmdb.open(
            str(self._path),
            map_size=4 * self.options.size + _ROOM,
            max_dbs=2,
            max_readers=_READERS,
            sync=False,
            mode=0o640,
        )

    def _store(self, key: bytes, value: bytes, now: int, expires: int) -> None:
        with self._database.begin(write=True) as transaction:
            self._forget(transaction, key)
            self._make_room(transaction, len(value) + _OVERHEAD)
            stamp = self._next_stamp(transaction, now)
            transaction.put(key, _HEAD.pack(expires, stamp) + value, db=self._values)
            transaction.put(_STAMP.pack(stamp), key, db=self._ages)

    def _forget(self, transaction: Any, key: bytes) -> bool:
        stored: bytes | None = transaction.pop(key, db=self._values)
        if stored is None:
            return False
        transaction.delete(_STAMP.pack(_HEAD.unpack_from(stored)[1]), db=self._ages)
        return True

    def _make_room(self, transaction: Any, need: int) -> None:
        """Let the oldest go until `need` bytes are free."""
        with transaction.cursor(db=self._ages) as ages:
            while self._used(transaction) + need > self.options.size and ages.first():
                self._forget(transaction, ages.value())
                self._evicted.add()

    def _used(self, transaction: Any) -> int:
        kinds = ("branch_pages", "leaf_pages", "overflow_pages")
        tables = [transaction.stat(table) for table in (self._values, self._ages)]
        pages: int = sum(table[kind] for table in tables for kind in kinds)
        return pages * _PAGE

    def _next_stamp(self, transaction: Any, now: int) -> int:
        """After every other one, also when the clock was set back."""
        with transaction.cursor(db=self._ages) as ages:
            last: int = _STAMP.unpack(ages.key())[0] if ages.last() else 0
        return max(now, last + 1)


def _allocate(file: Path, size: int) -> None:
    """Give the lock file its blocks before lmdb maps it: to write to a page of a mapped file that
    has none, on a full disk, is death by SIGBUS. (The data file is written by write(2).)
    """
    with open(os.open(file, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640), "rb") as lock:
        os.posix_fallocate(lock.fileno(), 0, size)


@contextlib.contextmanager
def _no_room(path: Path) -> Iterator[None]:
    """Turns an error of the system into a SystemFailure; a damaged database stays what it is."""
    import lmdb

    try:
        yield
    except (lmdb.DiskError, lmdb.MemoryError) as error:
        raise SystemFailure(f"{path}: {error}") from error
    except OSError as error:
        if not is_shortage(error):
            raise
        raise SystemFailure(f"{path}: {error.strerror}") from error
    except lmdb.Error as error:
        # The class itself stands for an errno, as EIO for a write(2) that came to half of it.
        if type(error) is not lmdb.Error:
            raise
        raise SystemFailure(f"{path}: {error}") from error


def _not_written(path: Path, error: Exception) -> OSError:
    return OSError(errno.EIO, f"cannot write to the cache: {error}", str(path))


def _key(key: str | bytes) -> bytes:
    data = key.encode() if isinstance(key, str) else key
    if not 0 < len(data) <= 511:
        raise ValueError(f"a key has 1 to 511 bytes, not {len(data)}")
    return data


def _has_expired(stored: bytes, now: int) -> bool:
    expires: int = _HEAD.unpack_from(stored)[0]
    return 0 < expires <= now
