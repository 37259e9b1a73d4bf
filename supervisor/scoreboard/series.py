"""The time series of the application in shared memory: one file of regions, each with one writer.

A header of three words (magic, version, bytes of a region), then region 0, the master's, then banks
of one region for each slot. A generation has a bank for itself, and the next one that uses the same
bank goes on with the numbers that the dead have left: so the sum over all regions never falls, and
nobody has to fold the counts of the dead into anything.

A region is a head (pid of the living writer, or 0; bytes used) and a journal that only grows: for
each series the length of its name, the name (`Name` as JSON, padded), its value, its stamp. A name
is whole before the head tells of it, and a value is one aligned word, so a reader needs no lock.
The file is sparse: a region's pages are allocated as it grows, which fails with an error, where a
page that is merely touched would end in SIGBUS on a full disk.
"""

from __future__ import annotations

import contextlib
import mmap
import os
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Final, Literal, NamedTuple

import msgspec
from msgspec import Meta, Struct

from supervisor.errors import ScoreboardError, SystemFailure
from supervisor.system.files import leads_to, opened_regular

FILE: Final = "metrics"  # its name in the runtime directory, with the master's pid behind it
MAGIC: Final = int.from_bytes(b"series\0\0", "little")
VERSION: Final = 1
GRANULE: Final = mmap.ALLOCATIONGRANULARITY  # bytes; regions begin at multiples of it

_HEADER: Final = struct.Struct("=QQQ")
_HEAD: Final = struct.Struct("=QQ")  # of a region
_LENGTH: Final = struct.Struct("=Q")
_NUMBERS: Final = struct.Struct("=dd")
_PID, _USED = range(2)  # words of a region's head
_WORD: Final = 8  # bytes
_CHUNK: Final = 4 * GRANULE  # by which a region's pages are allocated

_METRIC: Final = Meta(pattern="^[a-zA-Z_:][a-zA-Z0-9_:]*$")
_LABEL: Final = Meta(pattern="^[a-zA-Z_][a-zA-Z0-9_]*$")


class Name(Struct, frozen=True, array_like=True):
    """The meaning of a number, in prometheus-client's words. `mode`: how the gauges of several
    processes become one; `series`: the metric's name with its suffix.
    """

    kind: Literal["counter", "gauge", "summary", "histogram"]
    mode: str
    metric: Annotated[str, _METRIC]
    series: Annotated[str, _METRIC]
    labels: dict[Annotated[str, _LABEL], str]
    help: str


_GAUGE: Final = b'["gauge"'
_decoder: Final = msgspec.json.Decoder(Name)


class Number(NamedTuple):
    """A number as a reader found it. `pid` is that of its writer, 0 for one that is gone. `stamp`:
    0 = never set; else 1, or when it was set (s since 1970) where the mode asks for that.
    """

    pid: int
    name: Name
    value: float
    stamp: float


