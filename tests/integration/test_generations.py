"""Several generations beside each other: nobody pays for another's crash, or for a renewal."""

import contextlib
import os
import re
import signal
import socket
import threading

import pytest

from tests.support.applications import asked
from tests.support.clients import ask, connect, dial, endpoint, line, rest
from tests.support.configs import hooks, table, web

AGAIN = {"restart": "on-crash"}
MOODY = {"listen": ["tcp://127.0.0.1:0"]}


def held(server, count=1):
    """Return connections in hand and the pid of the child of each."""
    connections = [dial(server) for _ in range(count)]
    return connections, [int(line(one).split()[1]) for one in connections]


def crash(server, busy=()):
    """Kill an idle child of the newest generation; wait until the next one is ready."""
    facts = server.stats()
    idle = next(child["pid"] for child in facts["children"] if child["pid"] not in busy)
    os.kill(idle, signal.SIGKILL)
    server.wait_for(rf"server ready .*generation={facts['generation'] + 1}\b")


def test_a_request_in_hand_delays_nobody(serve):
    """The next generation serves while a child of the old one still has a request in hand."""
    server = serve(web("handlers:gated", children=3), master=AGAIN)
    (old,), busy = held(server)
    crash(server, busy)
    (new,), pids = held(server)
    assert pids != busy
    assert os.path.exists(f"/proc/{busy[0]}")
    for connection in (new, old):
        connection.sendall(b".")
        assert rest(connection) == b"done\n"
    server.wait_for("generation gone generation=1")
    assert server.stop() == -signal.SIGTERM


def ended(connection):
    """Tell that a connection was cut without another byte."""
    with contextlib.suppress(ConnectionResetError):
        return rest(connection) == b""
    return True


def test_two_generations_drain_and_no_more(serve):
    """One more crash kills what the oldest still has in hand, and nothing else."""
    server = serve(web("handlers:gated", children=2), master=AGAIN)
    kept = []
    for _ in range(3):
        connections, busy = held(server)
        kept += connections
        crash(server, busy)
    server.wait_for("child killed .*generation=1 .*reason=too-many-generations")
    assert ended(kept[0])
    for connection in kept[1:]:
        connection.sendall(b".")
        assert rest(connection) == b"done\n"
    assert server.stop() == -signal.SIGTERM


def test_the_old_generation_keeps_its_own_numbers(serve, tmp_path):
    """Its modules are destroyed when its last child is gone, after the next one's `init`."""
    server = serve(hooks() + web("handlers:gated", children=2), master=AGAIN)
    (connection,), busy = held(server)
    crash(server, busy)
    assert len(re.findall(r"^hook a init", server.log, re.MULTILINE)) == 2
    assert "hook a destroy" not in server.log
    connection.sendall(b".")
    assert rest(connection) == b"done\n"
    server.wait_for("hook a destroy", "generation gone generation=1")
    assert server.stop() == -signal.SIGTERM


def test_what_the_old_generation_left_is_killed_beside_the_new(serve):
    """A daemon that a child of it made goes with it; children of the next one do not."""
    server = serve(web("handlers:daemon", children=2), master=AGAIN)
    connection = dial(server)
    pid = int(line(connection).split()[1])
    os.kill(server.children()[0], signal.SIGKILL)
    server.wait_for(
        rf"left process killed pid={pid}",
        "generation gone generation=1",
        r"server ready .*generation=2\b",
    )
    assert len(server.children()) == 2
    assert server.stop() == -signal.SIGTERM


def test_without_restart_the_others_have_crash_timeout(serve):
    """Whoever restarts us waits: a long request elsewhere does not hold the end up."""
    master = {"crash_timeout": 0.2, "stop_timeout": 600.0}
    server = serve(web("handlers:gated", children=2), master=master)
    _, busy = held(server)
    idle = next(pid for pid in server.children().values() if pid not in busy)
    os.kill(idle, signal.SIGKILL)
    assert server.wait() == 70
    assert re.search(rf"child killed .*pid={busy[0]} .*reason=stop-timeout", server.log)


