"""How long the master waits before the next generation."""

import itertools

import pytest

from supervisor.master.master import BackOff


def waits(*ready_for):
    """Return the waits after generations that were ready for so long, one after another."""
    states = itertools.accumulate(ready_for, BackOff.after, initial=BackOff())
    return [state.wait for state in itertools.islice(states, 1, None)]


@pytest.mark.parametrize("ready_for", [1.0, 1.001, 9.9, 10.0, 86_400.0])
def test_after_a_second_of_service_it_goes_on_at_once(ready_for):
    """A generation that was ready for a second or more is followed without a wait."""
    assert waits(ready_for) == [0.0]
    assert waits(0.0, 0.0, ready_for)[-1] == 0.0


@pytest.mark.parametrize("ready_for", [0.0, 0.001, 0.999])
def test_short_lives_double_the_wait(ready_for):
    """From 0.1 s doubling to 30 s, and no further."""
    expected = [0.1, 0.2, 0.4, 0.8, 1.6, 3.2, 6.4, 12.8, 25.6, 30.0, 30.0, 30.0]
    assert waits(*[ready_for] * 12) == pytest.approx(expected)


@pytest.mark.parametrize(
    ("ready_for", "expected"),
    [
        ((0.0, 0.0, 9.999, 0.0), [0.1, 0.2, 0.0, 0.4]),
        ((0.0, 0.0, 10.0, 0.0), [0.1, 0.2, 0.0, 0.1]),
        ((0.0, 0.0, 5.0, 5.0, 0.0), [0.1, 0.2, 0.0, 0.0, 0.4]),
        ((0.0, 0.0, 5.0, 11.0, 0.0), [0.1, 0.2, 0.0, 0.0, 0.1]),
    ],
)
def test_only_ten_seconds_of_service_forget(ready_for, expected):
    """A short recovery does not wait, but remembers; a long one begins anew."""
    assert waits(*ready_for) == pytest.approx(expected)
