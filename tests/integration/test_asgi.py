"""ASGI over HTTP/1.1, message by message: what an application and its client see."""

import json
import socket

import pytest

from tests.support.applications import get
from tests.support.clients import dial, line, rest
from tests.support.configs import table

LOOPS = pytest.mark.parametrize("loop", ["uvloop", "asyncio"])


@pytest.fixture
def web(serve):
    """Start a server of one child on tests/programs/asgi_streams.py."""

    def start(*, master=None, **values):
        common = {"type": "asgi", "app": "asgi_streams:app", "listen": ["tcp://127.0.0.1:0"]}
        return serve(table("workers.web", **(common | values)), master=master or {})

    return start


def ask(server, path, *fields, method="GET", version="1.1", body=b""):
    """Return a connection on which one request was sent, the connection's last."""
    connection = dial(server)
    head = [f"{method} {path} HTTP/{version}", "Host: test", *fields, "Connection: close"]
    connection.sendall("\r\n".join((*head, "", "")).encode() + body)
    return connection


def answer(server, path, *fields, **options):
    """Return status line and fields, in lower case, and the body."""
    head, _, body = rest(ask(server, path, *fields, **options)).partition(b"\r\n\r\n")
    return head.decode().lower().split("\r\n"), body


def errors(server, count):
    """Return how many of so many requests were errors, once they are counted."""
    totals = server.stats()["totals"]
    assert (totals["requests"], totals["active"]) == (count, 0)
    return totals["errors"]


@LOOPS
def test_the_scope(web, loop):
    """It tells what the request line, the connection and the lifespan say."""
    server = web(loop=loop, root_path="/api")
    told = json.loads(answer(server, "/facts?a=%20b", "X-A: b")[1])
    assert (told["path"], told["raw_path"]) == ("/api/facts", "/api/facts")
    assert told["query"] == "a=%20b"
    assert told["root_path"] == "/api"
    assert (told["client"], told["scheme"], told["version"]) == ("127.0.0.1", "http", "1.1")
    assert told["state"] == {"born": "state"}
    assert told["headers"]["x-a"] == "b"
    assert (told["body"], told["more"]) == ("", False)
    names = ("early_hint", "pathsend", "zerocopysend")
    assert told["extensions"] == [f"http.response.{name}" for name in names]


def test_a_body_and_its_end(web):
    """A body comes with the news that it is whole; without one that comes at once."""
    server = web()
    told = json.loads(
        answer(server, "/facts", "Content-Length: 5", method="POST", body=b"12345")[1]
    )
    assert (told["body"], told["more"]) == ("12345", False)


def test_pipelined_requests_are_answered_in_order(web):
    """Also one that is slow, and one after a body that nobody read."""
    server = web()
    connection = dial(server)
    body = b"POST /ignores HTTP/1.1\r\nHost: x\r\nContent-Length: 70000\r\n\r\n" + bytes(70000)
    slow = b"GET /slowly HTTP/1.1\r\nHost: x\r\n\r\n"
    last = b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
    connection.sendall(slow + body + last)
    assert rest(connection).count(b"hello") == 3


def test_100_continue(web):
    """The client is told to go on when the application reads, and not before."""
    server = web()
    connection = ask(server, "/upload", "Expect: 100-continue", "Content-Length: 3", method="POST")
    assert line(connection) == "HTTP/1.1 100 Continue\r"
    connection.sendall(b"abc")
    assert rest(connection).endswith(b"\r\n\r\n3")
    unread = ask(server, "/ignores", "Expect: 100-continue", "Content-Length: 3", method="POST")
    assert rest(unread).startswith(b"HTTP/1.1 200")


def test_early_hints(web):
    """103 before the answer; nothing of it to a client that speaks HTTP/1.0."""
    server = web()
    head, _, body = rest(ask(server, "/hints")).partition(b"\r\n\r\n")
    assert head == b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>; rel=preload"
    assert body.startswith(b"HTTP/1.1 200")
    assert rest(ask(server, "/hints", version="1.0")).startswith(b"HTTP/1.1 200")


@LOOPS
def test_a_file_is_sent(web, tmp_path, loop):
    """http.response.pathsend: whole, with any length, and without a body for HEAD."""
    server = web(loop=loop)
    big = tmp_path / "big"
    big.write_bytes(bytes(range(256)) * 40_000)
    connection = dial(server)
    connection.sendall(f"GET /file?{big} HTTP/1.0\r\nHost: x\r\n\r\n".encode())
    assert rest(connection).partition(b"\r\n\r\n")[2] == big.read_bytes()
    assert get(server, f"/file?{big}") == (200, big.read_bytes())
    assert get(server, f"/file?{big}", "HEAD") == (200, b"")
    assert answer(server, "/file?/nowhere")[0][0] == "http/1.1 500 internal server error"


