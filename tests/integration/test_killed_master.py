"""The master is killed: its children end by themselves, also in C code, with what they started."""

import os
import signal

import psutil
import pytest

from tests.support.clients import ask, dial, endpoint, line, rest
from tests.support.configs import table, web


@pytest.mark.parametrize("handler", ["stuck", "stuck_with_the_interpreter", "stuck_with_litter"])
def test_a_child_that_is_stuck_in_c_ends_within_the_stop_timeout(serve, handler):
    """No handler of Python runs there; the next start has the port."""
    server = serve(web(f"abandoned:{handler}", children=2), master={"stop_timeout": 0.3})
    connection = dial(server)
    assert line(connection) == "taken"
    server.signal(signal.SIGKILL)
    server.wait_gone()
    assert rest(connection) == b""
    host, port = endpoint(server.address())
    successor = serve(web(listen=[f"tcp://{host}:{port}"]))
    assert ask(successor).startswith(b"hello")
    assert successor.stop() == -signal.SIGTERM


def guard_of(server):
    """Return the master's only child that is no child of the server's."""
    below = {one.pid for one in psutil.Process(server.pid).children()}
    (guard,) = below - set(server.children().values())
    return psutil.Process(guard)


def test_a_guard_that_dies_is_replaced(serve):
    """The server goes on, and the next guard ends what is stuck."""
    clock = table("workers.clock", type="task", run="tasks:beating", every=1.25)
    server = serve(web("abandoned:stuck", children=2) + clock, master={"stop_timeout": 0.3})
    guard = guard_of(server)
    for _ in range(2):  # one that dies in its first second would not be replaced
        server.wait_for("^task beat ", since=len(server.log))
    guard.kill()
    server.wait_for(rf"guard died pid={guard.pid} cause=SIGKILL is_replaced=True")
    connection = dial(server)
    assert line(connection) == "taken"
    server.signal(signal.SIGKILL)
    server.wait_gone()


def test_a_guard_has_no_port_and_outlives_no_server(serve):
    """It holds no listener, hears no signal of the group, and is gone with the last child."""
    server = serve(web(children=1))
    guard = guard_of(server)
    assert guard.net_connections() == []
    os.killpg(server.pid, signal.SIGUSR1)
    for number in (signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGRTMIN + 2):
        guard.send_signal(number)
    assert ask(server).startswith(b"hello")
    assert guard.is_running()
    assert server.stop() == -signal.SIGTERM
    assert not guard.is_running()
    assert "guard died" not in server.log


@pytest.mark.parametrize("handler", ["slow", "slow_in_c"])
def test_a_long_call_is_left_alone_while_the_master_lives(serve, handler):
    """A request may take longer than `stop_timeout`, in Python and in C."""
    server = serve(web(f"abandoned:{handler}", children=1), master={"stop_timeout": 0.1})
    assert ask(server) == b"done\n"
    assert ask(server) == b"done\n"
    assert "child died" not in server.log
    assert server.stop() == -signal.SIGTERM


def test_a_child_takes_with_it_what_it_started(serve):
    """Stopped, deaf to TERM, in a session of its own: nothing of it is left."""
    server = serve(web("abandoned:litter", children=2))
    connection = dial(server)
    assert [connection.recv(1) for _ in range(3)] == [b"x"] * 3
    server.signal(signal.SIGKILL)
    connection.sendall(b".")
    server.wait_gone()


def test_an_adopted_process_that_is_stopped_ends_too(serve):
    """It is in the process group, and hears TERM once somebody lets it continue."""
    server = serve(web("abandoned:stopped_stray", children=2))
    assert dial(server).recv(1) == b"x"
    server.signal(signal.SIGKILL)
    server.wait_gone()
