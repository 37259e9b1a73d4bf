"""A whole server and a runtime directory that is not what it should be; readers and strangers."""

import json
import os
import re
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from tests.support.clients import ask
from tests.support.configs import table, web, write
from tests.support.harness import DEADLINE, SUPERVISOR, environment, supervisor


def error_of(server, status):
    """Return the one error line of a start that ends with the status."""
    assert server.wait() == status, server.log
    (error,) = [line for line in server.log.splitlines() if line.startswith("supervisor: error")]
    assert "Traceback" not in server.log
    return error


def test_an_applications_own_folder_is_refused_and_untouched(launch, tmp_path):
    """Status 77 and one line; `tmp` and what a file `paths` names are there afterwards."""
    data = tmp_path / "data"
    (data / "tmp" / "precious").mkdir(parents=True)
    (data / "victim").mkdir()
    entries = b"path %s\0any 0 0 %s\0" % ((os.fsencode(data / "victim"),) * 2)
    (data / "paths").write_bytes(entries)
    server = launch(web(), master={"runtime_directory": str(data)})
    assert str(data) in error_of(server, 77)
    assert sorted(os.listdir(data)) == ["paths", "tmp", "victim"]
    assert (data / "tmp/precious").is_dir()
    assert (data / "paths").read_bytes() == entries


@pytest.mark.root
@pytest.mark.parametrize("where", ["option", "environment"])
def test_the_root_is_refused_and_untouched(tmp_path, where):
    """As root with `/`, `/tmp` and `/var/tmp`: in a mount namespace of its own, with a root that is
    a tree of the test's.
    """
    config = write(tmp_path, web(), runtime_directory="")
    option = '--set master.runtime_directory="$place"' if where == "option" else ""
    script = f"""
mount --make-rprivate /
mount -t tmpfs none /var/tmp && mkdir -p /var/tmp/tmp/1/0 /var/tmp/tmp/p
for place in / /var/tmp; do
    # Had it taken the place, only this namespace's read-only view of it would have been harmed.
    [ "$place" = / ] && mount -o remount,bind,ro /
    RUNTIME_DIRECTORY=$place {SUPERVISOR} start -c {config} {option} && exit 9 || echo $?
done
ls /var/tmp /var/tmp/tmp"""
    command = ["unshare", "-m", "sh", "-c", script]
    done = subprocess.run(
        command, capture_output=True, text=True, env=environment(), timeout=DEADLINE, check=False
    )
    assert done.stdout.split() == ["77", "77", "/var/tmp:", "tmp", "/var/tmp/tmp:", "1", "p"]
    assert done.stderr.count(": neither empty nor marked as ours") == 2


def test_a_foreign_file_keeps_directory_and_marker(serve, tmp_path):
    """A file that others put there outlives us, and the next start takes the directory again."""
    runtime = tmp_path / "test.run"
    for _ in range(2):
        server = serve(web())
        (runtime / "theirs").write_text("precious")
        assert server.stop() == -signal.SIGTERM
        assert "runtime directory stays" in server.log
        assert sorted(os.listdir(runtime)) == [".supervisor", "theirs"]
    shutil.rmtree(runtime)


def test_a_reused_directory_is_the_seconds(serve, tmp_path):
    """The first server, whose directory was removed, ends without a trace in the second's."""
    first = serve(web())
    shutil.rmtree(first.runtime)
    second = serve(web())
    assert first.stop() == -signal.SIGTERM
    assert second.stats()["pid"] == second.pid
    assert ask(second).startswith(b"hello")
    assert second.stop() == -signal.SIGTERM
    assert not second.runtime.exists()


def test_a_pid_file_that_is_none_is_not_overwritten(launch, tmp_path):
    """Status 78 and its path; it holds what it held."""
    file = tmp_path / "pid"
    file.write_text("precious\n")
    server = launch(web(), master={"pid_file": str(file)})
    assert str(file) in error_of(server, 78)
    assert file.read_text() == "precious\n"


def test_a_pid_file_that_another_has_taken_stays(serve, tmp_path):
    """Removed is what we wrote, not what has its name."""
    file = tmp_path / "pid"
    file.write_text("1\n")  # of a server that is dead
    server = serve(web(), master={"pid_file": str(file)})
    assert file.read_text() == f"{server.pid}\n"
    file.rename(tmp_path / "old")
    file.write_text("2\n")
    assert server.stop() == -signal.SIGTERM
    assert file.read_text() == "2\n"


def test_an_unmarked_socket_of_another_kind_stays(launch, tmp_path):
    """A listen path that is somebody's file is refused, 69, and stays."""
    path = tmp_path / "web.sock"
    path.write_text("precious")
    server = launch(web(listen=[f"unix://{path}"]))
    assert str(path) in error_of(server, 69)
    assert path.read_text() == "precious"


