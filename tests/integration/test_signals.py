"""The effect of each signal on the master and on a child; absence is proved by a barrier."""

import os
import re
import signal
import subprocess
import sys

import pytest

from tests.support.clients import ask, dial, line, rest
from tests.support.configs import hooks, web

STATISTICS = r"^\S+ INFO {subject}\[{pid}\] statistics\b"


def statistics_of(server, subject, pid):
    """Send USR1 to a process, wait for its statistics, and return the log since."""
    before = len(server.log)
    os.kill(pid, signal.SIGUSR1)
    server.wait_for(STATISTICS.format(subject=subject, pid=pid), since=before)
    return server.log[before:]


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT", "SIGPIPE", "SIGPWR"])
def test_a_termination_signal_ends_it_by_that_signal(serve, name):
    """The server logs the reason, cleans up, and dies of the signal itself."""
    server = serve(hooks() + web())
    server.signal(signal.Signals[name])
    assert server.wait() == -signal.Signals[name]
    assert f"server stopping reason={name}" in server.log
    assert server.log.splitlines()[-1].endswith(f"server stopped status={name}")
    assert len(re.findall(r"^hook a destroy", server.log, re.MULTILINE)) == 1


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_signal_to_the_whole_group_is_one_order(serve, name):
    """Master and children are told at once, as by Ctrl-C: the children's exits are no crashes."""
    server = serve(web(children=4))
    os.killpg(server.pid, signal.Signals[name])
    assert server.wait() == -signal.Signals[name]
    assert "child died" not in server.log


def test_quit_ends_the_master_at_once_and_its_children_follow(serve):
    """SIGQUIT has its default action in the master; the children end by themselves."""
    server = serve(web())
    server.signal(signal.SIGQUIT)
    assert server.wait() == -signal.SIGQUIT
    server.wait_gone()


def test_quit_that_was_ignored_by_inheritance_has_its_default_again(serve):
    """A shell's `&` and nohup ignore it. It ends the master, and a child with a traceback."""
    ignoring = ("sh", "-c", "trap '' QUIT; exec \"$@\"", "sh")
    server = serve(web("handlers:gated", children=1), prefix=ignoring)
    connection = dial(server)
    line(connection)
    os.kill(server.children()[0], signal.SIGQUIT)
    assert server.wait() == 70
    server.wait_for("cause=SIGQUIT", "in gated")
    other = serve(web(), name="other", prefix=ignoring)
    other.signal(signal.SIGQUIT)
    assert other.wait() == -signal.SIGQUIT
    other.wait_gone()


@pytest.mark.parametrize("name", ["SIGTTIN", "SIGTTOU", "SIGTSTP"])
def test_without_a_terminal_job_control_does_not_stop_the_master(launch, name):
    """They would freeze it, while everything says that it runs. The shell in front makes its group
    one that the kernel may stop.
    """
    server = launch(web(), prefix=("sh", "-c", '"$@"; exit $?', "sh"))
    (ready,) = server.wait_for(r"server ready .*pid=(\d+)")
    master = int(ready[1])
    os.kill(master, signal.Signals[name])
    assert statistics_of(server, "master", master)
    os.kill(master, signal.SIGTERM)
    assert server.wait() == 128 + signal.SIGTERM


def test_usr1_and_term_that_arrive_together_are_both_served(serve):
    """Both pending at one instant: statistics are printed, then the server stops."""
    server = serve(web())
    server.freeze()
    before = len(server.log)
    for number in (signal.SIGUSR1, signal.SIGTERM, signal.SIGCONT):
        server.signal(number)
    assert server.wait() == -signal.SIGTERM
    printed, _, _ = server.log[before:].partition("server stopping")
    assert re.search(STATISTICS.format(subject="master", pid=server.pid), printed, re.MULTILINE)


