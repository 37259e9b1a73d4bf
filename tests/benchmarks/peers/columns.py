"""The tables of the comparison: what stands in which column. Nothing is computed here."""

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Literal

Record = dict[str, Any]
Better = Literal["less", "more", ""]


@dataclass(frozen=True, slots=True)
class Column:
    """A figure of a case (the first of `cases` in which the contender took part)."""

    heading: str
    cases: str | tuple[str, ...]
    value: str
    form: str = "{:.2f}"
    better: Better = "less"

    def samples(self, record: Record, contender: str) -> list[Record]:
        names = (self.cases,) if isinstance(self.cases, str) else self.cases
        taken = (record["cases"].get(name, {}).get("samples", {}) for name in names)
        return next((samples[contender] for samples in taken if samples.get(contender)), [])


@dataclass(frozen=True, slots=True)
class Table:
    """A heading, what the figures mean, and the columns."""

    heading: str
    text: str
    columns: Sequence[Column]


FAMILIES = {
    "wsgi": "WSGI",
    "asgi": "ASGI",
    "programs": "programs",
    "floor": "floor, no Python",
}
GRACEFUL = ("graceful wsgi", "graceful asgi")
SECONDS = "{:.3f}"
CRASHES: tuple[tuple[str, str, str, Better], ...] = (
    ("answered", "good", "{:.0f}", "more"),
    ("refused", "refused", "{:.0f}", "less"),
    ("broken off", "broken", "{:.0f}", "less"),
    ("gap", "gap", SECONDS, "less"),
    ("server gone", "gone", "{:.0f}", "less"),
)
TABLES = (
    Table(
        "Start and stop",
        "Seconds. Ready: the first good answer has come and every child has loaded the application "
        "(ours says, too, that every child is ready). Stopped: from SIGTERM until no process is "
        "left. By the number of children.",
        (
            Column("ready, 4", "start 4", "start", SECONDS),
            Column("ready, 32", "standing", "start", SECONDS),
            Column("ready, 128", "start 128", "start", SECONDS),
            Column("stopped, 4", "start 4", "stop", SECONDS),
            Column("stopped, 32", "standing", "stop", SECONDS),
            Column("stopped, 128", "start 128", "stop", SECONDS),
        ),
    ),
    Table(
        "Memory and idleness",
        "Master and children together, after some requests. PSS counts shared memory once. "
        "Wake-ups (voluntary context switches of all threads) and CPU time while nobody asks "
        "for anything.",
        (
            Column("PSS, MiB", "standing", "memory", "{:.0f}"),
            Column("wake-ups a second", "standing", "wake_ups", "{:.1f}"),
            Column("CPU, %", "standing", "cpu", "{:.2f}"),
        ),
    ),
    Table(
        "Requests",
        "A bare application in 2 children under 32 connections of wrk, on the same cores. CPU, in "
        "us, is that of all processes of the server for each request; p99 in ms. Busiest: the part "
        "of the busiest child in that CPU time, in %; where it is near 100, one child served alone "
        "and left the other core to wrk, which flatters. Servers that keep no connections "
        "(gunicorn sync, uwsgi, `keep_alive` 0) close theirs in both halves.",
        (
            Column("kept: requests/s", "throughput", "kept_rate", "{:.0f}", "more"),
            Column("kept: CPU", "throughput", "kept_cpu", "{:.1f}"),
            Column("kept: busiest", "throughput", "kept_busiest", "{:.0f}", ""),
            Column("kept: p99", "throughput", "kept_slowest", "{:.1f}"),
            Column("closed: requests/s", "throughput", "closed_rate", "{:.0f}", "more"),
            Column("closed: CPU", "throughput", "closed_cpu", "{:.1f}"),
            Column("closed: busiest", "throughput", "closed_busiest", "{:.0f}", ""),
            Column("closed: p99", "throughput", "closed_slowest", "{:.1f}"),
            Column("failed", "throughput", "failed", "{:.0f}"),
        ),
    ),
    Table(
        "Crashes under load",
        "A worker is killed every second, or every other second, while four clients ask up to "
        "100 times a second each. Gap: the longest time without a good answer, in seconds. Ours "
        'runs with `restart = "on-crash"`: all children are replaced, after a pause that grows '
        "where generations were ready for less than a second.",
        (
            *(
                Column(f"{every}: {heading}", f"crash every {every}", value, form, better)
                for every in ("1 s", "2 s")
                for heading, value, form, better in CRASHES
            ),
        ),
    ),
    Table(
        "The master is killed",
        "SIGKILL of the master while its children are idle: how many processes are left behind "
        "after the seconds named below; else, when the last was gone; and whether the port is "
        "still taken (1 = yes).",
        (
            Column("left behind", "master killed", "left_behind", "{:.0f}"),
            Column("gone after, s", "master killed", "ended", SECONDS),
            Column("port taken", "master killed", "port_taken", "{:.0f}"),
        ),
    ),
    Table(
        "Stop with requests in hand",
        "SIGTERM half a second after 20 requests of one second each were sent at once. Begun: in "
        "the application by then; the others waited, behind another in the same child or in the "
        "accept queue.",
        (
            Column("begun", GRACEFUL, "begun", "{:.0f}", ""),
            Column("answered", GRACEFUL, "completed", "{:.0f}", "more"),
            Column("stopped after, s", GRACEFUL, "stop", SECONDS, ""),
        ),
    ),
)
