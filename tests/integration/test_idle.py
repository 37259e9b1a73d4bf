"""Idle is idle: who has nothing to do is not woken once, whatever it did before."""

import re
import signal
from pathlib import Path

import psutil
import pytest

from tests.support.applications import ENGINES
from tests.support.clients import dial, rest
from tests.support.configs import table, web

LISTEN = {"listen": ["tcp://127.0.0.1:0"], "children": 2}
SECTIONS = {
    "tcp": web(),
    "http": table("workers.web", type="http", root=".", **LISTEN),
    "wsgi": table("workers.web", **ENGINES["wsgi"], **LISTEN),
    "asgi": table("workers.web", **ENGINES["asgi"], **LISTEN),
    "wsgi with threads": table("workers.web", **ENGINES["wsgi"], **LISTEN, threads=2),
    "with a deadline": table("workers.web", **ENGINES["asgi"], **LISTEN, request_timeout=1.0),
}
# It alone may wake: its lines tell the test how much time has passed.
CLOCK = table("workers.clock", type="task", run="tasks:beating", every=0.5)


def wakeups(pid):
    """Return how often a process has gone to sleep and been woken so far."""
    facts = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"^voluntary_ctxt_switches:\s+(\d+)", facts, re.MULTILINE)[0])


def quiet_processes(server):
    """Return all processes of the server but the clock."""
    clock = next(one["pid"] for one in server.stats()["children"] if one["worker"] == "clock")
    below = {one.pid for one in psutil.Process(server.pid).children(recursive=True)}
    return sorted({server.pid, *below} - {clock})


def wait_for_beats(server, count):
    """Wait until the clock has told so many times more."""
    for _ in range(count):
        server.wait_for("^task beat ", since=len(server.log))


@pytest.mark.parametrize("section", SECTIONS.values(), ids=SECTIONS.keys())
def test_a_child_that_has_served_is_not_woken(serve, section):
    """Nor the master or its guard; not by a timer of the stop either, which is short here."""
    server = serve(section + CLOCK, master={"stop_timeout": 1.0})
    for _ in range(40):
        connection = dial(server)
        connection.sendall(b"GET / HTTP/1.1\r\nHost: test\r\nConnection: close\r\n\r\n")
        assert rest(connection)
    quiet = quiet_processes(server)
    assert len(quiet) == 4
    # A deadline that was not needed may still wake a child, once: after 1.0 s that is over.
    wait_for_beats(server, 4)
    before = [wakeups(pid) for pid in quiet]
    wait_for_beats(server, 5)
    assert [wakeups(pid) for pid in quiet] == before
    assert server.stop() == -signal.SIGTERM
