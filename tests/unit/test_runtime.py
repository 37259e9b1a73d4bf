"""The runtime directory: one server at a time, nothing removed that is not ours, nobody fooled."""

import fcntl
import os
import shutil
import stat
import struct
import subprocess
import sys
from pathlib import Path

import pytest

from supervisor.config.schema import MasterOptions
from supervisor.errors import AlreadyRunning, Exit, NoPermission, NotRunning
from supervisor.system import record_lock
from supervisor.system.lookup import Found, find_running, runtime_directories
from supervisor.system.resources import Resources
from supervisor.system.runtime import RuntimeDirectory
from tests.support.harness import DEADLINE, environment

# Takes the lock of a runtime directory, says so, and keeps it until its input ends.
HOLDER = """
import sys
from pathlib import Path
from supervisor.system.resources import Resources
from supervisor.system.runtime import RuntimeDirectory
from supervisor.errors import SupervisorError
try:
    RuntimeDirectory(Path(sys.argv[1]), "web").acquire(Resources())
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


def content(path):
    """Return every file and folder below a path, with what files hold and when they changed."""
    found = [path, *sorted(path.rglob("*"))]
    return [
        (one, one.lstat().st_mtime_ns, one.read_bytes() if one.is_file() else b"") for one in found
    ]


def options(path):
    """Return the configuration of nothing but a runtime directory."""
    return MasterOptions(runtime_directory=str(path))


def owner(path):
    """Return the pid that a reader finds."""
    return Found(path, frozenset((os.geteuid(), 0))).owner()


def test_a_second_server_is_refused_and_told_the_pid(tmp_path, stack, hold):
    """The lock is ours until we go; who comes meanwhile reads our pid."""
    directory = RuntimeDirectory(tmp_path / "run", "web")
    directory.acquire(stack)
    second = hold(directory.path)
    said, _ = second.communicate(timeout=DEADLINE)
    assert said == f"already running: pid {os.getpid()}, runtime directory {directory.path}\n"
    assert second.returncode == Exit.ALREADY_RUNNING
    assert directory.pid_file.read_text() == f"{os.getpid()}\n"


def test_readers_find_the_owner_and_a_start_is_refused(tmp_path, stack, hold):
    """Anyone may ask whose the lock is; asking and failing to start do not loosen it."""
    directory = RuntimeDirectory(tmp_path / "run", "web")
    holder = hold(directory.path)
    assert holder.stdout.readline() == "acquired\n"
    for _ in range(2):
        assert owner(directory.path) == holder.pid
        with pytest.raises(AlreadyRunning, match=f"pid {holder.pid},"):
            directory.acquire(stack)
    assert find_running("any", options(directory.path))[1] == holder.pid


def test_a_killed_server_blocks_nobody(tmp_path, stack, hold):
    """Its lock file and pid stay behind and mean nothing; the next start clears what it left."""
    directory = RuntimeDirectory(tmp_path / "run", "web")
    holder = hold(directory.path)
    assert holder.stdout.readline() == "acquired\n"
    directory.scoreboard.write_text("old")
    make_tree(directory.temporary / "1" / "0")
    holder.kill()
    holder.wait(DEADLINE)
    assert directory.lock.exists()
    assert directory.pid_file.read_text() == f"{holder.pid}\n"
    assert owner(directory.path) is None
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
    RuntimeDirectory(path, "web").acquire(made)
    assert {entry.name for entry in path.iterdir()} == {
        ".supervisor",
        "lock",
        f"paths.{os.getpid()}",
        "pid",
    }
    made.release()
    assert path.exists() == existed
    assert not existed or list(path.iterdir()) == []


def test_a_file_of_somebody_else_keeps_the_directory(tmp_path):
    """A file that is not ours is not removed, nor is the directory it lies in."""
    path, made = tmp_path / "run", Resources()
    RuntimeDirectory(path, "web").acquire(made)
    make_file(path / "theirs")
    made.release()
    assert {entry.name for entry in path.iterdir()} == {".supervisor", "theirs"}
    again = Resources()
    RuntimeDirectory(path, "web").acquire(again)
    again.release()
    assert {entry.name for entry in path.iterdir()} == {".supervisor", "theirs"}


def test_nobody_owns_what_does_not_exist(tmp_path):
    """No directory, no lock file: nobody runs."""
    assert owner(tmp_path / "run") is None
    with pytest.raises(NotRunning, match=r"^any is not running$"):
        find_running("any", options(tmp_path / "run"))


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
        RuntimeDirectory(path, "web").acquire(stack)


def test_a_lock_that_is_a_link_is_refused(tmp_path, stack):
    """Nobody makes us write somewhere else through a link."""
    path, target = tmp_path / "run", tmp_path / "target"
    path.mkdir()
    (path / "lock").symlink_to(target)
    with pytest.raises(NoPermission, match="lock"):
        RuntimeDirectory(path, "web").acquire(stack)
    assert not target.exists()


# What is not ours.


def plant(path):
    """Make an application's own folder, in which every name of ours is somebody's data."""
    make_tree(path / "tmp" / "precious")
    make_tree(path / "tmp" / "1" / "0")
    (path / "victim").mkdir()
    (path / "paths").write_bytes(b"any 0 0 " + os.fsencode(path / "victim") + b"\0")
    for name in ("pid", "scoreboard", "lock", ".pid.new"):
        make_file(path / name)


def plant_marker(path):
    """The same, with the marker of a server that has another name."""
    plant(path)
    (path / ".supervisor").write_text("other\n")


def plant_file(path):
    """One file of somebody is enough."""
    path.mkdir()
    make_file(path / "data")


def plant_full_lock(path):
    """A file that has the name of our lock, but holds something."""
    path.mkdir()
    make_file(path / "lock")


@pytest.mark.parametrize("make", [plant, plant_marker, plant_file, plant_full_lock])
def test_a_directory_without_our_marker_is_refused_and_untouched(tmp_path, make):
    """Neither cleared, nor locked, nor written to; also when the refused start gives back."""
    path, made = tmp_path / "data", Resources()
    make(path)
    before = content(path)
    with pytest.raises(NoPermission, match=f"^{path}: (neither empty|is the runtime directory)"):
        RuntimeDirectory(path, "web").acquire(made)
    made.release()
    assert content(path) == before


def test_beside_our_marker_only_names_of_ours_are_removed(tmp_path, stack):
    """In a directory that a killed server left, what others have put there stays."""
    path = tmp_path / "run"
    path.mkdir()
    (path / ".supervisor").write_text("web\n")
    make_tree(path / "tmp" / "precious")
    make_tree(path / "tmp" / "1" / "0")
    make_tree(path / "tmp" / "1" / "theirs")
    make_file(path / "data")
    for name in ("pid", "scoreboard", ".scoreboard.2.new"):
        make_file(path / name)
    RuntimeDirectory(path, "web").acquire(stack)
    assert not (path / "tmp/1/0").exists()
    assert (path / "tmp/precious/inner/file").exists()
    assert (path / "tmp/1/theirs/inner/file").exists()
    assert (path / "data").exists()
    assert not list(path.glob("*scoreboard*"))


def test_a_directory_under_the_name_of_a_file_stays(tmp_path):
    """It is not what we make, so it is not removed; the start says what is in its way."""
    path, made = tmp_path / "run", Resources()
    path.mkdir()
    (path / ".supervisor").write_text("web\n")
    make_tree(path / "pid")
    with pytest.raises(NoPermission, match="directory"):
        RuntimeDirectory(path, "web").acquire(made)
    made.release()
    assert (path / "pid/inner/file").exists()


def test_no_link_leads_out_of_a_tempdir(tmp_path, stack):
    """Links in what is removed go, where they lead stays; so does what stands for a folder."""
    path, kept = tmp_path / "run", tmp_path / "kept"
    make_tree(kept)
    (path / "tmp/1/0/deep").mkdir(parents=True)
    (path / ".supervisor").write_text("web\n")
    (path / "tmp/1/0/deep/link").symlink_to(kept)
    (path / "tmp/1/1").symlink_to(kept)
    (path / "tmp/2").symlink_to(kept)
    RuntimeDirectory(path, "web").acquire(stack)
    assert not (path / "tmp/1/0").exists()
    assert (kept / "inner/file").exists()


@pytest.mark.root
def test_what_is_mounted_in_a_tempdir_stays(tmp_path):
    """Nothing on another file system is removed; tried in a mount namespace of its own."""
    path = tmp_path / "run"
    (path / "tmp/1/0/mounted").mkdir(parents=True)
    (path / ".supervisor").write_text("web\n")
    script = (
        f"mount -t tmpfs none {path}/tmp/1/0/mounted && touch {path}/tmp/1/0/mounted/file "
        f"{path}/tmp/1/0/ours && {sys.executable} -c '{HOLDER}' {path} </dev/null "
        f"&& test -e {path}/tmp/1/0/mounted/file && test ! -e {path}/tmp/1/0/ours && echo kept"
    )
    done = subprocess.run(
        ["unshare", "-m", "sh", "-ec", script],
        capture_output=True,
        text=True,
        env=environment(),
        timeout=DEADLINE,
        check=False,
    )
    assert done.stdout == "acquired\nkept\n", done.stderr


# Others at the same path.


def test_a_directory_that_was_removed_and_reused_is_the_seconds(tmp_path, hold):
    """The first server's end touches nothing of the second."""
    path, made = tmp_path / "run", Resources()
    first = RuntimeDirectory(path, "web")
    first.acquire(made)
    shutil.rmtree(path)
    second = hold(path)
    assert second.stdout.readline() == "acquired\n"
    before = content(path)
    made.release()
    assert content(path) == before
    assert owner(path) == second.pid


