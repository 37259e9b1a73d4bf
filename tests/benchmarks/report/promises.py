"""The cost of generations that follow one another: each figure with its limit, ours beside whoever
else was measured.
"""

import statistics
from collections.abc import Callable, Sequence
from typing import Final, NamedTuple

from tests.benchmarks.contenders import CONTENDERS
from tests.benchmarks.report.columns import Column, Record, columns
from tests.benchmarks.report.tables import lines_of

OURS: Final = ("supervisor wsgi", "supervisor asgi", "supervisor tcp", "supervisor udp echo")
HEADINGS: Final = ("", "allowed", *(name.removeprefix("supervisor ") for name in OURS))
OTHERS: Final = [one.name for one in CONTENDERS if one.side != "ours"]
NOTE: Final = """\
Of several samples (n) the worst, where nothing else is said. Beside ours: the medians of peers, of
the floor, and of the checkout that BENCH_BEFORE names."""


class Promise(NamedTuple):
    """A figure, how its samples become one (`of`), and what it may be."""

    column: Column
    of: Callable[[Sequence[float]], float]
    least: float | None = None
    most: float | None = None

    def cells(self, record: Record) -> list[str]:
        """A row of the table; empty if ours was not measured."""
        found = [self.column.values(record, name) for name in OURS]
        if not any(found):
            return []
        verdict = "" if self.least is self.most is None else self.verdict(found)
        texts = [self.shown(values) for values in found]
        return [self.column.heading, self.allowed, *texts, self.beside(record), verdict]

    @property
    def allowed(self) -> str:
        if self.least == self.most:
            return "" if self.least is None else f"= {self.column.form.format(self.least)}"
        sign, limit = (">=", self.least) if self.most is None else ("<=", self.most)
        return f"{sign} {self.column.form.format(limit)}"

    def shown(self, values: Sequence[float]) -> str:
        count = f" (n = {len(values)})" if len(values) > 1 else ""
        return self.column.form.format(self.of(values)) + count if values else ""

    def beside(self, record: Record) -> str:
        taken = {name: self.column.values(record, name) for name in OTHERS}
        medians = {name: statistics.median(values) for name, values in taken.items() if values}
        return ", ".join(f"{name} {self.column.form.format(one)}" for name, one in medians.items())

    def verdict(self, found: Sequence[Sequence[float]]) -> str:
        least = float("-inf") if self.least is None else self.least
        most = float("inf") if self.most is None else self.most
        return "ok" if all(least <= self.of(one) <= most for one in found if one) else "MISS"


def promised(
    case: str,
    what: str,
    of: Callable[[Sequence[float]], float] = max,
    least: float | None = None,
    most: float | None = None,
) -> Promise:
    return Promise(*columns("", case, what), of, least, most)


median: Final[Callable[[Sequence[float]], float]] = statistics.median
LONG: Final = "an idle child killed beside long requests,"
LIVES: Final = {"start of": "start", "crash to ready of": "again", "stop of": "stop"}
PROMISES: Final = (
    promised("in hand", f"{LONG} a fresh one waits, s: first 4", median, most=0.05),
    promised("in hand", "the slowest of the second after, median, s: slowest 4", median),
    promised("in hand", "the same, worst, s: slowest 4"),
    promised("in hand", "long ones cut: cut 0", most=0.0),
    promised("in hand", "the WebSocket's code: code 0", median, 1012.0, 1012.0),
    *(
        one
        for every in ("0.2 s", "1 s", "2 s")
        for one in (
            promised(
                f"crash every {every}", f"a crash every {every}, answered, %: answered 2", min, 99
            ),
            promised(f"crash every {every}", "broken off or late: broken 0"),
            promised(f"crash every {every}", "longest gap, median, s: gap 3", median),
            promised(f"crash every {every}", "longest gap, worst, s: gap 3", most=0.1),
        )
    ),
    promised("never", "`never`, a request of 30 s elsewhere, gone, s: gone 3", most=2.5),
    promised("never", "its status: status 0", median, 70.0, 70.0),
    promised("row", "crashes in a row: crashes 0", min, 500),
    promised("row", "descriptors of the master: descriptors 1"),
    promised("row", "more at the last hundred: descriptors_more 1", most=0.5),
    promised("row", "threads: threads 1"),
    promised("row", "more at the last hundred: threads_more 1", most=0.0),
    promised("row", "RSS, KiB: rss 0"),
    promised("row", "more at the last hundred: rss_more 0", most=512),
    promised("row", "PSS, KiB: pss 0"),
    promised("row", "more at the last hundred: pss_more 0", most=512),
    promised("renewals", "renewals under fresh connections: fresh_renewals 0", min, 100),
    promised("renewals", "requests: fresh 0", min),
    promised("renewals", "failed: fresh_failed 0", most=0.0),
    promised("renewals", "renewals under kept connections: kept_renewals 0", min, 100),
    promised("renewals", "requests: kept 0", min),
    promised("renewals", "failed: kept_failed 0", most=0.0),
    promised("idle", "idle, wake-ups a second, 32 children: wake_ups 1", most=0.0),
    *(
        promised(f"lives {count}", f"{what} {count}, s: {value} 3", median)
        for count in (4, 128)
        for what, value in LIVES.items()
    ),
)


def promises(record: Record) -> list[str]:
    """Those that were measured, as a Markdown table."""
    body = [row for one in PROMISES if (row := one.cells(record))]
    return lines_of([*HEADINGS, "beside", "verdict"], body, names=1)
