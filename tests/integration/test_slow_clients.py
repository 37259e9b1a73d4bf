"""Clients that are slow, silent or gone, and long answers: they cost their own connection."""

import contextlib
import http.client
import os
import signal
import socket
import threading

import pytest

from tests.support.applications import get, section
from tests.support.clients import dial, endpoint, rest
from tests.support.harness import DEADLINE

THREADS = pytest.mark.parametrize("threads", [1, 4])


def streams(**values):
    """Return a section of one child, with little patience."""
    common = {"app": "streams:wsgi", "children": 1, "connection_timeout": 1.0}
    return section("wsgi", **(common | values))


def sent(server, data):
    """Return a connection on which these bytes were sent."""
    connection = dial(server)
    connection.sendall(data)
    return connection


HALVES = {
    "nothing": (b"", b""),
    "half a head": (b"GET / HTTP/1.1\r\nHo", b"HTTP/1.1 408 "),
    "half a body": (
        b"POST /body HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc",
        b"HTTP/1.1 408 ",
    ),
    "half a chunk": (
        b"POST /body HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n9\r\nabc",
        b"HTTP/1.1 408 ",
    ),
}


@THREADS
@pytest.mark.parametrize("half", HALVES)
def test_a_client_that_falls_silent(serve, half, threads):
    """Others are served meanwhile; no request_timeout is his; his connection ends."""
    data, answer = HALVES[half]
    server = serve(streams(threads=threads, request_timeout=0.5))
    silent = [sent(server, data) for _ in range(8)]
    assert get(server) == (200, b"hello")
    for one in silent:
        got = rest(one)
        assert got.startswith(answer)
        assert bool(got) == bool(answer)
    assert get(server) == (200, b"hello")
    assert server.stop() == -signal.SIGTERM
    assert "child died" not in server.log


