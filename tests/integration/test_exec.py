"""Other programs as children."""

import json
import os
import shutil
import signal
import sys
import urllib.request

import pytest

from tests.support.clients import ask, dial, endpoint, rest
from tests.support.configs import table, web
from tests.support.harness import DEADLINE, PROGRAMS

READY = "server ready "


def program(act="serve", *arguments, **values):
    """Return an `exec` section of one child that runs our test program as told."""
    command = [sys.executable, "-S", str(PROGRAMS / "program.py"), act, *arguments]
    values = {"type": "exec", "listen": ["tcp://127.0.0.1:0"], "command": command} | values
    return table("workers.web", **values)


def shell(script, **values):
    """Return an `exec` section that runs a shell script."""
    return table("workers.web", **{"type": "exec", "command": ["sh", "-c", script]} | values)


def get(server):
    """Return the body that the web server answers with."""
    host, port = endpoint(server.address())
    with urllib.request.urlopen(f"http://{host}:{port}/", timeout=DEADLINE) as response:
        return response.read().decode()


def grip(server, pid):
    """Return a descriptor that becomes readable when the process ends; the server closes it."""
    descriptor = os.pidfd_open(pid)
    server._open.append(descriptor)
    return descriptor


@pytest.mark.skipif(not shutil.which("node"), reason="needs node (Debian: nodejs)")
def test_a_node_server_serves_on_the_inherited_socket(serve):
    """Two node processes share descriptor 3; the program is the child itself."""
    command = ["node", str(PROGRAMS.parents[1] / "conf/examples/server.js"), "{fd}"]
    server = serve(program(command=command, children=2))
    assert int(get(server).split()[1]) in server.children().values()
    assert server.stop() == -signal.SIGTERM
    server.wait_for(r"child exited worker=web slot=0 .*(code=0|SIGTERM)")


def test_uvicorn_serves_on_the_inherited_socket(serve):
    """`uvicorn --fd {fd}`, ready when it hangs up on a first connection."""
    command = [sys.executable, "-m", "uvicorn", "--fd", "{fd}", "starlet:app"]
    server = serve(program(command=command, ready="listen"))
    assert get(server) == "hello from asgi"
    assert server.stop() == -signal.SIGTERM


@pytest.mark.skipif(not shutil.which("systemd-notify"), reason="needs systemd-notify")
def test_a_program_tells_itself_that_it_is_ready(serve):
    """READY=1 by the real systemd-notify, a grandchild; a status before it is logged."""
    server = serve(
        shell(
            "systemd-notify --status='nearly there' && echo up >&2 && systemd-notify --ready && "
            "exec sleep 1000",
            ready="notify",
            children=2,
        )
    )
    told = r'child says worker=web slot=1 status="nearly there"'
    server.wait_for(told)
    assert server.log.index("up\n") < server.log.index("child ready ")
    assert server.stop() == -signal.SIGTERM


def test_statuses_are_read_for_the_whole_life(serve):
    """A ready program that says more than a socket holds is not blocked."""
    server = serve(program("chatty", ready="notify"))
    server.wait_for("program has told", 'status="step 1999"')
    assert ask(server, b"x").startswith(b"program ")
    assert server.stop() == -signal.SIGTERM


def test_what_the_program_inherits(serve, tmp_path):
    """The sockets from 3 and nothing else, arguments and environment as asked for."""
    text = program(
        "facts",
        "{fd}",
        "slot-{slot}",
        "{other}",
        listen=["tcp://127.0.0.1:0", f"unix://{tmp_path}/sock"],
        env={"COLOUR": "blue"},
        working_directory=str(tmp_path),
    )
    server = serve(web(name="first") + text)
    (match,) = server.wait_for(r"program facts (.*) end pid=(\d+)")
    assert json.loads(match[1]) == {
        "arguments": ["3", "slot-2", "{other}"],
        "descriptors": [0, 1, 2, 3, 4],
        "directory": str(tmp_path),
        "own_group": False,
        "listen_pid_is_ours": True,
        "LISTEN_FDS": "2",
        "LISTEN_FDNAMES": "web:web",
        "COLOUR": "blue",
    }
    assert server.children()[2] == int(match[2])
    assert server.stop() == -signal.SIGTERM


def test_no_signal_is_blocked_or_ignored(serve):
    """The signals that the interpreter and our children ignore (PIPE, HUP) have their defaults."""
    server = serve(shell("grep -E '^Sig(Blk|Ign)' /proc/self/status >&2; exec sleep 1000"))
    masks = server.wait_for(r"SigBlk:\s+(\w+)", r"SigIgn:\s+(\w+)")
    ours_to_change = ~(1 << 31 | 1 << 32)  # 32 and 33 belong to the C library, signal(7)
    assert [int(mask[1], 16) & ours_to_change for mask in masks] == [0, 0]
    assert server.stop() == -signal.SIGTERM


def test_a_running_program_is_an_idle_child(serve):
    """Its row is written by the master: ready and idle."""
    server = serve(program() + web(name="other"))
    facts = server.stats()
    assert [child["state"] for child in facts["children"]] == ["idle"] * 3
    status = json.loads(server.command("status", "--json").stdout)
    assert (status["children"], status["ready_children"]) == (3, 3)
    assert server.stop() == -signal.SIGTERM


