"""A copy of a scoreboard, checked; for anybody who may read the file."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Final, NamedTuple, TypeVar

import msgspec

from supervisor.errors import ScoreboardError
from supervisor.scoreboard import layout
from supervisor.scoreboard.layout import (
    DRAIN,
    H_BEGUN_AT,
    H_DESCRIPTION,
    H_DRAINING,
    H_DRAINS,
    H_FORCED,
    H_GENERATION,
    H_HISTORY,
    H_MAGIC,
    H_MASTER,
    H_SIZE,
    H_SLOTS,
    H_STARTED_AT,
    H_STATE,
    H_VERSION,
    HEADER,
    MAGIC,
    MAX_DRAINS,
    STRIDE,
    VERSION,
    ServerState,
    file_size,
)
from supervisor.scoreboard.records import Description, Drain, History, Section
from supervisor.scoreboard.view import RowView, count, nanoseconds
from supervisor.system.files import read_regular

T = TypeVar("T")


class Slot(NamedTuple):
    """One child's number, its section's name, and its row."""

    number: int
    worker: str
    row: RowView


class Snapshot:
    """A copy of a scoreboard, checked as a whole: its parts can be used without another check.

    Raises ScoreboardError for what is no whole scoreboard of our version.
    """

    def __init__(self, data: bytes) -> None:
        self._words = words = _words_of(data)
        self._seen: dict[int, Drain] = {}  # by generation
        described = _decoded(data, layout.DESCRIPTION_AT, words[H_DESCRIPTION], Description)
        if described is None:
            raise ScoreboardError("scoreboard damaged: it does not say what its words mean")
        if sum(section.children for section in described.workers) != words[H_SLOTS]:
            raise ScoreboardError("scoreboard damaged: its slots are not those of its sections")
        self.description = described
        self.history = _decoded(data, layout.HISTORY_AT, words[H_HISTORY], History) or History()
        self.state = _state_of(words[H_STATE])
        self.master = self._row(-1)
        self.slots = [
            Slot(number, section.name, self._row(number))
            for number, section in enumerate(_section_of_each_slot(described))
        ]

    @property
    def pid(self) -> int:
        """The master's."""
        return count(self._words[H_MASTER])

    @property
    def generation(self) -> int:
        """Lives of the set of children so far."""
        return count(self._words[H_GENERATION])

    @property
    def started_at(self) -> float:
        """The server, s since 1970."""
        return nanoseconds(self._words[H_STARTED_AT]) / 1e9

    @property
    def begun_at(self) -> int:
        """The same instant, monotonic ns."""
        return self._words[H_BEGUN_AT]

    @property
    def is_draining(self) -> bool:
        """True once the server is about to end."""
        return self._words[H_DRAINING] != 0

    @property
    def forced(self) -> int:
        """Children of this generation that needed SIGKILL to stop."""
        return count(self._words[H_FORCED])

    def drains(self) -> list[Drain]:
        """The older generations that still drain, oldest first."""
        starts = range(H_DRAINS, H_DRAINS + MAX_DRAINS * DRAIN, DRAIN)
        found = (Drain(*map(count, self._words[start : start + DRAIN])) for start in starts)
        return [self._seen.get(one.generation, one) for one in found if one.generation]

    def see_drains(self, path: Path) -> None:
        """Look into the files of the older generations: the master tells their numbers only when
        it wakes.
        """
        for drain in self.drains():
            with contextlib.suppress(OSError, ScoreboardError):
                theirs = Snapshot(read_regular(own_file(path, drain.generation), _LARGEST))
                active = sum(slot.row.active for slot in theirs.slots)
                self._seen[drain.generation] = drain._replace(active=active)

    def rows_of(self, section: str) -> list[RowView]:
        """The rows of a section's children."""
        return [slot.row for slot in self.slots if slot.worker == section]

    def _row(self, slot: int) -> RowView:
        base = layout.row_base(slot, self._words[H_SLOTS])
        return RowView(self._words[base : base + STRIDE])


_LARGEST: Final = file_size(65_536)  # bytes; more children than any machine has


def own_file(path: Path, generation: int) -> Path:
    """The scoreboard of one generation; `path` is the name of the newest."""
    return path.with_name(f".{path.name}.{generation}.new")


def read(path: Path) -> Snapshot:
    """Copy the scoreboard at `path`, opened read-only. Raises ScoreboardError,
    FileNotFoundError.
    """
    try:
        snapshot = Snapshot(read_regular(path, _LARGEST))
        snapshot.see_drains(path)
        return snapshot
    except FileNotFoundError:
        raise
    except OSError as error:
        raise ScoreboardError(f"{path}: cannot read: {error.strerror}") from None


def _words_of(data: bytes) -> memoryview:
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
    return words


def _state_of(word: int) -> ServerState:
    try:
        return ServerState(word)
    except ValueError as error:
        raise ScoreboardError(f"scoreboard damaged: {error}") from None


def _decoded(data: bytes, start: int, length: int, kind: type[T]) -> T | None:
    """The record in a text; None for one that makes no sense, or is being written."""
    try:
        return msgspec.json.decode(data[start : start + length], type=kind)
    except (msgspec.DecodeError, ValueError, RecursionError):
        return None


def _section_of_each_slot(description: Description) -> list[Section]:
    return [section for section in description.workers for _ in range(section.children)]
