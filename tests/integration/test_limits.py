"""The modules `limits` and `affinity`."""

import json
import os
import resource
import signal

import pytest

from tests.support.clients import ask
from tests.support.configs import table, web


def told(server, section="web"):
    """Return what a child says of itself: memory, files, cpu, core; its CPUs."""
    return json.loads(ask(server, section=section))


def test_every_child_has_the_limits_and_the_master_has_not(serve):
    """All four kinds; the rest of the system is left alone."""
    text = table("modules.limits", memory=4_000_000_000, files=100, cpu=500, core=0)
    server = serve(text + web("limited:telling"))
    assert told(server)[0] == [4_000_000_000, 100, 500, 0]
    assert resource.prlimit(server.pid, resource.RLIMIT_CPU)[0] != 500
    assert server.stats()["counters"]["limits.children"] == 2
    assert server.stop() == -signal.SIGTERM


def test_what_is_not_named_stays(serve):
    """-1 leaves a limit as the master was started with."""
    server = serve(table("modules.limits", files=100) + web("limited:telling"))
    assert told(server)[0][2] == resource.getrlimit(resource.RLIMIT_CPU)[0]
    assert server.stop() == -signal.SIGTERM


def test_a_program_is_limited_as_well(serve):
    """Limits stay in force across exec."""
    command = ["sh", "-c", "echo files $(ulimit -n) >&2; exec sleep 1000"]
    text = table("modules.limits", files=123)
    server = serve(text + table("workers.web", type="exec", command=command))
    server.wait_for("files 123")
    assert server.stop() == -signal.SIGTERM


def test_too_much_memory_is_an_error_of_one_request(serve):
    """The child that asks for more gets MemoryError and goes on."""
    server = serve(table("modules.limits", memory=700_000_000) + web("limited:allocating"))
    assert ask(server) == b""
    server.wait_for("MemoryError")
    assert server.stats()["totals"]["errors"] == 1
    assert server.stop() == -signal.SIGTERM


def test_too_much_cpu_time_is_a_death_with_its_traceback(serve):
    """The cause is SIGXCPU, and the report shows where the time went."""
    job = table("workers.job", type="task", run="limited:burning")
    server = serve(table("modules.limits", cpu=1, core=0) + job)
    assert server.wait() == 70
    server.wait_for("child died worker=job .*cause=SIGXCPU", "in burning")


def test_more_than_the_hard_limit_stops_the_start(launch):
    """It is told before any child is forked."""
    command = ("bash", "-c", 'ulimit -n 500; exec "$@"', "bash")
    server = launch(table("modules.limits", files=1000) + web(), prefix=command)
    assert server.wait() == 76
    server.wait_for("modules.limits: init failed: .*files = 1000: more than the hard limit, 500")


def test_each_child_is_pinned_by_its_slot(serve):
    """With one CPU named, all are on it; the master stays where it was."""
    cpu = max(os.sched_getaffinity(0))
    server = serve(table("modules.affinity", cpus=[cpu]) + web("limited:telling"))
    assert told(server)[1] == [cpu]
    assert os.sched_getaffinity(server.pid) == os.sched_getaffinity(0)
    assert server.stop() == -signal.SIGTERM


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="needs two CPUs")
def test_children_are_spread_in_turn(serve):
    """Without names: slot 0 on the first CPU, slot 1 on the second, and so on."""
    cpus = sorted(os.sched_getaffinity(0))
    server = serve(table("modules.affinity") + web("limited:telling", children=3))
    for slot, pid in server.children().items():
        assert os.sched_getaffinity(pid) == {cpus[slot % len(cpus)]}
    assert server.stop() == -signal.SIGTERM


def test_a_cpu_that_is_not_ours_stops_the_start(launch):
    """It is named, beside those that may be used."""
    server = launch(table("modules.affinity", cpus=[100_000]) + web())
    assert server.wait() == 76
    server.wait_for(r"modules.affinity: init failed: .*cpus: \[100000\] not among")
