"""The status worker: what it tells, and how it bears bad company."""

import contextlib
import http.client
import json
import os
import re
import signal
import socket
from pathlib import Path

import pytest

from tests.support.clients import ask, connect, dial, endpoint, finish, line, rest
from tests.support.configs import job, table, web
from tests.support.harness import DEADLINE, environment, supervisor


def status(**values):
    """Return a `status` section on any port."""
    values = {"type": "status", "listen": ["tcp://127.0.0.1:0"]} | values
    return table("workers.status", **values)


def get(server, path, method="GET", **headers):
    """Return status, headers and body of one request."""
    address = endpoint(server.address("status"))
    connection = http.client.HTTPConnection(*address, timeout=DEADLINE)
    connection.request(method, path, headers=headers)
    answer = connection.getresponse()
    body = answer.read()
    connection.close()
    return answer.status, answer.headers, body


def send(server, data, *, end=False):
    """Send bytes as they are, and return the whole answer."""
    connection = dial(server, "status")
    connection.sendall(data)
    if end:
        finish(connection)
    return rest(connection)


def wakeups(pid):
    """Return how often a process has gone to sleep and been woken so far."""
    facts = Path(f"/proc/{pid}/status").read_text()
    return int(re.findall(r"^voluntary_ctxt_switches:\s+(\d+)", facts, re.MULTILINE)[0])


def test_the_pages(serve):
    """Page, style, script, JSON and probes: each with its type, none to be kept by a cache."""
    server = serve(web() + status())
    kinds = {
        "/": "text/html; charset=utf-8",
        "/status.css": "text/css; charset=utf-8",
        "/status.js": "text/javascript; charset=utf-8",
        "/stats.json": "application/json",
        "/healthz": "text/plain; charset=utf-8",
        "/readyz": "text/plain; charset=utf-8",
    }
    for path, kind in kinds.items():
        found, headers, body = get(server, path)
        assert (found, headers["Content-Type"], headers["Cache-Control"]) == (200, kind, "no-store")
        assert body
        assert "http" not in re.sub(rb"http://www\.w3\.org/\S*", b"", body).decode()
    assert server.stop() == -signal.SIGTERM


def test_the_json_is_that_of_the_command(serve):
    """All facts of `stats --json` are there under the same names, and agree."""
    server = serve(web() + status())
    ask(server)
    theirs, ours = json.loads(get(server, "/stats.json")[2]), server.stats()

    def names(mine, yours):
        assert set(mine) <= set(yours)
        for key in mine:
            if isinstance(mine[key], dict) and mine[key]:
                names(mine[key], yours[key])

    names(ours, theirs)
    names(ours["children"][0], theirs["children"][0])
    names(ours["workers"][0], theirs["workers"][0])
    assert theirs["workers"][0]["requests"] == ours["workers"][0]["requests"] == 1
    assert theirs["totals"]["active"] == 0
    assert theirs["ready"] is True
    assert server.stop() == -signal.SIGTERM


def test_metrics_and_the_command_agree(serve):
    """`/metrics` and `stats --prometheus` count the same requests."""
    pytest.importorskip("prometheus_client")
    server = serve(web() + status())
    for _ in range(3):
        ask(server)
    _, headers, body = get(server, "/metrics")
    assert headers["Content-Type"].startswith("text/plain; version=")
    for page in (body.decode(), server.command("stats", "--prometheus").stdout):
        assert 'supervisor_worker_requests_total{server="test",worker="web"} 3.0' in page
    _, headers, body = get(server, "/metrics", Accept="application/openmetrics-text")
    assert headers["Content-Type"].startswith("application/openmetrics-text")
    assert body.endswith(b"# EOF\n")
    assert server.stop() == -signal.SIGTERM


def test_without_prometheus_client(serve, tmp_path):
    """Who asks for metrics reads what to install; the server goes on."""
    (tmp_path / "prometheus_client.py").write_text("raise ImportError('absent')\n")
    absent = {"PYTHONPATH": str(tmp_path)}
    server = serve(status(), extra=absent)
    found, _, body = get(server, "/metrics")
    assert found == 501
    assert b"pip install 'prefork-supervisor[metrics]'" in body
    done = server.command("stats", "--prometheus", env=environment(absent))
    assert (done.returncode, len(done.stderr.splitlines())) == (69, 1)
    assert "supervisor: error: " in done.stderr
    assert "prefork-supervisor[metrics]" in done.stderr
    assert get(server, "/healthz")[0] == 200
    assert server.stop() == -signal.SIGTERM


