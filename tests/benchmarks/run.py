"""Measure ours against the floor: progress on stderr, the table on stdout.

Exits 0 whatever the figures, 1 if one could not be measured because a server would not run.
"""

import argparse
import json
import os
import platform
import sys
import time
from collections.abc import Callable
from pathlib import Path

from tests.benchmarks import cost, datagrams, lifecycle, load, programs, steady
from tests.benchmarks.figures import Outcome, Skipped, table
from tests.benchmarks.servers import Contender, ServerDied, floor, ours

Measure = Callable[[Contender, Contender], list[Outcome]]

MEASURES: dict[str, Measure] = {
    "start-stop": lambda a, b: lifecycle.start_and_stop(a, b, children=128, rounds=11),
    "idle": lambda a, b: steady.idle(a, b, children=32, seconds=10.0),
    "throughput": lambda a, b: load.throughput(a, b, children=2, rounds=40),
    "memory": lambda a, b: steady.memory(a, b, children=32, rounds=3),
    "crash": lambda _a, _b: [
        lifecycle.crash(children=4, rounds=9),
        lifecycle.crash(children=128, rounds=9),
    ],
    "datagrams": lambda _a, _b: datagrams.datagrams(children=2, rounds=20),
    "programs": lambda _a, _b: programs.programs(children=64, rounds=9),
    "statistics": lambda _a, _b: cost.statistics(rounds=40),
}


def main() -> int:
    arguments = parsed()
    first = floor if arguments.null else ours
    began_at, before = time.monotonic(), circumstances()
    outcomes: list[Outcome] = []
    for name in arguments.only or MEASURES:
        print(f"{time.monotonic() - began_at:6.1f} s  {name}", file=sys.stderr, flush=True)
        outcomes += outcomes_of(name, first)
    print(f"{time.monotonic() - began_at:6.1f} s  done", file=sys.stderr, flush=True)
    if arguments.null:
        print("NULL RUN: the floor stands in for ours; what differs is noise")
    print(" ".join(f"{key}={value}" for key, value in before.items()))
    print(table(outcomes))
    if arguments.json:
        record = {"circumstances": before, "figures": [o.record() for o in outcomes]}
        arguments.json.write_text(json.dumps(record, indent=1) + "\n")
    return int(any(isinstance(o, Skipped) and o.broken for o in outcomes))


def outcomes_of(name: str, first: Contender) -> list[Outcome]:
    """One measure's figures; a server that will not run costs us only this measure."""
    try:
        return MEASURES[name](first, floor)
    except ServerDied as error:
        print(error, file=sys.stderr)
        return [Skipped(name=name, reason=error.last_words, broken=True)]


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.run", description=__doc__)
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the results, samples too")
    parser.add_argument("--only", action="append", choices=MEASURES, help="run this one, not all")
    parser.add_argument("--null", action="store_true", help="the floor against itself: the noise")
    return parser.parse_args()


def circumstances() -> dict[str, str]:
    """What the figures depend on; a load beforehand well above zero means disturbed figures."""
    return {
        "python": platform.python_version(),
        "kernel": platform.release(),
        "cpus": str(len(os.sched_getaffinity(0))),
        "load": f"{os.getloadavg()[0]:.1f}",
    }


if __name__ == "__main__":
    sys.exit(main())
