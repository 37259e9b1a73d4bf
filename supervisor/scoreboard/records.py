"""The texts of a scoreboard as records, for the writer and for the readers.

A reader decodes by these types, so a text that makes no sense is refused as a whole.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from itertools import repeat
from typing import Annotated, Final, Literal, NamedTuple, TypeVar

import msgspec
from msgspec import Meta, Struct

from supervisor.config.address import Address
from supervisor.scoreboard.layout import HISTORY_SIZE, STRIDE

KEPT: Final = 10  # crashes, and as many incidents

_MOST_CAUSES: Final = 100
_LONGEST_TRACEBACK: Final = 65_536  # bytes, of the newest crash
_OLDER: Final = 8  # times less for each older one

Instant = Annotated[float, Meta(ge=0, le=2**37)]  # s since 1970
Seconds = Annotated[float, Meta(ge=0, le=2**37)]
Count = Annotated[int, Meta(ge=0, lt=2**53)]


class Section(Struct, frozen=True):
    """A worker section. Its slots follow those of the section before."""

    name: str
    type: str
    children: Annotated[int, Meta(ge=1)]
    backlog: int
    listen: tuple[Address, ...] = ()


class Description(Struct, frozen=True):
    """The meaning of a scoreboard's words. `counters`: the word of a row, by full name; `locks` in
    the order of their numbers.
    """

    name: str
    workers: tuple[Section, ...]
    counters: dict[str, Annotated[int, Meta(ge=0, lt=STRIDE)]] = {}
    locks: tuple[str, ...] = ()


class Drain(NamedTuple):
    """An older generation that still drains: its number, its master's pid, its requests in hand,
    its living children. Not a text, but some words of the header.
    """

    generation: int
    pid: int
    active: int
    children: int = 0


class Crash(Struct, frozen=True, kw_only=True):
    """An unexpected death, as `last_crash` of the statistics has it.

    `requests`: those in hand, oldest first; `oom`: the kernel's OOM killer did it, which is proved.
    """

    at: Instant
    generation: Count
    slot: Count
    worker: str
    pid: Count
    cause: str
    signal: str | None
    state: str
    lock: str | None
    peak_rss_bytes: Count
    oom: bool
    requests: tuple[str, ...] = ()
    traceback: str = ""


class Report(Crash, frozen=True, kw_only=True):
    """All that is known of an unexpected death: what the log says of it, kept for `why`.

    `in_state`: how long it was in its last state; durations in seconds.
    """

    exit_code: int | None = None
    core_dumped: bool = False
    was_ready: bool = True
    uptime: Seconds = 0.0
    in_state: Seconds = 0.0
    cpu_seconds: Seconds = 0.0


class Incident(Struct, frozen=True, kw_only=True):
    """Something that went wrong and was no crash, with its reason in a line."""

    at: Instant
    kind: Literal["forced stop", "failed restart", "failed renewal", "failed reload"]
    generation: Count
    reason: str
    worker: str = ""
    slot: int | None = None
    pid: int | None = None
    traceback: str = ""


class Deaths(Struct, frozen=True):
    """How many children of a section have died of a cause, since the server was started."""

    worker: str
    cause: str
    count: Count


R = TypeVar("R", Report, Incident)


class History(Struct):
    """Crashes and other failures since the server's start, over all generations; newest first."""

    crashes: tuple[Report, ...] = ()
    incidents: tuple[Incident, ...] = ()
    deaths: tuple[Deaths, ...] = ()

    def add_crash(self, report: Report) -> None:
        """Remember a crash; the oldest beyond KEPT is forgotten.

        A start that fails again and again in the same way is remembered once: it must not drive out
        the crash that it began with.
        """
        known = self.crashes
        if known and not report.was_ready and _failure_of(known[0]) == _failure_of(report):
            known = known[1:]
        self.crashes = (report, *known)[:KEPT]
        self.count_death(report.worker, report.cause)

    def add_incident(self, incident: Incident) -> None:
        """Remember what was no crash; the oldest beyond KEPT is forgotten. What fails again in the
        same way is remembered once.
        """
        known = self.incidents
        is_again = known and (known[0].kind, known[0].reason) == (incident.kind, incident.reason)
        if is_again and incident.kind != "forced stop":
            known = known[1:]
        self.incidents = (incident, *known)[:KEPT]

    def count_death(self, worker: str, cause: str) -> None:
        """Count one more death, one that is no crash too."""
        counts = {(one.worker, one.cause): one.count for one in self.deaths}
        if (worker, cause) not in counts and len(counts) >= _MOST_CAUSES:
            cause = "other"
        counts[worker, cause] = counts.get((worker, cause), 0) + 1
        self.deaths = tuple(Deaths(*key, count) for key, count in counts.items())

    def encode(self) -> bytes:
        """The JSON, cut to what fits: a long traceback loses its beginning, an older one more of
        it.
        """
        longest = _LONGEST_TRACEBACK
        while len(data := _encode(self, longest)) > HISTORY_SIZE:
            longest //= 2
        return data


def _failure_of(report: Report) -> tuple[bool, str, str, str]:
    return report.was_ready, report.worker, report.cause, report.traceback


def _encode(history: History, longest: int) -> bytes:
    crashes = _cut(history.crashes, longest)
    incidents = _cut(history.incidents, longest // _OLDER)
    return msgspec.json.encode(History(crashes, incidents, history.deaths))


def _cut(records: Sequence[R], longest: int) -> tuple[R, ...]:
    """The same with tracebacks no longer than that, in bytes; the others than the first have an
    eighth of it.
    """
    return tuple(
        msgspec.structs.replace(one, traceback=_end_of(one.traceback, most))
        for one, most in zip(records, _limits(longest), strict=False)
    )


def _limits(longest: int) -> Iterator[int]:
    yield longest
    yield from repeat(longest // _OLDER)


def _end_of(text: str, most: int) -> str:
    data = text.encode("utf-8", "replace")
    if len(data) <= most:
        return text
    return "..." + data[len(data) - most + 3 :].decode("utf-8", "ignore")
