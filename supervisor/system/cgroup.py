"""The control group of this process: how many CPUs it may use, and whether the kernel killed for
memory (cgroups(7)).
"""

from __future__ import annotations

import contextlib
import functools
import math
import os
from collections.abc import Iterator
from pathlib import Path


def available_cpus() -> int:
    """CPUs that this process may use: affinity, and the cgroup's quota rounded up; at least 1."""
    cpus = len(os.sched_getaffinity(0))
    quota = _cgroup_quota()
    return max(1, min(cpus, math.ceil(quota))) if quota else cpus


def _cgroup_quota(root: Path = Path("/sys/fs/cgroup")) -> float | None:
    """The smallest CPU quota from our cgroup up to the root, in CPUs (cgroups(7), v2 then v1)."""
    quotas: list[float] = []
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        mount = root / controllers
        for folder in _up_to(mount, mount / path.strip("/")):
            quotas += _quota_in(folder)
    return min(quotas, default=None)


def oom_kills(root: Path = Path("/sys/fs/cgroup")) -> int:
    """How often the kernel's OOM killer struck in our cgroup (memory.events, or v1
    memory.oom_control).
    """
    with contextlib.suppress(OSError):
        file = _oom_file(root)
        rows = file.read_text().splitlines() if file else []
        return int(dict(row.split(None, 1) for row in rows).get("oom_kill", 0))
    return 0


@functools.cache
def _oom_file(root: Path) -> Path | None:
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        mount = root / controllers
        for folder in _up_to(mount, mount / path.strip("/")):
            for file in (folder / "memory.events", folder / "memory.oom_control"):
                if file.exists():
                    return file
    return None


def _up_to(mount: Path, folder: Path) -> Iterator[Path]:
    """A cgroup's directory and those above it; a container may see only the upper ones."""
    return (one for one in (folder, *folder.parents) if one.is_relative_to(mount))


def _quota_in(folder: Path) -> list[float]:
    with contextlib.suppress(OSError, ValueError):
        quota, period = (folder / "cpu.max").read_text().split()
        return [int(quota) / int(period)] if quota != "max" else []
    with contextlib.suppress(OSError, ValueError):
        v1 = int((folder / "cpu.cfs_quota_us").read_text())
        period_v1 = int((folder / "cpu.cfs_period_us").read_text())
        return [v1 / period_v1] if v1 > 0 else []
    return []
