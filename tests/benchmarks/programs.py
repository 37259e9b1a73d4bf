"""What a child of type `exec` costs to start, against subprocess.Popen of the same program."""

import re
import subprocess
import time
from collections.abc import Callable

from tests.benchmarks.figures import Outcome, ratio
from tests.benchmarks.rounds import interleaved
from tests.benchmarks.servers import ours

COMMAND = ["sleep", "1000"]
SECTION = """\
type = "exec"
command = ["sleep", "1000"]
"""
AFTER = re.compile(r"server ready .* after=([\d.]+)s")


def programs(*, children: int, rounds: int) -> list[Outcome]:
    """Seconds for each further program: what many take longer than one, by their number."""
    mine, theirs = interleaved(
        rounds, lambda: further(started, children), lambda: further(spawned, children)
    )
    return [ratio(f"exec start {children}", mine, theirs, raw="{:.5f} s", sense="<=", limit=1.2)]


def further(seconds: Callable[[int], float], count: int) -> float:
    return (seconds(count) - seconds(1)) / (count - 1)


def started(count: int) -> float:
    """Seconds from the beginning of our generation until all programs run."""
    with ours(count, section=SECTION) as server:
        found = AFTER.search(server.output)
        assert found is not None, server.output
        return float(found[1])


def spawned(count: int) -> float:
    """Seconds for so many Popen, each of which returns when its program runs."""
    began_at = time.monotonic()
    processes = [subprocess.Popen(COMMAND) for _ in range(count)]
    took = time.monotonic() - began_at
    for process in processes:
        process.kill()
        process.wait()
    return took
