"""`start --daemon`: the shell waits for the truth, and nothing of it stays behind."""

import os
import re
import signal
import socket

import pytest

from tests.support.clients import connect, rest
from tests.support.configs import job, table, web, write
from tests.support.harness import SUPERVISOR, supervisor


@pytest.fixture
def daemon(tmp_path):
    """Start a daemon on a configuration, and stop it at the end; returns the launcher's result."""
    files = []

    def start(text, **master):
        files.append(write(tmp_path, text, **master))
        return files[-1], supervisor("start", "-c", str(files[-1]), "--daemon", cwd=tmp_path)

    yield start
    for file in files:
        assert supervisor("stop", "-c", str(file)).returncode == 0


def pid_of(file):
    """Return the master's pid, by the runtime directory."""
    return int((file.with_suffix(".run") / "pid").read_text())


def test_the_shell_gets_0_once_it_serves(daemon, tmp_path):
    """The launcher returns with every child ready, and its pipes are closed: `... | cat` ends."""
    log = tmp_path / "log"
    file, started = daemon(table("log", file=str(log)) + web())
    assert (started.returncode, started.stdout, started.stderr) == (0, "", "")
    assert supervisor("status", "-c", str(file)).returncode == 0
    text = log.read_text()
    address = re.findall(r"listening worker=web address=(\S+)", text)[0]
    assert len(re.findall("child ready", text)) == 2
    assert rest(connect(address)).startswith(b"hello")


def test_it_leads_a_session_and_keeps_nothing_of_the_shell(daemon, tmp_path):
    """Own session, no terminal; stdin is /dev/null, stdout and stderr the log, in every process."""
    log = tmp_path / "log"
    file, _ = daemon(table("log", file=str(log)) + web())
    master = pid_of(file)
    assert os.getsid(master) == master
    children = [int(pid) for pid in re.findall(r"child ready.* pid=(\d+)", log.read_text())]
    assert len(children) == 2
    for pid in (master, *children):
        targets = [os.readlink(f"/proc/{pid}/fd/{number}") for number in range(3)]
        assert targets == ["/dev/null", str(log), str(log)]


def test_without_a_log_file_it_says_what_is_lost(daemon):
    """The start is told on the shell's stderr, with a warning; after it all goes to /dev/null."""
    file, started = daemon(web())
    assert started.returncode == 0
    assert re.search("WARNING .*log.file is empty", started.stderr)
    assert "server ready" in started.stderr
    assert os.readlink(f"/proc/{pid_of(file)}/fd/2") == "/dev/null"


FAILURES = {
    "init fails": (job(init="fail") + web(), 76, "told to fail"),
    "wrong key": (web(colour="red"), 78, "workers.web.colour"),
    "crash of the code": (web("broken:serve"), 76, "this program is broken"),
}


@pytest.mark.parametrize("case", FAILURES)
def test_a_failed_start_is_the_shells(tmp_path, case):
    """The same status and the same line on stderr as in the foreground."""
    text, status, reason = FAILURES[case]
    file = write(tmp_path, text)
    done = supervisor("start", "-c", str(file), "--daemon")
    assert done.returncode == status
    assert re.search(f"^supervisor: error: .*{reason}", done.stderr, re.MULTILINE)
    assert supervisor("status", "-c", str(file)).returncode == 3


def test_a_port_in_use_is_the_shells_to_know(tmp_path):
    """Status 69, also under --daemon."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        address = f"tcp://127.0.0.1:{other.getsockname()[1]}"
        file = write(tmp_path, web(listen=[address]))
        done = supervisor("start", "-c", str(file), "--daemon")
    assert done.returncode == 69
    assert address in done.stderr


def test_a_second_one_is_refused(daemon):
    """Status 75, and the pid of the first."""
    file, _ = daemon(web())
    done = supervisor("start", "-c", str(file), "--daemon")
    assert done.returncode == 75
    assert str(pid_of(file)) in done.stderr


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_a_signal_to_the_launcher_ends_the_start(run, tmp_path, number):
    """Ctrl-C at a start that hangs: the server is told, and the shell sees the signal."""
    file = write(tmp_path, job(init="hang"), stop_timeout=0.3)
    launcher = run([SUPERVISOR, "start", "-c", str(file), "--daemon"])
    launcher.wait_for("listening|importing|privileges|worker preload")
    launcher.signal(number)
    assert launcher.wait() == -number
    launcher.wait_gone()


def test_it_restarts_in_the_background(daemon, tmp_path):
    """A later generation is as detached as the first, and told to nobody."""
    log = tmp_path / "log"
    file, _ = daemon(table("log", file=str(log)) + web(), restart="on-crash")
    first = int(re.findall(r"child ready.* pid=(\d+)", log.read_text())[0])
    os.kill(first, signal.SIGKILL)
    address = re.findall(r"listening worker=web address=(\S+)", log.read_text())[0]
    assert rest(connect(address)).startswith(b"hello")
    assert supervisor("stop", "-c", str(file)).returncode == 0
    assert "left process killed" not in log.read_text()


def test_it_does_not_go_with_dont_fork(tmp_path):
    """The two exclude each other: a wrong command line."""
    file = write(tmp_path, web())
    assert supervisor("start", "-c", str(file), "--daemon", "--dont-fork").returncode == 2
