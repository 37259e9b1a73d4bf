"""The configurations in conf/examples, started as they are but for ports and directories."""

import concurrent.futures
import contextlib
import gzip
import http.client
import http.server
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import threading
import urllib.request
from pathlib import Path

import pytest

from tests.support.clients import dial, endpoint, line
from tests.support.harness import DEADLINE, PROGRAMS, Server

ROOT = Path(__file__).parents[2]
NODE = pytest.mark.skipif(not shutil.which("node"), reason="needs node (Debian: nodejs)")

OPTIONS = (
    b"OPTIONS sip:me@127.0.0.1 SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP 10.1.1.1:5060;branch=z9hG4bK1;rport\r\n"
    b"v: SIP/2.0/UDP far.example:5060;branch=z9hG4bK0\r\n"
    b"f: <sip:you@far.example>;tag=abc\r\n"
    b"To: <sip:me@127.0.0.1>\r\n"
    b"Call-ID: 1@far.example\r\n"
    b"CSeq: 7 %s\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
)


@pytest.fixture
def example(tmp_path, started):
    """Start an example from the top of the repository, with ports and paths of the test."""

    def start(name, *, extra=None, **replaced):
        text = (ROOT / "conf" / "examples" / f"{name}.toml").read_text()
        text = re.sub(r"(tcp|udp)://127\.0\.0\.1:\d+", r"\1://127.0.0.1:0", text)
        for old, new in replaced.values():
            assert old in text
            text = text.replace(old, new)
        config = tmp_path / f"{name}.toml"
        runtime = config.with_suffix(".run")
        if "[master]\n" not in text:
            text += "\n[master]\n"
        master = f'[master]\nruntime_directory = "{runtime}"\n'
        config.write_text(text.replace("[master]\n", master))
        started.append(server := Server(ROOT, config, extra=extra))
        server.wait_for("server ready ")
        return server

    return start


def get(server, section, path="/"):
    """Return what a section's web server answers."""
    host, port = endpoint(server.address(section))
    with urllib.request.urlopen(f"http://{host}:{port}{path}", timeout=DEADLINE) as response:
        return response.read()


def ask_sip(server, data):
    """Return the lines of the answer to a datagram, and the port it was sent from."""
    with dial(server, "sip") as client:
        client.send(data)
        return client.recv(4096).decode().split("\r\n"), client.getsockname()[1]


def test_sip_copies_what_a_response_must_have(example):
    """Via in order with where it came from, From, To with a tag, Call-ID, CSeq (RFC 3261)."""
    server = example("sip")
    lines, port = ask_sip(server, OPTIONS.replace(b"%s", b"OPTIONS"))
    tag = lines[4].rpartition("=")[2]
    assert lines[:7] == [
        "SIP/2.0 200 OK",
        f"Via: SIP/2.0/UDP 10.1.1.1:5060;branch=z9hG4bK1;rport={port};received=127.0.0.1",
        "Via: SIP/2.0/UDP far.example:5060;branch=z9hG4bK0",
        "From: <sip:you@far.example>;tag=abc",
        f"To: <sip:me@127.0.0.1>;tag={tag}",
        "Call-ID: 1@far.example",
        "CSeq: 7 OPTIONS",
    ]
    assert len(tag) == 8
    assert lines[-3:] == ["Content-Length: 0", "", ""]
    assert server.stop() == -signal.SIGTERM


def test_sip_answers_a_repeated_request_alike(example):
    """The tag of a retransmission is that of the first answer."""
    server = example("sip")
    with dial(server, "sip") as client:
        answers = []
        for _ in range(2):
            client.send(OPTIONS.replace(b"%s", b"OPTIONS"))
            answers.append(client.recv(4096))
    assert answers[0] == answers[1]
    assert server.stop() == -signal.SIGTERM


