"""The answers that an application's clients get, and how they are counted."""

import contextlib
import http.client
import os
import shutil
import signal
import socket
import struct
import subprocess

import pytest
from websockets.exceptions import ConnectionClosed
from websockets.sync.client import connect

from tests.support.applications import ENGINES, asked, get, section
from tests.support.clients import dial, endpoint, rest
from tests.support.harness import DEADLINE

ALL = pytest.mark.parametrize("engine", ENGINES)
needs_curl = pytest.mark.skipif(shutil.which("curl") is None, reason="needs curl")
needs_openssl = pytest.mark.skipif(shutil.which("openssl") is None, reason="needs openssl")


# On standard error, where the harness reads: a line is written once its request is counted.
LOGGED = {"access_log": "common", "access_log_file": "/dev/stderr"}


def totals(server, requests):
    """Return requests and errors, once so many requests are in the access log."""
    server.wait_for(rf'(?s)(?:HTTP/1\.1" \d.*){{{requests}}}')
    facts = server.stats()["totals"]
    assert not facts["active"]
    return facts["requests"], facts["errors"]


def curl(*arguments):
    """Return what curl prints."""
    command = ["curl", "-sS", *arguments]
    return subprocess.run(command, capture_output=True, timeout=DEADLINE, check=True).stdout


@ALL
def test_requests_are_counted(serve, engine):
    """Answers are right; a 5xx and an exception are errors, a 404 of nobody is not."""
    server = serve(section(engine, **LOGGED))
    assert get(server) == (200, b"hello")
    assert get(server, "/stream") == (200, b"part 0\npart 1\npart 2\n")
    assert get(server, "/busy") == (503, b"busy")
    assert get(server, "/boom")[0] == 500
    assert totals(server, 4) == (4, 2)
    server.wait_for("ValueError: boom")
    latency = server.stats()["workers"][0]["latency"]
    assert 0 < latency["p50"] <= latency["max"]


