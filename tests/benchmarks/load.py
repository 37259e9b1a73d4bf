"""Throughput of short connections: own clients, two servers loaded in alternating slices."""

import json
import multiprocessing
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from multiprocessing.connection import Connection
from multiprocessing.context import ForkProcess
from typing import NamedTuple

from tests.benchmarks.figures import Outcome, ratio
from tests.benchmarks.rounds import interleaved
from tests.benchmarks.servers import DEADLINE, SUPERVISOR, Contender, Server

MESSAGE = b"x" * 64
CLIENTS = 4
SLICE = 0.4  # s


class Tally(NamedTuple):
    """What one client saw in one slice."""

    answered: int
    failed: int
    seconds: float


class Slice(NamedTuple):
    """What all clients saw together, and the CPU seconds that the server's children spent on it."""

    answered: int
    failed: int
    rate: float
    cpu: float


def throughput(a: Contender, b: Contender, *, children: int, rounds: int) -> list[Outcome]:
    """Connect, send 64 bytes, read to the end of the stream, again: as fast as it goes."""
    answered = 0

    def slice_of(server: Server) -> Slice:
        nonlocal answered
        part = load(server, controls, SLICE)
        answered += part.answered if server is first else 0
        return part

    with clients(CLIENTS) as controls, a(children) as first, b(children) as second:
        ours, floor = interleaved(rounds, lambda: slice_of(first), lambda: slice_of(second))
        counted = recorded(first)
    rates = [part.rate for part in ours], [part.rate for part in floor]
    costs = [[part.cpu / part.answered * 1e6 for part in parts] for parts in (ours, floor)]
    failed = sum(part.failed for part in [*ours, *floor])
    return [
        ratio(
            f"throughput {children}",
            *rates,
            raw="{:.0f}/s",
            sense=">=",
            limit=0.85,
            note=f"{failed} connections failed; answered {answered}, its statistics say {counted}",
        ),
        ratio(f"throughput {children}: CPU a request", *costs, raw="{:.1f} us"),
    ]


def load(server: Server, controls: list[Connection], seconds: float) -> Slice:
    """All clients at once on one server for so long."""
    before = sum(server.cpu_seconds()[1:])
    for control in controls:
        control.send((server.address, seconds))
    tallies = [tally_from(control) for control in controls]
    return Slice(
        answered=sum(tally.answered for tally in tallies),
        failed=sum(tally.failed for tally in tallies),
        rate=sum(tally.answered / tally.seconds for tally in tallies),
        cpu=sum(server.cpu_seconds()[1:]) - before,
    )


def tally_from(control: Connection) -> Tally:
    assert control.poll(DEADLINE), "a client is stuck"
    tally = control.recv()
    assert isinstance(tally, Tally)
    return tally


def recorded(server: Server) -> str:
    """How many requests the server's own statistics know of, to prove that they were on."""
    if server.config is None:
        return "nothing"
    command = [str(SUPERVISOR), "stats", "--json", "-c", str(server.config)]
    stats = subprocess.run(command, check=True, capture_output=True, timeout=DEADLINE).stdout
    return str(json.loads(stats)["totals"]["requests"])


@contextmanager
def clients(count: int, act: Callable[..., object] | None = None) -> Iterator[list[Connection]]:
    """Client processes, each at the other end of a control pipe; they do as `requests_to` does."""
    context = multiprocessing.get_context("fork")
    ends = [context.Pipe() for _ in range(count)]
    processes: list[ForkProcess] = [
        context.Process(target=client, args=(theirs, act or requests_to), daemon=True)
        for _, theirs in ends
    ]
    for process in processes:
        process.start()
    try:
        yield [mine for mine, _ in ends]
    finally:
        for process in processes:
            process.kill()
            process.join()
            process.close()
        for end in ends:
            for connection in end:
                connection.close()


def client(control: Connection, act: Callable[..., object]) -> None:
    """Load whom we are told to load, until we are killed; Ctrl-C is for the one who kills us."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)
    while True:
        control.send(act(*control.recv()))


def requests_to(address: tuple[str, int], seconds: float) -> Tally:
    began_at = time.monotonic()
    answered = failed = 0
    while (now := time.monotonic()) < began_at + seconds:
        if answer_from(address) == MESSAGE:
            answered += 1
        else:
            failed += 1
    return Tally(answered, failed, now - began_at)


def answer_from(address: tuple[str, int]) -> bytes:
    answer = b""
    try:
        with socket.create_connection(address) as connection:
            connection.sendall(MESSAGE)
            connection.shutdown(socket.SHUT_WR)
            while part := connection.recv(4096):
                answer += part
    except OSError as error:
        return repr(error).encode()
    return answer
