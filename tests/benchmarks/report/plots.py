"""Samples -> plots (SVG), for a column of 800 px, light and dark: three colours, a name at the end
of each line, ticks as people say them. Pure.
"""

import math
import statistics
from collections.abc import Callable, Sequence
from html import escape
from itertools import chain, pairwise
from typing import Final, NamedTuple

from tests.benchmarks.contenders import CONTENDERS
from tests.benchmarks.report.columns import Column, Record, columns

WIDTH: Final = 800
SIZES: Final = (4, 32, 128, 500, 1000)
HEIGHT: Final = 340  # of panels of lines
LETTER: Final = 7.4  # px of a bold letter of 12 px, on average and a little more
LINE, BAR = 14, 20  # px from one name to the next
FLOOR: Final = "floor: a bare loop that supervises nothing, or nginx"
LEGEND: Final = {"ours": "supervisor", "peer": "peers", "floor": FLOOR}
# A colour is a variable, so that the dark ones are named in one place.
STYLE: Final = """\
svg { --paper: #fff; --ink: #1e293b; --grid: #dbe2ea; --ours: #c2410c; --floor: #1d6fd8;
  --peer: #6b7686; font: 12px system-ui, sans-serif }
@media (prefers-color-scheme: dark) { svg { --paper: #0d1117; --ink: #d6dde6; --grid: #2b3440;
  --ours: #fb8b4b; --floor: #6cb0ff; --peer: #94a1b2 } }
text { fill: var(--ink) } .head, text.ours { font-weight: 600 } .paper { fill: var(--paper) }
.grid { stroke: var(--grid) } .ours { --it: var(--ours) } .floor { --it: var(--floor) }
.peer { --it: var(--peer) } rect.ours, rect.floor, rect.peer { fill: var(--it) }
text.ours, text.floor, text.peer { fill: var(--it) }
polyline { fill: none; stroke: var(--it); stroke-width: 1.5 } polyline.ours { stroke-width: 3 }
"""


class Shown(NamedTuple):
    """The results of one contender: (x, y) in order, or one figure."""

    name: str
    side: str
    points: list[tuple[float, float]]


def scale(low: float, high: float, start: float, end: float) -> Callable[[float], float]:
    """Values from `low` to `high` as px from `start` to `end`, evenly by their logarithm."""
    return lambda value: start + math.log(value / low) / math.log(high / low) * (end - start)


def text(x: float, y: float, words: str, kind: str = "", anchor: str = "start") -> str:
    place = f'x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}"'
    return f'<text {place} class="{kind}">{escape(words)}</text>'


def bar(x: float, y: float, width: float, height: float, kind: str) -> str:
    place = f'x="{x:.0f}" y="{y:.0f}" width="{width:.1f}" height="{height}"'
    return f'<rect {place} class="{kind}"/>'


def apart(wanted: Sequence[float], lowest: float) -> list[float]:
    """Places for names near where they are wanted: none overlaps another, none is below `lowest`.

    From above each is pushed down by the one before it, then from below up again.
    """
    order, places = sorted(range(len(wanted)), key=wanted.__getitem__), list(wanted)
    for above, one in pairwise(order):
        places[one] = max(wanted[one], places[above] + LINE)
    for number, one in enumerate(reversed(order)):
        places[one] = min(places[one], lowest - number * LINE)
    return places


