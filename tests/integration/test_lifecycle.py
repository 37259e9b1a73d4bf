"""A server's whole life: ready when every child is, serving, gone without a trace."""

import os
import re
import signal
import socket
import time
from pathlib import Path

import psutil
import pytest

from tests.support.clients import ask, connect, dial, endpoint, line, rest
from tests.support.configs import hooks, job, web, write
from tests.support.harness import SUPERVISOR


def test_it_is_ready_only_when_every_child_is(serve):
    """The line `server ready` follows one `child ready` line for each child."""
    server = serve(web(children=3) + web(name="other", children=2))
    before, _, _ = server.log.partition("server ready ")
    ready = re.findall(r"child ready worker=(\w+) slot=(\d+) generation=1 pid=\d+", before)
    assert sorted(ready) == [
        ("other", "3"),
        ("other", "4"),
        ("web", "0"),
        ("web", "1"),
        ("web", "2"),
    ]
    assert "children=5 generation=1" in server.wait_for(r"server ready .*$")[0][0]


def test_every_child_serves(serve):
    """Requests held in hand one by one are taken by one child after the other."""
    server = serve(web("handlers:gated", children=3))
    held = [dial(server) for _ in range(3)]
    takers = {int(line(connection).split()[1]) for connection in held}
    assert takers == set(server.children().values())
    for connection in held:
        connection.sendall(b".")
        assert rest(connection) == b"done\n"
    assert server.stop() == -signal.SIGTERM


def test_the_built_in_echo_answers_what_it_is_sent(serve):
    """`supervisor.workers.echo:stream` sends everything back."""
    server = serve(web("supervisor.workers.echo:stream"))
    assert ask(server, b"x" * 100_000) == b"x" * 100_000
    assert server.stop() == -signal.SIGTERM


def test_an_answer_is_whole_though_the_question_was_not_read(serve):
    """Bytes that the handler did not read do not reset the connection at its end."""
    server = serve(web("handlers:gated"))
    connection = dial(server)
    line(connection)
    connection.sendall(b"." * 1000)
    assert rest(connection) == b"done\n"
    assert server.stop() == -signal.SIGTERM


def test_a_handler_may_close_its_connection(serve):
    """A connection that is closed already is no error, and the child serves on."""
    server = serve(web("handlers:closing", children=1))
    assert ask(server) == ask(server)
    assert server.stats()["totals"]["errors"] == 0
    assert server.stop() == -signal.SIGTERM


def test_a_connection_without_progress_is_given_up(serve):
    """`connection_timeout` ends the wait for a silent client, as an error of its request."""
    server = serve(web("handlers:gated", children=1, connection_timeout=0.2))
    connection = dial(server)
    line(connection)
    assert rest(connection) == b""
    assert server.stats()["totals"]["errors"] == 1
    assert server.stop() == -signal.SIGTERM


def test_a_worker_of_ones_own_serves_and_is_closed(serve):
    """A Worker by dotted path gets its hooks in order and its connections from `child.wait()`."""
    server = serve(job(listen=["tcp://127.0.0.1:0"]))
    assert ask(server, section="job") == b"own 0\n"
    assert server.stop() == -signal.SIGTERM
    said = re.findall(r"^worker (\w+) pid=", server.log, re.MULTILINE)
    assert said == ["preload", "init", "run", "close"]


def test_a_computing_worker_stops_where_it_polls(serve):
    """`child.poll()` ends work that never waits, and its child leaves in order."""
    server = serve(job(type="jobs:Counting"))
    server.wait_for("worker counting")
    assert server.stop() == -signal.SIGTERM
    assert re.search(r"child exited worker=job slot=0 .*code=0", server.log)


def test_its_last_line_is_its_end(serve):
    """The log ends with the status that the caller sees."""
    server = serve(web())
    assert server.stop() == -signal.SIGTERM
    assert server.log.splitlines()[-1].endswith("server stopped status=SIGTERM")


def test_modules_are_destroyed_once_in_reverse_after_the_last_child(serve):
    """`init` in order, `child_init` and `child_exit` in each child, `destroy` in reverse."""
    server = serve(hooks("a") + hooks("b") + web(children=1))
    assert server.stop() == -signal.SIGTERM
    said = re.findall(r"^hook (\w) (\w+) pid=(\d+)", server.log, re.MULTILINE)
    master = [f"{label} {hook}" for label, hook, pid in said if int(pid) == server.pid]
    child = [f"{label} {hook}" for label, hook, pid in said if int(pid) != server.pid]
    assert master == ["a init", "b init", "b destroy", "a destroy"]
    assert child[:2] == ["a child_init", "b child_init"]
    assert sorted(child[2:]) == ["a child_exit", "b child_exit"]
    assert said[-2][2] == said[-1][2] == str(server.pid)


