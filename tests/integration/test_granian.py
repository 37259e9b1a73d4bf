"""Granian serves `rsgi` and HTTP/2 as promised: the stop, the deadlines, the crowd of clients."""

import os
import signal

import pytest

from tests.support.applications import GRANIAN, is_answer, question
from tests.support.clients import dial
from tests.support.configs import table

ALL = pytest.mark.parametrize("kind", GRANIAN)
LATE = pytest.mark.parametrize("kind", [one for one in GRANIAN if one != "wsgi-2"])
STREAMS = 0.5  # s
DESCRIPTORS = 400


@pytest.fixture
def engine(serve):
    """Start a server of a kind, one child unless told otherwise."""

    def start(kind, *, prefix=(), master=None, **values):
        values = {"listen": ["tcp://127.0.0.1:0"], "children": 1, **GRANIAN[kind], **values}
        return serve(table("workers.web", **values), prefix=prefix, master=master or {})

    return start


def until(connection, *words):
    """Read until all words have come, or the end; return what was read."""
    received = b""
    while not all(word in received for word in words) and (data := connection.recv(65536)):
        received += data
    return received


def ask(server, kind, path="/"):
    """Return a connection on which a request was sent."""
    connection = dial(server)
    connection.sendall(question(kind, path))
    return connection


def answered(connection, status=200):
    """Read until an answer of that status has come, or the end; tell which."""
    received = b""
    while not is_answer(received, status) and (data := connection.recv(65536)):
        received += data
    return is_answer(received, status)


@ALL
def test_a_half_sent_head_delays_for_a_while_only(engine, kind):
    """The stop waits for it as for a stream, kills nobody, and what comes first is served."""
    server = engine(kind, stream_timeout=STREAMS)
    half = dial(server)
    half.sendall(question(kind)[:-3])
    assert answered(ask(server, kind))
    assert server.stop() == -signal.SIGTERM
    assert "child killed" not in server.log
    assert not is_answer(until(half, b"never"))


@ALL
def test_a_stream_ends(engine, kind):
    """An endless answer is ended after stream_timeout, and its end is the application's too."""
    server = engine(kind, stream_timeout=STREAMS)
    stream = ask(server, kind, "/endless")
    assert b"tick" in until(stream, b"tick")
    assert server.stop() == -signal.SIGTERM
    server.wait_for("endless closed")
    if kind == "asgi-2":
        server.wait_for("lifespan is over")
    assert "child killed" not in server.log
    assert "stop-timeout" not in server.log


@ALL
def test_a_slow_client_has_its_answer(engine, kind):
    """A request in hand when the stop comes is answered."""
    server = engine(kind)
    slow = ask(server, kind, "/slow")
    server.wait_for("request begun")
    server.signal(signal.SIGTERM)
    assert answered(slow)
    assert server.wait() == -signal.SIGTERM


@LATE
def test_a_late_request_is_cancelled(engine, kind):
    """One that waits for too long gets 504; its child lives, and the log shows where it waited."""
    server = engine(kind, request_timeout=0.3)
    assert answered(ask(server, kind, "/hang"), 504)
    server.wait_for("request cancelled .*reason=request_timeout", r"applications.py.* in \w+")
    assert answered(ask(server, kind))
    totals = server.stats()["totals"]
    assert (totals["requests"], totals["errors"]) == (2, 1)


def test_a_step_that_takes_too_long(engine):
    """Each step of a wsgi application has the deadline, a stream as a whole has none."""
    server = engine("wsgi-2", request_timeout=0.3)
    stream = ask(server, "wsgi-2", "/endless")
    assert until(stream, b"tick").count(b"tick") > 0
    hung = ask(server, "wsgi-2", "/hang")
    assert server.wait() == 70
    server.wait_for("cause=request_timeout", r"applications.py.* in wsgi$")
    hung.close()


@ALL
def test_static_files(engine, kind, tmp_path):
    """They are ours, whatever the version."""
    (tmp_path / "hello.txt").write_text("hello from a file")
    server = engine(kind, static={'"/static"': str(tmp_path)})
    assert b"hello from a file" in until(ask(server, kind, "/static/hello.txt"), b"from a file")
    assert answered(ask(server, kind, "/static/none"), 404)


def cpu(server):
    """Return the seconds of processor time of all children."""
    return sum(child["cpu_seconds"] for child in server.stats()["children"])


@ALL
def test_more_idle_clients_than_descriptors(engine, kind):
    """900 silent clients: no child spins, room is made for who asks, and the stop is in time."""
    limit = ("prlimit", f"--nofile={DESCRIPTORS}:{DESCRIPTORS}")
    server = engine(kind, prefix=limit, children=2, backlog=2048)
    silent = [dial(server) for _ in range(900)]
    begun = cpu(server)
    asking = ask(server, kind)
    assert answered(asking)
    for child in server.stats()["children"]:
        assert len(os.listdir(f"/proc/{child['pid']}/fd")) <= DESCRIPTORS - 16
    # It waited for some seconds; a child that spins uses one in one, or what others leave it.
    assert cpu(server) - begun < 2
    assert answered(ask(server, kind))
    assert server.stop() == -signal.SIGTERM
    assert "child killed" not in server.log
    for connection in silent:
        connection.close()