@THREADS
@pytest.mark.parametrize("path", ["/endless", "/file"])
def test_a_client_that_does_not_read(serve, path, threads):
    """The answer waits, others are served, and his connection is cut."""
    server = serve(streams(threads=threads, request_timeout=0.5))
    silent = sent(server, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    for _ in range(3):
        assert get(server) == (200, b"hello")
    server.wait_for("request failed .*error=client-too-slow")
    assert get(server) == (200, b"hello")
    assert server.stats()["totals"]["active"] == 0
    with contextlib.suppress(ConnectionError):
        rest(silent)
    assert server.stop() == -signal.SIGTERM
    assert "child died" not in server.log


def test_a_client_that_reads_slowly(serve):
    """As long as bytes move, nobody is cut, and the answer is whole."""
    server = serve(streams())
    with dial(server) as connection:
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65_536)
        connection.sendall(b"GET /file HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        size = sum(len(data) for data in iter(lambda: connection.recv(65_536), b""))
    assert size > 10_000_000 - 5
    assert server.stop() == -signal.SIGTERM


@THREADS
def test_a_client_that_hangs_up(serve, threads):
    """The answer is closed when nobody takes it any more."""
    server = serve(streams(threads=threads))
    connection = sent(server, b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
    server.wait_for("answer begun")
    connection.close()
    server.wait_for("answer closed")
    assert server.stop() == -signal.SIGTERM


@THREADS
@pytest.mark.parametrize("path", ["/endless", "/events"])
def test_a_stream_at_the_stop(serve, path, threads):
    """A stream goes on for stream_timeout; then it is closed, long before stop_timeout."""
    values = {"stream_timeout": 0.5, "threads": threads, "connection_timeout": DEADLINE}
    server = serve(streams(**values), master={"stop_timeout": DEADLINE})
    connection = sent(server, f"GET {path} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    server.wait_for("answer begun")
    reader = threading.Thread(target=_read_all, args=(connection,))
    reader.start()
    server.signal(signal.SIGTERM)
    server.wait_for("answer closed")
    assert server.wait() == -signal.SIGTERM
    assert "child killed" not in server.log
    reader.join()


@THREADS
def test_a_stream_beside_the_next_generation(serve, threads):
    """Nobody waits for its end: it goes on beyond stream_timeout."""
    server = serve(
        streams(children=2, threads=threads, stream_timeout=0.1),
        master={"restart": "on-crash", "stop_timeout": DEADLINE},
    )
    connection = sent(server, b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n")
    server.wait_for("answer begun")
    idle = min(server.stats()["children"], key=lambda child: child["active"])
    os.kill(idle["pid"], signal.SIGKILL)
    server.wait_for(r"server ready .*generation=2\b")
    with connection.makefile("rb") as events:
        # Each is made 0.05 s after the one before; what is cut would be after a second.
        assert all(events.readline() for _ in range(5 * 30))
    connection.close()
    server.wait_for("generation gone generation=1")
    assert server.stop() == -signal.SIGTERM


def _read_all(connection):
    with contextlib.suppress(ConnectionError):
        rest(connection)


def test_half_a_head_at_the_stop(serve):
    """Four halves of a head do not delay the stop."""
    server = serve(streams(connection_timeout=DEADLINE), master={"stop_timeout": DEADLINE})
    halves = [sent(server, b"GET / HT") for _ in range(4)]
    assert get(server) == (200, b"hello")
    assert server.stop() == -signal.SIGTERM
    assert "child killed" not in server.log
    for one in halves:
        one.close()


def test_a_body_beyond_the_buffer(serve):
    """It goes to disk, is whole for the application, and its size is known also of chunks."""
    server = serve(streams(body_buffer=1000))
    assert get(server, "/body", "POST", body=b"a" * 5000) == (200, b"5000 5000")
    chunks = (b"b" * 700 for _ in range(4))
    assert get(server, "/body", "POST", body=chunks) == (200, b"2800 2800")
    assert server.stop() == -signal.SIGTERM


@THREADS
def test_answers_that_are_not_allowed(serve, threads):
    """They are errors of the application: 500, or the end of the connection; never a byte more."""
    server = serve(streams(threads=threads))
    assert get(server, "/too-long")[0] == 500
    assert get(server, "/injected")[0] == 500
    with pytest.raises(http.client.IncompleteRead):
        get(server, "/too-short")
    assert get(server, "/written") == (200, b"one two")
    server.wait_for("InvalidAnswer.*longer than", "InvalidAnswer.*CR, LF", "InvalidAnswer.*shorter")
    assert server.stats()["totals"]["errors"] == 3


HINTS = (
    b"HTTP/1.1 103 Early Hints\r\nLink: </a.css>; rel=preload\r\nX-A: b\r\n\r\n"
    b"HTTP/1.1 103 Early Hints\r\nLink: </b.js>; rel=preload\r\n\r\n"
)


@THREADS
def test_early_hints(serve, threads, tmp_path):
    """They are on their way while the application still makes the answer; none after its begin."""
    server = serve(streams(threads=threads))
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    connection = sent(server, f"GET /hints?{fifo} HTTP/1.1\r\nHost: x\r\n\r\n".encode())
    got = b""
    while len(got) < len(HINTS):
        got += connection.recv(65_536)
    assert got == HINTS
    fifo.write_bytes(b"done")
    connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    answer = rest(connection)
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert (answer.count(b"done"), answer.count(b"103"), answer.count(b"hello")) == (1, 0, 1)


@THREADS
def test_early_hints_that_are_not_sent(serve, threads, tmp_path):
    """HTTP/1.0 knows none; one that would end its line is an error of the application."""
    server = serve(streams(threads=threads))
    (tmp_path / "file").write_bytes(b"done")
    head = f"GET /hints?{tmp_path}/file HTTP/1.0\r\n\r\n"
    answer = rest(sent(server, head.encode()))
    assert answer.startswith(b"HTTP/1.1 200 OK\r\n")
    assert answer.endswith(b"done")
    assert get(server, "/wrong-hint")[0] == 500
    server.wait_for("InvalidAnswer.*CR, LF")


def test_pipelined_requests(serve):
    """They are answered in order, each once, the last one being the last."""
    server = serve(streams())
    paths = [b"/", b"/written", b"/", b"/body", b"/written"]
    connection = sent(
        server,
        b"".join(
            b"POST %b HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc" % path for path in paths
        )
        + b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    )
    answers = rest(connection)
    bodies = [b"hello", b"one ", b"hello", b"3 3", b"one ", b"hello"]
    found = [answers.find(body) for body in bodies]
    assert answers.count(b"HTTP/1.1 200 OK") == 6
    assert answers.count(b"hello") == 3
    assert min(found) > 0


def test_a_slow_request_spreads_kept_connections(serve):
    """While one of the section was slow of late, answers end their connections."""
    server = serve(streams(children=2))
    assert b"close" not in _head(server, b"/").lower()
    assert b"connection: close" in _head(server, b"/slow").lower()
    assert b"connection: close" in _head(server, b"/").lower()


def _head(server, path):
    with sent(server, b"GET %b HTTP/1.1\r\nHost: x\r\n\r\n" % path) as connection:
        return connection.recv(65_536)


def test_what_proxies_say(serve):
    """Host, port, scheme and prefix are those of the proxy that is trusted."""
    server = serve(streams(trusted_proxies=["127.0.0.1"], root_path="/app"))
    headers = {
        "Forwarded": 'for="[2001:db8::7]:80";proto=https;host=shop.example',
        "X-Forwarded-Prefix": "/shop",
    }
    status, body = get(server, "/app/who", headers=headers)
    assert (status, body) == (200, b"2001:db8::7 https shop.example 443 /shop/app")


def test_the_id_of_a_request(serve):
    """It is taken from a trusted proxy, else made; given to the application and sent back."""
    server = serve(streams(trusted_proxies=["127.0.0.1"], request_id="X-Request-ID"))
    connection = http.client.HTTPConnection(*endpoint(server.address()), timeout=DEADLINE)
    connection.request("GET", "/fields", headers={"X-Request-ID": "abc", "Under_score": "no"})
    answer = connection.getresponse()
    assert answer.getheader("X-Request-ID") == "abc"
    fields = answer.read()
    assert b"('HTTP_X_REQUEST_ID', 'abc')" in fields
    assert b"UNDER" not in fields
    connection.request("GET", "/")
    assert len(connection.getresponse().getheader("X-Request-ID")) == 32
    connection.close()
