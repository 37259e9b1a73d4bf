"""What happened between two pictures of a server: rates, latencies of that time only, CPU shares.

Pure: the pictures say when they were taken.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from supervisor.views.picture import Picture


class SectionRate(NamedTuple):
    """A worker section in the time between. Per second; latencies in s, 0.0 where none finished."""

    requests: float = 0.0
    errors: float = 0.0
    p50: float = 0.0
    p99: float = 0.0


class ChildRate(NamedTuple):
    """A child in the time between: requests per second, CPU share (1.0 = one CPU)."""

    requests: float = 0.0
    cpu: float = 0.0


class Rates(NamedTuple):
    """Of sections by name, of children by slot."""

    sections: dict[str, SectionRate]
    children: dict[int, ChildRate]


def between(before: Picture | None, now: Picture) -> Rates:
    """The rates from one detailed picture to the next.

    A new generation counts from zero: what it counts by now happened since the picture before.
    Without one before there are no rates.
    """
    if before is None:
        return Rates({}, {})
    seconds = max(1e-3, now["at"] - before["at"])
    if not _is_same_life(before, now):
        before = {"workers": [], "children": []}
    sections = {one["name"]: one for one in before["workers"]}
    children = {(one["slot"], one["pid"]): one for one in before["children"]}
    return Rates(
        {one["name"]: _section(sections.get(one["name"]), one, seconds) for one in now["workers"]},
        {
            one["slot"]: _child(children.get((one["slot"], one["pid"])), one, seconds)
            for one in now["children"]
        },
    )


def middle(histogram: Sequence[tuple[float, int]], fraction: float) -> float:
    """The latency in s below which `fraction` of the requests were; 0.0 when there were none."""
    wanted, seen = fraction * sum(count for _, count in histogram), 0
    for latency, count in histogram:
        seen += count
        if count and seen >= wanted:
            return latency
    return 0.0


def _is_same_life(before: Picture, now: Picture) -> bool:
    return all(before[key] == now[key] for key in ("pid", "started_at", "generation"))


def _section(before: Picture | None, now: Picture, seconds: float) -> SectionRate:
    old = dict(before["histogram"]) if before else {}
    histogram = [(latency, count - old.get(latency, 0)) for latency, count in now["histogram"]]
    return SectionRate(
        _growth(before, now, "requests") / seconds,
        _growth(before, now, "errors") / seconds,
        middle(histogram, 0.5),
        middle(histogram, 0.99),
    )


def _child(before: Picture | None, now: Picture, seconds: float) -> ChildRate:
    return ChildRate(
        _growth(before, now, "requests") / seconds,
        _growth(before, now, "cpu_seconds") / seconds,
    )


def _growth(before: Picture | None, now: Picture, key: str) -> float:
    """Never below zero: the words of a picture are not all read in one instant."""
    return max(0.0, float(now[key] - (before[key] if before else 0)))