class Region:
    """The writer's side of one region: mapped by the process that writes into it, and no other.

    `numbers` are its doubles: the value of a series stands at the index that `add` returns, its
    stamp behind it.
    """

    def __init__(self, descriptor: int, start: int, size: int) -> None:
        self._descriptor, self._start, self._size = descriptor, start, size
        self._allocated = 0
        if not self._allocate(_CHUNK):
            raise SystemFailure("no memory for the application's metrics")
        self._map = mmap.mmap(descriptor, size, offset=start)
        self._words = memoryview(self._map).cast("Q")
        self.numbers = memoryview(self._map).cast("d")
        self._at: dict[bytes, int] = {}
        self._used = _HEAD.size
        self._go_on()

    def add(self, name: bytes) -> int | None:
        """The index of the series with this name; None when the region is full."""
        found = self._at.get(name)
        return self._append(name) if found is None else found

    def leave(self) -> None:
        """The writer is gone: its gauges do not count any more."""
        self._words[_PID] = 0

    def _go_on(self) -> None:
        """Take over the counts of the dead, as far as they make sense; gauges begin at zero."""
        _, data = _copied(self._descriptor, self._start, self._size)
        for name, at in _entries(data):
            self._at[name] = at
            self._used = (at + 2) * _WORD
        self._allocate(self._used)
        for name, at in self._at.items():
            if name.startswith(_GAUGE):
                self.numbers[at] = self.numbers[at + 1] = 0.0
        self._words[_USED] = self._used
        self._words[_PID] = os.getpid()

    def _append(self, name: bytes) -> int | None:
        start, padded = self._used, len(name) + -len(name) % _WORD
        end = start + _LENGTH.size + padded + _NUMBERS.size
        if not self._allocate(end):
            return None
        self._words[start // _WORD] = len(name)
        text = start + _LENGTH.size
        self._map[text : text + padded] = name.ljust(padded, b"\0")
        at = (end - _NUMBERS.size) // _WORD
        self.numbers[at] = self.numbers[at + 1] = 0.0
        # The last store: from now on readers see it.
        self._words[_USED] = self._used = end
        self._at[name] = at
        return at

    def _allocate(self, end: int) -> bool:
        """Have pages for the first `end` bytes."""
        if end > self._size:
            return False
        more = min(-(-end // _CHUNK) * _CHUNK, self._size) - self._allocated
        if more > 0:
            try:
                os.posix_fallocate(self._descriptor, self._start + self._allocated, more)
            except OSError:
                return False
            self._allocated += more
        return True


class SeriesFile:
    """The master's side: makes the file, and says which bank a generation has."""

    def __init__(self, path: Path, size: int, slots: int) -> None:
        """`size`: bytes of a region. Raises SystemFailure."""
        self.path = path
        self._slots = slots
        self._size = size + -size % GRANULE
        self._head = _HEADER.pack(MAGIC, VERSION, self._size)
        self._taken: list[bool] = []
        flags = os.O_RDWR | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC
        try:
            self._descriptor = os.open(path, flags, 0o644)
            self._resize()
        except OSError as error:
            raise SystemFailure(f"{path}: cannot be made: {error.strerror}") from error
        self.own = Region(self._descriptor, GRANULE, self._size)

    def is_there(self) -> bool:
        """False where somebody has removed it: readers do not find it any more."""
        return leads_to(self._descriptor, self.path)

    def take_bank(self) -> int:
        """The number of a bank that no living process writes into, until it is given back."""
        bank = self._taken.index(False) if False in self._taken else len(self._taken)
        self._taken[bank : bank + 1] = [True]
        self._resize()
        return bank

    def give_back(self, bank: int) -> None:
        """The last process that wrote into it is gone."""
        for slot in range(self._slots):
            os.pwrite(self._descriptor, _LENGTH.pack(0), self._begin(bank, slot))
        self._taken[bank] = False

    def region(self, bank: int, slot: int) -> Region:
        """Map the region of a child, in the child. Raises SystemFailure."""
        return Region(self._descriptor, self._begin(bank, slot), self._size)

    def _begin(self, bank: int, slot: int) -> int:
        return GRANULE + self._size * (1 + bank * self._slots + slot)

    def _resize(self) -> None:
        """As many banks as there are, and a header that nobody has scribbled over."""
        os.ftruncate(self._descriptor, self._begin(len(self._taken), 0))
        os.pwrite(self._descriptor, self._head, 0)


def read(path: Path) -> list[Number]:
    """Copy all numbers of all regions; none where there is no such file.

    What a wild process has written there is left out where it cannot be true. Raises
    ScoreboardError for a file that cannot be read.
    """
    try:
        with opened_regular(path) as descriptor:
            return list(_read(descriptor))
    except FileNotFoundError:
        return []
    except OSError as error:
        raise ScoreboardError(f"{path}: cannot read: {error.strerror}") from None


def _read(descriptor: int) -> Iterator[Number]:
    head = os.pread(descriptor, _HEADER.size, 0).ljust(_HEADER.size, b"\0")
    magic, version, size = _HEADER.unpack(head)
    whole = os.fstat(descriptor).st_size - GRANULE
    if (magic, version) != (MAGIC, VERSION) or not size or size % GRANULE or whole % size:
        return
    for start in range(GRANULE, GRANULE + whole, size):
        pid, data = _copied(descriptor, start, size)
        for text, at in _entries(data):
            with contextlib.suppress(msgspec.DecodeError, ValueError, RecursionError):
                name = _decoder.decode(text)
                yield Number(pid, name, *_NUMBERS.unpack_from(data, at * _WORD))


def _copied(descriptor: int, start: int, size: int) -> tuple[int, bytes]:
    """The pid of a region's writer, and the used part of it."""
    head = os.pread(descriptor, _HEAD.size, start).ljust(_HEAD.size, b"\0")
    pid, used = _HEAD.unpack(head)
    return pid, os.pread(descriptor, min(used, size), start)


def _entries(data: bytes) -> Iterator[tuple[bytes, int]]:
    """The names in the copy of a region, and the index of their values; up to what makes no
    sense.
    """
    at, end = _HEAD.size, len(data)
    while at + _LENGTH.size <= end:
        (length,) = _LENGTH.unpack_from(data, at)
        text = at + _LENGTH.size
        at = text + length + -length % _WORD + _NUMBERS.size
        if not length or at > end:
            return
        yield data[text : text + length], (at - _NUMBERS.size) // _WORD
