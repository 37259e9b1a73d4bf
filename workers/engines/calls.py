"""Requests and WebSockets in hand on the engine granian: counted, named, with their deadlines."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Coroutine
from contextlib import suppress
from http import HTTPStatus
from time import monotonic_ns
from typing import Any, Final

from supervisor.child.child import Child
from supervisor.child.stacks import stack_of
from supervisor.workers.web import access_log
from supervisor.workers.web.application import ApplicationOptions
from supervisor.workers.web.asgi.deadlines import Deadlines, Stepped
from supervisor.workers.web.asgi.waits import Waits

Message = dict[str, Any]

SERVICE_RESTART: Final = 1012  # RFC 6455, 7.4; registered with IANA


class TooLarge(OSError):
    """The body of a request is larger than `body_limit`."""


class ClientGone(OSError):
    """The client went away in the middle of its request."""


class Service:
    """Shared by the requests of one child."""

    def __init__(
        self, child: Child, options: ApplicationOptions, loop: asyncio.AbstractEventLoop
    ) -> None:
        self.child = child
        self.options = options
        self.loop = loop
        self.requests = child.served
        self.log = access_log.log(options, child)
        self.in_hand: set[Call] = set()
        self.streams = 0
        self.stopping = False
        self.news = asyncio.Event()  # something has begun, or ended
        timeout = child.place.request_timeout
        is_own = options.interface == "wsgi"  # whose calls have a deadline each
        slow = child.worker.section.common.slow_request
        self.slow = Waits(loop, slow, _tell_slow) if slow else None
        self.deadlines = Deadlines(self.requests, loop, timeout) if timeout and not is_own else None

    @property
    def is_last(self) -> bool:
        """True where an answer should end its connection."""
        return self.stopping or self.child.server_is_ending

    def is_idle(self) -> bool:
        """Nothing is in hand."""
        return not self.in_hand

    def clients(self) -> set[str]:
        """HOST:PORT of those whose requests are in hand."""
        return {one.client for one in self.in_hand}

    def stream(self, more: int) -> None:
        """So many more answers go on for long."""
        self.streams += more
        self.requests.hold(0, self.streams)

    async def restart(self) -> None:
        """Tell the clients of WebSockets to come back to the next server."""
        await asyncio.gather(*(one.restart() for one in self.in_hand), return_exceptions=True)

    def cancel_begun(self) -> None:
        """End those whose answer has begun."""
        for one in [one for one in self.in_hand if one.has_begun]:
            one.cancel()

    async def cancel_all(self) -> None:
        """End what does not end by itself."""
        for one in list(self.in_hand):
            facts = {**one.facts, "reason": "stop-timeout"}
            self.child.log.warning("request cancelled", extra=facts)
            one.cancel()
        await asyncio.sleep(0)


class Call:
    """A request in hand; `run` takes it from its begin to its end. `is_http`: no WebSocket."""

    def __init__(
        self, service: Service, method: str, path: str, client: str, *, is_http: bool
    ) -> None:
        self._service = service
        self._is_http = is_http
        self._is_late = self._is_cancelled = self._is_stream = False
        self._method, self._path = method, path
        self._task = asyncio.current_task()
        self._running: Coroutine[Any, Any, None] | None = None
        self.client = client
        self.told = False  # that it should end
        self.has_begun = False  # of the answer, something is on its way
        self.is_too_large = False
        self.status = 0
        self.size = 0
        self.timed = False  # for the table of requests, which has no timer for it
        self.due = 0
        self.begun = now = monotonic_ns()
        requests = service.requests
        self._place = requests.begin(self, now, f"{method} {path}".encode())
        service.in_hand.add(self)
        if service.deadlines is not None:
            service.deadlines.begin(self, now)
        if service.slow is not None:
            service.slow.add(self)
        service.news.set()

    async def run(self, running: Coroutine[Any, Any, None]) -> None:
        """Run the application, and answer for it where it does not."""
        deadlines, error = self._service.deadlines, None
        self._running = running
        log = self._service.log
        begun = log.begin() if log else None
        try:
            await (running if deadlines is None else Stepped(running, deadlines))
        except asyncio.CancelledError:
            pass
        except BaseException as raised:
            error = raised
        try:
            await self._end(error)
        finally:
            # Its traceback holds this frame, and the application's, with the stream of its answer:
            # that ends when nobody has it any more.
            error = self._running = None
            if log and begun:
                log.end(begun, self.served())

    async def _end(self, error: BaseException | None) -> None:
        failed = self._is_late
        is_refused = self.is_too_large and not self.has_begun
        if error is not None and not is_refused:
            failed = True
            self._complain(error)
        if not self.has_begun:
            failed = failed or not (is_refused or self.told)
            with suppress(Exception):  # nobody may be there any more
                await self.refuse(413 if is_refused else self._status_of_end())
        self._count(failed or self.status >= 500)

    def _status_of_end(self) -> int:
        if self._is_late:
            return 504
        return 503 if self._is_cancelled else 500

    def _complain(self, error: BaseException) -> None:
        log = self._service.child.log
        if isinstance(error, ClientGone):
            log.info("request failed", extra={**self.facts, "error": "client-hung-up"})
        else:
            log.error("request failed", exc_info=error, extra=self.facts)

    def _count(self, failed: bool) -> None:
        service, now = self._service, monotonic_ns()
        self.answer_begins()
        if self._is_stream:
            service.stream(-1)
        elapsed = now - self.begun if self._is_http else None
        service.requests.leave(self, now, elapsed, failed, self._place, self.status)
        service.in_hand.discard(self)
        service.news.set()

    @property
    def facts(self) -> dict[str, object]:
        """The facts that name it in the log."""
        return {"method": self._method, "path": self._path}

    # What happens to it.

    def answer_begins(self) -> None:
        """From now on only what it does between two waits has a deadline."""
        if self._service.deadlines is not None:
            self._service.deadlines.end(self)
        if self._service.slow is not None:
            self._service.slow.remove(self)

    def streams(self) -> None:
        """Its answer goes on for long."""
        if not self._is_stream:
            self._is_stream = True
            self.answer_begins()
            self._service.stream(+1)

    async def wait_for_client(self, awaited: Awaitable[Any]) -> Any:
        """Wait for what the client does; the time does not count."""
        deadlines = self._service.deadlines
        left = deadlines.pause(self, monotonic_ns()) if deadlines else None
        try:
            return await awaited
        finally:
            if deadlines is not None and left is not None:
                deadlines.resume(self, monotonic_ns(), left)

    def be_late(self) -> None:
        """Its own time is over: 504, or the end of the connection, and of what it does."""
        facts = {**self.facts, "reason": "request_timeout", "traceback": self._stack()}
        self._service.child.log.error("request cancelled", extra=facts)
        self._is_late = True
        self.cancel()

    def tell_slow(self) -> None:
        """It is in hand for long, and goes on."""
        facts = {**self.facts, "traceback": self._stack()}
        self._service.child.log.warning("slow request", extra=facts)

    def _stack(self) -> str:
        """Where it waits."""
        return stack_of(getattr(self._running, "cr_await", None) or self._running).rstrip("\n")

    def cancel(self) -> None:
        """End the application."""
        self._is_cancelled = self.told = True
        if self._task is not None:
            self._task.cancel()

    # Of each interface.

    async def refuse(self, status: int) -> None:
        """Answer so for the application."""
        raise NotImplementedError

    def disconnect(self) -> None:
        """Tell the application that it should end."""
        raise NotImplementedError

    async def restart(self) -> None:
        """Tell the client of a WebSocket that the server ends."""

    def served(self) -> access_log.Served:
        """For the access log."""
        raise NotImplementedError


def _tell_slow(one: Call) -> None:
    one.tell_slow()


def words(status: int) -> bytes:
    """The body of an answer that is not the application's."""
    return f"{status} {HTTPStatus(status).phrase}\n".encode()
