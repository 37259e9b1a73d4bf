"""The event loop of a child."""

from __future__ import annotations

import asyncio

from supervisor.child.child import Child


def new_loop(name: str) -> asyncio.AbstractEventLoop:
    """An event loop of its kind, the current one of this thread."""
    if name == "uvloop":
        import uvloop

        loop: asyncio.AbstractEventLoop = uvloop.new_event_loop()
    else:
        loop = asyncio.new_event_loop()
    asyncio.set_event_loop(loop)
    return loop


async def told_to_stop(child: Child) -> None:
    """Wait until this child is told to stop, while the loop runs."""
    told, loop = asyncio.Event(), asyncio.get_running_loop()
    loop.add_reader(child.wakeup.fileno(), child.wakeup.clear)
    child.when_told(lambda: loop.call_soon_threadsafe(told.set))
    await told.wait()
