"""When a child dies: the cause is named, the others drain, the whole server goes down with 70."""

import os
import re
import select
import signal
import time

import pytest

from tests.support.clients import ask, dial, line, rest
from tests.support.configs import hooks, job, web
from tests.support.harness import DEADLINE


def assert_one_cause(server, cause=""):
    """One death is the cause, an ERROR; the status is 70, and each module was destroyed once."""
    assert server.wait() == 70
    deaths = re.findall(r"ERROR .*child died .*", server.log)
    assert len(deaths) == 1, deaths
    assert re.search(cause, deaths[0])
    assert "server stopping reason=child-died" in server.log
    assert server.log.splitlines()[-1].endswith("server stopped status=70")
    assert len(re.findall(r"^hook a destroy", server.log, re.MULTILINE)) == 1


@pytest.mark.parametrize("name", ["SIGKILL", "SIGSEGV", "SIGABRT", "SIGBUS"])
def test_a_killed_child_takes_the_server_down(serve, name):
    """The log names section, slot, pid and signal of the first death; the others leave in order."""
    server = serve(hooks() + web(children=4))
    child = server.children()[2]
    os.kill(child, signal.Signals[name])
    assert_one_cause(server, rf"child died worker=web slot=2 .*pid={child} cause={name}\b")
    orderly = re.findall(r"INFO .*child exited worker=web slot=(\d) .*code=0", server.log)
    assert sorted(orderly) == ["0", "1", "3"]


def test_a_child_that_exits_0_takes_the_server_down(serve):
    """`os._exit(0)` in a handler is a death like any other, and its status is named."""
    server = serve(hooks() + web("handlers:vanishing", children=2))
    assert ask(server) == b""
    assert_one_cause(server, 'cause="exit 0"')


@pytest.mark.parametrize("act", ["return", "exit"])
def test_a_worker_that_returns_early_takes_the_server_down(serve, act):
    """`run` may not end before it is told to."""
    server = serve(hooks() + job(run=act, listen=["tcp://127.0.0.1:0"]) + web())
    assert ask(server, section="job") == b""
    assert_one_cause(server, "child died worker=job slot=0")


def test_an_exception_in_run_takes_the_server_down(serve):
    """`run` that raises is a death."""
    server = serve(hooks() + job(run="fail", listen=["tcp://127.0.0.1:0"]) + web())
    assert ask(server, section="job") == b""
    assert_one_cause(server, "child died worker=job slot=0")
    assert "told to fail" in server.log


def test_requests_in_other_hands_complete(serve):
    """A death drains the other children; it does not cut them off."""
    server = serve(hooks() + web("handlers:gated", children=2))
    first, second = dial(server), dial(server)
    victim = int(line(first).split()[1])
    line(second)
    os.kill(victim, signal.SIGKILL)
    server.wait_for("server stopping reason=child-died")
    second.sendall(b".")
    assert rest(second) == b"done\n"
    first.close()
    assert_one_cause(server, f"pid={victim} cause=SIGKILL")


def test_later_deaths_are_consequences(serve):
    """Two children die at one instant: one is the cause, the other a consequence."""
    server = serve(hooks() + web(children=3))
    children = server.children()
    server.freeze()
    os.kill(children[0], signal.SIGKILL)
    os.kill(children[1], signal.SIGKILL)
    server.signal(signal.SIGCONT)
    assert_one_cause(server, "cause=SIGKILL")


@pytest.mark.parametrize("handler", ["failing", "leaving"])
def test_an_exception_in_a_handler_is_an_error_of_one_request(serve, handler):
    """It is logged and counted, the connection is closed, and the child serves on."""
    server = serve(web(f"handlers:{handler}", children=1))
    assert ask(server) == b""
    assert ask(server) == b""
    facts = server.stats()["totals"]
    assert (facts["requests"], facts["errors"]) == (2, 2)
    server.wait_for("Traceback")
    assert server.stop() == -signal.SIGTERM


def test_a_client_that_hangs_up_is_an_error_of_one_connection(serve):
    """A reset in the middle of an answer harms nobody else."""
    server = serve(web("handlers:gated", children=1))
    connection = dial(server)
    child = line(connection)
    connection.close()
    with dial(server) as other:
        assert line(other) == child
    assert server.stop() == -signal.SIGTERM


def test_a_death_with_a_lock_that_others_wait_for(serve):
    """The waiters are killed at `stop_timeout`: it is down within that and a second."""
    server = serve(hooks() + web("handlers:locking", children=4), master={"stop_timeout": 0.5})
    connections = [dial(server) for _ in range(4)]
    for connection in connections:
        assert line(connection).startswith("waiting ")
    holder = next(c for c in connections if holds(c, connections))
    began = time.monotonic()
    holder.sendall(b".")
    assert_one_cause(server, "cause=SIGKILL")
    assert time.monotonic() - began < 1.5
    for connection in connections:
        connection.close()


def holds(connection, connections):
    """Tell whether this connection, of all of them, is the one whose child holds the lock."""
    ready, _, _ = select.select(connections, [], [], DEADLINE)
    return connection in ready
