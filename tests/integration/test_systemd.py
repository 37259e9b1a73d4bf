"""The units as shipped, on a real systemd in a container."""

import contextlib
import json
import os
import re
import signal
import subprocess
import sys
from pathlib import Path

import psutil
import pytest

from tests.support.configs import table
from tests.support.container import COMMAND, SOURCES, UNITS, Machine, NotBooted, mounted, why_not
from tests.support.harness import DEADLINE, PROGRAMS

pytestmark = pytest.mark.systemd

ECHO_PORT = 7000
PROC = Path("/proc")
DEFAULT = (SOURCES / "conf/supervisor.toml").read_text().replace('restart = "on-crash"\n', "")
INSIDE = "/opt/supervisor/src/tests/programs"
GATED = DEFAULT.replace(
    "[master]\n", table("master", working_directory=INSIDE, start_timeout=60.0)
) + table("workers.gate", type="gates:Gate", fifo="/opt/supervisor/gate")

CODE = """
def version(connection, address):
    connection.sendall(b"{version}")

def echo(connection, address):
    while data := connection.recv(64):
        connection.sendall(data)
"""
CONFIG = "/etc/supervisor/supervisor.toml"
VERSIONS = table("master", working_directory="/opt/supervisor/app") + "".join(
    table(f"workers.{name}", type="tcp", listen=[address], children=2, handler=f"mine:{name}")
    for name, address in (("version", "tcp://127.0.0.1:8000"), ("echo", "tcp://127.0.0.1:7000"))
)


@contextlib.contextmanager
def booted(directory):
    """Yield a running machine, or skip with the reason why there is none."""
    reason = why_not()
    if reason:
        pytest.skip(reason)
    with contextlib.ExitStack() as stack:
        try:
            root = stack.enter_context(mounted(directory))
        except subprocess.CalledProcessError as error:
            pytest.skip(f"no overlay of / can be mounted: {error.stderr.strip()}")
        try:
            machine = Machine(root, directory)
        except NotBooted as error:
            pytest.skip(f"systemd-nspawn cannot boot a container: {error}")
        stack.callback(machine.close)
        yield machine


@pytest.fixture(scope="module")
def container(tmp_path_factory):
    """One machine for all tests of this file."""
    with booted(tmp_path_factory.mktemp("machine")) as machine:
        yield machine


@pytest.fixture
def machine(container):
    """The machine, with nothing of ours running; its journal is shown if the test fails."""
    yield container
    print(container.journal("-o", "short-precise"))
    container.reset()


def asking(machine):
    """Start clients that ask without a pause, and return them once they have been answered."""
    reader, writer = os.pipe()
    client = machine.client(
        sys.executable, str(PROGRAMS / "asking.py"), str(ECHO_PORT), stdin=reader
    )
    os.close(reader)
    client.wait_for("^answered")
    return client, writer


def outcome(client, writer):
    """Let the clients end, and return (how many connections, how many of them failed)."""
    os.close(writer)
    asked, failed = client.wait_for(r"^asked (\d+) failed (\d+)")[0].groups()
    return int(asked), int(failed)


def test_start_returns_when_every_child_is_ready(machine):
    """`systemctl start` waits for the last child's init, and not a moment less."""
    fifo = machine.root / "opt/supervisor/gate"
    os.mkfifo(fifo)
    fifo.chmod(0o666)
    machine.install(GATED)
    log = machine.follow()
    with subprocess.Popen(machine.enter("systemctl", "start", "supervisor")) as start:
        log.wait_for("worker waits")
        assert machine.show("ActiveState")["ActiveState"] == "activating"
        assert start.poll() is None
        (child,) = [p for p in machine.pids() if "gate" in psutil.Process(p).cmdline()[0]]
        with open(f"/proc/{child}/root/opt/supervisor/gate", "w"):
            pass
        assert start.wait(DEADLINE) == 0
    facts = machine.show("ActiveState", "StatusText")
    assert facts == {"ActiveState": "active", "StatusText": "running: 5 children"}


def test_it_serves_as_a_user_of_its_own(machine):
    """DynamicUser=yes works: no process is root, none has a capability, `status` sees it."""
    machine.install(DEFAULT)
    machine.systemctl("start", "supervisor")
    pids = machine.pids()
    assert len(pids) == 6  # the master, four children, the guard
    for pid in pids:
        process = psutil.Process(pid)
        assert process.uids().real > 0
        assert re.search(r"CapEff:\s+0+\n", (PROC / str(pid) / "status").read_text())
    config = "/etc/supervisor/supervisor.toml"
    status = json.loads(machine.run(COMMAND, "status", "--json", "-c", config).stdout)
    assert (status["running"], status["ready_children"]) == (True, 4)


