"""Samples -> medians with their spread -> Markdown tables. Pure: no clock, no file, no process."""

import math
import statistics
from collections.abc import Iterable, Iterator, Sequence
from typing import Final, NamedTuple

from tests.benchmarks.contenders import CONTENDERS, Contender
from tests.benchmarks.report.columns import SHORT, SHOWN, Column, Record

# What is this close to the best is as good: the noise of a machine is no merit and no loss.
CLOSE: Final = 0.05
FAMILY_OF: Final = {one.name: one.family for one in CONTENDERS}


class Cell(NamedTuple):
    """One figure: `median` is None where there is none to compare."""

    text: str
    median: float | None = None


def spread(values: list[float]) -> tuple[float, float]:
    """Half of the values lie between these; of two, both."""
    if len(values) < 3:
        return min(values), max(values)
    first, _, third = statistics.quantiles(values, method="inclusive")
    return first, third


def cell(record: Record, contender: str, column: Column) -> Cell:
    """The median, its spread where it shows, how many failed."""
    samples, values = column.samples(record, contender), column.values(record, contender)
    failed = sum("error" in sample for sample in samples)
    if not values:
        return Cell(("failed" if failed else "-") if samples else "")
    median = statistics.median(values)
    text = column.form.format(median)
    low, high = (column.form.format(value) for value in spread(values))
    if low != high:
        text += f" ({low} .. {high})"
    if failed:
        text += f", {failed} of {len(samples)} failed"
    return Cell(text, median)


def best(cells: Iterable[Cell], column: Column) -> float | None:
    """The value that deserves bold print: nobody's where all are alike, or none is better."""
    medians = [cell.median for cell in cells if cell.median is not None]
    differ = len({column.form.format(median) for median in medians}) > 1
    extreme = {"less": min, "more": max}.get(column.better)
    return extreme(medians) if extreme and differ else None


def bold(cells: Sequence[Cell], column: Column) -> list[str]:
    """Their texts; what is as good as the best is bold."""
    top = best(cells, column)
    return [f"**{one.text}**" if as_good(one.median, top) else one.text for one in cells]


def as_good(median: float | None, top: float | None) -> bool:
    return None not in (median, top) and math.isclose(median or 0.0, top or 0.0, rel_tol=CLOSE)


def of_family(family: str) -> list[Contender]:
    return [one for one in CONTENDERS if one.family == family]


def rows(record: Record, table: Sequence[Column], family: str) -> Iterator[list[str]]:
    """A line for each contender of a family that took part, ours first, the best in bold."""
    names = [one.name for one in of_family(family)]
    names = [name for name in names if any(c.samples(record, name) for c in table)]
    columns = [bold([cell(record, name, c) for name in names], c) for c in table]
    for number, (name, *texts) in enumerate(zip(names, *columns, strict=True)):
        yield ["" if number else family, name, *texts]


def markdown(record: Record, table: Sequence[Column], families: Iterable[str]) -> list[str]:
    """The table's lines; none if nothing of it was measured."""
    body = [row for family in families for row in rows(record, table, family)]
    return lines_of(["", "", *(column.heading for column in table)], body, names=2)


def lines_of(head: Sequence[str], body: Sequence[Sequence[str]], *, names: int) -> list[str]:
    """Markdown, with so many columns of names; none without a body."""
    rule = ["---"] * names + ["---:"] * (len(head) - names)
    return [f"| {' | '.join(row)} |" for row in [head, rule, *body]] if body else []


def counts(record: Record, table: Sequence[Column]) -> str:
    """How often each of the table's cases was lived through."""
    names = dict.fromkeys(name for one in table for name in one.cases.split("|"))
    taken = {name: record["cases"][name] for name in names if name in record["cases"]}
    often = {name: max(map(len, case["samples"].values())) for name, case in taken.items()}
    return "; ".join(
        f"{name}: {case['children']} children, {case['seconds']:g} s, n = {often[name]}"
        for name, case in taken.items()
    )


def short(record: Record) -> list[str]:
    """The README's table: a row for each measure that was taken, medians alone."""
    body = [[column.heading, *medians] for column in SHORT if any(medians := row(record, column))]
    return lines_of(["", *SHOWN], body, names=1)


def row(record: Record, column: Column) -> list[str]:
    """The best of each family is bold."""
    texts = []
    for family in dict.fromkeys(FAMILY_OF[name] for name in SHOWN):
        names = [name for name in SHOWN if FAMILY_OF[name] == family]
        medians = [cell(record, name, column).median for name in names]
        plain = ["" if one is None else column.form.format(one) for one in medians]
        texts += bold([Cell(*pair) for pair in zip(plain, medians, strict=True)], column)
    return texts


def losses(record: Record, columns: Sequence[Column], families: Iterable[str]) -> Iterator[str]:
    """A line for each family: the figures in which somebody is better than the best of ours."""
    for family in families:
        if lost := [text for column in columns if (text := loss(record, column, family))]:
            yield f"{family}: {'; '.join(lost)}."


def loss(record: Record, column: Column, family: str) -> str:
    """Who is best, and the best of ours; nothing if that is ours, or nearly."""
    those = [one for one in of_family(family) if one.side != "floor"]
    cells = [(cell(record, one.name, column).median, one) for one in those]
    taken = [(median, one) for median, one in cells if median is not None]
    taken.sort(key=lambda pair: pair[0], reverse=column.better == "more")
    ours = next((median for median, one in taken if one.side == "ours"), None)
    if ours is None or column.better == "-" or as_good(ours, taken[0][0]):
        return ""
    figures = column.form.format(taken[0][0]), column.form.format(ours)
    told = f"{column.heading} ({taken[0][1].name} {figures[0]}, ours {figures[1]})"
    return told if figures[0] != figures[1] else ""


def failures(record: Record) -> Iterator[str]:
    """A line for each contender that failed in a case, with the reasons."""
    for name, case in record["cases"].items():
        for contender, samples in case["samples"].items():
            if reasons := [sample["error"] for sample in samples if "error" in sample]:
                why = "; ".join(dict.fromkeys(reasons))
                yield f"{contender}, {name}: {len(reasons)} of {len(samples)} failed: {why}"
