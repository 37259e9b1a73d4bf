"""What is acquired is released, in reverse; what a dead server left goes; one server at a time."""

import os
import subprocess
import sys
from pathlib import Path

import pytest

from supervisor.errors import AlreadyRunning, Exit, NoPermission
from supervisor.system import resources, runtime
from supervisor.system.resources import Resources
from supervisor.system.runtime import RuntimeDirectory, runtime_directories
from tests.support.harness import DEADLINE, environment

# Takes the lock of a runtime directory, says so, and keeps it until its input ends.
HOLDER = """
import sys
from pathlib import Path
from supervisor.system.resources import Resources
from supervisor.system.runtime import RuntimeDirectory
from supervisor.errors import SupervisorError
try:
    RuntimeDirectory(Path(sys.argv[1])).acquire(Resources())
except SupervisorError as error:
    print(error)
    sys.exit(error.exit_code)
print("acquired", flush=True)
sys.stdin.read()
"""


@pytest.fixture
def hold():
    """Run a process that acquires a runtime directory and keeps it until its input is closed."""
    holders = []

    def start(path):
        command = [sys.executable, "-c", HOLDER, str(path)]
        pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
        holders.append(subprocess.Popen(command, env=environment(), **pipes))
        return holders[-1]

    yield start
    for holder in holders:
        holder.kill()
        holder.communicate(timeout=DEADLINE)


@pytest.fixture
def stack():
    """Resources that are released at the end."""
    made = Resources()
    yield made
    made.release()


def test_the_last_acquired_is_released_first():
    """Releases run in reverse order, each once."""
    made, released = Resources(), []
    for name in "abc":
        made.add(name, lambda name=name: released.append(name))
    made.release()
    made.release()
    assert released == ["c", "b", "a"]


def test_a_mark_releases_down_to_itself():
    """What came after the mark goes, what was before stays."""
    made, released = Resources(), []
    made.add("server", lambda: released.append("server"))
    mark = made.mark()
    made.add("generation", lambda: released.append("generation"))
    made.release(mark)
    assert released == ["generation"]
    made.release()
    assert released == ["generation", "server"]


