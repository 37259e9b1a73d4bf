"""The clients of a soak: processes that ask in a closed loop, well or badly behaved, check each
answer, and report what went wrong. What may go wrong is not decided here.
"""

import http.client
import json
import os
import random
import select
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from contextlib import closing, contextmanager, suppress
from functools import partial
from multiprocessing import get_context
from typing import Final, NamedTuple

from websockets.exceptions import ConnectionClosed, InvalidMessage
from websockets.sync.client import connect

from tests.benchmarks.soak.served import LONG, PAGE, TICK
from tests.support.harness import readable

Address = tuple[str, int]

PATIENCE: Final = 20.0  # s: longer than any drain and back-off that the soak provokes
UDP_PATIENCE: Final = 10.0
HOLD: Final = 0.8  # s: longer than the server's patience with who sends nothing
DRIP: Final = 0.02
SERVICE_RESTART: Final = 1012  # RFC 6455's registry
RESET: Final = struct.pack("ii", 1, 0)  # struct linger: close(2) resets


class Miss(Exception):
    """A request without its answer: why, and the pid of who had it in hand if that is known."""


class Failure(NamedTuple):
    """A request without its answer; monotonic seconds. `pid`: who had it in hand, if not 0."""

    section: str
    what: str
    pid: int
    began_at: float
    failed_at: float


class Report(NamedTuple):
    """The answers and failures that one client has seen."""

    kind: str
    answered: int
    failures: list[Failure]


def echo(address: Address, rng: random.Random, pause: float = 0.0) -> None:
    """Send a line, at once or byte by byte, and have it back."""
    line, answer = b"%032x\n" % rng.getrandbits(128), b""
    try:
        with socket.create_connection(address, PATIENCE) as connection:
            for at in range(len(line) if pause else 0):
                connection.sendall(line[at : at + 1])
                if select.select([connection], [], [], pause)[0]:
                    answer += connection.recv(65_536)
            connection.sendall(b"" if pause else line)
            answer += rest_of(connection)
    except OSError as error:
        raise Miss(name_of(error, "tcp"), holder(answer)) from None
    check(answer.partition(b"\n")[2], line, holder(answer))


def web(address: Address, rng: random.Random) -> None:
    """Have the page, which a query does not change."""
    code, body = get(address, f"/page?{rng.getrandbits(128):032x}")
    check(b"%d " % code + body, b"200 " + PAGE)


def status(address: Address, rng: random.Random) -> None:
    """Read the statistics, the metrics or a probe."""
    path = rng.choice(("/stats.json", "/metrics", "/readyz", "/healthz"))
    code, body = get(address, path)
    # Not every child is ready yet, or some stop already: the probe says so, truthfully.
    wrong = code != 200 and (path, code) != ("/readyz", 503)
    if wrong or (path == "/stats.json" and json.loads(body)["name"] != "soak"):
        raise Miss(f"wrong answer to {path}: {code} {body[:80]!r}", 0)


def get(address: Address, path: str) -> tuple[int, bytes]:
    with closing(http.client.HTTPConnection(*address, timeout=PATIENCE)) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()


def udp(address: Address, rng: random.Random) -> None:
    """Have a datagram back."""
    data = rng.randbytes(rng.randrange(1, 1400))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as connection:
        connection.settimeout(UDP_PATIENCE)
        connection.connect(address)
        connection.send(data)
        check(connection.recv(65_536), data)


def long(address: Address, rng: random.Random) -> None:
    """Have an answer that takes its time."""
    with opened(address, "/long") as answer:
        pid = int(answer.readline() or 0)
        check(rest_by(pid, answer.read), b"done\n", pid)


def stream(address: Address, rng: random.Random) -> None:
    """Read events for as long, and hang up."""
    ends_at = time.monotonic() + LONG
    with opened(address, "/stream") as answer:
        pid = int(answer.readline() or 0)
        while time.monotonic() < ends_at:
            check(rest_by(pid, answer.readline), b"data: tick\n", pid)
            check(rest_by(pid, answer.readline), b"\n", pid)


def websocket(address: Address, rng: random.Random) -> None:
    """Have messages said again for as long, or be told that the service restarts (1012)."""
    host, port = address
    ends_at, pid = time.monotonic() + LONG, 0
    try:
        with connect(f"ws://{host}:{port}", open_timeout=PATIENCE, compression=None) as connection:
            pid = int(connection.recv(PATIENCE))
            while time.monotonic() < ends_at:
                connection.send(text := f"{rng.getrandbits(128):032x}")
                if (said := connection.recv(PATIENCE)) != text:
                    raise Miss(f"wrong answer {said!r}", pid)
                select.select([], [], [], TICK)
    except ConnectionClosed as closed:
        if closed.rcvd is None or closed.rcvd.code != SERVICE_RESTART:
            raise Miss("cut short", pid) from None
    except (OSError, InvalidMessage) as error:
        raise Miss(name_of(error, "asgi"), pid) from None


