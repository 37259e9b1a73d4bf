"""Measure ours and its peers; progress on stderr, results as files.

Exits 0 whatever the figures, also when a peer fails: that is a result.
"""

import argparse
import datetime
import json
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from supervisor.system import process
from tests.benchmarks.peers import machine, plan
from tests.benchmarks.peers.contenders import CONTENDERS, ENVIRONMENT, missing
from tests.benchmarks.peers.plan import Case, Step
from tests.benchmarks.servers import ServerDied

ROOT = Path(__file__).parents[3]
RESULTS = ROOT / "tests" / "benchmarks" / "results"
QUICK_RESULTS = ROOT / "build" / "peers"

Record = dict[str, Any]


class Progress:
    """A line on stderr for each step, with the time left by what the steps took so far."""

    def __init__(self, cases: list[Case]) -> None:
        self._ahead = sum(step.case.expected for case in cases for step in plan.steps_of(case))
        self._done = 0.0
        self._began_at = time.monotonic()

    def begin(self, step: Step) -> None:
        elapsed = time.monotonic() - self._began_at
        # At first the plan's word counts for more than what was seen.
        pace = (elapsed + 30) / (self._done + 30)
        left = self._ahead * pace / 60
        what = f"{step.case.name}, round {step.round + 1} of {step.case.rounds}"
        print(
            f"{elapsed:6.0f} s  {what:32} {step.contender.name:30} about {left:.0f} min left",
            file=sys.stderr,
            flush=True,
        )
        self._done += step.case.expected
        self._ahead -= step.case.expected


def measured(case: Case, begin: Callable[[Step], None]) -> Record:
    """All samples of a case, by contender; one that failed says of what instead of its figures."""
    samples: dict[str, list[Record]] = {contender.name: [] for contender in case.contenders()}
    noise: list[float] = []
    for step in plan.steps_of(case):
        if len(noise) <= step.round:
            noise.append(machine.quietness())
        begin(step)
        samples[step.contender.name].append(sample_of(step))
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "children": case.children,
        "seconds": case.seconds,
        "noise": noise,
        "samples": samples,
    }


def sample_of(step: Step) -> Record:
    try:
        return step.run()
    except ServerDied as error:
        reason = error.last_words
    except (OSError, subprocess.SubprocessError) as error:
        reason = f"{type(error).__name__}: {error}"
    print(f"          failed: {reason}", file=sys.stderr, flush=True)
    return {"error": reason}


def circumstances() -> Record:
    """All that must be the same for figures to stand in one table."""
    return {
        "machine": machine.facts(),
        "versions": machine.versions(),
        "left_out": missing() | plan.cannot_run(),
        "contenders": [
            {
                "name": contender.name,
                "family": contender.family,
                "is_ours": contender.is_ours,
                "command": contender.command,
                "config": contender.config,
            }
            for contender in CONTENDERS
        ],
    }


def begun(path: Path) -> Record:
    """A record to add to: what is there already, if it was measured in the same circumstances."""
    now = circumstances()
    if path.exists():
        before: Record = json.loads(path.read_text())
        if all(before[key] == value for key, value in now.items()):
            return before
        print("older results were measured in other circumstances: replaced", file=sys.stderr)
    return now | {"cases": {}}


def count(text: str) -> int:
    """At least one."""
    if (number := int(text)) < 1:
        raise ValueError(text)
    return number


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="make bench-peers ARGS=...", description=__doc__)
    parser.add_argument(
        "--only", action="append", choices=plan.MEASURES, help="this measure, not all; repeatable"
    )
    parser.add_argument("--rounds", type=count, metavar="N", help="lives of each in each case")
    parser.add_argument("--quick", action="store_true", help="a smoke run of three minutes")
    parser.add_argument("--report", action="store_true", help="measure nothing, write the report")
    parser.add_argument(
        "--results",
        type=Path,
        metavar="DIRECTORY",
        help=f"default {RESULTS.relative_to(ROOT)}; {QUICK_RESULTS.relative_to(ROOT)} with --quick",
    )
    return parser.parse_args()


def measure(path: Path, cases: list[Case]) -> None:
    """Take all measures; what is finished is kept, whatever comes after it."""
    record, progress = begun(path), Progress(cases)
    for case in cases:
        record["cases"][case.name] = measured(case, progress.begin)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(record, indent=1) + "\n")


def main() -> int:
    arguments = parsed()
    if not ENVIRONMENT.exists():
        print("no environment of the peers; `make bench-peers` makes it", file=sys.stderr)
        return 1
    path = (arguments.results or (QUICK_RESULTS if arguments.quick else RESULTS)) / "peers.json"
    # Whatever a peer leaves behind becomes our child, so it can be found and ended.
    process.become_subreaper()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    cases = plan.chosen(quick=arguments.quick, only=arguments.only or (), rounds=arguments.rounds)
    try:
        if not arguments.report:
            measure(path, cases)
    except KeyboardInterrupt:
        print("interrupted; finished measures are kept", file=sys.stderr)
        return 130
    return reported(path)


def reported(path: Path) -> int:
    """Tables and plots from the results; those of the default place go into the README as well."""
    report = [str(ENVIRONMENT / "python"), "-m", "tests.benchmarks.peers.report", str(path)]
    readme = [str(ROOT / "README.md")] if path.parent == RESULTS else []
    return subprocess.run([*report, *readme], cwd=ROOT, check=False).returncode


if __name__ == "__main__":
    sys.exit(main())
