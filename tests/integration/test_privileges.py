"""From root to a user: bound as root, served as nobody, with no way back and nothing to abuse."""

import contextlib
import grp
import os
import pwd
import re
import signal
import socket
import tempfile
from pathlib import Path

import pytest

from tests.support.clients import connect, dial
from tests.support.configs import table, web, write
from tests.support.harness import DEADLINE, supervisor

pytestmark = pytest.mark.root

NOBODY = pwd.getpwnam("nobody")
PRIVILEGED = "tcp://127.0.0.1:91"  # the kernel's list of services has no user of it here


def echo(*listen, **values):
    """Return a section of the built-in echo: its code is read by users who may not read ours."""
    listen = list(listen) or ["tcp://127.0.0.1:0"]
    return web("supervisor.workers.echo:stream", name="echo", listen=listen, **values)


def echoed(address):
    """Tell whether the server at the address returns what it is sent."""
    with connect(address) as connection:
        connection.sendall(b"hello")
        return connection.recv(16) == b"hello"


def status_of(pid):
    """Return /proc/PID/status as a dictionary."""
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return dict(line.split(":\t", 1) for line in lines)


@pytest.fixture
def tmp_path():
    """A directory that every user may enter; pytest's own are closed to all but us."""
    with tempfile.TemporaryDirectory(prefix="supervisor-test-") as name:
        path = Path(name)
        path.chmod(0o755)
        yield path


@pytest.mark.parametrize("group", ["", "daemon"])
def test_bound_by_root_served_by_nobody(serve, tmp_path, group):
    """A port below 1024; every process has the user's ids and groups, no capability, no way up."""
    gid = grp.getgrnam(group).gr_gid if group else NOBODY.pw_gid
    server = serve(echo(PRIVILEGED), master={"user": "nobody", "group": group})
    for pid in [server.pid, *server.children().values()]:
        facts = status_of(pid)
        assert set(facts["Uid"].split()) == {str(NOBODY.pw_uid)}
        assert set(facts["Gid"].split()) == {str(gid)}
        assert facts["Groups"].split() == [str(gid)]
        assert int(facts["CapEff"], 16) == int(facts["CapPrm"], 16) == 0
        assert facts["NoNewPrivs"] == "1"
    assert echoed(PRIVILEGED)
    assert server.stop() == -signal.SIGTERM


def test_numbers_are_as_good_as_names(serve, tmp_path):
    """Ids without an entry in passwd need both, and are taken as they are."""
    server = serve(echo(), master={"user": "54321", "group": "54322"})
    assert status_of(server.pid)["Uid"].split()[0] == "54321"
    assert status_of(server.pid)["Gid"].split()[0] == "54322"
    assert server.stop() == -signal.SIGTERM


def test_the_users_other_groups_come_along(serve, tmp_path):
    """Supplementary groups are those of the user, none of root's."""
    members = {name: group for group in grp.getgrall() for name in group.gr_mem}
    users = [name for name in members if any(entry.pw_name == name for entry in pwd.getpwall())]
    if not users:
        pytest.skip("no user here is a member of another group")
    server = serve(echo(), master={"user": users[0]})
    wanted = os.getgrouplist(users[0], pwd.getpwnam(users[0]).pw_gid)
    assert sorted(map(int, status_of(server.pid)["Groups"].split())) == sorted(wanted)
    assert server.stop() == -signal.SIGTERM


WRONG = {
    "user": ({"user": "nobdy"}, r"master\.user: 'nobdy': no such user"),
    "group": ({"user": "nobody", "group": "nogrp"}, r"master\.group: 'nogrp': no such group"),
    "number alone": ({"user": "54321"}, r"master\.user: .*needs master\.group"),
}


@pytest.mark.parametrize("case", WRONG)
def test_who_does_not_exist_is_a_configuration_error(launch, case):
    """Status 78 and the key, from `start` and from `check`."""
    master, pattern = WRONG[case]
    server = launch(echo(), master=master)
    assert server.wait() == 78
    assert re.search(pattern, server.log)
    checked = server.command("check")
    assert checked.returncode == 78
    assert re.search(pattern, checked.stderr)


def test_who_may_not_change_does_not_start(launch, unprivileged):
    """Status 77 where the user did not take; no child was forked."""
    server = launch(echo(), prefix=unprivileged, master={"user": "nobody"})
    assert server.wait() == 77
    assert re.search(r"^supervisor: error: master\.user: cannot become nobody", server.log, re.M)
    assert "child ready" not in server.log


def test_what_it_writes_and_binds_is_the_users(serve, tmp_path):
    """Runtime directory, pid file, log file and unix sockets; an `owner` of its own stays."""
    folder = tmp_path / "theirs"
    folder.mkdir()
    os.chown(folder, NOBODY.pw_uid, NOBODY.pw_gid)
    ours, given = folder / "ours.socket", folder / "given.socket"
    listen = [f"unix://{ours}", {"address": f"unix://{given}", "owner": "daemon"}]
    files = {"user": "nobody", "pid_file": str(folder / "pid")}
    server = serve(echo(*listen), master=files)
    for path in (ours, folder / "pid", server.runtime, *server.runtime.iterdir()):
        assert path.owner() == "nobody", path
    assert given.owner() == "daemon"
    assert echoed(f"unix://{ours}")
    assert server.stop() == -signal.SIGTERM
    assert list(folder.iterdir()) == []


