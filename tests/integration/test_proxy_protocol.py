"""proxy_protocol: who the client is, said by real proxies and by bytes; and who says it wrongly."""

import contextlib
import http.client
import re
import shutil
import signal
import socket
import ssl
import struct
import subprocess
from pathlib import Path

import pytest

from tests.support.certificates import certificate_for
from tests.support.clients import dial, endpoint, rest
from tests.support.configs import table
from tests.support.harness import DEADLINE

TYPES = {
    "wsgi": {"type": "wsgi", "app": "callers:wsgi"},
    "threads": {"type": "wsgi", "app": "callers:wsgi", "threads": 2},
    "asgi": {"type": "asgi", "app": "callers:asgi"},
    "tcp": {"type": "tcp", "handler": "callers:tcp"},
}
EACH_TYPE = pytest.mark.parametrize("kind", TYPES)
GET = b"GET / HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"
V1 = b"PROXY TCP4 192.0.2.7 10.0.0.1 4711 443\r\n"
V2 = b"\r\n\r\n\x00\r\nQUIT\n" + struct.pack(
    "!BBH4s4sHH3s", 0x21, 0x11, 15, bytes([192, 0, 2, 7]), bytes(4), 4711, 443, b"\x04\x00\x00"
)
LOCAL = b"\r\n\r\n\x00\r\nQUIT\n\x20\x00\x00\x00"
STREAM_MODULE = Path("/usr/lib/nginx/modules/ngx_stream_module.so")


def introduced(kind, version="v1", **values):
    """Return a section of one child behind proxies on this machine."""
    common = {"listen": ["tcp://127.0.0.1:0"], "children": 1, "trusted_proxies": ["127.0.0.0/8"]}
    return table(
        "workers.web",
        **(common | TYPES.get(kind, {"type": kind}) | {"proxy_protocol": version} | values),
    )


def answer(server, data):
    """Return the whole answer to some bytes."""
    connection = dial(server)
    connection.sendall(data)
    return rest(connection)


@EACH_TYPE
def test_the_header_tells_the_client(serve, kind):
    """In one piece or in many; nobody else judges the address, though the proxy is trusted."""
    server = serve(introduced(kind))
    assert answer(server, V1 + GET).endswith(b"\r\n\r\n192.0.2.7 4711 http")
    forged = GET[:-2] + b"X-Forwarded-For: 6.6.6.6\r\nForwarded: for=7.7.7.7;proto=https\r\n\r\n"
    assert answer(server, V1 + forged).endswith(b"192.0.2.7 4711 http")
    connection = dial(server)
    for part in (V1[:1], V1[1:9], V1[9:-1], V1[-1:] + GET[:5], GET[5:]):
        connection.sendall(part)
    assert rest(connection).endswith(b"192.0.2.7 4711 http")
    assert answer(server, b"PROXY UNKNOWN\r\n" + GET).split()[-3] == b"127.0.0.1"
    assert server.stop() == -signal.SIGTERM


@EACH_TYPE
def test_version_2(serve, kind):
    """It has TLVs; a proxy that asks for itself (LOCAL) is the client."""
    server = serve(introduced(kind, "v2"))
    assert answer(server, V2 + GET).endswith(b"192.0.2.7 4711 http")
    assert answer(server, LOCAL + GET).split()[-3] == b"127.0.0.1"
    assert server.stop() == -signal.SIGTERM


@EACH_TYPE
@pytest.mark.parametrize("wrong", [GET, V2 + GET, b"PROXY TCP4 a b 1 2\r\n" + GET, b"PRO"])
def test_without_the_header_the_connection_ends(serve, kind, wrong):
    """Without an answer; it is an error, and others are served."""
    server = serve(introduced(kind, connection_timeout=0.5))
    connection = dial(server)
    connection.sendall(wrong)
    with contextlib.suppress(ConnectionError):
        assert rest(connection) == b""
    assert answer(server, V1 + GET).endswith(b"192.0.2.7 4711 http")
    totals = server.stats()["totals"]
    assert (totals["requests"], totals["errors"], totals["active"]) == (2, 1, 0)
    assert server.stop() == -signal.SIGTERM
    assert "child died" not in server.log