@ALL
def test_a_large_upload(serve, engine):
    """100 MB pass through without being held."""
    size = 100_000_000
    server = serve(section(engine, children=1))
    pid = server.children()[0]
    before = peak(pid)
    block = bytes(1_000_000)
    body = (block for _ in range(size // len(block)))
    headers = {"Content-Length": str(size)}
    assert get(server, "/upload", "POST", body=body, headers=headers) == (200, b"%d" % size)
    assert peak(pid) - before < 30_000_000


def peak(pid):
    """Return the largest resident size so far, in bytes."""
    with open(f"/proc/{pid}/status") as file:
        line = next(line for line in file if line.startswith("VmHWM"))
    return int(line.split()[1]) * 1024


@ALL
def test_a_client_that_hangs_up(serve, engine):
    """A client that resets its connection in the middle disturbs nobody, and is counted."""
    server = serve(section(engine, children=1, **LOGGED))
    connection = asked(server, "/slow")
    server.wait_for("request begun")
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    connection.close()
    assert get(server) == (200, b"hello")
    assert totals(server, 2)[0] == 2
    assert server.stop() == -signal.SIGTERM


@ALL
def test_a_unix_socket(serve, engine, tmp_path):
    """Several listeners of a section serve alike, a unix socket among them."""
    path = tmp_path / "web.sock"
    server = serve(section(engine, listen=["tcp://127.0.0.1:0", f"unix://{path}"]))
    assert get(server) == (200, b"hello")
    with socket.socket(socket.AF_UNIX) as connection:
        connection.connect(str(path))
        connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
        received = b"".join(iter(lambda: connection.recv(65536), b""))
    assert b"hello" in received


@pytest.mark.parametrize("engine", ["wsgi", "rsgi"])
@needs_curl
def test_http2(serve, engine):
    """HTTP/2 without TLS is spoken where it is asked for."""
    server = serve(section(engine, http="2") if engine == "wsgi" else section(engine))
    host, port = endpoint(server.address())
    version = ["--http2-prior-knowledge", "-w", " %{http_version}"]
    assert curl(*version, f"http://{host}:{port}/") == b"hello 2"


@needs_curl
def test_http2_chooses_the_engine(serve):
    """An `asgi` section that asks for HTTP/2 gets the engine that has it."""
    server = serve(section("asgi", http="2"))
    host, port = endpoint(server.address())
    assert curl("--http2-prior-knowledge", f"http://{host}:{port}/") == b"hello"


@ALL
@needs_curl
@needs_openssl
def test_tls(serve, engine, tmp_path):
    """With a certificate the section speaks TLS."""
    certificate, key = str(tmp_path / "cert.pem"), str(tmp_path / "key.pem")
    make = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    subject = ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost"]
    subprocess.run(
        [*make, *subject, "-out", certificate, "-keyout", key],
        check=True,
        capture_output=True,
        timeout=DEADLINE,
    )
    server = serve(section(engine, tls={"certificate": certificate, "key": key}))
    port = endpoint(server.address())[1]
    address = f"https://localhost:{port}/"
    assert curl("-4", "--cacert", certificate, address) == b"hello"
    assert server.stop() == -signal.SIGTERM


@pytest.mark.parametrize(("engine", "code"), [("asgi", 1012), ("rsgi", 1005)])
def test_a_websocket(serve, engine, code):
    """Messages come back; the stop closes in order: service restart (RSGI knows no codes)."""
    server = serve(section(engine, children=1, request_timeout=DEADLINE))
    host, port = endpoint(server.address())
    with connect(f"ws://{host}:{port}/", close_timeout=DEADLINE) as websocket:
        websocket.send("one")
        assert websocket.recv(DEADLINE) == "one"
        assert server.stats()["totals"]["active"] == 1
        server.signal(signal.SIGTERM)
        with pytest.raises(ConnectionClosed) as closed:
            websocket.recv(DEADLINE)
    assert closed.value.rcvd is not None
    assert closed.value.rcvd.code == code
    assert server.wait() == -signal.SIGTERM
    assert "Traceback" not in server.log


@pytest.mark.parametrize("engine", ["asgi", "rsgi"])
def test_an_open_websocket_hides_no_hang(serve, engine):
    """A request that blocks the loop is found beside it."""
    server = serve(section(engine, children=1, request_timeout=0.3))
    host, port = endpoint(server.address())
    with connect(f"ws://{host}:{port}/", close_timeout=DEADLINE):
        connection = asked(server, "/block")
        assert server.wait() == 70
    server.wait_for("cause=request_timeout")
    connection.close()


@pytest.mark.parametrize("loop", ["uvloop", "asyncio"])
@pytest.mark.parametrize("engine", ["asgi", "rsgi"])
def test_a_websocket_that_blocks(serve, engine, loop):
    """One that waits, for its client or in its own code, is no hang; one that computes is."""
    server = serve(section(engine, children=1, request_timeout=0.3, loop=loop))
    host, port = endpoint(server.address())
    with connect(f"ws://{host}:{port}/", close_timeout=DEADLINE) as websocket:
        with pytest.raises(TimeoutError):
            websocket.recv(0.5)
        websocket.send("wait")
        assert websocket.recv(DEADLINE) == "wait"
        websocket.send("block")
        assert server.wait() == 70
    server.wait_for("cause=request_timeout", r"applications.py.* in act$")


@pytest.fixture
def files(tmp_path):
    """A directory of files, reached by a link, and a secret beside it."""
    directory = tmp_path / "real" / "public"
    directory.mkdir(parents=True)
    (directory / "a b.txt").write_text("file")
    (directory / "sub").mkdir()
    (directory / "outside").symlink_to(tmp_path / "real" / "secret")
    (tmp_path / "real" / "secret").write_text("secret")
    (tmp_path / "real" / "publicity").write_text("secret")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    return tmp_path / "link" / "public"


@pytest.mark.parametrize("engine", ["wsgi", "asgi", "rsgi"])
def test_static_files(serve, engine, files):
    """Files below the directory are served, and no others."""
    server = serve(section(engine, static={'"/static"': str(files)}))
    assert get(server, "/static/a%20b.txt") == (200, b"file")
    assert get(server, "/static/a%20b.txt", "HEAD") == (200, b"")
    outside = [
        "../secret",
        "%2e%2e/secret",
        "..%2fsecret",
        "/etc/passwd",
        "outside",
        "sub/../../secret",
    ]
    for path in ["nothing", "sub", "", *outside]:
        assert get(server, f"/static/{path}")[0] == 404, path
    for path in ["/", "/statics", "/staticity"]:
        assert get(server, path) == (200, b"hello"), path


def asked_for(server, path, method="GET", **fields):
    """Return the answer to a request with these fields, and its body."""
    connection = http.client.HTTPConnection(*endpoint(server.address()), timeout=DEADLINE)
    with contextlib.closing(connection):
        connection.request(method, path, headers=fields)
        answer = connection.getresponse()
        return answer, answer.read()


@ALL
def test_static_files_are_asked_for_in_parts(serve, engine, files):
    """Tags, ranges, codings and refusals, the same by each type."""
    big = bytes(range(256)) * 20_000
    (files / "big.bin").write_bytes(big)
    (files / "app.js").write_text("plain")
    (files / "app.js.gz").write_bytes(b"coded")
    server = serve(section(engine, static={'"/static"': str(files)}, root_path="/api"))
    answer, body = asked_for(server, "/static/big.bin")
    assert body == big
    tag = answer.headers["ETag"]
    again, nothing = asked_for(server, "/static/big.bin", **{"If-None-Match": tag})
    assert (again.status, nothing, again.headers["ETag"]) == (304, b"", tag)
    part, inside = asked_for(server, "/static/big.bin", Range="bytes=1000-1000999")
    assert (part.status, inside) == (206, big[1000:1001000])
    assert part.headers["Content-Range"] == f"bytes 1000-1000999/{len(big)}"
    assert asked_for(server, "/static/big.bin", Range="bytes=9999999-")[0].status == 416
    coded, packed = asked_for(server, "/static/app.js", **{"Accept-Encoding": "gzip"})
    assert (coded.headers["Content-Encoding"], packed) == ("gzip", b"coded")
    assert asked_for(server, "/static/app.js")[1] == b"plain"
    head, nothing = asked_for(server, "/static/big.bin", "HEAD")
    assert (head.headers["Content-Length"], nothing) == (str(len(big)), b"")
    assert asked_for(server, "/static/app.js", "POST")[0].status == 405
    totals = server.stats()["totals"]
    assert (totals["requests"], totals["errors"], totals["active"]) == (8, 0, 0)


@ALL
def test_a_request_that_takes_too_long(serve, engine):
    """Past request_timeout the child dies, and the log shows where it was."""
    server = serve(section(engine, request_timeout=0.3))
    connection = asked(server, "/hang" if engine == "wsgi" else "/block")
    assert server.wait() == 70
    server.wait_for("cause=request_timeout", r"applications.py.* in (wsgi|answer|rsgi)$")
    connection.close()


@ALL
def test_a_body_that_is_too_large(serve, engine):
    """More than body_limit is 413, announced or not."""
    server = serve(section(engine, body_limit=1000))
    assert get(server, "/upload", "POST", body=bytes(1000)) == (200, b"1000")
    assert get(server, "/upload", "POST", body=bytes(1001))[0] == 413
    parts = iter([bytes(600), bytes(600)])
    assert get(server, "/upload", "POST", body=parts, encode_chunked=True)[0] == 413


def test_a_whole_body_that_is_too_large(serve):
    """An `rsgi` application that wants it at once gets it within the limit, and 413 beyond."""
    server = serve(section("rsgi", body_limit=1000))
    assert get(server, "/whole", "POST", body=bytes(1000)) == (200, b"1000")
    parts = iter([bytes(600), bytes(600)])
    assert get(server, "/whole", "POST", body=parts, encode_chunked=True)[0] == 413


@ALL
def test_an_application_that_catches_what_is_too_large(serve, engine):
    """Frameworks answer for every exception: it is 413 all the same."""
    server = serve(section(engine, body_limit=1000))
    assert get(server, "/catches", "POST", body=bytes(1000)) == (200, b"1000")
    parts = iter([bytes(600), bytes(600)])
    assert get(server, "/catches", "POST", body=parts, encode_chunked=True)[0] == 413


def test_a_body_that_proves_too_large_late(serve):
    """An answer that has begun cannot become another: an error, with its traceback."""
    server = serve(section("rsgi", body_limit=1000, **LOGGED))
    parts = iter([bytes(600), bytes(600)])
    assert get(server, "/late", "POST", body=parts, encode_chunked=True) == (200, b"begun")
    assert totals(server, 1) == (1, 1)
    server.wait_for("TooLarge: the body is larger")


@ALL
def test_a_head_that_is_too_large(serve, engine):
    """More than header_limit is refused."""
    server = serve(section(engine, header_limit=8192))
    received = b""
    with dial(server) as connection, contextlib.suppress(ConnectionError):
        for _ in range(100):
            connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nA: " + b"a" * 20_000)
        received = rest(connection)
    assert b" 4" in received.partition(b"\r\n")[0] or not received


@ALL
def test_trusted_proxies(serve, engine):
    """The client that a proxy names counts only where the proxy is trusted."""
    headers = {"X-Forwarded-For": "192.0.2.7", "X-Forwarded-Proto": "https"}
    server = serve(section(engine, trusted_proxies=["127.0.0.0/8"]))
    assert get(server, "/who", headers=headers) == (200, b"192.0.2.7 https")
    other = serve(section(engine, trusted_proxies=["192.0.2.1"]), name="other")
    assert get(other, "/who", headers=headers) == (200, b"127.0.0.1 http")


@ALL
def test_the_access_log_behind_a_proxy(serve, engine):
    """It names the client, not the proxy."""
    server = serve(section(engine, trusted_proxies=["127.0.0.1"], **LOGGED))
    get(server, headers={"X-Forwarded-For": "192.0.2.7, 2001:db8::7, 127.0.0.1"})
    server.wait_for(r"^2001:db8::7 - - ")


# The contract of a line in JSON.
FIELDS = ["time", "client", "method", "target", "protocol", "status", "size", "seconds"]
FIELDS += ["worker", "slot", "pid", "request_id", "headers"]


@ALL
@pytest.mark.parametrize("form", ["common", "json"])
def test_the_access_log(serve, engine, form, tmp_path):
    """Each request is a line in the file; nobody can forge one."""
    import json

    file = tmp_path / "access.log"
    server = serve(
        section(
            engine,
            access_log=form,
            access_log_file=str(file),
            children=1,
            access_log_headers=["User-Agent"],
        )
    )
    get(server, "/busy?a=1", headers={"User-Agent": 'forged"\t'})
    assert server.stop() == -signal.SIGTERM
    (line,) = file.read_text().splitlines()
    if form == "common":
        assert line.startswith("127.0.0.1 - - [")
        assert '"GET /busy?a=1 HTTP/1.1" 503' in line
    else:
        facts = json.loads(line)
        assert list(facts) == FIELDS
        assert (facts["target"], facts["status"]) == ("/busy?a=1", 503)
        assert facts["headers"]["user-agent"].startswith('forged"')


def test_lines_of_a_body(serve):
    """A WSGI body is a file of lines, whole ones."""
    server = serve(section("wsgi"))
    assert get(server, "/lines", "POST", body=b"one\ntwo\nthree") == (200, b"one\n|two\n|three")


def test_an_exception_in_the_middle(serve):
    """One that comes after the first part of the body is an error, with its traceback."""
    server = serve(section("wsgi", **LOGGED))
    with pytest.raises(http.client.IncompleteRead):  # nobody may take it for all
        get(server, "/broken")
    assert totals(server, 1) == (1, 1)
    server.wait_for("ValueError: broken")


def test_one_request_a_connection(serve):
    """With keep_alive = 0 each connection is closed after its answer."""
    for engine in ("wsgi", "asgi"):
        server = serve(section(engine, keep_alive=0.0), name=engine)
        connection = http.client.HTTPConnection(*endpoint(server.address()), timeout=DEADLINE)
        connection.request("GET", "/")
        answer = connection.getresponse()
        assert answer.will_close or answer.getheader("connection") == "close"
        assert answer.read() == b"hello"
        assert os.path.exists(server.config)
        connection.close()


@pytest.mark.parametrize("engine", ["wsgi", "asgi"])
def test_what_an_application_gets_is_its_own(serve, engine):
    """It may change all of it: the same request after it is told the same."""
    server = serve(section(engine, app=f"taking:{engine}", children=1))
    client = http.client.HTTPConnection(*endpoint(server.address()), timeout=DEADLINE)
    told = []
    for _ in range(3):
        client.request("GET", "/a%20b?c", headers={"A": "b", "Cookie": "d=e"})
        told.append(client.getresponse().read())
    client.close()
    assert b"/a b" in told[0]
    assert b"d=e" in told[0]
    assert told[1:] == told[:1] * 2
