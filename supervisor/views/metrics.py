"""The statistics of a server in Prometheus' format, written by prometheus-client.

It is imported only where metrics are asked for. Raises MissingExtra at import without
prometheus-client.
"""

from __future__ import annotations

import platform
from collections.abc import Callable, Iterable, Iterator, Sequence
from importlib import metadata
from itertools import chain
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
_SERVER: Final = ("server",)
_WORKER: Final = ("server", "worker")
_CHILD: Final = ("server", "worker", "slot")
_CHILD_STATES: Final = ("starting", "idle", "busy", "stopping", "frozen")

# Each with its text, and the fact that it shows.
_SERVER_GAUGES: Final[dict[str, tuple[str, Callable[[LiveStatistics], float]]]] = {
    "ready": (
        "1 while the server runs and every child is ready, as /readyz says.",
        lambda server: server.ready,
    ),
    "generation": (
        "Lives of the set of children so far; each crash or renewal begins one.",
        lambda server: server.generation,
    ),
    "start_time_seconds": (
        "When the server was started, in seconds since 1970.",
        lambda server: server.started_at,
    ),
    "draining_children": (
        "Children of older generations that finish what they have in hand.",
        lambda server: server.draining_children,
    ),
}
_SERVER_COUNTERS: Final[dict[str, tuple[str, Callable[[LiveStatistics], float]]]] = {
    "restarts": (
        "Generations after the first: how often all children were replaced.",
        lambda server: max(0, server.generation - 1),
    ),
    "forced": (
        "Children of this generation that needed SIGKILL to stop.",
        lambda server: server.forced,
    ),
}
_CHILD_GAUGES: Final = {
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
# Counters that sections and children have alike.
_WORK: Final = {
    "requests": "Requests that {of} has finished, failed ones included.",
    "errors": "Requests of {of} that ended in an error, or with a child that died.",
    "busy_seconds": "Seconds with a request in hand, of {of}; a section's are its children's sum.",
}

_Rows = Sequence[tuple[Sequence[str], LiveWorker | LiveChild]]  # labels and facts
_Samples = Iterable[tuple[Sequence[str], float]]  # labels and value


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
        yield _counter(
            "deaths",
            "Unexpected deaths of children since the start, by section and cause.",
            (*_WORKER, "cause"),
            (((facts.name, worker, cause), count) for worker, cause, count in facts.deaths),
        )
        yield _counter(
            "counter",
            "A counter that a module or a worker has declared, summed over all children.",
            (*_SERVER, "name"),
            (((facts.name, name), value) for name, value in facts.counters.items()),
        )
        yield from self._application


def _gauge(name: str, text: str, labels: Sequence[str], samples: _Samples) -> Metric:
    return _filled(GaugeMetricFamily(f"supervisor_{name}", text, labels=labels), samples)


def _counter(name: str, text: str, labels: Sequence[str], samples: _Samples) -> Metric:
    return _filled(CounterMetricFamily(f"supervisor_{name}", text, labels=labels), samples)


def _filled(family: GaugeMetricFamily | CounterMetricFamily, samples: _Samples) -> Metric:
    for labels, value in samples:
        family.add_metric(labels, value)
    return family


def _of_server(facts: LiveStatistics) -> Iterator[Metric]:
    server = (facts.name,)
    for name, (text, fact) in _SERVER_GAUGES.items():
        yield _gauge(name, text, _SERVER, [(server, fact(facts))])
    if facts.last_crash:
        text = "When a child last died unexpectedly, in seconds since 1970."
        yield _gauge("last_crash_time_seconds", text, _SERVER, [(server, facts.last_crash.at)])
    for name, (text, fact) in _SERVER_COUNTERS.items():
        yield _counter(name, text, _SERVER, [(server, fact(facts))])
    text = "1 for the state that the server is in, 0 for the others."
    states = (state.name.lower() for state in ServerState)
    yield _gauge("state", text, (*_SERVER, "state"), _states(server, facts.state, states))
    build = (facts.name, metadata.version("prefork-supervisor"), platform.python_version())
    text = "Always 1; the labels say which version runs, on which Python."
    yield _gauge("build_info", text, (*_SERVER, "version", "python"), [(build, 1)])


def _states(labels: Sequence[str], state: str, known: Iterable[str]) -> _Samples:
    """1 for the state that somebody is in, 0 for the others that are known."""
    return [((*labels, one), one == state) for one in known]


def _of_sections(facts: LiveStatistics) -> Iterator[Metric]:
    rows = [((facts.name, worker.name), worker) for worker in facts.workers]
    yield from _work("worker", "a worker section", _WORKER, rows)
    yield _durations("worker", "a worker section", _WORKER, rows)
    yield _counter(
        "worker_responses",
        "HTTP answers by class of their status.",
        (*_WORKER, "code"),
        (
            ((*labels, code), count)
            for labels, worker in rows
            if any(worker.responses.values())
            for code, count in worker.responses.items()
        ),
    )
    yield from _of_listeners(facts)


def _of_listeners(facts: LiveStatistics) -> Iterator[Metric]:
    names = (*_WORKER, "address")
    rows = [
        ((facts.name, worker.name, listen.address), listen)
        for worker in facts.workers
        for listen in worker.listen
    ]
    queued = [(labels, one.queued) for labels, one in rows if one.queued is not None]
    text = "Connections that wait in the accept queue now: more than a few mean saturation."
    yield _gauge("listener_queued", text, names, queued)
    backlog = [(labels, one.backlog) for labels, one in rows]
    text = "Connections that may wait in the accept queue."
    yield _gauge("listener_backlog", text, names, backlog)


def _of_children(facts: LiveStatistics, per_child: bool) -> Iterator[Metric]:
    rows = [((facts.name, child.worker, str(child.slot)), child) for child in facts.children]
    yield from _work("child", "a child", _CHILD, rows)
    used = [(labels, child.cpu_seconds) for labels, child in rows]
    text = "Seconds of CPU that it has used, in user and system mode."
    yield _counter("child_cpu_seconds", text, _CHILD, used)
    for name, (text, fact) in _CHILD_GAUGES.items():
        samples = [(labels, getattr(child, fact)) for labels, child in rows]
        yield _gauge(f"child_{name}", text, _CHILD, samples)
    all_states = (_states(labels, child.state, _CHILD_STATES) for labels, child in rows)
    text = "1 for the state that the child is in, 0 for the others."
    yield _gauge("child_state", text, (*_CHILD, "state"), chain.from_iterable(all_states))
    if per_child:
        yield _durations("child", "a child", _CHILD, rows)


def _work(prefix: str, of: str, names: Sequence[str], rows: _Rows) -> Iterator[Metric]:
    """The requests of sections or of children: those that ended, and those in hand."""
    for name, text in _WORK.items():
        samples = [(labels, getattr(facts, name)) for labels, facts in rows]
        yield _counter(f"{prefix}_{name}", text.format(of=of), names, samples)
    active = [(labels, facts.active) for labels, facts in rows]
    yield _gauge(f"{prefix}_active", f"Requests that {of} has in hand now.", names, active)


def _durations(prefix: str, of: str, names: Sequence[str], rows: _Rows) -> Metric:
    name = f"supervisor_{prefix}_request_duration_seconds"
    text = f"Seconds from the begin to the end of the requests of {of}."
    family = HistogramMetricFamily(name, text, labels=names)
    for labels, facts in rows:
        family.add_metric(labels, cumulated(facts.histogram), facts.latency_sum)
    return family


def cumulated(histogram: Histogram) -> list[tuple[str, float]]:
    """Buckets of Prometheus, [(upper bound in s, requests below it)...], the last "+Inf"."""
    pairs = [
        (repr(bound / 1e9), float(sum(n for latency, n in histogram if latency < bound / 1e9)))
        for bound in _BOUNDS
    ]
    return [*pairs, ("+Inf", float(sum(n for _, n in histogram)))]
