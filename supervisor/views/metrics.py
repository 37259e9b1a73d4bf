"""The statistics of a server in Prometheus' format, written by prometheus-client.

It is imported only where metrics are asked for. Raises MissingExtra at import without
prometheus-client.
"""

from __future__ import annotations

import platform
from collections.abc import Iterable, Iterator, Sequence
from importlib import metadata
from typing import Final, NamedTuple

from supervisor.errors import MissingExtra
from supervisor.scoreboard.layout import ServerState
from supervisor.views.latency import Histogram
from supervisor.views.records import LiveChild, LiveStatistics, LiveWorker

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


def expose(
    facts: LiveStatistics,
    application: Iterable[Metric] = (),
    accept: str = "",
    *,
    per_child: bool = False,
) -> Exposition:
    """All metrics of a server, then those of its application, as an Accept header asks for: text or
    OpenMetrics. Histograms of each child, which are many lines, only if `per_child`.
    """
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Server(facts, application, per_child))
    encode, content_type = choose_encoder(accept)
    return Exposition(content_type, encode(registry))


class _Server(Collector):
    """One server at one instant, as the registry wants it."""

    def __init__(
        self, facts: LiveStatistics, application: Iterable[Metric], per_child: bool
    ) -> None:
        self._facts = facts
        self._application = application
        self._per_child = per_child

    def describe(self) -> Iterable[Metric]:
        return ()

    def collect(self) -> Iterator[Metric]:
        facts = self._facts
        yield from _of_server(facts)
        yield from _of_sections(facts)
        yield from _of_children(facts, self._per_child)
        yield _of_deaths(facts)
        counter = CounterMetricFamily(
            "supervisor_counter",
            "A counter that a module or a worker has declared, summed over all children.",
            labels=("server", "name"),
        )
        for name, value in facts.counters.items():
            counter.add_metric((facts.name, name), value)
        yield counter
        yield from self._application


def _of_server(facts: LiveStatistics) -> Iterator[Metric]:
    gauges = {
        "ready": (
            "1 while the server runs and every child is ready, as /readyz says.",
            facts.ready,
        ),
        "generation": (
            "Lives of the set of children so far; each crash or renewal begins one.",
            facts.generation,
        ),
        "start_time_seconds": (
            "When the server was started, in seconds since 1970.",
            facts.started_at,
        ),
        "draining_children": (
            "Children of older generations that finish what they have in hand.",
            facts.draining_children,
        ),
    }
    if facts.last_crash:
        help_text = "When a child last died unexpectedly, in seconds since 1970."
        gauges["last_crash_time_seconds"] = (help_text, facts.last_crash.at)
    for name, (text, value) in gauges.items():
        gauge = GaugeMetricFamily(f"supervisor_{name}", text, labels=("server",))
        gauge.add_metric((facts.name,), value)
        yield gauge
    for name, text, value in (
        (
            "restarts",
            "Generations after the first: how often all children were replaced.",
            max(0, facts.generation - 1),
        ),
        ("forced", "Children of this generation that needed SIGKILL to stop.", facts.forced),
    ):
        counter = CounterMetricFamily(f"supervisor_{name}", text, labels=("server",))
        counter.add_metric((facts.name,), value)
        yield counter
    state = GaugeMetricFamily(
        "supervisor_state",
        "1 for the state that the server is in, 0 for the others.",
        labels=("server", "state"),
    )
    for known in ServerState:
        name = known.name.lower()
        state.add_metric((facts.name, name), name == facts.state)
    yield state
    yield _build_info(facts.name)


def _build_info(server: str) -> Metric:
    labels = ("server", "version", "python")
    info = GaugeMetricFamily(
        "supervisor_build_info",
        "Always 1; the labels say which version runs, on which Python.",
        labels=labels,
    )
    version = metadata.version("prefork-supervisor")
    info.add_metric((server, version, platform.python_version()), 1)
    return info


def _of_deaths(facts: LiveStatistics) -> Metric:
    labels = ("server", "worker", "cause")
    deaths = CounterMetricFamily(
        "supervisor_deaths",
        "Unexpected deaths of children since the start, by section and cause.",
        labels=labels,
    )
    for worker, cause, count in facts.deaths:
        deaths.add_metric((facts.name, worker, cause), count)
    return deaths


