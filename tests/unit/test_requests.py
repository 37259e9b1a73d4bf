"""A child's row in the scoreboard tells of its requests."""

import pytest

from supervisor.child.requests import Request, Requests
from supervisor.scoreboard.layout import (
    ACTIVE,
    BUSY,
    ERRORS,
    HISTOGRAM,
    LATENCY_MAX,
    LATENCY_SUM,
    REQUESTS,
    RESPONSES,
    STATE,
    STRIDE,
    UNIT,
    State,
    bucket_of,
    unpack_state,
)


@pytest.fixture
def row():
    """The words of one child."""
    return memoryview(bytearray(STRIDE * 8)).cast("Q")


@pytest.fixture
def requests(row):
    """A child's requests, without a deadline."""
    return Requests(row, 0.0)


def test_a_short_latency_counts_in_its_bucket(row, requests):
    """The table of short ones says what the layout says, below and beyond its end."""
    for units in range(1, 10_000):
        at = HISTOGRAM + bucket_of(units << UNIT)
        before = row[at]
        requests.account(units << UNIT, False)
        assert row[at] == before + 1


def state(row):
    return unpack_state(row[STATE])[0]


def test_a_request_is_in_hand_and_then_counted(row, requests):
    """Busy meanwhile, idle afterwards."""
    with Request(requests):
        assert (row[ACTIVE], state(row)) == (1, State.BUSY)
    assert (row[ACTIVE], row[REQUESTS], row[ERRORS], state(row)) == (0, 1, 0, State.IDLE)
    assert row[LATENCY_SUM] == row[LATENCY_MAX] > 0
    assert row[BUSY] > 0


def test_an_exception_is_an_error_of_the_request(row, requests):
    """And leaves it as it came."""
    with pytest.raises(KeyError), Request(requests):
        raise KeyError
    assert (row[REQUESTS], row[ERRORS]) == (1, 1)


def test_a_request_may_fail_without_an_exception(row, requests):
    """As an answer 500 does."""
    with Request(requests) as request:
        request.fail()
    assert row[ERRORS] == 1


def test_requests_may_overlap(row, requests):
    """Busy from the first to the last."""
    first, second = Request(requests), Request(requests)
    with first:
        with second:
            assert row[ACTIVE] == 2
        assert (row[ACTIVE], state(row)) == (1, State.BUSY)
    assert (row[REQUESTS], state(row)) == (2, State.IDLE)


def test_one_without_a_deadline_has_no_latency(row, requests):
    """A WebSocket lives as long as its client wants."""
    with Request(requests, timed=False):
        pass
    assert (row[REQUESTS], row[LATENCY_SUM]) == (1, 0)


def test_answers_are_counted_by_their_class(row, requests):
    """1xx to 5xx."""
    for status in (200, 204, 304, 404, 500, 503):
        requests.account(1000, False, status)
    assert list(row[RESPONSES : RESPONSES + 5]) == [0, 2, 1, 1, 2]


def test_a_child_looks_at_itself_now_and_then(row, requests):
    """After as many requests as the last look has asked for, and not in between."""
    looks = []

    def look(ended):
        looks.append(ended)
        return ended + 3

    requests.look_at(2, look)
    for _ in range(9):
        with Request(requests):
            pass
    assert looks == [2, 5, 8]