def test_not_ready_while_a_child_starts(launch):
    """The process answers before the server is ready, and says that it is not."""
    server = launch(status() + job(init="hang"))
    server.wait_for("child ready worker=status")
    assert get(server, "/healthz")[0] == 200
    assert get(server, "/readyz")[0] == 503
    facts = json.loads(get(server, "/stats.json")[2])
    assert (facts["state"], facts["ready"]) == ("starting", False)
    assert [child["ready"] for child in facts["children"]] == [True, False]
    assert server.stop() == -signal.SIGTERM


def test_ready_again_in_the_next_generation(serve):
    """After a crash the same address answers again, and tells of the crash."""
    server = serve(web("handlers:vanishing") + status(), master={"restart": "on-crash"})
    assert get(server, "/readyz")[0] == 200
    ask(server)
    server.wait_for("server ready .*generation=2")
    assert get(server, "/readyz")[0] == 200
    facts = json.loads(get(server, "/stats.json")[2])
    assert facts["generation"] == 2
    assert facts["last_crash"]["cause"] == "exit 0"
    assert server.stop() == -signal.SIGTERM


def test_a_frozen_master_is_shown(serve):
    """The pages need no help from the master, and see that it is frozen."""
    server = serve(web() + status())
    server.freeze()
    facts = json.loads(get(server, "/stats.json")[2])
    assert facts["master"]["is_frozen"] is True
    assert "master frozen" in server.command("stats").stdout
    assert get(server, "/readyz")[::2] == (503, b"not ready: master frozen\n")
    done = server.command("status")
    assert (done.returncode, "master frozen" in done.stdout) == (0, True)
    server.signal(signal.SIGCONT)
    assert server.stop() == -signal.SIGTERM


def test_the_dead_are_not_ready(serve):
    """A child that died, and that a frozen master has not reaped, is not among the ready."""
    server = serve(web(children=2) + status())
    pid = server.children()[0]
    server.freeze()
    with open_pidfd(pid) as descriptor:
        os.kill(pid, signal.SIGKILL)
        server.wait_until(descriptor)
    facts = json.loads(server.command("status", "--json").stdout)
    assert (facts["children"], facts["ready_children"]) == (3, 2)
    assert facts["reason"] == "master frozen"
    server.signal(signal.SIGCONT)
    assert server.wait() == 70


@contextlib.contextmanager
def open_pidfd(pid):
    """A descriptor that becomes readable when the process has ended."""
    descriptor = os.pidfd_open(pid)
    try:
        yield descriptor
    finally:
        os.close(descriptor)