def curves(title: str, lines: Sequence[Shown], left: float, width: float) -> list[str]:
    """A panel on two logarithmic axes: seconds over the number of children."""
    sizes = sorted({x for line in lines for x, _ in line.points})
    exponents = [math.log10(y) for line in lines for _, y in line.points]
    ticks = range(math.floor(min(exponents)), math.ceil(max(exponents)) + 1)
    names = max(len(line.name) for line in lines) * LETTER
    start, end, bottom = left + 46, left + width - names - 8, HEIGHT - 64
    x = scale(sizes[0], sizes[-1], start, end)
    y = scale(10 ** ticks[0], 10 ** ticks[-1], bottom, 36)
    drawn = [text(left, 16, title, "head"), text(start, bottom + 34, "children")]
    for tick in (10.0**exponent for exponent in ticks):
        human = f"{tick:g} s" if tick >= 1 else f"{tick * 1e3:g} ms"
        drawn += [f'<path class="grid" d="M{start:.0f} {y(tick):.0f}H{end:.0f}"/>']
        drawn += [text(start - 6, y(tick) + 4, human, anchor="end")]
    for size, after in pairwise([*sizes, math.inf]):  # no number where the next one would be on it
        if x(after) - x(size) > 3 * LETTER:
            drawn += [text(x(size), bottom + 18, f"{size:g}", anchor="middle")]
    places = apart([y(line.points[-1][1]) for line in lines], bottom)
    for line, place in zip(lines, places, strict=True):
        points = " ".join(f"{x(a):.1f},{y(b):.1f}" for a, b in line.points)
        drawn += [f'<polyline class="{line.side}" points="{points}"/>']
        drawn += [text(end + 8, place + 4, line.name, line.side)]
    return drawn


def bars(column: Column, shown: Sequence[Shown], left: float, width: float) -> list[str]:
    """A panel: a bar and its figure for each contender, from 0."""
    figures = [one.points[0][1] for one in shown]
    texts = [column.form.format(figure) for figure in figures]
    room = width - max(map(len, texts)) * LETTER - 16
    heads = enumerate(column.heading.split(", ", 1))
    drawn = [text(left, 16 + 15 * n, word, "head") for n, word in heads]
    for number, (one, figure, words) in enumerate(zip(shown, figures, texts, strict=True)):
        length, y = max(1.0, figure / (max(figures) or 1.0) * room), 46 + number * BAR
        drawn += [bar(left, y, length, 13, one.side), text(left + length + 5, y + 11, words)]
    return drawn


def framed(height: float, body: Sequence[str]) -> str:
    """A whole file; its last line says what the colours are."""
    x, legend = 8.0, []
    for side, name in LEGEND.items():
        if any(f'"{side}"' in part for part in body):
            legend += [bar(x, height - 18, 10, 10, side), text(x + 15, height - 9, name)]
            x += 36 + len(name) * LETTER
    size = f'viewBox="0 0 {WIDTH} {height}" width="{WIDTH}" height="{height}"'
    head = f'<svg xmlns="http://www.w3.org/2000/svg" {size}>\n<style>\n{STYLE}</style>'
    return "\n".join([head, bar(0, 0, WIDTH, height, "paper"), *body, *legend, "</svg>\n"])


def of(record: Record, sized: dict[float, Column], names: Sequence[str]) -> list[Shown]:
    """The medians of those that were measured, in the order of the table of contenders."""
    taken = []
    for one in (one for one in CONTENDERS if one.name in names):
        values = {x: column.values(record, one.name) for x, column in sized.items()}
        points = [(x, statistics.median(found)) for x, found in values.items() if found]
        taken += [Shown(one.name, one.side, points)] if points else []
    return taken


def by_children(record: Record, panels: Sequence[Column], names: Sequence[str]) -> str:
    """Panels of lines over the number of children; "" where nothing of it was measured."""
    found = {}
    for one in panels:
        cases = {n: str(n) for n in SIZES} | {32: f"32|{STANDING.get(one.cases, '')}"}
        sized = {float(n): one._replace(cases=f"{one.cases} {case}") for n, case in cases.items()}
        lines = [line for line in of(record, sized, names) if len(line.points) > 1]
        common = set.intersection(*({x for x, _ in line.points} for line in lines)) if lines else ()
        ends = [line._replace(points=[p for p in line.points if p[0] in common]) for line in lines]
        found |= {one.heading: ends} if len(common) > 1 else {}
    width = WIDTH / max(len(found), 1)
    drawn = [curves(*one, 8 + n * width, width - 12) for n, one in enumerate(found.items())]
    return framed(HEIGHT, list(chain(*drawn))) if drawn else ""


