"""The screen of `top`: statistics over time in, one screen out, drawn by rich.

Knows no clock, no terminal and no server.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from itertools import islice
from typing import Any, Final, NamedTuple

from msgspec.structs import replace

from supervisor.errors import MissingExtra
from supervisor.views import rates
from supervisor.views.crashes import crash_line
from supervisor.views.rates import ChildRate, Rates
from supervisor.views.records import LiveChild, LiveStatistics
from supervisor.views.text import duration

try:
    from rich.console import Group, JustifyMethod, RenderableType
    from rich.table import Table
    from rich.text import Text
except ImportError as error:
    raise MissingExtra("top", "rich", "ui") from error

_HISTORY: Final = 240  # rates kept for the sparklines
_BLOCKS: Final = "▁▂▃▄▅▆▇█"
_ASCII: Final = "_.-=+*%#"
_MOST_CELLS: Final = 6  # lines of cells
_SPARK: Final = 10  # columns of a sparkline at least
_REQUEST: Final = 14  # columns of a request at least
_NARROWEST: Final = 40  # columns, and lines, without which nothing is drawn
_LOWEST: Final = 10
# State: how a cell looks, and its letter where there are no colours.
_STATES: Final = {
    "starting": ("black on cyan", "s"),
    "idle": ("black on green", "."),
    "busy": ("black on yellow", "b"),
    "stopping": ("white on magenta", "x"),
    "frozen": ("bold white on blue", "f"),
    "gone": ("bold white on red", "-"),
}
_SERVER: Final = {"running": "bold green", "starting": "bold cyan", "stopping": "bold magenta"}

_Key = Callable[[LiveChild, ChildRate], Any]
# The keys of the keyboard that sort the children, and by what.
_SORTS: Final[dict[str, tuple[str, _Key]]] = {
    "c": ("CPU", lambda child, rate: (-rate.cpu, child.slot)),
    "r": ("requests/s", lambda child, rate: (-rate.requests, child.slot)),
    "m": ("memory", lambda child, rate: (-child.pss_bytes, child.slot)),
    "s": ("slot", lambda child, rate: child.slot),
}
_HELP: Final = [
    Text(f" {key}  {does}")
    for key, does in (
        ("q", "quit; so does Ctrl-C"),
        ("?", "this, and back by any key"),
        *((key, f"sort the children by {name}") for key, (name, _) in _SORTS.items()),
    )
]


class Screen:
    """The statistics seen so far, and how they are drawn."""

    def __init__(self, *, ascii_only: bool = False) -> None:
        self._ramp = _ASCII if ascii_only else _BLOCKS
        self._facts: LiveStatistics | None = None
        self._rates = Rates({}, {})
        self._history: dict[str, deque[float]] = {}
        self._pss: dict[int, int] = {}  # by pid
        self._sort = "c"
        self._helps = False
        self._trouble = ""

    def see(self, facts: LiveStatistics) -> None:
        """Take in the next look; where it has no PSS the last one known stays."""
        facts = self._with_known_pss(facts)
        self._rates = rates.between(self._facts, facts)
        for name, rate in self._rates.sections.items():
            self._history.setdefault(name, deque(maxlen=_HISTORY)).append(rate.requests)
        self._facts, self._trouble = facts, ""

    def _with_known_pss(self, facts: LiveStatistics) -> LiveStatistics:
        seen = {child.pid: child.pss_bytes for child in facts.children}
        seen[facts.pid] = facts.master.pss_bytes
        self._pss = {pid: pss or self._pss.get(pid, 0) for pid, pss in seen.items()}
        children = (replace(child, pss_bytes=self._pss[child.pid]) for child in facts.children)
        return replace(facts, children=tuple(children))

    def miss(self, trouble: str) -> None:
        """Say why there is nothing new; what was seen last stays."""
        self._trouble = trouble

    def press(self, key: str) -> None:
        """Sort by another column, or show what the keys do."""
        self._helps = key == "?" and not self._helps
        if key in _SORTS:
            self._sort = key

    def draw(self, width: int, height: int) -> RenderableType:
        """The whole screen; the children's rows take what is left of it."""
        facts = self._facts
        if facts is None:
            return Text(f" {self._trouble}")
        if width < _NARROWEST or height < _LOWEST:
            return Text(f"{facts.name}: too small, {_NARROWEST}x{_LOWEST} at least")
        if self._helps:
            return Group(*self._head(facts), *_HELP)
        above: list[RenderableType] = [*self._head(facts), self._sections(facts, width)]
        above += [Text(), *self._cells(facts, width), Text()]
        used = len(above) + len(facts.workers)  # a table of n rows has n + 1 lines
        rows = max(0, height - used - 2)  # its heads and the keys
        below: list[RenderableType] = [self._children(facts, rows, width)] if rows else []
        return Group(*above, *below, self._keys(len(facts.children) - rows))

    def _head(self, facts: LiveStatistics) -> Iterator[Text]:
        line = _line(f" {facts.name} ", "bold reverse")
        line.append(f" {facts.state} ", _SERVER[facts.state])
        if facts.master.is_frozen:
            line.append(" master frozen ", "bold white on blue")
        line.append(f" pid {facts.pid}  generation {facts.generation}")
        yield line.append(f"  up {duration(facts.uptime)}")
        yield self._sums(facts)
        if facts.last_crash:
            yield _line(f" {crash_line(facts.last_crash)}", "red")
        yield _line(f" {self._trouble} ", "bold white on red") if self._trouble else Text()

    def _sums(self, facts: LiveStatistics) -> Text:
        children, totals = facts.children, facts.totals
        rates = self._rates.children.values()
        cpu = f"{sum(rate.cpu for rate in rates):.0%}" if rates else "-"
        pss = sum(self._pss.values())
        ready = sum(child.ready for child in children)
        line = _line(f" {ready} of {sum(w.children for w in facts.workers)} ready")
        line.append(f"   requests {totals.requests}   errors ")
        line.append(str(totals.errors), "bold red" if totals.errors else "")
        return line.append(f"   CPU {cpu}   PSS {_mebibytes(pss)} MiB")

    def _sections(self, facts: LiveStatistics, width: int) -> Table:
        chosen = _fitting(_SECTION_COLUMNS, width)
        table = _table(chosen)
        room = max(_SPARK, min(_HISTORY, width - sum(one.width for one in chosen) + _SPARK))
        for one in facts.workers:
            rate = self._rates.sections.get(one.name)
            spark = Text(self._sparkline(one.name, room), "cyan")
            table.add_row(*(column.cell(one, rate, spark) for column in chosen))
        return table

    def _sparkline(self, name: str, room: int) -> str:
        history = self._history.get(name, ())
        shown = list(islice(history, max(0, len(history) - room), None))
        top = max(shown, default=0.0)
        steps = len(self._ramp) - 1
        ramp = "".join(self._ramp[round(rate / top * steps) if top else 0] for rate in shown)
        return ramp.rjust(room)

    def _cells(self, facts: LiveStatistics, width: int) -> list[Text]:
        """One cell a child in slot order, then what the letters mean."""
        states = {child.slot: child.state for child in facts.children}
        slots = range(sum(one.children for one in facts.workers))
        lines, room = [], max(10, width - 2)
        for start in range(0, min(len(slots), room * _MOST_CELLS), room):
            line = _line(" ")
            for slot in slots[start : start + room]:
                style, letter = _STATES[states.get(slot, "gone")]
                line.append(letter, style)
            lines.append(line)
        shown = [states.get(slot, "gone") for slot in slots]
        legend = _line(" ")
        for state, (style, letter) in _STATES.items():
            if state in shown:
                legend.append(letter, style).append(f" {shown.count(state)} {state}   ", "dim")
        return [*lines, legend]

    def _children(self, facts: LiveStatistics, rows: int, width: int) -> Table:
        chosen = _fitting(_CHILD_COLUMNS, width)
        table = _table(chosen)
        room = max(0, width - sum(one.width for one in chosen)) + _REQUEST - 2  # two are space
        _, key = _SORTS[self._sort]
        known = self._rates.children
        for child in sorted(
            facts.children, key=lambda one: key(one, known.get(one.slot, ChildRate()))
        )[:rows]:
            rate = known.get(child.slot)
            request = Text(child.request)
            request.truncate(room, overflow="ellipsis")
            table.add_row(*(column.cell(child, rate, request) for column in chosen))
        return table

    def _keys(self, hidden: int) -> Text:
        line = _line(" ").append("q", "bold").append(" quit  ", "dim")
        line.append("?", "bold").append(" keys  sort by ", "dim")
        for key, (name, _) in _SORTS.items():
            line.append(key, "bold").append(" ")
            line.append(name, "underline" if key == self._sort else "dim").append("  ")
        return line.append(f" {hidden} more below", "dim") if hidden > 0 else line


