"""How it stops: the door closes, what came in is served, what hangs is killed, nothing is left."""

import os
import re
import select
import signal
import socket
import time

import psutil
import pytest

from tests.support.clients import dial, endpoint, line, rest
from tests.support.configs import hooks, job, table, web
from tests.support.harness import DEADLINE, readable

# An idle child leaves at once: its exit shows that the door is closed and everybody was told to go.
CANARY = job("canary")
GONE = r"child exited worker=canary "
# Longer than any test waits: a server that ends nevertheless did not wait for it.
FOR_EVER = {"stop_timeout": 3600.0}


def held(server, count=1):
    """Return connections whose requests are in the hands of as many children."""
    connections = [dial(server) for _ in range(count)]
    for connection in connections:
        assert line(connection).startswith("taken ")
    return connections


def begin_to_stop(server):
    """Send TERM, and wait until the door is closed and everybody was told."""
    server.signal(signal.SIGTERM)
    server.wait_for(GONE)


def test_a_request_in_hand_is_finished(serve):
    """TERM waits for the answer, and the server dies of TERM after it."""
    server = serve(web("handlers:gated") + CANARY)
    (connection,) = held(server)
    begin_to_stop(server)
    connection.sendall(b".")
    assert rest(connection) == b"done\n"
    assert server.wait() == -signal.SIGTERM
    assert "child killed" not in server.log


def test_all_that_wait_are_answered_and_a_late_one_finds_the_next_server(serve):
    """4 in hand and 16 in the queue are answered; a late one is neither accepted nor refused."""
    server = serve(web("handlers:gated", children=4) + CANARY)
    port = endpoint(server.address())
    busy = held(server, 4)
    waiting = [dial(server) for _ in range(16)]
    begin_to_stop(server)
    with socket.socket() as late:
        late.setblocking(False)
        late.connect_ex(port)
        for connection in busy + waiting:
            connection.sendall(b".")
        assert [rest(connection) for connection in busy] == [b"done\n"] * 4
        assert all(re.fullmatch(rb"taken \d+\ndone\n", rest(waiter)) for waiter in waiting)
        assert select.select([late], [late], [], 0) == ([], [], [])
        assert server.wait() == -signal.SIGTERM
        with socket.create_server(port) as successor:
            successor.settimeout(DEADLINE)
            select.select([], [late], [], DEADLINE)
            assert late.getsockopt(socket.SOL_SOCKET, socket.SO_ERROR) == 0
            successor.accept()[0].close()


def test_a_unix_socket_closes_its_door_by_its_path(serve, tmp_path):
    """The path is gone as soon as the server stops, while a request in hand is still served."""
    path = tmp_path / "web.socket"
    server = serve(web("handlers:gated", listen=[f"unix://{path}"]) + CANARY)
    (connection,) = held(server)
    assert path.is_socket()
    begin_to_stop(server)
    assert not path.exists()
    connection.sendall(b".")
    assert rest(connection) == b"done\n"
    assert server.wait() == -signal.SIGTERM


@pytest.mark.parametrize("handler", ["deaf", "computing", "gated"])
def test_a_hung_child_is_killed_and_the_modules_destroyed(serve, handler):
    """Deaf to TERM, in a long C call, or waiting for ever: gone at `stop_timeout`."""
    server = serve(hooks() + web(f"handlers:{handler}"), master={"stop_timeout": 0.3})
    (connection,) = held(server)
    began = time.monotonic()
    assert server.stop() == -signal.SIGTERM
    assert time.monotonic() - began > 0.2
    assert rest_or_reset(connection) == b""
    assert len(re.findall(r"^hook a destroy", server.log, re.MULTILINE)) == 1


def rest_or_reset(connection):
    """Return what a killed child still sent; its kernel may reset the connection."""
    try:
        return rest(connection)
    except ConnectionResetError:
        return b""


def test_a_kill_at_the_deadline_says_whom_and_why(serve):
    """The log names the child and the reason of the SIGKILL."""
    server = serve(web("handlers:deaf"), master={"stop_timeout": 0.3})
    (connection,) = held(server)
    assert server.stop() == -signal.SIGTERM
    connection.close()
    killed = r"WARNING .*child killed worker=web slot=\d .*signal=SIGKILL reason=stop-timeout"
    assert len(re.findall(killed, server.log)) == 1


def test_a_frozen_child_does_not_keep_it_from_stopping(serve):
    """A child under SIGSTOP cannot leave by itself; the server ends nevertheless."""
    server = serve(web(), master={"stop_timeout": 0.5})
    os.kill(server.children()[0], signal.SIGSTOP)
    assert server.stop() == -signal.SIGTERM


