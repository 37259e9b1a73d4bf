"""The messages to a service manager, whose place a test takes: readiness, progress, the end."""

import contextlib
import os
import re
import signal
import socket

import pytest

from tests.support.clients import ask, dial, line, rest
from tests.support.configs import hooks, table, web
from tests.support.harness import DEADLINE


class Manager:
    """The service manager's end of NOTIFY_SOCKET."""

    def __init__(self, address):
        self.heard = []
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.settimeout(DEADLINE)
        self.socket.bind(address)

    def wait_for(self, *words):
        """Read messages until all words have come, in any order; return those read now."""
        begin = len(self.heard)
        missing = set(words)
        while missing:
            self.heard.append(self.socket.recv(4096).decode().split("\n"))
            missing -= set(self.heard[-1])
        return self.heard[begin:]

    def rest(self):
        """Return all words so far, those not read yet included."""
        self.socket.setblocking(False)
        with contextlib.suppress(BlockingIOError):
            while True:
                self.heard.append(self.socket.recv(4096).decode().split("\n"))
        return [word for message in self.heard for word in message]


@pytest.fixture
def closing():
    """Closes the sockets that the test enters."""
    with contextlib.ExitStack() as stack:
        yield stack


@pytest.fixture
def manager(tmp_path, closing):
    """A service manager that listens on a path."""
    manager = Manager(str(tmp_path / "notify"))
    closing.enter_context(manager.socket)
    return manager


@pytest.fixture
def told(manager, tmp_path):
    """The environment in which a service manager starts us."""
    return {"NOTIFY_SOCKET": str(tmp_path / "notify")}


def test_ready_is_said_when_every_child_is(launch, manager, told, tmp_path):
    """While one child's init waits nothing but the start is told; then READY, with our pid."""
    fifo = tmp_path / "gate"
    os.mkfifo(fifo)
    gate = table("workers.gate", type="gates:Gate", fifo=str(fifo))
    server = launch(web() + gate, extra=told)
    server.wait_for("worker waits", "child ready worker=web slot=1")
    assert manager.rest() == ["STATUS=starting", "EXTEND_TIMEOUT_USEC=35000000"]
    manager.socket.settimeout(DEADLINE)
    fifo.write_text("")
    (message,) = manager.wait_for("READY=1")
    assert message == ["READY=1", f"MAINPID={server.pid}", "STATUS=running: 3 children"]
    assert server.stop() == -signal.SIGTERM


def test_an_abstract_socket_is_as_good(serve, closing):
    """NOTIFY_SOCKET=@name."""
    name = f"supervisor-test-{os.getpid()}"
    manager = Manager("\0" + name)
    closing.enter_context(manager.socket)
    server = serve(web(), extra={"NOTIFY_SOCKET": "@" + name})
    manager.wait_for("READY=1")
    assert server.stop() == -signal.SIGTERM


def test_the_end_is_told_with_each_child_that_leaves(serve, manager, told):
    """STOPPING at once; while a request is in hand, one child is left, and how long it may take."""
    server = serve(web("handlers:gated", children=3), extra=told)
    manager.wait_for("READY=1")
    with dial(server) as connection:
        line(connection)
        server.signal(signal.SIGTERM)
        messages = manager.wait_for("STOPPING=1", "STATUS=stopping: 1 children left")
        assert messages[0][0] == "STOPPING=1"
        extensions = [word for word in messages[-1] if word.startswith("EXTEND_TIMEOUT_USEC=")]
        assert 10_000_000 < int(extensions[0].partition("=")[2]) <= 22_000_000
        connection.sendall(b".")
        assert rest(connection) == b"done\n"
    assert server.wait() == -signal.SIGTERM
    assert manager.rest().count("STOPPING=1") == 1


def test_a_failed_start_is_never_ready(launch, manager, told):
    """It says that it stops, not that it was ready."""
    server = launch(hooks(init="fail") + web(), extra=told)
    assert server.wait() == 76
    words = manager.rest()
    assert "READY=1" not in words
    assert "STOPPING=1" in words


def test_a_restart_is_a_status_and_no_end(serve, manager, told):
    """Between two generations the server says what it does; it is stopping only at the end."""
    server = serve(web(), master={"restart": "on-crash"}, extra=told)
    manager.wait_for("READY=1")
    os.kill(server.children()[0], signal.SIGKILL)
    words = [word for message in manager.wait_for("READY=1") for word in message]
    assert any(re.match("STATUS=restarting: workers.web: slot 0 died: SIGKILL", w) for w in words)
    assert "STOPPING=1" not in words
    assert server.stop() == -signal.SIGTERM
    assert "STOPPING=1" in manager.rest()


def test_the_watchdog_is_told_of_life_only_when_it_asks(serve, manager, told):
    """WATCHDOG_USEC brings one WATCHDOG=1 after another while nothing happens."""
    server = serve(web(), extra={**told, "WATCHDOG_USEC": "100000"})
    manager.wait_for("READY=1")
    for _ in range(3):
        assert manager.wait_for("WATCHDOG=1") == [["WATCHDOG=1"]]
    assert server.stop() == -signal.SIGTERM


def test_another_processes_watchdog_is_not_ours(serve, manager, told):
    """With the WATCHDOG_PID of somebody else nothing is sent."""
    server = serve(web(), extra={**told, "WATCHDOG_USEC": "1000", "WATCHDOG_PID": "1"})
    assert ask(server).startswith(b"hello")
    assert server.stop() == -signal.SIGTERM
    words = manager.rest()
    assert "READY=1" in words
    assert "WATCHDOG=1" not in words


def test_without_a_watchdog_the_master_sleeps(serve, manager, told):
    """While the children serve, the master is not woken once."""
    server = serve(web(), extra=told)
    manager.wait_for("READY=1")
    before = wakes(server)
    for _ in range(20):
        assert ask(server).startswith(b"hello")
    after = wakes(server)
    assert after[server.pid] == before[server.pid]
    assert server.stop() == -signal.SIGTERM


def wakes(server):
    """Return how often each process of the server has gone to sleep by itself."""
    counts = {}
    for pid in [server.pid, *server.children().values()]:
        with open(f"/proc/{pid}/status") as status:
            counts[pid] = int(
                re.findall(r"^voluntary_ctxt_switches:\t(\d+)", status.read(), re.M)[0]
            )
    return counts


def test_children_do_not_see_the_managers_variables(serve, told):
    """NOTIFY_SOCKET, WATCHDOG_* and LISTEN_* end in the master."""
    extra = {**told, "WATCHDOG_USEC": "9000000", "LISTEN_FDNAMES": "a", "LISTEN_PID": "1"}
    server = serve(web("handlers:listening"), extra=extra)
    assert ask(server) == b"[]\n"
    assert server.stop() == -signal.SIGTERM


def test_a_manager_that_is_gone_is_a_warning(serve, tmp_path):
    """Nobody reads NOTIFY_SOCKET: the log says so, and the server serves."""
    server = serve(web(), extra={"NOTIFY_SOCKET": str(tmp_path / "nobody")})
    assert ask(server).startswith(b"hello")
    assert server.stop() == -signal.SIGTERM
    assert len(re.findall("WARNING .*service manager unreachable", server.log)) == 1