def test_a_directory_that_was_emptied_and_reused_is_the_seconds(tmp_path, hold):
    """The same where the directory itself stayed, so that it has the same inode."""
    path, made = tmp_path / "run", Resources()
    RuntimeDirectory(path, "web").acquire(made)
    for file in path.iterdir():
        file.unlink()
    second = hold(path)
    assert second.stdout.readline() == "acquired\n"
    before = content(path)
    made.release()
    assert content(path) == before
    assert owner(path) == second.pid


def remove_all(path):
    """Remove the whole directory."""
    shutil.rmtree(path)


def remove_files(path):
    """Remove what we keep in it, but not what a child keeps."""
    for file in path.iterdir():
        if file.is_file():
            file.unlink()


def remove_marker(path):
    """Remove the marker alone."""
    (path / ".supervisor").unlink()


@pytest.mark.parametrize("remove", [remove_all, remove_files, remove_marker])
def test_a_directory_that_was_removed_is_made_again(tmp_path, hold, remove):
    """Locked, marked, with pid and journal; what was registered before is in the new journal."""
    path, made = tmp_path / "run", Resources()
    directory = RuntimeDirectory(path, "web")
    directory.acquire(made)
    make_file(made.add_path(tmp_path / "ours"))
    make_tree(directory.tempdir(1, 0))
    directory.ensure()
    remove(path)
    directory.ensure()
    directory.ensure()
    assert {".supervisor", "lock", f"paths.{os.getpid()}", "pid"} <= {
        one.name for one in path.iterdir()
    }
    assert b"ours" in directory.journal.read_bytes()
    assert directory.tempdir(1, 0).exists() == (remove is not remove_all)
    assert hold(path).wait(DEADLINE) == Exit.ALREADY_RUNNING
    assert len(directory.descriptors()) == 2
    made.release()
    assert not path.exists()


