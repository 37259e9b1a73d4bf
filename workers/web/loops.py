"""The event loop of a child."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from supervisor.child.child import Child
from supervisor.system import signals


def new_loop(name: str) -> asyncio.AbstractEventLoop:
    """An event loop of its kind, the current one of this thread.

    An order to stop may be raised at any instant of a worker's `init`. Between the making of the
    loop and the moment at which somebody holds it, it would throw an open loop away, which uvloop
    tells the log as an error. So signals wait until asyncio holds it.
    """
    make = _maker(name)
    mask = signals.block_all()
    try:
        loop = make()
        asyncio.set_event_loop(loop)
    finally:
        signals.set_mask(mask)
    return loop


def _maker(name: str) -> Callable[[], asyncio.AbstractEventLoop]:
    if name != "uvloop":
        return asyncio.new_event_loop
    import uvloop

    return uvloop.new_event_loop


async def told_to_stop(child: Child) -> None:
    """Wait until this child is told to stop, while the loop runs."""
    told, loop = asyncio.Event(), asyncio.get_running_loop()
    loop.add_reader(child.wakeup.fileno(), child.wakeup.clear)
    child.when_told(lambda: loop.call_soon_threadsafe(told.set))
    await told.wait()
