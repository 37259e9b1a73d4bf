"""Sockets of every kind: bound, adopted, replaced, refused, and gone at the end."""

import re
import signal
import socket
import stat

import pytest

from tests.support.clients import ask, connect, dial, rest
from tests.support.configs import web
from tests.support.harness import readable


def error_of(server, status):
    """Return the error lines of a start that failed."""
    assert server.wait() == status, server.log
    return "\n".join(re.findall(r"^supervisor: error: .*", server.log, re.MULTILINE))


@pytest.mark.parametrize("host", ["127.0.0.1", "[::1]", "localhost"])
def test_tcp_by_host(serve, host):
    """Version 4, version 6 and names; port 0 is any, and the log tells which."""
    server = serve(web(listen=[f"tcp://{host}:0"]))
    assert not server.address().endswith(":0")
    assert ask(server).startswith(b"hello")
    assert server.stop() == -signal.SIGTERM


def test_a_section_may_have_several_listeners(serve, tmp_path):
    """Each is served by the same children."""
    path = tmp_path / "web.socket"
    server = serve(web(listen=["tcp://127.0.0.1:0", "tcp://[::1]:0", f"unix://{path}"]))
    assert all(ask(server, index=index).startswith(b"hello") for index in range(3))
    assert server.stop() == -signal.SIGTERM
    assert not path.exists()


@pytest.mark.parametrize("mode", ["0600", "0666"])
def test_a_unix_socket_has_the_mode_it_was_given(serve, tmp_path, mode):
    """`mode` in the table form of a listen entry."""
    path = tmp_path / "web.socket"
    server = serve(web(listen=[{"address": f"unix://{path}", "mode": mode}]))
    assert stat.S_IMODE(path.stat().st_mode) == int(mode, 8)
    assert ask(server).startswith(b"hello")
    assert server.stop() == -signal.SIGTERM


@pytest.mark.root
def test_a_unix_socket_has_the_owner_it_was_given(serve, tmp_path):
    """`owner` in the table form of a listen entry."""
    path = tmp_path / "web.socket"
    server = serve(web(listen=[{"address": f"unix://{path}", "owner": "nobody:nogroup"}]))
    assert path.owner() == "nobody"
    assert server.stop() == -signal.SIGTERM


def test_the_stale_socket_of_a_dead_server_is_replaced(serve, launch, tmp_path):
    """A path that nobody listens on any more is taken over."""
    path = tmp_path / "web.socket"
    with socket.socket(socket.AF_UNIX) as dead:
        dead.bind(str(path))
    server = serve(web(listen=[f"unix://{path}"]))
    assert ask(server).startswith(b"hello")
    assert server.stop() == -signal.SIGTERM
    assert not path.exists()


def test_a_live_unix_socket_is_refused(launch, tmp_path):
    """Status 69, and the other server's path is untouched."""
    path = tmp_path / "web.socket"
    with socket.socket(socket.AF_UNIX) as live:
        live.bind(str(path))
        live.listen()
        before = path.stat()
        assert str(path) in error_of(launch(web(listen=[f"unix://{path}"])), 69)
        assert path.stat().st_ino == before.st_ino


def test_a_file_that_is_no_socket_is_never_removed(launch, tmp_path):
    """Status 69, and the file keeps its contents."""
    path = tmp_path / "web.socket"
    path.write_text("precious")
    assert str(path) in error_of(launch(web(listen=[f"unix://{path}"])), 69)
    assert path.read_text() == "precious"


def test_inherited_sockets_are_adopted_by_address(serve, tmp_path):
    """Each goes to the entry with its address, whatever the order, and nothing is bound anew."""
    path = tmp_path / "web.socket"
    with socket.create_server(("127.0.0.1", 0)) as tcp, socket.socket(socket.AF_UNIX) as unix:
        unix.bind(str(path))
        unix.listen()
        text = web(listen=[f"unix://{path}"]) + web(
            name="other", listen=[f"tcp://127.0.0.1:{tcp.getsockname()[1]}"]
        )
        server = serve(text, sockets=[tcp, unix])
        assert ask(server).startswith(b"hello")
        assert ask(server, section="other").startswith(b"hello")
        assert server.stop() == -signal.SIGTERM
        assert path.is_socket()
        with connect(f"unix://{path}"), tcp, unix:
            assert readable(unix.fileno())


def test_an_inherited_socket_holds_clients_until_it_is_served(serve):
    """A client that came before the server started is answered."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        early = connect(address)
        server = serve(web(listen=[address]), sockets=[listener])
        assert rest(early).startswith(b"hello")
        assert server.stop() == -signal.SIGTERM


def test_an_inherited_socket_that_no_entry_claims_is_refused(launch):
    """Status 78, and its address is named."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        port = listener.getsockname()[1]
        assert f"127.0.0.1:{port}" in error_of(launch(web(), sockets=[listener]), 78)


def test_sockets_meant_for_another_process_are_left_alone(serve):
    """LISTEN_FDS counts only with our own pid in LISTEN_PID."""
    server = serve(web(), extra={"LISTEN_FDS": "1", "LISTEN_PID": "1"})
    assert ask(server).startswith(b"hello")
    assert server.stop() == -signal.SIGTERM


def test_children_do_not_see_the_inherited_environment(serve):
    """LISTEN_FDS, LISTEN_PID are gone before the first fork."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        server = serve(web("handlers:listening", listen=[address]), sockets=[listener])
        with dial(server) as connection:
            assert rest(connection) == b"[]\n"
        assert server.stop() == -signal.SIGTERM
