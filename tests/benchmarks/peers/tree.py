"""What the kernel says of a process and all below it. Nothing here starts or ends a process."""

import contextlib
import re
import time
from collections.abc import Iterable
from pathlib import Path

from tests.benchmarks.steady import SWITCHES

PSS = re.compile(r"^Pss:\s+(\d+) kB$", re.MULTILINE)


def children(pid: int) -> list[int]:
    """Its children now, those that any of its threads forked."""
    pids: list[int] = []
    for task in Path(f"/proc/{pid}/task").glob("*"):
        with contextlib.suppress(OSError):
            pids += map(int, (task / "children").read_text().split())
    return pids


def tree(pid: int) -> list[int]:
    """The process, then all its descendants."""
    return [pid, *(one for child in children(pid) for one in tree(child))]


def cpu_seconds(pids: Iterable[int]) -> float:
    """Time on a CPU so far, all threads, those that have ended too (clock_getcpuclockid(3))."""
    return sum(time.clock_gettime((~pid << 3) | 2) for pid in pids)


def wake_ups(pids: Iterable[int]) -> int:
    """Voluntary context switches of all threads so far: how often somebody waited and was woken."""
    return sum(
        int(count)
        for pid in pids
        for status in Path(f"/proc/{pid}/task").glob("*/status")
        for kind, count in SWITCHES.findall(status.read_text())
        if kind == "voluntary"
    )


def memory(pids: Iterable[int]) -> float:
    """Proportional set size in MiB: what is shared counts once, divided among the sharers."""
    rollups = (Path(f"/proc/{pid}/smaps_rollup").read_text() for pid in pids)
    return sum(int(found[1]) for text in rollups if (found := PSS.search(text))) / 1024
