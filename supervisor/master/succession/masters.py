"""The other masters beside this one, for the loop: those that drain, the one before, the one that
follows, and the first one, where that stays as the parent of all.
"""

from __future__ import annotations

import os
import signal
import time
from collections.abc import Callable, Iterable
from typing import Final

from supervisor.log.entries import log
from supervisor.master.acts import Acts
from supervisor.master.booted import Booted
from supervisor.master.cause import Cause
from supervisor.master.children import Children
from supervisor.master.standing import GRACE, Standing
from supervisor.master.succession.elders import Elders
from supervisor.master.succession.messages import Hurry
from supervisor.master.succession.reload import Reload
from supervisor.master.succession.state import Phase
from supervisor.master.succession.trial import Trial
from supervisor.master.verdicts import Verdict
from supervisor.system import signals
from supervisor.system.descriptors import is_readable
from supervisor.system.parenthood import Parenthood
from supervisor.system.pidfd import PidFd
from supervisor.system.process import Death

_PASSED_ON: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGPWR, signal.SIGUSR1)


class Masters:
    """Turns what they say, and their ends, into facts for the table of the children."""

    def __init__(
        self,
        booted: Booted,
        children: Children,
        acts: Acts,
        add: Callable[[Iterable[Verdict]], None],
    ) -> None:
        self._booted = booted
        self._children = children
        self._acts = acts
        self._add = add
        self._elders = Elders()
        self._until = float("inf")  # the elders are waited for, once the server ends
        self._deferred: signal.Signals | None = None
        self._ended: dict[int, Death] = {}  # masters among our children
        predecessor = booted.start.predecessor
        self._trial: Trial | None = None
        if predecessor is not None:
            self._trial = Trial(booted, predecessor, children, acts, self._elders, add)
        self._reload = Reload(booted, children, acts, self._elders, add)
        is_first = booted.first in (0, os.getpid())
        self._first = -1 if is_first else os.pidfd_open(booted.first)
        booted.private.append(self._private)

    # For the loop.

    @property
    def are_gone(self) -> bool:
        """True when this one need not wait for another before it ends."""
        has_time = bool(self._elders) and time.monotonic() < self._until
        return not (has_time or self._reload.table.is_under_way)

    @property
    def due(self) -> float:
        """When `look` has something to do, if nothing happens before (monotonic s)."""
        return min(self._reload.table.due, self._until)

    def descriptors(self) -> list[int]:
        """Readable when `look` has something to do."""
        found = [*self._reload.descriptors(), *self._elders.descriptors()]
        if self._trial is not None:
            found += self._trial.descriptors()
        return found if self._first < 0 else [*found, self._first]

    def look(self, now: float) -> None:
        """Hear what they say."""
        if self._trial is not None:
            self._trial.look(now)
        self._reload.look(now)
        self._listen_to_elders(now)
        if self._first >= 0 and is_readable(self._first):
            self._follow_first(now)
        if self._deferred is not None and self._reload.table.phase is not Phase.HELD:
            number, self._deferred = self._deferred, None
            if not self.pass_on(number):
                self._add(self._children.signalled(number, now))

    def end(self, cause: Cause, now: float) -> None:
        """The server ends, and all that belongs to it."""
        by_signal = cause.signum is not None
        self._reload.end("" if by_signal else f"the server ended meanwhile: {cause.message}")
        master = self._booted.config.master
        if self._elders:
            self._elders.tell(Hurry(master.stop_timeout if by_signal else master.crash_timeout))
            self._until = now + master.stop_timeout + master.destroy_timeout + 2 * GRACE

    def pass_on(self, number: signal.Signals) -> bool:
        """True for a signal that is the affair of the one that serves, which is not this one."""
        if self._reload.table.phase is Phase.HELD and number in signals.TERMINATIONS:
            self._deferred = number
            return True
        if not self._reload.table.is_over or number is signal.SIGCHLD:
            return False
        serving = self._serving()
        if number in _PASSED_ON and serving:
            with PidFd(serving) as other:
                other.send(number)
        return True

    def note_death(self, death: Death) -> None:
        """One that is no child of a generation has ended."""
        if death.pid in self._acts.masters:
            self._ended[death.pid] = death
            self._acts.masters.discard(death.pid)

    def tell_progress(self, life: Standing) -> None:
        """Another child is ready."""
        if self._trial is not None and self._children.on_trial:
            ready = len(life.members) - len(life.waiting)
            self._trial.tell_progress(ready, len(life.slots - life.held))

    # The end.

    def parenthood(self) -> Parenthood | None:
        """For a process that has handed over and stays; else None."""
        if not self._reload.table.is_over or self._booted.first != os.getpid():
            return None
        master = self._booted.config.master
        return Parenthood(
            lock=str(self._booted.runtime.lock),
            serving=self._serving(),
            patience=master.stop_timeout + master.destroy_timeout + 2 * GRACE,
            terminal=self._booted.group.owed,
            strangers=self._booted.strangers,
            ended=tuple(self._ended.values()),
        )

    def _serving(self) -> int:
        successor = self._reload.successor
        assert successor is not None
        return self._booted.runtime.claim.holder() or successor.pid

    def _listen_to_elders(self, now: float) -> None:
        if not self._elders.listen():
            return
        self._acts.elders = self._elders.drains()
        self._acts.show_drains()
        if self._children.cause is None:
            self._acts.tell_service_manager()
        if self._children.elders_occupy and not self._elders.have_exclusive:
            self._add(self._children.relieved())

    def _follow_first(self, now: float) -> None:
        log.warning("first master gone", pid=self._booted.first)
        os.close(self._first)
        self._first = -1
        self._add(self._children.signalled(signal.SIGTERM, now))

    def _private(self) -> list[int]:
        trial = [] if self._trial is None else self._trial.private()
        first = [] if self._first < 0 else [self._first]
        return [*self._reload.private(), *self._elders.descriptors(), *trial, *first]
