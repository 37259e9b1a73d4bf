"""Modules: declared counters, and totals that survive."""

import os
import signal

from tests.support.clients import ask
from tests.support.configs import table, web

TALLY = table("modules.tally", type="tally:Tally")


def text(path=None):
    """Return a server that counts its requests in `tally.total`; with a path, for good."""
    kept = table("modules.counters", path=str(path)) if path else ""
    return kept + TALLY + web("handlers:counting", children=3)


def count(server, times):
    """Make that many requests."""
    for _ in range(times):
        assert ask(server) == b"counted\n"


def test_a_declared_counter_is_summed_over_the_children(serve):
    """Each child adds to a word of its own; statistics show the sum."""
    server = serve(text())
    count(server, 5)
    assert server.stats()["counters"]["tally.total"] == 5
    assert server.stop() == -signal.SIGTERM


def test_without_the_counters_module_a_restart_begins_at_zero(serve):
    """Counters live in the scoreboard, which ends with the server."""
    server = serve(text())
    count(server, 2)
    assert server.stop() == -signal.SIGTERM
    server = serve(text())
    assert server.stats()["counters"]["tally.total"] == 0
    assert server.stop() == -signal.SIGTERM


def test_totals_survive_restarts(serve, tmp_path):
    """`counters` loads in `init` what it wrote in `destroy`; nothing is left beside the file."""
    path = tmp_path / "state" / "totals"
    path.parent.mkdir()
    for total in (2, 4, 6):
        server = serve(text(path))
        count(server, 2)
        assert server.stats()["counters"]["tally.total"] == total
        assert server.stop() == -signal.SIGTERM
        assert os.listdir(path.parent) == ["totals"]


def test_totals_survive_a_crash(serve, tmp_path):
    """A dead child's counts are summed as well."""
    path = tmp_path / "totals"
    server = serve(text(path))
    count(server, 3)
    os.kill(server.children()[0], signal.SIGKILL)
    assert server.wait() == 70
    server = serve(text(path))
    assert server.stats()["counters"]["tally.total"] == 3
    assert server.stop() == -signal.SIGTERM


def test_totals_that_cannot_be_read_stop_the_start(launch, tmp_path):
    """A damaged file is a start failure that names it, and it is left as it was."""
    path = tmp_path / "totals"
    path.write_text("no totals")
    server = launch(text(path))
    assert server.wait() == 76
    assert str(path) in server.log
    assert path.read_text() == "no totals"
