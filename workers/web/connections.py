"""The connections of a loop: what epoll watches them for, until when, and how many there are."""

from __future__ import annotations

import select
from time import monotonic_ns

from supervisor.child.requests import Requests
from supervisor.workers.web.client import Client
from supervisor.workers.web.deadlines import Deadlines

_SECOND = 1_000_000_000


class Connections:
    """All connections of one child, by their descriptors. `streams` is how many of their answers
    have begun and go on.
    """

    def __init__(self, requests: Requests, epoll: select.epoll) -> None:
        self.epoll = epoll
        self.clients: dict[int, Client] = {}
        self.deadlines: Deadlines[Client] = Deadlines()
        self.streams = 0
        self.is_stopping = False
        self.stop_by = 0  # monotonic ns: then what is not finished is cut
        self._requests = requests

    def note(self) -> None:
        """Let others see how many there are."""
        self._requests.hold(len(self.clients), self.streams)

    def expect(self, client: Client, seconds: float) -> None:
        """Something has to come, or to go, within so many seconds."""
        client.moved = False
        now = monotonic_ns()
        at = now + int(seconds * 1e9)
        if self.is_stopping:
            at = min(at, max(self.stop_by, now + _SECOND))
        self.deadlines.set(client, at)

    def expect_end(self, client: Client) -> None:
        """At the stop: its answer may go on until that ends it."""
        client.moved = False
        self.deadlines.set(client, max(self.stop_by, monotonic_ns() + _SECOND))

    def note_stream(self, client: Client, is_streaming: bool) -> None:
        """An answer goes on, or goes on no more."""
        client.is_streaming = is_streaming
        self.streams += 1 if is_streaming else -1
        self.note()

    def watch(self, client: Client, mask: int) -> None:
        """Let epoll tell of this."""
        if client.mask == mask:
            return
        if client.mask < 0:
            self.epoll.register(client.descriptor, mask)
        else:
            self.epoll.modify(client.descriptor, mask)
        client.mask = mask

    def close(self, client: Client) -> None:
        """Close the connection, and forget it."""
        if self.clients.pop(client.descriptor, None) is None:
            return
        if client.mask >= 0:
            self.epoll.unregister(client.descriptor)
        if client.queued:
            self.deadlines.forget(client)
        client.close()
        self.streams -= client.is_streaming
        self.note()
