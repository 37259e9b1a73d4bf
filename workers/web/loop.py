"""The loop of a child that serves HTTP from its main thread: connections, deadlines, the stop.

Nothing in it waits for one client: a request is called when it is whole, an answer leaves as fast
as its client takes it, and each connection has a deadline of its own (`Times`). With nobody
connected there is nothing to wake up for.
"""

from __future__ import annotations

import select
import socket
import ssl
from collections import deque
from collections.abc import Callable
from time import monotonic_ns
from typing import NamedTuple

from supervisor.child.child import Child
from supervisor.system import descriptors
from supervisor.system.clock import wall_clock
from supervisor.system.listeners import Listener, Peer
from supervisor.workers.web.calls import Call, Service
from supervisor.workers.web.client import WANTS_MORE, Body, Client
from supervisor.workers.web.deadlines import Deadlines
from supervisor.workers.web.http1 import (
    END,
    Connection,
    Event,
    Limits,
    Reading,
    Refusal,
    Request,
    date_line,
)
from supervisor.workers.web.pool import Pool

_IN_A_ROW = 16  # connections accepted before others are looked at
_RESERVE = 32  # descriptors that connections leave to everything else in the process
_SECOND = 1_000_000_000
_LAST_WORDS = 1.0  # s for a client to hang up after the answer, or to ask once we were told to stop
_LINGER = 2.0  # s that a refused client may go on sending

IN, OUT = select.EPOLLIN, select.EPOLLOUT

MakeCall = Callable[[Client, Request], Call]


class Times(NamedTuple):
    """Seconds: without progress of the client; idle between two requests; of a stream at a stop."""

    connection: float
    keep_alive: float
    stream: float


class Sizes(NamedTuple):
    """Bytes: of a request's body in memory; of an answer that its client has not taken."""

    body: int = 1 << 20
    answer: int = 1 << 20


