"""The units that `supervisor unit` prints, and the ones that are shipped."""

from pathlib import Path

import msgspec
import pytest

from supervisor.cli import unit
from supervisor.config.load import load

SOURCES = Path(__file__).parents[2]
COMMAND = Path("/opt/supervisor/.venv/bin/supervisor")


def read(tmp_path, text):
    """Return a configuration given as text."""
    file = tmp_path / "web.toml"
    file.write_text(text)
    loaded, problems = load(file)
    problems.raise_if_any()
    return loaded


def section(*listen, name="web"):
    """Return a worker section."""
    entries = ", ".join(listen)
    return f'[workers.{name}]\ntype = "tcp"\nlisten = [{entries}]\nhandler = "a:b"\n'


def service(loaded, with_socket=True):
    """Return the lines of the service unit."""
    return unit.service(loaded, COMMAND, with_socket=with_socket).splitlines()


def sockets(loaded):
    """Return the lines of the socket unit."""
    return (unit.socket_unit(loaded) or "").splitlines()


def test_the_shipped_units_are_what_the_command_prints():
    """conf/systemd is for conf/supervisor.toml at /etc/supervisor, the program in /opt."""
    loaded, _ = load(SOURCES / "conf/supervisor.toml")
    master = msgspec.structs.replace(loaded.master, working_directory="/opt/supervisor")
    loaded = msgspec.structs.replace(loaded, file="/etc/supervisor/supervisor.toml", master=master)
    folder = SOURCES / "conf/systemd"
    shipped = (folder / "supervisor.service").read_text()
    assert unit.service(loaded, COMMAND, with_socket=True) == shipped
    assert unit.socket_unit(loaded) == (folder / "supervisor.socket").read_text()


def test_deadlines_are_beyond_our_own(tmp_path):
    """A start may take start_timeout and the stop after it; a stop, its delay and both of its
    timeouts.
    """
    text = "[master]\nstart_timeout = 60.0\nstop_timeout = 20.0\ndestroy_timeout = 7.5\n"
    text += "drain_delay = 100.0\n"
    lines = service(read(tmp_path, text + section('"tcp://127.0.0.1:80"')))
    assert "TimeoutStopSec=133s" in lines
    assert "TimeoutStartSec=193s" in lines


def test_the_socket_unit_holds_what_systemd_can_hold(tmp_path):
    """Fixed ports and one kind of unix socket; port 0 and the runtime directory are ours."""
    listen = (
        '"tcp://0.0.0.0:80"',
        '"tcp://[::1]:81"',
        '"tcp://127.0.0.1:0"',
        '{ address = "unix:///run/a.sock", mode = "0660", owner = "www:web" }',
        '"unix:///run/b.sock"',
        '"unix:///run/web/c.sock"',
    )
    lines = sockets(read(tmp_path, section(*listen)))
    assert [line for line in lines if line.startswith("Listen")] == [
        "ListenStream=0.0.0.0:80",
        "ListenStream=[::1]:81",
        "ListenStream=/run/a.sock",
    ]
    assert {"SocketMode=0660", "SocketUser=www", "SocketGroup=web"} <= set(lines)


def test_a_host_name_becomes_an_address(tmp_path):
    """systemd looks up no names."""
    assert "ListenStream=127.0.0.1:80" in sockets(read(tmp_path, section('"tcp://localhost:80"')))


def test_nothing_to_hold_is_no_socket_unit(tmp_path):
    """Port 0 alone needs none."""
    assert sockets(read(tmp_path, section('"tcp://127.0.0.1:0"'))) == []


@pytest.mark.parametrize(
    ("with_socket", "port", "capability"),
    [(True, 80, ""), (False, 80, "CAP_NET_BIND_SERVICE"), (False, 8080, "")],
)
def test_a_capability_only_for_a_low_port_of_our_own(tmp_path, with_socket, port, capability):
    """Whoever binds port 80 needs the right to; nobody else gets it."""
    loaded = read(tmp_path, section(f'"tcp://127.0.0.1:{port}"'))
    lines = service(loaded, with_socket)
    assert f"CapabilityBoundingSet={capability}" in lines
    assert (f"AmbientCapabilities={capability}" in lines) == bool(capability)


def test_the_user_is_systemds_to_change(tmp_path):
    """`user` and `group` become User= and Group=; without them the user is a dynamic one."""
    lines = service(read(tmp_path, '[master]\nuser = "www"\ngroup = "web"\n' + section()))
    assert {"User=www", "Group=web"} <= set(lines)
    assert "DynamicUser=yes" not in lines
    assert "DynamicUser=yes" in service(read(tmp_path, section()))


def test_what_is_written_is_writable(tmp_path):
    """ProtectSystem=strict, but for the directories of logs, pid file, sockets and modules."""
    text = '[master]\npid_file = "/srv/pid/web.pid"\n[log]\nfile = "/var/log/web/log"\n'
    text += section('"unix:///srv/web/sock"')
    text += '[workers.app]\ntype = "wsgi"\napp = "a:b"\naccess_log = "common"\n'
    text += 'access_log_file = "/var/log/app/access"\n'
    text += '[modules.counters]\npath = "/var/lib/web/counters"\n'
    lines = service(read(tmp_path, text))
    written = [line for line in lines if line.startswith("ReadWritePaths=")]
    assert written == [
        f"ReadWritePaths={path}"
        for path in ("/srv/pid", "/srv/web", "/var/lib/web", "/var/log/app", "/var/log/web")
    ]


def test_paths_are_quoted_for_systemd(tmp_path):
    """Spaces, specifiers and variables mean nothing in a path."""
    folder = tmp_path / "my $5 %h"
    folder.mkdir()
    lines = service(read(folder, section()))
    (start,) = [line for line in lines if line.startswith("ExecStart=")]
    assert start.endswith(f'start -c "{tmp_path}/my $$5 %%h/web.toml"')
