"""Latencies, from the histograms of the scoreboard."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Final

from supervisor.scoreboard.layout import BUCKETS, bucket_bounds
from supervisor.scoreboard.view import RowView
from supervisor.views.records import Latency

# (latency in s, requests), in ascending order.
Histogram = Sequence[tuple[float, int]]

_MIDDLES: Final = [sum(bucket_bounds(bucket)) / 2e9 for bucket in range(BUCKETS)]


def histogram_of(rows: Iterable[RowView]) -> Histogram:
    """The requests by latency, summed over rows: the buckets that hold something."""
    sums = map(sum, zip(*(row.histogram for row in rows), strict=True))
    return tuple((middle, n) for middle, n in zip(_MIDDLES, sums, strict=False) if n)


def percentile(histogram: Histogram, fraction: float) -> float:
    """The latency in s below which `fraction` of the requests were; 0.0 when there were none."""
    wanted, seen = fraction * sum(n for _, n in histogram), 0
    for latency, n in histogram:
        seen += n
        if n and seen >= wanted:
            return latency
    return 0.0


def latency_of(histogram: Histogram, longest: float) -> Latency:
    """The percentiles; none is longer than the longest that was seen (s)."""
    p50, p90, p99 = (min(percentile(histogram, p), longest) for p in (0.5, 0.9, 0.99))
    return Latency(p50, p90, p99, longest)
