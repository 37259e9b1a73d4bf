"""The picture of a server in Prometheus' format, written by prometheus-client.

Only who asks for metrics imports this. Raises MissingExtra at import without prometheus-client.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from supervisor.errors import MissingExtra
from supervisor.scoreboard import layout
from supervisor.scoreboard.layout import ServerState, bucket_of
from supervisor.scoreboard.reader import Snapshot
from supervisor.views import picture
from supervisor.views.picture import Picture

try:
    from prometheus_client import CollectorRegistry
    from prometheus_client.core import (
        CounterMetricFamily,
        GaugeMetricFamily,
        HistogramMetricFamily,
        Metric,
    )
    from prometheus_client.exposition import choose_encoder
    from prometheus_client.registry import Collector
except ImportError as error:
    raise MissingExtra("Prometheus' format", "prometheus-client", "metrics") from error

# Bounds of the histogram that is shown: every doubling from 66 us to 137 s. They are bounds of our
# own buckets, so the counts are exact.
_BOUNDS: Final = tuple(1 << power for power in range(16, 38))  # ns
_CHILD_STATES: Final = ("starting", "idle", "busy", "stopping", "frozen")


class Exposition(NamedTuple):
    """A page of metrics and its content type."""

    content_type: str
    body: bytes


def expose(snapshot: Snapshot, accept: str = "") -> Exposition:
    """All metrics of a server, as an Accept header asks for: text or OpenMetrics."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Server(snapshot))
    encode, content_type = choose_encoder(accept)
    return Exposition(content_type, encode(registry))


class _Server(Collector):
    """One server at one instant, as the registry wants it."""

    def __init__(self, snapshot: Snapshot) -> None:
        self._snapshot = snapshot

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        facts = picture.detailed(self._snapshot)
        server = facts["name"]
        rows = [self._snapshot.row(slot) for slot in range(self._snapshot.slots)]
        yield from _of_server(facts, server)
        yield from _of_sections(facts, server, rows)
        yield from _of_children(facts["children"], server, rows)
        counter = CounterMetricFamily(
            "supervisor_counter", "A counter of a module or a worker.", labels=("server", "name")
        )
        for name, value in facts["counters"].items():
            counter.add_metric((server, name), value)
        yield counter


def _of_server(facts: Picture, server: str) -> Iterator[Metric]:
    gauges = {
        "ready": ("Every child is ready and the server runs.", facts["ready"]),
        "generation": ("Lives of the set of children so far.", facts["generation"]),
        "start_time_seconds": ("Start of the server, since 1970.", facts["started_at"]),
    }
    if facts["last_crash"]:
        help_text = "The last unexpected death of a child, since 1970."
        gauges["last_crash_time_seconds"] = (help_text, facts["last_crash"]["at"])
    for name, (text, value) in gauges.items():
        gauge = GaugeMetricFamily(f"supervisor_{name}", text, labels=("server",))
        gauge.add_metric((server,), value)
        yield gauge
    for name, text, value in (
        ("restarts", "Generations after the first.", max(0, facts["generation"] - 1)),
        ("forced", "Children of this generation that needed SIGKILL to stop.", facts["forced"]),
    ):
        counter = CounterMetricFamily(f"supervisor_{name}", text, labels=("server",))
        counter.add_metric((server,), value)
        yield counter
    state = GaugeMetricFamily("supervisor_state", "1 for its state.", labels=("server", "state"))
    for known in ServerState:
        name = known.name.lower()
        state.add_metric((server, name), name == facts["state"])
    yield state


class _Families:
    """The same facts of sections and of children, each with its own labels."""

    def __init__(self, prefix: str, of: str, labels: Sequence[str]) -> None:
        def counter(name: str, text: str) -> CounterMetricFamily:
            return CounterMetricFamily(f"supervisor_{prefix}_{name}", text, labels=labels)

        self.counters = {
            "requests": counter("requests", f"Requests finished by {of}."),
            "errors": counter("errors", f"Requests of {of} that ended in an error."),
            "busy_seconds": counter("busy_seconds", f"Time of {of} with a request in hand."),
        }
        self.active = GaugeMetricFamily(
            f"supervisor_{prefix}_active", f"Requests in hand of {of}.", labels=labels
        )
        self.duration = HistogramMetricFamily(
            f"supervisor_{prefix}_request_duration_seconds",
            f"Latency of the requests of {of}.",
            labels=labels,
        )

    def add(self, labels: Sequence[str], facts: Picture, rows: Sequence[memoryview]) -> None:
        """Add one section or one child."""
        for name, family in self.counters.items():
            family.add_metric(labels, facts[name])
        self.active.add_metric(labels, facts["active"])
        latency_sum = sum(row[layout.LATENCY_SUM] for row in rows) / 1e9
        self.duration.add_metric(labels, cumulated(picture.histogram_of(rows)), latency_sum)

    def all(self) -> tuple[Metric, ...]:
        """The families, filled."""
        return (*self.counters.values(), self.active, self.duration)


def _of_sections(facts: Picture, server: str, rows: Sequence[memoryview]) -> Iterator[Metric]:
    families = _Families("worker", "a worker section", ("server", "worker"))
    labels = ("server", "worker", "address")
    queued = GaugeMetricFamily("supervisor_listener_queued", "Waits to be accepted.", labels=labels)
    backlog = GaugeMetricFamily("supervisor_listener_backlog", "May wait.", labels=labels)
    slot = 0
    for worker in facts["workers"]:
        own = rows[slot : slot + worker["children"]]
        slot += worker["children"]
        busy = picture.sums_of(own)
        families.add((server, worker["name"]), worker | busy, own)
        for listen in worker["listen"]:
            where = (server, worker["name"], listen["address"])
            backlog.add_metric(where, listen["backlog"])
            if listen["queued"] is not None:
                queued.add_metric(where, listen["queued"])
    yield from (*families.all(), queued, backlog)


def _of_children(
    children: Iterable[Picture], server: str, rows: Sequence[memoryview]
) -> Iterator[Metric]:
    names = ("server", "worker", "slot")
    families = _Families("child", "a child", names)
    gauges = {
        "ready": ("1 when it has become ready.", "ready"),
        "resident_memory_bytes": ("Resident memory.", "rss_bytes"),
        "proportional_memory_bytes": ("Memory, the shared part divided by sharers.", "pss_bytes"),
        "uptime_seconds": ("Since its fork.", "uptime"),
    }
    filled: dict[str, Any] = {
        key: GaugeMetricFamily(f"supervisor_child_{key}", text, labels=names)
        for key, (text, _) in gauges.items()
    }
    cpu = CounterMetricFamily("supervisor_child_cpu_seconds", "CPU used.", labels=names)
    state = GaugeMetricFamily(
        "supervisor_child_state", "1 for its state.", labels=(*names, "state")
    )
    for child in children:
        labels = (server, child["worker"], str(child["slot"]))
        families.add(labels, child, [rows[child["slot"]]])
        cpu.add_metric(labels, child["cpu_seconds"])
        for key, (_, fact) in gauges.items():
            filled[key].add_metric(labels, child[fact])
        for known in _CHILD_STATES:
            state.add_metric((*labels, known), known == child["state"])
    yield from (*families.all(), cpu, *filled.values(), state)


def cumulated(histogram: Sequence[int]) -> list[tuple[str, float]]:
    """Buckets of Prometheus, [(upper bound in s, requests below it)...], the last "+Inf"."""
    pairs = [(repr(bound / 1e9), float(sum(histogram[: bucket_of(bound)]))) for bound in _BOUNDS]
    return [*pairs, ("+Inf", float(sum(histogram)))]
