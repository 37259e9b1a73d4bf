"""The traffic on the connections of a loop. Nothing in it waits for one client: a request is called
when it is whole, an answer leaves as fast as its client takes it.
"""

from __future__ import annotations

import select
from collections import deque
from os import read
from time import monotonic_ns

from supervisor.child.child import Child
from supervisor.system.clock import wall_clock
from supervisor.workers.web.bounds import Sizes, Times
from supervisor.workers.web.calls import Call, MakeCall, Service
from supervisor.workers.web.client import CHUNK, WANTS_MORE, Body, Client
from supervisor.workers.web.connections import Connections
from supervisor.workers.web.http1 import END, Event, Reading, Refusal, Request, date_line
from supervisor.workers.web.pool import Pool

_SECOND = 1_000_000_000
LAST_WORDS = 1.0  # s for a client to hang up after the answer, or to ask once we were told to stop
_LINGER = 2.0  # s that a refused client may go on sending

# In names of their own: to look one up in an enum costs a call.
IDLE, HEAD, DONE = Reading.IDLE, Reading.HEAD, Reading.DONE
IN, OUT = select.EPOLLIN, select.EPOLLOUT


class Traffic(Connections):
    """All connections of one child. `turns` are those with work that waits for nobody."""

    def __init__(
        self,
        service: Service,
        call: MakeCall,
        times: Times,
        sizes: Sizes,
        epoll: select.epoll,
        pool: Pool | None,
    ) -> None:
        super().__init__(service.requests, epoll)
        self.pool = pool
        self.turns: deque[Client] = deque()
        self._service = service
        self._child: Child = service.child
        self._call = call
        self._times = times
        self._keep_alive = int(times.keep_alive * 1e9)  # ns
        self._sizes = sizes

    def add(self, client: Client) -> None:
        """A connection was accepted."""
        client.http.last = self.is_stopping or self._times.keep_alive <= 0
        self.clients[client.descriptor] = client
        self.note()
        self.go_on(client)
        if client.mask >= 0 and not client.deadline:
            self.expect(client, LAST_WORDS if self.is_stopping else self._times.connection)

    def go_on(self, client: Client) -> None:
        """Do what can be done on a connection now."""
        try:
            if client.unsent:
                client.flush()
                self._after_sending(client)
            elif client.call is not None:
                self._stop_reading(client)
            elif client.is_shaking:
                self._shake_hands(client)
            else:
                self._read(client)
        except WANTS_MORE:
            self.watch(client, IN)
        except OSError as error:
            if client.is_shaking:
                self._service.not_begun(client, error)
            self._cut(client, f"client-hung-up ({error.strerror or error})")

    def _shake_hands(self, client: Client) -> None:
        if client.shake_hands():
            self._read(client)
        else:
            self.watch(client, OUT)

    def _stop_reading(self, client: Client) -> None:
        """It hung up, or goes on asking: to be seen after the answer. Watched for nothing epoll
        would still tell of a hang-up, again and again.
        """
        self.epoll.unregister(client.descriptor)
        client.mask = -1

    def _read(self, client: Client) -> None:
        data = client.receive() if client.sock else read(client.descriptor, CHUNK)
        client.is_fresh = False
        if not data or client.is_ending:
            self._read_end(client, data)
            return
        http = client.http
        is_first = http.state is IDLE
        event = http.receive(data)
        if http.state is DONE and event is http.request:
            self._serve(client, event)  # type: ignore[arg-type]  # nearly always
            return
        self._take(client, event)
        if is_first and http.state is HEAD:
            self.expect(client, self._times.connection)

    def _read_end(self, client: Client, data: bytes) -> None:
        """It may read on, though it sends no more: what it began is refused. What follows the last
        request is thrown away.
        """
        state = client.http.state
        if data:
            return
        if client.is_ending or state is IDLE:
            self.close(client)
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
            elif isinstance(event, Refusal) or (event := client.keep(event)):  # type: ignore[arg-type]
                self._refuse(client, event)
                return
            else:
                self.expect(client, self._times.connection)
            event = http.receive()
        if client.mask != IN:
            self.watch(client, IN)

    def _expect_body(self, client: Client) -> None:
        """The head has passed the limits: whoever waits to be asked for the body is asked."""
        client.body = Body(self._sizes.body, self._child.place.tempdir)
        self.expect(client, self._times.connection)
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
            self.watch(client, OUT)
        else:
            self._linger(client)

    def _linger(self, client: Client) -> None:
        client.is_ending = True
        client.end_sending()
        self.expect(client, min(_LINGER, self._times.connection))
        self.watch(client, IN)

    # Requests.

    def _serve(self, client: Client, request: Request) -> None:
        """Call the application: here, or in a thread."""
        call = self._call(client, request)
        if self.pool is not None:
            client.call = call
            self.deadlines.pause(client)
            self.pool.submit(call)
            return
        data = call.first()
        if call.is_over and not client.is_ending:  # nearly always
            client.put(data)
            if client.unsent:
                self._after_sending(client)
            else:
                self._finish(client, call.ended)
            return
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
            self.note_stream(client, not is_last)
        if is_last and not client.unsent and not client.is_ending:
            self._finish(client, monotonic_ns())
        else:
            self._after_sending(client)

    def _after_sending(self, client: Client) -> None:
        """Some, or all, of what was made has been sent."""
        unsent = client.unsent
        if unsent and (not client.deadline or (client.moved and not self.is_stopping)):
            self.expect(client, self._times.connection)
        if client.call is not None:
            self._ask_for_more(client, client.call, unsent)
        elif unsent:
            self.watch(client, OUT)
        elif client.is_ending:
            self._linger(client)
        else:
            self._finish(client, monotonic_ns())

    def _ask_for_more(self, client: Client, call: Call, unsent: int) -> None:
        if not unsent:
            self._wait_for_application(client)
        if self.pool is not None:
            self.pool.sent(call, unsent)
            if unsent:
                self.watch(client, OUT)
        elif unsent >= self._sizes.answer or (call.file is not None and unsent):
            self.watch(client, OUT)
        else:
            self.turns.append(client)

    def _wait_for_application(self, client: Client) -> None:
        """Its client has all that was made. At a stop it may still go on only for a while."""
        if not self.is_stopping:
            self.deadlines.pause(client)
        elif not client.deadline:
            self.expect_end(client)

    def take_turn(self, client: Client) -> None:
        """The next part of an answer, or the next request that came with the one before."""
        if self.clients.get(client.descriptor) is not client:
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

    def collect(self, pool: Pool) -> None:
        """Send what the threads have made."""
        for call, data, is_last in pool.take():
            client = call.client
            if client.call is not call:
                continue
            try:
                if is_last or client.http.has_begun:
                    self._hand_out(client, call, data, is_last=is_last)
                else:
                    client.put(data)  # early hints: the application still makes the answer
            except OSError as error:
                self._cut(client, f"client-hung-up ({error.strerror or error})")

    def _finish(self, client: Client, now: int) -> None:
        """An answer is whole and sent: the next request, or the end. It was made at `now`
        (monotonic ns), or is sent since.
        """
        if client.body is not None:
            client.body.close()
            client.body = None
        http = client.http
        if not http.renew():
            if http.rest or http.state is not DONE:
                self._linger(client)
            else:
                self.close(client)
            return
        http.last = self.is_stopping
        if http.rest:
            self.turns.append(client)
        elif self.is_stopping:
            self.close(client)
        else:
            client.deadline = at = now + self._keep_alive
            if not 0 < client.queued <= at:
                self.deadlines.push(client)
            if client.mask != IN:
                self.watch(client, IN)

    # The end.

    def lose_patience(self, client: Client, now: int) -> None:
        """The time of a connection is over."""
        if client.call is not None or client.unsent:
            self._cut(client, "client-too-slow")
        elif client.is_shaking:
            self._service.not_begun(client, TimeoutError("too slow"))
            self.close(client)
        elif client.is_ending or client.http.state is IDLE:
            self.close(client)
        else:
            try:
                self._refuse(client, Refusal(408, f"too slow in {client.http.state.name}"))
            except OSError:
                self.close(client)

    def _cut(self, client: Client, reason: str) -> None:
        """The connection breaks off, and with it what is in hand on it."""
        call, client.call = client.call, None
        if call is not None:
            call.reason = reason
            if self.pool is not None:
                self.pool.abandon(call)
            else:
                call.cut()
        self.close(client)
