"""Type `udp`: many children on one datagram socket, a user's function answers."""

from __future__ import annotations

from typing import Any, ClassVar

from supervisor.child import Child
from supervisor.config import Options
from supervisor.listeners import Listener
from supervisor.registry import load_object
from supervisor.worker import Worker

_LARGEST = 65_535


class DatagramOptions(Options, frozen=True):
    """`handler`: `package.module:function`."""

    handler: str


class Udp(Worker):
    """Calls `handler(data, address)`; bytes that it returns go back to `address`, None says
    nothing.
    """

    Options: ClassVar[type[Options]] = DatagramOptions
    schemes: ClassVar[frozenset[str]] = frozenset({"udp"})
    needs_listener = True

    def preload(self) -> None:
        self._reply = load_object(self.options.handler, "handler")

    def run(self, child: Child) -> None:
        for listener in child.wait():
            self._drain(child, listener)

    def _drain(self, child: Child, listener: Listener) -> None:
        """Answer what is there, until nothing is or we are told to stop."""
        while not child.stopping:
            try:
                data, address = listener.socket.recvfrom(_LARGEST)
            except BlockingIOError:
                return
            self._answer(child, listener, data, address)

    def _answer(self, child: Child, listener: Listener, data: bytes, address: Any) -> None:
        """One datagram is one request; whatever the handler raises is an error of that request."""
        try:
            with child.request():
                answer = self._reply(data, address)
                if answer is not None:
                    listener.socket.sendto(answer, address)
        except (Exception, SystemExit) as error:
            child.log.error("request failed peer=%s", address, exc_info=error)