def test_master_and_children_share_a_group_that_the_master_leads(serve):
    """One process group, and a session that nobody left."""
    server = serve(web())
    pids = [server.pid, *server.children().values()]
    assert {os.getpgid(pid) for pid in pids} == {server.pid}
    assert server.stop() == -signal.SIGTERM


def test_the_port_is_free_the_instant_the_process_has_ended(serve):
    """Another server can bind the port at once, also after connections were served."""
    server = serve(web())
    port = endpoint(server.address())
    assert ask(server).startswith(b"hello")
    assert server.stop() == -signal.SIGTERM
    with socket.create_server(port) as successor:
        assert successor.getsockname() == port


def test_a_second_start_is_refused_and_names_the_first(serve, launch):
    """Status 75 and one line with the pid; the first server notices nothing."""
    server = serve(web())
    second = launch(web())
    assert second.wait() == 75
    (error,) = re.findall("^supervisor: error: .*", second.log, re.MULTILINE)
    assert re.search(rf"\b{server.pid}\b", error)
    assert ask(server).startswith(b"hello")
    assert server.stop() == -signal.SIGTERM


def test_a_killed_master_takes_its_idle_children_with_it(serve, tmp_path):
    """A second after its SIGKILL no process is left; the next start clears up and serves."""
    path = tmp_path / "web.socket"
    text = web(listen=[f"unix://{path}"], children=4)
    server = serve(text)
    began = time.monotonic()
    server.signal(signal.SIGKILL)
    server.wait_gone()
    assert time.monotonic() - began < 1.0
    assert server.wait() == -signal.SIGKILL
    successor = serve(text)
    assert ask(successor).startswith(b"hello")
    assert successor.stop() == -signal.SIGTERM
    assert not path.exists()


def test_a_killed_master_takes_its_busy_children_within_the_stop_timeout(serve):
    """A child with a request in hand ends at its own deadline when nobody is left to kill it."""
    server = serve(web("handlers:gated", children=1), master={"stop_timeout": 0.3})
    with dial(server) as connection:
        line(connection)
        server.signal(signal.SIGKILL)
        server.wait_gone()


def test_a_killed_master_lets_a_request_in_hand_finish(serve):
    """The drain of an abandoned child is a drain like any other."""
    server = serve(web("handlers:gated", children=1))
    connection = dial(server)
    line(connection)
    server.signal(signal.SIGKILL)
    assert server.wait() == -signal.SIGKILL
    connection.sendall(b".")
    assert rest(connection) == b"done\n"
    server.wait_gone()


def release_orphan(server, master, connection, orphan):
    """Let the orphan of `handlers:orphan` exit 3, and wait until the master has seen to it.

    The master logs the statistics it was asked for after the death, so it has reaped by then.
    """
    ended = os.pidfd_open(orphan)
    connection.sendall(b".")
    server.wait_until(ended)
    os.close(ended)
    assert rest(connection) == b""
    before = len(server.log)
    os.kill(master, signal.SIGUSR1)
    server.wait_for(r"INFO master\[\d+\] statistics\b", since=before)
    assert not psutil.pid_exists(orphan)
    assert "server stopping" not in server.log


def test_an_adopted_orphan_that_fails_is_nobodys_business(serve):
    """The master reaps an orphan that exits 3, and goes on."""
    server = serve(web("handlers:orphan", children=2))
    children = server.children()
    connection = dial(server)
    orphan = int(line(connection).split()[1])
    assert psutil.Process(orphan).ppid() == server.pid
    release_orphan(server, server.pid, connection, orphan)
    assert server.children() == children
    assert server.stop() == -signal.SIGTERM


@pytest.mark.root
def test_as_pid_1_it_reaps_orphans_and_exits_143(launch):
    """As pid 1, where the kernel would ignore the signal, TERM ends it with 128 + 15."""
    namespace = ("unshare", "--pid", "--fork", "--mount-proc", "--kill-child")
    server = launch(web("handlers:orphan"), prefix=namespace)
    server.wait_for(r"server ready .*pid=1\b")
    (master,) = psutil.Process(server.pid).children()
    connection = dial(server)
    inner = line(connection).split()[1]
    (orphan,) = [child.pid for child in master.children() if inner_pid(child.pid) == inner]
    release_orphan(server, master.pid, connection, orphan)
    master.send_signal(signal.SIGTERM)
    assert server.wait() == 128 + signal.SIGTERM