def test_a_directory_that_another_server_has_taken_is_not_taken_back(tmp_path, hold):
    """`ensure` says who runs there, and the end leaves it alone."""
    path, made = tmp_path / "run", Resources()
    directory = RuntimeDirectory(path, "web")
    directory.acquire(made)
    shutil.rmtree(path)
    second = hold(path)
    assert second.stdout.readline() == "acquired\n"
    for _ in range(2):
        with pytest.raises(AlreadyRunning, match=f"pid {second.pid},"):
            directory.ensure()
    made.release()
    assert owner(path) == second.pid
    assert (path / ".supervisor").exists()


def test_a_child_does_not_make_the_directory_again(tmp_path, stack):
    """Without marker and lock it would be nobody's, and refused for ever."""
    from supervisor.system.tempdirs import make_tempdir

    directory = RuntimeDirectory(tmp_path / "run", "web")
    directory.acquire(stack)
    assert make_tempdir(directory.tempdir(2, 7)).is_dir()
    directory.clear_child(2, 7)
    assert not directory.tempdir(2, 7).exists()
    directory.clear_generation(2)
    assert not directory.temporary.exists()
    shutil.rmtree(directory.path)
    with pytest.raises(FileNotFoundError):
        make_tempdir(directory.tempdir(2, 7))


def test_generations_have_tempdirs_of_their_own(tmp_path, stack):
    """The end of one takes nothing of the other."""
    directory = RuntimeDirectory(tmp_path / "run", "web")
    directory.acquire(stack)
    for generation in (1, 2):
        make_tree(directory.tempdir(generation, 0))
    directory.clear_generation(1)
    assert not directory.tempdir(1, 0).exists()
    assert (directory.tempdir(2, 0) / "inner/file").exists()


