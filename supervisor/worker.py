"""The contract of a worker: what a child runs."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from supervisor.config import Options

if TYPE_CHECKING:
    from supervisor.child import Child
    from supervisor.module import Server


class Worker:
    """Base of all workers. Every hook is optional but `run`.

    Made once, in the master; each child has its own copy by fork, in every generation.
    """

    Options: ClassVar[type[Options]] = Options
    schemes: ClassVar[frozenset[str]] = frozenset({"tcp", "udp", "unix"})  # it can listen on
    needs_listener: ClassVar[bool] = False
    may_finish: ClassVar[bool] = False  # returning from `run` is no death

    server: Server  # set before `preload`

    def __init__(self, options: Any) -> None:
        self.options = options

    def preload(self) -> None:
        """Master, before the fork: import what the children share, declare counters and locks.

        Open nothing: a connection must not be shared by fork.
        """

    def init(self, child: Child) -> None:
        """Child, before it is ready: connect, load. An exception is a start failure."""

    def run(self, child: Child) -> None:
        """Child: serve until `child.stopping`. Returning early is a death."""
        raise TypeError(f"{type(self).__name__} has no run()")

    def close(self) -> None:
        """Child, after `run`."""
