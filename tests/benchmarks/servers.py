"""A server process under measurement: started, heard, stopped, never left behind.

It knows how ours and the floor are started and what they print; not what is measured.
"""

import os
import re
import selectors
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager, contextmanager, suppress
from pathlib import Path
from types import TracebackType
from typing import Self

import psutil

DEADLINE = 60.0
FLOOR = Path(__file__).with_name("floor.py")
ROOT = Path(__file__).parents[2]
SUPERVISOR = Path(sys.executable).with_name("supervisor")
CONFIG = """\
name = "bench"
[master]
runtime_directory = "{runtime}"
restart = "{restart}"
working_directory = "{root}"
[workers.bench]
children = {children}
listen = ["tcp://127.0.0.1:0"]
backlog = 2048
{section}
"""
ECHO = """\
type = "tcp"
handler = "tests.benchmarks.once:serve"
"""
Contender = Callable[[int], AbstractContextManager["Server"]]
FLOOR_READY = r"ready address=(?P<host>[\d.]+):(?P<port>\d+) forked_in=(?P<forked_in>[\d.]+)"
OURS_LISTENING = r"listening .*address=tcp://(?P<host>[\d.]+):(?P<port>\d+)"
OURS_READY = r"server ready .*generation={generation}\b"


class ServerDied(Exception):
    """The server ended, or said nothing more for DEADLINE seconds, before what was waited for."""

    @property
    def last_words(self) -> str:
        return str(self).rstrip().rpartition("\n")[2]


class Server:
    """One running process; `spawned_at`, `ready_at` are monotonic seconds."""

    def __init__(
        self,
        command: list[str],
        *,
        directory: Path | None = None,
        extra: Mapping[str, str] | None = None,
    ) -> None:
        self.output = ""
        self.address = ("", 0)
        self.ready_at = 0.0
        self.forked_in = 0.0
        self.config: Path | None = None
        self._selector = selectors.DefaultSelector()
        self.spawned_at = time.monotonic()
        self._process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            cwd=directory,
            env={"PATH": os.environ.get("PATH", os.defpath), "LC_ALL": "C.UTF-8", **(extra or {})},
            start_new_session=True,
        )
        assert self._process.stdout is not None
        self.pid = self._process.pid
        self._pipe = self._process.stdout.fileno()
        self._pidfd = os.pidfd_open(self.pid)
        os.set_blocking(self._pipe, False)
        self._selector.register(self._pipe, selectors.EVENT_READ)
        self._selector.register(self._pidfd, selectors.EVENT_READ)

    def wait_for(self, pattern: str) -> tuple[re.Match[str], float]:
        """The first line that matches, and the monotonic time at which it was read."""
        line, searched, gone = re.compile(pattern), 0, False
        while True:
            complete = self.output.rfind("\n") + 1
            if found := line.search(self.output, searched, complete):
                return found, time.monotonic()
            searched = complete
            if gone:
                raise ServerDied(f"it ended before {pattern!r}:\n{self.output}")
            gone = self._pidfd in self._listen()

    def stop(self) -> float:
        """Seconds from SIGTERM until the process is gone."""
        asked_at = time.monotonic()
        self._process.send_signal(signal.SIGTERM)
        while self._pidfd not in self._listen():
            pass
        return time.monotonic() - asked_at

    def rest(self, seconds: float) -> None:
        """Let it live undisturbed for so long, and hear that it did not end meanwhile."""
        ends_at = time.monotonic() + seconds
        while (left := ends_at - time.monotonic()) > 0:
            if self._pidfd in self._listen_for(left):
                raise ServerDied(f"it ended by itself:\n{self.output}")

    def cpu_seconds(self) -> list[float]:
        """Time on a CPU so far: the master's, then each child's. The scheduler counts in ns."""
        paths = [Path(f"/proc/{pid}/schedstat") for pid in (self.pid, *self.children())]
        return [int(path.read_text().split()[0]) / 1e9 for path in paths]

    def children(self) -> list[int]:
        return [child.pid for child in psutil.Process(self.pid).children()]

    def _listen(self) -> set[int]:
        if not (events := self._listen_for(DEADLINE)):
            raise ServerDied(f"nothing more for {DEADLINE} s:\n{self.output}")
        return events

    def _listen_for(self, seconds: float) -> set[int]:
        """Wait for output or the end, read what there is, and return what woke us, if anything."""
        events = {key.fd for key, _ in self._selector.select(seconds)}
        self._read()
        return events

    def _read(self) -> None:
        try:
            while text := os.read(self._pipe, 65536):
                self.output += text.decode(errors="replace")
        except BlockingIOError:
            return
        if self._pipe in self._selector.get_map():
            self._selector.unregister(self._pipe)

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        try:
            if error is None and self._process.poll() is None:
                self.stop()
        finally:
            with suppress(ProcessLookupError):
                os.killpg(self.pid, signal.SIGKILL)
            self._close()

    def _close(self) -> None:
        self._process.wait(DEADLINE)
        self._selector.close()
        os.close(self._pidfd)
        assert self._process.stdout is not None
        self._process.stdout.close()


@contextmanager
def floor(children: int) -> Iterator[Server]:
    """The bare prefork loop, ready."""
    with Server([sys.executable, str(FLOOR), str(children)]) as server:
        found, server.ready_at = server.wait_for(FLOOR_READY)
        server.address = (found["host"], int(found["port"]))
        server.forked_in = float(found["forked_in"])
        yield server


@contextmanager
def ours(children: int, *, section: str = ECHO, restart: str = "never") -> Iterator[Server]:
    """Our server with one section of so many children, ready."""
    with tempfile.TemporaryDirectory(prefix="supervisor-bench-") as directory:
        config = Path(directory, "bench.toml")
        runtime = Path(directory, "run")
        config.write_text(
            CONFIG.format(
                runtime=runtime, restart=restart, root=ROOT, children=children, section=section
            )
        )
        command = [str(SUPERVISOR), "start", "-c", str(config)]
        with Server(command) as server:
            _, server.ready_at = server.wait_for(OURS_READY.format(generation=1))
            found = re.search(OURS_LISTENING, server.output)
            assert found is not None, server.output
            server.address = (found["host"], int(found["port"]))
            server.config = config
            yield server
