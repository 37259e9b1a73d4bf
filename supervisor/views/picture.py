"""From a copy of the scoreboard to a picture of the server: a dictionary, the JSON contract.

Reads only: the mapped file, and /proc through psutil. The master takes no part.
"""

from __future__ import annotations

import math
import socket
import struct
import time
from collections.abc import Iterable, Iterator, Sequence
from typing import Any, Final, NamedTuple

from supervisor.config.address import Address, parse_address
from supervisor.scoreboard import layout
from supervisor.scoreboard.layout import ServerState, State, bucket_bounds, unpack_state
from supervisor.scoreboard.reader import Snapshot
from supervisor.system import clock

Picture = dict[str, Any]

_SHOWN: Final = (State.STARTING, State.IDLE, State.BUSY, State.STOPPING)
_READY: Final = (State.IDLE, State.BUSY, State.FINISHED)
_LISTEN: Final = "0A"  # TCP_LISTEN in /proc/net/tcp, proc(5)


class Sample(NamedTuple):
    """What the kernel says of a process now."""

    cpu_seconds: float = 0.0
    rss_bytes: int = 0
    pss_bytes: int = 0
    is_frozen: bool = False


def picture(snapshot: Snapshot, with_pss: bool = False, sample_for: float = math.inf) -> Picture:
    """Everything about a server, as `stats --json` prints it.

    Children are asked about CPU and memory for at most `sample_for` seconds; who comes later shows
    zeros.
    """
    words, now = snapshot.words, clock.wall_clock()
    rows = [snapshot.row(slot) for slot in range(snapshot.slots)]
    owners = list(_owners(snapshot.description["workers"]))
    master = words[layout.H_MASTER]
    sample_by = time.monotonic() + sample_for
    return {
        "name": snapshot.description["name"],
        "pid": master,
        "state": ServerState(words[layout.H_STATE]).name.lower(),
        "generation": words[layout.H_GENERATION],
        "started_at": words[layout.H_STARTED_AT] / 1e9,
        "uptime": (now - words[layout.H_STARTED_AT]) / 1e9,
        "totals": sums_of(rows),
        "workers": [
            _worker(section, list(_rows_of(section["name"], rows, owners)), master)
            for section in snapshot.description["workers"]
        ],
        "children": [
            _child(slot, owners[slot], row, now, _sample(row[layout.PID], with_pss, sample_by))
            for slot, row in enumerate(rows)
            if unpack_state(row[layout.STATE])[0] in _SHOWN
        ],
        "counters": counters(snapshot),
        "last_crash": snapshot.crash,
    }


