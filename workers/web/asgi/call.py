"""One request as the application sees it: its scope, and what `receive` and `send` do."""

from __future__ import annotations

import asyncio
from time import monotonic_ns
from typing import TYPE_CHECKING

from supervisor.system.clock import wall_clock
from supervisor.workers.web.asgi.files import send_file
from supervisor.workers.web.asgi.scope import scope_of
from supervisor.workers.web.asgi.served import ClientGone, Message, Served
from supervisor.workers.web.http1 import Head, InvalidAnswer, Request, date_line, head_of
from supervisor.workers.web.http1.memo import Memo

if TYPE_CHECKING:
    from supervisor.workers.web.asgi.connection import Connection
    from supervisor.workers.web.asgi.service import Service


Start = tuple[int, tuple[tuple[bytes, bytes], ...]]  # status and headers


def _head_of(start: Start) -> Head:
    return head_of(*start)


_HEADS: Memo[Start, Head] = Memo(_head_of, 256)


class Call(Served):
    """Runs the application for one request."""

    __slots__ = (
        "_blocked",
        "_connection",
        "_has_ended",
        "_is_streaming",
        "_news",
        "_parts",
        "_start",
        "is_whole",
    )

    def __init__(self, service: Service, connection: Connection, request: Request) -> None:
        self._connection: Connection | None = connection  # None once it needs nothing more of it
        self._start: Message | None = None  # the head of the answer, kept until its first part
        self._parts: list[bytes] = []  # of the body, which `receive` did not fetch yet
        self._news: asyncio.Event | None = None  # `receive` waits for it
        self._blocked: asyncio.Event | None = None  # `send` waits for it
        self._has_ended = False  # `receive` gave the end of the body
        self._is_streaming = False
        self.is_whole = request.complete  # the whole body is here
        super().__init__(service, request, connection.scope, scope_of)

    def _end(self, error: BaseException | None) -> None:
        connection, now = self._connection, monotonic_ns()
        if error is None and connection is None:
            self._count(now - self.begun, now, self._is_late or self.status >= 500)
            return
        failed = self._is_late
        if error is not None and not (isinstance(error, ClientGone) and connection is None):
            failed = True
            self._complain(error)
        if connection is not None:
            if not failed and not self.told:
                self._complain()
            failed = True
            self._detach()
            self.status = connection.fail() or self.status
        self._count(now - self.begun, now, failed or self.status >= 500)

    # The connection's side.

    def feed(self, data: bytes) -> None:
        """A part of the body has come."""
        self._parts.append(data)
        self._tell()

    def finish(self) -> None:
        """The body is whole."""
        self.is_whole = True
        self._tell()

    def disconnect(self) -> None:
        """Tell the application that its client is gone, or that it should end."""
        self.told = True
        self._tell()

    def refuse(self, status: int) -> None:
        """The client has broken off, or has broken a rule; it was answered with `status`, 0 where
        an answer had begun.
        """
        self.status = status or self.status
        self.lose()

    def lose(self) -> None:
        """The connection has ended; nothing can be sent any more."""
        self._detach()
        self.disconnect()
        if self._blocked is not None:
            self._blocked.set()

    def _tell(self) -> None:
        if self._news is not None:
            self._news.set()

    def _detach(self) -> None:
        self._connection = None
        if self._is_streaming:
            self._is_streaming = False
            self._service.stream(-1)
        if self._news is not None:  # `receive` gives http.disconnect after the answer
            self._news.set()

    # The application's side.

    async def receive(self) -> Message:
        """As ASGI has it."""
        if self.is_whole and not (self._parts or self._has_ended):  # most often: no body
            self._has_ended = True
            return {"type": "http.request", "body": b"", "more_body": False}
        if not (self._parts or self.is_whole or self._connection is None):
            self._connection.ask_for_body()
        while not self._has_news():
            await self._wait_for_news()
        if self._has_ended or not (self._parts or self.is_whole):
            return {"type": "http.disconnect"}
        return self._take_body()

    def _has_news(self) -> bool:
        if self._parts or self.told or self._connection is None:
            return True
        return self.is_whole and not self._has_ended

    def _take_body(self) -> Message:
        parts = self._parts
        body = parts[0] if len(parts) == 1 else b"".join(parts)
        self._has_ended = self.is_whole
        if parts:
            self._parts = []
            if self._connection is not None:
                self._connection.has_taken(len(body))
        return {"type": "http.request", "body": body, "more_body": not self.is_whole}

    async def _wait_for_news(self) -> None:
        news = self._news = self._news or asyncio.Event()
        news.clear()
        if self.is_whole:
            await news.wait()
        else:
            await self._wait_for_client(news)

    async def _wait_for_client(self, event: asyncio.Event) -> None:
        """Wait for what depends on the client alone: the time does not count."""
        service, connection = self._service, self._connection
        deadlines = service.deadlines
        left = deadlines.pause(self, monotonic_ns()) if deadlines else None
        service.clients.add(connection)
        try:
            await event.wait()
        finally:
            service.clients.remove(connection)
            if deadlines is not None and left is not None:
                deadlines.resume(self, monotonic_ns(), left)

    async def wait_to_send(self, writable: asyncio.Event) -> None:
        """Wait until the client has taken enough. Raises ClientGone."""
        self._blocked = writable
        try:
            await self._wait_for_client(writable)
        finally:
            self._blocked = None
        if self._connection is None:
            raise ClientGone("the client is gone")

    async def send(self, message: Message) -> None:
        """As ASGI has it. Raises ClientGone, and InvalidAnswer for what cannot be sent."""
        connection = self._connection
        kind = message["type"]
        if connection is None:
            self._refuse_more(kind)
        elif kind == "http.response.body":
            body = message.get("body", b"")
            if not message.get("more_body", False):
                self._send_last(connection, body)
            elif body:
                await self._send_part(connection, body)
        elif kind == "http.response.start":
            if self._start is not None or self.has_begun:
                raise RuntimeError(f"{kind} for the second time")
            self._start = message
        elif kind == "http.response.pathsend":
            with open(message["path"], "rb") as file:
                await self._send_file(connection, {"file": file, "offset": 0})
        elif kind == "http.response.zerocopysend":
            await self._send_file(connection, message)
        elif kind == "http.response.early_hint":
            connection.hint(message["links"])
        else:
            raise RuntimeError(f"unknown message {kind!r}")

    def _refuse_more(self, kind: str) -> None:
        if not self.told:
            raise RuntimeError(f"{kind} after the end of the answer")
        raise ClientGone("the client is gone")

    async def _send_part(self, connection: Connection, body: bytes) -> None:
        data = self._framed(connection, body)
        self.size += len(body)
        writable = connection.write(data)
        if writable is not None:
            await self.wait_to_send(writable)

    def _send_last(self, connection: Connection, body: bytes) -> None:
        """The end of the answer: most often all of it, which is one piece then."""
        machine = connection.machine
        if self.has_begun:
            data = machine.body(body) + machine.end()
        else:
            start = self._take_start(connection)
            head = self._head(start)
            self.status = head.status
            data = machine.whole(head, body, date_line(wall_clock() // 1_000_000_000))
            self.has_begun = True
        self.size += len(body)
        if self._is_streaming or self._news is not None:
            self._detach()
        self._connection = None
        connection.finish(data)

    def _take_start(self, connection: Connection) -> Message:
        """The head that the application gave; where it cannot be sent it may give another. An
        answer may be the last of its connection.
        """
        start, self._start = self._start, None
        if start is None:
            raise RuntimeError("http.response.body before http.response.start")
        service = self._service
        connection.machine.last = service.is_last or service.ending[0] != 0
        return start

    def _head(self, start: Message) -> Head:
        """Raises InvalidAnswer."""
        head = _HEADS.of((start["status"], tuple(start.get("headers", ()))))
        return head.plus(self._service.request_id, self.identity) if self.identity else head

    def _framed(self, connection: Connection, body: bytes) -> bytes:
        """A part of the body, with the head before it if it is the first."""
        machine = connection.machine
        if self.has_begun:
            return machine.body(body)
        start = self._take_start(connection)
        try:
            data = machine.answer(self._head(start), self._service.date()) + machine.body(body)
        except InvalidAnswer:
            machine.withdraw()
            raise
        self.status = start["status"]
        self.has_begun = self._is_streaming = True
        self._service.stream(+1)
        self._answer_begins()
        connection.limit_buffer()
        return data

    async def _send_file(self, connection: Connection, message: Message) -> None:
        file, at = message["file"], message.get("offset")
        head = self._framed(connection, b"")
        at = file.tell() if at is None else at
        self.size += await send_file(self, connection, head, file, at, message.get("count"))
        if not message.get("more_body", False):
            self._send_last(connection, b"")

    def cancel(self, status: int) -> None:
        """Answer so for the application, where it has not begun to, and end it."""
        connection = self._connection
        if connection is not None:
            self._detach()
            self.status = connection.fail(status) or self.status
        self.told = True
        self.task.cancel()
