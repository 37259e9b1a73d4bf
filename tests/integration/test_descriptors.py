"""Open files: how many connections a child takes, and which listeners it has."""

import os
import signal

import psutil
import pytest

from tests.support.clients import ask, dial, endpoint, line
from tests.support.configs import job, web

LIMIT = 96


def limited(hard):
    """Return the command prefix under which a process may open so many files, and no more."""
    return ("prlimit", f"--nofile={hard}:{hard}")


def listening(pid):
    """Return the ports on which a process has listening sockets."""
    found = psutil.Process(pid).net_connections("tcp")
    return {one.laddr.port for one in found if one.status == psutil.CONN_LISTEN}


def test_a_child_with_few_descriptors_left_accepts_no_more(serve):
    """Of 150 connections it keeps some 60: it does not die, and all are answered as others end."""
    server = serve(
        job("web", type="hoards:Keeper", listen=["tcp://127.0.0.1:0"]), prefix=limited(LIMIT)
    )
    (pid,) = server.children().values()
    clients = [dial(server) for _ in range(150)]
    for client in clients:
        client.sendall(b".")
        assert line(client) == "done"
        assert len(os.listdir(f"/proc/{pid}/fd")) <= LIMIT - 32 + 1
    assert "child died" not in server.log
    assert server.stop() == -signal.SIGTERM


def test_a_child_has_the_listeners_of_its_own_section_only(serve):
    """The listeners of other sections are closed in it."""
    server = serve(web(children=1) + web(name="other", children=1))
    ports = {name: endpoint(server.address(name))[1] for name in ("web", "other")}
    for child in server.stats()["children"]:
        assert listening(child["pid"]) == {ports[child["worker"]]}
    assert ask(server).startswith(b"hello")
    assert server.stop() == -signal.SIGTERM


@pytest.mark.parametrize("restart", ["never", "on-crash"])
def test_a_low_hard_limit_is_enough_for_few_children(serve, restart):
    """8 children start where 96 files may be open."""
    server = serve(web(children=8), prefix=limited(LIMIT), master={"restart": restart})
    assert ask(server).startswith(b"hello")
    assert server.stop() == -signal.SIGTERM


def test_a_hard_limit_that_is_too_low_is_one_line(launch):
    """It says how many are needed."""
    server = launch(web(children=80), prefix=limited(LIMIT))
    assert server.wait() == 71
    server.wait_for(r"^supervisor: error: \d+ descriptors needed, ulimit -Hn is 96$")
