"""Facts as words for people."""

from __future__ import annotations

import time


def instant(seconds: float) -> str:
    """`2026-11-22T00:57:47Z`."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def duration(seconds: float) -> str:
    """`2d 3:04:05`."""
    days, rest = divmod(max(0, int(seconds)), 86_400)
    clock = f"{rest // 3600:d}:{rest % 3600 // 60:02d}:{rest % 60:02d}"
    return f"{days}d {clock}" if days else clock
