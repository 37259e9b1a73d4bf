"""How a child takes what comes in on the listeners that it shares with others."""

from __future__ import annotations

import select
import socket
from collections.abc import Callable, Iterator, Sequence
from typing import Final

from supervisor.child.order import Order
from supervisor.scoreboard.writer import Scoreboard
from supervisor.system import descriptors
from supervisor.system.listeners import Listener, Peer
from supervisor.system.recorder import SignalRecorder

# Connections taken in a row from one listener before the others are looked at.
_IN_A_ROW: Final = 64
# Descriptors that connections leave to everything else in the process.
_RESERVE: Final = 32
# No event tells that a descriptor was closed. A child that has too many open looks so often.
_LOOK_AGAIN: Final = 0.1  # s


class Arrivals:
    """All that comes in until the child is told to stop; after that, all that waits in the queues
    of the listeners that `ending` returns.
    """

    def __init__(
        self,
        listeners: Sequence[Listener],
        order: Order,
        recorder: SignalRecorder,
        ending: Callable[[], Sequence[Listener]],
    ) -> None:
        self._listeners = listeners
        self._order = order
        self._recorder = recorder
        self._ending = ending

    def ready(self) -> Iterator[Listener]:
        """Yield each listener that has something to accept or receive.

        Many children wait on one socket, one is woken (EPOLLEXCLUSIVE, epoll_ctl(2)); no signal is
        lost between test and wait. Where the order comes together with a connection, that one is
        ours: the children that serve on were not woken for it, and it would wait in the queue until
        the next one comes.
        """
        by_descriptor = {listener.fileno(): listener for listener in self._listeners}
        with select.epoll() as epoll:
            epoll.register(self._recorder.fileno(), select.EPOLLIN)
            for descriptor in by_descriptor:
                epoll.register(descriptor, select.EPOLLIN | select.EPOLLEXCLUSIVE)
            while self._order.signum is None:
                for descriptor, _ in epoll.poll():
                    if descriptor not in by_descriptor:
                        self._recorder.clear()
                    else:  # also with the order: nobody else was woken for what waits there
                        yield by_descriptor[descriptor]
        for listener in self._ending():
            while listener.has_waiting():
                yield listener

    def connections(self) -> Iterator[tuple[socket.socket, Peer]]:
        """Yield each connection, with the peer's address, one after the other.

        A child that has few descriptors left takes none: they wait in the queue, for another child,
        or until this one has closed some.
        """
        at_most = descriptors.limit() - _RESERVE
        for listener in self.ready():
            for connection, peer in self._in_a_row(listener):
                yield connection, peer
                # The kernel gives the lowest number that is free, so all below it are in use.
                while self._order.signum is None and descriptors.lowest_free() >= at_most:
                    self._order.wait(_LOOK_AGAIN)

    def _in_a_row(self, listener: Listener) -> Iterator[tuple[socket.socket, Peer]]:
        for _ in range(_IN_A_ROW):
            accepted = listener.accept()
            if accepted is None:
                return
            yield accepted
            if self._order.signum is not None:
                return


def ending(listeners: Sequence[Listener], board: Scoreboard, *, is_orphan: bool) -> list[Listener]:
    """Of a child's listeners, once it was told to stop, those whose queues nobody serves after it.

    Where the master is dead this child closes the door, as the master would have done; its other
    children may do the same.
    """
    if board.is_shared:
        return []
    found = [one for one in listeners if one.is_stream and not one.inherited]
    if is_orphan:
        for listener in found:
            listener.close_door()
    elif not board.door_is_closed:
        return []
    for listener in found:
        listener.door_closed = True
    return found