@EACH_TYPE
def test_a_stranger_says_nothing(serve, kind):
    """Only trusted proxies are listened to; who comes without one is no client."""
    server = serve(introduced(kind, trusted_proxies=["192.0.2.1"]))
    with contextlib.suppress(ConnectionError):
        assert answer(server, V1 + GET) == b""
    server.wait_for("peer=127.0.0.1.*not a trusted proxy")
    assert server.stop() == -signal.SIGTERM


@EACH_TYPE
def test_a_silent_proxy_does_not_delay_the_stop(serve, kind):
    """Half a header, or none, at TERM: the child ends long before its time is over."""
    values = {"connection_timeout": DEADLINE, "children": 3}
    server = serve(introduced(kind, **values), master={"stop_timeout": DEADLINE})
    for part in (V1[:9], b""):
        dial(server).sendall(part)
    assert answer(server, V1 + GET).endswith(b"192.0.2.7 4711 http")
    assert server.stop() == -signal.SIGTERM
    assert "child killed" not in server.log
    assert "child died" not in server.log


@EACH_TYPE
def test_the_header_comes_before_the_handshake(serve, kind, tmp_path):
    """Over TLS too: the client's hello stays where OpenSSL reads it."""
    paths = certificate_for(tmp_path)
    server = serve(introduced(kind, tls={"certificate": paths[0], "key": paths[1]}))
    context = ssl.create_default_context(cafile=paths[0])
    connection = dial(server)
    connection.sendall(V1[:20])
    connection.sendall(V1[20:])
    secured = context.wrap_socket(connection, server_hostname="localhost")
    secured.sendall(GET)
    assert b"\r\n\r\n192.0.2.7 4711 http" in rest(secured)
    assert server.stop() == -signal.SIGTERM


@pytest.mark.parametrize(("kind", "path"), [("http", "/page"), ("status", "/healthz")])
def test_types_without_an_application(serve, kind, path, tmp_path):
    """They take the header as well, and refuse who has none."""
    (tmp_path / "page").write_text("page")
    values = {"root": str(tmp_path)} if kind == "http" else {}
    server = serve(introduced(kind, **values))
    got = answer(server, V1 + GET.replace(b"/", path.encode(), 1))
    assert got.startswith(b"HTTP/1.1 200 OK")
    with contextlib.suppress(ConnectionError):
        assert answer(server, GET) == b""
    server.wait_for("connection refused peer=127.0.0.1 .*no PROXY header")
    assert server.stop() == -signal.SIGTERM


@pytest.mark.parametrize("kind", [*TYPES, "http", "status"])
def test_without_trusted_proxies_it_is_a_configuration_error(launch, kind):
    """Nobody could connect."""
    server = launch(introduced(kind, trusted_proxies=[]))
    assert server.wait() == 78
    assert "workers.web.proxy_protocol: 'v1' needs trusted_proxies" in server.log


# Real senders. The client's address is another one of the loopback network.


def listening():
    """Return a listening socket for a proxy: what comes before it is ready waits in the queue."""
    sock = socket.create_server(("127.0.0.1", 0))
    sock.set_inheritable(True)
    return sock


def asked_through(sock):
    """Return our address, and the answer that comes through the proxy."""
    with socket.create_connection(
        sock.getsockname(), timeout=DEADLINE, source_address=("127.0.0.9", 0)
    ) as connection:
        connection.sendall(GET)
        us = connection.getsockname()
        return us, rest(connection)


