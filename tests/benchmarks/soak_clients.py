"""The clients of a soak: processes that ask in a closed loop, well or badly behaved, check each
answer, and report what went wrong. What may go wrong is not decided here.
"""

import http.client
import json
import multiprocessing
import random
import signal
import socket
import struct
import time
from collections.abc import Callable, Iterable
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess
from typing import Final, NamedTuple

from tests.benchmarks.soak_served import PAGE

Address = tuple[str, int]

PATIENCE: Final = 20.0  # s: longer than any drain and back-off that the soak provokes
UDP_PATIENCE: Final = 10.0
REPORT_EVERY: Final = 0.5
# Longer than the server's patience with who sends nothing.
HOLD: Final = 0.8
DRIP: Final = 0.02
RESET: Final = struct.pack("ii", 1, 0)  # struct linger: close(2) resets


class Miss(Exception):
    """A request without its answer. `pid`: who had it in hand, 0 where nobody has told."""

    def __init__(self, what: str, pid: int = 0) -> None:
        super().__init__(what)
        self.pid = pid


class Failure(NamedTuple):
    """A Miss, and when; monotonic seconds."""

    section: str
    what: str
    pid: int
    began_at: float
    failed_at: float


class Report(NamedTuple):
    """What one client has seen since its report before."""

    kind: str
    answered: int
    failures: list[Failure]


def echo(address: Address, rng: random.Random, pause: float = 0.0) -> None:
    """Send a line, at once or byte by byte, and have it back."""
    line, answer = b"%032x\n" % rng.getrandbits(128), b""
    try:
        with dial(address) as connection:
            for piece in [line] if not pause else (line[i : i + 1] for i in range(len(line))):
                connection.sendall(piece)
                answer += heard(connection, pause)
            answer += rest_of(connection)
    except OSError as error:
        raise Miss(name_of(error), holder(answer)) from None
    check(answer.partition(b"\n")[2], line, holder(answer))


def drip(address: Address, rng: random.Random) -> None:
    echo(address, rng, DRIP)


def web(address: Address, rng: random.Random) -> None:
    """Have the page, which a query does not change."""
    code, body = get(address, f"/page?{rng.getrandbits(128):032x}")
    check(b"%d " % code + body, b"200 " + PAGE)


def status(address: Address, rng: random.Random) -> None:
    """Read the statistics, the metrics or a probe."""
    path = rng.choice(("/stats.json", "/metrics", "/readyz", "/healthz"))
    code, body = get(address, path)
    # Not every child is ready yet, or some stop already: the probe says so, truthfully.
    if code != 200 and (path, code) != ("/readyz", 503):
        raise Miss(f"wrong answer to {path}: {code} {body[:80]!r}")
    if path == "/stats.json" and json.loads(body)["name"] != "soak":
        raise Miss(f"wrong answer to {path}: {body[:80]!r}")


def get(address: Address, path: str) -> tuple[int, bytes]:
    connection = http.client.HTTPConnection(*address, timeout=PATIENCE)
    try:
        connection.request("GET", path)
        answer = connection.getresponse()
        return answer.status, answer.read()
    except (OSError, http.client.HTTPException) as error:
        raise Miss(name_of(error)) from None
    finally:
        connection.close()


def udp(address: Address, rng: random.Random) -> None:
    data = rng.randbytes(rng.randrange(1, 1400))
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as connection:
        connection.settimeout(UDP_PATIENCE)
        try:
            connection.connect(address)
            connection.send(data)
            answer = connection.recv(65_536)
        except TimeoutError:
            raise Miss("lost") from None
        except OSError as error:
            raise Miss(name_of(error)) from None
    if answer != data:
        raise Miss(f"wrong answer {answer[:80]!r}")


def rude(address: Address, rng: random.Random) -> None:
    """Misbehave in one of many ways; only to be refused is the server's fault."""
    try:
        with dial(address) as connection:
            connection.settimeout(HOLD)
            rng.choice((silent, deaf, half, reset, nothing))(connection)
    except OSError as error:
        if isinstance(error, ConnectionRefusedError):
            raise Miss(name_of(error)) from None


def silent(connection: socket.socket) -> None:
    """Say nothing until the server hangs up."""
    rest_of(connection)