def test_usr1_prints_the_statistics_of_every_child(serve):
    """The master's entry names each child's pid; the server goes on."""
    server = serve(web(children=2))
    before = len(server.log)
    server.signal(signal.SIGUSR1)
    pids = server.children().values()
    server.wait_for(*(rf"\b{pid}\b" for pid in pids), since=before)
    assert ask(server).startswith(b"hello")
    assert server.stop() == -signal.SIGTERM


def test_a_child_prints_its_own_line_at_usr1(serve):
    """USR1 to one child makes it, and nobody else, print one line, and it goes on serving."""
    server = serve(web(children=1))
    child = server.children()[0]
    said = statistics_of(server, "web/0", child)
    assert said.count("\n") == 1
    assert ask(server) == f"hello {child}\n".encode()
    assert server.stop() == -signal.SIGTERM


def test_a_flood_of_usr1_does_no_harm(serve):
    """20,000 USR1 from two senders: the server still serves, then stops on TERM."""
    server = serve(web())
    flood = f"import os\nfor _ in range(10_000): os.kill({server.pid}, {int(signal.SIGUSR1)})"
    senders = [subprocess.Popen([sys.executable, "-c", flood]) for _ in range(2)]
    for sender in senders:
        descriptor = os.pidfd_open(sender.pid)
        server.wait_until(descriptor)
        os.close(descriptor)
        assert sender.wait() == 0
    assert ask(server).startswith(b"hello")
    assert server.stop() == -signal.SIGTERM


@pytest.mark.parametrize("name", ["SIGHUP", "SIGUSR2"])
def test_the_master_ignores(serve, name):
    """A signal without meaning does nothing but say once what to do instead: what follows it is
    served as ever.
    """
    server = serve(web())
    children = server.children()
    server.signal(signal.Signals[name])
    server.wait_for(f"WARNING .* {name} ignored; to reload: supervisor reload")
    server.signal(signal.Signals[name])
    said = statistics_of(server, "master", server.pid)
    assert "stopping" not in said
    assert server.log.count(f"{name} ignored") == 1
    assert server.children() == children
    assert server.stop() == -signal.SIGTERM


@pytest.mark.parametrize("name", ["SIGHUP", "SIGUSR2", "SIGPIPE"])
def test_a_child_ignores(serve, name):
    """A signal without meaning for a child does nothing: it serves on under the same pid."""
    server = serve(web(children=1))
    child = server.children()[0]
    os.kill(child, signal.Signals[name])
    statistics_of(server, "web/0", child)
    assert ask(server) == f"hello {child}\n".encode()
    assert server.stop() == -signal.SIGTERM


def test_a_stopped_and_continued_child_does_no_harm(serve):
    """SIGSTOP shows the child as frozen; after SIGCONT it serves on, and the master did nothing."""
    server = serve(web(children=1))
    child = server.children()[0]
    os.kill(child, signal.SIGSTOP)
    assert [c["state"] for c in server.stats()["children"]] == ["frozen"]
    assert "server stopping" not in statistics_of(server, "master", server.pid)
    os.kill(child, signal.SIGCONT)
    assert ask(server) == f"hello {child}\n".encode()
    assert "server stopping" not in statistics_of(server, "master", server.pid)
    assert server.stop() == -signal.SIGTERM


def test_a_request_is_not_disturbed_by_usr1(serve):
    """A child in the middle of a request prints its line and finishes the request."""
    server = serve(web("handlers:gated", children=1))
    connection = dial(server)
    child = int(line(connection).split()[1])
    statistics_of(server, "web/0", child)
    connection.sendall(b".")
    assert rest(connection) == b"done\n"
    assert server.stop() == -signal.SIGTERM


@pytest.mark.parametrize("name", ["SIGTERM", "SIGINT"])
def test_a_child_that_is_told_to_go_by_a_stranger_is_a_death(serve, name):
    """A TERM that an operator sends to one child alone takes the server down with 70."""
    server = serve(web())
    child = server.children()[1]
    os.kill(child, signal.Signals[name])
    assert server.wait() == 70
    assert re.search(rf"ERROR .*child died worker=web slot=1 .*pid={child}\b", server.log)
    assert "server stopping reason=child-died" in server.log
