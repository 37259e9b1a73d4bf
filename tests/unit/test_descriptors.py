"""Open files of a process: ranges, waiting, limits."""

import itertools
import os
import resource

import pytest
from hypothesis import given
from hypothesis import strategies as st

from supervisor.errors import SystemFailure
from supervisor.system import descriptors
from tests.support.harness import DEADLINE


@pytest.fixture
def pipe():
    """Return the ends of a pipe."""
    ends = os.pipe()
    yield ends
    for descriptor in ends:
        os.close(descriptor)


@pytest.fixture
def limits():
    """Put the limits back after the test."""
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    yield before
    resource.setrlimit(resource.RLIMIT_NOFILE, before)


@given(st.sets(st.integers(0, 60)))
def test_ranges_hold_what_was_given(numbers):
    """Neighbours share a range, and nothing else is in one."""
    ranges = descriptors.ranges_of(sorted(numbers))
    assert [number for one in ranges for number in one] == sorted(numbers)
    assert all(a.stop < b.start for a, b in itertools.pairwise(ranges))


def test_a_wait_ends_with_a_byte_or_with_time(pipe):
    """False where the time has passed."""
    assert not descriptors.wait_for_any(0, pipe[0])
    assert not descriptors.is_readable(pipe[0])
    os.write(pipe[1], b"x")
    assert descriptors.wait_for_any(DEADLINE, pipe[0])
    assert descriptors.is_readable(pipe[0])


def test_the_lowest_free_is_the_next(pipe):
    """The number that the kernel gives next; asking does not take it."""
    expected = descriptors.lowest_free()
    assert descriptors.lowest_free() == expected
    opened = os.dup(pipe[0])
    assert opened == expected
    assert descriptors.lowest_free() > expected
    os.close(opened)


def test_where_none_is_free_the_limit_is(limits):
    """The process has as many open as it may have."""
    lowest = descriptors.lowest_free()
    resource.setrlimit(resource.RLIMIT_NOFILE, (lowest, limits[1]))
    assert descriptors.lowest_free() == descriptors.limit() == lowest


def test_a_soft_limit_is_raised_as_far_as_needed(limits):
    """The old limit is returned, for the children."""
    soft = descriptors.lowest_free() + 10
    resource.setrlimit(resource.RLIMIT_NOFILE, (soft, limits[1]))
    assert descriptors.allow_descriptors(8) == soft
    assert descriptors.limit() > soft


def test_more_than_the_hard_limit_is_refused(limits):
    """It says how many are needed."""
    with pytest.raises(SystemFailure, match=rf"descriptors needed, ulimit -Hn is {limits[1]}"):
        descriptors.allow_descriptors(limits[1])