def inner_pid(pid):
    """Return the pid that a process has in its own namespace."""
    status = Path(f"/proc/{pid}/status").read_text()
    return re.search(r"^NSpid:.*\t(\d+)$", status, re.MULTILINE)[1]


def test_a_calling_script_lives_and_sees_the_signal(run, tmp_path):
    """A shell script goes on after the server that it called died of TERM, with 143 in `$?`."""
    write(tmp_path, web())
    script = f'{SUPERVISOR} start -c test.toml; echo "script says $?" >&2'
    shell = run(["sh", "-c", script])
    pid = int(shell.wait_for(r"server ready .*pid=(\d+)")[0][1])
    os.kill(pid, signal.SIGTERM)
    assert shell.wait() == 0
    assert "script says 143" in shell.log


@pytest.mark.parametrize("closing", ["<&-", ">&-", "<&- >&-"])
def test_it_serves_with_standard_streams_closed(serve, closing):
    """A closed stdin or stdout is no reason to fail, and no socket takes its number."""
    server = serve(web(), prefix=("sh", "-c", f'exec "$@" {closing}', "sh"))
    for pid in [server.pid, *server.children().values()]:
        for number in (0, 1):
            assert not os.readlink(f"/proc/{pid}/fd/{number}").startswith("socket:")
    assert ask(server).startswith(b"hello")
    assert server.stop() == -signal.SIGTERM


def test_it_serves_with_stderr_closed(launch):
    """Without a log it serves all the same."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"tcp://127.0.0.1:{listener.getsockname()[1]}"
        server = launch(
            web(listen=[address]), prefix=("sh", "-c", 'exec "$@" 2>&-', "sh"), sockets=[listener]
        )
        assert rest(connect(address)).startswith(b"hello")
        assert server.stop() == -signal.SIGTERM


def test_a_log_reader_that_is_gone_ends_it(serve):
    """With the reader of its log gone, the next entry is its last: it dies of PIPE, cleanly."""
    server = serve(web())
    server.stop_reading()
    server.signal(signal.SIGUSR1)
    assert server.wait() == -signal.SIGPIPE


def test_in_a_pipeline_it_ends_with_its_reader(run, tmp_path):
    """`supervisor start 2>&1 | reader` dies of PIPE once the reader is gone; the shell lives."""
    write(tmp_path, web())
    script = (
        f"{SUPERVISOR} start -c test.toml 2>&1"
        " | { sed -u '/server ready/q'; exec <&-; echo the reader is gone; } >&2;"
        ' echo "pipeline says ${PIPESTATUS[0]}" >&2'
    )
    shell = run(["bash", "-c", script])
    ready, _ = shell.wait_for(r"server ready .*pid=(\d+)", "the reader is gone")
    os.kill(int(ready[1]), signal.SIGUSR1)
    assert shell.wait() == 0
    assert "pipeline says 141" in shell.log


def test_nothing_is_forked_with_dont_fork(serve):
    """`--dont-fork` serves the first section in the one process, and cleans up when told to end."""
    server = serve(hooks() + web(), arguments=["--dont-fork"])
    assert ask(server) == f"hello {server.pid}\n".encode()
    assert psutil.Process(server.pid).children() == []
    assert server.stop() == -signal.SIGTERM
    assert len(re.findall(r"^hook a destroy", server.log, re.MULTILINE)) == 1


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_dont_fork_cleans_up_in_the_handler(serve, number):
    """In the middle of a request that never ends, a signal ends it and removes its traces."""
    server = serve(hooks() + web("handlers:computing"), arguments=["--dont-fork"])
    with dial(server) as connection:
        line(connection)
        server.signal(number)
        assert server.wait() == -number
    assert "hook a destroy" in server.log


@pytest.mark.parametrize("text", [web("broken:serve"), hooks(init="fail") + web()])
def test_dont_fork_has_the_same_start_failures(launch, text):
    """Status 76 as with children, and no traceback but the user's own."""
    server = launch(text, arguments=["--dont-fork"])
    assert server.wait() == 76
    assert "supervisor: error: " in server.log


def test_dont_fork_leaves_stdin_to_the_user(serve):
    """A handler can read from standard input, so a debugger can be used."""
    reader, writer = os.pipe()
    server = serve(web("handlers:asking"), arguments=["--dont-fork"], stdin=reader)
    os.close(reader)
    os.write(writer, b"from stdin\n")
    assert ask(server) == b"from stdin\n"
    os.close(writer)
    assert server.stop() == -signal.SIGTERM


def test_it_needs_no_environment(serve):
    """Without a single variable it starts, serves and stops."""
    server = serve(web(), prefix=("env", "-i"))
    assert ask(server).startswith(b"hello")
    assert server.stop() == -signal.SIGTERM
