"""Samples -> a figure against its target -> a line of the table. Nothing is measured here."""

import operator
import statistics
from collections.abc import Callable
from dataclasses import asdict, dataclass, field
from typing import Any, Literal

SENSES: dict[str, Callable[[float, float], bool]] = {"<=": operator.le, ">=": operator.ge}
HEADINGS = ("measure", "ours", "floor", "figure", "quartiles", "n", "target", "verdict")


@dataclass(frozen=True, slots=True, kw_only=True)
class Figure:
    """One line of the table; `samples` are compared with the limit, one a round.

    A sample pairs an `ours` with the `floor` measured right beside it, so that what disturbs the
    machine for longer than a round disturbs both. The figure is their median, unless `least` gives
    it: where all noise only adds, what was seen on the undisturbed machine is nearer the truth.
    """

    name: str
    samples: list[float]
    ours: list[float] = field(default_factory=list)
    floor: list[float] = field(default_factory=list)
    raw: str = "{:.3f} s"
    shown: str = "{:.2f}x"
    sense: Literal["<=", ">=", ""] = ""
    limit: float = 0.0
    note: str = ""
    least: float | None = None

    @property
    def value(self) -> float:
        return statistics.median(self.samples) if self.least is None else self.least

    @property
    def quartiles(self) -> tuple[float, float]:
        """Half of the samples lie between these two."""
        if len(self.samples) < 2:
            return (self.value, self.value)
        first, _, third = statistics.quantiles(self.samples, method="inclusive")
        return (first, third)

    @property
    def verdict(self) -> str:
        """`ok` or `MISS` by the figure; a target inside the spread is said to be in doubt."""
        if not self.sense:
            return ""
        met = SENSES[self.sense]
        low, high = self.quartiles
        doubt = len({met(value, self.limit) for value in (low, self.value, high)}) > 1
        return ("ok" if met(self.value, self.limit) else "MISS") + (" (in doubt)" if doubt else "")

    def cells(self) -> tuple[str, ...]:
        low, high = (self.shown.format(value) for value in self.quartiles)
        target = f"{self.sense} {self.shown.format(self.limit)}" if self.sense else ""
        return (
            self.name,
            median_of(self.ours, self.raw),
            median_of(self.floor, self.raw),
            self.shown.format(self.value),
            f"{low} .. {high}",
            str(len(self.samples)),
            target,
            self.verdict,
        )

    def record(self) -> dict[str, Any]:
        """Everything, for a file: the samples too, so that others can judge the noise."""
        return asdict(self) | {"figure": self.value, "verdict": self.verdict}


@dataclass(frozen=True, slots=True, kw_only=True)
class Skipped:
    """A measure that was not taken, and why; `broken` if it should have been."""

    name: str
    reason: str
    broken: bool = False

    def record(self) -> dict[str, Any]:
        return asdict(self)


Outcome = Figure | Skipped


def ratio(name: str, ours: list[float], floor: list[float], **rest: Any) -> Figure:
    samples = [a / b for a, b in zip(ours, floor, strict=True)]
    return Figure(name=name, samples=samples, ours=ours, floor=floor, **rest)


def difference(name: str, ours: list[float], floor: list[float], **rest: Any) -> Figure:
    samples = [a - b for a, b in zip(ours, floor, strict=True)]
    return Figure(name=name, samples=samples, ours=ours, floor=floor, **rest)


def median_of(values: list[float], form: str) -> str:
    return form.format(statistics.median(values)) if values else ""


def table(outcomes: list[Outcome]) -> str:
    """The figures in aligned columns, then what was skipped, then the notes."""
    figures = [outcome for outcome in outcomes if isinstance(outcome, Figure)]
    rows = [HEADINGS, *(figure.cells() for figure in figures)]
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]
    lines += [
        f"{o.name}: {'BROKEN' if o.broken else 'skipped'}, {o.reason}"
        for o in outcomes
        if isinstance(o, Skipped)
    ]
    lines += [f"{figure.name}: {figure.note}" for figure in figures if figure.note]
    return "\n".join(lines)
