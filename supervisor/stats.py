"""From a copy of the scoreboard to a picture of the server: a dictionary (the JSON contract) and a
table.

Reads only: the mapped file, and /proc through psutil. The master takes no part.
"""

from __future__ import annotations

import socket
import struct
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from supervisor import scoreboard as board
from supervisor.config import Address, parse_address
from supervisor.scoreboard import ServerState, Snapshot, State, bucket_bounds, unpack_state

Picture = dict[str, Any]

_SHOWN: Final = (State.STARTING, State.IDLE, State.BUSY, State.STOPPING)
_LISTEN: Final = "0A"  # TCP_LISTEN in /proc/net/tcp, proc(5)


class Sample(NamedTuple):
    """What the kernel says of a process now."""

    cpu_seconds: float
    rss_bytes: int
    pss_bytes: int
    is_frozen: bool


def picture(snapshot: Snapshot, with_pss: bool = False) -> Picture:
    """Everything about a server, as `stats --json` prints it."""
    words, now = snapshot.words, board.wall_clock()
    rows = [snapshot.row(slot) for slot in range(snapshot.slots)]
    owners = list(_owners(snapshot.description["workers"]))
    master = words[board.H_MASTER]
    return {
        "name": snapshot.description["name"],
        "pid": master,
        "state": ServerState(words[board.H_STATE]).name.lower(),
        "generation": words[board.H_GENERATION],
        "started_at": words[board.H_STARTED_AT] / 1e9,
        "uptime": (now - words[board.H_STARTED_AT]) / 1e9,
        "totals": _totals(rows),
        "workers": [
            _worker(section, list(_rows_of(section["name"], rows, owners)), master)
            for section in snapshot.description["workers"]
        ],
        "children": [
            _child(slot, owners[slot], row, now, with_pss)
            for slot, row in enumerate(rows)
            if unpack_state(row[board.STATE])[0] in _SHOWN
        ],
        "counters": counters(snapshot),
        "last_crash": snapshot.crash,
    }


def status(snapshot: Snapshot) -> Picture:
    """What `status --json` prints of a running server."""
    words = snapshot.words
    rows = [snapshot.row(slot) for slot in range(snapshot.slots)]
    living = [row for row in rows if unpack_state(row[board.STATE])[0] in _SHOWN]
    return {
        "running": True,
        "pid": words[board.H_MASTER],
        "state": ServerState(words[board.H_STATE]).name.lower(),
        "generation": words[board.H_GENERATION],
        "uptime": (board.wall_clock() - words[board.H_STARTED_AT]) / 1e9,
        "children": snapshot.slots,
        "ready_children": sum(row[board.READY_AT] != 0 for row in living),
    }


def counters(snapshot: Snapshot) -> dict[str, int]:
    """Every declared counter, summed over the master and all children."""
    rows = [snapshot.row(slot) for slot in range(-1, snapshot.slots)]
    return {
        name: sum(row[word] for row in rows)
        for name, word in snapshot.description["counters"].items()
    }


def totals(snapshot: Snapshot) -> Picture:
    """The sums over all children."""
    return _totals([snapshot.row(slot) for slot in range(snapshot.slots)])


def percentile(histogram: Sequence[int], fraction: float) -> float:
    """The latency in s below which `fraction` of the requests were; 0.0 when there were none."""
    wanted = fraction * sum(histogram)
    seen = 0
    for bucket, count in enumerate(histogram):
        seen += count
        if count and seen >= wanted:
            lower, upper = bucket_bounds(bucket)
            return (lower + upper) / 2e9
    return 0.0


def table(facts: Picture) -> str:
    """The picture for people: aligned columns."""
    lines = [_headline(facts)]
    lines += aligned(_worker_rows(facts["workers"]))
    lines += aligned(_child_rows(facts["children"]))
    if facts["counters"]:
        lines += aligned([("counter", "value"), *facts["counters"].items()])
    crash = facts["last_crash"]
    if crash:
        when = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(crash["at"]))
        lock = f" lock {crash['lock']}" if crash["lock"] else ""
        lines.append(
            f"last crash: {when} generation {crash['generation']} {crash['worker']}/{crash['slot']}"
            f" pid {crash['pid']} {crash['cause']}{lock}"
        )
    return "\n".join(lines)


def aligned(rows: Sequence[Sequence[Any]]) -> list[str]:
    """Rows as lines: the first column to the left, numbers to the right."""
    cells = [[str(cell) for cell in row] for row in rows]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    numeric = [
        len(rows) > 1 and all(isinstance(row[index], int | float) for row in rows[1:])
        for index in range(len(widths))
    ]
    return [
        "  ".join(
            cell.rjust(width) if right else cell.ljust(width)
            for cell, width, right in zip(row, widths, numeric, strict=True)
        ).rstrip()
        for row in cells
    ]


def _headline(facts: Picture) -> str:
    sums = facts["totals"]
    return (
        f"{facts['name']}  pid {facts['pid']}  {facts['state']}  generation {facts['generation']}"
        f"  up {_duration(facts['uptime'])}  requests {sums['requests']}"
        f"  errors {sums['errors']}  active {sums['active']}"
    )


