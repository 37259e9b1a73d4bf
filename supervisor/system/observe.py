"""Facts about processes and listeners that are not ours to ask: the kernel's, through /proc."""

from __future__ import annotations

import contextlib
import os
import socket
import struct
from collections.abc import Iterable
from pathlib import Path
from typing import Final

from msgspec import Struct

from supervisor.config.address import Address

_LISTEN: Final = "0A"  # TCP_LISTEN in /proc/net/tcp, proc(5)
_STOPPED: Final = ("T", "t")  # by a signal, by a tracer
_DEAD: Final = ("", "Z", "X")  # not reaped, or not even there


class Usage(Struct, frozen=True):
    """The state and use of a process; zeros for one that is gone, or was not asked about."""

    cpu_seconds: float = 0.0
    rss_bytes: int = 0
    pss_bytes: int = 0
    is_frozen: bool = False


def descendants(pid: int) -> list[int]:
    """The pids below a process, parents first."""
    found = []
    with contextlib.suppress(OSError):
        for child in children_of(pid):
            found += [child, *descendants(child)]
    return found


def children_of(pid: int) -> list[int]:
    """The pids whose parent a process is. Raises OSError."""
    pids: list[int] = []
    for task in os.listdir(f"/proc/{pid}/task"):
        with contextlib.suppress(OSError):
            children = Path(f"/proc/{pid}/task/{task}/children").read_text()
            pids += map(int, children.split())
    return pids


def group_members(group: int) -> set[int]:
    """The pids of the living processes of a process group (proc(5) stat)."""
    members = set()
    for entry in os.scandir("/proc"):
        with contextlib.suppress(OSError, ValueError):
            facts = Path(f"/proc/{int(entry.name)}/stat").read_text()
            state, _parent, its_group = facts.rpartition(")")[2].split()[:3]
            if int(its_group) == group and state not in _DEAD:
                members.add(int(entry.name))
    return members


def usage_of(pid: int, with_pss: bool) -> Usage:
    """CPU, memory and state of a process. The PSS is dear: the kernel walks its page tables."""
    import psutil

    try:
        process = psutil.Process(pid)
        with process.oneshot():
            times, memory = process.cpu_times(), process.memory_info()
            is_frozen = process.status() in (psutil.STATUS_STOPPED, psutil.STATUS_TRACING_STOP)
        pss = _pss(pid) if with_pss else 0
        return Usage(times.user + times.system, memory.rss, pss, is_frozen)
    except (psutil.Error, OSError, ValueError, OverflowError):
        return Usage()


def is_frozen(pid: int) -> bool:
    """True for a process that a signal or a debugger has stopped."""
    return _state_of(pid) in _STOPPED


def is_alive(pid: int) -> bool:
    """False for a process that is gone, or dead and not reaped."""
    return _state_of(pid) not in _DEAD


def catches(pid: int, signum: int) -> bool:
    """True where a process has a handler of its own for a signal (proc(5) status, SigCgt)."""
    try:
        lines = Path(f"/proc/{pid}/status").read_text("latin-1").splitlines()
        caught = next(int(line.split()[1], 16) for line in lines if line.startswith("SigCgt:"))
    except (OSError, StopIteration):
        return False
    return bool(caught >> signum - 1 & 1)


def _state_of(pid: int) -> str:
    """The letter of its state (proc(5) stat), "" when it is gone, "?" where we may not know."""
    try:
        return Path(f"/proc/{pid}/stat").read_text("latin-1").rpartition(") ")[2][:1]
    except OSError:
        return "?" if _exists(pid) else ""


def _exists(pid: int) -> bool:
    """Asked without /proc, which may not be mounted, or hides other users' processes."""
    try:
        os.kill(pid, 0)
    except PermissionError:
        return True
    except (ProcessLookupError, OverflowError):
        return False
    return pid > 0


def _pss(pid: int) -> int:
    """Proportional set size in bytes (smaps_rollup, proc(5)); 0 where we may not look."""
    try:
        with open(f"/proc/{pid}/smaps_rollup") as file:
            return next(int(line.split()[1]) * 1024 for line in file if line.startswith("Pss:"))
    except (OSError, StopIteration):
        return 0


def queued(address: Address, pid: int) -> int | None:
    """A listener's queue as process `pid` would see it now: connections (tcp), bytes (udp).

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
            return _queued_at(local, file, is_datagram=address.scheme == "udp")
    except (OSError, ValueError):
        return None


def _queued_at(local: str, lines: Iterable[str], *, is_datagram: bool) -> int | None:
    for fields in map(str.split, lines):
        if fields[1] == local and (is_datagram or fields[3] == _LISTEN):
            return int(fields[4].split(":")[1], 16)
    return None
