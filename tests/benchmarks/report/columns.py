"""The tables of the report: what stands in which column. Nothing is computed here."""

from itertools import groupby
from typing import Any, Final, NamedTuple

Record = dict[str, Any]


class Column(NamedTuple):
    """A figure of a case (the first of `cases`, between bars, in which the contender took part)."""

    heading: str
    cases: str
    value: str
    form: str = "{:.2f}"
    better: str = "less"
    table: str = ""

    def samples(self, record: Record, contender: str) -> list[Record]:
        taken = (record["cases"].get(name, {}).get("samples", {}) for name in self.cases.split("|"))
        return next((samples[contender] for samples in taken if samples.get(contender)), [])

    def values(self, record: Record, contender: str) -> list[float]:
        samples = self.samples(record, contender)
        return [sample[self.value] for sample in samples if self.value in sample]


def columns(table: str, cases: str, *specifications: str) -> list[Column]:
    """Each is "heading: value digits", and "more" where that is better, "-" where nothing is."""
    found = []
    for heading, _, rest in (one.partition(": ") for one in specifications):
        value, digits, better = (*rest.split(), "less")[:3]
        found.append(Column(heading, cases, value, f"{{:.{digits}f}}", better, table))
    return found


# What the figures mean, by the heading of their table.
TEXTS: Final = {
    "Start and stop": """\
Seconds. Ready: the first good answer has come and every child has loaded the application (ours
says, too, that every child is ready). Stopped: from SIGTERM until no process is left. By the number
of children.""",
    "Memory and idleness": """\
Master and children together, after some requests. PSS counts shared memory once. Wake-ups
(voluntary context switches of all threads) and CPU time while nobody asks for anything.""",
    "Requests": """\
A bare application in 2 children under 32 connections of wrk, on the same cores. CPU, in us, is that
of all processes of the server for each request; p99 in ms. Busiest: the part of the busiest child
in that CPU time, in %; near 100 one child served alone and left the other core to wrk, which
flatters. Servers that keep no connections (gunicorn sync, uwsgi, `keep_alive` 0, tcp) close theirs
in both halves.""",
    "Crashes under load": """\
One of 4 workers is killed every 0.2, 1 or 2 s, while four clients ask up to 100 times a second
each. Answered: of what was to be asked at that rate; gap: the longest time without a good answer.
Ours runs with `restart = "on-crash"`: all children are replaced.""",
    "A crash beside long requests": """\
One of 4 children is killed while it is idle, and others have a request of 6 s and a stream of
events in hand. First: what the request waits that is sent at once; slowest: the worst of the
second after; cut: how many of the two long ones broke off.""",
    "The master is killed": """\
SIGKILL of the master while its children are idle: how many processes are left behind after the
seconds named below; else, when the last was gone; whether the port is still taken (1 = yes).""",
    "Stop with requests in hand": """\
SIGTERM half a second after 20 requests of one second each were sent at once. Begun: in the
application by then; the others waited, behind another in the same child or in the accept queue.""",
    "Datagrams": "One client with 16 datagrams on their way, 2 children; CPU of these, in us.",
    "Statistics": """\
Microseconds of CPU time for `with child.request()`, and for a context that does nothing; wanted are
1.5 us, and 3 us more with a deadline.""",
}
LIVES: Final = "Start and stop"
LOAD: Final = "Requests"
LONG: Final = "A crash beside long requests"
LONG: Final = "A crash beside long requests"
COLUMNS: Final = (
    *columns(LIVES, "start 4", "ready, 4: start 3", "stopped: stop 3"),
    *columns(LIVES, "standing|start 32", "ready, 32: start 3", "stopped: stop 3"),
    *columns(LIVES, "start 128", "ready, 128: start 3", "stopped: stop 3"),
    *columns("Memory and idleness", "standing", "PSS, MiB: memory 0"),
    *columns("Memory and idleness", "standing", "wake-ups a second: wake_ups 1", "CPU, %: cpu 2"),
    *columns(LOAD, "throughput", "kept, requests/s: kept_rate 0 more", "CPU: kept_cpu 1"),
    *columns(LOAD, "throughput", "busiest: kept_busiest 0 -", "p99: kept_slowest 1"),
    *columns(LOAD, "throughput", "closed, requests/s: closed_rate 0 more", "CPU: closed_cpu 1"),
    *columns(LOAD, "throughput", "busiest: closed_busiest 0 -", "p99: closed_slowest 1"),
    *columns(LOAD, "throughput", "failed: failed 0"),
    *(
        column
        for every in ("0.2 s", "1 s", "2 s")
        for column in columns(
            "Crashes under load",
            f"crash every {every}",
            *(f"{every}, answered, %: answered 1 more", "refused: refused 0"),
            *("broken off: broken 0", "gap, s: gap 3", "server gone: gone 0"),
        )
    ),
    *columns(LONG, "in hand", "first, s: first 3", "slowest, s: slowest 3", "failed: failed 0"),
    *columns(LONG, "in hand", "cut: cut 1"),
    *columns("The master is killed", "master killed", "left behind: left_behind 0"),
    *columns("The master is killed", "master killed", "gone after, s: ended 3"),
    *columns("The master is killed", "master killed", "port taken: port_taken 0"),
    *columns(
        "Stop with requests in hand",
        "graceful wsgi|graceful asgi",
        *("begun: begun 0 -", "answered: completed 0 more", "stopped after, s: stop 3 -"),
    ),
    *columns("Datagrams", "datagrams", "answers/s: rate 0 more", "CPU: cpu 1"),
    *columns("Statistics", "cost", "a request: request 2", "nothing: bare 2 -"),
)
TABLES: Final = {name: list(found) for name, found in groupby(COLUMNS, lambda one: one.table)}

# The one table of the README: these rows, these contenders.
SHORT: Final = (
    *columns("", "standing", "32 children ready, s: start 2", "32 children stopped, s: stop 2"),
    *columns("", "standing", "their memory, MiB (PSS): memory 0"),
    *columns("", "standing", "wake-ups a second, idle: wake_ups 1"),
    *columns("", "throughput", "CPU a request, kept connections, us: kept_cpu 0"),
    *columns("", "throughput", "CPU a request, a connection each, us: closed_cpu 0"),
    *columns("", "crash every 1 s", "answered, %, a kill every second: answered 1 more"),
    *columns("", "crash every 1 s", "longest gap then, s: gap 2"),
    *columns("", "in hand", "slowest request after a kill, s, long ones elsewhere: slowest 2"),
    *columns("", "master killed", "left behind when the master is killed: left_behind 0"),
)
SHOWN: Final = (
    *("supervisor wsgi", "gunicorn sync", "granian wsgi", "uwsgi"),
    *("supervisor asgi", "uvicorn", "granian asgi"),
)