def test_sip_refuses_other_methods_and_is_silent_where_it_must_be(example):
    """No answer to ACK, to responses, to what is no SIP; 405 with Allow to another method."""
    server = example("sip")
    invite = OPTIONS.replace(b"OPTIONS", b"INVITE").replace(b"%s", b"INVITE")
    with dial(server, "sip") as client:
        for silent in (
            invite.replace(b"INVITE", b"ACK"),
            b"SIP/2.0 200 OK\r\n\r\n",
            b"\r\n\r\n",
            OPTIONS.replace(b"Call-ID", b"X-Call"),
        ):
            client.send(silent)
        client.send(invite)
        lines = client.recv(4096).decode().split("\r\n")
    assert lines[0] == "SIP/2.0 405 Method Not Allowed"
    assert "Allow: OPTIONS" in lines
    assert server.stop() == -signal.SIGTERM


@pytest.mark.skipif(not shutil.which("sipp"), reason="needs sipp (Debian: sip-tester)")
def test_sipp_loses_no_call(example, tmp_path):
    """10,000 OPTIONS of the real sipp, none sent twice: every one is answered with 200."""
    server = example("sip")
    host, port = endpoint(server.address("sip"))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.bind((host, 0))
        own = probe.getsockname()[1]
    # At most 50 calls at a time, so that however slow we are no socket overflows.
    options = [
        "-m",
        "10000",
        "-r",
        "2000",
        "-l",
        "50",
        "-nr",
        "-nostdin",
        "-i",
        host,
        "-p",
        str(own),
    ]
    done = subprocess.run(
        ["sipp", "-sf", str(PROGRAMS / "options.xml"), *options, f"{host}:{port}"],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        stdin=subprocess.DEVNULL,
        timeout=4 * DEADLINE,
        check=False,
    )
    assert done.returncode == 0, done.stdout[-4000:]
    assert re.search(r"Successful call .* 10000", done.stdout)
    assert server.stats()["totals"] | {"busy_seconds": 0} == {
        "requests": 10000,
        "errors": 0,
        "active": 0,
        "busy_seconds": 0,
    }
    assert server.stop() == -signal.SIGTERM


@NODE
def test_exec(example):
    """Two node processes answer on one inherited socket."""
    server = example("exec")
    assert int(get(server, "node").split()[1]) in server.children().values()
    assert server.stop() == -signal.SIGTERM


def test_task(example):
    """The report comes, after its jitter; the computation finishes; the server goes on."""
    server = example("task", jitter=("jitter = 5.0", "jitter = 0.1"))
    server.wait_for("report load=", "primes found=2262 last=19997", "child finished worker=primes")
    assert server.stop() == -signal.SIGTERM


def test_modules(example, tmp_path):
    """A value stored by one connection is read by another, also after a restart."""
    store = (("/var/tmp/store", str(tmp_path / "store")),)
    for expected in ("none", "blue sky"):
        server = example("modules", path=store[0])
        with dial(server, "store") as one:
            one.sendall(b"get colour\n")
            assert line(one) == expected
            one.sendall(b"set colour blue sky\n")
            assert line(one) == "ok"
            with dial(server, "store") as other:
                other.sendall(b"get colour\nget shape\ndelete colour\nset colour blue sky\n")
                assert [line(other) for _ in range(4)] == ["blue sky", "none", "ok", "ok"]
        assert server.stop() == -signal.SIGTERM


@pytest.mark.skipif(not shutil.which("openssl"), reason="needs openssl")
def test_tls(example, tmp_path):
    """With a certificate made by the command in the file."""
    text = (ROOT / "conf" / "examples" / "tls.toml").read_text()
    command = " ".join(re.findall(r"^#   (.*?)\\?$", text, re.MULTILINE))
    subprocess.run(command.split(), cwd=tmp_path, check=True, capture_output=True, timeout=DEADLINE)
    files = {name: (f'"{name}.pem"', f'"{tmp_path / name}.pem"') for name in ("certificate", "key")}
    server = example("tls", **files)
    context = ssl.create_default_context(cafile=tmp_path / "certificate.pem")
    with context.wrap_socket(dial(server, "echo"), server_hostname="localhost") as connection:
        connection.sendall(b"hello")
        assert connection.recv(100) == b"hello"
    assert server.stop() == -signal.SIGTERM


