"""Code that waits in a child is woken by the order to stop, in whichever thread it waits."""

import signal

import pytest

from tests.support.applications import asked
from tests.support.configs import hooks, job, table
from tests.support.harness import DEADLINE

# Longer than any test waits: a server that ends nevertheless did not wait for it.
FOR_EVER = {"stop_timeout": 3600.0}
GATE = table("modules.gate", type="faults:Gate")


@pytest.mark.parametrize("threads", [1, 4])
def test_a_request_that_sleeps_is_told_to_stop(serve, threads):
    """`current().sleep()` raises Stop in every thread, and the main thread ends after all."""
    server = serve(application(threads), master=FOR_EVER)
    clients = [asked(server, "/") for _ in range(threads)]
    server.wait_for(*sleeping(threads))
    assert server.stop() == -signal.SIGTERM
    assert "child killed" not in server.log
    for client in clients:
        client.settimeout(DEADLINE)
        assert client.recv(100).startswith(b"HTTP/1.1 500")


def test_requests_that_wait_for_a_lock_are_told_by_who_holds_it(serve):
    """One sleeps with the lock, three wait for it: each ends when it is its turn."""
    server = serve(application(4) + GATE, master=FOR_EVER)
    clients = [asked(server, "/lock") for _ in range(4)]
    server.wait_for(*sleeping(1))
    assert server.stop() == -signal.SIGTERM
    assert "child killed" not in server.log
    assert len(clients) == 4


def test_term_just_before_a_child_is_ready_is_no_crash(launch):
    """Nobody reads its readiness any more: it leaves in order, `child_exit` included."""
    server = launch(hooks() + job("late", type="waiting:Late"))
    assert server.wait() == -signal.SIGTERM
    server.wait_for("^hook a child_exit", "child exited worker=late .*code=0")


def test_the_masters_death_just_before_a_child_is_ready_is_no_crash(launch):
    """Nobody reads its readiness any more: it leaves in order, `child_exit` included."""
    server = launch(hooks() + job("late", type="waiting:Abandoned"))
    server.wait_for("^hook a child_exit")
    assert server.wait() == -signal.SIGKILL
    server.wait_gone()


def application(threads):
    """Return a `wsgi` section of one child."""
    values = {"type": "wsgi", "app": "waiting:asleep", "listen": ["tcp://127.0.0.1:0"]}
    return table("workers.web", **values, children=1, threads=threads)


def sleeping(count):
    """Return a pattern that the log has once so many requests sleep."""
    return ["(?s)" + "request sleeps.*" * count]
