"""How the cost of a life grows with the number of children, ours beside the floor; no quadratic
step may hide. Progress on stderr, Markdown on stdout; JSON and Markdown are kept with --output.
"""

import argparse
import json
import os
import random
import re
import resource
import signal
import statistics
import subprocess
import sys
import time
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, NamedTuple

from tests.benchmarks.lifecycle import SETTLED, time_to_ready_again
from tests.benchmarks.run import circumstances
from tests.benchmarks.servers import DEADLINE, SUPERVISOR, Contender, Server, floor, ours

SIZES: Final = (4, 32, 128, 500, 1000)
RESULTS: Final = Path(__file__).with_name("results")
# The table of SIGUSR1 ends with the child of the last slot.
LAST_ROW: Final = r"^bench +{slot} +\d+ .*$"

# Measure -> unit; a count is a mean over the children.
MEASURES: Final = {
    "start": "s",
    "start: CPU of the master": "s",
    "start: CPU of the children": "s",
    "start: page faults of the master": "",
    "start: page faults of a child": "",
    "USR1 to its table": "s",
    "stats --json": "s",
    "crash to ready": "s",
    "stop": "s",
    "start and stop: user CPU of all": "s",
    "start and stop: system CPU of all": "s",
}

Facts = dict[str, float]
Samples = dict[tuple[str, str], dict[int, list[float]]]  # (who, measure) -> children -> samples


class Growth(NamedTuple):
    """What one child more costs: between the two smallest sizes, and between the two largest."""

    first: float
    last: float


def life(contender: Contender, children: int) -> Facts:
    """Start and stop, and where the time went."""
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with contender(children) as server:
        cpu, faults = server.cpu_seconds(), page_faults(server)
        facts = {
            "start": server.ready_at - server.spawned_at,
            "start: CPU of the master": cpu[0],
            "start: CPU of the children": sum(cpu[1:]),
            "start: page faults of the master": faults[0],
            "start: page faults of a child": statistics.mean(faults[1:]),
            "stop": server.stop(),
        }
        forked_in = server.forked_in
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    facts["start and stop: user CPU of all"] = after.ru_utime - before.ru_utime
    facts["start and stop: system CPU of all"] = after.ru_stime - before.ru_stime
    # What a crash costs at least: to fork as many again.
    return facts | ({"crash to ready": forked_in} if contender is floor else {})


def events(children: int) -> Facts:
    """SIGUSR1, a look from outside, a crash: of one server of ours."""
    with ours(children, restart="on-crash") as server:
        told_at = time.monotonic()
        os.kill(server.pid, signal.SIGUSR1)
        _, table_at = server.wait_for("(?m)" + LAST_ROW.format(slot=children - 1))
        asked_at = time.monotonic()
        look(server)
        seen_at = time.monotonic()
        server.rest(SETTLED)
        again = time_to_ready_again(server, 2)
    return {
        "USR1 to its table": table_at - told_at,
        "stats --json": seen_at - asked_at,
        "crash to ready": again,
    }


def look(server: Server) -> None:
    command = [str(SUPERVISOR), "stats", "--json", "-c", str(server.config)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL, timeout=DEADLINE)


def page_faults(server: Server) -> list[int]:
    """Minor faults so far (proc(5) stat): the master's, then each child's."""
    stats = (Path(f"/proc/{pid}/stat").read_text() for pid in (server.pid, *server.children()))
    return [int(text.rpartition(")")[2].split()[7]) for text in stats]


def measured(sizes: Sequence[int], rounds: int, say: Callable[[str], None]) -> Samples:
    """Rounds of all sizes, in another order each time.

    One life of the largest first: memory that this machine has not touched yet costs more.
    """
    say(f"warming up with {max(sizes)}")
    life(ours, max(sizes))
    samples: Samples = defaultdict(lambda: defaultdict(list))
    for number in range(1, rounds + 1):
        for children in random.sample(sizes, len(sizes)):
            say(f"round {number} of {rounds}, {children} children")
            for who, facts in (
                ("floor", life(floor, children)),
                ("ours", life(ours, children)),
                ("ours", events(children)),
            ):
                for measure, value in facts.items():
                    samples[who, measure][children].append(value)
    return samples


