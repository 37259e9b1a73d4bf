"""`why`: what went wrong since the server was started, newest first."""

import os
import re
import signal

from tests.support.clients import ask, dial, line
from tests.support.configs import table, web

GATE = table("modules.gate", type="faults:Gate")


def test_crashes_newest_first(serve):
    """Each with its cause, the request in hand and the application's own frames, over all
    generations; of the others there is only the number.
    """
    server = serve(GATE + web("faults:serve", children=2), master={"restart": "on-crash"})
    assert "nothing went wrong" in server.command("why").stdout
    for generation, command in enumerate((b"segv\n", b"named\n"), 2):
        assert ask(server, command) == b""
        server.wait_for(rf"server ready .*generation={generation}\b")
    done = server.command("why")
    newest, oldest = done.stdout.split("\n\n")
    assert 'cause="exit 3" exit=3' in newest
    assert re.search(r'request="GET /cart \d\.\d{3}s"', newest)
    assert "generation=2" in newest
    assert "cause=SIGSEGV signal=SIGSEGV" in oldest
    assert re.search(r'faults\.py", line \d+ in segv', oldest)
    assert re.search(r"\(\d+ frames of libraries\)", oldest)
    assert "life.py" not in oldest
    assert [one["cause"] for one in server.stats()["crashes"]] == ["exit 3", "SIGSEGV"]
    assert server.stop() == -signal.SIGTERM


def test_a_forced_stop_is_told(serve):
    """A child that had to be killed while another's crash ended its generation."""
    server = serve(
        GATE + web("faults:serve", children=2),
        master={"restart": "on-crash", "stop_timeout": 0.3},
    )
    with dial(server) as busy:
        busy.sendall(b"late\n")
        assert line(busy) == "taken"
        idle = [pid for pid in server.children().values() if not is_busy(server, pid)]
        os.kill(idle[0], signal.SIGKILL)
        server.wait_for("server ready .*generation=2", "child killed ")
    told = server.command("why").stdout
    assert re.search(r"forced stop reason=stop-timeout worker=web slot=\d pid=\d+", told)
    assert "cause=SIGKILL" in told
    assert server.stop() == -signal.SIGTERM


def is_busy(server, pid):
    """True for the child that has a request in hand."""
    return {one["pid"]: one["state"] for one in server.stats()["children"]}[pid] == "busy"


def test_nothing_runs(serve):
    """Without a server there is nobody to ask."""
    server = serve(web())
    assert server.stop() == -signal.SIGTERM
    done = server.command("why")
    assert (done.returncode, len(done.stderr.splitlines())) == (3, 1)


def test_a_generation_that_drains_is_named(serve):
    """While a request of the old generation goes on, the statistics of the new one say so."""
    server = serve(
        GATE + web("faults:serve", children=2),
        master={"restart": "on-crash", "stop_timeout": 30.0},
    )
    with dial(server) as busy:
        busy.sendall(b"announced\n")
        assert line(busy) == "taken"
        (idle,) = [pid for pid in server.children().values() if not is_busy(server, pid)]
        os.kill(idle, signal.SIGKILL)
        server.wait_for("server ready .*generation=2")
        facts = server.stats()
        assert facts["draining"] == [{"generation": 1, "pid": server.pid, "active": 1}]
        assert "draining generation" in server.command("stats").stdout
        busy.sendall(b".")
    server.wait_for("generation gone generation=1")
    assert server.stats()["draining"] == []
    assert server.stop() == -signal.SIGTERM
