"""The time between two looks at a server: rates, latencies of that time only, CPU shares.

Pure: the statistics say when they were taken.
"""

from __future__ import annotations

from typing import NamedTuple

from supervisor.views.latency import percentile
from supervisor.views.records import LiveChild, LiveStatistics, LiveWorker


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


def between(before: LiveStatistics | None, now: LiveStatistics) -> Rates:
    """The rates from one look to the next.

    A new generation counts from zero: what it counts by now happened since the look before.
    Without one before there are no rates.
    """
    if before is None:
        return Rates({}, {})
    seconds = max(1e-3, now.monotonic - before.monotonic)
    is_same = _life_of(before) == _life_of(now)
    sections = {one.name: one for one in before.workers if is_same}
    children = {(one.slot, one.pid): one for one in before.children if is_same}
    return Rates(
        {one.name: _section(sections.get(one.name), one, seconds) for one in now.workers},
        {one.slot: _child(children.get((one.slot, one.pid)), one, seconds) for one in now.children},
    )


def _life_of(facts: LiveStatistics) -> tuple[int, float, int]:
    return facts.pid, facts.started_at, facts.generation


def _section(before: LiveWorker | None, now: LiveWorker, seconds: float) -> SectionRate:
    old = dict(before.histogram) if before else {}
    histogram = [(latency, count - old.get(latency, 0)) for latency, count in now.histogram]
    return SectionRate(
        _growth(before.requests if before else 0, now.requests) / seconds,
        _growth(before.errors if before else 0, now.errors) / seconds,
        percentile(histogram, 0.5),
        percentile(histogram, 0.99),
    )


def _child(before: LiveChild | None, now: LiveChild, seconds: float) -> ChildRate:
    return ChildRate(
        _growth(before.requests if before else 0, now.requests) / seconds,
        _growth(before.cpu_seconds if before else 0.0, now.cpu_seconds) / seconds,
    )


def _growth(before: float, now: float) -> float:
    """Never below zero: the words of a scoreboard are not all read in one instant."""
    return max(0.0, float(now - before))