@contextmanager
def opened(address: Address, path: str) -> Iterator[http.client.HTTPResponse]:
    """The answer to a request, of which the head has come."""
    with closing(http.client.HTTPConnection(*address, timeout=PATIENCE)) as connection:
        connection.request("GET", path)
        answer = connection.getresponse()
        if answer.status != 200:
            raise Miss(f"wrong answer to {path}: {answer.status}", 0)
        yield answer


def rest_by(pid: int, read: Callable[[], bytes]) -> bytes:
    """The bytes that `read` returns; where it fails, the child `pid` had the request in hand."""
    try:
        return read()
    except (OSError, http.client.HTTPException) as error:
        raise Miss(name_of(error, "asgi"), pid) from None


def rude(address: Address, rng: random.Random) -> None:
    """Misbehave in one of many ways; only not to be let in is the server's fault."""
    with socket.create_connection(address, PATIENCE) as connection, suppress(OSError):
        connection.settimeout(HOLD)
        rng.choice((rest_of, deaf, reset, half, socket.socket.close))(connection)


def deaf(connection: socket.socket) -> None:
    """Ask for much and read none of it, until the server must have given up."""
    connection.sendall(b"large\n")
    select.select([], [], [], HOLD)


def reset(connection: socket.socket) -> None:
    """Hang up in the middle of the answer, with a reset."""
    connection.sendall(b"large\n")
    connection.recv(65_536)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


def half(connection: socket.socket) -> None:
    """Hang up in the middle of a line."""
    connection.sendall(b"GET /ha")


def rest_of(connection: socket.socket) -> bytes:
    """All that comes until the server hangs up."""
    return b"".join(iter(lambda: connection.recv(65_536), b""))


def holder(answer: bytes) -> int:
    """The pid in an answer's first line."""
    pid, newline, _ = answer.partition(b"\n")
    return int(pid) if newline else 0


def check(answer: bytes, wanted: bytes, pid: int = 0) -> None:
    """Raises Miss: an answer may be cut short by a death, it may not be another one."""
    if answer != wanted:
        raise Miss("cut short" if wanted.startswith(answer) else f"wrong answer {answer!r}", pid)


def name_of(error: Exception, section: str) -> str:
    """`lost` or `stuck` for a deadline, `refused`, or the error's name."""
    timeout = "lost" if section == "udp" else "stuck"
    names = {TimeoutError: timeout, ConnectionRefusedError: "refused"}
    return names.get(type(error), type(error).__name__)


# kind -> (section, how it asks)
KINDS: Final[dict[str, tuple[str, Callable[[Address, random.Random], None]]]] = {
    "echo": ("tcp", echo),
    "drip": ("tcp", partial(echo, pause=DRIP)),
    "web": ("web", web),
    "udp": ("udp", udp),
    "status": ("status", status),
    "long": ("asgi", long),
    "stream": ("asgi", stream),
    "websocket": ("asgi", websocket),
    "rude": ("tcp", rude),
    "rude-web": ("web", rude),
    "rude-status": ("status", rude),
}


class Crowd:
    """Client processes, one for each of `kinds`, at work from the start until `stop`."""

    def __init__(self, kinds: Sequence[str], addresses: dict[str, Address], seed: int) -> None:
        # A byte in it, which nobody reads, tells all of them to stop.
        self._told, self._tell = os.pipe()
        # Ctrl-C is for the one who tells them.
        self._pool = ProcessPoolExecutor(
            len(kinds), get_context("fork"), signal.signal, (signal.SIGINT, signal.SIG_IGN)
        )
        self._work: list[Future[Report]] = [
            self._pool.submit(ask, self._told, kind, addresses[KINDS[kind][0]], seed + number)
            for number, kind in enumerate(kinds)
        ]

    def stop(self) -> list[Report]:
        """Let each finish what it has in hand; TimeoutError if one is stuck."""
        os.write(self._tell, b".")
        return [one.result(2 * PATIENCE) for one in self._work]

    def close(self) -> None:
        """Wait for the end of all; who is stuck in a request gives up by itself."""
        os.write(self._tell, b".")
        self._pool.shutdown()
        os.close(self._told)
        os.close(self._tell)


def ask(told: int, kind: str, address: Address, seed: int) -> Report:
    """One request after another until told to stop."""
    rng, (section, request) = random.Random(seed), KINDS[kind]
    answered, failures = 0, []
    while not readable(told):
        began_at = time.monotonic()
        try:
            request(address, rng)
            answered += 1
        except (Miss, OSError, http.client.HTTPException) as error:
            what, pid = error.args if isinstance(error, Miss) else (name_of(error, section), 0)
            failures.append(Failure(section, what, pid, began_at, time.monotonic()))
    return Report(kind, answered, failures)
