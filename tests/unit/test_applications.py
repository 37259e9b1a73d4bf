"""The parts of the application types that need no process; and the engines' internals in use."""

import inspect
import json

import pytest

from supervisor.errors import NameProblem
from supervisor.workers.engines import granian
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
    "http_mode http1_opts http2_opts websockets_enabled static_files ssl_enabled ssl_cert ssl_key "
    "ssl_key_password ssl_protocol_min ssl_ca ssl_crl ssl_client_verify metrics"
)


@pytest.mark.parametrize("kind", ["asgi", "rsgi"])
def test_the_constructors_of_granian(kind):
    """The arguments are those that the adapter gives by position: another order would serve
    without TLS.
    """
    worker = granian._WORKERS[kind]
    assert list(inspect.signature(worker).parameters) == CONSTRUCTOR.split()
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
