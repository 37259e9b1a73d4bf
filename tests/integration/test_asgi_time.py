"""The time that ASGI applications and their clients may take: deadlines, slow clients, stops."""

import os
import signal
import socket
import threading
import time

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.support.applications import get
from tests.support.clients import dial, endpoint, rest
from tests.support.configs import table
from tests.support.harness import DEADLINE

LOOPS = pytest.mark.parametrize("loop", ["uvloop", "asyncio"])


@pytest.fixture
def web(serve):
    """Start a server of one child on tests/programs/asgi_streams.py."""

    def start(*, master=None, **values):
        common = {"type": "asgi", "app": "asgi_streams:app", "listen": ["tcp://127.0.0.1:0"]}
        return serve(table("workers.web", **(common | values)), master=master or {})

    return start


def asked(server, path, *fields, method="GET", body=b""):
    """Return a connection on which a request was sent."""
    connection = dial(server)
    head = [f"{method} {path} HTTP/1.1", "Host: test", *fields]
    connection.sendall("\r\n".join((*head, "", "")).encode() + body)
    return connection


def until(connection, words):
    """Return what comes up to these words."""
    received = b""
    while not received.endswith(words):
        byte = connection.recv(1)
        assert byte, received
        received += byte
    return received


@LOOPS
def test_a_request_that_waits_too_long(web, loop):
    """It is cancelled where it waits: 504, its stack in the log, an error; the child lives on."""
    server = web(request_timeout=0.3, loop=loop)
    pids = server.children()
    assert get(server, "/sleeper")[0] == 504
    server.wait_for("request cancelled .*reason=request_timeout", "asgi_streams.py.* in sleeper")
    assert get(server, "/stubborn")[0] == 504
    assert get(server) == (200, b"hello")
    totals = server.stats()["totals"]
    assert (totals["requests"], totals["errors"]) == (3, 2)
    assert server.children() == pids


def test_an_answer_that_goes_on_has_no_deadline(web):
    """Nor has one that waits for the body of its request."""
    server = web(request_timeout=0.3)
    stream = asked(server, "/deaf")
    upload = asked(server, "/upload", "Content-Length: 6", method="POST", body=b"abc")
    until(stream, b"one\r\n")
    assert get(server, "/sleeper")[0] == 504  # by now both have taken longer
    upload.sendall(b"def")
    assert until(upload, b"\r\n\r\n6").startswith(b"HTTP/1.1 200")


def test_a_slow_request(web):
    """It is logged once, with its stack, and answered."""
    server = web(slow_request=0.1)
    assert get(server, "/slowly") == (200, b"hello")
    server.wait_for("WARNING .*slow request .*path=/slowly", "asgi_streams.py.* in slowly")
    assert server.log.count("slow request") == 1


@pytest.mark.parametrize(
    "sent",
    [
        b"GET / HTTP/1.1\r\nHost: te",
        b"POST /upload HTTP/1.1\r\nHost: test\r\nContent-Length: 10\r\n\r\nab",
    ],
)
def test_a_client_that_stops_in_the_middle(web, sent):
    """408 to that connection after connection_timeout; a request deadline is not touched."""
    server = web(connection_timeout=0.3, request_timeout=0.2)
    connection = dial(server)
    connection.sendall(sent)
    assert rest(connection).startswith(b"HTTP/1.1 408")
    assert "reason=request_timeout" not in server.log
    assert get(server) == (200, b"hello")


def test_a_client_that_says_nothing(web):
    """It is left without a word."""
    server = web(connection_timeout=0.3, keep_alive=0.3)
    assert rest(dial(server)) == b""
    kept = asked(server, "/")
    until(kept, b"hello")
    assert rest(kept) == b""


def test_a_client_that_does_not_read(web):
    """Its connection ends; the application is told, and nobody dies."""
    server = web(connection_timeout=0.3, request_timeout=0.2)
    connection = dial(server)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
    connection.sendall(b"GET /download HTTP/1.1\r\nHost: test\r\n\r\n")
    server.wait_for("download begun")
    assert get(server) == (200, b"hello")
    _wait_for_requests(server, 2)
    assert "download sent" not in server.log


def _wait_for_requests(server, count):
    """Each look is itself a program that takes its time."""
    by = time.monotonic() + DEADLINE
    while server.stats()["totals"]["requests"] < count:
        assert time.monotonic() < by


@LOOPS
def test_a_stream_ends_at_a_stop(web, loop):
    """After stream_timeout it is told, and ends by itself; the lifespan ends too."""
    server = web(loop=loop, stream_timeout=0.3)
    connection = asked(server, "/events")
    server.wait_for("stream begun")
    assert server.stop() == -signal.SIGTERM
    assert rest(connection).endswith(b"data: last\n\n\r\n0\r\n\r\n")
    assert server.log.index("stream told") < server.log.index("lifespan is over")


def test_a_deaf_stream_is_cancelled_at_a_stop(web):
    """A second after it was told."""
    server = web(stream_timeout=0.1)
    connection = asked(server, "/deaf")
    server.wait_for("stream begun")
    assert server.stop() == -signal.SIGTERM
    assert not rest(connection).endswith(b"0\r\n\r\n")
    server.wait_for("stream cancelled", "lifespan is over")
    assert "reason=stop-timeout" not in server.log


def test_a_request_that_lasts_longer_than_a_stop(web):
    """It is cancelled in time for the end of the lifespan; no child has to be killed."""
    server = web(master={"stop_timeout": 1.0})
    connection = asked(server, "/sleeper")
    server.wait_for("request begun")
    assert server.stop() == -signal.SIGTERM
    assert rest(connection).startswith(b"HTTP/1.1 503")
    server.wait_for("request cancelled .*reason=stop-timeout", "lifespan is over")
    assert "child killed" not in server.log


