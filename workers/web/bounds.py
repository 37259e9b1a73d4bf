"""How long, and how much, a connection may take."""

from __future__ import annotations

from typing import NamedTuple


class Times(NamedTuple):
    """Seconds: without progress of the client; idle between two requests; of a stream at a stop."""

    connection: float
    keep_alive: float
    stream: float


class Sizes(NamedTuple):
    """Bytes: of a request's body in memory; of an answer that its client has not taken."""

    body: int = 1 << 20
    answer: int = 1 << 20
