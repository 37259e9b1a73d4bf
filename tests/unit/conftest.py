"""Fixtures that several unit tests share."""

from __future__ import annotations

import contextlib
import signal
from collections.abc import Iterator

import pytest
from hypothesis import HealthCheck, settings

from supervisor.child.order import Order
from supervisor.system import signals
from supervisor.system.recorder import SignalRecorder

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


@pytest.fixture
def recorder() -> Iterator[SignalRecorder]:
    """A recorder that watches nothing yet; USR2 has its default again after the test."""
    made = SignalRecorder()
    yield made
    made.close()
    signals.restore_default(signal.SIGUSR2)


@pytest.fixture
def order(recorder: SignalRecorder) -> Order:
    """The order to stop, in the process of its child."""
    made = Order(recorder)
    made.begin()
    return made