def crash(server):
    """Kill a child, whoever tells of it."""
    os.kill(int(re.findall(r"child ready .*pid=(\d+)", server.log)[-1]), signal.SIGKILL)


def test_a_later_generation_makes_the_directory_again(serve):
    """Somebody has removed it: after a crash the server is found again, and locked."""
    server = serve(web(), master={"restart": "on-crash"})
    shutil.rmtree(server.runtime)
    assert server.command("status").returncode == 3
    crash(server)
    server.wait_for("runtime directory was removed; made again", "server ready .*generation=2")
    assert server.stats()["generation"] == 2
    assert supervisor("start", "-c", str(server.config)).returncode == 75
    assert ask(server).startswith(b"hello")
    assert server.stop() == -signal.SIGTERM
    assert not server.runtime.exists()


def test_a_later_generation_that_cannot_be_made_is_tried_again(serve):
    """Something stands where the directory was: it backs off, and goes on when that is gone."""
    server = serve(web(), master={"restart": "on-crash"})
    shutil.rmtree(server.runtime)
    server.runtime.write_text("in the way")
    crash(server)
    server.wait_for("(?s)" + ".*".join(["generation not made .*is not a directory"] * 3))
    assert server.runtime.read_text() == "in the way"
    server.runtime.unlink()
    server.wait_for(r"server ready .*generation=(\d{2}|[2-9])")
    assert ask(server).startswith(b"hello")
    assert server.stop() == -signal.SIGTERM
    assert "internal error" not in server.log


def limited(*arguments):
    """Return the prefix of a command under limits of the kernel."""
    return ["prlimit", *arguments]


SCARCE = {
    "descriptors": limited("--nofile=5"),
    "descriptors later": limited("--nofile=6"),
    "descriptors at the fork": limited("--nofile=10"),
    "memory of the imports": limited("--as=20000000"),
    "memory": limited("--as=24000000"),
    "memory of a thread": limited("--as=30000000"),
}


@pytest.mark.parametrize("case", SCARCE)
def test_what_is_scarce_is_one_line(launch, case):
    """Status 71, whatever ran out, and no traceback."""
    server = launch(web(children=8), prefix=SCARCE[case])
    error_of(server, 71)


@pytest.mark.root
@pytest.mark.parametrize("arguments", [[], ["--daemon"]])
def test_a_user_who_may_have_no_second_process(arguments):
    """RLIMIT_NPROC 1: 71 and one line, with --daemon too."""
    with tempfile.TemporaryDirectory(prefix="supervisor-test-") as name:
        config = write(Path(name), web("supervisor.workers.echo:stream"), working_directory="/")
        os.chown(name, 54399, 54399)
        reading = ["--inh-caps=+dac_read_search", "--ambient-caps=+dac_read_search"]
        user = ["setpriv", "--reuid=54399", "--regid=54399", "--clear-groups", *reading]
        command = [*user, *limited("--nproc=1"), SUPERVISOR, "start", "-c", str(config)]
        done = subprocess.run(
            [*command, *arguments],
            capture_output=True,
            text=True,
            cwd="/",
            env=environment(),
            timeout=DEADLINE,
            check=False,
        )
        assert done.returncode == 71, done.stderr
        assert done.stderr.count("supervisor: error: ") == 1
        assert "Traceback" not in done.stderr
        assert sorted(os.listdir(name)) == ["test.toml"]


# Strangers.