@contextlib.contextmanager
def running(command, *sockets, **variables):
    """A proxy, which is ended afterwards."""
    descriptors = [sock.fileno() for sock in sockets]
    process = subprocess.Popen(
        command,
        env=variables,
        pass_fds=descriptors,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        yield
    finally:
        process.terminate()
        process.wait(DEADLINE)


@EACH_TYPE
@pytest.mark.skipif(not shutil.which("haproxy"), reason="needs haproxy")
@pytest.mark.parametrize(("word", "version"), [("send-proxy", "v1"), ("send-proxy-v2", "v2")])
def test_haproxy(serve, kind, word, version, tmp_path):
    """Both versions, as HAProxy sends them."""
    server = serve(introduced(kind, version))
    host, port = endpoint(server.address())
    with listening() as sock:
        file = tmp_path / "haproxy.cfg"
        file.write_text(
            "defaults\n mode tcp\n timeout connect 30s\n timeout client 30s\n timeout server 30s\n"
            f"listen web\n bind fd@{sock.fileno()}\n server a {host}:{port} {word}\n"
        )
        with running(["haproxy", "-db", "-f", str(file)], sock, PATH="/usr/sbin:/usr/bin"):
            us, got = asked_through(sock)
    assert got.endswith(f"\r\n\r\n127.0.0.9 {us[1]} http".encode())
    assert server.stop() == -signal.SIGTERM


@EACH_TYPE
@pytest.mark.skipif(not STREAM_MODULE.exists(), reason="needs nginx with its stream module")
def test_nginx(serve, kind, tmp_path):
    """Its stream module sends version 1."""
    server = serve(introduced(kind))
    host, port = endpoint(server.address())
    with listening() as sock:
        ours = sock.getsockname()[1]
        file = tmp_path / "nginx.conf"
        file.write_text(
            f"load_module {STREAM_MODULE};\ndaemon off;\n"
            f"pid {tmp_path}/nginx.pid;\nerror_log {tmp_path}/error.log;\nevents {{ }}\n"
            f"stream {{ server {{ listen 127.0.0.1:{ours}; proxy_pass {host}:{port};"
            " proxy_protocol on; } }\n"
        )
        with running(["/usr/sbin/nginx", "-c", str(file)], sock, NGINX=f"{sock.fileno()};"):
            us, got = asked_through(sock)
    assert got.endswith(f"\r\n\r\n127.0.0.9 {us[1]} http".encode())
    assert server.stop() == -signal.SIGTERM


@EACH_TYPE
@pytest.mark.skipif(not shutil.which("curl"), reason="needs curl")
def test_curl(serve, kind):
    """It sends version 1, with its own address."""
    server = serve(introduced(kind))
    url = "http://{}:{}/".format(*endpoint(server.address()))
    done = subprocess.run(
        ["curl", "-sS", "--haproxy-protocol", "--interface", "127.0.0.9", url],
        capture_output=True,
        text=True,
        timeout=DEADLINE,
        check=True,
    )
    assert re.fullmatch(r"127\.0\.0\.9 \d+ http", done.stdout)
    assert server.stop() == -signal.SIGTERM


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
def test_the_access_log_and_the_id_of_the_request(serve, kind):
    """The log names the client; an id that the client sends is its own invention."""
    server = serve(
        introduced(kind, access_log="common", access_log_file="/dev/stderr", request_id="X-Id")
    )
    connection = http.client.HTTPConnection(*endpoint(server.address()), timeout=DEADLINE)
    connection.connect()
    connection.sock.sendall(V1)
    for _ in range(2):  # for all requests of the connection
        connection.request("GET", "/", headers={"X-Id": "mine"})
        got = connection.getresponse()
        assert got.read() == b"192.0.2.7 4711 http"
        assert len(got.getheader("X-Id")) == 32
    connection.close()
    server.wait_for(r"^192\.0\.2\.7 - - .*GET / HTTP/1\.1.*\n192\.0\.2\.7 - - .*GET / ")
    assert server.stop() == -signal.SIGTERM