def test_stop_leaves_no_process_in_the_cgroup(machine):
    """`systemctl stop` ends all, in order: no SIGKILL, result success."""
    machine.install(DEFAULT)
    machine.systemctl("start", "supervisor")
    group = machine.show("ControlGroup")["ControlGroup"]
    pids = machine.pids()
    machine.systemctl("stop", "supervisor")
    assert group
    assert not any(psutil.pid_exists(pid) for pid in pids)
    assert machine.pids() == []
    facts = machine.show("Result", "ExecMainStatus", "ExecMainCode")
    assert facts == {"Result": "success", "ExecMainStatus": "15", "ExecMainCode": "2"}
    assert "server stopped status=SIGTERM" in machine.journal("-o", "cat")
    assert not (machine.root / "run/supervisor").exists()


def test_a_wrong_configuration_is_not_tried_again(machine):
    """Status 78, the line that says why, and no restart."""
    machine.install(DEFAULT + "\n[workers.other]\ntype = 'tpc'\n")
    machine.systemctl("start", "supervisor", status=1)
    facts = machine.show("ExecMainStatus", "NRestarts", "ActiveState")
    assert facts == {"ExecMainStatus": "78", "NRestarts": "0", "ActiveState": "failed"}
    assert "workers.other.type: 'tpc'" in machine.journal("-o", "cat", "-p", "err")


def test_a_crash_tells_its_status(machine):
    """A child killed from outside ends the unit with status 70."""
    machine.install(DEFAULT, "[Service]\nRestart=no\n")
    machine.systemctl("start", "supervisor")
    log = machine.follow()
    os.kill(machine.pids()[1], signal.SIGKILL)
    log.wait_for("Failed with result 'exit-code'")
    facts = machine.show("ExecMainStatus", "Result")
    assert facts == {"ExecMainStatus": "70", "Result": "exit-code"}


def test_after_a_crash_it_is_back_and_nobody_was_refused(machine):
    """SIGKILL of an idle child under load: new pids by themselves, and every client answered."""
    machine.install(DEFAULT)
    machine.systemctl("start", "supervisor")
    before = machine.pids()
    web = [pid for pid in before if " web[" in psutil.Process(pid).cmdline()[0]]
    log = machine.follow()
    client, writer = asking(machine)
    os.kill(web[0], signal.SIGKILL)
    log.wait_for("server stopped status=70", "Scheduled restart job", "server ready ")
    asked, failed = outcome(client, writer)
    assert machine.show("NRestarts")["NRestarts"] == "1"
    assert not set(before) & set(machine.pids())
    assert failed == 0, client.log
    assert asked > 0


def test_restart_under_load_refuses_nobody(machine):
    """`systemctl restart`, three times, with the socket unit: every connection is answered."""
    machine.install(DEFAULT)
    machine.systemctl("start", "supervisor")
    client, writer = asking(machine)
    for _ in range(3):
        machine.systemctl("restart", "supervisor")
    asked, failed = outcome(client, writer)
    assert failed == 0, client.log
    assert asked > 0
    machine.systemctl("reset-failed", "supervisor")


def ship(machine, code):
    """Put other code into the place of the server's."""
    machine.write("/opt/supervisor/app/mine.py", code)


def without_socket(machine):
    """Install the service as `unit` makes it for a server that binds its own ports."""
    service = SOURCES / "conf/systemd/supervisor.service"
    lines = [one for one in service.read_text().splitlines() if "supervisor.socket" not in one]
    machine.write(f"{UNITS}/supervisor.service", "\n".join(lines))
    machine.systemctl("daemon-reload")


def served(machine):
    """Return (the version that answers, systemd's main process, ours)."""
    answer = machine.run("bash", "-c", "cat < /dev/tcp/127.0.0.1/8000").stdout
    status = json.loads(machine.run(COMMAND, "status", "--json", "-c", CONFIG).stdout)
    return answer, int(machine.show("MainPID")["MainPID"]), status["pid"]


@pytest.mark.parametrize("has_socket", [True, False])
def test_reload_under_load(machine, has_socket):
    """Each new version is the main process, its code serves, the unit stays active, and every
    connection is answered; `systemctl stop` ends all.
    """
    ship(machine, CODE.format(version="version 0"))
    machine.install(VERSIONS)
    if not has_socket:
        without_socket(machine)
    machine.systemctl("start", "supervisor")
    client, writer = asking(machine)
    mains = [served(machine)[1]]
    for number in range(1, 4):
        ship(machine, CODE.format(version=f"version {number}"))
        machine.systemctl("reload", "supervisor")
        version, main, ours = served(machine)
        assert (version, main) == (f"version {number}", ours)
        mains.append(main)
    assert len(set(mains)) == 4
    assert machine.show("ActiveState", "SubState", "NRestarts") == {
        "ActiveState": "active",
        "SubState": "running",
        "NRestarts": "0",
    }
    asked, failed = outcome(client, writer)
    assert failed == 0, client.log
    assert asked > 0
    machine.systemctl("stop", "supervisor")
    assert machine.pids() == []
    assert machine.show("Result")["Result"] == "success"
    assert not (machine.root / "run/supervisor").exists()


