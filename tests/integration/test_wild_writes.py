"""A child that writes over all shared memory costs statistics, and nothing else."""

import signal

import pytest

from tests.support.clients import ask
from tests.support.configs import table, web

METRICS = table("modules.metrics")


@pytest.mark.parametrize("byte", ["00", "01", "55", "7f", "ff"])
def test_the_server_goes_on(serve, byte):
    """The master prints its statistics, readers have one line at most, and clients are served."""
    server = serve(METRICS + web("wild:serve", children=2))
    assert ask(server, f"{byte}\n".encode()) == b"done\n"
    server.signal(signal.SIGUSR1)
    server.wait_for("statistics", "^  test  pid .* running ")
    for command in (["stats"], ["stats", "--json"], ["why"], ["top"], ["stats", "--prometheus"]):
        done = server.command(*command)
        assert done.returncode in (0, 70)
        assert len(done.stderr.splitlines()) == (done.returncode != 0)
    assert server.command("status").returncode == 0
    for _ in range(8):
        assert ask(server, b"\n") == b"done\n"
    assert server.stop() == -signal.SIGTERM


@pytest.mark.parametrize("byte", ["00", "01", "55", "7f", "ff"])
def test_a_crash_after_it_is_a_crash_like_any(serve, byte):
    """The next generation begins with statistics that are good, and that tell of the crash."""
    server = serve(METRICS + web("wild:serve", children=2), master={"restart": "on-crash"})
    assert ask(server, f"{byte} die\n".encode()) == b"done\n"
    server.wait_for("child died .*cause=SIGSEGV", "server ready .*generation=2")
    facts = server.stats()
    assert (facts["state"], facts["generation"]) == ("running", 2)
    assert facts["last_crash"]["cause"] == "SIGSEGV"
    assert facts["totals"]["requests"] == 0
    assert server.stop() == -signal.SIGTERM
