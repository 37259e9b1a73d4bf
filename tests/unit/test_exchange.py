"""The small HTTP of the status pages: what is answered, and what is refused and how."""

from http import HTTPStatus

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.workers.status.exchange import (
    LONGEST_HEAD,
    LONGEST_LINE,
    is_whole,
    refusal,
    reply,
    text,
    too_long,
)

HOST = b"Host: 127.0.0.1:8080\r\n"


def route(path, accept):
    """Know one path, and say what was accepted."""
    return text(HTTPStatus.OK, f"yes {accept}") if path == "/yes" else None


def ask(head, names_only_us=True):
    """Return the status, the headers and the body of the answer to a head."""
    answer = reply(head, route, names_only_us=names_only_us)
    top, _, body = answer.partition(b"\r\n\r\n")
    first, *lines = top.decode().split("\r\n")
    version, status, _ = first.split(" ", 2)
    assert version == "HTTP/1.1"
    return int(status), dict(line.split(": ", 1) for line in lines), body


def test_a_good_request():
    """A path that is known is answered, with its length and a policy that allows our own only."""
    status, headers, body = ask(b"GET /yes?x=1 HTTP/1.1\r\nAccept: a/b\r\n" + HOST + b"\r\n")
    assert (status, body) == (200, b"yes a/b\n")
    assert headers["Content-Length"] == str(len(body))
    assert headers["Connection"] == "close"
    assert "default-src 'none'" in headers["Content-Security-Policy"]
    assert "unsafe" not in headers["Content-Security-Policy"]
    assert headers["X-Content-Type-Options"] == "nosniff"


def test_head_has_no_body():
    """HEAD says what GET would, and sends nothing of it."""
    got, head = ask(b"GET /yes HTTP/1.0\r\n\r\n"), ask(b"HEAD /yes HTTP/1.0\r\n\r\n")
    assert head[2] == b""
    assert head[1]["Content-Length"] == got[1]["Content-Length"]


REFUSED = [
    (b"GET /no HTTP/1.1\r\n" + HOST, 404),
    (b"GET /../yes HTTP/1.1\r\n" + HOST, 404),
    (b"GET /%2e%2e/etc/passwd HTTP/1.1\r\n" + HOST, 404),
    (b"GET /yes\0 HTTP/1.1\r\n" + HOST, 404),
    (b"GET yes HTTP/1.1\r\n" + HOST, 400),
    (b"GET http://127.0.0.1/yes HTTP/1.1\r\n" + HOST, 400),
    (b"POST /yes HTTP/1.1\r\n" + HOST, 405),
    (b"BREW /yes HTTP/1.1\r\n" + HOST, 405),
    (b"get /yes HTTP/1.1\r\n" + HOST, 405),
    (b"GET /yes\r\n", 400),
    (b"GET  HTTP/1.1\r\n" + HOST, 400),
    (b"GET /yes HTTP/9.9\r\n" + HOST, 400),
    (b"GET /yes HTTP/1.1.1\r\n" + HOST, 400),
    (b"GET /yes FTP/1.1\r\n" + HOST, 400),
    (b"GET /yes HTTP/1.1 x\r\n" + HOST, 400),
    (b"nonsense\r\n", 400),
    (b"\x16\x03\x01\x02\x00\x01\r\n", 400),
    (b"GET /yes HTTP/1.1\r\n", 400),
    (b"GET /yes HTTP/1.1\r\n" + HOST + HOST, 400),
    (b"GET /yes HTTP/1.1\r\nno colon\r\n" + HOST, 400),
    (b"GET /yes HTTP/1.1\r\n" + HOST + b" folded: line\r\n", 400),
    (b"GET /yes HTTP/1.1\r\n" + HOST + b"Bad Name: x\r\n", 400),
    (b"GET /yes HTTP/1.1\r\n" + HOST + b"X: a\0b\r\n", 400),
    (b"GET /yes HTTP/1.1\r\n" + HOST + b"Content-Length: 5\r\n", 400),
    (b"GET /yes HTTP/1.1\r\n" + HOST + b"Content-Length: -1\r\n", 400),
    (b"GET /yes HTTP/1.1\r\n" + HOST + b"Transfer-Encoding: chunked\r\n", 400),
    (b"GET /yes HTTP/1.1\r\n" + HOST + b"X: y\r\n" * 200, 431),
    (b"GET /yes HTTP/1.1\r\nHost: evil.example\r\n", 421),
    (b"GET /yes HTTP/1.1\r\nHost: 127.0.0.1.evil.example\r\n", 421),
]


@pytest.mark.parametrize(("head", "status"), REFUSED)
def test_what_is_refused(head, status):
    """Every mistake of a client is a 4xx, answered in whole."""
    found, headers, body = ask(head + b"\r\n")
    assert found == status
    assert headers["Content-Length"] == str(len(body))
    assert ("Allow" in headers) == (status == 405)


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:80", "a.localhost", "[::1]:80", "10.0.0.1"]
)
def test_names_that_are_ours(host):
    """On loopback localhost and every address are our names."""
    assert ask(f"GET /yes HTTP/1.1\r\nHost: {host}\r\n\r\n".encode())[0] == 200


def test_any_name_where_the_network_may_ask():
    """A listener that is open to the network does not know its names."""
    head = b"GET /yes HTTP/1.1\r\nHost: status.example\r\n\r\n"
    assert ask(head, names_only_us=False)[0] == 200


@given(st.binary(max_size=300))
def test_no_bytes_break_it(data):
    """Whatever arrives as a head is answered with one status, 200 or 4xx."""
    status = ask(data + b"\r\n\r\n")[0]
    assert status == 200 or 400 <= status < 500


def test_the_end_of_a_head():
    """A head ends with an empty line, also one of a client that writes bare newlines."""
    assert not is_whole(b"GET / HTTP/1.1\r\nHost: x\r\n")
    assert is_whole(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
    assert is_whole(b"GET / HTTP/1.0\n\n")


@pytest.mark.parametrize(
    ("head", "status"),
    [
        (b"GET /" + b"a" * LONGEST_LINE, 414),
        (b"GET /" + b"a" * LONGEST_LINE + b"\r\n", 414),
        (b"GET / HTTP/1.1\r\nX: " + b"a" * LONGEST_HEAD, 431),
        (b"GET / HTTP/1.1\r\n" + b"X: a\r\n" * 10, None),
        (b"GET /" + b"a" * (LONGEST_LINE - 100), None),
    ],
)
def test_sizes_are_bounded(head, status):
    """A line or a head that is too long is refused before its end has come."""
    assert too_long(head) == status


def test_a_refusal_is_a_whole_answer():
    """What could not be read gets a status line, a length and one line of text."""
    answer = refusal(HTTPStatus.REQUEST_TIMEOUT)
    assert answer.startswith(b"HTTP/1.1 408 ")
    assert answer.endswith(b"\r\n\r\nRequest Timeout\n")
