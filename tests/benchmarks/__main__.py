"""Measure ours beside the floor or its peers; progress on stderr, tables on stdout, all samples in
a file. Exits 0 whatever the figures, also when a peer fails: that is a result; 1 when one of ours
or the floor failed. `life` measures what crashes and renewals cost, each figure with its limit; the
environment variable BENCH_BEFORE may name another checkout, with its .venv, that takes part.
"""

import argparse
import datetime
import json
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from supervisor.system import process
from tests.benchmarks import machine
from tests.benchmarks.contenders import ROOT, missing
from tests.benchmarks.plan import GROUPS, MEASURES, Case, Group, Step, cannot_run, chosen, steps_of
from tests.benchmarks.report.columns import Record
from tests.benchmarks.report.report import printed, publish

PUBLISHED: Final = ROOT / "tests" / "benchmarks" / "results"
DEFAULT: Final = ROOT / "build" / "benchmarks"
INNERMOST: Final = re.compile(r"[\[{][^\[\]{}]*[\]}]")


def announced(steps: list[Step]) -> Iterator[Step]:
    """The steps of a run, each told as it begins, with the time left by what those before took."""
    done, ahead, began_at = 30.0, sum(step.case.expected for step in steps), time.monotonic()
    for step in steps:
        elapsed = time.monotonic() - began_at
        # At first the plan's word counts for more than what was seen: half a minute more.
        left = ahead * (elapsed + 30) / done / 60
        what = f"{step.case.name}, round {step.round + 1} of {step.case.rounds}"
        line = f"{elapsed:6.0f} s  {what:32} {step.contender.name:30} about {left:.0f} min left"
        print(line, file=sys.stderr, flush=True)
        yield step
        done, ahead = done + step.case.expected, ahead - step.case.expected


def measure(path: Path, cases: list[Case], group: Group) -> bool:
    """Take all measures; each sample is kept as it comes. False: ours or the floor failed."""
    record, good = begun(path), True
    path.parent.mkdir(parents=True, exist_ok=True)
    for step in announced([step for case in cases for step in steps_of(case, group)]):
        case = step.case
        if step.is_first:
            record["cases"][case.name] = renewed(record["cases"].get(case.name), case, group)
        taken = record["cases"][case.name]
        if len(taken["noise"]) <= step.round:
            taken["noise"].append(round(machine.quietness(), 1))
        sample = sample_of(step)
        good = good and ("error" not in sample or step.contender.side == "peer")
        taken["samples"][step.contender.name].append(sample)
        path.write_text(compact(record))
    return good


def renewed(before: Record | None, case: Case, group: Group) -> Record:
    """A case with no samples yet of those that take part now; those of others are kept."""
    kept = before["samples"] if before else {}
    return {
        "date": datetime.datetime.now(datetime.UTC).isoformat(timespec="seconds"),
        "children": case.children,
        "seconds": case.seconds,
        "noise": [],
        "samples": kept | {one.name: [] for one in case.contenders(group)},
    }


def sample_of(step: Step) -> Record:
    """The figures of a life; of one that failed the reason."""
    try:
        return {name: float(f"{value:.5g}") for name, value in step.run().items()}
    except (AssertionError, OSError, subprocess.SubprocessError) as error:
        reason = str(error).rstrip().rpartition("\n")[2] or type(error).__name__
    print(f"          failed: {reason}", file=sys.stderr, flush=True)
    return {"error": reason}


def begun(path: Path) -> Record:
    """A record to add to: what is there already, if it was measured in the same circumstances."""
    now: Record = {"machine": machine.facts(), "versions": machine.versions()}
    now["left_out"] = missing() | cannot_run()
    if path.exists():
        before: Record = json.loads(path.read_text())
        same = all(now["versions"].get(k, v) == v for k, v in before["versions"].items())
        if same and before["machine"] == now["machine"]:
            return before | {"versions": before["versions"] | now["versions"]}
        print("older results were measured in other circumstances: replaced", file=sys.stderr)
    return now | {"cases": {}}


def compact(record: Record) -> str:
    """JSON with a line for each sample."""
    text = json.dumps(record, indent=1)
    return INNERMOST.sub(lambda found: re.sub(r"\s+", " ", found[0]), text) + "\n"


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks", description=__doc__)
    parser.add_argument("group", choices=GROUPS, help="beside whom, or how far")
    parser.add_argument("--only", action="append", choices=MEASURES, help="repeatable")
    parser.add_argument("--rounds", type=int, metavar="N", help="lives of each in each case")
    parser.add_argument("--report", action="store_true", help="measure nothing, tell what is there")
    kind = parser.add_mutually_exclusive_group()
    kind.add_argument("--quick", action="store_true", help="a smoke run")
    where = f"add to {PUBLISHED.relative_to(ROOT)} and to the README, not to build/"
    kind.add_argument("--publish", action="store_true", help=where)
    return parser.parse_args()


def main() -> int:
    arguments = parsed()
    directory = PUBLISHED if arguments.publish else DEFAULT
    path = directory / ("quick.json" if arguments.quick else "figures.json")
    # Whatever a contender leaves behind becomes our child, so it can be found and ended.
    process.become_subreaper()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(143))
    group, only = GROUPS[arguments.group], arguments.only or ()
    cases = chosen(group, smoke=arguments.quick, only=only, rounds=arguments.rounds)
    try:
        good = arguments.report or measure(path, cases, group)
    except KeyboardInterrupt:
        print("interrupted; what is finished is kept", file=sys.stderr)
        return 130
    record = json.loads(path.read_text())
    print(printed(record, arguments.group))
    if arguments.publish:
        publish(record, directory, ROOT / "README.md")
    return int(not good)


if __name__ == "__main__":
    sys.exit(main())
