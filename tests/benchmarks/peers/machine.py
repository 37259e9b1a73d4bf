"""What the figures depend on: the machine, the versions, and how quiet it is just now."""

import importlib.metadata
import os
import platform
import re
import shutil
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import psutil

from tests.benchmarks.peers.contenders import CONTENDERS, ENVIRONMENT

LOOPS = 3_000_000
ENGINES = ("granian", "uvicorn", "httptools", "uvloop")  # those that ours embeds
ASKED = {"nginx": ("nginx", "-v"), "wrk": ("wrk", "-v")}


def facts() -> dict[str, str]:
    """The machine, without its name."""
    cpu = Path("/proc/cpuinfo").read_text()
    model = re.search(r"^model name\s*: (.+)$", cpu, re.MULTILINE)
    return {
        "CPU": (model[1] if model else platform.machine())
        + (" (virtual machine)" if re.search(r"\bhypervisor\b", cpu) else ""),
        "cores": str(len(os.sched_getaffinity(0))),
        "memory": f"{psutil.virtual_memory().total / 2**30:.0f} GiB",
        "kernel": platform.release(),
        "Python": platform.python_version(),
    }


def versions() -> dict[str, str]:
    """Of all that take part and are there, by the name of their package."""
    theirs = importlib.metadata.distributions(path=[str(next(libraries(), ""))])
    packages = {contender.package for contender in CONTENDERS}
    found = {
        name: distribution.version
        for distribution in theirs
        if (name := distribution.name.lower()) in packages
    }
    found |= {name: said for name, command in ASKED.items() if (said := version_of(*command))}
    ours = {name: importlib.metadata.version(name) for name in ("prefork-supervisor", *ENGINES)}
    embedded = ", ".join(f"{name} {ours[name]}" for name in ENGINES)
    version = f"{ours['prefork-supervisor']} (embeds {embedded})"
    return {"prefork-supervisor": version} | dict(sorted(found.items()))


def libraries() -> Iterator[Path]:
    return ENVIRONMENT.parent.glob("lib/python*/site-packages")


def version_of(*command: str) -> str:
    """The first number with dots in what a program says of itself; "" if it is not there."""
    if shutil.which(command[0], path=f"{os.environ.get('PATH', os.defpath)}:/usr/sbin") is None:
        return ""
    environment = {"PATH": f"{os.environ.get('PATH', os.defpath)}:/usr/sbin"}
    done = subprocess.run(command, capture_output=True, text=True, check=False, env=environment)
    found = re.search(r"\d+\.\d+[\d.]*", done.stdout + done.stderr)
    return found[0] if found else ""


def quietness() -> float:
    """Milliseconds for a fixed piece of work: on a quiet machine always the same."""
    began_at = time.perf_counter()
    sum(range(LOOPS))
    return (time.perf_counter() - began_at) * 1000
