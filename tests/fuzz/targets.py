"""The targets of fuzzing: damaged input, made from good, and the rules that must hold for it."""

from __future__ import annotations

import os
import tempfile
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import msgspec
from hypothesis import strategies as st
from prometheus_client.parser import text_string_to_metric_families

from supervisor.child import news
from supervisor.config.load import load
from supervisor.errors import ConfigError, ScoreboardError
from supervisor.master.readiness import Readiness
from supervisor.scoreboard import series
from supervisor.scoreboard.layout import State
from supervisor.scoreboard.reader import read
from supervisor.scoreboard.records import History
from supervisor.scoreboard.series import Name, SeriesFile
from supervisor.views import application, crashes, metrics, statistics, table
from supervisor.views.records import LiveStatistics
from supervisor.workers.web.http1 import Limits
from tests.support.conformance import cases
from tests.support.http1 import answers, events
from tests.support.scoreboards import board, report, write

ROOT: Final = Path(__file__).parents[2]
SERIES: Final = 65_536  # bytes of a region
LIMITS: Final = Limits(header=8192, body=100_000)
REQUESTS: Final = [case.data for case in cases()]
STATUSES: Final = (200, *range(400, 500), 501, 505)
# What does harm in requests and in TOML, put in anywhere.
PIECES: Final = (
    *(b"", b"\r", b"\n", b"\r\n", b"\0", b" ", b"\t", b":", b";", b"0", b"\r\n\r\n", b"\xff"),
    *(b"[", b"]", b"{", b"}", b"=", b'"', b"'", b"#", b".", b",", b"$", b"${", b"-1", b"1e999"),
    b"\r\nTransfer-Encoding: chunked\r\n",
    b"\r\nContent-Length: 3\r\n",
    b"\r\nConnection: upgrade\r\nUpgrade: x\r\n",
    b"HTTP/1.1",
    b"9" * 40,
    "\u2028\u0661".encode(),
)


class Target(NamedTuple):
    """`check` raises where something does not hold of one input."""

    inputs: st.SearchStrategy[Any]
    check: Callable[[Any], None]


@st.composite
def damaged(draw: st.DrawFn, good: list[bytes], at_most: int = 6) -> bytes:
    """One of these, or two together, with pieces put in, changed or left out."""
    chosen = draw(st.lists(st.sampled_from(good), min_size=1, max_size=2))
    sent = bytearray(b"".join(chosen))
    pieces = st.one_of(st.sampled_from(PIECES), st.binary(max_size=8))
    for _ in range(draw(st.integers(0, at_most))):
        at = draw(st.integers(0, len(sent)))
        sent[at : at + draw(st.integers(0, 8))] = draw(pieces)
    return bytes(sent)


@st.composite
def split(draw: st.DrawFn) -> list[bytes]:
    """A damaged request, as it may arrive."""
    sent = draw(damaged(REQUESTS))
    cuts = sorted(draw(st.lists(st.integers(0, len(sent)), max_size=8)))
    return [sent[a:b] for a, b in zip([0, *cuts], [*cuts, len(sent)], strict=True)]


def check_requests(pieces: list[bytes]) -> None:
    """Any split tells the same; what is no request is refused once, with a status of a client."""
    whole = b"".join(pieces)
    assert events(pieces, LIMITS) == events([whole], LIMITS)
    assert all(answer.status in STATUSES for answer in answers(whole, LIMITS))


def check_configuration(text: bytes) -> None:
    """It is a configuration, or a ConfigError, or problems of one line each."""
    with tempfile.TemporaryDirectory() as folder:
        file = Path(folder) / "fuzz.toml"
        file.write_bytes(text)
        try:
            _, problems = load(file, environ={})
        except ConfigError:
            return
        assert all("\n" not in line for line in problems.lines)


@cache
def good_scoreboard() -> bytes:
    """The bytes of one that a server has written."""
    with tempfile.TemporaryDirectory() as folder:
        made = board(Path(folder), generation=3)
        history = History()
        history.add_crash(report())
        made.set_history(history)
        write(made, 0, State.IDLE, [1000] * 90, PID=os.getpid(), READY_AT=1, REQUESTS=100)
        write(made, 2, State.BUSY, [50], PID=os.getpid(), READY_AT=1, ACTIVE=1)
        data = (Path(folder) / "scoreboard").read_bytes()
        made.close()
    return data


