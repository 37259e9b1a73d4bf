"""A channel between two masters: whole messages with descriptors, never a wait (unix(7),
SOCK_SEQPACKET, SCM_RIGHTS). Its end of file says that the other one is dead.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

_LONGEST: Final = 32_768  # bytes of a message; what is longer travels in a memfd
_ELSEWHERE: Final = b"@"  # instead of such a message
_MORE: Final = b"+"  # descriptors of the next message
_MOST: Final = 200  # descriptors that one message carries; the kernel's limit is 253


class Message(NamedTuple):
    """One message. Its descriptors belong to whoever receives it."""

    data: bytes
    descriptors: list[int]


def pair() -> tuple[Channel, socket.socket]:
    """Our end, and the socket that is to be the other one's."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    return Channel(ours), theirs


class Channel:
    """One end."""

    def __init__(self, sock: socket.socket) -> None:
        sock.setblocking(False)
        self._socket = sock
        self._early: list[int] = []  # descriptors whose message is still to come
        self.is_over = False  # nothing comes any more

    def fileno(self) -> int:
        """Readable when `receive` has something to do."""
        return self._socket.fileno()

    def send(self, data: bytes, descriptors: Sequence[int] = ()) -> None:
        """Send a message. It is lost where the other one is dead, or does not read."""
        with contextlib.suppress(OSError):
            if len(data) <= _LONGEST:
                self._send(data, descriptors)
                return
            with open(os.memfd_create("message"), "w+b") as file:
                file.write(data)
                file.flush()
                self._send(_ELSEWHERE, [*descriptors, file.fileno()])

    def receive(self) -> Iterator[Message]:
        """Yield the messages that have come; `is_over` is set behind the last one."""
        while not self.is_over:
            try:
                data, descriptors, _, _ = socket.recv_fds(self._socket, _LONGEST, _MOST)
            except BlockingIOError:
                return
            except ConnectionError:
                data, descriptors = b"", []
            if data == _MORE:
                self._early += descriptors
            elif data:
                yield self._whole(data, [*self._early, *descriptors])
                self._early = []
            else:
                self.is_over = True

    def close(self) -> None:
        """Close this end."""
        self.is_over = True
        self._socket.close()

    def _send(self, data: bytes, descriptors: Sequence[int]) -> None:
        while len(descriptors) > _MOST:
            socket.send_fds(self._socket, [_MORE], descriptors[:_MOST])
            descriptors = descriptors[_MOST:]
        socket.send_fds(self._socket, [data], descriptors)

    def _whole(self, data: bytes, descriptors: list[int]) -> Message:
        if data != _ELSEWHERE:
            return Message(data, descriptors)
        with open(descriptors.pop(), "rb") as file:
            file.seek(0)
            return Message(file.read(), descriptors)
