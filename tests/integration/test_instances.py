"""As pid 1 of a container, and several on one machine."""

import json
import os
import re
import signal
from pathlib import Path

import psutil
import pytest

from tests.support.clients import ask, dial, rest
from tests.support.configs import table, web

NAMESPACE = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")


def init_of(server):
    """Return the master, which is pid 1 of a namespace below `unshare`."""
    server.wait_for(r"server ready .*pid=1\b")
    return psutil.Process(server.pid).children()[0]


@pytest.mark.root
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_as_pid_1_a_signal_is_128_and_its_number(launch, number):
    """Where the kernel would ignore the signal, the status says it."""
    server = launch(web(), prefix=NAMESPACE)
    init_of(server).send_signal(number)
    assert server.wait() == 128 + number


@pytest.mark.root
def test_as_pid_1_a_death_is_70(launch):
    """A container's engine sees the crash."""
    server = launch(web(), prefix=NAMESPACE)
    init_of(server).children()[0].kill()
    assert server.wait() == 70


@pytest.mark.root
def test_as_pid_1_it_reaps_a_thousand_orphans(launch):
    """Orphans that nobody else waits for leave no zombie."""
    server = launch(web("crowds:orphans", children=1), prefix=NAMESPACE)
    master = init_of(server)
    ours = {child.pid for child in master.children()}
    assert ask(server) == b"left 1000\n"
    before = len(server.log)
    master.send_signal(signal.SIGUSR1)
    server.wait_for(r"master\[1\]\S* statistics", since=before)
    assert {child.pid for child in master.children()} == ours
    master.send_signal(signal.SIGTERM)
    assert server.wait() == 128 + signal.SIGTERM


def inside(init, server, *arguments):
    """Run a command of the supervisor in the namespaces of the server."""
    enter = ("nsenter", f"--target={init.pid}", "--pid", "--mount")
    return server.command(*arguments, prefix=enter)


@pytest.mark.root
@pytest.mark.parametrize("end", ["signal", "crash"])
def test_as_pid_1_it_stays_and_its_successors_serve(launch, end):
    """A reload works: the first process stays as the parent of all, passes signals on, and ends as
    the last server does.
    """
    server = launch(web("crowds:orphans", children=1), prefix=NAMESPACE)
    init = init_of(server)
    for generation in (2, 3):
        done = inside(init, server, "reload")
        assert (done.returncode, done.stderr) == (0, ""), server.log
        server.wait_for(f"generation gone generation={generation - 1}$")
        assert ask(server) == b"left 1000\n"
        status = json.loads(inside(init, server, "status", "--json").stdout)
        assert (status["state"], status["generation"]) == ("running", generation)
        assert status["pid"] > 1
    (master,) = [one for one in init.children() if "master" in " ".join(one.cmdline())]
    if end == "signal":
        init.send_signal(signal.SIGTERM)
        assert server.wait() == 128 + signal.SIGTERM
    else:
        (child,) = [one for one in master.children() if "web[" in " ".join(one.cmdline())]
        child.kill()
        assert server.wait() == 70
    server.wait_gone()


def test_two_names_are_two_servers(launch, tmp_path):
    """In the default runtime directories: neither stops, counts or clears what is the other's."""
    names = [f"supervisor-test-{os.getpid()}-{one}" for one in "ab"]
    servers = [launch(web(), name=name, master={"runtime_directory": ""}) for name in names]
    for server in servers:
        server.wait_for("server ready ")
    pids = [int(re.findall(r"pid (\d+)", s.command("status").stdout)[0]) for s in servers]
    assert pids == [server.pid for server in servers]
    assert servers[0].command("stop").returncode == 0
    assert servers[0].wait() == -signal.SIGTERM
    assert ask(servers[1]).startswith(b"hello")
    assert servers[1].stop() == -signal.SIGTERM
    places = [Path("/run"), Path("/tmp")]
    assert not [path for name in names for place in places for path in place.glob(f"{name}*")]


@pytest.mark.root
def test_a_users_server_and_roots_of_the_same_name(launch, tmp_path):
    """Root and a user may each run a server of one name: other directories, other locks."""
    name = f"supervisor-test-{os.getpid()}"
    text = table("workers.echo", type="tcp", handler="supervisor.workers.echo:stream", **LISTEN)
    ours = launch(text, name=name, master={"runtime_directory": ""})
    ours.wait_for("server ready ")
    theirs = launch(
        text,
        name=name,
        master={"runtime_directory": f"/tmp/{name}-65534", "user": "nobody"},
    )
    theirs.wait_for("server ready ")
    assert ours.stop() == -signal.SIGTERM
    with dial(theirs, "echo") as connection:
        connection.sendall(b"still here")
        connection.shutdown(1)
        assert rest(connection) == b"still here"
    assert theirs.stop() == -signal.SIGTERM
    assert not Path(f"/tmp/{name}-65534").exists()


LISTEN = {"listen": ["tcp://127.0.0.1:0"]}