class _Column(NamedTuple):
    """A column: its width with the space beside it, and how dear it is: where the screen is too
    narrow those with the highest `rank` go first. `cell` gets one child or section, its rates, if
    there are any yet, and what fills the rest of the line: its request, or its sparkline.
    """

    head: str
    width: int
    rank: int
    cell: Callable[[Any, Any, Any], str | Text]
    left: bool = False


def _fitting(columns: Sequence[_Column], width: int) -> list[_Column]:
    """The columns that a screen has room for, the most important ones."""
    left, chosen = width, []
    for column in sorted(columns, key=lambda one: one.rank):
        left -= column.width
        if left < 0:
            break
        chosen.append(column)
    return [column for column in columns if column in chosen]


def _red(count: float, text: str) -> Text:
    return Text(text, "bold red" if count else "")


def _unless(rate: Any, cell: Callable[[Any], str | Text]) -> str | Text:
    """The cell of a rate, or - after a single look, which tells no rate."""
    return "-" if rate is None else cell(rate)


_CHILD_COLUMNS: Final = (
    _Column("slot", 6, 0, lambda child, _rate, _spark: str(child.slot)),
    _Column("section", 14, 5, lambda child, *_: Text(child.worker[:12], "bold"), left=True),
    _Column("pid", 9, 6, lambda child, *_: str(child.pid)),
    _Column(
        "state", 10, 1, lambda child, *_: Text(child.state, _STATES[child.state][0]), left=True
    ),
    _Column("req/s", 8, 2, lambda _child, rate, _spark: _unless(rate, lambda r: _rate(r.requests))),
    _Column("CPU", 6, 4, lambda _child, rate, _spark: _unless(rate, lambda r: f"{r.cpu:.0%}")),
    _Column("PSS MiB", 9, 7, lambda child, *_: _mebibytes(child.pss_bytes)),
    _Column("hand", 6, 8, lambda child, *_: str(child.active)),
    _Column("errors", 8, 9, lambda child, *_: _red(child.errors, str(child.errors))),
    _Column("request", _REQUEST, 3, lambda _child, _rate, request: request, left=True),
)

