"""The event loop of a child, made while an order to stop may come."""

import asyncio
import signal

import pytest

from supervisor.workers.web import loops


class Stopped(Exception):
    """Raised by the handler."""


class Interrupted(asyncio.DefaultEventLoopPolicy):
    """A signal comes just when a loop is made."""

    def new_event_loop(self):
        loop = super().new_event_loop()
        signal.raise_signal(signal.SIGUSR1)
        return loop


@pytest.fixture
def policy():
    """The interrupted one, for a while."""

    def stop(*_):
        raise Stopped

    before = asyncio.get_event_loop_policy()
    handler = signal.signal(signal.SIGUSR1, stop)  # noqa: TID251 - the test is the child
    asyncio.set_event_loop_policy(Interrupted())
    yield asyncio.get_event_loop_policy()
    asyncio.set_event_loop_policy(before)
    signal.signal(signal.SIGUSR1, handler)  # noqa: TID251


def test_a_loop_is_not_lost_to_an_order_to_stop(policy):
    """The order is raised when asyncio holds the loop, which so is not thrown away open."""
    with pytest.raises(Stopped):
        loops.new_loop("asyncio")
    loop = policy.get_event_loop()
    assert not loop.is_closed()
    loop.close()


@pytest.mark.parametrize("name", ["asyncio", "uvloop"])
def test_a_loop_of_its_kind(name):
    """It is the current one."""
    loop = loops.new_loop(name)
    assert type(loop).__module__.startswith(name)
    assert asyncio.get_event_loop_policy().get_event_loop() is loop
    asyncio.set_event_loop(None)
    loop.close()
