"""Fixtures that several unit tests share."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

# The same examples in every run, however slow the machine is.
settings.register_profile(
    "unit", derandomize=True, deadline=None, suppress_health_check=[HealthCheck.too_slow]
)
settings.load_profile("unit")


@pytest.fixture
def closing() -> Iterator[contextlib.ExitStack]:
    """Closes what the test enters, sockets above all."""
    with contextlib.ExitStack() as stack:
        yield stack