class Loop:
    """Serves until the child is told to stop, and then what is in hand."""

    def __init__(
        self,
        service: Service,
        call: MakeCall,
        limits: Limits,
        times: Times,
        sizes: Sizes | None = None,
        tls: ssl.SSLContext | None = None,
        threads: int = 1,
        most: int = 0,
    ) -> None:
        self._service = service
        self._child: Child = service.child
        self._call = call
        self._limits = limits
        self._times = times
        self._sizes = sizes or Sizes()
        self._tls = tls
        self._threads = threads
        self._most = most or descriptors.limit() - _RESERVE
        self._pool: Pool | None = None
        self._clients: dict[int, Client] = {}
        self._deadlines: Deadlines[Client] = Deadlines()
        self._turns: deque[Client] = deque()  # those with work that waits for nobody
        self._listeners: dict[int, Listener] = {}
        self._accepts = False
        self._is_stopping = False
        self._stop_by = 0  # monotonic ns: then what is not finished is cut
        self._crowded_at = 0  # monotonic ns
        self._streams = 0

    def run(self) -> None:
        """Serve."""
        with select.epoll() as epoll:
            self._epoll = epoll
            self._listeners = {one.fileno(): one for one in self._child.listeners}
            epoll.register(self._child.wakeup.fileno(), IN)
            if self._threads > 1:
                self._pool = Pool(self._threads, self._sizes.answer)
                epoll.register(self._pool.fileno(), IN)
            while True:
                if self._child.stopping and not self._is_stopping:
                    self._begin_stop()
                if self._is_stopping and not self._clients:
                    break
                self._turn()
            if self._pool is not None:
                self._pool.close()

    # One turn.

    def _turn(self) -> None:
        self._set_accepting()
        events = self._epoll.poll(self._patience())
        if self._service.is_wary:
            self._service.mark(monotonic_ns())
        if len(events) > 1 and self._accepts:
            # A request on a fresh connection waits behind no other while a child is free.
            events.sort(key=lambda event: event[0] not in self._listeners)
        for descriptor, _ in events:
            client = self._clients.get(descriptor)
            if client is not None:
                self._go_on(client)
            elif descriptor in self._listeners:
                self._accept(self._listeners[descriptor])
            elif self._pool is not None and descriptor == self._pool.fileno():
                self._collect(self._pool)
            else:
                self._child.wakeup.clear()
        for _ in range(len(self._turns)):
            self._take_turn(self._turns.popleft())
        self._end_late(monotonic_ns())

    def _patience(self) -> float:
        """Seconds to wait at most; -1 = for ever."""
        if self._turns or (self._child.stopping and not self._is_stopping):
            return 0
        at = self._deadlines.next()
        if self._crowded_at:
            at = min(at or self._crowded_at, self._crowded_at)
        # Rounded up: epoll counts in ms, and one too early would come again and again.
        return max(0, at - monotonic_ns()) / 1e9 + 0.001 if at else -1

    def _set_accepting(self) -> None:
        """Accept with nothing in hand that computes, and with descriptors left."""
        accepts = not self._is_stopping and not self._is_busy() and not self._is_crowded()
        if accepts is self._accepts:
            return
        self._accepts = accepts
        for descriptor in self._listeners:
            if accepts:
                self._epoll.register(descriptor, IN | select.EPOLLEXCLUSIVE)
            else:
                self._epoll.unregister(descriptor)

    def _is_busy(self) -> bool:
        if self._pool is not None:
            return self._pool.in_hand >= self._threads
        return any(client.call is not None for client in self._turns)

    def _is_crowded(self) -> bool:
        is_crowded = len(self._clients) >= self._most
        if not is_crowded:
            self._crowded_at = 0
        elif not self._crowded_at:
            self._crowded_at = monotonic_ns() + _SECOND
        return is_crowded

    def _end_late(self, now: int) -> None:
        for client in self._deadlines.late(now):
            self._lose_patience(client, now)
        if self._crowded_at and now >= self._crowded_at:
            self._crowded_at = now + _SECOND
            idle = [one for one in self._clients.values() if self._is_idle(one)]
            for client in sorted(idle, key=lambda one: one.deadline)[:_RESERVE]:
                self._close(client)

    @staticmethod
    def _is_idle(client: Client) -> bool:
        return client.call is None and client.http.state is Reading.IDLE and not client.unsent

    # Connections.

    def _accept(self, listener: Listener) -> None:
        """Take connections while nothing is in hand; most clients have sent their request."""
        for _ in range(_IN_A_ROW):
            accepted = listener.accept()
            if accepted is None:
                return
            self._begin(listener, *accepted)
            if self._turns or self._is_busy() or len(self._clients) >= self._most:
                return

    def _begin(self, listener: Listener, sock: socket.socket, peer: Peer) -> None:
        sock.setblocking(False)
        if self._tls is not None:
            sock = self._tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)
        host, port = peer[:2] if isinstance(peer, tuple) else ("", 0)
        client = Client(sock, Connection(self._limits), host, port)
        address = listener.address
        client.local = (address.host or "localhost", str(address.port or 80))
        client.http.last = self._is_stopping or self._times.keep_alive <= 0
        self._clients[client.descriptor] = client
        self._service.requests.hold(len(self._clients), self._streams)
        self._go_on(client)
        if client.mask >= 0 and not client.deadline:
            self._expect(client, _LAST_WORDS if self._is_stopping else self._times.connection)

    def _expect(self, client: Client, seconds: float) -> None:
        """Something has to come, or to go, within so many seconds."""
        client.moved = False
        now = monotonic_ns()
        at = now + int(seconds * 1e9)
        if self._is_stopping:
            at = min(at, max(self._stop_by, now + _SECOND))
        self._deadlines.set(client, at)

    def _go_on(self, client: Client) -> None:
        """Do what can be done on a connection now."""
        try:
            if client.is_shaking:
                self._shake_hands(client)
            elif client.unsent:
                client.flush()
                self._after_sending(client)
            else:
                self._read(client)
        except WANTS_MORE:
            self._watch(client, IN)
        except OSError as error:
            if client.is_shaking:
                facts = {"peer": client.peer, "error": getattr(error, "reason", None) or error}
                self._child.log.info("handshake failed", extra=facts)
            self._cut(client, f"client-hung-up ({error.strerror or error})")

    def _shake_hands(self, client: Client) -> None:
        try:
            client.sock.do_handshake()  # type: ignore[attr-defined]
        except ssl.SSLWantWriteError:
            self._watch(client, OUT)
            return
        client.is_shaking = False
        self._read(client)

    def _read(self, client: Client) -> None:
        if client.call is not None:
            # It hung up, or goes on asking: to be seen after the answer. Watched for nothing epoll
            # would still tell of a hang-up, again and again.
            self._epoll.unregister(client.descriptor)
            client.mask = -1
            return
        data = client.receive()
        client.is_fresh = False
        if client.is_ending:
            if not data:
                self._close(client)
        elif not data:
            self._end_of_file(client)
        else:
            is_first = client.http.state is Reading.IDLE
            self._take(client, client.http.receive(data))
            if is_first and client.http.state is Reading.HEAD:
                self._expect(client, self._times.connection)

    def _end_of_file(self, client: Client) -> None:
        """It may read on, though it sends no more: what it began is refused."""
        state = client.http.state
        if state is Reading.IDLE:
            self._close(client)
        else:
            self._refuse(client, Refusal(400, f"the client ended in {state.name}"))

    def _take(self, client: Client, event: Event | None) -> None:
        """Go through what came, up to a whole request."""
        http = client.http
        while event is not None:
            if isinstance(event, Request):
                if event.complete:
                    self._serve(client, event)
                    return
                self._expect_body(client)
            elif event is END:
                self._serve(client, http.request)  # type: ignore[arg-type]
                return
            elif isinstance(event, Refusal):
                self._refuse(client, event)
                return
            else:
                client.body.add(event)  # type: ignore[union-attr, arg-type]
                self._expect(client, self._times.connection)
            event = http.receive()
        self._watch(client, IN)

    def _expect_body(self, client: Client) -> None:
        """The head has passed the limits: whoever waits to be asked for the body is asked."""
        client.body = Body(self._sizes.body, self._child.place.tempdir)
        self._expect(client, self._times.connection)
        if interim := client.http.go_on():
            client.put(interim)

    def _refuse(self, client: Client, refusal: Refusal) -> None:
        self._service.refused(client, *refusal)
        self._say_last(client, refusal.status)

    def _say_last(self, client: Client, status: int) -> None:
        """Answer with a status, and let the client read it: what it still sends would make the
        kernel reset the connection, answer and all.
        """
        client.put(client.http.refuse(status, date_line(wall_clock() // _SECOND)))
        if client.unsent:
            client.is_ending = True
            self._watch(client, OUT)
        else:
            self._linger(client)

    def _linger(self, client: Client) -> None:
        client.is_ending = True
        if not client.is_secure:
            client.sock.shutdown(socket.SHUT_WR)
        self._expect(client, min(_LINGER, self._times.connection))
        self._watch(client, IN)

    # Requests.

    def _serve(self, client: Client, request: Request) -> None:
        """Call the application: here, or in a thread."""
        call = self._call(client, request)
        if self._pool is not None:
            client.call = call
            self._deadlines.pause(client)
            self._pool.submit(call)
            return
        data = call.first()
        if call.more:
            client.call = call
        self._hand_out(client, call, data, is_last=call.is_over)

    def _hand_out(self, client: Client, call: Call, data: bytes, *, is_last: bool) -> None:
        """Send what a call has made, and see how it goes on."""
        if data:
            client.put(data)
        if call.file is not None:
            client.put_file(call.file)
        if is_last:
            client.call = None
        if client.is_streaming is is_last:
            self._note_stream(client, not is_last)
        self._after_sending(client)

    def _note_stream(self, client: Client, is_streaming: bool) -> None:
        client.is_streaming = is_streaming
        self._streams += 1 if is_streaming else -1
        self._service.requests.hold(len(self._clients), self._streams)

    def _after_sending(self, client: Client) -> None:
        """Some, or all, of what was made has been sent."""
        unsent = client.unsent
        if unsent and (not client.deadline or (client.moved and not self._is_stopping)):
            self._expect(client, self._times.connection)
        if client.call is not None:
            self._ask_for_more(client, client.call, unsent)
        elif unsent:
            self._watch(client, OUT)
        elif client.is_ending:
            self._linger(client)
        else:
            self._finish(client)

    def _ask_for_more(self, client: Client, call: Call, unsent: int) -> None:
        if not unsent:
            self._wait_for_application(client)
        if self._pool is not None:
            self._pool.sent(call, unsent)
            if unsent:
                self._watch(client, OUT)
        elif unsent >= self._sizes.answer or (call.file is not None and unsent):
            self._watch(client, OUT)
        else:
            self._turns.append(client)

    def _wait_for_application(self, client: Client) -> None:
        """Its client has all that was made. At a stop it may still go on only for a while."""
        if not self._is_stopping:
            self._deadlines.pause(client)
        elif not client.deadline:
            self._expect(client, self._times.stream)

    def _take_turn(self, client: Client) -> None:
        """The next part of an answer, or the next request that came with the one before."""
        if self._clients.get(client.descriptor) is not client:
            return
        call = client.call
        try:
            if call is None:
                self._take(client, client.http.receive())
            elif call.more:
                data = call.next()
                self._hand_out(client, call, data, is_last=call.is_over)
        except OSError as error:
            self._cut(client, f"client-hung-up ({error.strerror or error})")

    def _collect(self, pool: Pool) -> None:
        """Send what the threads have made."""
        for call, data, is_last in pool.take():
            client = call.client
            if client.call is not call:
                continue
            try:
                self._hand_out(client, call, data, is_last=is_last)
            except OSError as error:
                self._cut(client, f"client-hung-up ({error.strerror or error})")

    def _finish(self, client: Client) -> None:
        """An answer is whole and sent: the next request, or the end."""
        if client.body is not None:
            client.body.close()
            client.body = None
        http = client.http
        if not http.renew():
            if http.waiting or http.state is not Reading.DONE:
                self._linger(client)
            else:
                self._close(client)
            return
        http.last = self._is_stopping
        if http.waiting:
            self._turns.append(client)
        elif self._is_stopping:
            self._close(client)
        else:
            self._expect(client, self._times.keep_alive)
            self._watch(client, IN)

    # The end.

    def _lose_patience(self, client: Client, now: int) -> None:
        """The time of a connection is over."""
        if client.call is not None or client.unsent:
            self._cut(client, "client-too-slow")
        elif client.is_ending or client.http.state is Reading.IDLE or client.is_shaking:
            self._close(client)
        else:
            try:
                self._refuse(client, Refusal(408, f"too slow in {client.http.state.name}"))
            except OSError:
                self._close(client)

    def _cut(self, client: Client, reason: str) -> None:
        """The connection breaks off, and with it what is in hand on it."""
        call, client.call = client.call, None
        if call is not None:
            call.reason = reason
            if self._pool is not None:
                self._pool.abandon(call)
            else:
                call.cut()
        self._close(client)

    def _close(self, client: Client) -> None:
        if self._clients.pop(client.descriptor, None) is None:
            return
        if client.mask >= 0:
            self._epoll.unregister(client.descriptor)
        self._deadlines.forget(client)
        client.close()
        self._streams -= client.is_streaming
        self._service.requests.hold(len(self._clients), self._streams)

    def _watch(self, client: Client, mask: int) -> None:
        if client.mask == mask:
            return
        if client.mask < 0:
            self._epoll.register(client.descriptor, mask)
        else:
            self._epoll.modify(client.descriptor, mask)
        client.mask = mask

    # The stop.

    def _begin_stop(self) -> None:
        """End what is idle, take what waits in the queues that nobody will serve after us, and
        finish the rest.
        """
        self._stop_by = monotonic_ns() + int(self._stream_time() * 1e9)
        self._is_stopping = True
        self._set_accepting()
        ending = self._child.ending_listeners()
        for client in list(self._clients.values()):
            self._hurry(client, is_ending=bool(ending))
        for listener in ending:
            while listener.has_waiting():
                accepted = listener.accept()
                if accepted is not None:
                    self._begin(listener, *accepted)

    def _stream_time(self) -> float:
        """Seconds that an answer in hand may take."""
        return min(self._times.stream, self._child.place.stop_timeout / 2)

    def _hurry(self, client: Client, *, is_ending: bool) -> None:
        client.http.last = True
        if client.call is not None:
            if client.http.has_begun:
                self._expect(client, self._times.stream)
        elif not self._is_idle(client):
            self._expect(client, self._times.connection)
        elif not client.is_shaking:
            self._go_on(client)  # its request may have come this moment
            if self._is_idle(client) and client.descriptor in self._clients:
                self._leave_idle(client, is_ending=is_ending)

    def _leave_idle(self, client: Client, *, is_ending: bool) -> None:
        """Where others serve on, a request that is on its way is answered; also one on a connection
        that was made a moment ago.
        """
        age = self._times.connection - (client.deadline - monotonic_ns()) / 1e9
        if is_ending and not (client.is_fresh and age < _LAST_WORDS):
            self._close(client)
        else:
            self._expect(client, _LAST_WORDS)