BAD = [
    (b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\n\r\n", False, b"414"),
    (b"GET /" + b"a" * 9000, False, b"414"),
    (b"GET / HTTP/1.1\r\nX: " + b"a" * 17_000, False, b"431"),
    (b"GET / HTTP/1.1\r\nHost: x", True, b"400"),
    (b"G", True, b"400"),
    (
        b"POST /stats.json HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\n\r\nabc",
        False,
        b"405",
    ),
    (b"BREW / HTTP/1.1\r\nHost: localhost\r\n\r\n", False, b"501"),
    (b"GET /../../etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n", False, b"404"),
    (b"GET /..%2fstatus.py HTTP/1.1\r\nHost: localhost\r\n\r\n", False, b"404"),
    (b"GET //etc/passwd HTTP/1.1\r\nHost: localhost\r\n\r\n", False, b"404"),
    (b"GET / HTTP/1.1\r\nHost: rebound.example\r\n\r\n", False, b"421"),
    (b"\x16\x03\x01\x00\xa5\x01\x00\r\n\r\n", False, b"400"),
]


@pytest.fixture
def page(serve):
    """A server of one status worker that is soon tired of the slow."""
    server = serve(status(connection_timeout=1.0))
    yield server
    assert get(server, "/healthz")[0] == 200
    assert server.stop() == -signal.SIGTERM
    assert "Traceback" not in server.log
    assert "ERROR" not in server.log


@pytest.mark.parametrize(("data", "end", "answer"), BAD)
def test_bad_requests(page, data, end, answer):
    """Each is refused with a 4xx that arrives whole, and the next client is served."""
    got = send(page, data, end=end)
    assert got.startswith(b"HTTP/1.1 " + answer + b" ")
    head, _, body = got.partition(b"\r\n\r\n")
    assert f"Content-Length: {len(body)}".encode() in head


def test_one_who_hangs_up_is_no_error(page):
    """A connection without a word, and one that is reset, end without a trace."""
    dial(page, "status").close()
    reset = dial(page, "status")
    reset.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
    reset.sendall(b"GET /stats.json HTTP/1.1\r\nHost: localhost\r\n\r\n")
    reset.close()


def test_the_slow_are_bounded_and_hinder_nobody(page):
    """While some dawdle others are served; who began gets 408, who said nothing just the end."""
    begun, silent = dial(page, "status"), dial(page, "status")
    begun.sendall(b"GET / HT")
    assert get(page, "/healthz")[0] == 200
    assert rest(begun).startswith(b"HTTP/1.1 408 ")
    assert rest(silent) == b""


def test_one_byte_at_a_time(page):
    """A head in many pieces is one request."""
    with dial(page, "status") as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        for byte in b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n":
            connection.sendall(bytes([byte]))
        assert rest(connection).endswith(b"\r\n\r\nok\n")


def test_more_clients_than_there_is_room_for(page):
    """A crowd that only sits there gives way to who has a question."""
    crowd = [dial(page, "status") for _ in range(300)]
    assert get(page, "/readyz")[0] == 200
    for one in crowd:
        one.close()


def test_a_stop_does_not_wait_for_the_slow(serve):
    """Who has not asked when the server stops is hung up on long before any timeout."""
    server = serve(status(connection_timeout=300.0), master={"stop_timeout": 300.0})
    slow = dial(server, "status")
    slow.sendall(b"GET / HT")
    get(server, "/healthz")  # the slow one is surely accepted
    assert server.stop() == -signal.SIGTERM
    assert rest(slow).startswith(b"HTTP/1.1 408 ")
    assert "killed" not in server.log


def test_what_waits_when_it_stops_is_answered(serve):
    """A request that lies in the accept queue when TERM comes gets its answer."""
    server = serve(status())
    (child,) = server.children().values()
    os.kill(child, signal.SIGSTOP)
    waiting = connect(server.address("status"))
    waiting.sendall(b"GET /healthz HTTP/1.1\r\nHost: localhost\r\n\r\n")
    server.signal(signal.SIGTERM)
    assert rest(waiting).endswith(b"ok\n")
    assert server.wait() == -signal.SIGTERM


def test_the_page_on_a_unix_socket(serve, tmp_path):
    """A status worker may listen where only the file system lets in."""
    server = serve(status(listen=[f"unix://{tmp_path}/status.sock"]))
    got = send(server, b"GET /healthz HTTP/1.0\r\n\r\n")
    assert got.endswith(b"ok\n")
    assert server.stop() == -signal.SIGTERM


def test_idle_is_idle(serve):
    """With nobody there neither the master nor a child wakes up; a reader wakes only its worker."""
    server = serve(web(children=2) + status())
    children = server.children()
    get(server, "/stats.json")
    assert supervisor("types").returncode == 0  # by now the connection is forgotten
    everybody = [server.pid, *children.values()]
    before = [wakeups(pid) for pid in everybody]
    assert supervisor("types").returncode == 0
    assert [wakeups(pid) for pid in everybody] == before
    for _ in range(10):
        assert get(server, "/stats.json")[0] == 200
    assert [wakeups(pid) for pid in everybody[:-1]] == before[:-1]
    assert server.stop() == -signal.SIGTERM


def test_a_request_in_hand_is_named(serve):
    """The name that a worker gives its request shows in the table and in the JSON."""
    named = {"type": "watched:Named", "listen": ["tcp://127.0.0.1:0"]}
    server = serve(table("workers.web", **named) + status())
    with dial(server) as connection:
        assert line(connection) == "taken"
        child = json.loads(get(server, "/stats.json")[2])["children"][0]
        assert (child["state"], child["in_hand"][0][0]) == ("busy", "GET /cart")
        assert "GET /cart" in server.command("stats").stdout
    assert server.stop() == -signal.SIGTERM
