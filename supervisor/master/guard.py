"""The guard: a process that sleeps until the master is dead, then sees that its children end.

A child hears of the master's death by SIGTERM (PR_SET_PDEATHSIG) and ends as at any stop. But
Python runs a handler when its interpreter comes to it, and inside a C call it does not: a child
that waits there for ever would keep the port for ever. So somebody must be left who runs no foreign
code.

Rejected: a timer in each child. It has to run before the master dies, so either it wakes an idle
child or each request pays two system calls. A thread in each child: with it os.fork() in user code
is not safe. As pid 1 no guard is needed: with us the kernel kills all processes of the namespace.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from functools import partial
from typing import Final, NoReturn

from supervisor.errors import NoPermission, SystemFailure
from supervisor.log.entries import log
from supervisor.master.daemon import Launcher
from supervisor.system import descriptors, observe, process, signals
from supervisor.system.pidfd import PidFd
from supervisor.system.process import Death

_MASTER_DIED: Final = signal.SIGRTMIN + 2  # nobody else sends it
_YOUNG: Final = 1.0  # s; one that dies as young as that would die again


class Guard:
    """`spared` are the processes of the master's group that are not the server's; `timeout` in
    s.
    """

    def __init__(
        self, server: str, timeout: float, spared: set[int], launcher: Launcher | None
    ) -> None:
        self._title = f"supervisor: {server} guard"
        self._timeout = timeout
        self._spared = spared
        self._launcher = launcher
        self._pids: dict[int, None] = {}  # one at most
        self._begun = 0.0

    @property
    def pids(self) -> frozenset[int]:
        """Its pid, where it runs."""
        return frozenset(self._pids)

    # In the master.

    def ensure(self) -> None:
        """Fork it where there is none. After a generation's fork: what the master writes after a
        fork stays behind as a private copy. Raises SystemFailure.
        """
        if self._pids or os.getpid() == 1:
            return
        self._begun = time.monotonic()
        process.fork_all([(None, partial(self._live, os.getpid()))], self._pids)

    def end(self) -> None:
        """End it, when no child is left."""
        for pid in self._pids:
            process.kill(pid)
            process.reap_one(pid)
        self._pids.clear()

    def note_death(self, death: Death) -> None:
        """Fork another where it was the guard that died."""
        if death.pid not in self._pids:
            return
        self._pids.clear()
        if time.monotonic() - self._begun > _YOUNG:
            with contextlib.suppress(SystemFailure):
                self.ensure()
        log.warning("guard died", pid=death.pid, cause=death.cause, is_replaced=bool(self._pids))

    # In its own process, where all signals stay blocked.

    def _live(self, master: int) -> NoReturn:
        process.become_child("guard", self._title)
        if self._launcher is not None:
            self._launcher.leave_streams()
        descriptors.close_own()
        process.send_at_masters_death(_MASTER_DIED, master)
        while os.getppid() == master:
            signals.await_blocked(_MASTER_DIED)
        self._see_orphans_end(time.monotonic() + self._timeout)
        process.leave(0)

    def _see_orphans_end(self, deadline: float) -> None:
        while orphans := self._orphans():
            for pid in orphans:
                self._see_end(pid, deadline)

    def _orphans(self) -> set[int]:
        return observe.group_members(os.getpgrp()) - self._spared - {os.getpid()}

    def _see_end(self, pid: int, deadline: float) -> None:
        with PidFd(pid) as orphan:
            if orphan.wait(max(0.0, deadline - time.monotonic())):
                return
            log.warning("orphan killed", pid=pid, name=process.name_of(pid))
            below = observe.descendants(pid)
            try:
                orphan.send(signal.SIGKILL)
            except NoPermission:
                self._spared.add(pid)
            else:
                orphan.wait(None)
        for one in below:
            process.kill(one)
