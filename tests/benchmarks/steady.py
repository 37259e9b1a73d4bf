"""What children cost while nothing happens: wake-ups and memory."""

import re
import socket
from contextlib import ExitStack
from pathlib import Path

from tests.benchmarks.figures import Figure, Outcome, ratio
from tests.benchmarks.servers import DEADLINE, Contender, Server

# Ready is said before the last process has gone to sleep: going there is a switch of its own.
SETTLE = 1.0
SWITCHES = re.compile(r"^(voluntary|nonvoluntary)_ctxt_switches:\s+(\d+)$", re.MULTILINE)


def idle(a: Contender, b: Contender, *, children: int, seconds: float) -> list[Outcome]:
    """Context switches of all processes, the master's too, while nobody asks them for anything."""
    with a(children) as first, b(children) as second:
        first.rest(SETTLE)
        before = switches(first), switches(second)
        first.rest(seconds)
        ours = gained(before[0], switches(first))
        floor = gained(before[1], switches(second))
    return [
        Figure(
            name=f"idle {children}: {kind} switches",
            samples=[float(sum(ours[kind].values()))],
            ours=[float(sum(ours[kind].values()))],
            floor=[float(sum(floor[kind].values()))],
            raw="{:.0f}",
            shown="{:.0f}",
            sense="<=" if kind == "voluntary" else "",
            note=culprits(ours[kind], first.pid),
        )
        for kind in ("voluntary", "nonvoluntary")
    ]


def switches(server: Server) -> dict[str, dict[int, int]]:
    """kind -> pid -> context switches so far, for the master and its children."""
    counts: dict[str, dict[int, int]] = {"voluntary": {}, "nonvoluntary": {}}
    for pid in [server.pid, *server.children()]:
        for kind, count in SWITCHES.findall(Path(f"/proc/{pid}/status").read_text()):
            counts[kind][pid] = int(count)
    return counts


def gained(
    before: dict[str, dict[int, int]], after: dict[str, dict[int, int]]
) -> dict[str, dict[int, int]]:
    return {
        kind: {pid: count - before[kind][pid] for pid, count in counts.items()}
        for kind, counts in after.items()
    }


def culprits(counts: dict[int, int], master: int) -> str:
    """Who woke up, or nothing."""
    awake = {pid: count for pid, count in counts.items() if count}
    return ", ".join(
        f"{'master' if pid == master else 'child'} {pid}: {count}" for pid, count in awake.items()
    )


def memory(a: Contender, b: Contender, *, children: int, rounds: int) -> list[Outcome]:
    """PSS of children that have all served a connection, both servers alive beside each other."""
    pairs: list[tuple[list[float], list[float]]] = []
    for _ in range(rounds):
        with a(children) as first, b(children) as second:
            for server in (first, second):
                serve_once_each(server.address, children)
            pairs.append((memory_of(first), memory_of(second)))
    ours = [sum(first[1:]) for first, _ in pairs]
    floor = [sum(second[1:]) for _, second in pairs]
    masters = [first[0] for first, _ in pairs], [second[0] for _, second in pairs]
    return [
        ratio(f"memory {children}: children", ours, floor, raw="{:.1f} MiB", sense="<=", limit=1.3),
        ratio(f"memory {children}: master", *masters, raw="{:.1f} MiB"),
    ]


def memory_of(server: Server) -> list[float]:
    """Proportional set size in MiB: the master, then each child."""
    return [pss(pid) for pid in [server.pid, *server.children()]]


def pss(pid: int) -> float:
    found = re.search(r"^Pss:\s+(\d+) kB$", Path(f"/proc/{pid}/smaps_rollup").read_text(), re.M)
    assert found is not None
    return int(found[1]) / 1024


def serve_once_each(address: tuple[str, int], children: int) -> None:
    """Make every child serve exactly one connection.

    A child has one connection at a time and accepts in the order of arrival. So when the last of as
    many silent connections as there are children is answered, each child holds one of them.
    """
    with ExitStack() as stack:
        connections = [
            stack.enter_context(socket.create_connection(address, timeout=DEADLINE))
            for _ in range(children)
        ]
        for connection in reversed(connections):
            connection.sendall(b"x" * 64)
            connection.shutdown(socket.SHUT_WR)
            while connection.recv(4096):
                pass