@NODE
@pytest.mark.parametrize("section", ["web", "node", "sip", "report"])
def test_any_child_takes_the_whole_group_down(example, section):
    """Four unlike sections serve; whoever is killed is named, and nothing of them is left."""
    server = example("everything")
    assert b"supervisor" in get(server, "web", "/supervisor.toml")
    assert get(server, "node").startswith(b"node ")
    assert ask_sip(server, OPTIONS.replace(b"%s", b"OPTIONS"))[0][0] == "SIP/2.0 200 OK"
    server.wait_for("report load=")
    children = server.stats()["children"]
    victim = next(child for child in children if child["worker"] == section)
    os.kill(victim["pid"], signal.SIGKILL)
    assert server.wait() == 70
    server.wait_for(f"ERROR .*child died worker={section} slot={victim['slot']} .*cause=SIGKILL")
    server.wait_gone()
    for child in children:
        assert not Path(f"/proc/{child['pid']}").exists()
    with pytest.raises(ConnectionRefusedError):
        socket.create_connection(endpoint(server.address("web")), DEADLINE)


def notes(server, text=None):
    """Return what the notes say; with a text, after it was added."""
    host, port = endpoint(server.address())
    data = None if text is None else text.encode()
    with urllib.request.urlopen(f"http://{host}:{port}/", data, timeout=DEADLINE) as response:
        return response.read().decode()


def test_a_database_and_a_job(example, tmp_path):
    """Each child has an engine of its own, the job tidies up beside them, and a crash of one child
    costs no note.
    """
    pytest.importorskip("sqlalchemy")
    server = example(
        "notes",
        url=("/var/tmp/notes.db", str(tmp_path / "notes.db")),
        keep=("keep = 1000", "keep = 5"),
    )
    server.wait_for("tidied forgotten=0")
    for number in range(1, 9):
        assert notes(server, f"note {number}") == f"{number} notes\n"
    child = next(one for one in server.stats()["children"] if one["worker"] == "web")
    os.kill(child["pid"], signal.SIGKILL)
    # The next generation begins with another run of the job.
    server.wait_for(r"server ready .*generation=2\b", "tidied forgotten=3")
    assert notes(server) == "5 notes\n"
    assert server.stop() == -signal.SIGTERM


class Collector:
    """An OTLP collector that keeps the spans it receives."""

    def __init__(self):
        self.spans = []
        self.has_come = threading.Event()
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            def do_POST(self):
                body = self.rfile.read(int(self.headers["Content-Length"]))
                collector.take(self.path, self.headers, body)
                self.send_response(200)
                self.send_header("Content-Length", "0")
                self.end_headers()

            def log_message(self, *arguments):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.thread = threading.Thread(target=self.server.serve_forever)
        self.thread.start()

    def take(self, path, headers, body):
        """Keep what a child sends: name of the span, of the service, slot of the child."""
        from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
            ExportTraceServiceRequest,
        )

        assert path == "/v1/traces"
        data = gzip.decompress(body) if headers["Content-Encoding"] == "gzip" else body
        for resource in ExportTraceServiceRequest.FromString(data).resource_spans:
            facts = {one.key: one.value.string_value for one in resource.resource.attributes}
            self.spans += [
                (span.name, facts["service.name"], facts["service.instance.id"])
                for scope in resource.scope_spans
                for span in scope.spans
            ]
        self.has_come.set()

    def close(self):
        """Answer nobody any more."""
        self.server.shutdown()
        self.server.server_close()
        self.thread.join()


@pytest.fixture
def collector():
    """A running one."""
    pytest.importorskip("opentelemetry.exporter.otlp.proto.http")
    made = Collector()
    yield made
    made.close()


