"""When a child says that it has grown old."""

import os

import pytest

from supervisor.child import news
from supervisor.child.news import News
from supervisor.child.renewal import EVERY, Limits, Renewal, jittered


@pytest.fixture
def pipe():
    """(reader, writer) of the news; the writer is closed by whoever has said everything."""
    reader, writer = os.pipe()
    yield reader, writer
    os.close(reader)


def said(reader):
    return list(news.decode(os.read(reader, 100)))


def life(renewal):
    """Return the numbers of requests at which it looks, until it has told the master."""
    looks, at = [], renewal.first_look()
    while at != float("inf"):
        looks.append(at)
        at = renewal.look(at)
    return looks


def test_requests(pipe):
    """Within a tenth of the limit, also where that is below the usual distance of two looks."""
    looks = life(Renewal(Limits(requests=100), 7, pipe[1], int))
    assert 90 <= looks[-1] <= 110
    assert said(pipe[0]) == [(News.REQUESTS, 7)]


def test_many_requests(pipe):
    """It looks every 256 requests until then."""
    looks = life(Renewal(Limits(requests=2000), 7, pipe[1], int))
    assert looks[:2] == [EVERY, 2 * EVERY]
    assert 1800 <= looks[-1] <= 2200


def test_memory(pipe):
    """The size is looked at every 256 requests."""
    sizes = iter([10, 20, 2000])
    looks = life(Renewal(Limits(memory=1000), 3, pipe[1], lambda: next(sizes)))
    assert looks == [EVERY, 2 * EVERY, 3 * EVERY]
    assert said(pipe[0]) == [(News.MEMORY, 3)]


def test_a_master_that_listens_no_more_does_no_harm():
    """It has told this child to stop."""
    reader, writer = os.pipe()
    os.close(reader)
    assert life(Renewal(Limits(requests=1), 0, writer, int))[-1] == 1


def test_jitter_is_a_tenth():
    """And differs from call to call."""
    values = [jittered(1000.0) for _ in range(100)]
    assert all(900 <= value <= 1100 for value in values)
    assert len(set(values)) > 90
