"""The statistics of a server for people: aligned columns, in colour where somebody wants it."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

from supervisor.views.crashes import crash_line
from supervisor.views.records import LiveChild, LiveStatistics, LiveWorker, Totals
from supervisor.views.text import duration

# SGR codes, ECMA-48 8.3.117. What needs no attention has no colour.
_COLOURS: Final = {
    "head": "2",
    "name": "1",
    "starting": "36",
    "running": "32",
    "idle": "32",
    "busy": "33",
    "stopping": "35",
    "frozen": "1;34",
    "bad": "1;31",
}

_NUMBER: Final = re.compile(r"[0-9.]+")

Paint = Callable[[str, str], str]  # text, role


class Cell(NamedTuple):
    """A value and the role that gives it its colour."""

    value: Any
    role: str = ""


def plain(text: str, _role: str) -> str:
    """No colour."""
    return text


def coloured(text: str, role: str) -> str:
    """The colour of the role, for a terminal."""
    code = _COLOURS.get(role)
    return f"\x1b[{code}m{text}\x1b[0m" if code else text


def table(facts: LiveStatistics, paint: Paint = plain) -> str:
    """Everything: headline, sections, children, counters, last crash."""
    lines = [_headline(facts, paint)]
    lines += aligned(_worker_rows(facts.workers), paint)
    lines += aligned(child_rows(facts.children), paint)
    if facts.draining:
        rows = [(one.generation, one.pid, one.active) for one in facts.draining]
        lines += aligned([("draining generation", "pid", "active"), *rows], paint)
    if facts.counters:
        lines += aligned([("counter", "value"), *facts.counters.items()], paint)
    if facts.last_crash:
        lines.append(paint(crash_line(facts.last_crash), "bad"))
    return "\n".join(lines)


def aligned(rows: Sequence[Sequence[Any]], paint: Paint = plain) -> list[str]:
    """Rows as lines, the first one heads: words to the left, numbers to the right."""
    cells = [[cell if isinstance(cell, Cell) else Cell(cell) for cell in row] for row in rows]
    columns = list(zip(*cells, strict=True))
    widths = [max(len(str(cell.value)) for cell in column) for column in columns]
    numeric = [
        len(rows) > 1 and all(_NUMBER.fullmatch(str(cell.value)) for cell in column[1:])
        for column in columns
    ]
    lines = []
    for index, row in enumerate(cells):
        texts = [
            str(cell.value).rjust(width) if right else str(cell.value).ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ]
        # Nothing follows the last word of a line, not even in another colour.
        texts[-1] = texts[-1].rstrip()
        roles = ["head" if index == 0 else cell.role for cell in row]
        lines.append("  ".join(map(paint, texts, roles)).rstrip())
    return lines


def _headline(facts: LiveStatistics, paint: Paint) -> str:
    totals = facts.totals
    parts = [
        paint(facts.name, "name"),
        f"pid {facts.pid}",
        paint(facts.state, facts.state),
        f"generation {facts.generation}",
        f"up {duration(facts.uptime)}",
        f"requests {totals.requests}",
        _errors_of(totals, paint),
        f"active {totals.active}",
    ]
    if facts.reason not in ("", facts.state):
        parts.append(paint(facts.reason, "bad"))
    if facts.forced:
        parts.append(paint(f"killed while stopping {facts.forced}", "bad"))
    return "  ".join(parts)


def _errors_of(totals: Totals, paint: Paint) -> str:
    text = f"errors {totals.errors}"
    return paint(text, "bad") if totals.errors else text


def _errors(count: int) -> Cell:
    return Cell(count, "bad" if count else "")


def _worker_rows(workers: Iterable[LiveWorker]) -> list[tuple[Any, ...]]:
    heads = ("worker", "type", "children", "requests", "errors", "active", "queued")
    rows: list[tuple[Any, ...]] = [(*heads, "p50 ms", "p99 ms", "max ms", "listen")]
    for one in workers:
        latency = one.latency
        rows.append(
            (
                Cell(one.name, "name"),
                one.type,
                one.children,
                one.requests,
                _errors(one.errors),
                one.active,
                sum(listen.queued or 0 for listen in one.listen),
                *(f"{seconds * 1e3:.2f}" for seconds in (latency.p50, latency.p99, latency.max)),
                " ".join(listen.address for listen in one.listen),
            )
        )
    return rows


def child_rows(children: Sequence[LiveChild]) -> list[tuple[Any, ...]]:
    """The children as rows; a column of requests in hand only where one is named."""
    heads = ("child", "slot", "pid", "state", "requests", "errors", "active", "busy s", "cpu s")
    rows: list[tuple[Any, ...]] = [(*heads, "rss MiB", "uptime")]
    rows += [
        (
            Cell(one.worker, "name"),
            one.slot,
            one.pid,
            Cell(one.state, one.state),
            one.requests,
            _errors(one.errors),
            one.active,
            f"{one.busy_seconds:.2f}",
            f"{one.cpu_seconds:.2f}",
            f"{one.rss_bytes / 2**20:.1f}",
            duration(one.uptime),
        )
        for one in children
    ]
    requests = ["request", *(one.request for one in children)]
    if any(requests[1:]):
        rows = [(*row, request) for row, request in zip(rows, requests, strict=True)]
    return rows