def test_a_program_that_stops_is_shown_so(serve):
    """While a deaf one has its grace, its state is stopping; a second TERM cuts it short."""
    server = serve(program("deaf"))
    server.wait_for("program serves")
    server.signal(signal.SIGTERM)
    server.wait_for("server stopping ")
    assert server.stats()["children"][0]["state"] == "stopping"
    assert server.stop() == -signal.SIGTERM
    server.wait_for("child killed .*reason=second-signal")


def test_listen_waits_until_the_program_accepts(launch, tmp_path):
    """A program that runs but does not accept yet is not ready."""
    gate = tmp_path / "gate"
    os.mkfifo(gate)
    server = launch(program("gated", str(gate), ready="listen"))
    server.wait_for("program waits")
    status = json.loads(server.command("status", "--json").stdout)
    assert (status["state"], status["ready_children"]) == ("starting", 0)
    gate.write_text("")
    server.wait_for(READY)
    assert server.log.index("program serves") < server.log.index(READY)
    assert server.stop() == -signal.SIGTERM


@pytest.mark.parametrize(
    ("values", "problem"),
    [
        ({"command": ["no-such-program"]}, "workers.web.command: no program 'no-such-program'"),
        ({"command": []}, "workers.web.command: "),
        ({"working_directory": "/no/such"}, "workers.web.working_directory: '/no/such'"),
        ({"ready": "listen", "children": 2}, "workers.web.ready: "),
        ({"ready": "listen", "listen": []}, "workers.web.ready: "),
        ({"stop_signal": "STOP"}, "workers.web.stop_signal: "),
    ],
)
def test_a_section_that_cannot_work_is_a_configuration_error(launch, values, problem):
    """Known before anything runs, and named by its key."""
    server = launch(program(**values))
    assert server.wait() == 78
    assert problem in server.log


def test_a_file_that_is_no_program_is_a_start_failure(launch, tmp_path):
    """A file that execve(2) refuses is told with its name and the reason."""
    file = tmp_path / "text"
    file.write_text("just text")
    file.chmod(0o755)
    server = launch(program(command=[str(file)]))
    assert server.wait() == 76
    assert f"cannot run '{file}': [Errno 8] Exec format error" in server.log


def test_a_program_that_exits_before_it_is_ready_is_a_start_failure(launch):
    """The status it left with is the cause."""
    server = launch(shell("exit 3", ready="notify"))
    assert server.wait() == 76
    server.wait_for("child died worker=web slot=0 .* cause=.exit 3.", "failed before it was ready")


def test_a_program_that_never_says_ready_is_a_start_failure(launch):
    """It ends at start_timeout, and that is the cause."""
    server = launch(shell("exec sleep 1000", ready="notify"), master={"start_timeout": 0.3})
    assert server.wait() == 76
    server.wait_for("cause=start_timeout")


def test_a_program_that_exits_takes_the_server_down(serve):
    """Its exit status is the cause, and the other sections end."""
    server = serve(program() + web(name="other"))
    assert rest_of(server, b"leave") == b""
    assert server.wait() == 70
    server.wait_for("child died worker=web slot=0 .* cause=.exit 3. .* state=idle")


def rest_of(server, data):
    """Send data, return what comes back until the program hangs up."""
    connection = dial(server)
    connection.sendall(data)
    return rest(connection)


def test_a_deaf_program_is_killed_at_the_deadline(serve):
    """One that ignores TERM and closed its stdout goes by SIGKILL, and that is logged."""
    server = serve(program("deaf"), master={"stop_timeout": 0.3})
    server.wait_for("program serves")
    gone = grip(server, server.children()[0])
    assert server.stop() == -signal.SIGTERM
    server.wait_for("child killed worker=web slot=0 .*reason=stop-timeout")
    server.wait_until(gone)


def test_a_daemon_of_the_program_does_not_outlive_the_server(serve):
    """The whole tree is gone, what forked twice and ignores TERM included."""
    server = serve(program("daemon"))
    (match,) = server.wait_for(r"program daemon pid=(\d+)")
    gone = grip(server, int(match[1]))
    assert server.stop() == -signal.SIGTERM
    server.wait_until(gone)
    server.wait_for("left process killed ")


def test_stop_signal_is_what_the_program_gets(serve):
    """With a signal of its own, and the group's TERM kept away from it."""
    server = serve(program("interrupted", stop_signal="USR2"))
    server.wait_for("program serves")
    pid = server.children()[0]
    assert os.getpgid(pid) == pid
    assert server.stop() == -signal.SIGTERM
    server.wait_for("program leaves", "child exited worker=web slot=0 .*code=0")
    assert "got TERM" not in server.log


@pytest.mark.parametrize("values", [{}, {"stop_signal": "USR2"}])
def test_a_program_ends_with_a_killed_master(serve, values):
    """The kernel sends the stop signal when the master is gone."""
    server = serve(program("interrupted" if values else "serve", **values))
    server.wait_for("program serves")
    server.signal(signal.SIGKILL)
    server.wait_gone()


def test_a_program_restarts_on_the_same_socket(serve):
    """With restart = "on-crash" the next generation's program accepts what waited."""
    server = serve(program(), master={"restart": "on-crash"})
    first = ask(server, b"x")
    rest_of(server, b"leave")
    assert ask(server, b"x") != first
    server.wait_for("server ready .*generation=2")
    assert server.stop() == -signal.SIGTERM


def test_dont_fork_refuses_it(launch):
    """The master would be gone: one line says so."""
    server = launch(program(), arguments=["--dont-fork"])
    assert server.wait() == 76
    server.wait_for("supervisor: error: workers.web: type 'exec' does not run with --dont-fork")
