"""Module `counters`: totals that survive restarts, in a small JSON file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated, ClassVar

from msgspec import Meta

from supervisor.child.module import Module
from supervisor.child.shared import Server
from supervisor.config.schema import Options
from supervisor.log.entries import log
from supervisor.system.files import write_atomically


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
        self._loaded = self._load()
        server.restore(self._loaded)

    def destroy(self) -> None:
        """A total that nobody declares at present is kept."""
        totals = self._loaded | self._server.totals()
        write_atomically(self._path, json.dumps(totals, indent=1, sort_keys=True).encode() + b"\n")

    def _load(self) -> dict[str, int]:
        """The totals in the file. Raises ValueError when it holds something else, and leaves it
        alone.
        """
        try:
            totals = json.loads(self._path.read_text())
        except FileNotFoundError:
            log.info("counters begin at zero", path=self._path)
            return {}
        except ValueError as error:
            raise ValueError(f"{self._path}: not a file of counters: {error}") from None
        if not isinstance(totals, dict) or not all(_is_total(n) for n in totals.values()):
            raise ValueError(f"{self._path}: not a file of counters; move it away to begin at zero")
        return totals


def _is_total(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool) and 0 <= value < 2**63
