"""How long to wait, and for what: the configuration as the table of the children needs it. Pure."""

from __future__ import annotations

from collections.abc import Callable
from typing import Final, NamedTuple

_SHARE: Final = 10.0  # a restart may use a tenth of the time
_LONGEST_PAUSE: Final = 1.0  # s, after a generation that was ready
_FIRST_PAUSE: Final = 0.1  # s, after one that never was; doubling
_LONGEST_FAILURE: Final = 30.0  # s


class Policy(NamedTuple):
    """The configuration of these decisions; in seconds. `renew_after` gives the age at which a
    generation is renewed, with its jitter; infinite where age does not matter.
    """

    restarts: bool
    start_timeout: float
    stop_timeout: float
    crash_timeout: float
    drain_delay: float
    is_exclusive: bool  # a module that cannot stand two of itself
    renew_after: Callable[[], float]


def pause_after_service(begun: float, ready_at: float, now: float) -> float:
    """Seconds to wait after a generation that served: starts may use a tenth of the time. `begun`:
    its first fork, `ready_at`: when all of it was ready; monotonic s.
    """
    return min(max(0.0, _SHARE * (ready_at - begun) - (now - ready_at)), _LONGEST_PAUSE)


def pause_after_failures(count: int) -> float:
    """Seconds to wait after so many generations in a row that were never ready (>= 1)."""
    return min(_FIRST_PAUSE * 2.0 ** min(count - 1, 16), _LONGEST_FAILURE)
