"""A copy of a scoreboard, checked; for anybody who may read the file."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from supervisor.errors import ScoreboardError
from supervisor.scoreboard.layout import (
    _CRASH_AT,
    _DESCRIPTION_AT,
    _ROWS_AT,
    H_CRASH,
    H_DESCRIPTION,
    H_MAGIC,
    H_SIZE,
    H_SLOTS,
    H_VERSION,
    HEADER,
    MAGIC,
    STRIDE,
    VERSION,
    file_size,
)


class Snapshot:
    """A copy of a scoreboard, checked. `words` as in the file, `description` and `crash` decoded.

    Raises ScoreboardError for what is no whole scoreboard of our version.
    """

    def __init__(self, data: bytes) -> None:
        if len(data) < HEADER * 8:
            raise ScoreboardError(f"scoreboard truncated: {len(data)} bytes")
        words = memoryview(data[: len(data) // 8 * 8]).cast("Q")
        if words[H_MAGIC] != MAGIC:
            raise ScoreboardError("not a scoreboard")
        if words[H_VERSION] != VERSION:
            raise ScoreboardError(
                f"scoreboard of version {words[H_VERSION]}; this program reads version {VERSION}"
            )
        if len(data) < words[H_SIZE] or words[H_SIZE] != file_size(words[H_SLOTS]):
            raise ScoreboardError(f"scoreboard truncated: {len(data)} of {words[H_SIZE]} bytes")
        self.words = words
        self.slots = words[H_SLOTS]
        self.crash = _json(data, _CRASH_AT, words[H_CRASH]) if words[H_CRASH] else None
        description = _json(data, _DESCRIPTION_AT, words[H_DESCRIPTION])
        if description is None:
            raise ScoreboardError("scoreboard damaged: it does not say what its words mean")
        self.description = description

    def row(self, slot: int) -> memoryview:
        """The words of a slot; -1 is the master's row."""
        base = _ROWS_AT + (slot + 1) * STRIDE
        return self.words[base : base + STRIDE]


def read(path: Path) -> Snapshot:
    """Copy the scoreboard at `path`, opened read-only. Raises ScoreboardError,
    FileNotFoundError.
    """
    try:
        return Snapshot(path.read_bytes())
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ScoreboardError(f"{path}: cannot read: {error.strerror}") from None


def _json(data: bytes, start: int, length: int) -> dict[str, Any] | None:
    try:
        value = json.loads(data[start : start + length])
    except ValueError:
        return None  # being written
    return value if isinstance(value, dict) else None