def by_contender(record: Record, panels: Sequence[Column], names: Sequence[str]) -> str:
    """Panels of bars, of those that are in all; "" where nobody is."""
    taken = [{one.name for one in of(record, {0.0: column}, names)} for column in panels]
    if not (names := sorted(set.intersection(*taken))):
        return ""
    shown = [of(record, {0.0: column}, names) for column in panels]
    side, width = 178, (WIDTH - 178) / len(panels)
    lines = enumerate(shown[0])
    drawn = [text(side - 8, 57 + BAR * n, one.name, one.side, "end") for n, one in lines]
    for number, (column, figures) in enumerate(zip(panels, shown, strict=True)):
        drawn += bars(column, figures, side + number * width, width - 10)
    return framed(76 + BAR * len(shown[0]), drawn)


STARTED: Final = (
    *("supervisor wsgi", "gunicorn sync", "granian wsgi", "uwsgi"),
    *("supervisor asgi", "uvicorn", "hypercorn", "floor"),
)
SERVING: Final = (
    *("supervisor wsgi", "gunicorn sync", "gunicorn gthread", "granian wsgi", "uwsgi", "nginx"),
    *("supervisor asgi", "uvicorn", "gunicorn, uvicorn worker", "granian asgi", "hypercorn"),
)


class Plot(NamedTuple):
    """One file: a panel for each column, its heading the title, and whom it shows."""

    file: str
    caption: str
    drawn: Callable[[Record, Sequence[Column], Sequence[str]], str]
    panels: Sequence[Column]
    names: Sequence[str]

    def draw(self, record: Record) -> str:
        return self.drawn(record, self.panels, self.names)


STANDING: Final = {"start": "standing"}  # who was not measured with 32 alone, was there
READY, GONE = columns("", "start", "until all are ready: start 2", "SIGTERM to gone: stop 2")
AGAIN: Final = columns("", "again", "crash to all ready again: again 2")
LOAD: Final = (
    *columns("", "throughput", "us of CPU a request, kept connections: kept_cpu 0"),
    *columns("", "throughput", "us of CPU a request, a connection each: closed_cpu 0"),
    *columns("", "throughput", "requests/s, kept connections: kept_rate 0"),
    *columns("", "throughput", "requests/s, a connection each: closed_rate 0"),
)
IDLE: Final = columns("", "standing", "memory (PSS), MiB: memory 0", "wake-ups/s, idle: wake_ups 1")
CRASH: Final = (
    *columns("", "crash every 1 s", "answered %, a kill every 1 s: answered 0"),
    *columns("", "crash every 1 s", "longest gap in s, a kill every 1 s: gap 2"),
    *columns("", "crash every 2 s", "answered %, a kill every 2 s: answered 0"),
    *columns("", "crash every 2 s", "longest gap in s, a kill every 2 s: gap 2"),
)
ENDS: Final = "Seconds until all children are ready, and from SIGTERM until all are gone"
GROWTH: Final = "Start, crash to ready again, and stop of 4 to 1000 children, beside the floor"
COST: Final = "CPU time of the server for each request, and requests a second on two cores"
STILL: Final = "Memory of 32 children and their master, and what they do while idle"
KILLS: Final = "Requests answered, and the longest gap, while a worker is killed again and again"
PLOTS: Final = (
    Plot("start.svg", ENDS, by_children, (READY, GONE), STARTED),
    Plot("growth.svg", GROWTH, by_children, (READY, *AGAIN, GONE), ("supervisor tcp", "floor")),
    Plot("requests.svg", COST, by_contender, LOAD, SERVING),
    Plot("memory.svg", STILL, by_contender, IDLE, SERVING),
    Plot("crash.svg", KILLS, by_contender, CRASH, SERVING),
)
