"""How a server of an application stops: with requests in hand, idle clients, a hung request."""

import http.client
import os
import signal
import threading
import time

import pytest

from tests.support.applications import ENGINES, asked, get, kept, section
from tests.support.clients import dial, rest
from tests.support.harness import DEADLINE

ALL = pytest.mark.parametrize("engine", ENGINES)


@ALL
def test_requests_in_hand_are_finished(serve, engine):
    """Told to stop with 20 requests in hand, it answers all 20, each as the connection's last."""
    threads = {"threads": 10} if engine == "wsgi" else {}
    server = serve(section(engine, **threads))
    connections = [asked(server, "/slow") for _ in range(20)]
    server.signal(signal.SIGTERM)
    answers = [rest(connection) for connection in connections]
    assert all(answer.startswith(b"HTTP/1.1 200") for answer in answers)
    assert all(b"connection: close" in answer.lower() for answer in answers)
    assert server.wait() == -signal.SIGTERM


@pytest.mark.parametrize("values", [{}, {"keep_alive": 0.0}])
def test_requests_that_wait_are_answered(serve, values):
    """Four single threads take one connection each; the 16 in the accept queue are answered too."""
    server = serve(section("wsgi", children=4, **values))
    connections = [asked(server, "/slow") for _ in range(20)]
    server.signal(signal.SIGTERM)
    answers = [rest(connection) for connection in connections]
    assert all(answer.startswith(b"HTTP/1.1 200") for answer in answers)
    assert server.wait() == -signal.SIGTERM


@pytest.mark.parametrize("values", [{}, {"keep_alive": 0.0}])
def test_a_silent_client_does_not_take_the_only_place(serve, values):
    """Who connects and says nothing, or keeps an idle connection, keeps nobody else waiting."""
    server = serve(section("wsgi", children=1, **values))
    held = [dial(server), dial(server), kept(server), kept(server)]
    assert get(server) == (200, b"hello")
    assert server.stop() == -signal.SIGTERM
    assert [rest(connection) for connection in held] == [b""] * 4


def test_requests_in_hand_are_finished_after_a_child_takes_all(serve):
    """The engine that a child began with has ended long before: it is not taken for the one that
    serves now.
    """
    server = serve(section("wsgi", children=1, threads=2))
    for _ in range(70):
        assert get(server)[0] == 200
    slow = asked(server, "/slow")
    server.wait_for("request begun")
    assert server.stop() == -signal.SIGTERM
    assert b"hello" in rest(slow)


@ALL
def test_idle_connections_do_not_delay(serve, engine):
    """Fifty clients that keep their connections, and one that never spoke, are left at once."""
    server = serve(section(engine))
    connections = [kept(server) for _ in range(50)] + [dial(server)]
    begun = time.monotonic()
    assert server.stop() == -signal.SIGTERM
    took = time.monotonic() - begun
    assert [rest(connection) for connection in connections] == [b""] * 51
    assert took < DEADLINE / 10  # 0.1 s where nothing else runs; stop_timeout is 10 s


@ALL
def test_a_hung_request_is_cut(serve, engine):
    """A request that never ends lasts until stop_timeout; then it is cancelled, or its child is
    killed, and that is said.
    """
    server = serve(section(engine), master={"stop_timeout": 0.5})
    connection = asked(server, "/hang")
    server.wait_for("request begun")
    assert server.stop() == -signal.SIGTERM
    what = "child killed" if engine == "wsgi" else "request cancelled"
    server.wait_for(f"{what} .*reason=stop-timeout")
    connection.close()


@ALL
def test_a_killed_child_is_replaced(serve, engine):
    """With restart = "on-crash" a SIGKILL of one child makes a new generation, which serves."""
    server = serve(section(engine), master={"restart": "on-crash"})
    waiting = kept(server)
    os.kill(server.children()[0], signal.SIGKILL)
    server.wait_for("server ready .*generation=2")
    assert b"hello" in _last(asked(server, "/"))
    waiting.close()
    assert server.stop() == -signal.SIGTERM


@ALL
def test_no_client_is_refused(serve, engine):
    """In a stream of connections three crashes refuse nobody, and reset what the dead held only."""
    server = serve(section(engine, children=4, backlog=512), master={"restart": "on-crash"})
    results, done = [], threading.Event()

    def client():
        while not done.is_set():
            try:
                results.append(get(server)[0])
            except (OSError, http.client.HTTPException) as error:
                results.append(type(error).__name__)

    clients = [threading.Thread(target=client) for _ in range(8)]
    for one in clients:
        one.start()
    try:
        for generation in (1, 2, 3):
            os.kill(server.children()[generation], signal.SIGKILL)
            server.wait_for(rf"server ready .*generation={generation + 1}\b")
    finally:
        done.set()
        for one in clients:
            one.join()
    lost = [result for result in results if result != 200]
    assert len(results) > 10
    assert "ConnectionRefusedError" not in lost
    assert len(lost) <= 3 * len(clients)
    assert server.stop() == -signal.SIGTERM


def _last(connection):
    """Return what comes until `hello` has come."""
    received = b""
    while b"hello" not in received:
        received += connection.recv(65536)
    connection.close()
    return received


def test_a_thread_in_the_master(serve):
    """One that user code has left there gets no signal that the main thread takes for another."""
    server = serve(section("wsgi", children=1), master={"preload": ["threaded"]})
    slow = asked(server, "/slow")
    server.wait_for("request begun")
    assert server.stop() == -signal.SIGTERM
    assert rest(slow).startswith(b"HTTP/1.1 200")
    assert "second-signal" not in server.log