class _Families:
    """The same facts of sections and of children, each with its own labels."""

    def __init__(self, prefix: str, of: str, labels: Sequence[str]) -> None:
        def counter(name: str, text: str) -> CounterMetricFamily:
            return CounterMetricFamily(f"supervisor_{prefix}_{name}", text, labels=labels)

        self.counters = {
            "requests": counter(
                "requests", f"Requests that {of} has finished, failed ones included."
            ),
            "errors": counter(
                "errors", f"Requests of {of} that ended in an error, or with a child that died."
            ),
            "busy_seconds": counter(
                "busy_seconds",
                f"Seconds with a request in hand, of {of}; a section's are its children's sum.",
            ),
        }
        self.active = GaugeMetricFamily(
            f"supervisor_{prefix}_active", f"Requests that {of} has in hand now.", labels=labels
        )

    def add(self, labels: Sequence[str], facts: LiveWorker | LiveChild) -> None:
        """Add one section or one child."""
        for name, family in self.counters.items():
            family.add_metric(labels, getattr(facts, name))
        self.active.add_metric(labels, facts.active)

    def all(self) -> tuple[Metric, ...]:
        """The families, filled."""
        return (*self.counters.values(), self.active)


def _of_sections(facts: LiveStatistics) -> Iterator[Metric]:
    names = ("server", "worker")
    families = _Families("worker", "a worker section", names)
    responses = CounterMetricFamily(
        "supervisor_worker_responses",
        "HTTP answers by class of their status.",
        labels=(*names, "code"),
    )
    duration = _durations("worker", "a worker section", names)
    for worker in facts.workers:
        labels = (facts.name, worker.name)
        families.add(labels, worker)
        duration.add_metric(labels, cumulated(worker.histogram), worker.latency_sum)
        for code, count in worker.responses.items():
            if any(worker.responses.values()):
                responses.add_metric((*labels, code), count)
    yield from (*families.all(), duration, responses, *_of_listeners(facts))


def _of_listeners(facts: LiveStatistics) -> tuple[Metric, Metric]:
    labels = ("server", "worker", "address")
    queued = GaugeMetricFamily(
        "supervisor_listener_queued",
        "Connections that wait in the accept queue now: more than a few mean saturation.",
        labels=labels,
    )
    backlog = GaugeMetricFamily(
        "supervisor_listener_backlog",
        "Connections that may wait in the accept queue.",
        labels=labels,
    )
    for worker in facts.workers:
        for listen in worker.listen:
            where = (facts.name, worker.name, listen.address)
            backlog.add_metric(where, listen.backlog)
            if listen.queued is not None:
                queued.add_metric(where, listen.queued)
    return queued, backlog


def _durations(prefix: str, of: str, labels: Sequence[str]) -> HistogramMetricFamily:
    name = f"supervisor_{prefix}_request_duration_seconds"
    return HistogramMetricFamily(
        name, f"Seconds from the begin to the end of the requests of {of}.", labels=labels
    )


def _of_children(facts: LiveStatistics, per_child: bool) -> Iterator[Metric]:
    names = ("server", "worker", "slot")
    families = _Families("child", "a child", names)
    gauges = {
        "ready": ("1 once it has become ready.", "ready"),
        "connections": ("Connections that it holds open now, idle ones included.", "connections"),
        "resident_memory_bytes": (
            "Resident memory (RSS); what it shares with the others counts in each.",
            "rss_bytes",
        ),
        "proportional_memory_bytes": (
            "Proportional memory (PSS): shared pages are divided by those who share them.",
            "pss_bytes",
        ),
        "uptime_seconds": ("Seconds since its fork.", "uptime"),
    }
    filled = {
        key: GaugeMetricFamily(f"supervisor_child_{key}", text, labels=names)
        for key, (text, _) in gauges.items()
    }
    cpu = CounterMetricFamily(
        "supervisor_child_cpu_seconds",
        "Seconds of CPU that it has used, in user and system mode.",
        labels=names,
    )
    duration = _durations("child", "a child", names)
    state = GaugeMetricFamily(
        "supervisor_child_state",
        "1 for the state that the child is in, 0 for the others.",
        labels=(*names, "state"),
    )
    for child in facts.children:
        labels = (facts.name, child.worker, str(child.slot))
        families.add(labels, child)
        cpu.add_metric(labels, child.cpu_seconds)
        for key, (_, fact) in gauges.items():
            filled[key].add_metric(labels, getattr(child, fact))
        for known in _CHILD_STATES:
            state.add_metric((*labels, known), known == child.state)
        if per_child:
            duration.add_metric(labels, cumulated(child.histogram), child.latency_sum)
    yield from (*families.all(), cpu, *filled.values(), state)
    if per_child:
        yield duration


def cumulated(histogram: Histogram) -> list[tuple[str, float]]:
    """Buckets of Prometheus, [(upper bound in s, requests below it)...], the last "+Inf"."""
    pairs = [
        (repr(bound / 1e9), float(sum(n for latency, n in histogram if latency < bound / 1e9)))
        for bound in _BOUNDS
    ]
    return [*pairs, ("+Inf", float(sum(n for _, n in histogram)))]