# Takes a lock of the kind that is asked for, as nobody, says so and waits.
STRANGER = """
import fcntl, os, struct, sys
place, kind = sys.argv[1:]
os.chown(place, 65534, 65534)
os.setgid(65534)
os.setuid(65534)
lock = os.open(place + "/lock", os.O_RDWR | os.O_CREAT, 0o644)
command = 37 if kind == "ofd" else fcntl.F_SETLK
fcntl.fcntl(lock, command, struct.pack("hhqqi", fcntl.F_WRLCK, 0, 0, 0, 0))
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def victim():
    """A process that must not be signalled: it ends by itself when its input does."""
    with subprocess.Popen(["cat"], stdin=subprocess.PIPE) as process:
        yield process
        assert process.poll() is None
        process.stdin.close()
        assert process.wait(DEADLINE) == 0


@pytest.mark.root
@pytest.mark.parametrize("kind", ["ofd", "record"])
def test_a_strangers_directory_is_nobodys_server(victim, kind):
    """Another user has made our place, with a lock and the pid of a victim in it: `stop` ends with
    0 and signals nobody, `status` with 3, both name the owner, and a start is refused.
    """
    with tempfile.TemporaryDirectory(prefix="supervisor-test-") as name:
        place = Path(name) / "run"
        place.mkdir()
        (place / "pid").write_text(f"{victim.pid}\n")
        config = write(Path(name), web(), runtime_directory=str(place))
        command = [sys.executable, "-c", STRANGER, str(place), kind]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        Path(name).chmod(0o755)
        with subprocess.Popen(command, env=environment(), **pipes) as stranger:
            assert stranger.stdout.readline() == "locked\n"
            for command, status in (("stop", 0), ("status", 3), ("stats", 3), ("start", 77)):
                done = supervisor(command, "-c", str(config))
                assert done.returncode == status, command
                assert "belongs to" in done.stdout + done.stderr
                assert "Traceback" not in done.stderr
            done = supervisor("status", "-c", str(config), "--json")
            assert json.loads(done.stdout) == {"running": False}
            assert stranger.poll() is None
            stranger.stdin.close()


def test_a_pid_that_a_child_has_made_up_is_not_signalled(serve, victim):
    """The scoreboard is its writers' word: the console asks the kernel whose child that is."""
    server = serve(web())
    child = server.children()[0]
    board = (server.runtime / "scoreboard").read_bytes()
    with open(server.runtime / "scoreboard", "r+b") as file:
        file.write(board.replace(struct.pack("=Q", child), struct.pack("=Q", victim.pid)))
    done = server.command("console", input="signal 0 KILL\n", stdin=None)
    assert f"pid {victim.pid} is no child of the server" in done.stdout + done.stderr
    with open(server.runtime / "scoreboard", "r+b") as file:
        file.write(board)
    assert server.stop() == -signal.SIGTERM


def make_fifo(path):
    """A FIFO, which blocks who opens it to read."""
    os.mkfifo(path)


def make_endless(path):
    """A link to what never ends."""
    path.symlink_to("/dev/zero")


def make_huge(path):
    """A file that no memory holds, though it takes no room."""
    path.touch()
    os.truncate(path, 1 << 42)


@pytest.mark.parametrize("make", [make_fifo, make_endless, make_huge])
@pytest.mark.parametrize("name", ["lock", "scoreboard"])
def test_no_reader_hangs_or_chokes(serve, tmp_path, make, name):
    """Anything may stand in the place of lock or scoreboard: each command ends with one line."""
    server = serve(web())
    file = server.runtime / name
    file.rename(tmp_path / "kept")
    make(file)
    for command in ("status", "stats", "top"):
        done = server.command(command)
        assert done.returncode in (0, 3, 70), (command, done.stderr)
        assert "Traceback" not in done.stderr
    file.unlink()
    (tmp_path / "kept").rename(file)
    assert server.stop() == -signal.SIGTERM


@pytest.mark.root
def test_a_server_in_another_pid_namespace_is_seen_and_not_signalled(serve, run):
    """The kernel names no pid: `status` says that it runs, `stop` that it stops elsewhere."""
    server = serve(web())
    reader = ["unshare", "--pid", "--fork", "--kill-child", "--mount-proc", SUPERVISOR]
    assert run([*reader, "status", "-c", str(server.config)]).wait() == 0
    stop = run([*reader, "stop", "-c", str(server.config)])
    assert stop.wait() == 77
    assert "another pid namespace" in stop.log
    assert server.stop() == -signal.SIGTERM


def test_a_directory_that_root_mounted_for_us(tmp_path):
    """An empty volume of root's, which we may write: what Kubernetes gives to a pod."""
    if os.geteuid() != 0:
        pytest.skip("needs root")
    with tempfile.TemporaryDirectory(prefix="supervisor-test-") as name:
        volume = Path(name) / "volume"
        volume.mkdir()
        volume.chmod(0o2777)
        echo = web("supervisor.workers.echo:stream")
        config = write(Path(name), echo, runtime_directory=str(volume), working_directory="/")
        Path(name).chmod(0o755)
        command = ["setpriv", "--reuid=65534", "--regid=65534", "--clear-groups", SUPERVISOR]
        with subprocess.Popen(
            [*command, "start", "-c", str(config)], stderr=subprocess.PIPE, text=True, cwd="/"
        ) as server:
            log = iter(server.stderr.readline, "")
            assert any("server ready" in line for line in log)
            assert supervisor("status", "-c", str(config)).returncode == 0
            server.send_signal(signal.SIGTERM)
            assert server.wait(DEADLINE) == -signal.SIGTERM
        assert list(volume.iterdir()) == []


def test_the_text_of_every_reader_without_a_server(tmp_path):
    """Where nothing runs and nothing is, no owner is named."""
    config = write(tmp_path, web() + table("log"))
    done = supervisor("status", "-c", str(config))
    assert (done.returncode, done.stdout) == (3, "test is not running\n")