def _worker_rows(workers: Iterable[Picture]) -> list[tuple[Any, ...]]:
    heads = ("worker", "type", "children", "requests", "errors", "active", "queued")
    rows: list[tuple[Any, ...]] = [(*heads, "p50 ms", "p99 ms", "max ms", "listen")]
    for one in workers:
        latency = one["latency"]
        rows.append(
            (
                *(one[key] for key in ("name", "type", "children", "requests", "errors", "active")),
                sum(listen["queued"] or 0 for listen in one["listen"]),
                *(round(latency[key] * 1e3, 2) for key in ("p50", "p99", "max")),
                " ".join(listen["address"] for listen in one["listen"]),
            )
        )
    return rows


def _child_rows(children: Iterable[Picture]) -> list[tuple[Any, ...]]:
    heads = ("child", "slot", "pid", "state", "requests", "errors", "active", "busy s", "cpu s")
    rows: list[tuple[Any, ...]] = [(*heads, "rss MiB", "uptime")]
    rows += [
        (
            *(
                one[key]
                for key in ("worker", "slot", "pid", "state", "requests", "errors", "active")
            ),
            round(one["busy_seconds"], 2),
            round(one["cpu_seconds"], 2),
            round(one["rss_bytes"] / 2**20, 1),
            _duration(one["uptime"]),
        )
        for one in children
    ]
    return rows


def _duration(seconds: float) -> str:
    whole = int(seconds)
    days, rest = divmod(whole, 86_400)
    clock = f"{rest // 3600:d}:{rest % 3600 // 60:02d}:{rest % 60:02d}"
    return f"{days}d {clock}" if days else clock


def _owners(workers: Iterable[Picture]) -> Iterator[str]:
    """The section of each slot, in slot order."""
    for section in workers:
        for _ in range(section["children"]):
            yield section["name"]


def _rows_of(name: str, rows: Sequence[memoryview], owners: Sequence[str]) -> Iterator[memoryview]:
    return (row for row, owner in zip(rows, owners, strict=True) if owner == name)


def _totals(rows: Sequence[memoryview]) -> Picture:
    return {
        "requests": sum(row[board.REQUESTS] for row in rows),
        "errors": sum(row[board.ERRORS] for row in rows),
        "active": sum(row[board.ACTIVE] for row in rows),
        "busy_seconds": sum(map(_busy_seconds, rows)),
    }


def _worker(section: Picture, rows: Sequence[memoryview], master: int) -> Picture:
    start = board.HISTOGRAM
    columns = zip(*(row[start : start + board.BUCKETS] for row in rows), strict=True)
    histogram = [sum(column) for column in columns]
    largest = max(row[board.LATENCY_MAX] for row in rows) / 1e9
    latency = {f"p{p}": min(percentile(histogram, p / 100), largest) for p in (50, 90, 99)}
    sums = _totals(rows)
    return {
        "name": section["name"],
        "type": section["type"],
        "listen": [
            {
                "address": address,
                "queued": queued(parse_address(address), master),
                "backlog": section["backlog"],
            }
            for address in section["listen"]
        ],
        "children": section["children"],
        **{key: sums[key] for key in ("requests", "errors", "active")},
        "latency": {**latency, "max": largest},
    }


def _child(slot: int, worker: str, row: memoryview, now: int, with_pss: bool) -> Picture:
    state, _ = unpack_state(row[board.STATE])
    pid = row[board.PID]
    sample = _sample(pid, with_pss)
    return {
        "slot": slot,
        "worker": worker,
        "pid": pid,
        "state": "frozen" if sample.is_frozen else state.name.lower(),
        "requests": row[board.REQUESTS],
        "errors": row[board.ERRORS],
        "active": row[board.ACTIVE],
        "busy_seconds": _busy_seconds(row),
        "cpu_seconds": sample.cpu_seconds,
        "rss_bytes": sample.rss_bytes,
        "pss_bytes": sample.pss_bytes,
        "uptime": (now - row[board.STARTED_AT]) / 1e9,
    }


def _busy_seconds(row: memoryview) -> float:
    running = time.monotonic_ns() - row[board.BUSY_SINCE] if row[board.ACTIVE] else 0
    return (row[board.BUSY] + max(0, running)) / 1e9


def _sample(pid: int, with_pss: bool) -> Sample:
    import psutil

    try:
        process = psutil.Process(pid)
        with process.oneshot():
            times, memory = process.cpu_times(), process.memory_info()
            is_frozen = process.status() in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)
        pss = _pss(pid) if with_pss else 0
        return Sample(times.user + times.system, memory.rss, pss, is_frozen)
    except (psutil.Error, ValueError):
        return Sample(0.0, 0, 0, False)


def _pss(pid: int) -> int:
    """Proportional set size in bytes (smaps_rollup, proc(5)); 0 where we may not look."""
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("Pss:"))
    except (OSError, StopIteration):
        return 0


def queued(address: Address, pid: int) -> int | None:
    """What waits at a listener now, as process `pid` would see it: connections (tcp), bytes (udp).

    None where the kernel does not tell (unix).
    """
    if address.scheme == "unix":
        return None
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    suffix = "6" if family == socket.AF_INET6 else ""
    packed = socket.inet_pton(family, address.host)
    words = struct.unpack(f"={len(packed) // 4}I", packed)
    local = "".join(f"{word:08X}" for word in words) + f":{address.port:04X}"
    try:
        with open(f"/proc/{pid}/net/{address.scheme}{suffix}") as file:
            for line in file:
                fields = line.split()
                is_listening = address.scheme == "udp" or fields[3] == _LISTEN
                if fields[1] == local and is_listening:
                    return int(fields[4].split(":")[1], 16)
    except OSError:
        return None
    return None
