"""Facts that the table of the children is told, and the verdicts that it answers."""

from __future__ import annotations

import enum
import signal
from typing import NamedTuple

from supervisor.master.cause import Cause


class Death(enum.Enum):
    """The meaning of the end of a child."""

    CAUSE = "died"
    CONSEQUENCE = "exited"
    FINISHED = "finished"


class Ended(NamedTuple):
    """How a child ended. `exit_code` is None where a signal did it, `finished`: it says that its
    job is done, `message`: why it died, as the line on standard error says it.
    """

    exit_code: int | None
    finished: bool = False
    message: str = ""


# Verdicts.


class Begin(NamedTuple):
    """Make generation `number` and fork it; then tell `forked`, or `failed`."""

    number: int


class Fork(NamedTuple):
    """Fork these slots of a generation, whose predecessors are gone; then tell `forked`."""

    number: int
    slots: frozenset[int]


class Announce(NamedTuple):
    """All of a generation is ready that counts: it is the one that serves. `is_whole`: no exclusive
    child is still held back.
    """

    number: int
    is_whole: bool = True


class Tell(NamedTuple):
    """Tell these children to stop. `beside`: another generation serves, or will."""

    number: int
    pids: tuple[int, ...]
    reason: str


class Dump(NamedTuple):
    """Let these late children write down where they hang, and die."""

    number: int
    slots: frozenset[int]


class Kill(NamedTuple):
    """SIGKILL these children."""

    pids: tuple[int, ...]
    reason: str


class Bury(NamedTuple):
    """A child is dead: say so."""

    number: int
    slot: int
    pid: int
    death: Death


class Discard(NamedTuple):
    """The last child of a generation is gone: destroy its modules and release what it had."""

    number: int


class Restart(NamedTuple):
    """Say that a generation follows, after so many seconds, and why."""

    number: int
    wait: float
    cause: Cause


class Renew(NamedTuple):
    """Say that a generation is to be replaced, and why."""

    number: int
    reason: str


class RenewalFailed(NamedTuple):
    """Say that generation `number` did not become ready; the one before goes on, and it is tried
    again after `wait` s.
    """

    number: int
    wait: float
    cause: Cause


class Linger(NamedTuple):
    """A termination signal has come, and drain_delay runs."""

    signum: signal.Signals


class End(NamedTuple):
    """The server ends: close the door, tell all that are left."""

    cause: Cause


Verdict = (
    Begin
    | Fork
    | Announce
    | Tell
    | Dump
    | Kill
    | Bury
    | Discard
    | Restart
    | Renew
    | RenewalFailed
    | Linger
    | End
)
