"""Readers against every kind of file that may lie where a scoreboard should."""

import contextlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.config.schema import Config, LogOptions, MasterOptions
from supervisor.errors import NotRunning, ScoreboardError
from supervisor.scoreboard import layout
from supervisor.scoreboard.layout import ServerState, State
from supervisor.scoreboard.reader import Snapshot
from supervisor.scoreboard.writer import Scoreboard
from supervisor.views import metrics, picture, rates, table
from supervisor.views.running import Reader, checked

DESCRIPTION = {
    "name": "shop",
    "workers": [
        {"name": "web", "type": "tcp", "children": 2, "backlog": 8, "listen": ["tcp://127.0.0.1:1"]}
    ],
    "counters": {"cache.hits": layout.COUNTERS},
    "locks": [],
}
CRASH = {
    "at": 1.0, "generation": 1, "slot": 0, "worker": "web", "pid": 2, "cause": "SIGSEGV",
    "state": "busy", "lock": None, "traceback": "t",
}  # fmt: skip


def image(directory):
    """The bytes of a whole scoreboard of two children."""
    made = Scoreboard(directory / "scoreboard", 2, generation=1, started_at=1)
    made.publish(DESCRIPTION)
    made.set_server_state(ServerState.RUNNING)
    made.set_crash(CRASH)
    made.begin_slot(0)
    made.begin_slot(1)
    made.close()
    return (directory / "scoreboard").read_bytes()


@pytest.fixture(scope="module")
def whole(tmp_path_factory):
    """The image, once for all examples."""
    return image(tmp_path_factory.mktemp("whole"))


def read_all(data):
    """Read as every command does, to the last character."""
    snapshot = checked(Snapshot(data))
    facts = picture.detailed(snapshot, with_pss=False)
    table.table(facts, table.coloured)
    rates.between(facts, facts)
    metrics.expose(snapshot)
    return facts


def test_a_whole_scoreboard_is_read(whole):
    """Every reader takes it."""
    facts = read_all(whole)
    assert facts["last_crash"] == CRASH
    assert [child["state"] for child in facts["children"]] == ["starting", "starting"]


PLACES = st.one_of(
    st.integers(0, layout.HEADER * 8 - 1),  # the header
    st.integers(layout.HEADER * 8, 1500),  # the description
    st.integers(130_000, 140_000),  # the rows
)


@given(st.lists(st.tuples(PLACES, st.integers(0, 255)), min_size=1, max_size=8))
def test_a_damaged_scoreboard_is_refused_or_read(whole, damages):
    """Whatever stands in it: a clear error or a picture, never another exception."""
    damaged = bytearray(whole)
    for place, byte in damages:
        damaged[place] = byte
    with contextlib.suppress(ScoreboardError):
        assert read_all(bytes(damaged))["children"] is not None


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
        {"workers": [DESCRIPTION["workers"][0] | {"children": 0}]},
    ],
)
def test_a_description_that_makes_no_sense(tmp_path, change):
    """Names and numbers that do not fit the slots are damage, not an exception."""
    made = Scoreboard(tmp_path / "scoreboard", 2, generation=1, started_at=1)
    made.publish(DESCRIPTION | change)
    with pytest.raises(ScoreboardError, match="damaged"):
        checked(made.snapshot())
    made.close()


def test_a_crash_that_makes_no_sense_is_left_out(tmp_path):
    """The rest of the picture is still good."""
    made = Scoreboard(tmp_path / "scoreboard", 2, generation=1, started_at=1)
    made.publish(DESCRIPTION)
    made.set_crash(CRASH | {"at": 1e300})
    assert checked(made.snapshot()).crash is None
    made.close()


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
    assert picture.printable("GET /\x1b[2J\x07é") == "GET /\ufffd[2J\ufffdé"
