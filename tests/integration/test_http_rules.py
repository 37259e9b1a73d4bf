"""Rules of HTTP whose answer has one status, over sockets: of the protocol, and of the limits."""

import signal

import pytest

from tests.support.applications import section
from tests.support.clients import dial, finish, rest

LIMITS = {"header_limit": 8192, "body_limit": 1_000_000}
# Application, and its paths: of a body, of a long answer, of two that are not allowed.
TYPES = {
    "wsgi": ("streams:wsgi", "/body", "/parts", "/injected", "/too-long"),
    "threads": ("streams:wsgi", "/body", "/parts", "/injected", "/too-long"),
    "asgi": ("asgi_streams:app", "/upload", "/download", "/injects", "/too_long"),
}


def request(line="GET / HTTP/1.1", *fields, body=""):
    """Return a request that is the last one of its connection."""
    return "\r\n".join([line, "Host: x", "Connection: close", *fields, "", body])


def chunked(*lines):
    """Return a request with a body that is already in chunks."""
    return request("POST {body} HTTP/1.1", "Transfer-Encoding: chunked", body="".join(lines))


def get(target, *fields):
    return request(f"GET {target} HTTP/1.1", *fields)


RULES = {
    # Limits.
    "an extension of 4 KB": (chunked(f"3;a={'b' * 4080}\r\nabc\r\n0\r\n\r\n"), 200),
    "a longer extension": (chunked(f"3;a={'b' * 4200}\r\nabc\r\n0\r\n\r\n"), 400),
    "64 KB of extensions": (chunked(f"1;a={'b' * 4000}\r\na\r\n" * 17, "0\r\n\r\n"), 400),
    "trailers": (chunked(f"3\r\nabc\r\n0\r\nA: {'b' * 7000}\r\n\r\n"), 200),
    "long trailers": (chunked(f"3\r\nabc\r\n0\r\nA: {'b' * 9000}\r\n\r\n"), 431),
    "malformed trailers": (chunked("3\r\nabc\r\n0\r\nA b\r\n\r\n"), 400),
    "a long line": (get("/" + "a" * 9000), 414),
    "a long line without an end": ("GET /" + "a" * 9000, 414),
    "a long head": (get("/" + "a" * 8000, "A: " + "b" * 300), 431),
    "a long field": (get("/", "A: " + "b" * 9000), 431),
    "100 fields": (get("/", *["A: b"] * 98), 200),
    "101 fields": (get("/", *["A: b"] * 99), 431),
    "a long body": (request("POST {body} HTTP/1.1", "Content-Length: 1000001"), 413),
    "a long chunk": (chunked("f4241\r\n"), 413),
    # The target and its host.
    "an absolute target": (get("http://x:80/"), 200),
    "one of another scheme": (get("https://X:443/"), 200),
    "one with another port": (get("http://x:81/"), 400),
    "one with another host": (get("http://y/"), 400),
    "one with a user": (get("http://u@x/"), 400),
    "one without a host, in 1.0": ("GET http://x/ HTTP/1.0\r\n\r\n", 200),
    "another scheme": (get("ftp://x/"), 400),
    "CONNECT": (request("CONNECT x:80 HTTP/1.1"), 501),
    "a fragment": (get("/a#b"), 400),
    "DEL in the target": (get("/a\x7fb"), 400),
    "a control in the target": (get("/a\x01b"), 400),
    "two hosts in 1.0": ("GET / HTTP/1.0\r\nHost: x\r\nHost: x\r\n\r\n", 400),
    # Version, method, codings.
    "0.9": ("GET /\r\n", 400),
    "0.9 by name": (request("GET / HTTP/0.9"), 400),
    "2.0": (request("GET / HTTP/2.0"), 505),
    "1.2": (request("GET / HTTP/1.2"), 505),
    "an unknown method": (request("FOO / HTTP/1.1"), 501),
    "a method in lower case": (request("get / HTTP/1.1"), 501),
    "an unknown coding": (request("POST / HTTP/1.1", "Transfer-Encoding: gzip, chunked"), 501),
    "chunks in 1.0": (request("POST {body} HTTP/1.0", "Transfer-Encoding: chunked"), 400),
    "a folded line": (get("/", "A: b", " c"), 400),
    "a bare CR": (get("/", "A: b\rc"), 400),
    "a bare LF": ("GET / HTTP/1.1\nHost: x\n\n", 400),
    # What the application may not answer.
    "CR LF in a header": (get("{injected}"), 500),
    "a body beyond its length": (get("{long}"), 500),
}


def asked(server, text, paths, *, ends=False):
    """Return the whole answer."""
    for name, path in zip(("{body}", "{parts}", "{injected}", "{long}"), paths, strict=True):
        text = text.replace(name, path)
    connection = dial(server)
    connection.sendall(text.encode("latin-1"))
    if ends:
        finish(connection)
    return rest(connection)


@pytest.fixture
def web(serve):
    """Start a server of one type; return it and the paths of its application."""

    def start(kind):
        application, *paths = TYPES[kind]
        threads = {"threads": 2} if kind == "threads" else {}
        engine = "asgi" if kind == "asgi" else "wsgi"
        return serve(section(engine, app=application, children=1, **LIMITS, **threads)), paths

    return start


@pytest.mark.parametrize("kind", TYPES)
def test_each_rule_has_its_status(web, kind):
    """And its connection ends; the next one is served."""
    server, paths = web(kind)
    for name, (text, status) in RULES.items():
        answer = asked(server, text, paths)
        assert answer.startswith(b"HTTP/1.1 %d " % status), f"{name}: {answer[:80]!r}"
    assert server.stop() == -signal.SIGTERM
    assert "child died" not in server.log


@pytest.mark.parametrize("kind", TYPES)
def test_a_client_of_http_1_0(web, kind):
    """It gets no 100, no 101 and no chunks."""
    server, paths = web(kind)
    fields = "Content-Length: 3\r\nExpect: 100-continue\r\n\r\nabc"
    assert asked(server, f"POST {{body}} HTTP/1.0\r\n{fields}", paths).startswith(b"HTTP/1.1 200 ")
    wish = "Upgrade: websocket\r\nConnection: Upgrade\r\nSec-WebSocket-Version: 13\r\n"
    key = "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
    assert asked(server, f"GET / HTTP/1.0\r\n{wish}{key}", paths).startswith(b"HTTP/1.1 200 ")
    head, _, body = asked(server, "GET {parts} HTTP/1.0\r\n\r\n", paths).partition(b"\r\n\r\n")
    assert b"chunked" not in head.lower()
    assert len(body) == 50_000_000


@pytest.mark.parametrize("kind", TYPES)
def test_what_the_connection_says(web, kind):
    """100 only where the body is wanted; nothing is answered after `close`; HEAD has no body."""
    server, paths = web(kind)
    wait = "Expect: 100-continue"
    small = request("POST {body} HTTP/1.1", "Content-Length: 3", wait)
    assert asked(server, small, paths, ends=True).startswith(b"HTTP/1.1 100 ")
    large = request("POST {body} HTTP/1.1", "Content-Length: 1000001", wait)
    assert asked(server, large, paths).startswith(b"HTTP/1.1 413 ")
    assert asked(server, get("/") * 2, paths).count(b"HTTP/1.1 ") == 1
    assert asked(server, request("HEAD / HTTP/1.1"), paths).endswith(b"\r\n\r\n")
