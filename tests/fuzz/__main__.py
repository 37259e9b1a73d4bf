"""Fuzz for some seconds: a failure is told with the smallest input that shows it, and kept in
`corpus/`, from which the next run begins. Exits 1 where there was one.
"""

import argparse
import sys
import time
import traceback
from pathlib import Path
from typing import Final

from hypothesis import HealthCheck, given, seed, settings
from hypothesis.database import DirectoryBasedExampleDatabase

from tests.fuzz.targets import TARGETS, Target

CORPUS: Final = DirectoryBasedExampleDatabase(Path(__file__).with_name("corpus"))
AT_ONCE: Final = 200  # inputs between two looks at the clock


def fuzzed(name: str, target: Target, first: int, seconds: float) -> int:
    """Look at inputs for so long; return how many. Raises what the first bad one raised."""
    count, by = 0, time.monotonic() + seconds

    def check(given_input: object) -> None:
        nonlocal count
        count += 1
        target.check(given_input)

    check.__qualname__ = check.__name__ = name  # its key in the corpus
    options = settings(
        max_examples=AT_ONCE,
        deadline=None,
        database=CORPUS,
        suppress_health_check=list(HealthCheck),
    )
    number = first
    while time.monotonic() < by:
        seed(number)(options(given(target.inputs)(check)))()
        number += 1
    return count


def main() -> int:
    """Give each target its share of the time."""
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, default=600.0, help="for all targets together")
    parser.add_argument("--seed", type=int, default=int(time.monotonic_ns() % 2**32))
    parser.add_argument("--target", choices=sorted(TARGETS), help="only this one")
    given_options = parser.parse_args()
    chosen = {given_options.target} if given_options.target else set(TARGETS)
    share, bad = given_options.seconds / len(chosen), 0
    print(f"fuzz: --seed {given_options.seed}", flush=True)
    for name in (name for name in TARGETS if name in chosen):
        try:
            count = fuzzed(name, TARGETS[name], given_options.seed, share)
            print(f"fuzz: {name}: {count} inputs", flush=True)
        except Exception:  # whatever it is, the others have their time
            bad += 1
            print(f"fuzz: {name}: failed\n{traceback.format_exc()}", flush=True)
    print(f"fuzz: {bad} of {len(chosen)} failed" if bad else "fuzz: ok")
    return 1 if bad else 0


if __name__ == "__main__":
    sys.exit(main())
