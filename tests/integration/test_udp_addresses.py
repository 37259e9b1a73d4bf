"""Datagrams: large ones, and answers from the address that was asked."""

import signal
import socket

import pytest

from tests.support.clients import dial, endpoint
from tests.support.configs import table
from tests.support.harness import DEADLINE


def udp(listen, handler="supervisor.workers.echo:datagram", **values):
    """Return a `udp` section of three children."""
    values = {"type": "udp", "listen": [listen], "children": 3} | values
    return table("workers.web", handler=handler, **values)


@pytest.mark.parametrize("listen", ["udp://127.0.0.1:0", "udp://0.0.0.0:0"])
def test_the_largest_datagram_comes_back(serve, listen):
    """65507 bytes, the most that UDP carries over IPv4."""
    server = serve(udp(listen))
    with dial(server) as client:
        data = bytes(range(256)) * 256
        client.send(data[:65507])
        assert client.recv(70000) == data[:65507]
    assert server.stop() == -signal.SIGTERM


@pytest.mark.parametrize("host", ["127.0.0.1", "127.0.0.2", "127.1.2.3"])
def test_an_answer_leaves_from_the_address_that_was_asked(serve, host):
    """A server on all addresses: a client takes answers only from the one it spoke to."""
    server = serve(udp("udp://0.0.0.0:0"))
    _, port = endpoint(server.address())
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(DEADLINE)
        client.connect((host, port))
        for data in (b"one", b"two"):
            client.send(data)
            assert client.recv(100) == data
    assert server.stop() == -signal.SIGTERM


def test_all_addresses_of_ipv6(serve):
    """The same over IPv6."""
    server = serve(udp("udp://[::]:0"))
    _, port = endpoint(server.address())
    with socket.socket(socket.AF_INET6, socket.SOCK_DGRAM) as client:
        client.settimeout(DEADLINE)
        client.connect(("::1", port))
        client.send(b"six")
        assert client.recv(100) == b"six"
    assert server.stop() == -signal.SIGTERM


def test_what_waits_is_shared(serve):
    """A burst on one socket is answered whole, one request each."""
    server = serve(udp("udp://127.0.0.1:0"))
    with dial(server) as client:
        for number in range(200):
            client.send(b"%d" % number)
        answers = {int(client.recv(100)) for _ in range(200)}
    assert answers == set(range(200))
    assert server.stats()["totals"]["requests"] == 200
    assert server.stop() == -signal.SIGTERM
