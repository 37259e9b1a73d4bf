"""HTTP/1.1 and WebSockets for one child: what the type `asgi` starts and drains."""

from __future__ import annotations

import asyncio
import ssl
from typing import TYPE_CHECKING, Any

from supervisor.child.child import Child
from supervisor.workers.web.asgi.arrivals import Arrivals
from supervisor.workers.web.asgi.service import Service
from supervisor.workers.web.asgi.stop import drain
from supervisor.workers.web.proxy_header import Proxies

if TYPE_CHECKING:
    from supervisor.workers.asgi import AsgiOptions


class Http1:
    """The service of a child, and what arrives for it."""

    def __init__(
        self,
        child: Child,
        options: AsgiOptions,
        application: Any,
        state: dict[str, Any],
        loop: asyncio.AbstractEventLoop,
        context: ssl.SSLContext | None,
        proxies: Proxies | None,
    ) -> None:
        self._service = Service(child, options, application, state, loop)
        self._arrivals = Arrivals(self._service, context, proxies)

    async def start(self) -> None:
        """Begin to accept."""
        self._arrivals.start()

    async def drain(self) -> None:
        """Accept nothing new, finish what is in hand; return when it is done."""
        await drain(self._service, self._arrivals)