_SECTION_COLUMNS: Final = (
    _Column("section", 14, 0, lambda one, *_: Text(one.name[:12], "bold"), left=True),
    _Column("req/s", 8, 1, lambda _one, rate, _spark: _unless(rate, lambda r: _rate(r.requests))),
    _Column("", _SPARK, 7, lambda _one, _rate, spark: spark, left=True),
    _Column(
        "err/s",
        8,
        2,
        lambda _one, rate, _spark: _unless(rate, lambda r: _red(r.errors, _rate(r.errors))),
    ),
    _Column("hand", 6, 4, lambda one, *_: str(one.active)),
    _Column(
        "queue", 7, 5, lambda one, *_: _yellow(sum(listen.queued or 0 for listen in one.listen))
    ),
    _Column("p50", 9, 6, lambda _one, rate, _spark: _unless(rate, lambda r: _latency(r.p50))),
    _Column("p99", 9, 3, lambda _one, rate, _spark: _unless(rate, lambda r: _latency(r.p99))),
)


def _yellow(count: int) -> Text:
    return Text(str(count), "bold yellow" if count else "")


def _line(text: str, style: str = "") -> Text:
    """One line of the screen, never two."""
    line = Text(no_wrap=True, overflow="ellipsis")
    return line.append(text, style)


def _table(columns: Iterable[_Column]) -> Table:
    table = Table(box=None, padding=(0, 1), pad_edge=True, header_style="dim", expand=False)
    for column in columns:
        justify: JustifyMethod = "left" if column.left else "right"
        table.add_column(column.head, justify=justify, no_wrap=True, overflow="ellipsis")
    return table


def _rate(rate: float) -> str:
    return f"{rate:.0f}" if rate >= 100 or rate == 0 else f"{rate:.1f}"


def _latency(seconds: float) -> str:
    if not seconds:
        return "-"
    if seconds < 1e-3:
        return f"{seconds * 1e6:.0f} us"
    return f"{seconds * 1e3:.1f} ms" if seconds < 1 else f"{seconds:.2f} s"


def _mebibytes(size: int) -> str:
    return f"{size / 2**20:.1f}" if size else "-"
