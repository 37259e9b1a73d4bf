"""A record -> what is printed, and what is published: the plots and the README's part."""

import os
import statistics
from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.benchmarks.plan import GROUPS
from tests.benchmarks.report.against import against, growth
from tests.benchmarks.report.columns import COLUMNS, SHORT, TABLES, TEXTS, Record
from tests.benchmarks.report.plots import PLOTS
from tests.benchmarks.report.promises import NOTE, promises
from tests.benchmarks.report.tables import counts, failures, losses, markdown, short

BEGIN, END = "<!-- measured:begin -->", "<!-- measured:end -->"
FLOOR: Final = """\
The floor is a bare loop in Python: it forks as many children, which do the same work with the same
system calls, and supervises nothing."""


def printed(record: Record, name: str) -> str:
    """All that was measured of a group, as Markdown."""
    families = GROUPS[name].families
    lines = [circumstances(record), ""]
    if name == "life":
        lines += part("Generations that follow one another", promises(record), NOTE)
        return "\n".join([*lines, *part("What failed", list(failures(record)), "")])
    for heading, table in TABLES.items():
        notes = f"{TEXTS[heading]}\n\n({counts(record, table)})"
        lines += part(heading, markdown(record, table, families), notes)
    if name == "peers":
        lost = [f"- {line}" for line in losses(record, COLUMNS, families)]
        lines += part("Where others are better", lost, "")
    else:
        lines += part("Ours against the floor", against(record), FLOOR)
        lines += part("By the number of children", growth(record), "")
    return "\n".join([*lines, *part("What failed", list(failures(record)), "")])


def part(heading: str, lines: list[str], notes: str) -> Iterator[str]:
    """A heading, its lines, its notes; nothing without lines."""
    if lines:
        yield from (f"## {heading}", "", *lines, "", notes, "")


def circumstances(record: Record) -> str:
    """The date, the machine, the versions, the noise."""
    machine = ", ".join(f"{key} {value}" for key, value in record["machine"].items())
    versions = ", ".join(f"{key} {value}" for key, value in record["versions"].items())
    dates = sorted(case["date"][:10] for case in record["cases"].values())
    noise = [value for case in record["cases"].values() for value in case["noise"]]
    left_out = "".join(f" Left out: {name}, {why}." for name, why in record["left_out"].items())
    return (
        f"Measured {' to '.join(dict.fromkeys([dates[0], dates[-1]]))}. {machine}; {versions}. "
        f"Medians; bold is the best of its kind and what is within 5 % of it. Noise: a fixed piece "
        f"of work took {statistics.median(noise):.0f} ms, between {min(noise):.0f} and "
        f"{max(noise):.0f} ms in the course of the run.{left_out}"
    )


def readme_part(record: Record, images: str) -> str:
    """One table, where others are better, the plots. `images`: where these are, from the reader."""
    lost = [f"- {line}" for line in losses(record, SHORT, ("wsgi", "asgi"))]
    lines = [*short(record), "", circumstances(record), "", "Where others are better:", "", *lost]
    lines += ["", f"{FLOOR} nginx runs no Python at all.", ""]
    shown = [plot for plot in PLOTS if plot.draw(record)]
    return "\n".join([*lines, *(f"![{plot.caption}]({images}{plot.file})" for plot in shown)])


def replaced(text: str, body: str) -> str:
    """A README whose part between the marks is `body`; unchanged without marks."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    return f"{before}{begin}\n{body}\n{end}{after}" if begin and end else text


def publish(record: Record, directory: Path, readme: Path) -> None:
    """Write the plots, and the part of the README."""
    for plot in PLOTS:
        if drawn := plot.draw(record):
            (directory / plot.file).write_text(drawn)
    images = os.path.relpath(directory, readme.parent) + "/"
    readme.write_text(replaced(readme.read_text(), readme_part(record, images)))