def status(snapshot: Snapshot) -> Picture:
    """What `status --json` prints of a running server."""
    words = snapshot.words
    rows = [snapshot.row(slot) for slot in range(snapshot.slots)]
    living = [row for row in rows if unpack_state(row[layout.STATE])[0] in _SHOWN]
    return {
        "running": True,
        "pid": words[layout.H_MASTER],
        "state": ServerState(words[layout.H_STATE]).name.lower(),
        "generation": words[layout.H_GENERATION],
        "uptime": (clock.wall_clock() - words[layout.H_STARTED_AT]) / 1e9,
        "children": snapshot.slots,
        "ready_children": sum(row[layout.READY_AT] != 0 for row in living),
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
    return sums_of([snapshot.row(slot) for slot in range(snapshot.slots)])


def detailed(snapshot: Snapshot, sample_for: float = math.inf, with_pss: bool = True) -> Picture:
    """The picture with what the live views need beyond the contract.

    Adds `at` (s since 1970), `ready`, `forced` (children that needed SIGKILL), `master` (a sample);
    to a worker `histogram`, [(latency in s, count)...] of the buckets that hold something; to a
    child `ready`, `since` (s in its state) and the `request` it names.
    """
    facts = picture(snapshot, with_pss, sample_for)
    sample = _sample(facts["pid"], with_pss, math.inf)
    facts |= {
        "at": clock.wall_clock() / 1e9,
        "ready": is_ready(snapshot),
        "forced": snapshot.words[layout.H_FORCED],
        "master": sample._asdict(),
    }
    owners = list(_owners(snapshot.description["workers"]))
    rows = [snapshot.row(slot) for slot in range(snapshot.slots)]
    for worker in facts["workers"]:
        histogram = histogram_of(_rows_of(worker["name"], rows, owners))
        worker["histogram"] = [
            (sum(bucket_bounds(bucket)) / 2e9, count)
            for bucket, count in enumerate(histogram)
            if count
        ]
    now = time.monotonic_ns()
    for child in facts["children"]:
        row = rows[child["slot"]]
        child["ready"] = row[layout.READY_AT] != 0
        child["since"] = max(0, now - unpack_state(row[layout.STATE])[1]) / 1e9
        child["request"] = printable(layout.text_of(row))
    return facts


def printable(text: str) -> str:
    """Text that a client may have chosen, without what a terminal would obey."""
    return "".join(
        letter if letter.isprintable() else "\N{REPLACEMENT CHARACTER}" for letter in text
    )


def is_ready(snapshot: Snapshot) -> bool:
    """True while the server runs and every child has become ready; one that finished counts."""
    rows = [snapshot.row(slot) for slot in range(snapshot.slots)]
    return snapshot.words[layout.H_STATE] == ServerState.RUNNING and all(
        row[layout.READY_AT] != 0 and unpack_state(row[layout.STATE])[0] in _READY for row in rows
    )


def histogram_of(rows: Iterable[memoryview]) -> list[int]:
    """The requests in each bucket of latency, summed over rows."""
    start = layout.HISTOGRAM
    columns = zip(*(row[start : start + layout.BUCKETS] for row in rows), strict=True)
    return [sum(column) for column in columns]


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


def _owners(workers: Iterable[Picture]) -> Iterator[str]:
    """The section of each slot, in slot order."""
    for section in workers:
        for _ in range(section["children"]):
            yield section["name"]


def _rows_of(name: str, rows: Sequence[memoryview], owners: Sequence[str]) -> Iterator[memoryview]:
    return (row for row, owner in zip(rows, owners, strict=True) if owner == name)


def sums_of(rows: Sequence[memoryview]) -> Picture:
    """The sums over rows that a picture has, of all children or of a section."""
    return {
        "requests": sum(row[layout.REQUESTS] for row in rows),
        "errors": sum(row[layout.ERRORS] for row in rows),
        "active": sum(row[layout.ACTIVE] for row in rows),
        "busy_seconds": sum(map(_busy_seconds, rows)),
    }


def _worker(section: Picture, rows: Sequence[memoryview], master: int) -> Picture:
    histogram = histogram_of(rows)
    largest = max(row[layout.LATENCY_MAX] for row in rows) / 1e9
    latency = {f"p{p}": min(percentile(histogram, p / 100), largest) for p in (50, 90, 99)}
    sums = sums_of(rows)
    return {
        "name": section["name"],
        "type": section["type"],
        "listen": [
            {
                "address": address,
                "queued": _queued(address, master),
                "backlog": section["backlog"],
            }
            for address in section["listen"]
        ],
        "children": section["children"],
        **{key: sums[key] for key in ("requests", "errors", "active")},
        "latency": {**latency, "max": largest},
    }


def _child(slot: int, worker: str, row: memoryview, now: int, sample: Sample) -> Picture:
    state, _ = unpack_state(row[layout.STATE])
    return {
        "slot": slot,
        "worker": worker,
        "pid": row[layout.PID],
        "state": "frozen" if sample.is_frozen else state.name.lower(),
        "requests": row[layout.REQUESTS],
        "errors": row[layout.ERRORS],
        "active": row[layout.ACTIVE],
        "busy_seconds": _busy_seconds(row),
        "cpu_seconds": sample.cpu_seconds,
        "rss_bytes": sample.rss_bytes,
        "pss_bytes": sample.pss_bytes,
        "uptime": (now - row[layout.STARTED_AT]) / 1e9,
    }


def _busy_seconds(row: memoryview) -> float:
    running = time.monotonic_ns() - row[layout.BUSY_SINCE] if row[layout.ACTIVE] else 0
    return (row[layout.BUSY] + max(0, running)) / 1e9


def _sample(pid: int, with_pss: bool, sample_by: float) -> Sample:
    import psutil

    if time.monotonic() > sample_by:
        return Sample()
    try:
        process = psutil.Process(pid)
        with process.oneshot():
            times, memory = process.cpu_times(), process.memory_info()
            is_frozen = process.status() in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)
        pss = _pss(pid) if with_pss else 0
        return Sample(times.user + times.system, memory.rss, pss, is_frozen)
    except (psutil.Error, ValueError, OverflowError):
        return Sample()


def _pss(pid: int) -> int:
    """Proportional set size in bytes (smaps_rollup, proc(5)); 0 where we may not look."""
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("Pss:"))
    except (OSError, StopIteration):
        return 0


def _queued(text: str, pid: int) -> int | None:
    try:
        return queued(parse_address(text), pid)
    except ValueError:
        return None


def queued(address: Address, pid: int) -> int | None:
    """What waits at a listener now, as process `pid` would see it: connections (tcp), bytes (udp).

    None where the kernel does not tell (unix).
    """
    if address.scheme == "unix":
        return None
    family = socket.AF_INET6 if ":" in address.host else socket.AF_INET
    suffix = "6" if family == socket.AF_INET6 else ""
    try:
        packed = socket.inet_pton(family, address.host)
        words = struct.unpack(f"={len(packed) // 4}I", packed)
        local = "".join(f"{word:08X}" for word in words) + f":{address.port:04X}"
        with open(f"/proc/{pid}/net/{address.scheme}{suffix}") as file:
            for line in file:
                fields = line.split()
                is_listening = address.scheme == "udp" or fields[3] == _LISTEN
                if fields[1] == local and is_listening:
                    return int(fields[4].split(":")[1], 16)
    except OSError:
        return None
    return None
