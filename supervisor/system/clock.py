"""The wall clock, for points in time that people read; durations are of the monotonic clock."""

from __future__ import annotations

import time
from typing import NamedTuple


class Instant(NamedTuple):
    """One point in time on both clocks."""

    wall: int  # ns since 1970
    monotonic: int  # ns

    @classmethod
    def now(cls) -> Instant:
        """This one."""
        return cls(wall_clock(), time.monotonic_ns())


def wall_clock() -> int:
    """Now, in ns since 1970."""
    return time.time_ns()