def test_traces(example, collector):
    """Spans come from the thread that each child has begun, and the last ones at the stop."""
    port = collector.server.server_address[1]
    server = example("tracing", endpoint=(":4318", f":{port}"))
    assert get(server, "web", "/first") == b"traced\n"
    assert collector.has_come.wait(DEADLINE)
    assert [one[:2] for one in collector.spans] == [("GET /first", "traced")]
    for number in range(20):
        get(server, "web", f"/{number}")
    assert server.stop() == -signal.SIGTERM
    assert {name for name, _, _ in collector.spans[1:]} == {f"GET /{n}" for n in range(20)}
    assert {slot for _, _, slot in collector.spans} <= {"0", "1"}
    assert "ends at the fork" not in server.log


NGINX = pytest.mark.skipif(not shutil.which("nginx"), reason="needs nginx (Debian: nginx-light)")
# What Debian's own nginx.conf has around a site, with every path below the test's directory.
AROUND = """
daemon off;
error_log stderr notice;
pid {directory}/nginx.pid;
worker_processes 2;
events {{ worker_connections 256; }}
http {{
    access_log off;
    client_body_temp_path {directory}/body;
    proxy_temp_path {directory}/proxy;
    fastcgi_temp_path {directory}/fastcgi;
    uwsgi_temp_path {directory}/uwsgi;
    scgi_temp_path {directory}/scgi;
    include {directory}/site.conf;
}}
"""


@pytest.fixture
def nginx(tmp_path, run):
    """Start nginx with the example's site before a server; return its port."""

    def start(server):
        with socket.create_server(("127.0.0.1", 0)) as probe:
            port = probe.getsockname()[1]
        site = (ROOT / "conf" / "examples" / "nginx.conf").read_text()
        ours = server.address().removeprefix("tcp://")
        for old, new in (("127.0.0.1:8010", ours), ("listen 8080", f"listen 127.0.0.1:{port}")):
            assert site.count(old) == 1
            site = site.replace(old, new)
        (tmp_path / "site.conf").write_text(site)
        (tmp_path / "nginx.conf").write_text(AROUND.format(directory=tmp_path))
        program = run(["nginx", "-p", str(tmp_path), "-c", str(tmp_path / "nginx.conf")])
        program.wait_for("start worker process ")
        return program, port

    return start


def ask_through(port, count, **headers):
    """Return the statuses and answers of so many requests on one connection, from 127.0.0.9."""
    connection = http.client.HTTPConnection(
        "127.0.0.1", port, timeout=DEADLINE, source_address=("127.0.0.9", 0)
    )
    with contextlib.closing(connection):
        for _ in range(count):
            connection.request("GET", "/", headers=headers)
            answer = connection.getresponse()
            yield answer.status, answer.read()


@NGINX
def test_behind_nginx(example, nginx, tmp_path):
    """No request fails under load, while the children are replaced again and again; and the
    client's address arrives, whatever the client says of itself.
    """
    pytest.importorskip("flask")
    log = tmp_path / "access.log"
    more = f'access_log = "common"\naccess_log_file = "{log}"\nkeep_alive = 75.0 '
    server = example(
        "nginx",
        log=("keep_alive = 75.0 ", more),
        children=('children = "auto"', "children = 2"),
        renew=('restart = "on-crash" ', "renew = { requests = 300 }\nrestart = 'on-crash' "),
    )
    program, port = nginx(server)
    with concurrent.futures.ThreadPoolExecutor(16) as pool:
        clients = [pool.submit(list, ask_through(port, 100)) for _ in range(16)]
    answers = [answer for client in clients for answer in client.result()]
    assert answers == [(200, b"hello from flask\n")] * 1600
    list(ask_through(port, 1, **{"X-Forwarded-For": "192.0.2.1"}))
    server.wait_for(r"server ready .*generation=2\b")
    program.signal(signal.SIGQUIT)
    assert program.wait() == 0
    assert server.stop() == -signal.SIGTERM
    lines = log.read_text().splitlines()
    assert len(lines) == 1601
    assert {line.split()[0] for line in lines} == {"127.0.0.9"}
