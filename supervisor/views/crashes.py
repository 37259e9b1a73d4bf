"""Crashes in words: a death as one log entry, and the history that `why` prints."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, TypeVar

import msgspec

from supervisor.log.forms import Entry, Size, told
from supervisor.scoreboard.records import KEPT, History, Incident, Report
from supervisor.scoreboard.view import printable
from supervisor.views.text import instant
from supervisor.views.tracebacks import folded


def facts(report: Report) -> dict[str, Any]:
    """The facts of a death for its entry in the log, with what the black box holds."""
    return {
        "worker": report.worker,
        "slot": report.slot,
        "pid": report.pid,
        "cause": report.cause,
        "exit": report.exit_code,
        "signal": report.signal,
        "core_dumped": True if report.core_dumped else None,
        "uptime": report.uptime,
        "state": report.state,
        "for": report.in_state,
        "request": report.requests[0] if report.requests else None,
        "lock": report.lock,
        "peak_rss": Size(report.peak_rss_bytes),
        "cpu": report.cpu_seconds,
        "note": "\n".join(_notes(report)) or None,
        "traceback": report.traceback or None,
    }


def _notes(report: Report) -> Iterator[str]:
    if report.oom:
        yield "killed by the kernel's OOM killer"
    yield from (f"also in hand: {request}" for request in report.requests[1:])


def why(history: History) -> Iterator[str]:
    """The last crashes and incidents, newest first, each as some lines."""
    events: list[Report | Incident] = [*history.crashes, *history.incidents]
    events.sort(key=lambda event: -event.at)
    for event in events[:KEPT]:
        yield told(_entry(with_own_frames(event)))


E = TypeVar("E", bound=Report | Incident)


def with_own_frames(event: E) -> E:
    """The same; of its traceback the application's own frames first, the others counted."""
    return msgspec.structs.replace(event, traceback="\n".join(folded(event.traceback)))


def _entry(event: Report | Incident) -> Entry:
    at = int(event.at * 1e9)
    if isinstance(event, Report):
        return Entry(at, "ERROR", "child died", facts(event) | {"generation": event.generation})
    return Entry(at, "ERROR", event.kind, _facts_of_incident(event))


def _facts_of_incident(incident: Incident) -> dict[str, Any]:
    return {
        "reason": incident.reason,
        "worker": incident.worker or None,
        "slot": incident.slot,
        "pid": incident.pid,
        "generation": incident.generation,
        "traceback": incident.traceback or None,
    }


def crash_line(report: Report) -> str:
    """The last crash in one line."""
    lock = f" lock {report.lock}" if report.lock else ""
    request = f" {report.requests[0]}" if report.requests else ""
    return printable(
        f"last crash: {instant(report.at)} generation {report.generation} "
        f"{report.worker}/{report.slot} pid {report.pid} {report.cause}{lock}{request}"
    )