def deaf(connection: socket.socket) -> None:
    """Ask for much and read none of it, until the server must have given up."""
    connection.sendall(b"large\n")
    ended = socket.socketpair()
    with ended[0], ended[1]:
        ended[0].settimeout(HOLD)
        ended[0].recv(1)


def half(connection: socket.socket) -> None:
    """Hang up in the middle of a line."""
    connection.sendall(b"GET /ha")


def reset(connection: socket.socket) -> None:
    """Hang up in the middle of the answer, with a reset."""
    connection.sendall(b"large\n")
    connection.recv(65_536)
    connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, RESET)


def nothing(connection: socket.socket) -> None:
    """Hang up at once."""


def dial(address: Address) -> socket.socket:
    return socket.create_connection(address, timeout=PATIENCE)


def heard(connection: socket.socket, seconds: float) -> bytes:
    """What comes within so long; at 0.0 nobody listens."""
    if not seconds:
        return b""
    connection.settimeout(seconds)
    try:
        return connection.recv(65_536)
    except TimeoutError:
        return b""
    finally:
        connection.settimeout(PATIENCE)


def rest_of(connection: socket.socket) -> bytes:
    return b"".join(iter(lambda: connection.recv(65_536), b""))


def holder(answer: bytes) -> int:
    pid, newline, _ = answer.partition(b"\n")
    return int(pid) if newline else 0


def check(answer: bytes, wanted: bytes, pid: int = 0) -> None:
    """Raises Miss: an answer may be cut short by a death, it may not be another one."""
    if answer != wanted:
        raise Miss("cut short" if wanted.startswith(answer) else f"wrong answer {answer!r}", pid)


def name_of(error: Exception) -> str:
    """`stuck` for a deadline, `refused`, or the error's name."""
    if isinstance(error, ConnectionRefusedError):
        return "refused"
    return "stuck" if isinstance(error, TimeoutError) else type(error).__name__


# kind -> (section, how it asks)
KINDS: Final[dict[str, tuple[str, Callable[[Address, random.Random], None]]]] = {
    "echo": ("tcp", echo),
    "drip": ("tcp", drip),
    "web": ("web", web),
    "udp": ("udp", udp),
    "status": ("status", status),
    "rude": ("tcp", rude),
    "rude-web": ("web", rude),
    "rude-status": ("status", rude),
}


class Crowd:
    """Client processes, one for each of `kinds`, at work from the start until `stop`."""

    def __init__(self, kinds: Iterable[str], addresses: dict[str, Address], seed: int) -> None:
        context = multiprocessing.get_context("fork")
        self.open: list[Connection] = []
        self._processes: list[ForkProcess] = []
        for number, kind in enumerate(kinds):
            mine, theirs = context.Pipe()
            arguments = (theirs, kind, addresses[KINDS[kind][0]], seed + number)
            process = context.Process(target=ask, args=arguments, daemon=True)
            process.start()
            theirs.close()
            self.open.append(mine)
            self._processes.append(process)

    def reports(self) -> list[Report]:
        """What has come; a client that is done is not listened to any more."""
        found = []
        for control in list(self.open):
            try:
                while control.poll(0):
                    found.append(control.recv())
            except EOFError:
                self.open.remove(control)
                control.close()
        return found

    def stop(self) -> None:
        """Let each finish what it has in hand and report for the last time."""
        for control in self.open:
            control.send(None)

    def close(self) -> None:
        for process in self._processes:
            process.kill()
            process.join()
            process.close()
        for control in self.open:
            control.close()


def ask(control: Connection, kind: str, address: Address, seed: int) -> None:
    """One request after another until told to stop; Ctrl-C is for the one who tells us."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    rng, (section, request) = random.Random(seed), KINDS[kind]
    while not control.poll(0):
        answered, failures, report_at = 0, [], time.monotonic() + REPORT_EVERY
        while (began_at := time.monotonic()) < report_at:
            try:
                request(address, rng)
                answered += 1
            except Miss as miss:
                now = time.monotonic()
                failures.append(Failure(section, str(miss), miss.pid, began_at, now))
        control.send(Report(kind, answered, failures))
    control.recv()  # an end that is closed with something unread looks like a reset
