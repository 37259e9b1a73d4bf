"""When a periodic task runs next."""

import pytest

from supervisor.workers.task import next_start


@pytest.mark.parametrize(
    ("every", "now", "expected"),
    [
        (60.0, 100.0, 160.0),  # just begun
        (60.0, 100.5, 160.0),  # a quick run
        (60.0, 159.9, 160.0),
        (60.0, 160.0, 220.0),  # it took the whole period
        (60.0, 161.0, 220.0),  # it took longer: one is left out
        (60.0, 400.0, 460.0),  # many are left out
        (0.5, 100.7, 101.0),
    ],
)
def test_starts_keep_to_the_grid(every, now, expected):
    """Every start is a multiple of the period after the first, whatever the runs take."""
    assert next_start(100.0, every, now) == expected
