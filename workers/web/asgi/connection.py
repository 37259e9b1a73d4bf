"""One client: its bytes go to the machine `http1`, the machine's events to the call in hand."""

from __future__ import annotations

import asyncio
import select
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any, Final, cast

from supervisor.workers.web.asgi import websocket
from supervisor.workers.web.asgi.call import Call
from supervisor.workers.web.asgi.waits import Waits
from supervisor.workers.web.http1 import END, Event, Reading, Refusal, Request
from supervisor.workers.web.http1 import Connection as Machine

if TYPE_CHECKING:
    from supervisor.workers.web.asgi.service import Service

_IN_ADVANCE: Final = 65_536  # bytes of further requests that are read while one is in hand
_DONE: Final = Reading.DONE  # a member of an enumeration is found by a call
_IN_HEAD: Final = (Reading.HEAD, Reading.METHOD)


class Connection(asyncio.Protocol):
    """Answers its requests one after another."""

    __slots__ = (
        "_buffered",
        "_call",
        "_has_ended",
        "_is_ending",
        "_is_in_head",
        "_is_reading",
        "_left",
        "_service",
        "_waits",
        "_writable",
        "machine",
        "scope",
        "transport",
    )

    transport: asyncio.Transport

    def __init__(self, service: Service, client: Any, server: Any) -> None:
        self._service = service
        self._call: Call | None = None
        self._buffered = 0  # bytes of a body that the application did not fetch yet
        self._left = 0  # bytes that the client had not taken when it was looked at
        self._is_reading = True
        self._is_in_head = False
        self._is_ending = False  # what comes is thrown away
        self._has_ended = False  # the client will send nothing more
        self._waits: Waits | None = None  # those among whom it waits, and for how long
        self._writable: asyncio.Event | None = None  # while the client takes too little
        self.machine = Machine(service.limits)
        self.scope: dict[str, Any] = {**service.scope, "client": client, "server": server}

    # The transport calls these.

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self.transport = cast(asyncio.Transport, transport)
        self._service.opened(self)
        self.wait_among(self._service.heads)

    def connection_lost(self, exc: Exception | None) -> None:
        self.leave()
        call, self._call = self._call, None
        if call is not None:
            call.lose()
        self.resume_writing()
        self.machine.close()

    def data_received(self, data: bytes) -> None:
        if self._is_ending:
            return
        event = self.machine.receive(data)
        if event is None:
            self._wait_for_more()
        elif type(event) is Request and event.complete:  # nearly always
            self._begin(event)
        else:
            self._take(event)

    def eof_received(self) -> bool:
        """The client may still read: a request that is whole is answered (not over TLS, which
        cannot be closed by half here). True keeps the connection.
        """
        self._has_ended = True
        call = self._call
        if call is None or not call.is_whole or self._service.options.tls is not None:
            return False
        call.disconnect()
        return True

    def pause_writing(self) -> None:
        self._writable = asyncio.Event()
        self._left = self.transport.get_write_buffer_size()

    def resume_writing(self) -> None:
        writable, self._writable = self._writable, None
        if writable is not None:
            writable.set()

    # Reading.

    def _take(self, event: Event | None) -> None:
        while event is not None:
            if type(event) is Request:
                self._begin(event)
                if event.complete:
                    return
            elif type(event) is bytes:
                self._feed(event)
            elif event is END:
                self._finish_body()
                return
            else:
                self._refuse(cast(Refusal, event))
                return
            event = self.machine.receive()

    def _begin(self, request: Request) -> None:
        service = self._service
        self.wait_no_more()
        self._is_in_head = False
        if request.upgrade == b"websocket" and service.options.websockets:
            websocket.serve(service, self, request)
        else:
            self._call = Call(service, self, request)

    def _wait_for_more(self) -> None:
        """Bytes have come that are no event yet. The time for a head begins with its first."""
        if self._call is not None:
            if self.machine.waiting > _IN_ADVANCE:
                self._pause_reading()
        elif self.machine.state in _IN_HEAD:
            if not self._is_in_head:
                self._is_in_head = True
                self.wait_among(self._service.heads)
        elif self._waits is None:  # nothing but empty lines came after a request
            self.wait_among(self._service.idle)

    def _feed(self, data: bytes) -> None:
        call = self._call
        if call is None:
            return  # the answer is whole already
        self._buffered += len(data)
        if self._buffered > self._service.options.body_buffer:
            self._pause_reading()
        call.feed(data)

    def _finish_body(self) -> None:
        if self._call is not None:
            self._call.finish()
        elif not self._is_ending:
            self._go_on()

    def _pause_reading(self) -> None:
        if self._is_reading:
            self._is_reading = False
            self.transport.pause_reading()

    def _resume_reading(self) -> None:
        if not (self._is_reading or self.transport.is_closing()):
            self._is_reading = True
            self.transport.resume_reading()

    def has_taken(self, size: int) -> None:
        """The application has fetched so many bytes of the body."""
        self._buffered -= size
        if not self._is_reading and self._buffered <= self._service.options.body_buffer // 2:
            self._resume_reading()

    # Answering: a call does.

    def ask_for_body(self) -> None:
        """The application reads: a client that waits for 100 gets it."""
        data = self.machine.go_on()
        if data:
            self.transport.write(data)

    def write(self, data: bytes) -> asyncio.Event | None:
        """Send a part; returns what to wait for where the client takes too little."""
        self.transport.write(data)
        return self._writable

    def limit_buffer(self, size: int | None = None) -> None:
        """From now on `write` tells when more than so many bytes wait (answer_buffer)."""
        limit = self._service.options.answer_buffer if size is None else size
        self.transport.set_write_buffer_limits(high=limit)

    def hint(self, links: Iterable[bytes]) -> None:
        """Send the interim answer 103."""
        data = self.machine.interim(103, [(b"link", link) for link in links])
        if data:
            self.transport.write(data)

    def finish(self, data: bytes) -> None:
        """Send the end of the answer, and go on with what follows."""
        if data:
            self.transport.write(data)
        self._call = None
        self._buffered = 0
        if not self.machine.keeps:
            self._end()
        elif self.machine.state is _DONE:
            self._go_on()
        else:
            self._resume_reading()  # the rest of the body is read, and thrown away
            self.wait_among(self._service.clients)

    def fail(self, status: int = 500) -> int:
        """Answer for the application, or cut what it has begun. Returns the status that was sent,
        0 for none.
        """
        self._call = None
        data = self.machine.refuse(status, self._service.date())
        if data:
            self.transport.write(data)
        self._end()
        return status if data else 0

    def _go_on(self) -> None:
        """The next request may follow, or be here already."""
        machine, service = self.machine, self._service
        if not machine.renew():
            self._close()
        elif machine.rest:
            self._read_on()
        elif self._has_ended or service.stopping:
            self._close()
        else:
            self.wait_among(service.idle)

    def _read_on(self) -> None:
        """Look at the bytes that came in advance."""
        self._resume_reading()
        event = self.machine.receive()
        if event is not None:
            self._take(event)
        elif self._has_ended:
            self._close()
        else:
            self._wait_for_more()

    # The end.

    def _refuse(self, refusal: Refusal) -> None:
        """The client breaks the protocol or a limit."""
        service = self._service
        call, self._call = self._call, None
        data = self.machine.refuse(refusal.status, service.date())
        if data:
            self.transport.write(data)
        if call is not None:
            call.refuse(refusal.status if data else 0)
        else:
            service.count_refusal(refusal.status)
        client = self.scope["client"]
        peer = client[0] if client else None
        facts = {"peer": peer, "status": refusal.status, "reason": refusal.reason}
        service.child.log.info("request refused", extra=facts)
        self._end()

    def _end(self) -> None:
        """No request follows. Where bytes may come that nobody reads, wait for the client's end: a
        socket that is closed with such bytes in it is reset, and the answer with it.
        """
        is_whole = self.machine.state is _DONE and not self.machine.waiting
        if is_whole or self._has_ended or self._service.options.tls is not None:
            self._close()
            return
        self._is_ending = True
        self.wait_among(self._service.ends)
        self.transport.write_eof()
        self._resume_reading()

    def _close(self) -> None:
        self._is_ending = True
        self.wait_no_more()
        self._left = self.transport.get_write_buffer_size()
        self.transport.close()
        if self._left:
            self.wait_among(self._service.clients)

    def leave(self) -> None:
        """It is no connection of HTTP any more."""
        self.wait_no_more()
        self._service.closed(self)

    # Waiting: for one thing at a time.

    def wait_among(self, waits: Waits) -> None:
        """From now on it waits for what these wait for."""
        if self._waits is not None:
            self._waits.since.pop(self, None)
        self._waits = waits
        waits.add(self)

    def wait_no_more(self) -> None:
        """It has what it waited for."""
        waits, self._waits = self._waits, None
        if waits is not None:
            waits.since.pop(self, None)

    def be_slow(self) -> None:
        """The client has let the time pass: with a head, with a body, or with what it reads."""
        left = self.transport.get_write_buffer_size()
        if left and left != self._left:
            self._left = left
            self.wait_among(self._service.clients)  # it takes what we send, if slowly
        elif left:
            self.cut()
        elif self._is_in_head or self._call is not None:
            self._refuse(Refusal(408, "the client was silent for connection_timeout"))
        else:
            self._close()

    def cut(self) -> None:
        """End the connection now."""
        service = self._service
        if self._waits is service.ends and self.transport.get_write_buffer_size():
            self.wait_among(service.clients)
        else:
            self.transport.abort()

    def close_idle(self) -> None:
        """Close it where no request of it has begun, nor has arrived and was not read yet."""
        service = self._service
        if self._is_in_head or self._waits not in (service.idle, service.heads):
            return
        sock = self.transport.get_extra_info("socket")
        ready = select.poll()
        ready.register(sock.fileno(), select.POLLIN)
        if not ready.poll(0):
            self._close()

    def give_up(self) -> None:
        """Cut it, unless the application is at work for it, or its answer is on its way."""
        if self._call is None and not self.transport.get_write_buffer_size():
            self.transport.abort()
