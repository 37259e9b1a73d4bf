"""A master is killed in the middle of a reload, at any step of either side: the server goes on, or
nothing of it is left; and what follows works.
"""

import signal
import socket
from pathlib import Path

import pytest

from tests.support.harness import SUPERVISOR
from tests.support.interrupted import Interrupted, ship

# Who is killed at which of its steps, and who serves afterwards.
STEPS = {
    "fork": ("earlier", "os.fork", 1, "nobody"),
    "bequest": ("earlier", "socket.sendmsg", 1, "nobody"),
    "offer": ("earlier", "fcntl.lockf", 1, "nobody"),
    "take": ("earlier", "socket.sendmsg", 5, "nobody"),
    "let go": ("earlier", "fcntl.lockf", 2, "new"),
    "yours": ("earlier", "socket.sendmsg", 6, "new"),
    "tell children": ("earlier", "os.kill", 1, "new"),
    "drained": ("earlier", "os.rmdir", 1, "new"),
    "imported": ("later", "socket.sendmsg", 1, "old"),
    "forks": ("later", "os.fork", 1, "old"),
    "ready": ("later", "socket.sendmsg", 4, "old"),
    "take hold": ("later", "fcntl.lockf", 1, "old"),
    "held": ("later", "socket.sendmsg", 5, "old"),
    "take over": ("later", "fcntl.lockf", 2, "old"),
    "scoreboard": ("later", "os.rename", 3, "old"),
    "taken": ("later", "socket.sendmsg", 6, "old"),
    "poke": ("later", "os.kill", 1, "nobody"),
}
# As below a service manager a master leaves; in a shell the first one stays as a parent of all.
CASES = [("leaves", step) for step in STEPS if step != "poke"]
CASES += [("stays", step) for step in ("take", "let go", "taken", "poke")]


@pytest.fixture
def manager(tmp_path):
    """A service manager's socket."""
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as bound:
        bound.bind(str(tmp_path / "notify"))
        yield {"NOTIFY_SOCKET": str(tmp_path / "notify")}


@pytest.fixture
def deploy(started, tmp_path):
    """Start a server on code of the version `one`."""

    def start(environment):
        ship(tmp_path, "one")
        started.append(server := Interrupted(tmp_path, environment))
        server.wait_for("server ready ")
        return server

    return start


def as_parent(server):
    """Wait until the first master has become the parent of all."""
    server.wait_for("generation gone generation=1")
    while "/dev/fd/" not in Path(f"/proc/{server.pid}/cmdline").read_text():
        server.command("status")


def expect_start(server, run):
    """Nobody is left, and no reader takes what is left for a server; the next start works."""
    server.wait_gone()
    assert server.command("status").returncode == 3
    assert server.command("reload").returncode == 3
    again = run([SUPERVISOR, "start", "-c", str(server.config)])
    again.wait_for("server ready ")
    assert server.command("status").returncode == 0
    assert server.command("stop").returncode == 0
    assert again.wait() == -signal.SIGTERM


def expect_reload(server, version):
    """A version serves, on both listeners; the next one follows, and a stop ends it."""
    assert server.versions() == {version}
    ship(server.directory, "a third version")
    done = server.command("reload")
    assert (done.returncode, done.stderr) == (0, "")
    assert server.versions() == {"a third version"}
    assert server.command("stop").returncode == 0
    server.wait()
    server.wait_gone()


@pytest.mark.parametrize(("first", "step"), CASES)
def test_sigkill_at_any_step(deploy, run, manager, tmp_path, first, step):
    """The old one serves, or the new one, or nobody, and `status` says so."""
    process, event, count, serving = STEPS[step]
    server = deploy(manager if first == "leaves" else {})
    if first == "stays":
        assert server.command("reload").returncode == 0
        as_parent(server)
    old = server.stats()["pid"]
    ship(tmp_path, "the second")
    server.interrupt("SIGKILL", event, count, process)
    status = server.command("reload").returncode
    server.wait_for(f"^interrupted at {event} {count}$")
    if serving == "nobody":
        assert server.wait() == (70 if first == "stays" else -signal.SIGKILL)
        expect_start(server, run)
    elif serving == "old":
        assert status in (70, 76)
        assert server.stats()["pid"] == old
        expect_reload(server, "one")
    else:
        server.wait_for(rf"server taken over .*predecessor={old}$")
        assert server.stats()["pid"] != old
        expect_reload(server, "the second")
    assert server.left_behind() == []
