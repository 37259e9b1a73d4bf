"""The contract of a worker: what a child runs."""

from __future__ import annotations

import signal
from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar, Protocol

from supervisor.config.schema import Options, Section

if TYPE_CHECKING:
    from supervisor.child.child import Child
    from supervisor.child.place import Place
    from supervisor.child.shared import Declarations


class Watch(Protocol):
    """Tells the master when a child is ready that is another program and cannot tell itself.

    Nothing here blocks: the master calls it between two waits.
    """

    def seal(self) -> None:
        """Master, after the forks: close what is the child's own."""

    def fileno(self) -> int:
        """Readable when there is news; -1 when no more will come."""

    def becomes_ready(self, pid: int) -> bool:
        """Take the news of the child `pid`. True once, at the moment of readiness."""

    def close(self) -> None:
        """Close all. The child is gone, or this is another child, which has no use for it."""


class Worker:
    """Base of all workers. Every hook is optional but `run`.

    Made once, in the master; each child has its own copy by fork, in every generation.
    """

    Options: ClassVar[type[Options]] = Options
    needs: ClassVar[Mapping[str, str]] = MappingProxyType({})  # package: the extra that brings it
    schemes: ClassVar[frozenset[str]] = frozenset({"tcp", "udp", "unix"})  # it can listen on
    needs_listener: ClassVar[bool] = False
    may_finish: bool = False  # returning from `run` is no death
    needs_fork: ClassVar[bool] = False  # it cannot run in the master (--dont-fork)
    exclusive: ClassVar[bool] = False  # it cannot stand another of itself, of another generation
    # What the master sends to stop a child. Other than TERM, which it sends to all at once, the
    # child leads a process group of its own.
    stop_signal: signal.Signals = signal.SIGTERM

    server: Declarations  # set before `preload`, as is the section
    section: Section
    environment: Mapping[str, str] = MappingProxyType({})  # the section's own variables

    def __init__(self, options: Any) -> None:
        self.options = options

    def preload(self) -> None:
        """Master, before the fork: import what the children share, declare counters and locks.

        Open nothing: a connection must not be shared by fork.
        """

    def watch(self, place: Place) -> Watch | None:
        """Master, before the forks: a Watch where the child becomes another program."""
        return None

    def init(self, child: Child) -> None:
        """Child, before it is ready: connect, load. An exception is a start failure."""

    def run(self, child: Child) -> None:
        """Child: serve until `child.stopping`. Returning early is a death."""
        raise TypeError(f"{type(self).__name__} has no run()")

    def close(self) -> None:
        """Child, after `run`."""
