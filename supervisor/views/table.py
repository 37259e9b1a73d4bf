"""The picture of a server for people: aligned columns, in colour where somebody wants it."""

from __future__ import annotations

import re
import time
from collections.abc import Callable, Iterable, Sequence
from typing import Any, Final, NamedTuple

from supervisor.views.picture import Picture

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


def table(facts: Picture, paint: Paint = plain) -> str:
    """A whole picture: headline, sections, children, counters, last crash."""
    lines = [_headline(facts, paint)]
    lines += aligned(_worker_rows(facts["workers"]), paint)
    lines += aligned(child_rows(facts["children"]), paint)
    if facts["counters"]:
        lines += aligned([("counter", "value"), *facts["counters"].items()], paint)
    if facts["last_crash"]:
        lines.append(paint(crash_line(facts["last_crash"]), "bad"))
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


def crash_line(crash: Picture) -> str:
    """The last crash in one line."""
    lock = f" lock {crash['lock']}" if crash["lock"] else ""
    return (
        f"last crash: {instant(crash['at'])} generation {crash['generation']} "
        f"{crash['worker']}/{crash['slot']} pid {crash['pid']} {crash['cause']}{lock}"
    )


def instant(seconds: float) -> str:
    """`2026-11-22T00:57:47Z`."""
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(seconds))


def duration(seconds: float) -> str:
    """`2d 3:04:05`."""
    days, rest = divmod(max(0, int(seconds)), 86_400)
    clock = f"{rest // 3600:d}:{rest % 3600 // 60:02d}:{rest % 60:02d}"
    return f"{days}d {clock}" if days else clock


def _headline(facts: Picture, paint: Paint) -> str:
    totals = facts["totals"]
    forced = facts.get("forced")
    parts = [
        paint(facts["name"], "name"),
        f"pid {facts['pid']}",
        paint(facts["state"], facts["state"]),
        f"generation {facts['generation']}",
        f"up {duration(facts['uptime'])}",
        f"requests {totals['requests']}",
        _errors_of(totals, paint),
        f"active {totals['active']}",
    ]
    if facts.get("master", {}).get("is_frozen"):
        parts.append(paint("master frozen", "bad"))
    if forced:
        parts.append(paint(f"killed while stopping {forced}", "bad"))
    return "  ".join(parts)


def _errors_of(totals: Picture, paint: Paint) -> str:
    text = f"errors {totals['errors']}"
    return paint(text, "bad") if totals["errors"] else text


def _errors(count: int) -> Cell:
    return Cell(count, "bad" if count else "")


def _worker_rows(workers: Iterable[Picture]) -> list[tuple[Any, ...]]:
    heads = ("worker", "type", "children", "requests", "errors", "active", "queued")
    rows: list[tuple[Any, ...]] = [(*heads, "p50 ms", "p99 ms", "max ms", "listen")]
    for one in workers:
        latency = one["latency"]
        rows.append(
            (
                Cell(one["name"], "name"),
                one["type"],
                one["children"],
                one["requests"],
                _errors(one["errors"]),
                one["active"],
                sum(listen["queued"] or 0 for listen in one["listen"]),
                *(f"{latency[key] * 1e3:.2f}" for key in ("p50", "p99", "max")),
                " ".join(listen["address"] for listen in one["listen"]),
            )
        )
    return rows


def child_rows(children: Sequence[Picture]) -> list[tuple[Any, ...]]:
    """The children as rows; a column of requests in hand only where one is named."""
    heads = ("child", "slot", "pid", "state", "requests", "errors", "active", "busy s", "cpu s")
    rows: list[tuple[Any, ...]] = [(*heads, "rss MiB", "uptime")]
    rows += [
        (
            Cell(one["worker"], "name"),
            one["slot"],
            one["pid"],
            Cell(one["state"], one["state"]),
            one["requests"],
            _errors(one["errors"]),
            one["active"],
            f"{one['busy_seconds']:.2f}",
            f"{one['cpu_seconds']:.2f}",
            f"{one['rss_bytes'] / 2**20:.1f}",
            duration(one["uptime"]),
        )
        for one in children
    ]
    requests = ["request", *(one.get("request", "") for one in children)]
    if any(requests[1:]):
        rows = [(*row, request) for row, request in zip(rows, requests, strict=True)]
    return rows
