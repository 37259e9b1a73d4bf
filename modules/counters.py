"""Module `counters`: totals that survive restarts, in a small JSON file."""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, ClassVar

from msgspec import Meta

from supervisor.child.module import Module
from supervisor.child.shared import Server
from supervisor.config.schema import Options
from supervisor.log.entries import log
from supervisor.system.files import leads_to, opened, write_atomically


class CountersOptions(Options, frozen=True):
    """Options of module `counters`."""

    path: Annotated[
        str,
        Meta(
            description="the file that keeps the totals; its directory exists",
            examples=["counters.json"],
        ),
    ]


class Counters(Module):
    """Keeps the totals of requests, errors and every declared counter over restarts."""

    Options: ClassVar[type[Options]] = CountersOptions

    def init(self, server: Server) -> None:
        self._server = server
        self._path = Path(self.options.path).absolute()
        server.counter("requests", stands_for="requests")
        server.counter("errors", stands_for="errors")
        self._begun_with: dict[str, int] = {}
        with contextlib.suppress(FileNotFoundError):
            self._begun_with = _decoded(self._path.read_bytes(), self._path)
        server.restore(self._begun_with)

    def destroy(self) -> None:
        """Add what was counted since `init`: another generation, or server, may have added its own
        meanwhile. A total that nobody declares at present is kept.
        """
        counted = self._server.totals()
        own = {name: total - self._begun_with.get(name, 0) for name, total in counted.items()}
        try:
            with _locked(self._path) as descriptor:
                kept = _decoded(_whole(descriptor), self._path)
                # A child that wrote wildly may have left any number.
                sums = {name: kept.get(name, 0) + part for name, part in own.items()}
                kept |= {name: total for name, total in sums.items() if _is_total(total)}
                text = json.dumps(kept, indent=1, sort_keys=True)
                write_atomically(self._path, text.encode() + b"\n")
        except (OSError, ValueError) as error:
            log.error("counters not kept", path=self._path, error=str(error))


@contextlib.contextmanager
def _locked(path: Path) -> Iterator[int]:
    """The file, made if missing, under a lock (flock(2)). Whoever writes puts a new file in its
    place, so the one that we got may be the last one's: then the next.
    """
    flags = os.O_RDWR | os.O_CREAT | os.O_CLOEXEC
    while True:
        with opened(path, flags) as descriptor:
            fcntl.flock(descriptor, fcntl.LOCK_EX)
            if leads_to(descriptor, path.resolve()):
                yield descriptor
                return


def _whole(descriptor: int) -> bytes:
    return os.pread(descriptor, os.fstat(descriptor).st_size, 0)


def _decoded(data: bytes, path: Path) -> dict[str, int]:
    """The totals in a file; an empty one was made a moment ago. Raises ValueError when it holds
    something else, and leaves it alone.
    """
    try:
        totals = json.loads(data or b"{}")
    except ValueError as error:
        raise ValueError(f"{path}: not a file of counters: {error}") from None
    if not isinstance(totals, dict) or not all(map(_is_total, totals.values())):
        raise ValueError(f"{path}: not a file of counters; move it away to begin at zero")
    return totals


def _is_total(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63
