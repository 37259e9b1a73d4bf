"""The table: its columns, its colours, and what it says only when there is something to say."""

import re

import pytest
from msgspec.structs import replace

from supervisor.scoreboard.layout import State
from supervisor.scoreboard.records import Description, Section
from supervisor.views import statistics, table
from supervisor.views.records import Draining
from tests.support.scoreboards import board, write


@pytest.fixture
def facts(tmp_path):
    """A server of one busy child, and nothing to complain of."""
    made = board(tmp_path, Description("web", (Section("web", "tcp", 1, 8),)))
    write(made, 0, State.BUSY, REQUESTS=1, ACTIVE=1, READY_AT=1)
    facts = statistics.of(made.snapshot())
    made.close()
    return replace(facts, reason="")


@pytest.mark.parametrize(
    ("rows", "expected"),
    [
        ([], []),
        ([("name",), ("a",)], ["name", "a"]),
        (
            [("name", "n", "seconds", "where"), ("a", 5, 1.25, "x"), ("longer", 1234, 10, "y")],
            [
                "name       n  seconds  where",
                "a          5     1.25  x",
                "longer  1234       10  y",
            ],
        ),
        ([("only", "heads")], ["only  heads"]),
        ([("n", "m"), ("-", 1)], ["n  m", "-  1"]),
    ],
)
def test_rows_are_aligned(rows, expected):
    """Text stands to the left and numbers to the right of their column, nothing trails."""
    assert table.aligned(rows) == expected


def test_colours_change_no_character(facts):
    """Without its colours the coloured table is the plain one."""
    coloured = table.table(facts, table.coloured)
    assert coloured != table.table(facts)
    assert re.sub(r"\x1b\[[0-9;]*m", "", coloured) == table.table(facts)


def test_a_state_has_its_colour_and_a_good_number_none(facts):
    """Errors are red only where there are some."""
    assert "\x1b[33mbusy" in table.table(facts, table.coloured)
    assert "1;31m" not in table.table(facts, table.coloured)
    bad = replace(facts, totals=replace(facts.totals, errors=3))
    assert "\x1b[1;31merrors 3\x1b[0m" in table.table(bad, table.coloured)


def test_a_request_in_hand_is_named(facts):
    """The column of requests is there when a worker names one."""
    assert "request" not in table.table(facts).splitlines()[3].split()
    child = replace(facts.children[0], in_hand=(("GET /cart", 0.5, ""), ("GET /", 0.1, "")))
    lines = table.table(replace(facts, children=(child,))).splitlines()
    assert lines[-2].endswith("  request")
    assert lines[-1].endswith("  GET /cart")


def test_what_nobody_expects_is_said(facts):
    """A frozen master and forced ends stand in the headline, draining generations below."""
    drains = (Draining(1, 77, 5),)
    odd = replace(facts, reason="master frozen", forced=2, draining=drains)
    lines = table.table(odd).splitlines()
    assert lines[0].endswith("  master frozen  killed while stopping 2")
    assert [line.split() for line in lines[-2:]] == [
        ["draining", "generation", "pid", "active"],
        ["1", "77", "5"],
    ]
