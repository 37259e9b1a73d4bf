"""A real systemd, booted in systemd-nspawn from an overlay of this machine's own root.

The overlay lives in a tmpfs, so nothing of it is left. The container has its own network: clients
enter it. Python, its packages and the sources are bound to /opt, since /tmp, /run and homes are not
the container's.
"""

from __future__ import annotations

import contextlib
import os
import re
import select
import shutil
import signal
import socket
import subprocess
import sys
import sysconfig
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from tests.support.harness import DEADLINE, Program, environment

SOURCES = Path(__file__).parents[2]
COMMAND = "/opt/supervisor/.venv/bin/supervisor"
UNITS = "etc/systemd/system"
BINDS = {
    SOURCES: "/opt/supervisor/src",
    Path(sysconfig.get_path("purelib")): "/opt/supervisor/lib",
    Path(sys.base_prefix): "/opt/python",
}
# Its library may be looked up below a home that the unit hides, and Debian may have another.
PYTHON = f"/opt/python/bin/python{sys.version_info.major}.{sys.version_info.minor}"
SCRIPT = f"""\
#!/usr/bin/env -S LD_LIBRARY_PATH=/opt/python/lib {PYTHON}
import sys
sys.path += ["/opt/supervisor/src", "/opt/supervisor/lib"]
from supervisor.cli.main import main
main(prog_name="supervisor")
"""
TARGET = """\
[Unit]
DefaultDependencies=no
Requires=dbus.service
After=dbus.service
AllowIsolate=yes
"""


class NotBooted(Exception):
    """systemd-nspawn cannot boot a container here; says why."""


def why_not() -> str | None:
    """Return the reason why no container can be booted here, None when it can."""
    if os.geteuid() != 0:
        return "needs root"
    for program in ("systemd-nspawn", "nsenter", "journalctl"):
        if shutil.which(program) is None:
            return f"needs {program} (Debian: systemd-container)"
    return None


@contextlib.contextmanager
def mounted(directory: Path) -> Iterator[Path]:
    """Yield the root of an overlay of / in a tmpfs. Raises CalledProcessError where that fails."""
    with contextlib.ExitStack() as stack:
        call("mount", "-t", "tmpfs", "tmpfs", str(directory))
        stack.callback(call, "umount", "--lazy", str(directory))
        upper, work, root = (directory / name for name in ("upper", "work", "root"))
        for path in (upper, work, root):
            path.mkdir()
        layers = f"lowerdir=/,upperdir={upper},workdir={work}"
        call("mount", "-t", "overlay", "overlay", "-o", layers, str(root))
        stack.callback(call, "umount", "--lazy", str(root))
        yield root


def call(*command: str) -> str:
    """Run a command that must succeed, and return its output."""
    done = subprocess.run(command, capture_output=True, text=True, check=False, timeout=DEADLINE)
    if done.returncode:
        raise subprocess.CalledProcessError(done.returncode, command, done.stdout, done.stderr)
    return done.stdout


