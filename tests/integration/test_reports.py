"""The report of a death: the cause, the place in the code, the lock, the request."""

import os
import re
import signal

import pytest

from tests.support.clients import ask, dial, line, rest
from tests.support.configs import table, web

GATE = table("modules.gate", type="faults:Gate")


def faulty(serve, **values):
    """Start a server of the handler that fails on command; it comes back after a crash."""
    section = web("faults:serve", **({"children": 4} | values))
    return serve(GATE + section, master={"restart": "on-crash", "stop_timeout": 2.0})


def crash(server, command):
    """Send the command; return the report as the log has it, and `last_crash` of the next life.

    The command is there before a child accepts: a deadline runs from then on, and a client that
    another process keeps from sending would make the child late where nobody looks for it.
    """
    facts = server.stats()
    generation, children = facts["generation"], [one["pid"] for one in facts["children"]]
    for pid in children:
        os.kill(pid, signal.SIGSTOP)
    with dial(server) as connection:
        connection.sendall(f"{command}\n".encode())
        for pid in children:
            os.kill(pid, signal.SIGCONT)
        assert connection.recv(1) == b""
    server.wait_for(rf"server ready .*generation={generation + 1}\b")
    report = re.findall(r"ERROR \S+ (child died .*(?:\n(?!\d{4}-).*)*)", server.log)[-1]
    return report, server.stats()["last_crash"]


@pytest.mark.parametrize(
    ("command", "cause", "function"),
    [
        ("segv", "SIGSEGV", "in segv"),
        ("overflow", "SIGSEGV", "in overflow"),
        ("abort", "SIGABRT", "in serve"),
        ("regex", "request_timeout", "in regex"),
        ("loop", "request_timeout", "in loop"),
        ("hang", "request_timeout", "in hang"),
    ],
)
def test_a_death_with_its_place_in_the_code(serve, command, cause, function):
    """Faults and deadlines write a traceback, also inside a C call, without the master's frames."""
    server = faulty(serve, request_timeout=1.0 if cause == "request_timeout" else 0.0)
    report, last = crash(server, command)
    assert f"cause={cause} " in report
    assert "worker=web" in report
    assert "state=busy" in report
    assert re.search(rf'faults.py", line \d+ {function}', report)
    assert "fork_all" not in report
    assert (last["cause"], last["worker"], last["generation"]) == (cause, "web", 1)
    assert last["traceback"] in report.replace("\n  ", "\n")
    assert server.stop() == -signal.SIGTERM


def test_an_exit_status_is_named(serve):
    """`os._exit(3)` leaves no traceback, and the report says what there is to say."""
    server = faulty(serve)
    report, last = crash(server, "exit")
    assert 'cause="exit 3" exit=3' in report
    assert (last["cause"], last["lock"], last["traceback"]) == ("exit 3", None, "")
    assert server.stop() == -signal.SIGTERM


def test_the_request_in_hand_is_named(serve):
    """A worker or handler that names its request finds the name in the report."""
    report, _ = crash(faulty(serve), "named")
    assert re.search(r'request="GET /cart \d+\.\d{3}s"', report)


def test_no_memory_is_an_error_of_one_request(serve):
    """MemoryError is an exception like any other: counted, not a death."""
    server = faulty(serve, children=1)
    assert ask(server, b"memory\n") == b""
    assert ask(server, b"hello\n").startswith(b"hello")
    facts = server.stats()
    assert facts["totals"]["errors"] == 1
    assert facts["generation"] == 1
    assert server.stop() == -signal.SIGTERM


def test_a_deadline_spares_who_is_in_time(serve):
    """Requests that end before `request_timeout` leave no timer behind that could strike later."""
    server = faulty(serve, children=1, request_timeout=0.3)
    for _ in range(3):
        assert ask(server, b"hello\n").startswith(b"hello")
    with dial(server) as slow:
        slow.settimeout(None)
        slow.sendall(b"pause\n")
        server.wait_for("cause=request_timeout")
        assert rest(slow) == b""
    assert len(re.findall("cause=", server.log)) == 1
    server.wait_for("server ready .*generation=2")
    assert server.stop() == -signal.SIGTERM


def test_a_death_that_holds_a_lock(serve):
    """The report names the lock; who waits for it gives up at once; the next life finds it free."""
    server = faulty(serve, children=4)
    holder = dial(server)
    holder.sendall(b"hold\n")
    assert line(holder) == "held"
    waiters = [dial(server) for _ in range(3)]
    for waiter in waiters:
        waiter.sendall(b"wait\n")
        assert line(waiter) == "waiting"
    holder.sendall(b"!")
    server.wait_for("child died .*cause=SIGKILL .*lock=gate.lock", "server ready .*generation=2")
    assert "SIGKILL reason=stop-timeout" not in server.log
    for connection in (holder, *waiters):
        connection.close()
    assert ask(server, b"try\n").startswith(b"got\n")
    assert server.stats()["last_crash"]["lock"] == "gate.lock"
    assert server.stop() == -signal.SIGTERM


def test_a_lock_keeps_others_out(serve):
    """A timeout returns False while another child holds the lock, and it can be had afterwards."""
    server = faulty(serve, children=2)
    with dial(server) as holder:
        holder.sendall(b"hold\n")
        assert line(holder) == "held"
        assert ask(server, b"try\n").startswith(b"busy\n")
        holder.sendall(b".")
        assert rest(holder).startswith(b"hold ")
    assert ask(server, b"try\n").startswith(b"got\n")
    assert server.stop() == -signal.SIGTERM


def test_a_stop_lets_waiters_have_the_lock(serve):
    """TERM with one child in the lock and one waiting for it: both requests complete."""
    server = faulty(serve, children=2)
    holder, waiter = dial(server), dial(server)
    holder.sendall(b"hold\n")
    assert line(holder) == "held"
    waiter.sendall(b"wait\n")
    assert line(waiter) == "waiting"
    server.signal(signal.SIGTERM)
    server.wait_for("server stopping")
    holder.sendall(b".")
    assert rest(holder).startswith(b"hold ")
    assert rest(waiter).startswith(b"wait ")
    assert server.wait() == -signal.SIGTERM


def test_a_child_that_is_never_ready_tells_where_it_hangs(launch):
    """At `start_timeout` the late child's traceback is in the report, and the status is 76."""
    section = table("workers.job", type="jobs:Scripted", init="spin")
    server = launch(section, master={"start_timeout": 3.0})
    assert server.wait() == 76
    assert "cause=start_timeout" in server.log
    assert re.search(r'acts.py", line \d+ in spin', server.log)


def test_a_late_child_tells_where_it_hangs_when_it_has_to_stop(serve):
    """A request that outlasts `stop_timeout` leaves its traceback in the log."""
    section = web("faults:serve", children=1)
    server = serve(section, master={"stop_timeout": 0.5})
    with dial(server) as connection:
        connection.sendall(b"late\n")
        assert line(connection) == "taken"
        assert server.stop() == -signal.SIGTERM
    assert "reason=stop-timeout" in server.log
    assert re.search(r'faults.py", line \d+ in late', server.log)
