"""Samples -> medians with their spread -> Markdown tables. Pure: no clock, no file, no process."""

import math
import statistics
from collections.abc import Iterable, Iterator
from dataclasses import dataclass

from tests.benchmarks.peers.columns import FAMILIES, TABLES, Column, Record, Table

# What is this close to the best is as good: the noise of a machine is no merit and no loss.
CLOSE = 0.05


@dataclass(frozen=True, slots=True)
class Cell:
    """One figure: `middle` is None where there is none to compare."""

    text: str
    middle: float | None = None


def values_of(samples: Iterable[Record], value: str) -> list[float]:
    return [sample[value] for sample in samples if value in sample]


def spread(values: list[float]) -> tuple[float, float]:
    """Half of the values lie between these; of two, both."""
    if len(values) < 3:
        return min(values), max(values)
    first, _, third = statistics.quantiles(values, method="inclusive")
    return first, third


def cell(samples: list[Record], column: Column) -> Cell:
    """The median, its spread where it shows, how many failed."""
    if not samples:
        return Cell("")
    failed = sum("error" in sample for sample in samples)
    values = values_of(samples, column.value)
    if not values:
        return Cell("failed" if failed else "-")
    middle = statistics.median(values)
    text = column.form.format(middle)
    low, high = (column.form.format(value) for value in spread(values))
    if low != high:
        text += f" ({low} .. {high})"
    if failed:
        text += f", {failed} of {len(samples)} failed"
    return Cell(text, middle)


def best(cells: list[Cell], column: Column) -> float | None:
    """The value that deserves bold print: nobody's where all are alike, or none is better."""
    middles = {column.form.format(cell.middle) for cell in cells if cell.middle is not None}
    return extreme(cells, column) if column.better and len(middles) > 1 else None


def extreme(cells: list[Cell], column: Column) -> float | None:
    middles = [cell.middle for cell in cells if cell.middle is not None]
    return (min if column.better == "less" else max)(middles, default=None)


def rows(table: Table, record: Record, family: str) -> Iterator[list[str]]:
    """A line for each contender of the family that took part, ours first, the best in bold."""
    names = [one["name"] for one in record["contenders"] if one["family"] == family]
    names = [name for name in names if any(c.samples(record, name) for c in table.columns)]
    columns = [shown(column, record, names) for column in table.columns]
    for number, (name, *texts) in enumerate(zip(names, *columns, strict=True)):
        yield ["" if number else FAMILIES[family], name, *texts]


def shown(column: Column, record: Record, names: list[str]) -> list[str]:
    """The texts of a column for these contenders; what is as good as the best is bold."""
    cells = [cell(column.samples(record, name), column) for name in names]
    top = best(cells, column)
    return [
        f"**{one.text}**" if top is not None and as_good(one.middle, top) else one.text
        for one in cells
    ]


def as_good(middle: float | None, top: float) -> bool:
    return middle is not None and math.isclose(middle, top, rel_tol=CLOSE)


def markdown(table: Table, record: Record) -> list[str]:
    """The table's lines; none if nothing of it was measured."""
    body = [row for family in FAMILIES for row in rows(table, record, family)]
    if not body:
        return []
    headings = ["", "", *(column.heading for column in table.columns)]
    rule = ["---", "---", *("---:" for _ in table.columns)]
    return [f"| {' | '.join(row)} |" for row in [headings, rule, *body]]


def counts(table: Table, record: Record) -> str:
    """How often each of the table's cases was lived through."""
    names = dict.fromkeys(
        name
        for column in table.columns
        for name in ((column.cases,) if isinstance(column.cases, str) else column.cases)
    )
    taken = {name: record["cases"][name] for name in names if name in record["cases"]}
    return "; ".join(
        f"{name}: {case['children']} children, {case['seconds']:g} s, "
        f"n = {max(map(len, case['samples'].values()))}"
        for name, case in taken.items()
        if case["samples"]
    )


def losses(record: Record) -> Iterator[str]:
    """A line for each figure in which somebody of its family is better than the best of ours."""
    for table in TABLES:
        for column in table.columns:
            for family in FAMILIES:
                if lost := loss(column, record, family):
                    yield f"{table.heading}, {FAMILIES[family]}, {column.heading}: {lost}"


def loss(column: Column, record: Record, family: str) -> str:
    """Who is best, and ours; nothing if ours is, or nearly."""
    taken = {
        one["name"]: (one["is_ours"], cell(column.samples(record, one["name"]), column))
        for one in record["contenders"]
        if one["family"] == family
    }
    top = best([one for _, one in taken.values()], column)
    ours = extreme([one for is_ours, one in taken.values() if is_ours], column)
    if top is None or ours is None or as_good(ours, top):
        return ""
    winner = next(name for name, (_, one) in taken.items() if one.middle == top)
    return f"{winner} {column.form.format(top)}, ours {column.form.format(ours)}"


def failures(record: Record) -> Iterator[str]:
    """A line for each contender that failed in a case, with the reasons."""
    for name, case in record["cases"].items():
        for contender, samples in case["samples"].items():
            reasons = [sample["error"] for sample in samples if "error" in sample]
            if reasons:
                why = "; ".join(dict.fromkeys(reasons))
                yield f"{contender}, {name}: {len(reasons)} of {len(samples)} failed: {why}"
