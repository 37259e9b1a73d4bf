"""Samples -> a few plots (SVG). Ours in colour, the others in greys and shapes."""

import statistics
from collections.abc import Callable
from pathlib import Path

import matplotlib as mpl
import matplotlib.pyplot as plt
from matplotlib.axes import Axes

from tests.benchmarks.peers.columns import FAMILIES, Column, Record
from tests.benchmarks.peers.tables import values_of

OURS, OTHER, FLOOR, FAILED = "#c2410c", "#64748b", "#cbd5e1", "#0f172a"
MARKS = "osD^vPX*"
LIVES = ("start 4", "standing", "start 128")
# Text stays text, and the same results give the same file.
STYLE = {
    "svg.fonttype": "none",
    "svg.hashsalt": "peers",
    "font.size": 9,
    "axes.spines.top": False,
    "axes.spines.right": False,
    "legend.frameon": False,
    "figure.constrained_layout.use": True,
}


def draw(record: Record, directory: Path) -> None:
    """All plots for which there are samples."""
    with mpl.rc_context(STYLE):
        for name, plot in PLOTS.items():
            if figure := plot(record):
                figure.savefig(directory / name, metadata={"Date": None})
                plt.close(figure)


def draw_growth(scale: Record, directory: Path) -> None:
    """What grows with the number of children, ours and the floor: straight where it is linear."""
    wanted = ("start", "crash to ready", "stop", "start: page faults of a child")
    with mpl.rc_context(STYLE):
        figure, row = plt.subplots(1, len(wanted), figsize=(11, 3))
        for axes, measure in zip(row, wanted, strict=True):
            for one in scale["measures"]:
                if one["measure"] == measure:
                    is_ours = one["who"] == "ours"
                    axes.plot(
                        [point["children"] for point in one["points"]],
                        [point["median"] for point in one["points"]],
                        color=OURS if is_ours else OTHER,
                        lw=2.5 if is_ours else 1.2,
                        marker="o",
                        ms=4,
                        label=one["who"],
                    )
            axes.set_title(f"{measure}, s" if "faults" not in measure else "page faults of a child")
            axes.set_xlabel("children")
            axes.set_ylim(bottom=0)
        row[0].legend()
        figure.savefig(directory / "scale.svg", metadata={"Date": None})
        plt.close(figure)


def middle(record: Record, contender: str, case: str, value: str) -> float | None:
    values = values_of(Column("", case, value).samples(record, contender), value)
    return statistics.median(values) if values else None


def colour(one: Record) -> str:
    return OURS if one["is_ours"] else FLOOR if one["family"] == "floor" else OTHER


def lives(record: Record) -> plt.Figure | None:
    """Start above, stop below, a column for each family; lines over the number of children."""
    if not any(case in record["cases"] for case in LIVES):
        return None
    families = [family for family in FAMILIES if family != "floor"]
    figure, grid = plt.subplots(2, len(families), figsize=(11, 7.2), sharex=True, sharey="row")
    for column, family in enumerate(families):
        for row, value in enumerate(("start", "stop")):
            lines(grid[row][column], record, family, value)
        grid[0][column].set_title(FAMILIES[family])
        grid[1][column].set_xlabel("children")
        handles = grid[0][column].get_legend_handles_labels()
        grid[1][column].legend(
            *handles, fontsize=7.5, loc="upper center", bbox_to_anchor=(0.5, -0.2), ncol=2
        )
    grid[0][0].set_ylabel("s until ready")
    grid[1][0].set_ylabel("s from SIGTERM to gone")
    return figure


def lines(axes: Axes, record: Record, family: str, value: str) -> None:
    beside = (family,) if family == "programs" else (family, "floor")
    members = [one for one in record["contenders"] if one["family"] in beside]
    for number, one in enumerate(members):
        points = [
            (record["cases"][case]["children"], seconds)
            for case in LIVES
            if (seconds := middle(record, one["name"], case, value)) is not None
        ]
        if points:
            width = 2.5 if one["is_ours"] else 1.2
            label, mark = one["name"], MARKS[number % len(MARKS)]
            axes.loglog(
                *zip(*points, strict=True),
                color=colour(one),
                lw=width,
                marker=mark,
                ms=5,
                label=label,
            )
    sizes = {record["cases"][case]["children"] for case in LIVES if case in record["cases"]}
    axes.set_xticks(sorted(sizes), [str(size) for size in sorted(sizes)])
    axes.minorticks_off()
    axes.grid(axis="y", color="#e2e8f0")


def bars(axes: Axes, record: Record, case: str, value: str, title: str, form: str) -> None:
    """A bar for each contender, ours and its peers of a family beside each other."""
    taken = [
        (one, figure)
        for one in record["contenders"]
        if (figure := middle(record, one["name"], case, value)) is not None
    ]
    names = [one["name"] for one, _ in taken]
    figures = [figure for _, figure in taken]
    drawn = axes.barh(names, figures, color=[colour(one) for one, _ in taken])
    axes.bar_label(drawn, [form.format(figure) for figure in figures], padding=3, fontsize=8)
    axes.set_title(title, fontsize=10)
    axes.margins(x=0.18)
    axes.tick_params(left=False)


def panels(*parts: tuple[str, str, str, str]) -> Callable[[Record], plt.Figure | None]:
    """A plot of bars: a panel for each (case, value, title, format)."""

    def plot(record: Record) -> plt.Figure | None:
        there = [part for part in parts if part[0] in record["cases"]]
        if not there:
            return None
        count = len(record["cases"][there[0][0]]["samples"])
        figure, row = plt.subplots(
            1, len(there), figsize=(11, 0.8 + 0.27 * count), sharey=True, squeeze=False
        )
        for axes, part in zip(row[0], there, strict=True):
            bars(axes, record, *part)
        row[0][0].invert_yaxis()  # all panels share it
        return figure

    return plot


PLOTS: dict[str, Callable[[Record], plt.Figure | None]] = {
    "start.svg": lives,
    "memory.svg": panels(
        ("standing", "memory", "PSS of all processes, MiB", "{:.0f}"),
        ("standing", "wake_ups", "wake-ups a second while idle", "{:.1f}"),
    ),
    "requests.svg": panels(
        ("throughput", "kept_rate", "requests/s, kept connections", "{:.0f}"),
        ("throughput", "kept_cpu", "CPU a request, us", "{:.0f}"),
        ("throughput", "closed_rate", "requests/s, a connection each", "{:.0f}"),
        ("throughput", "closed_cpu", "CPU a request, us", "{:.0f}"),
    ),
    "crash.svg": panels(
        ("crash every 1 s", "gap", "a kill every 1 s: longest gap, s", "{:.2f}"),
        ("crash every 1 s", "refused", "requests refused", "{:.0f}"),
        ("crash every 2 s", "gap", "a kill every 2 s: longest gap, s", "{:.2f}"),
        ("crash every 2 s", "refused", "requests refused", "{:.0f}"),
    ),
}
