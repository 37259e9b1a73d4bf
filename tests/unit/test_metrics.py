"""Prometheus' format, read back by Prometheus' own parser."""

import os
import platform

import pytest

from supervisor.scoreboard import layout
from supervisor.scoreboard.layout import State
from supervisor.scoreboard.records import Description, History, Section
from supervisor.views import metrics, statistics
from tests.support.scoreboards import board, report, write

parser = pytest.importorskip("prometheus_client.parser")
openmetrics = pytest.importorskip("prometheus_client.openmetrics.parser")

LATENCIES = [10_000] * 5 + [100_000] * 3 + [5_000_000] * 2  # ns


@pytest.fixture
def made(tmp_path):
    """Two children in one section: one has served, one starts."""
    section = Section("web", "tcp", 2, 8)
    made = board(
        tmp_path, Description("shop", (section,), {"cache.hits": layout.COUNTERS}), generation=3
    )
    words = {"PID": os.getpid(), "READY_AT": 1, "REQUESTS": 10, "ERRORS": 2, "COUNTERS": 4}
    write(made, 0, State.IDLE, [ns // 1000 for ns in LATENCIES], **words, LATENCY_SUM=10_350_000)
    made.begin_slot(1)
    yield made
    made.close()


@pytest.fixture
def facts(made):
    """The statistics that a reader makes of the scoreboard."""
    return statistics.of(made.snapshot(), per_child=True)


def samples(page, parse=parser.text_string_to_metric_families):
    """Return the value of each series by its name and the values of its labels, sorted; the
    server's is left out.
    """
    return {
        (sample.name, *sorted(v for k, v in sample.labels.items() if k != "server")): sample.value
        for family in parse(page.body.decode())
        for sample in family.samples
    }


def test_the_figures_of_a_server(facts):
    """Sections and children have the same figures; restarts are the generations after the first."""
    found = samples(metrics.expose(facts, per_child=True))
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


def test_the_histogram_is_one(facts):
    """Buckets are cumulative, exact at their bounds, and end in all requests."""
    found = samples(metrics.expose(facts))
    buckets = {
        float(key[1]): value
        for key, value in found.items()
        if key[0] == "supervisor_worker_request_duration_seconds_bucket"
    }
    assert list(buckets.values()) == sorted(buckets.values())
    for bound, value in buckets.items():
        assert value == sum(latency / 1e9 < bound for latency in LATENCIES)


def test_open_metrics_is_what_its_parser_accepts(facts):
    """Who asks for OpenMetrics gets it, with its content type."""
    page = metrics.expose(facts, accept="application/openmetrics-text; version=1.0.0")
    assert page.content_type.startswith("application/openmetrics-text")
    found = samples(page, openmetrics.text_string_to_metric_families)
    assert found["supervisor_worker_requests_total", "web"] == 10


def test_a_last_crash_has_its_time(made):
    """The gauge is there once there was one."""
    history = History()
    for cause in ("SIGSEGV", "exit 3", "SIGSEGV"):
        history.add_crash(report(at=1234.5, worker="web", cause=cause))
    made.set_history(history)
    found = samples(metrics.expose(statistics.of(made.snapshot())))
    assert found[("supervisor_last_crash_time_seconds",)] == 1234.5
    assert found["supervisor_deaths_total", "SIGSEGV", "web"] == 2
    assert found["supervisor_deaths_total", "exit 3", "web"] == 1


def test_answers_are_counted_by_class(made):
    """The answers that the web types count by class of status are a counter of each section."""
    base = made.row_base(0) + layout.RESPONSES
    made.words[base + 1], made.words[base + 4] = 7, 2
    found = samples(metrics.expose(statistics.of(made.snapshot())))
    assert found["supervisor_worker_responses_total", "2xx", "web"] == 7
    assert found["supervisor_worker_responses_total", "5xx", "web"] == 2


def test_a_histogram_of_each_child_is_only_for_who_asks(facts):
    """Of a large server they would be most of the page."""
    assert "supervisor_child_request_duration" not in metrics.expose(facts).body.decode()
    assert "supervisor_child_requests_total" in metrics.expose(facts).body.decode()


def test_the_build_is_told(facts):
    """Which version runs, on which Python."""
    assert f'python="{platform.python_version()}"' in metrics.expose(facts).body.decode()
