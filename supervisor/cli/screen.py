"""What `top` shows: statistics over time in, one screen out, drawn by rich.

Knows no clock, no terminal and no server.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterator
from itertools import islice
from typing import Any, Final

from msgspec.structs import replace

from supervisor.errors import MissingExtra
from supervisor.views import rates
from supervisor.views.crashes import crash_line
from supervisor.views.rates import ChildRate, Rates, SectionRate
from supervisor.views.records import LiveChild, LiveStatistics
from supervisor.views.text import duration

try:
    from rich.console import Group, RenderableType
    from rich.table import Table
    from rich.text import Text
except ImportError as error:
    raise MissingExtra("top", "rich", "ui") from error

_HISTORY: Final = 240  # rates kept for the sparklines
_BLOCKS: Final = "▁▂▃▄▅▆▇█"
_ASCII: Final = "_.-=+*%#"
_MOST_CELLS: Final = 6  # lines of cells
# State: how a cell looks, and its letter for who sees no colours.
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


class Screen:
    """What was seen so far, and how it is drawn."""

    def __init__(self, *, ascii_only: bool = False) -> None:
        self._ramp = _ASCII if ascii_only else _BLOCKS
        self._facts: LiveStatistics | None = None
        self._rates = Rates({}, {})
        self._history: dict[str, deque[float]] = {}
        self._pss: dict[int, int] = {}  # by pid
        self._sort = "c"
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
        """Sort by another column."""
        if key in _SORTS:
            self._sort = key

    def draw(self, width: int, height: int) -> RenderableType:
        """The whole screen; the children's rows take what is left of it."""
        facts = self._facts
        if facts is None:
            return Text(f" {self._trouble}")
        above: list[RenderableType] = [*self._head(facts), self._sections(facts, width)]
        above += [Text(), *self._cells(facts, width), Text()]
        used = len(above) + len(facts.workers)  # a table of n rows has n + 1 lines
        rows = max(0, height - used - 2)  # its heads and the keys
        below: list[RenderableType] = [self._children(facts, rows)] if rows else []
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
        cpu = sum(rate.cpu for rate in self._rates.children.values())
        pss = sum(self._pss.values())
        ready = sum(child.ready for child in children)
        line = _line(f" {ready} of {sum(w.children for w in facts.workers)} ready")
        line.append(f"   requests {totals.requests}   errors ")
        line.append(str(totals.errors), "bold red" if totals.errors else "")
        return line.append(f"   CPU {cpu:.0%}   PSS {_mebibytes(pss)} MiB")

    def _sections(self, facts: LiveStatistics, width: int) -> Table:
        table = _table("section", "req/s", "", "err/s", "hand", "queue", "p50", "p99")
        table.columns[0].no_wrap = True
        table.columns[2].justify = "left"
        longest = max(len(one.name) for one in facts.workers)
        room = max(4, min(_HISTORY, width - 50 - min(longest, 20)))
        for one in facts.workers:
            rate = self._rates.sections.get(one.name, SectionRate())
            queued = sum(listen.queued or 0 for listen in one.listen)
            table.add_row(
                Text(one.name[:20], "bold"),
                _rate(rate.requests),
                Text(self._sparkline(one.name, room), "cyan"),
                Text(_rate(rate.errors), "bold red" if rate.errors else ""),
                str(one.active),
                Text(str(queued), "bold yellow" if queued else ""),
                _latency(rate.p50),
                _latency(rate.p99),
            )
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

    def _children(self, facts: LiveStatistics, rows: int) -> Table:
        heads = ("slot", "section", "pid", "state", "req/s", "CPU", "PSS MiB", "hand", "errors")
        table = _table(*heads, "request")
        table.columns[0].justify = "right"
        for word in (1, 3, 9):
            table.columns[word].justify = "left"
        _, key = _SORTS[self._sort]
        known = self._rates.children
        for child in sorted(
            facts.children, key=lambda one: key(one, known.get(one.slot, ChildRate()))
        )[:rows]:
            table.add_row(*_child_row(child, known.get(child.slot, ChildRate())))
        return table

    def _keys(self, hidden: int) -> Text:
        line = _line(" ").append("q", "bold").append(" quit   sort by ", "dim")
        for key, (name, _) in _SORTS.items():
            line.append(key, "bold").append(" ")
            line.append(name, "underline" if key == self._sort else "dim").append("  ")
        return line.append(f" {hidden} more below", "dim") if hidden > 0 else line


def _child_row(child: LiveChild, rate: ChildRate) -> tuple[str | Text, ...]:
    style, _ = _STATES[child.state]
    return (
        str(child.slot),
        Text(child.worker[:20], "bold"),
        str(child.pid),
        Text(child.state, style),
        _rate(rate.requests),
        f"{rate.cpu:.0%}",
        _mebibytes(child.pss_bytes),
        str(child.active),
        Text(str(child.errors), "bold red" if child.errors else ""),
        Text(child.request),
    )


def _line(text: str, style: str = "") -> Text:
    """One line of the screen, never two."""
    line = Text(no_wrap=True, overflow="ellipsis")
    return line.append(text, style)


def _table(*heads: str) -> Table:
    table = Table(box=None, padding=(0, 1), pad_edge=True, header_style="dim", expand=False)
    for index, head in enumerate(heads):
        justify = "left" if index == 0 else "right"
        table.add_column(head, justify=justify, no_wrap=True, overflow="ellipsis")  # type: ignore[arg-type]
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
