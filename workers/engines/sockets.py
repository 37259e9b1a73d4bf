"""The WebSockets of one child on the engine granian, which would cut them off when it stops."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any, Final

Message = MutableMapping[str, Any]

_SERVICE_RESTART: Final = 1012  # RFC 6455, 7.4; registered with IANA


class Sockets:
    """Those whose application runs."""

    def __init__(self) -> None:
        self._closers: set[Callable[[], Awaitable[None]]] = set()
        self._none = asyncio.Event()
        self._none.set()

    @contextmanager
    def open(self, close: Callable[[], Awaitable[None]]) -> Iterator[None]:
        """Context of one application; `close` says to its client that the server stops."""
        self._closers.add(close)
        self._none.clear()
        try:
            yield
        finally:
            self._closers.discard(close)
            if not self._closers:
                self._none.set()

    async def close(self) -> None:
        """Tell each client."""
        await asyncio.gather(*(close() for close in self._closers), return_exceptions=True)

    async def ended(self) -> None:
        """Return when no application runs any more."""
        await self._none.wait()


class AsgiSocket:
    """Stands between an application and the engine's protocol object.

    The engine cannot close while the application waits for a message: that wait is cancelled, and
    the application told that the client is gone.
    """

    def __init__(self, protocol: Any) -> None:
        self._protocol = protocol
        self._waiting: Any = None
        self._is_accepted = False
        self._is_closed = False
        self._has_told = asyncio.Event()

    async def receive(self) -> Message:
        """As ASGI has it."""
        if not self._is_closed:
            self._waiting = self._protocol.receive()
            try:
                message: Message = await self._waiting
                return message
            except asyncio.CancelledError:
                if not self._is_closed:
                    raise
        # The engine closes without a code where the application has ended before.
        await self._has_told.wait()
        return {"type": "websocket.disconnect", "code": _SERVICE_RESTART, "reason": ""}

    def send(self, message: Message) -> Any:
        """As ASGI has it."""
        if self._is_closed:
            raise OSError("the WebSocket was closed: the server stops")
        self._is_accepted = self._is_accepted or message["type"] == "websocket.accept"
        return self._protocol.send(message)

    async def close(self) -> None:
        """Say that the server stops, where the connection is a WebSocket already."""
        if not self._is_accepted or self._is_closed:
            return
        self._is_closed = True
        if self._waiting is not None and not self._waiting.done():
            self._waiting.cancel()
        try:
            await self._protocol.send({"type": "websocket.close", "code": _SERVICE_RESTART})
        finally:
            self._has_told.set()