def test_what_a_draining_generation_has_in_hand_is_read_live(serve):
    """A stream that ends wakes no master, and is no longer counted."""
    app = {"type": "asgi", "app": "asgi_streams:app", "listen": ["tcp://127.0.0.1:0"]}
    server = serve(table("workers.web", **app, children=2), master=AGAIN)
    streams = [asked(server, "/events") for _ in range(3)]
    server.wait_for("(?s)(stream begun.*){3}")
    victim, survivor = sorted(server.stats()["children"], key=lambda one: one["active"])
    os.kill(victim["pid"], signal.SIGKILL)
    server.wait_for(r"server ready .*generation=2\b")
    drain = {"generation": 1, "pid": server.pid, "active": survivor["active"]}
    assert server.stats()["draining"] == [drain]
    kept = [one for one in streams if not hung_up(one)]
    assert len(kept) == survivor["active"]
    kept[0].close()
    while server.stats()["draining"] != [drain | {"active": survivor["active"] - 1}]:
        assert "generation gone" not in server.log
    assert server.stop() == -signal.SIGTERM


def hung_up(connection):
    """Read what has come; tell whether the other side has ended the connection."""
    connection.setblocking(False)
    try:
        while connection.recv(65536):
            pass
    except BlockingIOError:
        return False
    except ConnectionError:
        return True
    return True


def test_exclusive_children_follow_each_other(serve):
    """A task of the next generation begins when that of the old has ended; others do not wait."""
    job = table("workers.job", type="task", run="tasks:sleeping")
    server = serve(web(children=2) + job, master=AGAIN)
    server.wait_for("task sleeps")
    os.kill(server.children()[0], signal.SIGKILL)
    server.wait_for(
        "(?s)task sleeps.*task stopped.*task sleeps",
        "child ready worker=job slot=2 generation=2",
    )
    ended = server.log.index("child exited worker=job")
    assert ended < server.log.index("child ready worker=job slot=2 generation=2")
    assert server.stop() == -signal.SIGTERM


def test_exclusive_children_that_are_held_back_do_not_count(serve):
    """The next generation is ready without them."""
    deaf = ["sh", "-c", "trap '' TERM; while :; do sleep 1000; done"]
    master = AGAIN | {"stop_timeout": 3.0}
    server = serve(
        web(children=2) + table("workers.deaf", type="exec", command=deaf), master=master
    )
    assert "children=3 generation=1" in server.log
    os.kill(server.children()[0], signal.SIGKILL)
    server.wait_for("server ready .*children=2 generation=2", "child ready .*slot=2 generation=2")
    assert server.stop() == -signal.SIGTERM


def test_an_exclusive_module_holds_the_next_generation_back(serve):
    """Its `destroy` is done before the next one's `init`."""
    alone = hooks().replace("hooks:Hooks", "hooks:Alone")
    server = serve(alone + web("handlers:gated", children=2), master=AGAIN | {"crash_timeout": 0.2})
    _, busy = held(server)
    crash(server, busy)
    assert server.stop() == -signal.SIGTERM
    life = re.findall(r"^hook a (init|destroy)", server.log, re.MULTILINE)
    assert life == ["init", "destroy"] * 2


def test_an_exclusive_module_refuses_renewal(launch):
    """A configuration error that names both."""
    alone = hooks().replace("hooks:Hooks", "hooks:Alone")
    server = launch(alone + web(), master={"renew": {"every": 5.0}})
    assert server.wait() == 78
    assert "master.renew: modules.a is exclusive" in server.log


# Renewal.


@contextlib.contextmanager
def load(server, threads=4):
    """Ask one question after another on fresh connections; the list has what each was answered."""
    address, answers, done = endpoint(server.address()), [], threading.Event()

    def client():
        while not done.is_set():
            try:
                with socket.create_connection(address, timeout=30) as connection:
                    answers.append(connection.recv(100)[:5])
            except OSError as error:
                answers.append(type(error).__name__)

    clients = [threading.Thread(target=client) for _ in range(threads)]
    for one in clients:
        one.start()
    try:
        yield answers
    finally:
        done.set()
        for one in clients:
            one.join()


def test_a_generation_is_renewed_by_requests(serve):
    """Again and again, and no request is lost."""
    server = serve(web(children=2), master={"renew": {"requests": 100}})
    with load(server) as answers:
        server.wait_for(
            "generation renewing generation=1 reason=requests",
            "generation stopping generation=1 reason=renewal",
            "generation gone generation=4",
        )
    assert set(answers) == {b"hello"}
    assert "child died" not in server.log
    assert server.stop() == -signal.SIGTERM


