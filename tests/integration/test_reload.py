"""`supervisor reload`: a new version is a new master, which proves itself before it takes over."""

import contextlib
import os
import re
import signal
import socket
import subprocess
import threading
from pathlib import Path

import psutil
import pytest

from tests.support.clients import ask, connect, dial, line, rest
from tests.support.configs import hooks, job, table, web, write
from tests.support.harness import DEADLINE, SUPERVISOR, environment, supervisor

CODE = """
def serve(connection, address):
    connection.sendall(b"{version}\\n")

def app(environ, start_response):
    start_response("200 OK", [("Content-Length", "{length}")])
    return [b"{version}"]

def tick(child):
    pass
"""
GATES = {"listen": ["tcp://127.0.0.1:0"]}


def ship(directory, version):
    """Write the code of a version. Bytecode is kept by size and second: each has one of its own."""
    text = CODE.format(version=version, length=len(version))
    file, beside = directory / "mine.py", directory / "mine.new"
    at = file.stat().st_mtime + 10 if file.exists() else 1_700_000_000
    beside.write_text(text)
    os.utime(beside, (at, at))
    beside.replace(file)


@pytest.fixture
def deploy(serve, tmp_path):
    """Start a server on code of version `one`; `text` is its configuration."""

    def start(text=None, **options):
        ship(tmp_path, "one")
        master = {"working_directory": str(tmp_path)} | options.pop("master", {})
        return serve(text or web("mine:serve"), master=master, **options)

    return start


def reload(server, *arguments):
    """Reload, which has to succeed."""
    done = server.command("reload", *arguments)
    assert (done.returncode, done.stderr) == (0, ""), done
    return done.stdout


def serving(server):
    """Return the pid of the master that serves."""
    return server.stats()["pid"]


def test_new_code_is_served_by_a_new_master(deploy, tmp_path):
    """Both say so in the log; the generation counts on, and the uptime."""
    server = deploy()
    assert ask(server) == b"one\n"
    ship(tmp_path, "two")
    assert re.fullmatch(r"test reloaded, pid \d+\n", reload(server))
    server.wait_for("reload begun successor=", "reloaded successor=", "server taken over ")
    assert ask(server) == b"two\n"
    facts = server.stats()
    assert facts["generation"] == 2
    assert facts["pid"] != server.pid
    assert facts["pid"] == int((server.runtime / "pid").read_text())
    server.wait_for("generation gone generation=1")
    assert server.stop() == -signal.SIGTERM
    server.wait_gone()


def test_a_version_may_follow_another(deploy, tmp_path):
    """Each successor can be a predecessor, however many have been before."""
    server = deploy()
    for number in range(2, 6):
        ship(tmp_path, f"version {number}")
        reload(server)
        assert ask(server) == f"version {number}\n".encode()
        assert server.stats()["generation"] == number
    assert server.command("stop").returncode == 0
    assert server.wait() == -signal.SIGTERM


def children_of(pid):
    """Return the pids of its children."""
    return {one.pid for one in psutil.Process(pid).children()}


def as_parent(server):
    """Wait until the first master has become the parent of all, and sleeps."""
    server.wait_for("generation gone generation=1")
    while "/dev/fd/" not in Path(f"/proc/{server.pid}/cmdline").read_text():
        server.command("status")


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGPWR])
def test_the_first_process_stays_and_ends_as_the_last_one_does(deploy, number):
    """It is the only parent, passes signals on, and its status is that of the server."""
    server = deploy()
    reload(server)
    reload(server)
    as_parent(server)
    server.wait_for("generation gone generation=2")
    assert serving(server) in children_of(server.pid)
    server.signal(signal.SIGUSR1)
    server.wait_for(rf"INFO master\[{serving(server)}\] statistics")
    server.signal(number)
    assert server.wait() == -number
    server.wait_gone()


def start_again(server, run):
    """The next start works, and clears what a killed master has left."""
    again = run([SUPERVISOR, "start", "-c", str(server.config)])
    again.wait_for("server ready ")
    again.signal(signal.SIGTERM)
    assert again.wait() == -signal.SIGTERM
    assert not list(server.runtime.iterdir())


