"""slow_request: who is in hand for long is logged once, with its stack, and goes on. What is slow
here waits until its client has seen the log.
"""

import os
import signal

import pytest

from tests.support.applications import asked, section
from tests.support.clients import connect, dial, rest
from tests.support.configs import table, web
from tests.support.harness import DEADLINE

SLOW = 0.1  # s
THREADS = pytest.mark.parametrize("threads", [1, 4])


def fifo(directory, name="fifo"):
    """Return a path; who opens it to read waits for one who writes."""
    path = directory / name
    os.mkfifo(path)
    return path


def told(server, pattern, stack):
    """Wait for the next entry, and for a line of its stack; return where the log goes on."""
    seen = server.seen if hasattr(server, "seen") else 0
    (entry,) = server.wait_for(f"WARNING web/[0-9].*slow request{pattern}$", since=seen)
    server.wait_for(stack, since=seen + entry.end())
    server.seen = seen + entry.end()


@pytest.mark.parametrize("timeout", [0.0, DEADLINE])
def test_tcp(serve, timeout):
    """The handler's frame, also where requests have a deadline; one after the other."""
    server = serve(web("handlers:gated", slow_request=SLOW, request_timeout=timeout, children=1))
    for _ in range(3):
        connection = dial(server)
        told(server, "", r"handlers\.py.* in gated")
        connection.sendall(b".")
        assert rest(connection).endswith(b"done\n")
    assert server.stop() == -signal.SIGTERM
    assert server.log.count("slow request") == 3


def test_udp(serve, tmp_path):
    """Each datagram is a request of its own, though they come in one batch."""
    listen = ["udp://127.0.0.1:0"]
    text = table("workers.web", type="udp", handler="handlers:lent", listen=listen)
    server = serve(text + f"slow_request = {SLOW}\n")
    paths = [fifo(tmp_path, name) for name in ("a", "b", "c")]
    with connect(server.address()) as sock:
        for path in paths:
            sock.send(str(path).encode())
        for path in paths:
            told(server, "", r"handlers\.py.* in lent")
            path.write_bytes(path.name.encode())
        assert [sock.recv(100) for _ in paths] == [b"a", b"b", b"c"]
    assert server.stop() == -signal.SIGTERM
    assert server.log.count("slow request") == 3


@THREADS
def test_wsgi(serve, threads, tmp_path):
    """The frame of the thread that makes the answer, and what the request is."""
    path = fifo(tmp_path)
    server = serve(section("wsgi", app="streams:wsgi", slow_request=SLOW, threads=threads))
    connection = asked(server, f"/hints?{path}")
    told(server, " method=GET path=/hints", r"streams\.py.* in hints")
    path.write_bytes(b"done")
    received = b""
    while b"done" not in received:
        received += connection.recv(65_536)
    assert server.stop() == -signal.SIGTERM
    assert server.log.count("slow request") == 1


@THREADS
def test_a_client_that_reads_slowly_makes_no_slow_request(serve, threads, tmp_path):
    """Once the answer has begun the time is the client's; one that is slow comes later."""
    path, common = fifo(tmp_path), {"app": "streams:wsgi", "children": 1, "threads": threads}
    server = serve(section("wsgi", slow_request=SLOW, **common))
    asked(server, "/endless")
    server.wait_for("answer begun")
    asked(server, f"/hints?{path}")
    told(server, ".*path=/hints", r"streams\.py.* in hints")
    path.write_bytes(b"done")
    assert server.stop() == -signal.SIGTERM
    assert server.log.count("slow request") == 1