def test_what_it_cannot_remove_any_more_is_named(serve, tmp_path):
    """A pid file in a directory of root's stays, and boot has said so."""
    file = tmp_path / "pid"
    server = serve(echo(), master={"user": "nobody", "pid_file": str(file)})
    assert f"path={file} " in server.log
    assert f"path={server.runtime} " in server.log
    assert server.stop() == -signal.SIGTERM
    assert list(server.runtime.iterdir()) == []


def test_the_next_start_takes_the_directory_back(serve, tmp_path):
    """Given to the user by the first start, it serves the second as well."""
    for _ in range(2):
        server = serve(echo(), master={"user": "nobody"})
        assert echoed(server.address("echo"))
        assert server.stop() == -signal.SIGTERM
        assert server.runtime.owner() == "nobody"


def test_the_user_cannot_make_the_next_start_touch_roots_files(serve, tmp_path):
    """A list of paths, or links, that the user left in the runtime directory are not obeyed."""
    victim = tmp_path / "victim"
    victim.write_text("precious")
    runtime = tmp_path / "test.run"
    runtime.mkdir(mode=0o777)
    (runtime / ".supervisor").write_text("test\n")
    facts = victim.stat()
    entries = (b"any 0 0", b"file %d %d" % (facts.st_dev, facts.st_ino))
    lines = [entry + b" " + os.fsencode(victim) + b"\0" for entry in entries]
    (runtime / "paths").write_bytes(b"".join(lines))
    for name in (".pid.new", ".web.pid.new", "scoreboard", ".scoreboard.new"):
        (runtime / name).symlink_to(victim)
    for path in (runtime, runtime / ".supervisor", runtime / "paths"):
        os.chown(path, NOBODY.pw_uid, NOBODY.pw_gid)
    files = {"user": "nobody", "pid_file": str(runtime / "web.pid")}
    server = serve(echo(), master=files)
    assert victim.read_text() == "precious"
    assert victim.owner() == "root"
    assert server.stop() == -signal.SIGTERM
    assert victim.read_text() == "precious"


def test_a_killed_master_takes_its_children_with_it(serve, tmp_path):
    """The request to die with the master survives the change of user."""
    server = serve(echo(), master={"user": "nobody"})
    server.signal(signal.SIGKILL)
    server.wait_gone()


def test_a_door_is_closed_without_privileges(serve, unprivileged):
    """A late connection is neither accepted nor refused, also where the kernel forbids filters."""
    server = serve(web("handlers:gated", children=1) + CANARY, prefix=unprivileged)
    with dial(server) as connection, socket.socket() as late:
        connection.recv(64)
        server.signal(signal.SIGTERM)
        server.wait_for("child exited worker=canary")
        late.settimeout(0.5)
        with contextlib.suppress(TimeoutError):
            late.connect(connection.getpeername())
            raise AssertionError("the late one was let in")
        connection.sendall(b".")
        assert connection.recv(64) == b"done\n"
    assert server.wait() == -signal.SIGTERM


CANARY = table("workers.canary", type="jobs:Scripted", children=1)


def test_check_imports_as_the_user(tmp_path):
    """Code that a user may write is not run by root, neither to check nor to complain."""
    said = tmp_path / "said"
    said.touch()
    os.chown(said, NOBODY.pw_uid, NOBODY.pw_gid)
    (tmp_path / "theirs.py").write_text(
        f"import os\nwith open({str(said)!r}, 'a') as file:\n    file.write(f'{{os.geteuid()}} ')\n"
    )
    master = {"user": "nobody", "preload": ["theirs"], "working_directory": str(tmp_path)}
    for text, status in ((echo(), 0), (echo(colour="red"), 78)):
        config = write(tmp_path, text, **master)
        assert supervisor("check", "-c", str(config)).returncode == status
    assert said.read_text() == f"{NOBODY.pw_uid} " * 2


def test_another_user_may_not_ask_the_children(serve):
    """Only the server's own user, and root, may ask."""
    server = serve(echo())
    before = server.children()
    done = server.command("stack", prefix=("setpriv", "--reuid=65534", "--clear-groups"))
    assert (done.returncode, done.stdout) == (77, "")
    assert "only the server's own user, or root" in done.stderr
    assert server.children() == before
    assert server.stop() == -signal.SIGTERM


def test_root_asks_another_users_server(serve):
    """Also without the right to trace processes, which containers do not give."""
    server = serve(echo(), master={"user": "nobody"})
    done = server.command(
        "stack", "--timeout", str(DEADLINE), prefix=("setpriv", "--bounding-set=-sys_ptrace")
    )
    assert "  thread MainThread:\n" in done.stdout
    assert server.stop() == -signal.SIGTERM
