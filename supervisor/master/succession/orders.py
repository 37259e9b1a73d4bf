"""Who connects to the master's control socket, and what is asked for."""

from __future__ import annotations

import os
import socket

import msgspec

from supervisor.errors import Exit
from supervisor.master.succession import messages
from supervisor.master.succession.messages import Ask, Done, Message
from supervisor.system.channel import Channel
from supervisor.system.control import uid_of_peer

_MOST: int = 8  # that have not asked yet


class Client:
    """One that has asked, and hears of it. It may be gone: that changes nothing."""

    def __init__(self, channel: Channel, ask: Ask) -> None:
        self._channel = channel
        self.ask = ask

    def fileno(self) -> int:
        """The descriptor, for a child to close."""
        return self._channel.fileno()

    def say(self, message: Message) -> None:
        """Let it hear."""
        self._channel.send(messages.encode(message))

    def end(self, done: Done) -> None:
        """The last word."""
        self.say(done)
        self._channel.close()


class Orders:
    """Those that are connected and have not asked yet."""

    def __init__(self) -> None:
        self._silent: list[Channel] = []

    def descriptors(self) -> list[int]:
        """Readable when `take` has something to do."""
        return [one.fileno() for one in self._silent]

    def take(self, control: socket.socket) -> list[Client]:
        """Those that ask now, on the listening socket `control`."""
        self._accept(control)
        found: list[Client] = []
        for channel in list(self._silent):
            for message in channel.receive():
                ask = _understood(message.data)
                for descriptor in message.descriptors:
                    os.close(descriptor)
                if ask is not None:
                    found.append(Client(channel, ask))
                    self._silent.remove(channel)
                    break
            if channel.is_over:
                self._drop(channel)
        return found

    def close(self) -> None:
        """Listen to nobody any more."""
        for channel in list(self._silent):
            self._drop(channel)

    def _accept(self, control: socket.socket) -> None:
        while True:
            try:
                connection, _ = control.accept()
            except OSError:
                return
            uid, channel = uid_of_peer(connection), Channel(connection)
            if uid not in (0, os.geteuid()):
                refusal = f"belongs to uid {os.geteuid()}, not to uid {uid}"
                channel.send(messages.encode(Done(Exit.NO_PERMISSION, f"the server {refusal}")))
                channel.close()
                continue
            self._silent.append(channel)
            if len(self._silent) > _MOST:
                self._drop(self._silent[0])

    def _drop(self, channel: Channel) -> None:
        if channel in self._silent:
            self._silent.remove(channel)
            channel.close()


def _understood(data: bytes) -> Ask | None:
    try:
        found = messages.decode(data)
    except msgspec.DecodeError:
        return None
    return found if isinstance(found, Ask) else None
