"""The masters before this one: each drains, until its channel is at its end."""

from __future__ import annotations

from collections.abc import Iterable

from supervisor.master.succession import messages
from supervisor.master.succession.messages import Drains, Hurry, Message
from supervisor.scoreboard.records import Drain
from supervisor.system.channel import Channel

_MOST = 2  # that may drain beside the one that serves


class Elder:
    """One of them, as far as it has told."""

    def __init__(self, pid: int, channel: Channel, has_exclusive: bool) -> None:
        self.pid = pid
        self.channel = channel
        self.drains: tuple[Drain, ...] = ()
        self.has_exclusive = has_exclusive

    def listen(self) -> bool:
        """Take in what it says; False where that is nothing."""
        has_spoken = False
        for message in self.channel.receive():
            found = messages.decode(message.data)
            if isinstance(found, Drains):
                self.drains, self.has_exclusive = found.drains, found.has_exclusive
                has_spoken = True
        return has_spoken or self.channel.is_over


class Elders:
    """All of them, oldest first."""

    def __init__(self) -> None:
        self._elders: list[Elder] = []

    def __bool__(self) -> bool:
        return bool(self._elders)

    def add(self, elder: Elder) -> None:
        """One more. Of too many the oldest has no more time."""
        self._elders.append(elder)
        for one in self._elders[:-_MOST]:
            one.channel.send(messages.encode(Hurry(0.0)))

    def descriptors(self) -> list[int]:
        """Readable when `listen` has something to do."""
        return [one.channel.fileno() for one in self._elders]

    def pids(self) -> tuple[int, ...]:
        """The masters."""
        return tuple(one.pid for one in self._elders)

    def drains(self) -> list[Drain]:
        """All generations of theirs."""
        return [drain for one in self._elders for drain in one.drains]

    @property
    def have_exclusive(self) -> bool:
        """True while an exclusive child of one of them lives."""
        return any(one.has_exclusive for one in self._elders)

    def tell(self, message: Message) -> None:
        """Let all hear."""
        for one in self._elders:
            one.channel.send(messages.encode(message))

    def listen(self) -> bool:
        """Take in what they say, and forget those that are gone; False where nothing has
        changed.
        """
        changed = [one for one in self._elders if one.listen()]
        self._drop([one for one in changed if one.channel.is_over])
        return bool(changed)

    def forget(self) -> None:
        """They are another's affair."""
        self._drop(list(self._elders))

    def _drop(self, gone: Iterable[Elder]) -> None:
        for one in gone:
            self._elders.remove(one)
            one.channel.close()
