"""One contender, running: started, awaited in the same way whoever it is, ended with all it left.

Ready, for everybody: the first good answer has come, as many children exist as were asked for, and
the application has been loaded in each of them (or before the fork).
"""

import contextlib
import os
import selectors
import signal
import socket
import tempfile
import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from string import Template

from supervisor.system import process
from tests.benchmarks.peers.contenders import Contender
from tests.benchmarks.peers.tree import children, tree
from tests.benchmarks.servers import Server, ServerDied

READY_TIMEOUT = 120.0
STOP_TIMEOUT = 30.0
ANSWER_TIMEOUT = 30.0
# Between its first sign of life and its readiness a stranger gives no event for "I listen now" and
# "I have forked": there, and only there, we look again and again, at this distance.
LOOK_AGAIN = 0.002
SERVED = Path(__file__).with_name("served")
REQUEST = b"GET %s HTTP/1.1\r\nHost: localhost\r\nConnection: close\r\n\r\n"


class Peer(Server):
    """A running contender. `answered_at`, `ready_at`: monotonic seconds; `words`: what it told."""

    def __init__(self, contender: Contender, count: int, directory: Path) -> None:
        self.contender = contender
        self.count = count
        self.port = free_port()
        self.answered_at = 0.0
        self.words: list[tuple[str, int]] = []
        self.has_ended = False
        self._others = set(process.own_children())
        fifo = directory / "fifo"
        os.mkfifo(fifo)
        self._fifo = os.open(fifo, os.O_RDWR | os.O_NONBLOCK)
        super().__init__(
            self._command(directory, fifo),
            directory=directory,
            extra={"BENCH_FIFO": str(fifo), "PYTHONPATH": str(SERVED), "HOME": str(directory)},
        )
        self._selector.register(self._fifo, selectors.EVENT_READ)

    def _command(self, directory: Path, fifo: Path) -> list[str]:
        program = self.contender.program()
        if program is None:
            raise ServerDied(f"{self.contender.name} is not installed")
        config = directory / ("bench.toml" if self.contender.is_ours else "bench.conf")
        place = {
            "children": self.count,
            "port": self.port,
            "directory": directory,
            "fifo": fifo,
            "served": SERVED,
            "config": config,
        }
        config.write_text(Template(self.contender.config).substitute(place))
        return [str(program), *Template(self.contender.command).substitute(place).split()[1:]]

    def hear(self, seconds: float) -> set[int]:
        """Wait for output, a word or the end; take in what there is; return what woke us."""
        events = self._listen_for(max(0.0, seconds))
        if self._pidfd in events:
            self.has_ended = True
            self._selector.unregister(self._pidfd)  # it would wake us for ever
        with contextlib.suppress(BlockingIOError):
            for line in os.read(self._fifo, 65536).decode().splitlines():
                word, pid = line.split()
                self.words.append((word, int(pid)))
        return events

    def hear_for(self, seconds: float) -> None:
        """Hear all that it says for so long; it may end meanwhile."""
        ends_at = time.monotonic() + seconds
        while (left := ends_at - time.monotonic()) > 0:
            self.hear(left)

    def await_ready(self) -> None:
        by = time.monotonic() + READY_TIMEOUT
        while not self._is_ready():
            looks = self._has_signs_of_life() and not (self.answered_at and self._is_loading())
            pause = LOOK_AGAIN if looks else by - time.monotonic()
            self.hear(pause)
            if self.has_ended:
                raise ServerDied(f"it ended before it was ready:\n{self.output}")
            if time.monotonic() > by:
                raise ServerDied(f"not ready within {READY_TIMEOUT:.0f} s")
        self.ready_at = time.monotonic()

    def _is_ready(self) -> bool:
        if not self.answered_at and self._has_signs_of_life() and self._answers():
            self.answered_at = time.monotonic()
        return (
            bool(self.answered_at)
            and not self._is_loading()
            and len(children(self.pid)) >= self.count
            and self.contender.says in self.output
        )

    def _has_signs_of_life(self) -> bool:
        return bool(self.words) or self.contender.loads == "nowhere"

    def _is_loading(self) -> bool:
        expected = {"in each child": self.count, "in the master": 1, "nowhere": 0}
        return len(self.loaded()) < expected[self.contender.loads]

    def _answers(self) -> bool:
        try:
            return self.contender.family == "programs" or is_good(answer_from(self.port))
        except ConnectionError:
            return False

    def loaded(self) -> set[int]:
        """The processes that have loaded the application."""
        return {pid for word, pid in self.words if word == "loaded"}

    def workers(self) -> list[int]:
        """The children that serve, without what a master keeps for itself."""
        alive = children(self.pid)
        if self.contender.loads == "in each child":
            return [pid for pid in alive if pid in self.loaded()]
        return alive

    def tell(self, number: signal.Signals) -> None:
        self._process.send_signal(number)

    def wait_gone(self, pids: Iterable[int], seconds: float) -> list[int]:
        """Wait until these processes have ended; return those that have not within the time."""
        left: dict[int, int] = {}
        for pid in pids:
            with contextlib.suppress(ProcessLookupError):
                left[os.pidfd_open(pid)] = pid
        for pidfd in left:
            self._selector.register(pidfd, selectors.EVENT_READ)
        by = time.monotonic() + seconds
        try:
            while left and (now := time.monotonic()) < by:
                for pidfd in left.keys() & self.hear(by - now):
                    self._forget(pidfd)
                    del left[pidfd]
        finally:
            for pidfd in left:
                self._forget(pidfd)
        return list(left.values())

    def _forget(self, pidfd: int) -> None:
        self._selector.unregister(pidfd)
        os.close(pidfd)

    def stop_all(self) -> float:
        """Seconds from SIGTERM until every process of the tree is gone."""
        pids, asked_at = tree(self.pid), time.monotonic()
        self.tell(signal.SIGTERM)
        if left := self.wait_gone(pids, STOP_TIMEOUT):
            raise ServerDied(f"{len(left)} processes left {STOP_TIMEOUT:.0f} s after SIGTERM")
        return time.monotonic() - asked_at

    def end(self) -> None:
        """Kill what is left of it, orphans of other process groups too, and release everything."""
        for pid in tree(self.pid)[1:]:
            _kill(pid)
        self._process.kill()
        self._process.wait()
        while orphans := set(process.own_children()) - self._others:
            for pid in orphans:
                _kill(pid)
                with contextlib.suppress(ChildProcessError):
                    os.waitpid(pid, 0)
        os.close(self._fifo)
        self._close()


def _kill(pid: int) -> None:
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


@contextmanager
def running(contender: Contender, count: int) -> Iterator[Peer]:
    """The contender with so many children, ready; killed afterwards if it still runs."""
    with tempfile.TemporaryDirectory(prefix="bench-", ignore_cleanup_errors=True) as name:
        peer = Peer(contender, count, Path(name))
        try:
            peer.await_ready()
            yield peer
        finally:
            peer.end()


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def answer_from(port: int, path: bytes = b"/", timeout: float = ANSWER_TIMEOUT) -> bytes:
    """All that comes back for one request on a connection of its own."""
    with socket.create_connection(("127.0.0.1", port), timeout) as connection:
        connection.sendall(REQUEST % path)
        return b"".join(iter(lambda: connection.recv(4096), b""))


def is_good(answer: bytes) -> bool:
    return answer.startswith(b"HTTP/1.1 200 ") and answer.endswith(b"hello")