def test_a_release_that_fails_does_not_stop_the_next(capfd):
    """The failing one is logged by name, the others are released."""
    made, released = Resources(), []
    made.add("a", lambda: released.append("a"))
    made.add("b", lambda: 1 // 0)
    made.add("c", lambda: released.append("c"))
    made.release()
    assert released == ["c", "a"]
    (line,) = capfd.readouterr().err.splitlines()
    assert line.endswith(' cannot release what=b error="integer division or modulo by zero"')


def make_file(path):
    """Make a file."""
    path.write_text("x")


def make_tree(path):
    """Make a directory with something in it."""
    (path / "inner").mkdir(parents=True)
    (path / "inner/file").write_text("x")


def make_link(path):
    """Make a symbolic link to a directory that holds a file."""
    (path.parent / "kept").mkdir()
    (path.parent / "kept/file").write_text("x")
    path.symlink_to("kept")


def make_nothing(path):
    """Make nothing: somebody else removed it already."""


@pytest.mark.parametrize("make", [make_file, make_tree, make_link, make_nothing])
def test_a_path_is_removed_at_the_end(tmp_path, make):
    """A file, a tree or a link is gone; where a link led is left alone."""
    made, path = Resources(), tmp_path / "path"
    assert made.add_path(path) == path
    make(path)
    made.release()
    assert not os.path.lexists(path)
    assert (tmp_path / "kept/file").exists() == (make is make_link)


@pytest.mark.parametrize("make", [make_file, make_tree, make_link, make_nothing])
def test_what_a_killed_server_left_is_removed_by_the_next(tmp_path, make):
    """A path is written down before it exists; the next start removes it."""
    journal, path = tmp_path / "paths", tmp_path / "left behind\nhere"
    killed = Resources()
    killed.use_journal(journal)
    killed.add_path(path)
    make(path)
    Resources().use_journal(journal)
    assert not os.path.lexists(path)
    assert (tmp_path / "kept/file").exists() == (make is make_link)
    assert journal.read_bytes() == b""


def test_a_relative_path_is_written_down_in_full(tmp_path, monkeypatch):
    """The next start may begin in another directory."""
    monkeypatch.chdir(tmp_path)
    killed = Resources()
    killed.use_journal(Path("paths"))
    make_file(killed.add_path("file"))
    monkeypatch.chdir("/")
    Resources().use_journal(tmp_path / "paths")
    assert not (tmp_path / "file").exists()


def test_a_socket_in_the_journal_that_is_none_is_kept(tmp_path):
    """Whatever has taken a socket's place since is not ours to remove."""
    journal, path = tmp_path / "paths", tmp_path / "web.sock"
    killed = Resources()
    killed.use_journal(journal)
    killed.write_down(path, "socket")
    make_file(path)
    Resources().use_journal(journal)
    assert path.exists()


def test_an_entry_that_was_cut_is_not_believed(tmp_path):
    """A path whose end was never written may be another one's beginning: it is kept."""
    journal, data = tmp_path / "paths", tmp_path / "data"
    make_tree(data)
    journal.write_bytes(b"path " + os.fsencode(data))  # was to be .../data/tmp and a NUL
    Resources().use_journal(journal)
    assert (data / "inner/file").exists()


def test_files_are_written_whole(tmp_path):
    """The new content replaces the old in one step, and nothing stays beside it."""
    path = tmp_path / "pid"
    resources.write_atomically(path, b"1\n")
    resources.write_atomically(path, b"2\n")
    assert path.read_bytes() == b"2\n"
    assert list(tmp_path.iterdir()) == [path]


def test_a_file_that_cannot_be_written_leaves_nothing(tmp_path):
    """When the rename fails, what was written beside goes."""
    (tmp_path / "pid").mkdir()
    with pytest.raises(OSError, match="directory"):
        resources.write_atomically(tmp_path / "pid", b"1\n")
    assert list(tmp_path.iterdir()) == [tmp_path / "pid"]


def test_a_second_server_is_refused_and_told_the_pid(tmp_path, stack, hold):
    """The lock is ours until we go; who comes meanwhile reads our pid."""
    directory = RuntimeDirectory(tmp_path / "run")
    directory.acquire(stack)
    second = hold(directory.path)
    said, _ = second.communicate(timeout=DEADLINE)
    assert said == f"already running: pid {os.getpid()}, runtime directory {directory.path}\n"
    assert second.returncode == Exit.ALREADY_RUNNING
    assert directory.pid_file.read_text() == f"{os.getpid()}\n"


def test_readers_find_the_owner_and_a_start_is_refused(tmp_path, stack, hold):
    """Anyone may ask whose the lock is; asking and failing to start do not loosen it."""
    directory = RuntimeDirectory(tmp_path / "run")
    holder = hold(directory.path)
    assert holder.stdout.readline() == "acquired\n"
    for _ in range(2):
        assert RuntimeDirectory(directory.path).owner() == holder.pid
        with pytest.raises(AlreadyRunning, match=f"pid {holder.pid},"):
            directory.acquire(stack)
    assert runtime.find_running("any", str(directory.path))[1] == holder.pid


def test_a_killed_server_blocks_nobody(tmp_path, stack, hold):
    """Its lock file and pid stay behind and mean nothing; the next start clears what it left."""
    directory = RuntimeDirectory(tmp_path / "run")
    holder = hold(directory.path)
    assert holder.stdout.readline() == "acquired\n"
    directory.scoreboard.write_text("old")
    make_tree(directory.temporary)
    holder.kill()
    holder.wait(DEADLINE)
    assert directory.lock.exists()
    assert directory.pid_file.read_text() == f"{holder.pid}\n"
    assert directory.owner() is None
    directory.acquire(stack)
    assert directory.pid_file.read_text() == f"{os.getpid()}\n"
    assert not directory.scoreboard.exists()
    assert not directory.temporary.exists()


@pytest.mark.parametrize("existed", [True, False])
def test_release_leaves_the_directory_as_it_was(tmp_path, existed):
    """All that we keep there goes; the directory only if we made it."""
    path, made = tmp_path / "run", Resources()
    if existed:
        path.mkdir()
    RuntimeDirectory(path).acquire(made)
    assert {entry.name for entry in path.iterdir()} == {"lock", "paths", "pid"}
    made.release()
    assert path.exists() == existed
    assert not existed or list(path.iterdir()) == []


def test_a_file_of_somebody_else_keeps_the_directory(tmp_path):
    """What is not ours is not removed, nor is the directory it lies in."""
    path, made = tmp_path / "run", Resources()
    RuntimeDirectory(path).acquire(made)
    make_file(path / "theirs")
    made.release()
    assert [entry.name for entry in path.iterdir()] == ["theirs"]


def test_nobody_owns_what_does_not_exist(tmp_path):
    """No directory, no lock file: nobody runs."""
    assert RuntimeDirectory(tmp_path / "run").owner() is None
    assert runtime.find_running("any", str(tmp_path / "run")) is None


def make_foreign(path):
    """Make a directory that belongs to another user."""
    path.mkdir()
    os.chown(path, os.geteuid() + 1, -1)


@pytest.mark.parametrize(
    ("make", "reason"),
    [
        (make_file, "is not a directory"),
        (make_link, "is not a directory"),
        pytest.param(make_foreign, "belongs to uid", marks=pytest.mark.root),
    ],
)
def test_a_directory_that_is_not_ours_is_refused(tmp_path, stack, make, reason):
    """A file, a link or another user's directory in its place is told, with its path."""
    path = tmp_path / "run"
    make(path)
    with pytest.raises(NoPermission, match=f"{path}: {reason}"):
        RuntimeDirectory(path).acquire(stack)


def test_a_lock_that_is_a_link_is_refused(tmp_path, stack):
    """Nobody makes us write somewhere else through a link."""
    path, target = tmp_path / "run", tmp_path / "target"
    path.mkdir()
    (path / "lock").symlink_to(target)
    with pytest.raises(NoPermission, match="lock"):
        RuntimeDirectory(path).acquire(stack)
    assert not target.exists()


@pytest.mark.parametrize(
    ("environ", "configured", "first"),
    [
        ({}, "/x/../srv/run", "/srv/run"),
        ({"RUNTIME_DIRECTORY": "/run/unit"}, "/srv/run", "/srv/run"),
        ({"RUNTIME_DIRECTORY": "/run/unit"}, "", "/run/unit"),
        ({"RUNTIME_DIRECTORY": "/run/unit:/run/more"}, "", "/run/unit"),
        ({"RUNTIME_DIRECTORY": "/run/unit", "XDG_RUNTIME_DIR": "/"}, "", "/run/unit"),
    ],
)
def test_where_the_runtime_directory_is(monkeypatch, environ, configured, first):
    """What is configured wins, then what systemd gives."""
    for name in ("RUNTIME_DIRECTORY", "XDG_RUNTIME_DIR"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environ.items():
        monkeypatch.setenv(name, value)
    assert runtime_directories("web", configured)[0] == Path(first)


def test_readers_look_in_every_place(monkeypatch, tmp_path):
    """With nothing configured /run, the user's own and /tmp are candidates; another name is not."""
    monkeypatch.delenv("RUNTIME_DIRECTORY", raising=False)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path))
    places = runtime_directories("web", "")
    assert set(places) == {
        Path("/run/web"),
        tmp_path / "web",
        Path(f"/tmp/web-{os.geteuid()}"),
    }
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(tmp_path / "absent"))
    assert set(runtime_directories("web", "")) == set(places) - {tmp_path / "web"}
