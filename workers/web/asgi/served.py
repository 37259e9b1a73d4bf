"""A request or WebSocket in hand: runs the application, counts, and knows when it is late."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from time import monotonic_ns
from typing import TYPE_CHECKING, Any

from supervisor.child.stacks import stack_of
from supervisor.workers.web.asgi.scope import identity_of
from supervisor.workers.web.http1 import Request

if TYPE_CHECKING:
    from supervisor.workers.web.asgi.service import Service

Message = dict[str, Any]
MakeScope = Callable[["Service", dict[str, Any], Request], dict[str, Any]]


class ClientGone(OSError):
    """Nobody is there any more to read what the application sends."""


class Served:
    """Shared by `Call` and `WebSocket`. The task is made last, when all else is ready: a subclass
    sets its own fields first.
    """

    __slots__ = (
        "_is_late",
        "_place",
        "_service",
        "begun",
        "due",
        "has_begun",
        "identity",
        "request",
        "scope",
        "size",
        "status",
        "task",
        "timed",
        "told",
    )

    def __init__(
        self, service: Service, request: Request, base: dict[str, Any], make_scope: MakeScope
    ) -> None:
        self._service = service
        self.request = request
        self.identity = identity_of(service, base, request) if service.request_id else b""
        self.scope = make_scope(service, base, request)
        self.has_begun = False  # of the answer, something is on its way
        self.told = False  # that it should end
        self.timed = False  # for the table of requests, which has no timer for it
        self._is_late = False
        self.due = self.status = self.size = 0
        self.begun = now = monotonic_ns()
        self._place = service.requests.enter(self, now, request.name, self.identity)
        service.in_hand.add(self)
        if service.is_timed:
            self._begin_time(now)
        self.task = service.create_task(self._run())

    async def _run(self) -> None:
        error: BaseException | None = None
        try:
            await self._service.call(self.scope, self.receive, self.send)
        except asyncio.CancelledError:
            pass
        except BaseException as raised:
            error = raised
        self._end(error)

    async def receive(self) -> Message:
        """As ASGI has it."""
        raise NotImplementedError

    async def send(self, message: Message) -> None:
        """As ASGI has it. Raises ClientGone."""
        raise NotImplementedError

    def _end(self, error: BaseException | None) -> None:
        """The application has returned, or has raised."""
        raise NotImplementedError

    def disconnect(self) -> None:
        """Tell the application that it should end."""
        raise NotImplementedError

    def cancel(self, status: int) -> None:
        """Answer so for the application, where it has not begun to, and end it."""
        raise NotImplementedError

    def _count(self, elapsed: int | None, now: int, failed: bool) -> None:
        service = self._service
        service.requests.leave(self, now, elapsed, failed, self._place, self.status)
        service.in_hand.discard(self)
        if service.is_timed:
            self._answer_begins()
        if service.stopping or service.log is not None:
            service.ended(self)

    def _begin_time(self, now: int) -> None:
        """Its own time begins."""
        service = self._service
        if service.deadlines is not None:
            service.deadlines.begin(self, now)
        if service.slow is not None:
            service.slow.add(self)

    def _answer_begins(self) -> None:
        """From now on only what it does between two waits has a deadline."""
        service = self._service
        if service.deadlines is not None:
            service.deadlines.end(self)
        if service.slow is not None:
            service.slow.remove(self)

    @property
    def facts(self) -> dict[str, object]:
        """The facts that name it in the log."""
        facts: dict[str, object] = {"method": self.request.method, "path": self.scope["path"]}
        if self.identity:
            facts["request_id"] = self.identity.decode("latin-1")
        return facts

    def _complain(self, error: BaseException | None = None) -> None:
        facts = self.facts if error else {**self.facts, "error": "no-answer"}
        self._service.child.log.error("request failed", exc_info=error, extra=facts)

    def be_late(self) -> None:
        """Its own time is over: 504, or the end of the connection, and of what it does."""
        facts = {**self.facts, "reason": "request_timeout", "traceback": self.stack()}
        self._service.child.log.error("request cancelled", extra=facts)
        self._is_late = True
        self.cancel(504)

    def tell_slow(self) -> None:
        """It is in hand for long, and goes on."""
        facts = {**self.facts, "traceback": self.stack()}
        self._service.child.log.warning("slow request", extra=facts)

    def stack(self) -> str:
        """Where it waits."""
        coroutine = self.task.get_coro()
        return stack_of(getattr(coroutine, "cr_await", None) or coroutine).rstrip("\n")