@st.composite
def scribbled(draw: st.DrawFn) -> bytes:
    """A scoreboard over which a child has written."""
    data = bytearray(good_scoreboard())
    for _ in range(draw(st.integers(1, 12))):
        at = draw(st.integers(0, len(data) - 8))
        data[at : at + 8] = draw(st.binary(min_size=8, max_size=8))
    return bytes(data[: draw(st.sampled_from([len(data), len(data), len(data) // 2, 100, 0]))])


def check_scoreboard(data: bytes) -> None:
    """Every reader has its text of it, or a ScoreboardError."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "scoreboard"
        path.write_bytes(data)
        try:
            snapshot = read(path)
        except ScoreboardError:
            return
    facts = statistics.of(snapshot, with_pss=False)
    msgspec.json.encode(statistics.contract(facts))
    msgspec.json.encode(statistics.status(snapshot))
    table.table(facts).encode()
    metrics.expose(facts, per_child=True)
    "\n".join(crashes.why(snapshot.history)).encode()


@cache
def good_series() -> bytes:
    """The bytes of the application's metrics, of the master and one child."""
    with tempfile.TemporaryDirectory() as folder:
        file = SeriesFile(Path(folder) / "metrics", SERIES, 1)
        file.take_bank()
        for region in (file.own, file.region(0, 0)):
            for kind, suffixes in application._SUFFIXES.items():
                for suffix in suffixes:
                    labels = {"le": "0.5"} if suffix == "_bucket" else {"kind": "tea"}
                    name = Name(kind, "sum", f"a_{kind}", f"a_{kind}{suffix}", labels, "Help.")
                    at = region.add(msgspec.json.encode(name))
                    assert at is not None
                    region.numbers[at], region.numbers[at + 1] = 2.0, 1.0
        return file.path.read_bytes()


# Where a child has written over them, near the begin of the header and of each region, and what.
SCRIBBLES: Final = st.lists(
    st.tuples(
        st.sampled_from([0, series.GRANULE, series.GRANULE + SERIES]),
        st.integers(0, 1000),
        st.one_of(st.sampled_from(PIECES), st.binary(min_size=1, max_size=8)),
    ),
    min_size=1,
    max_size=12,
)


def check_series(scribbles: list[tuple[int, int, bytes]]) -> None:
    """Prometheus reads the page, and the next writer of a region finds its way."""
    data = bytearray(good_series())
    for start, at, scribble in scribbles:
        data[start + at : start + at + len(scribble)] = scribble
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "metrics"
        path.write_bytes(data)
        shown_series(path)
        descriptor = os.open(path, os.O_RDWR)
        try:
            region = series.Region(descriptor, series.GRANULE, SERIES)
            assert region.add(b"a name that is new") is not None
        finally:
            os.close(descriptor)
        shown_series(path)


def shown_series(path: Path) -> None:
    """Read the page as Prometheus does."""
    merged = application.merge(series.read(path), lambda _: True)
    body = metrics.expose(good_facts(), merged).body.decode()
    assert list(text_string_to_metric_families(body))


@cache
def good_facts() -> LiveStatistics:
    """The statistics of a server."""
    with tempfile.TemporaryDirectory() as folder:
        made = board(Path(folder))
        facts = statistics.of(made.snapshot(), with_pss=False)
        made.close()
    return facts


def check_news(data: bytes) -> None:
    """The master takes words of ours from the pipe, and passes over whatever else is there."""
    readiness = Readiness()
    try:
        os.write(readiness.writer, data)
        taken = readiness.take(dict)
    finally:
        readiness.close()
    assert all(isinstance(kind, news.News) and 0 <= slot < 2**32 for kind, slot in taken)


EXAMPLES: Final = [file.read_bytes() for file in sorted(ROOT.glob("conf/**/*.toml"))]
TARGETS: Final = {
    "requests": Target(split(), check_requests),
    "configuration": Target(damaged(EXAMPLES), check_configuration),
    "scoreboard": Target(scribbled(), check_scoreboard),
    "series": Target(SCRIBBLES, check_series),
    "readiness": Target(st.binary(min_size=1, max_size=4096), check_news),
}
