"""The wall clock, for points in time that people read; durations are of the monotonic clock."""

from __future__ import annotations

import time


def wall_clock() -> int:
    """Now, in ns since 1970."""
    return time.time_ns()
