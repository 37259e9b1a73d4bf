"""The loop of a child that serves HTTP from its main thread: when it accepts, whose turn it is, and
the stop. With nobody connected there is nothing to wake up for.
"""

from __future__ import annotations

import os
import select
import socket
import ssl
from time import monotonic_ns

from supervisor.child.child import Child
from supervisor.system import descriptors
from supervisor.system.listeners import Listener, Peer
from supervisor.workers.web.bounds import Sizes, Times, time_to_stop
from supervisor.workers.web.calls import MakeCall, Service
from supervisor.workers.web.client import Client
from supervisor.workers.web.http1 import (
    Connection,
    Limits,
)
from supervisor.workers.web.pool import Pool
from supervisor.workers.web.proxy_header import Proxies
from supervisor.workers.web.traffic import IN, LAST_WORDS, Traffic

_IN_A_ROW = 16  # connections accepted before others are looked at
_RESERVE = 32  # descriptors that connections leave to everything else in the process
_SECOND = 1_000_000_000


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
        proxies: Proxies | None = None,
    ) -> None:
        self._service = service
        self._child: Child = service.child
        self._limits = limits
        self._times = times
        self._tls = tls
        self._proxies = proxies
        self._is_opened_by_more = tls is not None or proxies is not None
        self._threads = threads
        self._most = most or descriptors.limit() - _RESERVE
        sizes = sizes or Sizes()
        pool = Pool(threads, sizes.answer) if threads > 1 else None
        if pool is not None:
            service.send_now = pool.give
        self._traffic = Traffic(service, call, times, sizes, select.epoll(), pool)
        self._listeners: dict[int, Listener] = {}
        self._accepts = False
        self._crowded_at = 0  # monotonic ns

    def run(self) -> None:
        """Serve."""
        traffic = self._traffic
        with traffic.epoll:
            self._listeners = {one.fileno(): one for one in self._child.listeners}
            traffic.epoll.register(self._child.wakeup.fileno(), IN)
            if traffic.pool is not None:
                traffic.epoll.register(traffic.pool.fileno(), IN)
            while traffic.clients or not traffic.is_stopping:
                if self._child.stopping and not traffic.is_stopping:
                    self._begin_stop()
                else:
                    self._turn()
            if traffic.pool is not None:
                traffic.pool.close()

    # One turn.

    def _turn(self) -> None:
        """An order to stop that comes before the wait ends it: its signal has made the child's
        descriptor readable.
        """
        now, due = monotonic_ns(), self._due()
        if due and due <= now:
            self._end_late(now)
            return
        self._set_accepting()
        traffic = self._traffic
        # Rounded up: epoll counts in ms, and one too early would come again and again.
        left = (due - now) / 1e9 + 0.001 if due else -1
        events = traffic.epoll.poll(0 if traffic.turns else left)
        if self._service.is_wary:
            self._service.mark(monotonic_ns())
        if len(events) > 1 and self._accepts:
            self._put_first(events)
        for descriptor, _ in events:
            client = traffic.clients.get(descriptor)
            if client is not None:
                traffic.go_on(client)
            else:
                self._heed(descriptor)
        if traffic.turns:
            for _ in range(len(traffic.turns)):
                traffic.take_turn(traffic.turns.popleft())

    def _put_first(self, events: list[tuple[int, int]]) -> None:
        """A request on a fresh connection waits behind no other while a child is free."""
        for descriptor in self._listeners:
            event = descriptor, IN
            if event in events:
                events.remove(event)
                events.insert(0, event)

    def _heed(self, descriptor: int) -> None:
        """Something but a connection is ready."""
        pool = self._traffic.pool
        if descriptor in self._listeners:
            self._accept(self._listeners[descriptor])
        elif pool is not None and descriptor == pool.fileno():
            self._traffic.collect(pool)
        else:
            self._child.wakeup.clear()

    def _due(self) -> int:
        """When to look again at what waits (monotonic ns), 0 = never."""
        at = self._traffic.deadlines.next()
        return min(at or self._crowded_at, self._crowded_at) if self._crowded_at else at

    def _set_accepting(self) -> None:
        """Accept with nothing in hand that computes, and with descriptors left."""
        traffic = self._traffic
        is_crowded = len(traffic.clients) >= self._most
        if is_crowded or self._crowded_at:
            self._note_crowd(is_crowded)
        is_busy = (traffic.turns or traffic.pool) and self._is_busy()
        accepts = not (is_busy or is_crowded or traffic.is_stopping)
        if accepts is self._accepts:
            return
        self._accepts = accepts
        for descriptor in self._listeners:
            if accepts:
                traffic.epoll.register(descriptor, IN | select.EPOLLEXCLUSIVE)
            else:
                traffic.epoll.unregister(descriptor)

    def _is_busy(self) -> bool:
        if self._traffic.pool is not None:
            return self._traffic.pool.in_hand >= self._threads
        return any(client.call is not None for client in self._traffic.turns)

    def _note_crowd(self, is_crowded: bool) -> None:
        if not is_crowded:
            self._crowded_at = 0
        elif not self._crowded_at:
            self._crowded_at = monotonic_ns() + _SECOND

    def _end_late(self, now: int) -> None:
        for client in self._traffic.deadlines.late(now):
            self._traffic.lose_patience(client, now)
        if self._crowded_at and now >= self._crowded_at:
            self._crowded_at = now + _SECOND
            idle = [one for one in self._traffic.clients.values() if one.is_idle]
            for client in sorted(idle, key=lambda one: one.deadline)[:_RESERVE]:
                self._traffic.close(client)

    # Connections.

    def _accept(self, listener: Listener) -> None:
        """Take connections while nothing is in hand; most clients have sent their request."""
        traffic = self._traffic
        for _ in range(_IN_A_ROW):
            accepted = listener.take()
            if accepted is None:
                return
            self._begin(listener, *accepted)
            if traffic.turns or len(traffic.clients) >= self._most:
                return
            if traffic.pool is not None and self._is_busy():
                return

    def _begin(self, listener: Listener, descriptor: int, peer: Peer) -> None:
        os.set_blocking(descriptor, False)
        host, port = peer[:2] if isinstance(peer, tuple) else ("", 0)
        sock = self._wrapped(descriptor) if self._is_opened_by_more else None
        client = Client(descriptor, Connection(self._limits), host, port, sock)
        if self._proxies is not None:
            client.introduction = self._proxies.introduction(host)
            client.is_shaking = True
        client.local = listener.local
        self._traffic.add(client)

    def _wrapped(self, descriptor: int) -> socket.socket:
        sock = socket.socket(fileno=descriptor)
        sock.setblocking(False)  # the object has its own word for it, which ssl asks
        if self._tls is None:
            return sock
        return self._tls.wrap_socket(sock, server_side=True, do_handshake_on_connect=False)

    # The stop.

    def _begin_stop(self) -> None:
        """End what is idle, take what waits in the queues that nobody will serve after us, and
        finish the rest.
        """
        seconds = time_to_stop(self._child, self._times.stream)
        self._traffic.stop_by = monotonic_ns() + int(seconds * 1e9)
        self._traffic.is_stopping = True
        self._set_accepting()
        ending = self._child.ending_listeners()
        for client in list(self._traffic.clients.values()):
            self._hurry(client, is_ending=bool(ending))
        for listener in ending:
            while listener.has_waiting():
                accepted = listener.take()
                if accepted is not None:
                    self._begin(listener, *accepted)

    def _hurry(self, client: Client, *, is_ending: bool) -> None:
        client.http.last = True
        if client.call is not None:
            if client.http.has_begun:
                self._traffic.expect_end(client)
        elif not client.is_idle:
            self._traffic.expect(client, self._times.connection)
        elif client.is_shaking:
            self._traffic.expect(client, LAST_WORDS)
        else:
            self._traffic.go_on(client)  # its request may have come this moment
            if client.is_idle and client.descriptor in self._traffic.clients:
                self._leave_idle(client, is_ending=is_ending)

    def _leave_idle(self, client: Client, *, is_ending: bool) -> None:
        """Where others serve on, a request that is on its way is answered; also one on a connection
        that was made a moment ago.
        """
        age = self._times.connection - (client.deadline - monotonic_ns()) / 1e9
        if is_ending and not (client.is_fresh and age < LAST_WORDS):
            self._traffic.close(client)
        else:
            self._traffic.expect(client, LAST_WORDS)
