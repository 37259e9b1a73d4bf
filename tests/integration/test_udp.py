"""Datagrams: answered one by one, each a request."""

import signal

import pytest

from tests.support.clients import dial
from tests.support.configs import table


def udp(handler, **values):
    """Return a `udp` section of one child, unless told otherwise."""
    values = {"type": "udp", "listen": ["udp://127.0.0.1:0"], "children": 1} | values
    return table("workers.web", handler=handler, **values)


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]"])
def test_the_built_in_echo_answers(serve, host):
    """`supervisor.workers.echo:datagram` sends each datagram back, an empty one too."""
    server = serve(udp("supervisor.workers.echo:datagram", listen=[f"udp://{host}:0"], children=3))
    with dial(server) as client:
        for data in (b"one", b"", b"x" * 1400):
            client.send(data)
            assert client.recv(2000) == data
    assert server.stop() == -signal.SIGTERM


def test_none_is_no_answer(serve):
    """A reply of None sends nothing and is no error: the next answer is the first to come."""
    server = serve(udp("handlers:picky"))
    with dial(server) as client:
        client.send(b"quiet")
        client.send(b"loud")
        assert client.recv(100) == b"got loud"
    assert server.stats()["totals"]["errors"] == 0
    assert server.stop() == -signal.SIGTERM


def test_an_exception_is_an_error_of_one_datagram(serve):
    """It is logged and counted, and the child goes on."""
    server = serve(udp("handlers:picky"))
    with dial(server) as client:
        client.send(b"fail")
        client.send(b"next")
        assert client.recv(100) == b"got next"
    totals = server.stats()["totals"]
    assert (totals["requests"], totals["errors"]) == (2, 1)
    server.wait_for("the reply failed")
    assert server.stop() == -signal.SIGTERM


def test_every_client_gets_its_own_answer(serve):
    """Two clients of one child are not mixed up."""
    server = serve(udp("handlers:picky"))
    with dial(server) as one, dial(server) as two:
        one.send(b"1")
        two.send(b"2")
        assert two.recv(100) == b"got 2"
        assert one.recv(100) == b"got 1"
    assert server.stop() == -signal.SIGTERM
