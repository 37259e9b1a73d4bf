"""Datagrams answered a second: the echo and the SIP example against a bare recvfrom loop."""

import re
import socket
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from tests.benchmarks.figures import Outcome, ratio
from tests.benchmarks.rounds import interleaved
from tests.benchmarks.servers import FLOOR_READY, OURS_READY, ROOT, SUPERVISOR, Server

FLOOR = Path(__file__).with_name("floor_udp.py")
WINDOW = 16  # datagrams on their way
SLICE = 0.4  # s
LISTENING = r"listening .*address=udp://(?P<host>[\d.]+):(?P<port>\d+)"
CONFIG = """\
name = "bench"
[master]
runtime_directory = "{runtime}"
working_directory = "{root}"
[workers.bench]
type = "udp"
children = {children}
listen = ["udp://127.0.0.1:0"]
handler = "{handler}"
"""


class Case(NamedTuple):
    """What is asked, and who answers."""

    name: str
    handler: str
    question: bytes


OPTIONS = (
    b"OPTIONS sip:me@127.0.0.1 SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP 127.0.0.1:5061;branch=z9hG4bK-1\r\n"
    b"From: <sip:tester@127.0.0.1>;tag=1\r\nTo: <sip:me@127.0.0.1>\r\n"
    b"Call-ID: 1@127.0.0.1\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n"
)
CASES = (
    Case("udp echo", "supervisor.workers.echo:datagram", b"x" * 64),
    Case("udp sip", "conf.examples.sip:reply", OPTIONS),
)


class Sample(NamedTuple):
    """Answers a second, and the CPU seconds of the children for each."""

    rate: float
    cpu: float


def datagrams(*, children: int, rounds: int) -> list[Outcome]:
    """One client with a window of datagrams on their way, alternately at both servers."""
    return [figure for case in CASES for figure in figures_of(case, children, rounds)]


def figures_of(case: Case, children: int, rounds: int) -> list[Outcome]:
    with ours(case, children) as first, floor(case, children) as second:
        mine, bare = interleaved(rounds, lambda: sample(first, case), lambda: sample(second, case))
    rates = [one.rate for one in mine], [one.rate for one in bare]
    costs = [one.cpu * 1e6 for one in mine], [one.cpu * 1e6 for one in bare]
    name = f"{case.name} {children}"
    return [
        ratio(name, *rates, raw="{:.0f}/s", sense=">=", limit=0.85),
        ratio(f"{name}: CPU a datagram", *costs, raw="{:.1f} us"),
    ]


def sample(server: Server, case: Case) -> Sample:
    """One slice. A lost datagram would shrink the window: it raises."""
    before, answered = sum(server.cpu_seconds()[1:]), 0
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as client:
        client.settimeout(10.0)
        client.connect(server.address)
        for _ in range(WINDOW):
            client.send(case.question)
        began_at = time.monotonic()
        while (now := time.monotonic()) < began_at + SLICE:
            client.recv(65535)
            client.send(case.question)
            answered += 1
        for _ in range(WINDOW):
            client.recv(65535)
    cpu = sum(server.cpu_seconds()[1:]) - before
    return Sample(answered / (now - began_at), cpu / (answered + WINDOW))


@contextmanager
def floor(case: Case, children: int) -> Iterator[Server]:
    """The bare loop, ready."""
    with Server([sys.executable, str(FLOOR), str(children), case.handler]) as server:
        found, server.ready_at = server.wait_for(FLOOR_READY)
        server.address = (found["host"], int(found["port"]))
        yield server


@contextmanager
def ours(case: Case, children: int) -> Iterator[Server]:
    """A `udp` section, ready."""
    with tempfile.TemporaryDirectory(prefix="supervisor-bench-") as directory:
        config = Path(directory, "bench.toml")
        runtime = Path(directory, "run")
        config.write_text(
            CONFIG.format(runtime=runtime, root=ROOT, children=children, handler=case.handler)
        )
        with Server([str(SUPERVISOR), "start", "-c", str(config)]) as server:
            _, server.ready_at = server.wait_for(OURS_READY.format(generation=1))
            found = re.search(LISTENING, server.output)
            assert found is not None, server.output
            server.address = (found["host"], int(found["port"]))
            yield server