def growth_of(medians: dict[int, float]) -> Growth:
    """The slope at both ends; `medians` by number of children, at least two."""
    points = sorted(medians.items())

    def slope(a: tuple[int, float], b: tuple[int, float]) -> float:
        return (b[1] - a[1]) / (b[0] - a[0])

    return Growth(slope(*points[:2]), slope(*points[-2:]))


def record_of(samples: Samples) -> list[dict[str, Any]]:
    """For a plot: a line for each measure and contender, its points in order of size."""
    records = []
    for measure, unit in MEASURES.items():
        for who in ("ours", "floor"):
            if by_size := samples.get((who, measure)):
                medians = {size: statistics.median(by_size[size]) for size in sorted(by_size)}
                points = [
                    {"children": size, "median": median, "samples": by_size[size]}
                    for size, median in medians.items()
                ]
                growth = growth_of(medians)._asdict() if len(medians) > 1 else None
                line = {"measure": measure, "who": who, "unit": unit, "points": points}
                records.append(line | {"growth": growth})
    return records


def markdown(records: list[dict[str, Any]], sizes: Sequence[int], facts: dict[str, str]) -> str:
    """One table: medians by size, then what a child more costs at both ends."""
    heads = ["measure", "", *map(str, sorted(sizes)), "first child more", "last child more"]
    lines = ["| " + " | ".join(heads) + " |", "| --- " * 2 + "| ---: " * (len(heads) - 2) + "|"]
    for line in records:
        unit, growth = line["unit"], line["growth"]
        values = [shown(point["median"], unit) for point in line["points"]]
        slopes = [per_child(growth[end], unit) if growth else "" for end in ("first", "last")]
        lines.append("| " + " | ".join([line["measure"], line["who"], *values, *slopes]) + " |")
    machine = ", ".join(f"{key} {value}" for key, value in facts.items())
    return "\n".join(
        [
            *lines,
            "",
            f"Medians. A child more: the slope between the two smallest and "
            f"the two largest sizes; a quadratic step would show as growth. {machine}.",
        ]
    )


def shown(value: float, unit: str) -> str:
    return f"{value:.3f} s" if unit == "s" else f"{value:.0f}"


def per_child(slope: float, unit: str) -> str:
    return f"{slope * 1e3:.2f} ms" if unit == "s" else f"{slope:.2f}"


def main() -> int:
    arguments = parsed()
    began_at, before = time.monotonic(), circumstances()

    def say(text: str) -> None:
        print(f"{time.monotonic() - began_at:6.1f} s  {text}", file=sys.stderr, flush=True)

    records = record_of(measured(arguments.sizes, arguments.rounds, say))
    say("done")
    page = markdown(records, arguments.sizes, before)
    print(page)
    found = {"circumstances": before, "measures": records}
    if arguments.json:
        arguments.json.write_text(json.dumps(found, indent=1) + "\n")
    if arguments.output:
        arguments.output.mkdir(exist_ok=True)
        (arguments.output / "scale.json").write_text(json.dumps(found, indent=1) + "\n")
        (arguments.output / "scale.md").write_text(page + "\n")
    return 0


def sizes_of(text: str) -> list[int]:
    if not re.fullmatch(r"[1-9]\d*(,[1-9]\d*)*", text):
        raise argparse.ArgumentTypeError(f"{text!r} is not like 4,32,128")
    return sorted({int(part) for part in text.split(",")})


def parsed() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.scale", description=__doc__)
    parser.add_argument("--sizes", type=sizes_of, default=list(SIZES), help="default: 4,...,1000")
    parser.add_argument("--rounds", type=int, default=3, help="default: %(default)s")
    parser.add_argument("--json", type=Path, metavar="FILE", help="keep the results, samples too")
    parser.add_argument(
        "--output",
        type=Path,
        nargs="?",
        const=RESULTS,
        metavar="DIRECTORY",
        help="keep scale.json and scale.md there; without a name: in results/ beside this file",
    )
    return parser.parse_args()


if __name__ == "__main__":
    sys.exit(main())
