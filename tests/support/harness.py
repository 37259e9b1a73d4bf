"""Starts real programs, waits for what they say, and proves that nothing of them is left.

Nothing here sleeps or polls: every wait is a select(2) on descriptors, with the one DEADLINE, which
is reached only when something is broken.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import pty
import re
import select
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

DEADLINE = 30.0
PROGRAMS = Path(__file__).parents[1] / "programs"
SUPERVISOR = str(Path(sys.executable).with_name("supervisor"))
# Inherited descriptors begin here, so that a shell's `3<&70-` never hits one that is in use.
FIRST_DESCRIPTOR = 64


def restore_signals() -> None:
    """Give INT and QUIT their defaults where they were ignored by inheritance, as below
    `nohup make test &`: what the tests start would inherit that.
    """
    for number in (signal.SIGINT, signal.SIGQUIT):
        if signal.getsignal(number) is signal.SIG_IGN:
            is_int = number is signal.SIGINT
            signal.signal(number, signal.default_int_handler if is_int else signal.SIG_DFL)


def environment(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """Return a clean environment; only what coverage needs to follow the children is inherited."""
    kept = {key: value for key, value in os.environ.items() if key.startswith("COVERAGE_")}
    path = f"{Path(SUPERVISOR).parent}:/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin"
    return {"PATH": path, "LANG": "C.UTF-8", "PS1": "$ ", **kept, **(extra or {})}


def supervisor(
    *arguments: str, prefix: Sequence[str] = (), **options: Any
) -> subprocess.CompletedProcess[str]:
    """Run one command of the supervisor to its end; `prefix` are words that start it."""
    options = {"stdin": subprocess.DEVNULL, "capture_output": True, "env": environment()} | options
    return subprocess.run(
        [*prefix, SUPERVISOR, *arguments], text=True, timeout=DEADLINE, check=False, **options
    )


def readable(descriptor: int) -> bool:
    """Tell whether a pidfd's process has ended, or nobody is left to write into a pipe."""
    return bool(select.select([descriptor], [], [], 0)[0])


class Program:
    """One started command: what it prints is collected, and a life line tells when it is gone.

    The life line is a pipe whose write end every process of the tree inherits: its end of file is
    the instant at which none is left, orphans included.
    """

    def __init__(
        self,
        command: Sequence[str],
        directory: Path,
        *,
        terminal: bool = False,
        stdin: int = subprocess.DEVNULL,
        pass_fds: Sequence[int] = (),
        extra: Mapping[str, str] | None = None,
    ) -> None:
        self.log = ""
        self._life, life_line = os.pipe()
        inherited = fcntl.fcntl(life_line, fcntl.F_DUPFD_CLOEXEC, FIRST_DESCRIPTOR)
        self._output, theirs = pty.openpty() if terminal else os.pipe()
        self.process = subprocess.Popen(
            ["setsid", "--ctty", *command] if terminal else command,
            cwd=directory,
            env=environment(extra),
            stdin=theirs if terminal else stdin,
            stdout=theirs if terminal else subprocess.DEVNULL,
            stderr=theirs,
            pass_fds=[inherited, *pass_fds],
            start_new_session=not terminal,
        )
        self.pid = self.process.pid
        self._pidfd = os.pidfd_open(self.pid)
        self.connections: list[socket.socket] = []
        self._open = [self._life, self._output, self._pidfd]
        for descriptor in (life_line, inherited, theirs):
            os.close(descriptor)

    def wait_for(self, *patterns: str, since: int = 0) -> list[re.Match[str]]:
        """Wait until the log after `since` has all patterns, in any order; return their matches."""

        def missing() -> list[str]:
            return [p for p in patterns if not re.search(p, self.log[since:], re.MULTILINE)]

        by = time.monotonic() + DEADLINE
        while missing():
            if not self.read(by):
                raise AssertionError(
                    f"the output ended or stalled without {missing()}:\n{self.log}"
                )
        return [m for p in patterns if (m := re.search(p, self.log[since:], re.MULTILINE))]

    def wait_until(self, descriptor: int) -> None:
        """Collect output until the descriptor (a pidfd, the read end of a pipe) is readable."""
        by = time.monotonic() + DEADLINE
        while not readable(descriptor):
            if not self.read(by, descriptor):
                raise AssertionError(f"waited in vain for descriptor {descriptor}:\n{self.log}")

    def wait(self) -> int:
        """Wait for the end of the process; return its status, negative when it died of a signal."""
        self.wait_until(self._pidfd)
        self.drain()
        return self.process.wait()

    def wait_gone(self) -> None:
        """Wait until no process of the tree is left."""
        self.wait_until(self._life)

    @property
    def is_gone(self) -> bool:
        """True when no process of the tree is left."""
        return readable(self._life)

    def type(self, text: str) -> None:
        """Type on the program's terminal."""
        os.write(self._output, text.encode())

    def signal(self, number: int) -> None:
        """Send a signal to the started process alone."""
        self.process.send_signal(number)

    def freeze(self) -> None:
        """Stop the started process with SIGSTOP; it is stopped when this returns."""
        self.signal(signal.SIGSTOP)
        os.waitid(os.P_PID, self.pid, os.WSTOPPED | os.WNOWAIT)

    def stop_reading(self) -> None:
        """Close the read end of the program's output, as a log reader does that dies."""
        self._open.remove(self._output)
        os.close(self._output)

    def close(self) -> list[str]:
        """End what is left; return a complaint for each process that outlived the program."""
        ended = self.process.poll() is not None
        complaints = [] if self.is_gone or not ended else list(self._survivors())
        if not ended:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self.process.kill()
            self.process.wait()
        for pid in self._holders():
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        self.wait_gone()
        for connection in self.connections:
            connection.close()
        for descriptor in self._open:
            os.close(descriptor)
        return complaints

    def read(self, by: float, *others: int) -> bool:
        """Take in what there is of output; False when `by` has passed or the output has ended."""
        watched = [fd for fd in (self._output,) if fd in self._open]
        ready, _, _ = select.select([*watched, *others], [], [], max(0.0, by - time.monotonic()))
        if self._output in ready:
            data = b""
            with contextlib.suppress(OSError):  # EIO: the last process has closed the terminal
                data = os.read(self._output, 65536)
            self.log += data.decode(errors="replace")
            if not data:
                self.stop_reading()
                return bool(others)
        return bool(ready)

    def drain(self) -> str:
        """Take in all output that is there, and return the whole log."""
        while self._output in self._open and readable(self._output):
            self.read(time.monotonic())
        return self.log

    def _holders(self) -> Iterator[int]:
        """Yield the pids that still have the life line open."""
        link = f"pipe:[{os.fstat(self._life).st_ino}]"
        for process in Path("/proc").glob("[0-9]*"):
            with contextlib.suppress(OSError):
                links = {os.readlink(descriptor) for descriptor in (process / "fd").iterdir()}
                if link in links and int(process.name) != os.getpid():
                    yield int(process.name)

    def _survivors(self) -> Iterator[str]:
        for pid in self._holders():
            with contextlib.suppress(OSError):
                command = Path(f"/proc/{pid}/cmdline").read_bytes().replace(b"\0", b" ").decode()
                yield f"process {pid} outlived the program: {command}"


