"""A WSGI application as one of ASGI: what it is called with, and what is sent (PEP 3333)."""

import asyncio
from types import SimpleNamespace

import pytest

from supervisor.workers.web.asgi.from_wsgi import from_wsgi
from supervisor.workers.web.asgi.served import ClientGone
from supervisor.workers.wsgi import WsgiOptions

SCOPE = {
    "type": "http",
    "http_version": "2",
    "method": "POST",
    "scheme": "https",
    "path": "/api/caf\u00e9",
    "raw_path": b"/api/caf%C3%A9",
    "root_path": "/api",
    "query_string": b"a=b",
    "client": ("192.0.2.7", 4711),
    "server": ("192.0.2.1", 443),
    "headers": [
        (b"host", b"x"),
        (b"content-type", b"text/plain"),
        (b"cookie", b"a=1"),
        (b"cookie", b"b=2"),
        (b"x-a", b"1"),
        (b"x-a", b"2"),
        (b"x_a", b"3"),
    ],
}


def called(application, *parts, threads=1, tmp_path=None, **options):
    """Return what is sent for a request with these parts of a body; None = the client hangs up."""
    messages = [
        {"type": "http.request", "body": part, "more_body": place + 1 < len(parts)}
        if part is not None
        else {"type": "http.disconnect"}
        for place, part in enumerate(parts or [b""])
    ]
    sent = []

    async def receive():
        return messages.pop(0)

    async def send(message):
        sent.append(message)

    child = SimpleNamespace(place=SimpleNamespace(tempdir=tmp_path), step=lambda: None)
    values = WsgiOptions(app="a:b", threads=threads, **options)
    asyncio.run(from_wsgi(application, child, values)(SCOPE, receive, send))
    return sent


class Result(list):
    """An application's result that wants to be closed."""

    closed = 0

    def close(self):
        self.closed += 1


@pytest.mark.parametrize("threads", [1, 2])
def test_the_environment(tmp_path, threads):
    """All keys of PEP 3333, the path without its prefix, and a body beyond the buffer in a file."""
    seen = {}

    def application(environ, start_response):
        seen.update(environ, body=environ["wsgi.input"].read())
        start_response("201 Created", [("A", "b")])
        return [b"one", b"two"]

    parts = [b"x" * 1000, b"y" * 1000]
    sent = called(application, *parts, threads=threads, tmp_path=tmp_path, body_buffer=1500)
    assert sent == [
        {"type": "http.response.start", "status": 201, "headers": [(b"A", b"b")]},
        {"type": "http.response.body", "body": b"onetwo", "more_body": False},
    ]
    assert seen["body"] == b"".join(parts)
    assert (seen["SCRIPT_NAME"], seen["PATH_INFO"]) == ("/api", "/caf\u00c3\u00a9")
    assert (seen["REMOTE_ADDR"], seen["SERVER_NAME"], seen["SERVER_PORT"]) == (
        *("192.0.2.7", "192.0.2.1"),
        "443",
    )
    assert (seen["HTTPS"], seen["wsgi.url_scheme"], seen["QUERY_STRING"]) == ("on", "https", "a=b")
    assert (seen["CONTENT_TYPE"], seen["CONTENT_LENGTH"]) == ("text/plain", "2000")
    assert (seen["HTTP_COOKIE"], seen["HTTP_X_A"]) == ("a=1; b=2", "1,2")
    assert seen["wsgi.multithread"] is (threads > 1)


def test_parts():
    """They go out one by one, empty ones left out; `write` comes first; the result is closed."""
    result = Result()

    def application(environ, start_response):
        start_response("200 OK", [])(b"zero")
        result.extend([b"one", b"", b"two"])
        return result

    sent = called(application)
    assert [message["body"] for message in sent[1:]] == [b"zero", b"one", b"two", b""]
    assert [message["more_body"] for message in sent[1:]] == [True, True, True, False]
    assert result.closed == 1


def test_a_generator_that_starts_late():
    """It may call start_response as late as at its first part."""

    def application(environ, start_response):
        start_response("200 OK", [])
        yield b"one"

    assert called(application)[0]["status"] == 200


def test_start_response_twice():
    """The second call needs exc_info, and raises it once something was sent."""

    def application(environ, start_response):
        start_response("200 OK", [])
        with pytest.raises(RuntimeError, match="twice"):
            start_response("200 OK", [])
        start_response("500 Broken", [], (None, None, None))
        yield b"one"
        error = ValueError("late")
        start_response("500 Broken", [], (ValueError, error, None))

    with pytest.raises(ValueError, match="late"):
        called(application)


def test_start_response_never():
    """An application that does not call it has failed."""
    for result in ([b"one"], iter([b"one"])):
        with pytest.raises(RuntimeError, match="was not called"):
            called(lambda *_, result=result: result)


def test_a_client_that_hangs_up():
    """The application is not called with a part of a body."""
    with pytest.raises(ClientGone):
        called(pytest.fail, b"one", None)
