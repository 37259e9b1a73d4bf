"""From two looks at a server to what happened between them."""

import msgspec
import pytest

from supervisor.scoreboard.layout import State
from supervisor.scoreboard.records import Description, Section
from supervisor.views import statistics
from supervisor.views.rates import ChildRate, SectionRate, between
from tests.support.scoreboards import board, write


@pytest.fixture
def look(tmp_path):
    """Return what makes a look at a server of one section with one child."""
    made = board(tmp_path, Description("shop", (Section("web", "tcp", 1, 8),)))
    write(made, 0, State.IDLE)
    facts = statistics.of(made.snapshot())
    made.close()

    def look(at, requests, *, generation=1, errors=0, histogram=(), cpu=0.0, pid=10):
        replace = msgspec.structs.replace
        child = replace(facts.children[0], requests=requests, cpu_seconds=cpu, pid=pid)
        counts = {"requests": requests, "errors": errors, "histogram": histogram}
        section = replace(facts.workers[0], **counts)
        return replace(
            facts, monotonic=at, generation=generation, workers=(section,), children=(child,)
        )

    return look


def test_a_rate_is_growth_over_time(look):
    """Requests, errors and CPU seconds, each by the seconds between the looks."""
    rates = between(look(10.0, 100, errors=1, cpu=1.0), look(12.0, 150, errors=4, cpu=1.5))
    assert rates.sections["web"][:2] == (25.0, 1.5)
    assert rates.children[0] == ChildRate(25.0, 0.25)


def test_without_a_look_before_there_is_no_rate(look):
    """Requests counted before the first look say nothing about now."""
    assert between(None, look(10.0, 100)) == ({}, {})


def test_a_new_generation_counts_from_zero(look):
    """Right after a restart a rate is what the new children did, never below zero."""
    rates = between(look(10.0, 10_000), look(12.0, 30, generation=2, pid=11))
    assert rates.sections["web"].requests == 15.0
    assert rates.children[0].requests == 15.0


def test_latencies_are_those_of_the_time_between(look):
    """Requests that were slow before do not show in the percentiles of now."""
    before = look(1.0, 10, histogram=[(2.0, 10)])
    now = look(2.0, 110, histogram=[(0.001, 98), (0.5, 2), (2.0, 10)])
    assert between(before, now).sections["web"] == SectionRate(100.0, 0.0, 0.001, 0.5)


def test_words_that_were_not_read_in_one_instant(look):
    """A count that seems to shrink is no growth."""
    assert between(look(1.0, 10), look(2.0, 9)).sections["web"].requests == 0.0
