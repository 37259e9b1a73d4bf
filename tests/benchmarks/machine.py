"""Everything that the figures depend on: the machine, the versions, and how quiet it is now."""

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import time
from pathlib import Path
from typing import Final

from tests.benchmarks.contenders import CONTENDERS, ENVIRONMENT

LOOPS: Final = 3_000_000
PATH: Final = f"{os.environ.get('PATH', os.defpath)}:/usr/sbin"


def facts() -> dict[str, str]:
    """The machine, without its name."""
    cpu = Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*: (.+)$", cpu, re.MULTILINE)
    virtual = " (virtual machine)" if re.search(r"\bhypervisor\b", cpu) else ""
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    return {
        "CPU": (model[1] if model else platform.machine()) + virtual,
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{memory:.0f} GiB",
        "kernel": platform.release(),
        "Python": platform.python_version(),
    }


def versions() -> dict[str, str]:
    """Of all that take part and are there, by the name of their package; ours first."""
    libraries = [str(path) for path in ENVIRONMENT.parent.glob("lib/python*/site-packages")]
    there = importlib.metadata.distributions(path=libraries) if libraries else ()
    packages = {contender.package for contender in CONTENDERS if contender.side == "peer"}
    found = {one.name.lower(): one.version for one in there if one.name.lower() in packages}
    found |= {name: said for name in ("nginx", "wrk") if (said := version_of(name, "-v"))}
    ours = {"prefork-supervisor": importlib.metadata.version("prefork-supervisor")}
    return ours | dict(sorted(found.items()))


def version_of(*command: str) -> str:
    """The first number with dots in what a program says of itself; "" if it is not there."""
    if shutil.which(command[0], path=PATH) is None:
        return ""
    done = subprocess.run(command, capture_output=True, text=True, check=False, env={"PATH": PATH})
    return next(iter(re.findall(r"\d+\.\d+[\d.]*", done.stdout + done.stderr)), "")


def quietness() -> float:
    """Milliseconds for a fixed piece of work: on a quiet machine always the same."""
    began_at = time.perf_counter()
    sum(range(LOOPS))
    return (time.perf_counter() - began_at) * 1000