def test_a_server_that_was_killed_is_70(deploy, run):
    """No process of it is left when the first one ends, and the next start works."""
    server = deploy()
    reload(server)
    as_parent(server)
    os.kill(serving(server), signal.SIGKILL)
    assert server.wait() == 70
    server.wait_gone()
    start_again(server, run)


def test_a_crash_after_a_reload_is_70(deploy):
    """The status of the last master is that of all."""
    server = deploy()
    reload(server)
    as_parent(server)
    os.kill(server.children()[0], signal.SIGKILL)
    assert server.wait() == 70
    server.wait_gone()


def test_the_first_process_does_not_outlive_its_waiter_unnoticed(deploy):
    """SIGKILL of the process that stays ends the server, in order."""
    server = deploy()
    reload(server)
    as_parent(server)
    server.signal(signal.SIGKILL)
    server.wait()
    server.wait_for("first master gone ", "server stopped status=SIGTERM")
    server.wait_gone()


def broken(text="", **master):
    """Return what breaks a configuration by writing another."""

    def breaks(server, directory):
        base = {"working_directory": str(directory)} | master
        write(directory, text or web("mine:serve"), **base)

    return breaks


def broken_code(text):
    """Return what breaks the code."""
    return lambda _, directory: (directory / "mine.py").write_text(text)


def broken_toml(server, directory):
    """Leave a line that is no TOML behind all others."""
    server.config.write_text(server.config.read_text() + "\n[workers.web\n")


ACTS = str(Path(__file__).parents[1] / "programs")
STAGES = {
    "toml": (broken_toml, 78, "line "),
    "key": (broken(web("mine:serve", chidren=3)), 78, "did you mean 'children'"),
    "name": (broken(web("mine:other")), 78, "mine:other"),
    "import": (broken_code("1 / 0"), 76, "ZeroDivisionError: division by zero ("),
    "factory": (
        broken(web("", type="wsgi", app="mine:missing", factory=True)),
        78,
        "missing",
    ),
    "init": (broken(web("mine:serve") + job(init="fail"), preload=["acts"]), 76, "told to fail"),
    "death": (broken(web("mine:serve") + job(init="exit")), 76, "before it was ready"),
    "timeout": (
        broken(web("mine:serve") + job(init="hang"), start_timeout=0.3),
        76,
        "start_timeout",
    ),
    "module": (broken(web("mine:serve") + hooks(init="fail")), 76, "modules.a: init failed"),
}


@pytest.mark.parametrize("stage", STAGES)
def test_what_is_broken_changes_nothing(deploy, tmp_path, stage):
    """The status is that of a start, the line says why, the old one serves; then it works again.
    The traceback of user code is in the log.
    """
    server = deploy(extra={"PYTHONPATH": ACTS})
    before = server.stats()
    good = server.config.read_text()
    breaks, status, said = STAGES[stage]
    breaks(server, tmp_path)
    done = server.command("reload")
    assert (done.returncode, done.stdout) == (status, ""), done.stderr
    assert said in done.stderr
    server.config.write_text(good)
    ship(tmp_path, "one")
    server.wait_for("reload failed status=")
    assert ("Traceback" in server.log) == (stage in ("import", "init", "module"))
    assert said in server.command("why").stdout
    assert ask(server) == b"one\n"
    assert server.stats()["pid"] == before["pid"]
    reload(server)
    assert ask(server) == b"one\n"
    assert server.stop() == -signal.SIGTERM
    server.wait_gone()


def test_a_port_that_is_taken_changes_nothing(deploy, tmp_path):
    """69; a listener that is new is bound by the successor."""
    server = deploy()
    with contextlib.closing(socket.create_server(("127.0.0.1", 0))) as taken:
        more = web("mine:serve", name="more", listen=[f"tcp://127.0.0.1:{taken.getsockname()[1]}"])
        write(tmp_path, web("mine:serve") + more, working_directory=str(tmp_path))
        assert server.command("reload").returncode == 69
    reload(server)
    server.wait_for("listening worker=more")
    assert ask(server, section="more") == b"one\n"
    assert server.stop() == -signal.SIGTERM


