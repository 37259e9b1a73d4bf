"""One WebSocket: between the transport, the machine of its messages, and the application."""

from __future__ import annotations

import asyncio
from time import monotonic_ns
from typing import TYPE_CHECKING, Final

from supervisor.workers.web.asgi.messages import Messages
from supervisor.workers.web.asgi.scope import websocket_scope
from supervisor.workers.web.asgi.served import ClientGone, Message, Served
from supervisor.workers.web.http1 import Request, head_of

if TYPE_CHECKING:
    from supervisor.workers.web.asgi.connection import Connection
    from supervisor.workers.web.asgi.service import Service

_NORMAL: Final = 1000  # RFC 6455, 7.4.1
_INTERNAL_ERROR: Final = 1011
_SERVICE_RESTART: Final = 1012  # registered with IANA


class WebSocket(Served, asyncio.Protocol):
    """Runs the application for one WebSocket, from the wish of its client on."""

    __slots__ = (
        "_connection",
        "_denial",
        "_is_asked",
        "_is_reading",
        "_left",
        "_messages",
        "_news",
        "_ping_timer",
        "_writable",
        "transport",
    )

    def __init__(
        self, service: Service, connection: Connection, request: Request, messages: Messages
    ) -> None:
        self._connection: Connection | None = connection  # until the wish is answered
        self._denial: Message | None = None
        self._is_asked = False  # the application knows of the wish
        self._is_reading = True
        self._left = 0
        self._messages = messages
        self._news = asyncio.Event()
        self._ping_timer: asyncio.TimerHandle | None = None
        self.transport = connection.transport
        self._writable: asyncio.Event | None = None
        service.sockets.add(self)
        super().__init__(service, request, connection.scope, websocket_scope)

    def _end(self, error: BaseException | None) -> None:
        now, failed = monotonic_ns(), self._is_late
        if error is not None and not (isinstance(error, ClientGone) and self.told):
            failed = True
            self._complain(error)
        if self._connection is not None:
            if not failed:
                self._complain()
            failed = True
            self._deny(500)
        else:
            self._messages.close(_INTERNAL_ERROR if failed else _NORMAL, "")
            self._flush()
        self._count(None, now, failed)

    # The transport calls these.

    def data_received(self, data: bytes) -> None:
        if self._connection is not None:
            self._connection.machine.receive(data)  # which keeps it
            return
        self._messages.receive(data)
        self._look()

    def eof_received(self) -> bool:
        self._messages.end()
        return False

    def connection_lost(self, exc: Exception | None) -> None:
        service = self._service
        service.clients.remove(self)
        service.ends.remove(self)
        service.sockets.discard(self)
        service.note_connections()
        if self._ping_timer is not None:
            self._ping_timer.cancel()
        if self._connection is not None:
            self._connection.machine.close()
            self._connection = None
        self._disconnect()
        self.resume_writing()

    def pause_writing(self) -> None:
        self._writable = asyncio.Event()
        self._left = self.transport.get_write_buffer_size()

    def resume_writing(self) -> None:
        writable, self._writable = self._writable, None
        if writable is not None:
            writable.set()

    def _look(self) -> None:
        """See what has arrived, and send what follows from it."""
        messages = self._messages
        if messages.size > self._service.options.body_buffer and self._is_reading:
            self._is_reading = False
            self.transport.pause_reading()
        if messages.got_pong:
            messages.got_pong = False
            self._ping_later()
        if messages.arrived:
            self._news.set()
        self._flush()

    def _flush(self) -> None:
        """Send what the machine has for the client. Once it is open no more the application is
        told, and the connection ends, by the client if it is polite.
        """
        for data in self._messages.to_send():
            if data:
                self.transport.write(data)
            else:
                self.transport.close()
        if self._connection is None and not self._messages.is_open:
            self._disconnect()
            if self._messages.is_closing:
                self._service.ends.add(self)

    def _disconnect(self) -> None:
        if not self.told:
            self.told = True
            if self.has_begun:
                self._service.stream(-1)
        self._news.set()

    # The application's side.

    async def receive(self) -> Message:
        """As ASGI has it."""
        if not self._is_asked:
            self._is_asked = True
            return {"type": "websocket.connect"}
        messages = self._messages
        while not (messages.arrived or self.told):
            self._news.clear()
            await self._news.wait()
        if messages.arrived:
            return self._fetch()
        code, reason = messages.code
        return {"type": "websocket.disconnect", "code": code, "reason": reason}

    def _fetch(self) -> Message:
        message = self._messages.fetch()
        if not self._is_reading and self._messages.size <= self._service.options.body_buffer // 2:
            self._is_reading = True
            self.transport.resume_reading()
        return message

    async def send(self, message: Message) -> None:
        """As ASGI has it. Raises ClientGone."""
        kind = message["type"]
        if self.told:
            raise ClientGone("the WebSocket is closed")
        if self._connection is not None:
            self._answer(kind, message)
        elif kind == "websocket.send":
            self._messages.send(message)
            await self._sent()
        elif kind == "websocket.close":
            code = message.get("code", _NORMAL)
            self._messages.close(_NORMAL if code is None else code, message.get("reason") or "")
            self._flush()
        else:
            raise RuntimeError(f"{kind} on an open WebSocket")

    def _answer(self, kind: str, message: Message) -> None:
        """The client's wish."""
        if kind == "websocket.accept":
            self._accept(message)
        elif kind == "websocket.close":
            self._deny(403)
        elif kind == "websocket.http.response.start":
            self._denial = {**message, "body": b""}
        elif kind == "websocket.http.response.body" and self._denial is not None:
            self._denial["body"] += message.get("body", b"")
            if not message.get("more_body", False):
                self._deny_with(self._denial)
        else:
            raise RuntimeError(f"{kind} before websocket.accept")

    def _accept(self, message: Message) -> None:
        connection, self._connection = self._connection, None
        assert connection is not None
        fields = list(message.get("headers") or ())
        if self.identity:
            fields.append((self._service.request_id, self.identity))
        self._messages.accept(message.get("subprotocol"), fields)
        self.has_begun = True
        self.status = 101
        self._answer_begins()
        self._service.stream(+1)
        self._flush()
        self.transport.set_write_buffer_limits(high=self._service.options.answer_buffer)
        rest = connection.machine.hand_over()
        connection.machine.close()
        self._ping_later()
        if rest:
            self.data_received(rest)
        if self._service.stopping:
            self.restart()

    def _deny(self, status: int) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            self.status = status
            self.transport.write(connection.machine.refuse(status, self._service.date()))
            self._leave(connection)

    def _deny_with(self, answer: Message) -> None:
        connection = self._connection
        assert connection is not None
        machine, body = connection.machine, answer["body"]
        machine.last = True
        head = head_of(answer["status"], answer.get("headers", ()))
        text = machine.answer(head, self._service.date(), len(body))
        self.transport.write(text + machine.body(body) + machine.end())
        self.status = answer["status"]
        self._connection = None
        self._leave(connection)

    def _leave(self, connection: Connection) -> None:
        connection.machine.close()
        self._disconnect()
        self.transport.close()

    async def _sent(self) -> None:
        self._flush()
        writable = self._writable
        if writable is None:
            return
        self._service.clients.add(self)
        try:
            await writable.wait()
        finally:
            self._service.clients.remove(self)

    # Pings, deadlines and the end.

    def _ping_later(self) -> None:
        if self._ping_timer is not None:
            self._ping_timer.cancel()
        every = self._service.options.ws_ping_interval
        self._ping_timer = self._service.loop.call_later(every, self._ping) if every else None

    def _ping(self) -> None:
        if not self._messages.is_open:
            return
        self._messages.ping()
        self._flush()
        patience = self._service.options.ws_ping_timeout
        if patience:
            self._ping_timer = self._service.loop.call_later(patience, self._give_up)
        else:
            self._ping_later()

    def _give_up(self) -> None:
        self._messages.give_up()
        self._flush()

    def be_slow(self) -> None:
        """The client takes nothing for connection_timeout, or little."""
        left = self.transport.get_write_buffer_size()
        if left != self._left:
            self._left = left
            self._service.clients.add(self)
        else:
            self.transport.abort()

    def cut(self) -> None:
        """The client does not end the connection: we do."""
        self.transport.abort()

    def restart(self) -> None:
        """Close it, for the server ends."""
        if self._connection is None:
            self._messages.close(_SERVICE_RESTART, "")
            self._flush()

    def disconnect(self) -> None:
        """Tell the application that it should end."""
        if self._connection is not None:
            self._deny(503)
        else:
            self.restart()

    def cancel(self, status: int) -> None:
        """Refuse so for the application, where it has not answered, and end it."""
        self._deny(status)
        self.restart()
        self.task.cancel()


def serve(service: Service, connection: Connection, request: Request) -> None:
    """Ask the application whether it takes a WebSocket; a wrong wish is answered here."""
    messages = Messages(request, service.options.ws_max_size)
    refusal = messages.refusal
    transport = connection.transport
    connection.leave()
    if refusal:
        service.count_refusal(400)
        connection.machine.close()
        transport.write(refusal)
        transport.close()
    else:
        transport.set_protocol(WebSocket(service, connection, request, messages))
        service.note_connections()
