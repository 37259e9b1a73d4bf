"""CPU, memory, wake-ups and page faults of processes, as the kernel counts them. Nothing here
starts or ends a process.
"""

import contextlib
import re
import socket
import time
from collections.abc import Iterable
from pathlib import Path

WAKE_UPS = re.compile(r"^voluntary_ctxt_switches:\s+(\d+)$", re.MULTILINE)
SIZE = re.compile(r"^(\w+):\s+(\d+) kB$", re.MULTILINE)


def children(pid: int) -> list[int]:
    """Its children now, those that any of its threads forked, the oldest first."""
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
    statuses = (path for pid in pids for path in Path(f"/proc/{pid}/task").glob("*/status"))
    return sum(int(count) for path in statuses for count in WAKE_UPS.findall(path.read_text()))


def page_faults(pids: Iterable[int]) -> int:
    """Minor faults so far (proc(5) stat)."""
    stats = (Path(f"/proc/{pid}/stat").read_text() for pid in pids)
    return sum(int(text.rpartition(")")[2].split()[7]) for text in stats)


def sizes(pid: int) -> dict[str, int]:
    """Bytes by name, as smaps_rollup(5) has them: `Rss`, `Pss` ..."""
    text = Path(f"/proc/{pid}/smaps_rollup").read_text()
    return {name: int(size) * 1024 for name, size in SIZE.findall(text)}


def memory(pids: Iterable[int]) -> float:
    """Proportional set size in MiB: what is shared counts once, divided among the sharers."""
    return sum(sizes(pid)["Pss"] for pid in pids) / 2**20


def can_bind(address: tuple[str, int], kind: socket.SocketKind = socket.SOCK_STREAM) -> bool:
    """Tell whether another server could be started there now."""
    with contextlib.suppress(OSError), socket.socket(type=kind) as again:
        # What TIME_WAIT holds is no listener.
        again.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, kind == socket.SOCK_STREAM)
        again.bind(address)
        return True
    return False