@LOOPS
def test_pieces_of_a_file_are_sent(web, tmp_path, loop):
    """http.response.zerocopysend: from an offset, or from where the file stands; as many as asked
    for, or all that is left.
    """
    server = web(loop=loop)
    digits = tmp_path / "digits"
    digits.write_text("0123456789")
    assert get(server, f"/pieces?{digits}") == (200, b"2347-89")
    assert get(server, f"/pieces?{digits}", "HEAD") == (200, b"")


@pytest.mark.parametrize(
    ("path", "words"),
    [
        ("/injects", "CR, LF or NUL"),
        ("/too_long", "longer than its Content-Length"),
        ("/nothing", "error=no-answer"),
    ],
)
def test_an_answer_that_cannot_be_sent(web, path, words):
    """It is an error of the application: 500, and a line that says why."""
    server = web()
    head, body = answer(server, path)
    assert head[0] == "http/1.1 500 internal server error"
    assert b"hello" not in body
    assert not any(field.startswith("set-cookie") for field in head)
    server.wait_for(words)
    assert errors(server, 1) == 1


def test_an_answer_that_is_too_short(web):
    """The connection ends before the end that was announced."""
    server = web()
    head, body = answer(server, "/too_short")
    assert "content-length: 9" in head
    assert body == b"hello"
    assert errors(server, 1) == 1


def test_what_follows_the_answer(web):
    """A second answer is an error of the application; what it does besides goes on."""
    server = web()
    assert answer(server, "/twice")[1] == b"hello"
    server.wait_for("RuntimeError: http.response.start after the end of the answer")
    assert answer(server, "/background")[1] == b"hello"
    server.wait_for("background done")


def test_a_body_that_breaks_off(web):
    """The application is told, and the broken request is no shorter one."""
    server = web()
    connection = dial(server)
    connection.sendall(b"POST /upload HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc")
    connection.close()
    server.wait_for("upload broken off")
    faulty = b"POST /upload HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nzz\r\n"
    connection = dial(server)
    connection.sendall(faulty)
    assert rest(connection).startswith(b"HTTP/1.1 400")


def test_a_client_that_closes_its_side(web):
    """Who sends a whole request and then the end of file gets the answer."""
    server = web()
    connection = dial(server)
    connection.sendall(b"GET /slowly HTTP/1.1\r\nHost: x\r\n\r\n")
    connection.shutdown(socket.SHUT_WR)
    assert rest(connection).endswith(b"hello")


def test_a_malformed_request_is_counted(web):
    """400, a line in the log, an error; the connection ends."""
    server = web()
    connection = dial(server)
    connection.sendall(b"GET / HTTP/1.1\r\nHost: a b\r\n\r\n")
    assert rest(connection).startswith(b"HTTP/1.1 400")
    server.wait_for("request refused .*status=400")
    assert errors(server, 1) == 1


def test_a_request_id(web):
    """It is made, given to the application, sent back and logged; a trusted proxy's is taken."""
    server = web(
        request_id="X-Request-ID", access_log="json", access_log_file="/dev/stderr",
        trusted_proxies=["127.0.0.1"],
    )  # fmt: skip
    head, body = answer(server, "/facts", "X-Request-ID: abc", "X-Forwarded-Host: shop.test")
    assert "x-request-id: abc" in head
    told = json.loads(body)["headers"]
    assert (told["x-request-id"], told["host"]) == ("abc", "shop.test")
    server.wait_for('"request_id": "abc"')
    head, body = answer(server, "/facts")
    made = json.loads(body)["headers"]["x-request-id"]
    assert f"x-request-id: {made}" in head
    server.wait_for(f'"request_id": "{made}"')


@LOOPS
def test_a_download_does_not_grow_the_child(web, loop):
    """50 MB for a client that reads nothing at first are not held."""
    server = web(loop=loop)
    pid = server.children()[0]
    before = _peak(pid)
    connection = ask(server, "/download")
    server.wait_for("download begun")
    size = len(rest(connection).partition(b"\r\n\r\n")[2])
    assert size > 50_000_000  # and what the chunks add
    server.wait_for("download sent")
    assert _peak(pid) - before < 20_000_000


def _peak(pid):
    """Return the largest resident size so far, in bytes."""
    with open(f"/proc/{pid}/status") as file:
        words = next(words for words in map(str.split, file) if words[0] == "VmHWM:")
    return int(words[1]) * 1024