def test_fresh_connections_are_answered_in_a_renewal(web):
    """Nothing was sent on them when their child was told to stop: they have a second for it."""
    server = web(master={"renew": {"every": 0.5}})
    fresh = [dial(server) for _ in range(40)]
    assert get(server) == (200, b"hello")  # so those before it are accepted, too
    server.wait_for("generation stopping generation=1 reason=renewal")
    for one in fresh:
        one.sendall(b"GET / HTTP/1.1\r\nHost: test\r\n\r\n")
        assert until(one, b"hello").startswith(b"HTTP/1.1 200 OK")
    assert server.stop() == -signal.SIGTERM


def test_half_a_head_does_not_delay_a_stop(web):
    """Nor does a body that never comes, for longer than streams have."""
    server = web(stream_timeout=0.1)
    half = dial(server)
    half.sendall(b"GET / HTTP/1.1\r\nHo")
    assert get(server) == (200, b"hello")
    assert server.stop() == -signal.SIGTERM
    assert "child killed" not in server.log
    server.wait_for("lifespan is over")


def url(server, path="/"):
    """Return the address of a WebSocket."""
    host, port = endpoint(server.address())
    return f"ws://{host}:{port}{path}"


@LOOPS
def test_a_websocket_in_full(web, loop):
    """Its subprotocol, the application's headers, both kinds of messages, compression, its end."""
    server = web(loop=loop)
    options = {"subprotocols": ["chat"], "close_timeout": DEADLINE, "compression": "deflate"}
    with connect(url(server, "/a%20b"), **options) as websocket:
        assert websocket.subprotocol == "chat"
        assert websocket.response.headers["x-path"] == "/a%20b"
        assert "permessage-deflate" in websocket.response.headers["sec-websocket-extensions"]
        for message in ("text", b"bytes", "x" * 100_000, ["in ", "pieces"]):
            websocket.send(message)
            whole = "".join(message) if isinstance(message, list) else message
            assert websocket.recv(DEADLINE) == whole
    server.wait_for("websocket closed 1000")
    assert server.stats()["totals"]["errors"] == 0


@pytest.mark.parametrize(("path", "status"), [("/no", 403), ("/denied", 401)])
def test_a_websocket_that_is_refused(web, path, status):
    """By 403, or with the application's own answer."""
    from websockets.exceptions import InvalidStatus

    server = web()
    with pytest.raises(InvalidStatus) as refused, connect(url(server, path)):
        pass
    assert refused.value.response.status_code == status
    if status == 401:
        assert refused.value.response.body == b"not you"


@pytest.mark.parametrize(
    ("path", "message", "code"),
    [("/bye", None, 4000), ("/boom", None, 1011), ("/", "x" * 2000, 1009)],
)
def test_how_a_websocket_ends(web, path, message, code):
    """By the application, by its error, by a message that is too large."""
    server = web(ws_max_size=1000)
    with connect(url(server, path), close_timeout=DEADLINE) as websocket:
        if message:
            websocket.send(message)
        with pytest.raises(ConnectionClosed) as closed:
            websocket.recv(DEADLINE)
    assert closed.value.rcvd.code == code


def test_a_websocket_whose_client_is_gone(web):
    """A client that answers no ping is given up."""
    server = web(ws_ping_interval=0.1, ws_ping_timeout=0.1)
    connection = asked(
        server, "/", "Connection: Upgrade", "Upgrade: websocket", "Sec-WebSocket-Version: 13",
        "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==",
    )  # fmt: skip
    assert rest(connection).startswith(b"HTTP/1.1 101")
    server.wait_for("websocket closed 1011")


def test_websockets_are_closed_over_a_time(web):
    """With close_spread their clients do not all come back at once."""
    server = web(close_spread=0.2)
    ends = []

    def watch(opened):
        with connect(url(server), close_timeout=DEADLINE) as websocket:
            opened.wait()
            with pytest.raises(ConnectionClosed) as closed:
                websocket.recv(DEADLINE)
            ends.append((time.monotonic(), closed.value.rcvd.code))

    opened = threading.Barrier(6)
    clients = [threading.Thread(target=watch, args=(opened,)) for _ in range(5)]
    for client in clients:
        client.start()
    opened.wait(DEADLINE)
    assert server.stop() == -signal.SIGTERM
    for client in clients:
        client.join(DEADLINE)
    assert [code for _, code in ends] == [1012] * 5
    assert max(ends)[0] - min(ends)[0] > 0.1
    assert server.log.count("websocket closed 1012") == 5


def descriptors(pid):
    """Return how many a process has open."""
    return len(os.listdir(f"/proc/{pid}/fd"))


def test_kept_connections_are_spread(web):
    """400 kept connections on four children lie within a quarter of their mean."""
    server = web(children=4)
    pids = server.children().values()
    before = [descriptors(pid) for pid in pids]
    for _ in range(400):
        until(asked(server, "/"), b"hello")
    held = [descriptors(pid) - least for pid, least in zip(pids, before, strict=True)]
    assert 400 <= sum(held) <= 408  # and what a child opened for the first of them
    assert all(75 <= one <= 125 for one in held), held


def test_few_descriptors(serve):
    """A child holds no more connections than it has descriptors for. After a second those that say
    nothing make room; who waits is served.
    """
    text = table("workers.web", type="asgi", app="asgi_streams:app", listen=["tcp://127.0.0.1:0"])
    server = serve(text, prefix=["prlimit", "--nofile=96:96"])
    (pid,) = server.children().values()
    silent = [asked(server, "/") for _ in range(100)]
    for connection in silent[:40]:
        until(connection, b"hello")
    assert descriptors(pid) <= 96 - 16
    assert get(server) == (200, b"hello")
    assert server.stop() == -signal.SIGTERM