def test_another_name_or_runtime_directory_is_refused(deploy, tmp_path):
    """78: who looks for the server would not find it any more."""
    server = deploy()
    good = server.config.read_text()
    for change in (('name = "test"', 'name = "other"'), ("test.run", "other.run")):
        server.config.write_text(good.replace(*change))
        where = environment({"RUNTIME_DIRECTORY": str(server.runtime)})
        done = supervisor("reload", "--name", "test", env=where)
        assert done.returncode == 78
        assert "stop the server and start it" in done.stderr
    server.config.write_text(good)
    assert server.stop() == -signal.SIGTERM


def test_without_a_server_it_is_3(tmp_path):
    """There is nothing to reload."""
    done = supervisor("reload", "-c", str(write(tmp_path, web())))
    assert (done.returncode, done.stderr) == (3, "supervisor: error: test is not running\n")


def test_a_setting_holds_for_what_follows(deploy):
    """More children and back, and a reload without a word keeps what was said last."""
    server = deploy()
    for arguments, count in (
        (("--set", "workers.web.children=5"), 5),
        ((), 5),
        (("--set", "workers.web.children=1"), 1),
    ):
        reload(server, *arguments)
        assert len(server.stats()["children"]) == count
    assert server.stop() == -signal.SIGTERM


def test_one_at_a_time(deploy):
    """A second reload is 75; the first one is not disturbed, and `status` sees the old one."""
    server = deploy()
    first = server.pid
    command = [SUPERVISOR, "reload", "-c", str(server.config), "--probation", "3600"]
    with subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True) as one:
        server.wait_for("successor ready ")
        done = server.command("reload")
        assert done.returncode == 75
        assert "under way" in done.stderr
        assert serving(server) == first
        assert server.command("stop").returncode == 0
        assert one.wait(DEADLINE) == 3
        assert "stopped meanwhile" in one.stderr.read()
    assert server.wait() == -signal.SIGTERM
    server.wait_gone()


def successor_of(server):
    """Return the pid of the successor that was begun last."""
    return int(re.findall(r"reload begun successor=(\d+)", server.log)[-1])


def on_probation(server):
    """Begin a reload that stays on probation; return the command."""
    since = len(server.log)
    command = [SUPERVISOR, "reload", "-c", str(server.config), "--probation", "3600"]
    one = subprocess.Popen(command, env=environment(), stderr=subprocess.PIPE, text=True)
    server.wait_for("successor ready ", since=since)
    return one


@pytest.mark.parametrize("victim", ["child", "master"])
def test_a_death_in_the_probation_is_70(deploy, victim):
    """Of a child or of the successor itself; the predecessor goes on."""
    server = deploy()
    with on_probation(server) as one:
        pid = successor_of(server)
        os.kill(min(children_of(pid)) if victim == "child" else pid, signal.SIGKILL)
        assert one.wait(DEADLINE) == 70
    assert serving(server) == server.pid
    assert ask(server) == b"one\n"
    reload(server)
    assert server.stop() == -signal.SIGTERM
    server.wait_gone()


def test_a_client_that_is_killed_changes_nothing(deploy, tmp_path):
    """The reload goes on."""
    server = deploy()
    ship(tmp_path, "two")
    command = [SUPERVISOR, "reload", "-c", str(server.config)]
    with subprocess.Popen(command, env=environment()) as one:
        server.wait_for("reload begun ")
        one.kill()
    server.wait_for("server taken over ", "generation gone generation=1")
    assert server.stop() == -signal.SIGTERM


def test_a_killed_predecessor_takes_its_successor_along(deploy, run):
    """On probation it serves, but it is not the server; nothing is left, and a start works."""
    server = deploy()
    with on_probation(server):
        server.signal(signal.SIGKILL)
        server.wait()
        server.wait_gone()
    assert server.command("status").returncode == 3
    start_again(server, run)