@pytest.mark.parametrize("handler", ["family", "daemon"])
def test_grandchildren_are_gone_too(serve, handler):
    """A deaf grandchild, in our group or a daemon, does not outlive the server."""
    server = serve(web(f"handlers:{handler}"))
    with dial(server) as connection:
        grandchild = int(line(connection).split()[1])
    port = endpoint(server.address())
    assert server.stop() == -signal.SIGTERM
    assert not psutil.pid_exists(grandchild)
    assert str(grandchild) in server.log
    socket.create_server(port).close()


def test_grandchildren_of_a_killed_child_are_gone_too(serve):
    """The grandchild of a child that had to be killed is killed as well."""
    text = web("handlers:family", children=1) + web("handlers:deaf", name="hung", children=1)
    server = serve(text, master={"stop_timeout": 0.3})
    with dial(server) as connection, dial(server, "hung") as other:
        grandchild = int(line(connection).split()[1])
        line(other)
        assert server.stop() == -signal.SIGTERM
    assert not psutil.pid_exists(grandchild)


@pytest.mark.parametrize("second", [signal.SIGTERM, signal.SIGINT])
def test_a_second_signal_cuts_the_grace_short(serve, second):
    """Children that hang are killed now, destroy runs, and the first signal decides the status."""
    server = serve(hooks() + web("handlers:deaf") + CANARY, master=FOR_EVER)
    (connection,) = held(server)
    begin_to_stop(server)
    server.signal(second)
    assert server.wait() == -signal.SIGTERM
    connection.close()
    assert re.search(r"child killed worker=web slot=\d .*signal=SIGKILL", server.log)
    assert len(re.findall(r"^hook a destroy", server.log, re.MULTILINE)) == 1


def test_a_second_signal_to_the_children_has_no_effect(serve):
    """A draining child that gets TERM again finishes its request nevertheless."""
    server = serve(web("handlers:gated") + CANARY, master=FOR_EVER)
    connection = dial(server)
    child = int(line(connection).split()[1])
    begin_to_stop(server)
    os.kill(child, signal.SIGTERM)
    connection.sendall(b".")
    assert rest(connection) == b"done\n"
    assert server.wait() == -signal.SIGTERM


def test_term_after_a_crash_does_not_change_its_status(serve):
    """A child died first: TERM while that shutdown runs leaves the status at 70."""
    server = serve(web("handlers:deaf", children=2) + CANARY, master={"stop_timeout": 0.5})
    (connection,) = held(server)
    idle = [pid for slot, pid in server.children().items() if slot < 2 and pid != taker(server)]
    os.kill(idle[0], signal.SIGKILL)
    server.wait_for(GONE)
    server.signal(signal.SIGTERM)
    assert server.wait() == 70
    connection.close()


def taker(server):
    """Return the pid of the child of `web` that is busy."""
    (pid,) = [c["pid"] for c in server.stats()["children"] if c["state"] == "busy"]
    return pid


@pytest.mark.parametrize(("a", "b"), [("fail", "hang"), ("hang", "fail")])
def test_a_destroy_that_fails_or_hangs_does_not_keep_the_next_from_running(serve, a, b):
    """Each `destroy` gets its turn; one that hangs ends at `destroy_timeout` with a traceback."""
    text = hooks("a", destroy=a) + hooks("b", destroy=b) + hooks("c") + web()
    server = serve(text, master={"destroy_timeout": 0.3})
    assert server.stop() == -signal.SIGTERM
    said = re.findall(r"^hook (\w) destroy", server.log, re.MULTILINE)
    assert said == ["c", "b", "a"]
    assert "told to fail" in server.log


def test_a_child_exit_that_fails_is_logged_and_harmless(serve):
    """An exception in `child_exit` changes neither the drain nor the status."""
    server = serve(hooks("a", child_exit="fail") + web())
    assert server.stop() == -signal.SIGTERM
    assert "told to fail" in server.log


def test_datagrams_stop_too(serve):
    """A server of datagrams only ends by TERM as any other."""
    values = {"listen": ["udp://127.0.0.1:0"], "children": 2}
    server = serve(table("workers.web", type="udp", handler="handlers:picky", **values))
    assert server.stop() == -signal.SIGTERM


def test_an_adopted_listener_stays_open_for_the_next_one(serve):
    """Connections that wait in an inherited socket when we end are left to its next owner."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        text = web("handlers:gated", listen=[address], children=1) + CANARY
        server = serve(text, sockets=[listener])
        (connection,) = held(server)
        begin_to_stop(server)
        late = socket.create_connection(listener.getsockname(), timeout=DEADLINE)
        connection.sendall(b".")
        assert rest(connection) == b"done\n"
        assert server.wait() == -signal.SIGTERM
        assert readable(listener.fileno())
        accepted, _ = listener.accept()
        accepted.sendall(b"next\n")
        accepted.close()
        assert rest(late) == b"next\n"
