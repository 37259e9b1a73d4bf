"""peers.json -> peers.md and the plots beside it, scale.json of the same place -> its plot, and the
README's sections if it has their marks.

Usage: python -m tests.benchmarks.peers.report peers.json [README.md]. It needs nothing of the
project, only matplotlib for the plots.
"""

import json
import os
import statistics
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.benchmarks.peers.columns import TABLES, Record
from tests.benchmarks.peers.tables import counts, failures, losses, markdown

MARKS = "<!-- {}:begin -->", "<!-- {}:end -->"
GROWTH = "Seconds and page faults, by the number of children, beside the floor"
PLOTS = {
    "Start and stop": ("start.svg", "Seconds to start and to stop, by the number of children"),
    "Memory and idleness": ("memory.svg", "Memory, and wake-ups while idle"),
    "Requests": ("requests.svg", "Requests a second and CPU time for each"),
    "Crashes under load": ("crash.svg", "Longest gap and failed requests while workers are killed"),
}


def circumstances(record: Record) -> Iterator[str]:
    """The machine, the versions, the noise."""
    machine = ", ".join(f"{key} {value}" for key, value in record["machine"].items())
    versions = ", ".join(f"{key} {value}" for key, value in record["versions"].items())
    dates = sorted(case["date"][:10] for case in record["cases"].values())
    noise = [value for case in record["cases"].values() for value in case["noise"]]
    yield f"Measured {' to '.join(dict.fromkeys([dates[0], dates[-1]]))}. Machine: {machine}."
    yield ""
    yield f"Versions: {versions}."
    yield ""
    yield (
        f"Noise: a fixed piece of work took {statistics.median(noise):.0f} ms, between "
        f"{min(noise):.0f} and {max(noise):.0f} ms in the course of the run (n = {len(noise)})."
    )
    for name, reason in record["left_out"].items():
        yield f"Left out: {name}, {reason}."
    yield ""
    yield (
        "Medians, in brackets the quartiles (of two samples, both) where they differ. Contenders "
        "take turns; each sample is a whole life of a server. Bold: the best of its kind and what "
        "is within 5 % of it. Access logs are off everywhere; our statistics are always on."
    )


def section(record: Record, heading: str, images: str) -> Iterator[str]:
    """Everything but how each was started. `images`: where the plots are, seen from the reader."""
    yield from circumstances(record)
    for table in TABLES:
        if lines := markdown(table, record):
            yield from ("", f"{heading} {table.heading}", "", table.text, "", *lines, "")
            yield f"({counts(table, record)})"
            if table.heading in PLOTS:
                file, text = PLOTS[table.heading]
                yield from ("", f"![{text}]({images}{file})")
    yield from ("", f"{heading} Where others are better", "")
    yield from (f"- {line}" for line in losses(record))
    if failed := list(failures(record)):
        yield from ("", f"{heading} What failed", "", *(f"- {line}" for line in failed))


def commands(record: Record) -> Iterator[str]:
    """How each was started, as templates."""
    yield from ("## How each was started", "")
    for one in record["contenders"]:
        yield from (f"**{one['name']}**", "", "```sh", one["command"], "```", "")
        if one["config"]:
            yield from ("```", one["config"].rstrip(), "```", "")


def document(record: Record) -> str:
    """The whole of peers.md."""
    lines = ["# Ours and its peers", "", *section(record, "##", ""), "", *commands(record)]
    return "\n".join(lines).rstrip() + "\n"


def replaced(text: str, name: str, body: str) -> str:
    """A README whose part between the marks of that name is `body`; unchanged without marks."""
    begin_mark, end_mark = (mark.format(name) for mark in MARKS)
    before, begin, rest = text.partition(begin_mark)
    _, end, after = rest.partition(end_mark)
    return f"{before}{begin}\n{body}\n{end}{after}" if begin and end else text


def parts(record: Record, directory: Path, images: str) -> Iterator[tuple[str, str]]:
    """What stands between which marks of a README."""
    more = f"How each was started, and all samples: [peers.md]({images}peers.md)."
    yield "peers", "\n".join([*section(record, "###", images), "", more])
    scale = directory / "scale.md"
    if scale.exists():
        yield "scale", f"{scale.read_text()}\n![{GROWTH}]({images}scale.svg)"


def main() -> int:
    path = Path(sys.argv[1])
    if not path.exists():
        print(f"no results yet: {path}", file=sys.stderr)
        return 1
    record = json.loads(path.read_text())
    path.with_suffix(".md").write_text(document(record))
    for name in sys.argv[2:]:
        readme = Path(name)
        images = os.path.relpath(path.parent, readme.parent) + "/"
        text = readme.read_text()
        for part, body in parts(record, path.parent, images):
            text = replaced(text, part, body)
        readme.write_text(text)
    from tests.benchmarks.peers import plots  # a machine without matplotlib has the tables

    plots.draw(record, path.parent)
    scale = path.with_name("scale.json")
    if scale.exists():
        plots.draw_growth(json.loads(scale.read_text()), path.parent)
    return 0


if __name__ == "__main__":
    sys.exit(main())
