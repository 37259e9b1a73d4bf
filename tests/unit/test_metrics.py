"""Prometheus' format, read back by Prometheus' own parser."""

import os

import pytest

from supervisor.scoreboard import layout
from supervisor.scoreboard.layout import ServerState, State, bucket_of
from supervisor.scoreboard.writer import Scoreboard
from supervisor.views import metrics

parser = pytest.importorskip("prometheus_client.parser")
openmetrics = pytest.importorskip("prometheus_client.openmetrics.parser")

LATENCIES = [10_000] * 5 + [100_000] * 3 + [5_000_000] * 2  # ns


@pytest.fixture
def snapshot(tmp_path):
    """Two children in one section: one has served, one starts."""
    made = Scoreboard(tmp_path / "scoreboard", 2, generation=3, started_at=10**18)
    section = {"name": "web", "type": "tcp", "children": 2, "backlog": 8, "listen": []}
    counters = {"cache.hits": layout.COUNTERS}
    made.publish({"name": "shop", "workers": [section], "counters": counters, "locks": []})
    made.set_server_state(ServerState.RUNNING)
    base = made.row_base(0)
    made.begin_slot(0)
    made.begin_slot(1)
    made.words[base + layout.STATE] = State.IDLE
    words = {"PID": os.getpid(), "READY_AT": 1, "REQUESTS": 10, "ERRORS": 2, "COUNTERS": 4}
    for name, value in (words | {"LATENCY_SUM": 10_350_000}).items():
        made.words[base + getattr(layout, name)] = value
    for latency in LATENCIES:
        made.words[base + layout.HISTOGRAM + bucket_of(latency)] += 1
    yield made.snapshot()
    made.close()


def samples(page, parse=parser.text_string_to_metric_families):
    """Return the value of each series by its name and the values of its labels, sorted; the
    server's is left out.
    """
    return {
        (sample.name, *sorted(v for k, v in sample.labels.items() if k != "server")): sample.value
        for family in parse(page.body.decode())
        for sample in family.samples
    }


def test_the_figures_of_a_server(snapshot):
    """Sections and children have the same figures; restarts are the generations after the first."""
    found = samples(metrics.expose(snapshot))
    for of in (("worker", "web"), ("child", "0", "web")):
        kind, *labels = of
        assert found[f"supervisor_{kind}_requests_total", *labels] == 10
        assert found[f"supervisor_{kind}_errors_total", *labels] == 2
        assert found[f"supervisor_{kind}_request_duration_seconds_count", *labels] == 10
        assert found[f"supervisor_{kind}_request_duration_seconds_sum", *labels] == 0.01035
    assert found[("supervisor_restarts_total",)] == 2
    assert found[("supervisor_generation",)] == 3
    assert found[("supervisor_ready",)] == 0
    assert found["supervisor_child_ready", "0", "web"] == 1
    assert found["supervisor_child_ready", "1", "web"] == 0
    assert found["supervisor_child_state", "1", "starting", "web"] == 1
    assert found["supervisor_child_resident_memory_bytes", "0", "web"] > 2**20
    assert found["supervisor_counter_total", "cache.hits"] == 4
    assert ("supervisor_last_crash_time_seconds",) not in found


def test_the_histogram_is_one(snapshot):
    """Buckets are cumulative, exact at their bounds, and end in all requests."""
    found = samples(metrics.expose(snapshot))
    buckets = {
        float(key[1]): value
        for key, value in found.items()
        if key[0] == "supervisor_worker_request_duration_seconds_bucket"
    }
    assert list(buckets.values()) == sorted(buckets.values())
    for bound, value in buckets.items():
        assert value == sum(latency / 1e9 < bound for latency in LATENCIES)


def test_open_metrics_is_what_its_parser_accepts(snapshot):
    """Who asks for OpenMetrics gets it, with its content type."""
    page = metrics.expose(snapshot, "application/openmetrics-text; version=1.0.0")
    assert page.content_type.startswith("application/openmetrics-text")
    found = samples(page, openmetrics.text_string_to_metric_families)
    assert found["supervisor_worker_requests_total", "web"] == 10


def test_a_last_crash_has_its_time(tmp_path, snapshot):
    """The gauge is there once there was one."""
    snapshot.crash = {"at": 1234.5}
    assert samples(metrics.expose(snapshot))[("supervisor_last_crash_time_seconds",)] == 1234.5
