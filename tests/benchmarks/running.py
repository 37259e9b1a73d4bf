"""One contender, running: started, awaited in the same way whoever it is, ended with all it left.

Ready, for everybody: the first good answer has come, as many children exist as were asked for, and
the application has been loaded in each of them (or before the fork).
"""

import contextlib
import os
import signal
import socket
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from string import Template
from typing import Final

from tests.benchmarks.contenders import ANSWERS_HTTP, QUESTIONS, ROOT, SERVED, Contender
from tests.benchmarks.kernel import children, tree
from tests.support.harness import Program, readable

READY_TIMEOUT: Final = 120.0
# For what is written while a server runs, as below /run: the journal of a disk is nobody's figure.
IN_MEMORY: Final = "/dev/shm" if os.access("/dev/shm", os.W_OK) else None
PATIENCE: Final = 30.0
# Between its first sign of life and its readiness a stranger gives no event for "I listen now" and
# "I have forked": there, and only there, we look again and again, at this distance.
LOOK_AGAIN: Final = 0.002
REQUEST: Final = b"GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


def is_guard(pid: int) -> bool:
    """Tell whether it is the process that our master keeps for the case that it is killed."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/cmdline").read_bytes().rstrip(b"\0 ").endswith(b" guard")
    return False


class Running(Program):
    """A running contender. Times are monotonic seconds; `words`: what the application has told."""

    def __init__(
        self, contender: Contender, count: int, directory: Path, options: Sequence[str]
    ) -> None:
        self.contender = contender
        self.count = count
        self.port = free_port()
        self.config = directory / ("bench.toml" if contender.side == "ours" else "bench.conf")
        self.answered_at = self.ready_at = 0.0
        self.words: list[tuple[str, int]] = []
        self._others = set(children(os.getpid()))
        fifo = directory / "fifo"
        os.mkfifo(fifo)
        self._fifo = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
        command = [*self._command(directory, fifo), *options]
        told = {"BENCH_FIFO": str(fifo), "PYTHONPATH": str(SERVED), "HOME": str(directory)}
        self.spawned_at = time.monotonic()
        super().__init__(command, directory, extra=told)

    def _command(self, directory: Path, fifo: Path) -> list[str]:
        place = {"children": self.count, "port": self.port, "directory": directory, "fifo": fifo}
        place |= {"served": SERVED, "root": ROOT, "config": self.config}
        self.config.write_text(Template(self.contender.template()).substitute(place))
        arguments = Template(self.contender.command).substitute(place).split()[1:]
        return [str(self.contender.program()), *arguments]

    @property
    def has_ended(self) -> bool:
        return readable(self._pidfd)

    def hear(self, by: float, *others: int) -> None:
        """Wait for output, a word, the end, or one of these descriptors; take in what there is."""
        ends = () if self.has_ended else (self._pidfd,)
        self.read(by, self._fifo, *ends, *others)
        with contextlib.suppress(BlockingIOError):
            for line in os.read(self._fifo, 65536).decode().splitlines():
                word, pid = line.split()
                self.words.append((word, int(pid)))

    def hear_for(self, seconds: float) -> None:
        """Hear all that it says for so long; it may end meanwhile."""
        by = time.monotonic() + seconds
        while time.monotonic() < by:
            self.hear(by)

    def await_ready(self) -> None:
        by = time.monotonic() + READY_TIMEOUT
        while not self._is_ready():
            looks = self._shows_life() and not (self.answered_at and self._is_loading())
            self.hear(time.monotonic() + LOOK_AGAIN if looks else by)
            assert not self.has_ended, f"it ended before it was ready:\n{self.log}"
            assert time.monotonic() < by, f"not ready within {READY_TIMEOUT:.0f} s:\n{self.log}"
        self.ready_at = time.monotonic()

    def _is_ready(self) -> bool:
        if not self.answered_at and self._shows_life() and self._answers():
            self.answered_at = time.monotonic()
        has_all = self.answered_at and not self._is_loading() and self.contender.says in self.log
        return bool(has_all) and len(children(self.pid)) >= self.count

    def _shows_life(self) -> bool:
        return bool(self.words) or self.contender.loads == "nowhere"

    def _is_loading(self) -> bool:
        expected = {"in each child": self.count, "in the master": 1}.get(self.contender.loads, 0)
        return len(self.told("loaded")) < expected

    def _answers(self) -> bool:
        family = self.contender.family
        with contextlib.suppress(ConnectionError):
            if family in QUESTIONS:
                with datagrams_to(self.port) as client:
                    return bool(client.send(QUESTIONS[family]) and client.recv(65536))
            return family not in ANSWERS_HTTP or is_good(answer_from(self.port))
        return False

    def told(self, word: str) -> set[int]:
        """The processes that have told this: `loaded`, `begun`."""
        return {pid for said, pid in self.words if said == word}

    def workers(self) -> list[int]:
        """The newest children that serve, without what drains or what a master keeps for itself."""
        alive = [pid for pid in children(self.pid) if not is_guard(pid)]
        if self.contender.loads == "in each child":
            alive = [pid for pid in alive if pid in self.told("loaded")]
        return alive[-self.count :]

    def ended_after(self, number: int, pids: list[int], seconds: float) -> tuple[float, list[int]]:
        """Send the master a signal; the time until these have ended, and who has not within it."""
        told_at = time.monotonic()
        self.signal(number)
        return self.gone_since(told_at, pids, seconds)

    def gone_since(
        self, began_at: float, pids: list[int], seconds: float
    ) -> tuple[float, list[int]]:
        """The time from an instant until these have ended, and who has not within it."""
        left = [pid for pid in pids if not self._ends(pid, began_at + seconds)]
        return time.monotonic() - began_at, left

    def _ends(self, pid: int, by: float) -> bool:
        """Wait for an end. Pids are used in turn: none of them is another's so soon."""
        with contextlib.suppress(ProcessLookupError), os.fdopen(os.pidfd_open(pid), "rb", 0) as one:
            while not (has_ended := readable(one.fileno())) and time.monotonic() < by:
                self.hear(by, one.fileno())
            return has_ended
        return True

    def stop(self) -> float:
        """Seconds from SIGTERM until every process of the tree is gone."""
        took, left = self.ended_after(signal.SIGTERM, tree(self.pid), PATIENCE)
        assert not left, f"{len(left)} processes left {PATIENCE:.0f} s after SIGTERM"
        return took

    def close(self) -> list[str]:
        """Kill what is left of it, orphans of other process groups too, and release everything.

        Who closed the life line is found as a descendant, who was orphaned as a child of ours.
        """
        for pid in tree(self.pid)[1:]:
            end(pid)
        complaints = super().close()
        while orphans := set(children(os.getpid())) - self._others:
            for pid in orphans:
                end(pid)
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, 0)
        os.close(self._fifo)
        return complaints


def end(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


@contextmanager
def running(contender: Contender, count: int, *options: str) -> Iterator[Running]:
    """The contender with so many children, ready; killed afterwards if it still runs."""
    temporary = tempfile.TemporaryDirectory
    with temporary(prefix="bench-", dir=IN_MEMORY, ignore_cleanup_errors=True) as name:
        server = Running(contender, count, Path(name), options)
        try:
            server.await_ready()
            yield server
        finally:
            server.close()


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answer_from(port: int, path: bytes = b"/", timeout: float = PATIENCE) -> bytes:
    """All that comes back for one request on a connection of its own."""
    with socket.create_connection(("127.0.0.1", port), timeout) as connection:
        connection.sendall(REQUEST % path)
        return b"".join(iter(lambda: connection.recv(4096), b""))


def datagrams_to(port: int) -> socket.socket:
    client = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    client.settimeout(PATIENCE)
    client.connect(("127.0.0.1", port))
    return client


def is_good(answer: bytes) -> bool:
    return answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b"hello")