class Server(Program):
    """A `supervisor start` on a configuration of its own, with its runtime directory beside it."""

    def __init__(
        self,
        directory: Path,
        config: Path,
        *,
        arguments: Sequence[str] = (),
        prefix: Sequence[str] = (),
        sockets: Sequence[socket.socket] = (),
        **options: Any,
    ) -> None:
        self.config = config
        self.runtime = config.with_suffix(".run")
        fds = [fcntl.fcntl(s, fcntl.F_DUPFD_CLOEXEC, FIRST_DESCRIPTOR) for s in sockets]
        command = [*prefix, SUPERVISOR, "start", "-c", str(config), *arguments]
        if fds:
            moves = " ".join(f"{number}<&{fd}-" for number, fd in enumerate(fds, 3))
            passing = f'exec {moves}; LISTEN_PID=$$ LISTEN_FDS={len(fds)} exec "$@"'
            command = ["bash", "-c", passing, "bash", *command]
        super().__init__(command, directory, pass_fds=fds, **options)
        for fd in fds:
            os.close(fd)

    def command(self, *arguments: str, **options: Any) -> subprocess.CompletedProcess[str]:
        """Run another command of the supervisor on the same configuration."""
        return supervisor(arguments[0], "-c", str(self.config), *arguments[1:], **options)

    def stats(self) -> dict[str, Any]:
        """Return what `supervisor stats --json` says."""
        done = self.command("stats", "--json")
        assert done.returncode == 0, done.stderr
        facts: dict[str, Any] = json.loads(done.stdout)
        return facts

    def children(self) -> dict[int, int]:
        """Return the pid of each child by its slot."""
        return {child["slot"]: child["pid"] for child in self.stats()["children"]}

    def address(self, section: str = "web", index: int = 0) -> str:
        """Return the address that a listener of the section is bound to."""
        pattern = rf"listening worker={section} address=([^\s\"]+)"
        return re.findall(pattern, self.log)[index]

    def stop(self) -> int:
        """Send SIGTERM, wait for the end, and return the status."""
        self.signal(signal.SIGTERM)
        return self.wait()

    def close(self) -> list[str]:
        """As Program.close; also complain of files that a server in good order left behind."""
        orderly = self.process.returncode not in (None, -signal.SIGKILL, -signal.SIGQUIT)
        left = sorted(self.runtime.iterdir()) if orderly and self.runtime.is_dir() else []
        return [f"left behind: {path}" for path in left] + super().close()
