"""From two pictures to what happened between them."""

import pytest

from supervisor.views.rates import ChildRate, SectionRate, between, middle


def picture(at, requests, *, generation=1, errors=0, histogram=(), cpu=0.0, pid=10):
    """A server of one section with one child."""
    child = {"slot": 0, "pid": pid, "requests": requests, "cpu_seconds": cpu}
    section = {"name": "web", "requests": requests, "errors": errors, "histogram": histogram}
    life = {"pid": 1, "started_at": 5.0, "generation": generation}
    return {"at": at, "workers": [section], "children": [child], **life}


def test_a_rate_is_growth_over_time():
    """Requests, errors and CPU seconds, each by the seconds between the pictures."""
    rates = between(picture(10.0, 100, errors=1, cpu=1.0), picture(12.0, 150, errors=4, cpu=1.5))
    assert rates.sections["web"][:2] == (25.0, 1.5)
    assert rates.children[0] == ChildRate(25.0, 0.25)


def test_without_a_picture_before_there_is_no_rate():
    """What was counted before the first look says nothing about now."""
    assert between(None, picture(10.0, 100)) == ({}, {})


def test_a_new_generation_counts_from_zero():
    """Right after a restart a rate is what the new children did, never below zero."""
    rates = between(picture(10.0, 10_000), picture(12.0, 30, generation=2, pid=11))
    assert rates.sections["web"].requests == 15.0
    assert rates.children[0].requests == 15.0


def test_latencies_are_those_of_the_time_between():
    """What was slow before does not show in the percentiles of now."""
    before = picture(1.0, 10, histogram=[(2.0, 10)])
    now = picture(2.0, 110, histogram=[(0.001, 98), (0.5, 2), (2.0, 10)])
    assert between(before, now).sections["web"] == SectionRate(100.0, 0.0, 0.001, 0.5)


def test_words_that_were_not_read_in_one_instant():
    """A count that seems to shrink is no growth."""
    assert between(picture(1.0, 10), picture(2.0, 9)).sections["web"].requests == 0.0


@pytest.mark.parametrize(
    ("histogram", "fraction", "latency"),
    [
        ([], 0.5, 0.0),
        ([(1.0, 0)], 0.5, 0.0),
        ([(1.0, 1)], 0.99, 1.0),
        ([(1.0, 1), (2.0, 1)], 1, 2.0),
    ],
)
def test_the_middle_of_a_histogram(histogram, fraction, latency):
    """The bucket in which the fraction is reached; zero without requests."""
    assert middle(histogram, fraction) == latency
