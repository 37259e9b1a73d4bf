"""The master that started this one, as its successor has it: a channel, and all that came through
it.
"""

from __future__ import annotations

import contextlib
import os
import socket
from collections.abc import Iterator, Mapping, MutableMapping, Sequence
from typing import Final, NamedTuple

import msgspec

from supervisor.config.address import Listen
from supervisor.config.schema import Config
from supervisor.errors import ConfigError, SupervisorError, SystemFailure
from supervisor.master.succession import messages
from supervisor.master.succession.messages import Bequeathed, Bequest, Failed, Message
from supervisor.system.adoption import Claims
from supervisor.system.channel import Channel
from supervisor.system.descriptors import wait_for_any
from supervisor.system.launch import Origin
from supervisor.system.listeners import Listener

VARIABLE: Final = "SUPERVISOR_SUCCESSOR"  # the number of our end of the channel
_STOP_AND_START: Final = "a reload cannot change it; stop the server and start it"


class Predecessor:
    """Made before anything is read, since a failure from then on is its affair."""

    def __init__(self, channel: Channel) -> None:
        self.channel = channel
        self.shared: tuple[int, ...] = ()  # places of the listeners that we serve too
        self.is_waiting = True  # until we are the server, or it is dead
        self.bequest, descriptors = self._receive()
        control, *listeners = descriptors
        self.control = _socket(control)
        self._sockets = [_socket(one) for one in listeners]

    def tell(self, message: Message) -> None:
        """Say how far we are."""
        self.channel.send(messages.encode(message))

    def fail(self, status: int, line: str) -> None:
        """Say why we end."""
        if self.is_waiting:
            self.tell(Failed(status, line))

    def adapt(self, config: Config) -> Config:
        """The configuration with the start_timeout that the reload was given."""
        if self.bequest.timeout is None:
            return config
        master = msgspec.structs.replace(config.master, start_timeout=self.bequest.timeout)
        return msgspec.structs.replace(config, master=master)

    def refuse_another(self, config: Config) -> None:
        """Raise ConfigError for a configuration that is another server's."""
        bequest = self.bequest
        runtime = config.master.runtime_directory
        problems = []
        if config.name != bequest.name:
            problems.append(f"{config.file}: name: {config.name!r}: {_STOP_AND_START}")
        if configured(runtime) != bequest.configured:
            problems.append(
                f"{config.file}: master.runtime_directory: {runtime!r}: {_STOP_AND_START}"
            )
        if problems:
            raise ConfigError(problems)

    def claims(self, wanted: Mapping[str, Sequence[Listen]]) -> Claims:
        """The listeners that we serve too, by the entry with the same address; the others are
        closed here. Raises ConfigError for one that was handed to the first master and that no
        entry claims.
        """
        found = _matched(self.bequest.listeners, wanted)
        self.shared = tuple(found.values())
        claims = {entry: self._listener(place) for entry, place in found.items()}
        problems = []
        for place, one in enumerate(self.bequest.listeners):
            if place not in self.shared:
                self._sockets[place].close()
                if one.inherited:
                    problems.append(f"inherited socket {one.actual}: no listen entry claims it")
        if problems:
            raise ConfigError(problems)
        return claims

    def _listener(self, place: int) -> Listener:
        one = self.bequest.listeners[place]
        listener = Listener(self._sockets[place], one.actual, inherited=one.inherited)
        listener.shared = True
        return listener

    def _receive(self) -> tuple[Bequest, list[int]]:
        while not self.channel.is_over:
            wait_for_any(None, self.channel.fileno())
            for message in self.channel.receive():
                found = messages.decode(message.data)
                if isinstance(found, Bequest):
                    return found, message.descriptors
        raise SystemFailure("the master that started this one is dead")


class Start(NamedTuple):
    """How this process came to be: by whom, and how it would be started once more."""

    origin: Origin
    predecessor: Predecessor | None

    @classmethod
    def now(cls, environ: MutableMapping[str, str] = os.environ) -> Start:
        """Of this process, before it changes anything."""
        number = environ.pop(VARIABLE, "")
        origin = Origin.now()
        if not number.isdecimal():
            return cls(origin, None)
        return cls(origin, Predecessor(Channel(_socket(int(number)))))

    def settings(self, given: tuple[str, ...]) -> tuple[str, ...]:
        """The overrides of the command line, with those of reloads."""
        return given if self.predecessor is None else (*given, *self.predecessor.bequest.settings)

    @contextlib.contextmanager
    def told(self) -> Iterator[None]:
        """A predecessor hears of an error that ends this process."""
        try:
            yield
        except SupervisorError as error:
            if self.predecessor is not None:
                self.predecessor.fail(error.exit_code, str(error))
            raise


def configured(runtime: str) -> str:
    """The runtime directory that a configuration names, "" for none."""
    return os.path.abspath(runtime) if runtime else ""


def _matched(
    bequeathed: Sequence[Bequeathed], wanted: Mapping[str, Sequence[Listen]]
) -> dict[tuple[str, int], int]:
    """The place of a bequeathed listener for each entry that has one: of the same section first."""
    found: dict[tuple[str, int], int] = {}
    for is_same in (True, False):
        for section, entries in wanted.items():
            for index, listen in enumerate(entries):
                free = (
                    place
                    for place, one in enumerate(bequeathed)
                    if one.entry == listen.address
                    and (one.section == section) >= is_same
                    and place not in found.values()
                )
                place = next(free, None) if (section, index) not in found else None
                if place is not None:
                    found[section, index] = place
    return found


def _socket(descriptor: int) -> socket.socket:
    os.set_inheritable(descriptor, False)
    return socket.socket(fileno=descriptor)
