"""The wall clock, for points in time that people read; durations are of the monotonic clock."""

from __future__ import annotations

import time
from typing import NamedTuple

wall_clock = time.time_ns  # now, in ns since 1970; no function around it, for each answer reads it


class Instant(NamedTuple):
    """One point in time on both clocks."""

    wall: int  # ns since 1970
    monotonic: int  # ns

    @classmethod
    def now(cls) -> Instant:
        """This one."""
        return cls(wall_clock(), time.monotonic_ns())
