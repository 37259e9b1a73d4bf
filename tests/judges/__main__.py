"""Have judges look at ours and at our peers: a table on stdout, progress on stderr. Exits 1 where
ours has failed a case that it passed before (`scores.toml`).
"""

import argparse
import sys
import tomllib
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.judges.contestants import CONTESTANTS, Contestant
from tests.judges.judging import JUDGES, Judge, Score

ALLOWED: Final = Path(__file__).with_name("scores.toml")
Table = dict[tuple[str, str], Score]


def judged(judges: Sequence[Judge], contestants: Sequence[Contestant], *, is_short: bool) -> Table:
    """Let each judge look at each server that speaks its interface."""
    table = {}
    for judge in judges:
        for contestant in contestants:
            if contestant.family in judge.families and contestant.program():
                print(f"{judge.name}: {contestant.name}", file=sys.stderr, flush=True)
                with contestant.serving(judge.application.format(family=contestant.family)) as url:
                    table[judge.name, contestant.name] = judge.look(url, is_short)
    return table


def shown(table: Table) -> str:
    """A row for each server, a column for each judge."""
    judges = list(dict.fromkeys(judge for judge, _ in table))
    names = dict.fromkeys(name for _, name in table)
    lines = [f"| | {' | '.join(judges)} |", "| --- |" + " --- |" * len(judges)]
    for name in names:
        scores = [str(table.get((judge, name), "")) for judge in judges]
        lines.append(f"| {name} | {' | '.join(scores)} |")
    return "\n".join(lines)


def regressions(table: Table, allowed: dict[str, dict[str, list[str]]]) -> list[str]:
    """Cases that ours has failed and is not known to fail."""
    ours = {one.name for one in CONTESTANTS if one.is_ours}
    return [
        f"{name}: {judge}: {case}"
        for (judge, name), score in table.items()
        if name in ours
        for case in score.failed
        if case not in allowed.get(judge, {}).get(name, [])
    ]


def main() -> int:
    """Parse the arguments, judge, tell."""
    parser = argparse.ArgumentParser(prog="python -m tests.judges", description=__doc__)
    parser.add_argument("--ours", action="store_true", help="leave out the peers")
    parser.add_argument("--short", action="store_true", help="fewer examples, no long cases")
    parser.add_argument("--judge", default="", help="only the judges whose name holds this")
    given = parser.parse_args()
    judges = [one for one in JUDGES if given.judge in one.name]
    contestants = [one for one in CONTESTANTS if one.is_ours or not given.ours]
    table = judged(judges, contestants, is_short=given.short)
    print(shown(table))
    found = regressions(table, tomllib.loads(ALLOWED.read_text()))
    for line in found:
        print(f"failed: {line}")
    print(f"judges: {len(found)} new failures" if found else "judges: ok")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
