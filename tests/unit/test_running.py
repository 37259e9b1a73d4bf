"""Readers against every kind of file that may lie where a scoreboard should."""

import contextlib
import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.config.schema import Config, LogOptions, MasterOptions
from supervisor.errors import NotRunning, ScoreboardError
from supervisor.scoreboard import layout
from supervisor.scoreboard.layout import State
from supervisor.scoreboard.reader import Snapshot
from supervisor.scoreboard.records import Description, Drain, History, Incident, Section
from supervisor.scoreboard.row import Names
from supervisor.scoreboard.view import printable
from supervisor.views import crashes, metrics, rates, statistics, table
from supervisor.views.running import Reader
from tests.support.scoreboards import WEB, board, report

DESCRIPTION = Description(
    "shop", (Section("web", "tcp", 2, 8, (WEB,)),), {"cache.hits": layout.COUNTERS}, ("all",)
)
CRASH = report(worker="web")


def history():
    """One crash and one incident."""
    made = History()
    made.add_crash(CRASH)
    made.add_incident(
        Incident(at=1.0, kind="forced stop", generation=1, reason="stop-timeout", traceback="t")
    )
    return made


def image(directory):
    """The bytes of a whole scoreboard of two children."""
    made = board(directory, DESCRIPTION)
    made.set_history(history())
    made.set_draining([Drain(1, 2, 3)])
    for slot in range(2):
        made.begin_slot(slot)
        base = made.row_base(slot)
        Names(made.words[base : base + layout.STRIDE]).add(1, b"GET /", b"id")
    made.close()
    return (directory / "scoreboard").read_bytes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The image, once for all examples."""
    return image(tmp_path_factory.mktemp("whole"))


def read_all(data):
    """Read as every command does, to the last character."""
    snapshot = Snapshot(data)
    facts = statistics.of(snapshot, with_pss=False, per_child=True)
    table.table(facts, table.coloured)
    rates.between(facts, facts)
    metrics.expose(facts, per_child=True)
    for told in crashes.why(snapshot.history):
        assert all(line.isprintable() for line in told.split("\n"))
    for shown in (facts, statistics.contract(facts), statistics.status(snapshot)):
        json.loads(msgspec.json.encode(shown))
    return facts


def test_a_whole_scoreboard_is_read(whole):
    """Every reader takes it."""
    facts = read_all(whole)
    assert facts.last_crash == CRASH
    assert [child.state for child in facts.children] == ["starting", "starting"]
    assert [child.request for child in facts.children] == ["GET /", "GET /"]


ROWS = layout.row_base(-1, 2) * 8
END = layout.file_size(2)
PLACES = st.one_of(
    st.integers(0, layout.HEADER * 8 - 1),
    st.integers(layout.DESCRIPTION_AT, layout.DESCRIPTION_AT + 500),
    st.integers(layout.HISTORY_AT, layout.HISTORY_AT + 500),
    st.integers(ROWS, END - 1),
)


@given(st.lists(st.tuples(PLACES, st.integers(0, 255)), min_size=1, max_size=8))
def test_a_damaged_scoreboard_is_refused_or_read(whole, damages):
    """It is read, or refused with a ScoreboardError; there is never another exception."""
    damaged = bytearray(whole)
    for place, byte in damages:
        damaged[place] = byte
    with contextlib.suppress(ScoreboardError):
        assert read_all(bytes(damaged)).children is not None


@given(st.lists(st.tuples(st.integers(ROWS, END - 1), st.binary(max_size=4096)), max_size=8))
def test_wild_writes_over_the_rows_cost_statistics_only(whole, damages):
    """A child that went wild writes anything over any row: there are still statistics."""
    damaged = bytearray(whole)
    for place, data in damages:
        damaged[place : min(place + len(data), END)] = data[: END - place]
    assert read_all(bytes(damaged)).name == "shop"


def test_the_master_does_not_believe_the_file(tmp_path):
    """Header and texts are its own; what a child scribbled there is not what it prints."""
    made = board(tmp_path, DESCRIPTION)
    made.set_history(history())
    made.words[:] = memoryview(b"\xff" * len(made.words) * 8).cast("Q")
    facts = statistics.of(made.snapshot(), with_pss=False)
    assert (facts.state, facts.generation, facts.last_crash) == ("running", 1, CRASH)
    assert facts.totals.requests == 0
    made.set_forced(1)
    with pytest.raises(ScoreboardError, match="damaged"):
        Snapshot((tmp_path / "scoreboard").read_bytes())
    assert made.snapshot().forced == 1
    made.close()


@given(st.integers(0, 200_000))
def test_a_truncated_scoreboard_is_refused(whole, length):
    """A file that ends too early is named as such."""
    if length < len(whole):
        with pytest.raises(ScoreboardError, match="truncated"):
            read_all(whole[:length])


@pytest.mark.parametrize(
    "change",
    [
        {"workers": []},
        {"workers": "x"},
        {"name": 3},
        {"counters": {"x": 10**6}},
        {"workers": [{"name": "web", "type": "tcp", "children": 0, "backlog": 1}]},
        {"workers": [{"name": "web", "type": "tcp", "children": 3, "backlog": 1}]},
    ],
)
def test_a_description_that_makes_no_sense(whole, change):
    """Names and numbers that do not fit the slots are damage, not an exception."""
    with pytest.raises(ScoreboardError, match="damaged"):
        Snapshot(with_text(whole, layout.H_DESCRIPTION, layout.DESCRIPTION_AT, change))


def with_text(image, length, start, change):
    """Return the image with another object as text."""
    words = memoryview(bytearray(image)).cast("Q")
    data = words.cast("B")
    known = json.loads(bytes(data[start : start + words[length]]))
    text = json.dumps(known | change).encode()
    words[length], data[start : start + len(text)] = len(text), text
    return bytes(data)


@pytest.mark.parametrize("at", [1e300, -1, "now", None])
def test_a_history_that_makes_no_sense_is_left_out(whole, at):
    """The rest of the statistics is still good."""
    crash = msgspec.to_builtins(CRASH) | {"at": at}
    damaged = with_text(whole, layout.H_HISTORY, layout.HISTORY_AT, {"crashes": [crash]})
    assert Snapshot(damaged).history == History()


def test_a_state_that_nobody_writes_counts_as_dead(whole):
    """A child that scribbled over its state is not shown as living."""
    assert layout.unpack_state(7)[0] is State.DEAD


def config(directory):
    """A configuration of nothing but a runtime directory."""
    master = MasterOptions(runtime_directory=str(directory))
    return Config("x.toml", "shop", master, LogOptions(), (), ())


def test_nobody_there(tmp_path):
    """Without a server every question ends in one clear line, also after a dead one."""
    with pytest.raises(NotRunning, match="shop is not running"):
        Reader(config(tmp_path / "none")).snapshot()
    image(tmp_path)
    (tmp_path / "lock").touch()
    with pytest.raises(NotRunning):
        Reader(config(tmp_path)).snapshot()
    assert NotRunning("").exit_code == 3


def test_what_a_client_chose_is_harmless_on_a_terminal():
    """Escape sequences in the name of a request do not reach the screen."""
    assert printable("GET /\x1b[2J\x07é") == "GET /\ufffd[2J\ufffdé"
