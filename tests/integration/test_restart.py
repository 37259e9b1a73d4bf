"""`restart = "on-crash"`: the same master and sockets, everything else new."""

import os
import re
import signal
import socket
import threading

from tests.support.clients import ask, dial, endpoint, line, rest
from tests.support.configs import hooks, table, web
from tests.support.harness import Server

AGAIN = {"restart": "on-crash", "stop_timeout": 5.0}
BRIEF = table("workers.brief", type="faults:Brief")
GATE = table("modules.gate", type="faults:Gate")


def kill_one(server, slot=0):
    """SIGKILL a child and wait until the next generation is ready."""
    generation = server.stats()["generation"]
    os.kill(server.children()[slot], signal.SIGKILL)
    server.wait_for(rf"server ready .*generation={generation + 1}\b")


def test_everything_but_master_and_sockets_is_new(serve):
    """New pids, new counters; the same pid of the master and the same port."""
    server = serve(GATE + web("faults:serve", children=4), master=AGAIN)
    assert ask(server, b"hello\n").startswith(b"hello")
    before = server.stats()
    kill_one(server, 2)
    after = server.stats()
    assert after["pid"] == before["pid"] == server.pid
    assert after["generation"] == 2
    assert after["workers"][0]["listen"] == before["workers"][0]["listen"]
    old, new = ({child["pid"] for child in facts["children"]} for facts in (before, after))
    assert len(new) == 4
    assert not old & new
    assert before["counters"] == {"gate.hits": 1}
    assert after["counters"] == {"gate.hits": 0}
    assert after["totals"]["requests"] == 0
    assert server.stop() == -signal.SIGTERM


def test_modules_live_once_in_each_generation(serve):
    """`init` and `destroy` are called once a generation, the latter when its last child is gone."""
    server = serve(hooks() + web(), master=AGAIN)
    kill_one(server)
    kill_one(server)
    assert server.stop() == -signal.SIGTERM
    life = re.findall(r"^hook a (init|destroy)", server.log, re.MULTILINE)
    assert life.count("init") == life.count("destroy") == 3
    assert life[-1] == "destroy"


def test_nothing_piles_up(serve):
    """Crash after crash there are as many descriptors, and files in the runtime directory."""
    server = serve(GATE + web("faults:serve", children=2), master=AGAIN)

    def held():
        gone = server.stats()["generation"]
        kill_one(server)
        ready = rf"server ready .*generation={gone + 1}\b"
        server.wait_for(rf"generation gone generation={gone}\b", ready)
        descriptors = os.listdir(f"/proc/{server.pid}/fd")
        names = [path.name for path in server.runtime.iterdir()]
        return len(descriptors), sorted(re.sub(r"\d+", "N", name) for name in names)

    before = held()
    for _ in range(4):
        assert held() == before
    assert server.stop() == -signal.SIGTERM


def test_no_client_is_refused(serve):
    """In a stream of connections three crashes refuse nobody and reset what the dead held only."""
    server = serve(web("faults:serve", children=4, backlog=512), master=AGAIN)
    address, results, done = endpoint(server.address()), [], threading.Event()

    def client():
        while not done.is_set():
            try:
                with socket.create_connection(address, timeout=30) as connection:
                    connection.sendall(b"hello\n")
                    results.append(connection.recv(100)[:5])
            except OSError as error:
                results.append(type(error).__name__)

    clients = [threading.Thread(target=client) for _ in range(8)]
    for one in clients:
        one.start()
    try:
        for slot in (0, 1, 2):
            kill_one(server, slot)
    finally:
        done.set()
        for one in clients:
            one.join()
    good = results.count(b"hello")
    lost = [result for result in results if result != b"hello"]
    assert good > 10
    assert "ConnectionRefusedError" not in lost
    assert len(lost) <= 3
    assert server.stop() == -signal.SIGTERM


def test_what_waits_is_answered_by_the_next_generation(serve):
    """A connection in the accept queue, while its only child dies, gets its answer afterwards."""
    server = serve(web("faults:serve", children=1), master=AGAIN)
    with dial(server) as victim, dial(server) as waiting:
        victim.sendall(b"pause\n")
        waiting.sendall(b"hello\n")
        os.kill(server.children()[0], signal.SIGKILL)
        assert rest(waiting).startswith(b"hello 0 2 ")
    assert server.stop() == -signal.SIGTERM