@pytest.mark.parametrize("mode", [0o777, 0o775, 0o700])
def test_nobody_else_may_write_in_it(tmp_path, stack, mode):
    """An open directory is closed to others when it is taken; a closed one stays as it was."""
    path = tmp_path / "run"
    path.mkdir()
    path.chmod(mode)
    RuntimeDirectory(path, "web").acquire(stack)
    assert stat.S_IMODE(path.stat().st_mode) == mode & 0o755


def test_it_is_for_all_to_read_whatever_the_umask(tmp_path, stack):
    """Others may ask whether we run."""
    before = os.umask(0o077)
    try:
        RuntimeDirectory(tmp_path / "run", "web").acquire(stack)
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "run").stat().st_mode) == 0o755


# Readers.


def locked(path, command):
    """Return a lock file's descriptor, locked by this process as `command` of fcntl(2) does."""
    descriptor = os.open(path, os.O_RDWR | os.O_CREAT)
    fcntl.fcntl(descriptor, command, struct.pack("hhqqi", fcntl.F_WRLCK, 0, 0, 0, 0))
    return descriptor


F_OFD_SETLK = 37  # asm-generic/fcntl.h


def test_a_lock_without_an_owner_is_nobodys(tmp_path):
    """The kernel names none (pid -1): the pid that somebody wrote beside it means nothing."""
    descriptor = locked(tmp_path / "lock", F_OFD_SETLK)
    (tmp_path / "pid").write_text(f"{os.getpid()}\n")
    with open(tmp_path / "lock") as reader:
        assert record_lock.holder(reader.fileno()) is None
    assert owner(tmp_path) is None
    os.close(descriptor)


STRANGER = """
import fcntl, os, struct, sys
os.setuid(65534)
sys.stdin.readline()
lock = os.open(sys.argv[1], os.O_RDONLY)
fcntl.fcntl(lock, fcntl.F_SETLK, struct.pack("hhqqi", fcntl.F_RDLCK, 0, 0, 0, 0))
print("locked", flush=True)
sys.stdin.read()
"""


@pytest.mark.root
def test_who_may_only_read_the_lock_neither_poses_as_its_owner_nor_blocks_a_start(closing, stack):
    """A stranger's shared lock: readers see nobody, and a server takes the directory."""
    path = Path(f"/tmp/supervisor-test-{os.getpid()}-lock")
    path.mkdir()
    closing.callback(shutil.rmtree, path, ignore_errors=True)
    (path / "lock").touch(mode=0o644)
    command = ["/usr/bin/python3", "-c", STRANGER, str(path / "lock")]
    pipes = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    stranger = closing.enter_context(subprocess.Popen(command, cwd="/", **pipes))
    closing.callback(stranger.kill)
    stranger.stdin.write("\n")
    stranger.stdin.flush()
    assert stranger.stdout.readline() == "locked\n"
    assert owner(path) is None
    RuntimeDirectory(path, "web").acquire(stack)


@pytest.mark.root
def test_a_strangers_directory_is_not_looked_into(tmp_path):
    """Its lock is held and its owner named, but not as a server of ours."""
    os.chown(tmp_path, 65534, 65534)
    descriptor = locked(tmp_path / "lock", fcntl.F_SETLK)
    with pytest.raises(NotRunning, match=f"{tmp_path} belongs to nobody"):
        find_running("any", options(tmp_path))
    trusted = MasterOptions(runtime_directory=str(tmp_path), user="nobody")
    with pytest.raises(NotRunning, match=r"^any is not running$"):
        find_running("any", trusted)  # our own lock is never in our way
    os.close(descriptor)


@pytest.mark.parametrize("make", [os.mkfifo, make_link, make_tree])
def test_a_lock_that_is_no_file_is_nobodys_and_nobodys_to_take(tmp_path, stack, make):
    """A FIFO blocks neither a reader nor a start."""
    (tmp_path / ".supervisor").write_text("web\n")
    make(tmp_path / "lock")
    assert owner(tmp_path) is None
    with pytest.raises(NoPermission, match="lock"):
        RuntimeDirectory(tmp_path, "web").acquire(stack)


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
    """The configured directory wins, then the one that systemd gives."""
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
