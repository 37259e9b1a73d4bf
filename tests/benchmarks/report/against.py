"""Ours against the floor: figures with their targets, and what a child more costs."""

import statistics
from collections.abc import Iterator
from itertools import pairwise
from typing import Final, NamedTuple

from tests.benchmarks.report.columns import Column, Record, columns
from tests.benchmarks.report.plots import SIZES
from tests.benchmarks.report.tables import lines_of, of_family, spread

HEADINGS: Final = ("", "ours", "floor", "ratio", "n", "allowed", "verdict")
PAIR: Final = ("supervisor tcp", "floor")


class Comparison(NamedTuple):
    """Ours of a family may cost what its floor costs, times the factor, and the allowance.

    A sample of ours is compared with that of the floor in the same round, so what disturbs the
    machine for longer than a round disturbs both. No factor: the figure has no target.
    """

    family: str
    column: Column
    factor: float = 0.0
    allowance: float = 0.0

    def cells(self, record: Record) -> list[str]:
        """A row of the table; empty if it was not measured."""
        sides = {one.side: self.column.values(record, one.name) for one in of_family(self.family)}
        pairs = list(zip(sides["ours"], sides["floor"], strict=False))
        if not pairs:
            return []
        ours, floor = map(statistics.median, zip(*pairs, strict=True))
        form, ratios = self.column.form, [a / b for a, b in pairs if b]
        about = (statistics.median(ratios), *spread(ratios)) if ratios else ()
        ratio = "{:.2f} ({:.2f} .. {:.2f})".format(*about) if about else ""
        allowed = form.format(floor * self.factor + self.allowance) if self.factor else ""
        verdict = self.verdict(pairs) if self.factor else ""
        figures = [form.format(ours), form.format(floor), ratio, str(len(pairs))]
        return [self.column.heading, *figures, allowed, verdict]

    def verdict(self, pairs: list[tuple[float, float]]) -> str:
        """`ok` or `MISS` by the median; a target inside the spread is said to be in doubt."""
        sign = -1 if self.column.better == "more" else 1
        beyond = [sign * (a - b * self.factor - self.allowance) for a, b in pairs]
        met = [value <= 0 for value in (*spread(beyond), statistics.median(beyond))]
        return ("ok" if met[-1] else "MISS") + (" (in doubt)" if len(set(met)) > 1 else "")


def compared(family: str, case: str, what: str, *target: float) -> Comparison:
    return Comparison(family, *columns("", case, what), *target)


COMPARISONS: Final = (
    compared("tcp", "start 128", "start of 128, s: start 3", 1.0, 0.2),
    compared("tcp", "start 128", "CPU of the master for it, s: cpu_master 3"),
    compared("tcp", "start 128", "CPU of the children for it, s: cpu_children 3"),
    compared("tcp", "start 128", "stop of 128, s: stop 3", 2.0),
    compared("programs", "start 128", "start of 128 programs, s: start 3", 1.2, 0.1),
    compared("tcp", "standing", "idle, wake-ups a second: wake_ups 1", 1.0),
    compared("tcp", "standing", "memory of 32, MiB: memory_children 1", 1.3),
    compared("tcp", "standing", "memory of the master, MiB: memory_master 1"),
    compared("tcp", "throughput", "requests/s: closed_rate 0 more", 0.85),
    compared("tcp", "throughput", "CPU a request, us: closed_cpu 1"),
    compared("tcp", "again 4", "crash of 4 to ready, s: again 3", 2.0, 0.01),
    compared("tcp", "again 128", "crash of 128 to ready, s: again 3", 2.0, 0.01),
    compared("udp echo", "datagrams", "echoed datagrams/s: rate 0 more", 0.85),
    compared("udp echo", "datagrams", "CPU of one, us: cpu 1"),
    compared("udp sip", "datagrams", "SIP answers/s: rate 0 more", 0.85),
    compared("udp sip", "datagrams", "CPU of one, us: cpu 1"),
)
GROWING: Final = (
    *columns("", "start", "start, s: start 3", "CPU of the master for it, s: cpu_master 3"),
    *columns("", "start", "CPU of the children for it, s: cpu_children 3"),
    *columns("", "start", "page faults of the master: faults_master 0"),
    *columns("", "start", "page faults of a child: faults_child 0"),
    *columns("", "again", "USR1 to its table, s: usr1 3", "stats --json, s: stats 3"),
    *columns("", "again", "crash to ready, s: again 3"),
    *columns("", "start", "stop, s: stop 3", "start and stop, user CPU of all, s: user 3"),
    *columns("", "start", "start and stop, system CPU of all, s: system 3"),
)


def against(record: Record) -> list[str]:
    """The comparisons that were measured, as a Markdown table."""
    return lines_of(HEADINGS, [row for one in COMPARISONS if (row := one.cells(record))], names=1)


def growth(record: Record) -> list[str]:
    """Medians by size; what 1000 children more cost grows where a quadratic step hides."""
    heads = ["", "", *map(str, SIZES), "1000 more, at first", "at last"]
    return lines_of(heads, list(growing(record)), names=2)


def growing(record: Record) -> Iterator[list[str]]:
    for column in GROWING:
        for who in PAIR:
            sized = {n: column._replace(cases=f"{column.cases} {n}") for n in SIZES}
            taken = {n: found for n, one in sized.items() if (found := one.values(record, who))}
            if medians := {n: statistics.median(found) for n, found in taken.items()}:
                texts = [column.form.format(medians[n]) if n in medians else "" for n in SIZES]
                slopes = [column.form.format(1000 * one) for one in slopes_of(medians)]
                yield [column.heading, who, *texts, *(slopes or ["", ""])]


def slopes_of(points: dict[int, float]) -> list[float]:
    """The cost of one child more, at both ends; empty where there is one point."""
    slopes = [(b[1] - a[1]) / (b[0] - a[0]) for a, b in pairwise(points.items())]
    return [slopes[0], slopes[-1]] if slopes else []
