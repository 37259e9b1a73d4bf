"""The vocabulary between masters, and between a master and `supervisor reload`: all that is said is
one of these records, as JSON.
"""

from __future__ import annotations

from msgspec import Struct, json

from supervisor.config.address import Address
from supervisor.scoreboard.records import Drain, History


class Message(Struct, frozen=True, tag=True):
    """Anything that is said."""


# The command to the master, and its answers.


class Ask(Message, frozen=True):
    """Start a successor. `settings`: KEY=VALUE; `probation`, `timeout` in s."""

    settings: tuple[str, ...] = ()
    probation: float = 0.0
    timeout: float | None = None


class Told(Message, frozen=True):
    """How far the successor has come."""

    pid: int
    text: str


class Done(Message, frozen=True):
    """The end: the successor serves (status 0), or what went wrong and the exit status that says
    so.
    """

    status: int
    line: str
    pid: int = 0


# The predecessor to its successor.


class Bequeathed(Struct, frozen=True):
    """A listener: the address of its `listen` entry, the actual one, and what else the predecessor
    knows of it. Its descriptor comes with the message.
    """

    entry: Address
    actual: Address
    section: str
    inherited: bool


class Bequest(Message, frozen=True):
    """All that a successor begins with. Its descriptors: the control socket, then the listeners.

    `first`: the pid of the process that stays as the parent of all masters, 0 where there is none;
    `configured`: the runtime directory that the configuration of the predecessor names.
    """

    name: str
    predecessor: int
    generation: int
    first: int
    started_at: tuple[int, int]  # ns since 1970, monotonic ns
    runtime: str
    configured: str
    is_made: bool  # the runtime directory did not exist before the first master
    has_exclusive: bool  # children that must be gone before ours of that kind are forked
    settings: tuple[str, ...]
    timeout: float | None
    listeners: tuple[Bequeathed, ...]


class Take(Message, frozen=True):
    """Take hold of the server. Its descriptors: the channels to those masters that drain already,
    in the order of `draining`.
    """

    generation: int  # the last number that was used
    history: History
    draining: tuple[int, ...]  # pids, oldest first


class Yours(Message, frozen=True):
    """The first half of the lock is free: be the server."""


class Hurry(Message, frozen=True):
    """End within so many seconds."""

    seconds: float


class Launched(Message, frozen=True):
    """To a master that drains and is the parent of all: this child of its is a master."""

    pid: int


# The successor to its predecessor.


class Progress(Message, frozen=True):
    """It has come so far, in words."""

    text: str


class Failed(Message, frozen=True):
    """It ends, with this status and line."""

    status: int
    line: str


class Ready(Message, frozen=True):
    """All that counts of it is ready. `shared`: which of the bequeathed listeners it serves."""

    shared: tuple[int, ...]
    pid_file: str


class Held(Message, frozen=True):
    """It has the second half of the lock."""


class Taken(Message, frozen=True):
    """It is the server."""


# A master that drains to the one that serves.


class Drains(Message, frozen=True):
    """Its generations that are left. `has_exclusive`: as in Bequest."""

    drains: tuple[Drain, ...]
    has_exclusive: bool


Anything = (
    Ask
    | Told
    | Done
    | Bequest
    | Take
    | Yours
    | Hurry
    | Launched
    | Progress
    | Failed
    | Ready
    | Held
    | Taken
    | Drains
)


def encode(message: Message) -> bytes:
    """The message as bytes."""
    return json.encode(message)


def decode(data: bytes) -> Anything:
    """The message. Raises msgspec.DecodeError for anything else."""
    message: Anything = json.decode(data, type=Anything)
    return message
