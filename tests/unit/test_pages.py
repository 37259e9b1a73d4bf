"""The status pages: who is answered, and what is refused and how. The HTTP is that of http1."""

from http import HTTPStatus

import pytest

from supervisor.workers.status import pages


def route(path, accept):
    """Know one path, and say what was accepted."""
    return pages.text(HTTPStatus.OK, f"yes {accept}") if path == "/yes" else None


def ask(method="GET", path="/yes", host="127.0.0.1:8080", names_only_us=True):
    """Return the status, the header and the body of an answer."""
    named = {b"host": host.encode(), b"accept": b"a/b"}
    made = pages.answer(method, path, named, route, names_only_us=names_only_us)
    return made.status, dict(pages.fields(made)), made.body


def test_a_good_request():
    """A path that is known is answered, with a policy that allows our own only."""
    status, headers, body = ask()
    assert (status, body) == (200, b"yes a/b\n")
    assert b"default-src 'none'" in headers[b"Content-Security-Policy"]
    assert b"unsafe" not in headers[b"Content-Security-Policy"]
    assert headers[b"X-Content-Type-Options"] == b"nosniff"
    assert headers[b"Cache-Control"] == b"no-store"


@pytest.mark.parametrize(
    ("question", "status"),
    [
        ({"path": "/no"}, 404),
        ({"path": "/../yes"}, 404),
        ({"path": "/%2e%2e/etc/passwd"}, 404),
        ({"method": "POST"}, 405),
        ({"host": "evil.example"}, 421),
        ({"host": "127.0.0.1.evil.example"}, 421),
    ],
)
def test_what_is_refused(question, status):
    """Every mistake of a client is a 4xx; 405 says what is allowed."""
    found, headers, _ = ask(**question)
    assert found == status
    assert (b"Allow" in headers) == (status == 405)


@pytest.mark.parametrize(
    "host", ["localhost", "localhost:80", "a.localhost", "[::1]:80", "10.0.0.1"]
)
def test_names_that_are_ours(host):
    """On loopback localhost and every address are our names."""
    assert ask(host=host)[0] == 200


def test_any_name_where_the_network_may_ask():
    """A listener that is open to the network does not know its names."""
    assert ask(host="status.example", names_only_us=False)[0] == 200
    assert pages.is_on_loopback("::1")
    assert not pages.is_on_loopback("0.0.0.0")
    assert not pages.is_on_loopback("localhost")
