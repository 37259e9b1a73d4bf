"""The engine granian beside an event loop, for `asgi` and `rsgi`."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from contextlib import suppress
from typing import Any

from supervisor.child.child import Child
from supervisor.workers.engines.granian import ACCEPTED_WITHIN, Granian, watched
from supervisor.workers.web.application import ApplicationOptions
from supervisor.workers.web.sockets import Sockets


class Asynchronous:
    """Serves an ASGI or RSGI application; the engine's threads hand each request to the loop."""

    def __init__(
        self,
        child: Child,
        options: ApplicationOptions,
        kind: str,
        call: Callable[..., Any],
        loop: asyncio.AbstractEventLoop,
        sockets: Sockets,
        *,
        websockets: bool,
    ) -> None:
        self._loop = loop
        self._sockets = sockets
        self._engine = Granian(
            child,
            options,
            kind,
            watched(call),
            websockets=websockets,
            loop=self._loop,
        )

    async def start(self) -> None:
        """Begin to accept."""
        self._engine.start()

    async def drain(self) -> None:
        """Accept nothing new, finish what is in hand; return when it is done."""
        await self._sockets.close()
        self._engine.stop()
        await self._readable(self._engine.fileno())
        while self._engine.takes_what_waits():
            with suppress(TimeoutError):
                await asyncio.wait_for(self._readable(self._engine.begun), ACCEPTED_WITHIN)
            self._engine.stop()
            await self._readable(self._engine.fileno())
        await self._sockets.ended()

    async def _readable(self, descriptor: int) -> None:
        ready = asyncio.Event()
        self._loop.add_reader(descriptor, ready.set)
        try:
            await ready.wait()
        finally:
            self._loop.remove_reader(descriptor)