@pytest.mark.parametrize("has_socket", [True, False])
def test_reload_of_broken_code_changes_nothing(machine, has_socket):
    """`systemctl reload` fails, the journal says why, the old version serves everybody; mended
    code follows it.
    """
    ship(machine, CODE.format(version="old"))
    machine.install(VERSIONS)
    if not has_socket:
        without_socket(machine)
    machine.systemctl("start", "supervisor")
    before = served(machine)
    client, writer = asking(machine)
    ship(machine, "1 / 0")
    machine.systemctl("reload", "supervisor", status=1)
    assert served(machine) == before
    assert machine.show("ActiveState")["ActiveState"] == "active"
    assert "ZeroDivisionError" in machine.journal("-o", "cat", "-p", "err")
    ship(machine, CODE.format(version="mended"))
    machine.systemctl("reload", "supervisor")
    version, main, ours = served(machine)
    assert (version, main) == ("mended", ours)
    asked, failed = outcome(client, writer)
    assert failed == 0, client.log
    assert asked > 0
    machine.systemctl("stop", "supervisor")
    assert machine.pids() == []


def test_a_crash_after_a_reload_is_the_units(machine):
    """The status is that of the successor, and systemd starts it again."""
    ship(machine, CODE.format(version="old"))
    machine.install(VERSIONS)
    machine.systemctl("start", "supervisor")
    machine.systemctl("reload", "supervisor")
    log = machine.follow()
    (victim, *_) = [pid for pid in machine.pids() if "echo[" in psutil.Process(pid).cmdline()[0]]
    os.kill(victim, signal.SIGKILL)
    log.wait_for("server stopped status=70", "Scheduled restart job", "server ready ")
    assert machine.show("NRestarts")["NRestarts"] == "1"


def test_the_first_connection_starts_it(machine):
    """With the socket unit alone, a client brings the service up and is answered."""
    machine.install(DEFAULT)
    machine.systemctl("start", "supervisor.socket")
    assert machine.show("ActiveState")["ActiveState"] == "inactive"
    client, writer = asking(machine)
    assert outcome(client, writer)[1] == 0
    machine.systemctl("start", "supervisor")  # a child may answer before all are ready
    assert machine.show("ActiveState", "NRestarts") == {"ActiveState": "active", "NRestarts": "0"}


def test_a_stuck_master_is_restarted_by_the_watchdog(machine):
    """With WatchdogSec, a master that is stopped is replaced."""
    machine.install(DEFAULT, "[Service]\nWatchdogSec=1\nTimeoutAbortSec=1\n")
    machine.systemctl("start", "supervisor")
    before = machine.pids()
    log = machine.follow()
    os.kill(before[0], signal.SIGSTOP)
    log.wait_for("Watchdog timeout", "server ready ")
    assert machine.show("NRestarts")["NRestarts"] == "1"
    assert not set(before) & set(machine.pids())


def test_statistics_are_one_entry_of_the_journal(machine):
    """USR1: the whole table in one entry, with its priority, without a second timestamp."""
    machine.install(DEFAULT)
    machine.systemctl("start", "supervisor")
    log = machine.follow()
    os.kill(machine.pids()[0], signal.SIGUSR1)
    log.wait_for("statistics", "last|echo.*7000")
    lines = machine.journal("-o", "json").splitlines()
    entries = [json.loads(line) for line in lines]
    (found,) = [e for e in entries if str(e["MESSAGE"]).startswith("master statistics\n")]
    assert "tcp://127.0.0.1:8000" in found["MESSAGE"]
    assert "tcp://127.0.0.1:7000" in found["MESSAGE"]
    assert (found["PRIORITY"], found["SYSLOG_IDENTIFIER"]) == ("6", "supervisor")
    assert not re.search(r"\d{4}-\d\d-\d\dT", found["MESSAGE"])


def test_switching_the_machine_off_stops_it_in_order(tmp_path):
    """`systemctl poweroff`: a clean stop, long before any timeout."""
    with booted(tmp_path) as machine:
        machine.install(DEFAULT)
        machine.systemctl("start", "supervisor")
        machine.run("systemctl", "poweroff")
        machine.nspawn.wait()
        directory = str(machine.root / "var/log/journal")
        log = subprocess.run(
            ["journalctl", "-D", directory, "-u", "supervisor", "-o", "cat"],
            capture_output=True,
            text=True,
            check=True,
        ).stdout
    assert "server stopped status=SIGTERM" in log
    assert "timed out" not in log