def test_unix_paths_are_never_missing(deploy, tmp_path):
    """The file is the same one, and goes with the last master."""
    path = tmp_path / "web.sock"
    server = deploy(web("mine:serve", listen=[f"unix://{path}"]))
    inode = path.stat().st_ino
    for _ in range(3):
        reload(server)
        assert rest(connect(f"unix://{path}")) == b"one\n"
    server.wait_for("generation gone generation=3")
    assert path.stat().st_ino == inode
    assert server.stop() == -signal.SIGTERM
    assert not path.exists()


def test_a_daemon_is_followed_by_a_daemon(tmp_path):
    """The predecessor leaves."""
    ship(tmp_path, "one")
    log = tmp_path / "log"
    file = write(
        tmp_path, web("mine:serve") + table("log", file=str(log)), working_directory=str(tmp_path)
    )
    assert supervisor("start", "-c", str(file), "--daemon").returncode == 0
    try:
        first = psutil.Process(int((tmp_path / "test.run/pid").read_text()))
        assert supervisor("reload", "-c", str(file)).returncode == 0
        first.wait(DEADLINE)
        second = int((tmp_path / "test.run/pid").read_text())
        assert second != first.pid
        assert supervisor("status", "-c", str(file)).returncode == 0
    finally:
        assert supervisor("stop", "-c", str(file)).returncode == 0
    assert not (tmp_path / "test.run").exists()


def test_an_exclusive_module_is_refused(serve):
    """78, at once where the server has one."""
    server = serve(web() + table("modules.alone", type="hooks:Alone", label="a"))
    done = server.command("reload")
    assert done.returncode == 78
    assert "exclusive" in done.stderr
    assert server.stop() == -signal.SIGTERM


def test_exclusive_children_follow_when_their_predecessors_are_gone(deploy):
    """Never two of them at the same time."""
    text = web("mine:serve") + table("workers.jobs", type="task", run="mine:tick", every=3600.0)
    server = deploy(text, extra={"PYTHONPATH": ACTS})
    reload(server)
    server.wait_for(r"child ready worker=jobs slot=2 generation=2")
    gone = server.log.index("child exited worker=jobs slot=2 generation=1")
    assert gone < server.log.index("child ready worker=jobs slot=2 generation=2")
    assert server.stop() == -signal.SIGTERM


def test_kept_requests_end_as_they_would_have(deploy):
    """A request in hand is answered by the old code; who drains is named in `draining`."""
    server = deploy(web("handlers:gated"), master={"working_directory": ACTS})
    held = dial(server)
    line(held)
    reload(server)
    (drain,) = server.stats()["draining"]
    assert drain == {"generation": 1, "pid": server.pid, "active": 1}
    held.sendall(b".")
    assert rest(held) == b"done\n"
    server.wait_for("generation gone generation=1")
    assert server.stop() == -signal.SIGTERM


def test_nobody_is_refused(deploy, tmp_path):
    """Fresh and kept connections at work while versions follow each other."""
    server = deploy(web("", type="wsgi", app="mine:app").replace('handler = ""\n', ""))
    failed, versions = [], [0, 0]
    ended = threading.Event()
    address = server.address()

    def fresh():
        while not ended.is_set():
            try:
                connection = connect(address)
                connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                assert b"200 OK" in rest(connection)
                versions[0] += 1
            except Exception as error:
                failed.append(f"fresh: {error!r}")

    def kept():
        connection = None
        while not ended.is_set():
            try:
                connection = connection or connect(address)
                connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\n\r\n")
                answer = b""
                while not re.search(rb"\r\n\r\n.", answer):
                    data = connection.recv(4096)
                    assert data
                    answer += data
                versions[1] += 1
                if b"connection: close" in answer.lower():
                    assert rest(connection) == b"" or True
                    connection = None
            except Exception as error:
                failed.append(f"kept: {error!r}")
                connection = None
        if connection is not None:
            connection.close()

    threads = [threading.Thread(target=one) for one in (fresh, fresh, kept, kept)]
    for thread in threads:
        thread.start()
    try:
        for number in range(5):
            ship(tmp_path, f"version {number}")
            reload(server)
    finally:
        ended.set()
        for thread in threads:
            thread.join(DEADLINE)
    assert failed == []
    assert min(versions) > 0
    assert server.stop() == -signal.SIGTERM
    server.wait_gone()
