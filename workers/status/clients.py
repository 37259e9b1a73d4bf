"""Many clients at once in one child without threads: heads are collected as they come, answers
leave as fast as each client takes them. Every connection has a deadline; with no client there is
nothing to wake up for.
"""

from __future__ import annotations

import contextlib
import ipaddress
import select
import socket
import time
from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Final

from supervisor.system.listeners import Listener
from supervisor.workers.status.exchange import (
    LONGEST_HEAD,
    Route,
    is_whole,
    refusal,
    reply,
    too_long,
)

_MOST_CLIENTS: Final = 256
_LAST_WORDS: Final = 1.0  # s to hang up after the answer, or to ask once we were told to stop


class Client:
    """One connection: its head as far as it came, then its answer as far as it has not gone.

    `by`: monotonic s at which we lose patience.
    """

    def __init__(self, connection: socket.socket, by: float, *, names_only_us: bool) -> None:
        connection.setblocking(False)
        self.connection = connection
        self.by = by
        self.is_answered = False
        self.left = memoryview(b"")  # to send
        self._head = bytearray()
        self._names_only_us = names_only_us
        self._refused: HTTPStatus | None = None

    def receive(self) -> bool:
        """Take in what has come; True when an answer is due. Raises ConnectionError at an end
        without a word.
        """
        data = self.connection.recv(LONGEST_HEAD)
        self._head += data
        if not self._head:
            raise ConnectionAbortedError
        self._refused = too_long(self._head)
        if not data and self._refused is None:
            self._refused = HTTPStatus.BAD_REQUEST
        return self._refused is not None or is_whole(self._head)

    def lose_patience(self) -> bool:
        """Its time is over; True when it had begun to ask, so that an answer is due."""
        self._refused = HTTPStatus.REQUEST_TIMEOUT
        return bool(self._head) and not self.is_answered

    def reply(self, route: Route) -> bytes:
        """The answer to what was received."""
        if self._refused is not None:
            return refusal(self._refused)
        return reply(bytes(self._head), route, names_only_us=self._names_only_us)

    def send(self) -> bool:
        """Send what the peer takes now; True when all is gone."""
        with contextlib.suppress(BlockingIOError):
            while self.left:
                self.left = self.left[self.connection.send(self.left) :]
        return not self.left


class Clients:
    """The open connections of this child: those that are ready are served, the late closed."""

    def __init__(
        self, epoll: select.epoll, reply: Callable[[Client], bytes], timeout: float
    ) -> None:
        self._epoll = epoll
        self._reply = reply
        self._timeout = timeout
        self._open: dict[int, Client] = {}

    def time_left(self) -> float | None:
        """Seconds to the nearest deadline, None without one."""
        nearest = min((client.by for client in self._open.values()), default=None)
        return None if nearest is None else max(0.0, nearest - time.monotonic())

    def finish(self) -> None:
        """Serve the connections that are there, none of them for long."""
        self._timeout = min(self._timeout, _LAST_WORDS)
        by = time.monotonic() + self._timeout
        for client in self._open.values():
            client.by = min(client.by, by)
        while self._open:
            self.turn(self.time_left(), ())

    def turn(self, timeout: float | None, listeners: Iterable[Listener]) -> None:
        """Wait at most so long (s), serve those that are ready, then close the late."""
        by_descriptor = {listener.fileno(): listener for listener in listeners}
        for descriptor, _ in self._epoll.poll(timeout):
            if descriptor in by_descriptor:
                self.accept(by_descriptor[descriptor])
            elif descriptor in self._open:
                self._advance(self._open[descriptor])
        now = time.monotonic()
        for client in [one for one in self._open.values() if one.by <= now]:
            if client.lose_patience():
                self._answer(client)
            else:
                self._close(client)

    def accept(self, listener: Listener) -> None:
        """Take one connection; where there are too many, the one nearest to its end must go."""
        accepted = listener.accept()
        if accepted is None:
            return
        if len(self._open) >= _MOST_CLIENTS:
            self._close(min(self._open.values(), key=lambda client: client.by))
        connection, _ = accepted
        by = time.monotonic() + self._timeout
        client = Client(connection, by, names_only_us=_is_on_loopback(listener))
        self._open[connection.fileno()] = client
        self._epoll.register(connection.fileno(), select.EPOLLIN)
        self._advance(client)

    def _advance(self, client: Client) -> None:
        """Go on with one connection as far as it goes now."""
        try:
            if client.left:
                self._send(client)
            elif client.is_answered:
                if not client.connection.recv(LONGEST_HEAD):
                    self._close(client)
            elif client.receive():
                self._answer(client)
        except BlockingIOError:
            pass
        except OSError:
            self._close(client)  # it hung up

    def _answer(self, client: Client) -> None:
        client.left = memoryview(self._reply(client))
        client.is_answered = True
        client.by = time.monotonic() + self._timeout
        self._send(client)

    def _send(self, client: Client) -> None:
        """Send, then wait for the peer to hang up: closing on what it still sends would reset what
        it has not read.
        """
        events = select.EPOLLOUT
        try:
            if client.send():
                client.connection.shutdown(socket.SHUT_WR)
                client.by = time.monotonic() + _LAST_WORDS
                events = select.EPOLLIN
        except OSError:
            self._close(client)
        else:
            self._epoll.modify(client.connection.fileno(), events)

    def _close(self, client: Client) -> None:
        del self._open[client.connection.fileno()]
        client.connection.close()


def _is_on_loopback(listener: Listener) -> bool:
    address = listener.address
    return address.scheme == "tcp" and ipaddress.ip_address(address.host).is_loopback
