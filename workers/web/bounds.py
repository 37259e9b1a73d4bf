"""How long, and how much, a connection may take."""

from __future__ import annotations

from typing import TYPE_CHECKING, Final, NamedTuple

if TYPE_CHECKING:
    from supervisor.child.child import Child

_UNHURRIED: Final = 2.0  # s before stop_timeout, where others serve already


class Times(NamedTuple):
    """Seconds: without progress of the client; idle between two requests; of a stream at a stop."""

    connection: float
    keep_alive: float
    stream: float


class Sizes(NamedTuple):
    """Bytes: of a request's body in memory; of an answer that its client has not taken."""

    body: int = 1 << 20
    answer: int = 1 << 20


def time_to_stop(child: Child, stream_timeout: float) -> float:
    """Once told to stop: seconds that an answer may go on which has begun, a stream. Where others
    serve already nobody is in a hurry.
    """
    timeout = child.place.stop_timeout
    seconds = min(stream_timeout, timeout / 2)
    return max(seconds, timeout - _UNHURRIED) if child.others_serve else seconds
