"""The master that is to follow this one, as its predecessor has it."""

from __future__ import annotations

from collections.abc import Iterable

from supervisor.master.succession import messages
from supervisor.system.channel import Channel


class Successor:
    """The master that is to follow: the grip that this one has on it."""

    def __init__(self, pid: int, generation: int, channel: Channel) -> None:
        self.pid = pid
        self.generation = generation
        self.channel = channel

    def send(self, message: messages.Message, descriptors: Iterable[int] = ()) -> None:
        """Tell it."""
        self.channel.send(messages.encode(message), list(descriptors))
