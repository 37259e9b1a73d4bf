"""The end of a child's connections, in order: streams have their time, all else ends by itself."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import suppress
from time import monotonic
from typing import Final

from supervisor.workers.web.asgi.arrivals import Arrivals
from supervisor.workers.web.asgi.served import Served
from supervisor.workers.web.asgi.service import Service
from supervisor.workers.web.bounds import time_to_stop

_PATIENCE: Final = 1.0  # s between http.disconnect and the end of what goes on nevertheless
_ON_THE_WAY: Final = 1.0  # s for the request of a client that may have sent it already


async def drain(service: Service, arrivals: Arrivals) -> None:
    """Accept nothing new and finish what is in hand. Returns in time for the lifespan's shutdown,
    which has at most a second, or a fifth of stop_timeout.
    """
    timeout = service.child.place.stop_timeout
    ends_at = monotonic() + timeout - min(1.0, timeout / 5)
    service.stopping = service.is_last = True
    is_hurried = not service.child.others_serve
    streams_end_at = monotonic() + time_to_stop(service.child, service.options.stream_timeout)
    arrivals.stop()
    arrivals.take_what_waits()
    await arrivals.opened()
    await _close_idle(service, is_hurried=is_hurried)
    _restart_sockets(service)
    await _until_ended(service, min(streams_end_at, ends_at))
    for one in list(service.in_hand):
        one.disconnect()
    for connection in list(service.connections):
        connection.give_up()
    await _until_ended(service, min(monotonic() + _PATIENCE, ends_at))
    _cancel(one for one in service.in_hand if one.has_begun)
    await _until_ended(service, ends_at)
    await _cancel_all(service)


async def _close_idle(service: Service, *, is_hurried: bool) -> None:
    """A request that is on its way is answered, with `Connection: close`: on a connection that was
    made a moment ago, and where others serve already on a kept one too.
    """
    now = monotonic()
    awaited = [one for one, since in service.heads.since.items() if since > now - _ON_THE_WAY]
    if not is_hurried:
        awaited += service.idle

    def have_come() -> bool:
        return not any(one in service.heads or one in service.idle for one in awaited)

    await _until(service, now + _ON_THE_WAY, have_come)
    for connection in [*service.idle, *service.heads]:
        connection.close_idle()


def _restart_sockets(service: Service) -> None:
    """Their clients come back to the next server, all at once or spread over close_spread."""
    sockets, spread = list(service.sockets), service.options.close_spread
    for place, one in enumerate(sockets):
        service.loop.call_later(spread * place / len(sockets), one.restart)


async def _until_ended(service: Service, instant: float) -> None:
    await _until(service, instant, lambda: not (service.in_hand or service.held))


async def _until(service: Service, instant: float, is_so: object) -> None:
    assert callable(is_so)
    with suppress(TimeoutError):
        async with asyncio.timeout(max(0.0, instant - monotonic())):
            while not is_so():
                service.has_ended.clear()
                await service.has_ended.wait()


def _cancel(those: Iterable[Served]) -> None:
    for one in list(those):
        one.cancel(503)


async def _cancel_all(service: Service) -> None:
    """All that does not end by itself: requests in hand, and connections of slow clients."""
    left = list(service.in_hand)
    for one in left:
        facts = {**one.facts, "reason": "stop-timeout"}
        service.child.log.warning("request cancelled", extra=facts)
    _cancel(left)
    for connection in list(service.connections):
        connection.transport.abort()
    for socket in list(service.sockets):
        socket.cut()
    await asyncio.sleep(0)