def test_crashes_in_a_row_back_off(serve):
    """Starts take a tenth of the time at most, also where each generation dies at once."""
    server = serve(BRIEF, master=AGAIN)
    server.wait_for("server restarting generation=6 ")
    waits = re.findall(r"server restarting .*wait=(\S+)s", server.log)
    assert all(0.0 < float(wait) <= 1.0 for wait in waits[:5])
    stopped = server.command("stop")
    assert stopped.returncode == 0
    assert server.wait() == -signal.SIGTERM


def test_a_signal_ends_the_back_off(serve, tmp_path):
    """INT while no generation lives ends the server by INT, at once."""
    mood = tmp_path / "mood"
    listen = ["tcp://127.0.0.1:0"]
    server = serve(
        table("workers.moody", type="faults:Moody", mood=str(mood), listen=listen), master=AGAIN
    )
    mood.touch()
    dial(server, "moody").close()
    server.wait_for("server restarting .*wait=0.800s")
    server.signal(signal.SIGINT)
    assert server.wait() == -signal.SIGINT


def test_a_signal_during_the_switch_ends_the_server(serve):
    """TERM while an old child drains: its request completes, and no other generation follows."""
    server = serve(web("handlers:gated", children=2), master=AGAIN)
    one, two = dial(server), dial(server)
    victim = int(line(one).split()[1])
    line(two)
    os.kill(victim, signal.SIGKILL)
    server.wait_for("server ready .*generation=2")
    server.signal(signal.SIGTERM)
    two.sendall(b".")
    assert rest(two) == b"done\n"
    one.close()
    assert server.wait() == -signal.SIGTERM
    assert "generation=3" not in server.log


def test_a_first_generation_that_cannot_start_ends_the_server(launch, tmp_path):
    """Exit status 76 with the reason, and no second try."""
    mood = tmp_path / "mood"
    mood.touch()
    section = table("workers.moody", type="faults:Moody", mood=str(mood))
    server = launch(section, master=AGAIN)
    assert server.wait() == 76
    assert "in a bad mood" in server.log.splitlines()[-2]
    assert "server restarting" not in server.log


def test_a_later_generation_that_cannot_start_is_tried_again(serve, tmp_path):
    """It backs off, and is there again as soon as it can be."""
    mood = tmp_path / "mood"
    listen = ["tcp://127.0.0.1:0"]
    section = table("workers.moody", type="faults:Moody", mood=str(mood), listen=listen)
    server = serve(section, master=AGAIN)
    mood.touch()
    dial(server, "moody").close()
    server.wait_for("server restarting generation=4 ")
    mood.unlink()
    server.wait_for(r"server ready .*generation=([4-9]|\d\d)")
    # The connection still waits in the queue: the child that is ready at last may die of it too.
    *later, first = server.stats()["crashes"]
    assert sum("in a bad mood" in crash["traceback"] for crash in later) == 1
    assert (first["cause"], first["generation"]) == ("exit 1", 1)
    assert re.search("failed restart reason=.*in a bad mood", server.command("why").stdout)
    assert server.stop() == -signal.SIGTERM


def test_files_of_the_dead_are_gone(serve):
    """A child's temporary directory goes with it, also after SIGKILL."""
    server = serve(web("faults:serve", children=1), master=AGAIN)
    with dial(server) as connection:
        connection.sendall(b"file\n")
        path = line(connection)
    assert os.path.exists(path)
    kill_one(server)
    assert not os.path.exists(path)
    assert server.stop() == -signal.SIGTERM


def test_registered_files_are_gone_after_every_end(launch, tmp_path):
    """`server.resources` removes its paths at the end, or after SIGKILL at the next start."""
    marker = tmp_path / "marker"
    text = table("modules.gate", type="faults:Gate", marker=str(marker)) + web("faults:serve")

    def started() -> Server:
        server = launch(text)
        server.wait_for("server ready")
        assert marker.exists()
        return server

    assert started().stop() == -signal.SIGTERM
    assert not marker.exists()
    killed = started()
    killed.signal(signal.SIGKILL)
    killed.wait()
    killed.wait_gone()
    assert marker.exists()
    successor = started()
    successor.wait_for("stale path removed")
    assert successor.stop() == -signal.SIGTERM
    assert not marker.exists()
