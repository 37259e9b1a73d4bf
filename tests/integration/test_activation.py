"""Sockets that somebody else has bound: adopted by address, by name, or refused by name."""

import contextlib
import re
import shutil
import signal
import socket

import pytest

from tests.support.clients import ask, connect, rest
from tests.support.configs import table, web, write
from tests.support.harness import SUPERVISOR


@pytest.fixture
def closing():
    """Closes the sockets that the test enters."""
    with contextlib.ExitStack() as stack:
        yield stack


def datagrams(address):
    """Return a `udp` section."""
    listen = {"listen": [address], "children": 1}
    return table("workers.dns", type="udp", handler="handlers:picky", **listen)


def refusal(server):
    """Return the error line of a start that is refused with status 78."""
    assert server.wait() == 78, server.log
    (error,) = re.findall("^supervisor: error: .*", server.log, re.MULTILINE)
    return error


def test_a_datagram_socket_is_adopted_by_address(serve, closing):
    """udp, with the same host and port."""
    sock = closing.enter_context(socket.socket(type=socket.SOCK_DGRAM))
    sock.bind(("127.0.0.1", 0))
    address = f"udp://127.0.0.1:{sock.getsockname()[1]}"
    server = serve(datagrams(address), sockets=[sock])
    with connect(address) as client:
        client.send(b"hello")
        assert client.recv(64) == b"got hello"
    assert server.stop() == -signal.SIGTERM


def test_a_unix_socket_is_adopted_and_its_path_stays(serve, closing, tmp_path):
    """The path is its owner's: it is there before, and after."""
    path = tmp_path / "web.socket"
    sock = closing.enter_context(socket.socket(socket.AF_UNIX))
    sock.bind(str(path))
    sock.listen()
    server = serve(web(listen=[f"unix://{path}"]), sockets=[sock])
    assert ask(server).startswith(b"hello")
    assert server.stop() == -signal.SIGTERM
    assert path.is_socket()


def test_a_socket_of_another_address_is_adopted_by_its_name(serve, closing):
    """FileDescriptorName= is the section's name, plain or as the socket unit's."""
    one = closing.enter_context(socket.create_server(("127.0.0.1", 0)))
    other = closing.enter_context(socket.create_server(("127.0.0.1", 0)))
    text = web(listen=["tcp://127.0.0.1:1"]) + web(name="other", listen=["tcp://127.0.0.1:1"])
    text = text.replace("127.0.0.1:1", "127.0.0.1:2", 1)
    names = {"LISTEN_FDNAMES": "other.socket:web"}
    server = serve(text, sockets=[one, other], extra=names)
    assert server.address("other").endswith(f":{one.getsockname()[1]}")
    assert server.address("web").endswith(f":{other.getsockname()[1]}")
    assert ask(server).startswith(b"hello")
    assert ask(server, section="other").startswith(b"hello")
    assert server.stop() == -signal.SIGTERM


def test_an_address_counts_more_than_a_name(serve, closing):
    """A socket that one entry claims by address is not given to another entry that has its name."""
    sock = closing.enter_context(socket.create_server(("127.0.0.1", 0)))
    address = f"tcp://127.0.0.1:{sock.getsockname()[1]}"
    text = web(listen=["tcp://127.0.0.1:0"]) + web(name="other", listen=[address])
    server = serve(text, sockets=[sock], extra={"LISTEN_FDNAMES": "web"})
    assert server.address("other") == address
    assert server.address("web") != address
    assert server.stop() == -signal.SIGTERM


@pytest.mark.parametrize("name", ["", "stranger"])
def test_a_socket_that_nobody_claims_is_named(launch, closing, name):
    """Status 78, with its address and its name."""
    sock = closing.enter_context(socket.create_server(("127.0.0.1", 0)))
    error = refusal(launch(web(), sockets=[sock], extra={"LISTEN_FDNAMES": name}))
    assert f"tcp://127.0.0.1:{sock.getsockname()[1]}" in error
    assert name in error


def test_a_stream_socket_that_does_not_listen_is_refused(launch, closing):
    """A connection, as Accept=yes would pass one, is not a listener."""
    sock = closing.enter_context(socket.socket())
    sock.bind(("127.0.0.1", 0))
    address = f"tcp://127.0.0.1:{sock.getsockname()[1]}"
    error = refusal(launch(web(listen=[address]), sockets=[sock]))
    assert "does not listen" in error


@pytest.mark.skipif(
    shutil.which("systemd-socket-activate") is None, reason="needs systemd-socket-activate"
)
def test_systemd_socket_activate_starts_it(run, tmp_path):
    """The first connection starts the server, which answers it."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    address = f"127.0.0.1:{port}"
    config = write(tmp_path, web(listen=[f"tcp://{address}"]))
    program = ["systemd-socket-activate", "-l", address, SUPERVISOR, "start", "-c", str(config)]
    server = run(program)
    server.wait_for("Listening on")
    assert rest(connect(f"tcp://{address}")).startswith(b"hello")
    server.wait_for("server ready ")
    server.signal(signal.SIGTERM)
    assert server.wait() == -signal.SIGTERM


def test_a_daemon_adopts_what_was_passed_to_its_launcher(launch, closing):
    """LISTEN_PID names the process that systemd started, which has forked the server."""
    sock = closing.enter_context(socket.create_server(("127.0.0.1", 0)))
    address = f"tcp://127.0.0.1:{sock.getsockname()[1]}"
    server = launch(web(listen=[address]), sockets=[sock], arguments=["--daemon"])
    sock.close()
    server.wait_for("server ready ")
    assert server.wait() == 0
    assert rest(connect(address)).startswith(b"hello")
    assert server.command("stop").returncode == 0
    server.wait_gone()


@pytest.mark.parametrize("count", ["2147483648", "9" * 20])
def test_a_count_of_any_size_is_one_line(launch, count):
    """The start neither hangs nor shows a traceback."""
    shell = f'LISTEN_PID=$$ LISTEN_FDS={count} exec "$@"'
    error = refusal(launch(web(), prefix=["bash", "-c", shell, "bash"]))
    assert f"LISTEN_FDS={count}" in error


def test_a_watchdog_of_any_size_is_waited_for(serve, tmp_path, closing):
    """30 digits are no interval, 20 are a long one."""
    manager = closing.enter_context(socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM))
    manager.bind(str(tmp_path / "notify"))
    for digits in (18, 30):
        extra = {"NOTIFY_SOCKET": str(tmp_path / "notify"), "WATCHDOG_USEC": "9" * digits}
        server = serve(web(), extra=extra)
        assert server.stop() == -signal.SIGTERM
