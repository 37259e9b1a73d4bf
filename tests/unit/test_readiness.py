"""How the master hears of its children: words in a pipe, and watches of foreign programs."""

import os

import pytest

from supervisor.child import news
from supervisor.child.news import News
from supervisor.master.readiness import Readiness


class Bell:
    """A watch whose program is ready when the test says so."""

    def __init__(self):
        self.reader, self.writer = os.pipe()
        self.is_sealed = self.is_closed = False

    def seal(self):
        self.is_sealed = True

    def fileno(self):
        return self.reader

    def becomes_ready(self, pid):
        return pid == 4711

    def close(self):
        self.is_closed = True
        for descriptor in (self.reader, self.writer):
            os.close(descriptor)


@pytest.fixture
def readiness():
    """The master's ends."""
    made = Readiness()
    yield made
    made.close()


def test_each_word_is_one_piece_of_news(readiness):
    """Words of many children in one read, in their order."""
    for slot, kind in ((3, News.READY), (0, News.READY), (3, News.MEMORY)):
        os.write(readiness.writer, news.encode(kind, slot))
    told = [(News.READY, 3), (News.READY, 0), (News.MEMORY, 3)]
    assert readiness.take(dict) == told
    assert readiness.take(dict) == []


@pytest.mark.parametrize("data", [b"", b"x", b"\xff" * 8, b"\0" * 20])
def test_what_is_no_word_is_passed_over(data):
    """A child may write anything."""
    assert list(news.decode(data)) == []


def test_the_end_of_all_writers_closes_the_reader(readiness):
    """It would be readable for ever."""
    readiness.seal((0,), (0,), is_last=True)
    assert readiness.take(dict) == []
    assert readiness.descriptors() == []


def test_the_writer_stays_open_for_children_that_are_forked_later(readiness):
    """Exclusive ones."""
    readiness.seal((0,), (0,), is_last=False)
    os.write(readiness.writer, news.encode(News.READY, 1))
    assert readiness.take(dict) == [(News.READY, 1)]


def test_a_watch_speaks_for_its_child(readiness):
    """It is asked with the pid of the child, once that is forked, and not after its death."""
    bell = Bell()
    readiness.add(2, bell)
    assert readiness.is_watched(2)
    assert bell.reader in readiness.descriptors()
    readiness.seal((2,), (2,), is_last=True)
    assert bell.is_sealed
    assert readiness.take(dict) == []
    assert readiness.take(lambda: {2: 4711}) == [(News.READY, 2)]
    readiness.forget(2)
    assert bell.is_closed
    assert not readiness.is_watched(2)


def test_a_watch_of_a_child_that_was_not_forked_is_closed(readiness):
    """The fork was ended by a signal, or refused."""
    bell = Bell()
    readiness.add(2, bell)
    readiness.seal((1, 2), (1,), is_last=True)
    assert bell.is_closed