def test_a_generation_is_renewed_by_age(serve):
    """After so many seconds, without any request."""
    server = serve(web(children=2), master={"renew": {"every": 0.2}})
    server.wait_for("generation renewing generation=1 reason=age", "generation gone generation=2")
    assert server.stop() == -signal.SIGTERM


def test_a_generation_is_renewed_by_memory(serve):
    """A child that has grown beyond it says so at its next look."""
    server = serve(web(children=1), master={"renew": {"memory": 1_000_000}})
    with load(server) as answers:
        server.wait_for("generation renewing generation=1 reason=memory", "generation gone")
    assert set(answers) == {b"hello"}
    assert server.stop() == -signal.SIGTERM


def test_a_renewal_waits_for_what_is_in_hand(serve):
    """The old generation finishes it, beside the new one."""
    server = serve(web("handlers:gated", children=2), master={"renew": {"every": 0.3}})
    (connection,), _ = held(server)
    server.wait_for("server ready .*generation=2")
    connection.sendall(b".")
    assert rest(connection) == b"done\n"
    assert server.stop() == -signal.SIGTERM


def test_a_renewal_that_fails_leaves_the_old_generation(serve, tmp_path):
    """With an ERROR that says why; it is tried again, until it works."""
    mood = tmp_path / "mood"
    section = table("workers.moody", type="faults:Moody", mood=str(mood), **MOODY)
    server = serve(section + web(), master={"renew": {"every": 0.5}})
    mood.touch()
    server.wait_for(r"ERROR .*renewal failed generation=\d+ again_in=0.1", "again_in=0.2")
    assert ask(server).startswith(b"hello")
    mood.unlink()
    failed = int(re.findall(r"renewal failed generation=(\d+)", server.log)[-1])
    server.wait_for(rf"server ready .*generation={failed + 1}\b")
    assert server.stop() == -signal.SIGTERM


# The end.


def test_drain_delay_goes_on_as_before(serve):
    """A second signal ends the delay, and the status is that of the first."""
    server = serve(web(), master={"drain_delay": 600.0})
    server.signal(signal.SIGINT)
    server.wait_for("server lingering reason=SIGINT")
    server.signal(signal.SIGTERM)
    assert server.wait() == -signal.SIGINT


def test_a_connection_within_the_delay_is_served(serve):
    """TERM to the master alone: the children know nothing of it yet."""
    server = serve(web(), master={"drain_delay": 600.0})
    server.signal(signal.SIGTERM)
    server.wait_for("server lingering reason=SIGTERM")
    assert ask(server).startswith(b"hello")
    assert "server stopping" not in server.log
    server.signal(signal.SIGTERM)
    assert server.wait() == -signal.SIGTERM


def test_a_door_that_refuses(serve):
    """New connections are refused at once, while what is in hand is finished."""
    server = serve(web("handlers:gated", children=2), master={"door": "refuse"})
    (connection,), _ = held(server)
    address = server.address()
    server.signal(signal.SIGTERM)
    server.wait_for("child exited")
    with pytest.raises(ConnectionRefusedError):
        connect(address)
    connection.sendall(b".")
    assert rest(connection) == b"done\n"
    assert server.wait() == -signal.SIGTERM


def test_a_door_that_refuses_serves_what_waited(serve):
    """A connection that came before the order to stop is answered."""
    server = serve(web("handlers:gated", children=1), master={"door": "refuse"})
    (first,), _ = held(server)
    waiting = dial(server)
    server.signal(signal.SIGTERM)
    server.wait_for("server stopping")
    for connection in (first, waiting):
        connection.sendall(b".")
    assert rest(first) == b"done\n"
    assert rest(waiting).endswith(b"done\n")
    assert server.wait() == -signal.SIGTERM


# The master's ears.


def test_ears_that_a_preloaded_module_plugged_are_opened(serve):
    """The warning names it; TERM and deaths are heard."""
    server = serve(web(children=2), master=AGAIN | {"preload": ["plugging"]})
    server.wait_for("signals put back changed_by=plugging what=.*wakeup descriptor.*SIGTERM")
    crash(server)
    assert server.stop() == -signal.SIGTERM


@pytest.mark.parametrize("act", ["plug_ears", "borrow_loop"])
def test_ears_that_a_module_plugged_are_opened(serve, act):
    """Also in the `init` of a later generation."""
    server = serve(hooks(init=act) + web(children=2), master=AGAIN)
    server.wait_for("signals put back changed_by=modules.a")
    crash(server)
    server.signal(signal.SIGINT)
    assert server.wait() == -signal.SIGINT