class Machine:
    """A booted container: what systemctl says, what the journal gets, what clients see."""

    def __init__(self, root: Path, directory: Path) -> None:
        self.root = root
        self._furnish()
        address = directory / "notify"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as notified:
            notified.bind(str(address))
            binds = [f"--bind-ro={source}:{target}" for source, target in BINDS.items()]
            self.nspawn = Program(
                [
                    *("systemd-nspawn", "--quiet", f"--directory={root}", "--boot"),
                    *("--register=no", "--keep-unit", "--console=pipe", "--private-network"),
                    *("--notify-ready=yes", *binds, "systemd.unit=suite.target"),
                ],
                directory,
                extra={"NOTIFY_SOCKET": str(address)},
            )
            self.leader = self._await_boot(notified)
        self._following: list[Program] = []
        self._directory = directory

    def _furnish(self) -> None:
        """Put our command, a target of little, and an identity of its own into the root."""
        script = self.root / COMMAND.lstrip("/")
        script.parent.mkdir(parents=True)
        script.write_text(SCRIPT)
        script.chmod(0o755)
        (self.root / "etc/machine-id").write_text(uuid.uuid4().hex + "\n")
        (self.root / UNITS / "suite.target").write_text(TARGET)

    def _await_boot(self, notified: socket.socket) -> int:
        """Wait until the container's systemd is ready; return the pid of its init."""
        facts = ""
        ended = os.pidfd_open(self.nspawn.pid)
        try:
            while not ("READY=1" in facts and "X_NSPAWN_LEADER_PID=" in facts):
                ready, _, _ = select.select([notified, ended], [], [], DEADLINE)
                if notified not in ready:
                    self.nspawn.close()
                    raise NotBooted(f"{facts}{self.nspawn.log}".strip() or "no word of it")
                facts += notified.recv(4096).decode() + "\n"
        finally:
            os.close(ended)
        return int(re.findall(r"X_NSPAWN_LEADER_PID=(\d+)", facts)[0])

    def write(self, path: str, text: str) -> Path:
        """Write a file into the container."""
        file = self.root / path.lstrip("/")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(text)
        return file

    def install(self, config: str, *drop_ins: str) -> None:
        """Install the units as shipped, with this configuration and drop-ins for the service."""
        self.write("etc/supervisor/supervisor.toml", config)
        for file in (SOURCES / "conf/systemd").iterdir():
            self.write(f"{UNITS}/{file.name}", file.read_text())
        shutil.rmtree(self.root / UNITS / "supervisor.service.d", ignore_errors=True)
        for number, text in enumerate(drop_ins):
            self.write(f"{UNITS}/supervisor.service.d/{number}.conf", text)
        self.systemctl("daemon-reload")

    def enter(self, *command: str) -> list[str]:
        """Return the command line that runs a command inside."""
        return ["nsenter", f"--target={self.leader}", "--all", *command]

    def run(self, *command: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run a command inside to its end."""
        options = {"capture_output": True, "env": environment(), "check": False} | options
        return subprocess.run(self.enter(*command), text=True, timeout=DEADLINE, **options)

    def systemctl(self, *arguments: str, status: int = 0) -> str:
        """Run systemctl inside; it must end with the status."""
        done = self.run("systemctl", *arguments)
        assert done.returncode == status, f"{done.args}: {done.stderr}\n{self.journal()}"
        return done.stdout.strip()

    def show(self, *properties: str, unit: str = "supervisor.service") -> dict[str, str]:
        """Return properties of the unit."""
        text = self.systemctl("show", unit, *(f"--property={name}" for name in properties))
        return dict(line.split("=", 1) for line in text.splitlines())

    def journal(self, *arguments: str) -> str:
        """Return the service's entries so far."""
        return self.run("journalctl", "-q", "-u", "supervisor", *arguments).stdout

    def follow(self, *arguments: str) -> Program:
        """Return a reader of the entries to come."""
        command = ("journalctl", "-q", "-f", "-n0", "-u", "supervisor", "-o", "cat", *arguments)
        # `script` gives no readiness; a cursor does: nothing between now and then is lost.
        cursor = self.run("journalctl", "-q", "-n1", "--show-cursor", "-o", "cat").stdout
        found = re.findall(r"-- cursor: (\S+)", cursor)
        since = [f"--after-cursor={found[0]}"] if found else []
        following = Program(
            self.enter("sh", "-c", 'exec "$@" >&2', "sh", *command[:3], *command[4:], *since),
            self._directory,
        )
        self._following.append(following)
        return following

    def client(self, *command: str, **options: Any) -> Program:
        """Start a program of the outside in the container's network."""
        enter = ["nsenter", f"--target={self.leader}", "--net"]
        client = Program([*enter, *command], self._directory, **options)
        self._following.append(client)
        return client

    def pids(self) -> list[int]:
        """Return the pids of the service's processes, as seen from outside, the master first."""
        group = self.show("ControlGroup")["ControlGroup"]
        return cgroup_processes(self.leader, group) if group else []

    def reset(self) -> None:
        """Stop what a test has started, and forget its failures."""
        for program in self._following:
            program.process.terminate()
            program.wait()
            program.close()
        self._following.clear()
        self.run("systemctl", "stop", "supervisor.service", "supervisor.socket")
        self.run("systemctl", "reset-failed")

    def close(self) -> None:
        """Switch the machine off, as a plug is pulled."""
        self.nspawn.signal(signal.SIGTERM)
        self.nspawn.wait()
        self.nspawn.close()


def cgroup_processes(init: int, group: str) -> list[int]:
    """Return the pids in a cgroup of the container whose init this is: other containers run too."""
    found = []
    namespace = os.readlink(f"/proc/{init}/ns/pid")
    for process in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            is_inside = os.readlink(process / "ns/pid") == namespace
            lines = (process / "cgroup").read_text().splitlines()
            if is_inside and any(line.endswith(group) for line in lines):
                found.append(int(process.name))
    return sorted(found)
