"""Memory of a child: long bodies, long answers and idle connections cost little of it."""

import contextlib
import http.client
import socket
from pathlib import Path

import pytest

from tests.support.applications import section
from tests.support.clients import endpoint
from tests.support.harness import DEADLINE

TYPES = {
    "wsgi": {"engine": "wsgi", "app": "streams:wsgi", "long": "/parts"},
    "threads": {"engine": "wsgi", "app": "streams:wsgi", "long": "/parts", "threads": 2},
    "asgi": {"engine": "asgi", "app": "asgi_streams:app", "long": "/download"},
}
SIZE = 50_000_000
GROWTH = 16  # MiB: buffers of both sides, and what the allocator keeps
IDLE = 2000  # connections
EACH = 10_485  # bytes: 100 MiB for 10,000


def started(serve, kind):
    """Return a server of one child, its address, the path of its long answer, and its pid."""
    values = dict(TYPES[kind])
    long = values.pop("long")
    server = serve(section(values.pop("engine"), children=1, **values))
    (pid,) = server.children().values()
    return endpoint(server.address()), long, pid


def resident(pid, word):
    """Return MiB of a process: VmRSS now, VmHWM at most."""
    text = Path(f"/proc/{pid}/status").read_text()
    return int(text.partition(f"{word}:")[2].split()[0]) / 1024


@pytest.mark.parametrize("kind", TYPES)
def test_long_bodies_and_answers(serve, kind):
    """50 MB each way, twice: neither is held in memory."""
    address, long, pid = started(serve, kind)
    connection = http.client.HTTPConnection(*address, timeout=DEADLINE)
    connection.request("POST", "/upload", body=b"abc")
    assert connection.getresponse().read() == b"3"
    before = resident(pid, "VmHWM")
    for headers in ({"Content-Length": str(SIZE)}, {"Transfer-Encoding": "chunked"}):
        body = (bytes(1_000_000) for _ in range(SIZE // 1_000_000))
        chunked = "Transfer-Encoding" in headers
        connection.request("POST", "/upload", body, headers, encode_chunked=chunked)
        assert connection.getresponse().read() == b"%d" % SIZE
        connection.request("GET", long)
        answer = connection.getresponse()
        assert sum(map(len, iter(lambda: answer.read(65_536), b""))) == SIZE  # noqa: B023
    connection.close()
    assert resident(pid, "VmHWM") - before < GROWTH


@pytest.mark.parametrize("kind", ["wsgi", "asgi"])
def test_idle_connections(serve, kind):
    """A kept connection costs a child less than a hundredth of a MiB."""
    address, _, pid = started(serve, kind)
    with contextlib.ExitStack() as kept:

        def used():
            connection = socket.create_connection(address, DEADLINE)
            kept.enter_context(connection)
            connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
            received = b""
            while b"hello" not in received:
                received += connection.recv(65_536)

        for _ in range(50):  # what the first ones bring in is there
            used()
        before = resident(pid, "VmRSS")
        for _ in range(IDLE):
            used()
        grown = (resident(pid, "VmRSS") - before) * 2**20
        assert grown / IDLE < EACH
