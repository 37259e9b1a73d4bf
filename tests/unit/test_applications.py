"""The parts of the application types that need no process; and the engines' internals in use."""

import inspect
import json
from functools import partial

import pytest

from supervisor.errors import NameProblem
from supervisor.workers.engines import granian
from supervisor.workers.engines.granian_wsgi import Body, HungUp, Response, TooLarge
from supervisor.workers.web import access_log
from supervisor.workers.web.application import ApplicationOptions, check_application

SERVED = access_log.Served(
    "192.0.2.7",
    "GET",
    '/a"b?c=d',
    "HTTP/1.1",
    200,
    5,
    {b"referer": b"from", b"user-agent": b'b"y', b"x-a": b"1"},
    "id",
)

CONSTRUCTOR = (
    "worker_id sock ipc threads blocking_threads py_threads py_threads_idle_timeout backpressure "
    "http_mode http1_opts http2_opts {}static_files ssl_enabled ssl_cert ssl_key ssl_key_password "
    "ssl_protocol_min ssl_ca ssl_crl ssl_client_verify metrics"
)


@pytest.mark.parametrize("kind", ["asgi", "rsgi", "wsgi"])
def test_the_constructors_of_granian(kind):
    """The arguments are those that the adapter gives by position: another order would serve
    without TLS.
    """
    worker = granian._WORKERS[kind]
    websockets = "" if kind == "wsgi" else "websockets_enabled "
    assert list(inspect.signature(worker).parameters) == CONSTRUCTOR.format(websockets).split()
    assert hasattr(worker, "serve_mtr")
    assert hasattr(worker, "serve_mtr_uds")


def test_the_version_of_granian():
    """The installed granian is of the series whose internals are used."""
    granian.check_version()
    assert list(inspect.signature(granian.SocketHolder).parameters) == ["fd", "uds", "backlog"]


def test_the_common_form():
    """A line of the common log format; what would forge one is escaped."""
    line = access_log._common_line(1e9, SERVED, is_combined=False)
    start = '192.0.2.7 - - [09/Sep/2001:01:46:40 +0000] "GET /a\\"b?c=d HTTP/1.1" 200 5'
    assert line == f"{start}\n"
    line = access_log._common_line(1e9, SERVED, is_combined=True)
    assert line == f'{start} "from" "b\\"y"\n'


def written(path, **options):
    """The lines of an access log with these options, after one answer of 200 and one of 404."""
    options = ApplicationOptions(app="a:b", access_log_file=str(path), **options)
    log = access_log.Log(options, "web", 3)
    log.write(1e9, 0.5, SERVED)
    log.write(1e9, 0.5, SERVED._replace(status=404))
    return path.read_text().splitlines()


def test_the_json_form(tmp_path):
    """One object a line, with exactly the keys that are promised."""
    line, _ = written(tmp_path / "log", access_log="json", access_log_headers=["X-A", "X-B"])
    facts = json.loads(line)
    first, *others = facts
    assert first == "time"
    assert others == ["client", "method", "target", "protocol", "status", "size", "seconds"] + [
        *("worker", "slot", "pid", "request_id", "headers")
    ]
    assert facts["time"] == "2001-09-09T01:46:40.000Z"
    assert (facts["target"], facts["seconds"], facts["slot"]) == ('/a"b?c=d', 0.5, 3)
    assert (facts["request_id"], facts["headers"]) == ("id", {"x-a": "1"})


def test_what_the_access_log_skips(tmp_path):
    """Some paths have no line, but an error always has."""
    (line,) = written(tmp_path / "log", access_log="common", access_log_skip=['/a"b'])
    assert " 404 " in line


@pytest.mark.parametrize("app", ["json:", ":loads", "nowhere.json:loads"])
def test_a_name_that_leads_nowhere(app):
    """Seen without an import."""
    with pytest.raises(NameProblem):
        check_application(ApplicationOptions(app=app))


class Protocol:
    """Takes a response as the engine does."""

    def response_bytes(self, status, headers, body):
        self.answer = (status, headers, body)

    def response_iter(self, status, headers, parts):
        body = []
        while True:
            try:
                body.append(parts.__next__())
            except StopIteration:
                break
        parts.close()
        self.answer = (status, headers, body)


class Result(list):
    """An application's result that wants to be closed."""

    closed = 0

    def close(self):
        self.closed += 1


@pytest.fixture
def protocol():
    """The engine's side of one request."""
    return Protocol()


def test_a_whole_body(protocol):
    """A list goes out at once."""
    response = Response(protocol, is_last=lambda: False)
    response.start("201 Created", [("A", "b")])
    response.send([b"one", b"two"])
    assert protocol.answer == (201, [("A", "b")], b"onetwo")
    assert response.size == 6


def test_a_body_of_announced_length(protocol):
    """A first part that is all that was announced goes out at once; the result is closed."""
    response, result = Response(protocol, is_last=lambda: True), Result([b"", b"one", b""])
    response.start("200 OK", [("content-length", "3")])
    response.send(result)
    assert protocol.answer == (200, [("content-length", "3"), ("Connection", "close")], b"one")
    assert result.closed == 1


def test_parts(protocol):
    """Other bodies go out in parts, empty ones left out; `write` comes first."""
    response = Response(protocol, is_last=lambda: False)
    write = response.start("200 OK", [])
    write(b"zero")
    response.send(iter([b"one", b"", b"two"]))
    assert protocol.answer == (200, [], [b"zero", b"one", b"two"])
    assert response.size == 10


def test_start_response_twice(protocol):
    """The second call needs exc_info, and raises it once something was sent."""
    response = Response(protocol, is_last=lambda: False)
    response.start("200 OK", [])
    with pytest.raises(RuntimeError, match="twice"):
        response.start("200 OK", [])
    response.start("500 Broken", [], exc_info=(None, None, None))
    assert response.code == 500
    response.send([b""])
    error = ValueError("late")
    with pytest.raises(ValueError, match="late"):
        response.start("500 Broken", [], exc_info=(ValueError, error, None))


def test_start_response_never(protocol):
    """An application that does not call it has failed."""
    with pytest.raises(RuntimeError, match="was not called"):
        Response(protocol, is_last=lambda: False).send([b"one"])


class Source:
    """The engine's reader of a body."""

    def __init__(self, data):
        self.data = data

    def read(self, size):
        part, self.data = self.data[:size], self.data[size:]
        return part


def test_a_body_that_ends_early():
    """Less than announced means that the client hung up."""
    with pytest.raises(HungUp):
        Body(Source(b"one"), 4, 0, list).readall()
    assert Body(Source(b"one"), 3, 0, list).readall() == b"one"


def test_a_body_beyond_the_limit():
    """More than the limit is refused as soon as it is seen, and the response told of it."""
    told = []
    with pytest.raises(TooLarge):
        Body(Source(b"four"), 0, 3, partial(told.append, "too large")).readall()
    assert told == ["too large"]