def test_an_init_that_swallows_the_stop_is_abandoned(launch):
    """Everything is released, and the status is that of the signal."""
    server = launch(hooks(init="swallow") + web())
    server.wait_for("swallowing")
    server.signal(signal.SIGTERM)
    assert server.wait() == -signal.SIGTERM
    assert "user code abandoned signal=SIGTERM" in server.log
    assert not server.runtime.exists()


def test_an_init_that_swallows_its_deadline_is_abandoned(launch):
    """A start failure."""
    server = launch(hooks(init="swallow") + web(), master={"start_timeout": 0.3})
    assert server.wait() == 76
    assert not server.runtime.exists()


def test_a_preload_that_swallows_the_stop_is_abandoned(launch):
    """Before anything was forked."""
    job = table("workers.job", type="jobs:Scripted", preload="swallow")
    server = launch(job)
    server.wait_for("swallowing")
    server.signal(signal.SIGTERM)
    assert server.wait() == -signal.SIGTERM
    assert not server.runtime.exists()


def test_a_destroy_that_swallows_its_deadline_is_abandoned(serve):
    """The next one runs, and everything is released."""
    text = hooks("a") + hooks("b", destroy="swallow") + web()
    server = serve(text, master={"destroy_timeout": 0.3})
    assert server.stop() == -signal.SIGTERM
    assert re.findall(r"^hook (\w) destroy", server.log, re.MULTILINE) == ["b", "a"]
    assert not server.runtime.exists()


@pytest.fixture
def destroying(serve, tmp_path):
    """Return a server whose second generation serves, while the first one's `destroy` reads a FIFO;
    and what lets all read to the end.
    """
    fifo = tmp_path / "gate"
    os.mkfifo(fifo)
    master = AGAIN | {"destroy_timeout": 600.0, "stop_timeout": 0.5}
    server = serve(hooks(destroy=str(fifo)) + web("handlers:gated", children=2), master=master)
    crash(server)
    server.wait_for("hook a destroy")

    def release():
        writer = os.open(fifo, os.O_RDWR)
        fifo.unlink()
        fifo.write_bytes(b"")
        os.close(writer)
        server.wait_for("generation gone generation=1")

    return server, release


def test_nobody_waits_for_a_destroy(destroying):
    """A crash meanwhile is followed at once, and its survivors have their time."""
    server, release = destroying
    _, busy = held(server)
    crash(server, busy)
    server.wait_for(rf"child killed .*generation=2 pid={busy[0]} .*reason=stop-timeout")
    crash(server)
    assert "generation gone" not in server.log
    release()
    assert server.stop() == -signal.SIGTERM
    assert re.findall(r"generation gone generation=(\d)", server.log) == ["1", "2", "3", "4"]


def test_an_order_to_stop_is_obeyed_during_a_destroy(destroying):
    """The children hear of it at once; what is to be destroyed is, each once."""
    server, release = destroying
    server.signal(signal.SIGTERM)
    server.wait_for(*(rf"child exited .*slot={slot} generation=2" for slot in range(2)))
    release()
    assert server.wait() == -signal.SIGTERM
    assert server.log.count("hook a destroy") == 2


def test_a_later_init_that_swallows_is_left_behind(serve, tmp_path):
    """The server goes on: the generation counts as failed, the next one is tried."""
    server = serve(
        hooks(init="swallow_later") + web(children=2), master=AGAIN | {"start_timeout": 0.5}
    )
    os.kill(server.children()[0], signal.SIGKILL)
    server.wait_for("user code abandoned signal=SIGALRM", "server ready .*generation=3")
    assert ask(server).startswith(b"hello")
    assert server.stop() == -signal.SIGTERM


def test_a_child_that_scribbles_costs_statistics_only(serve):
    """It wrote over the whole scoreboard before it died: the next generation serves."""
    scribbler = table("workers.wild", type="faults:Scribbler", listen=["tcp://127.0.0.1:0"])
    server = serve(scribbler + web(), master=AGAIN)
    dial(server, "wild")
    server.wait_for("server ready .*generation=2")
    assert ask(server).startswith(b"hello")
    dial(server, "wild")
    server.wait_for("server ready .*generation=3")
    server.signal(signal.SIGUSR1)
    server.wait_for(r"statistics\n")
    assert server.stop() == -signal.SIGTERM
