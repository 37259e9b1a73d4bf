"""The acts of the master: they perform the verdicts of the table of the children."""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Callable, Iterable
from functools import singledispatchmethod
from typing import Literal

from supervisor.log.entries import log
from supervisor.master import shutdown, verdicts
from supervisor.master.boot import MARGIN
from supervisor.master.booted import Booted
from supervisor.master.cause import caught
from supervisor.master.children import Children
from supervisor.master.generation import Generation
from supervisor.master.standing import GRACE
from supervisor.master.verdicts import Verdict
from supervisor.scoreboard.layout import ServerState
from supervisor.scoreboard.records import Drain, History, Incident
from supervisor.system import process
from supervisor.system.clock import wall_clock


class Acts:
    """One method for each kind of verdict. `generations` are those that live, oldest first; what
    the table answers to a fact that an act brings about goes to `add`.
    """

    def __init__(
        self,
        booted: Booted,
        children: Children,
        add: Callable[[Iterable[Verdict]], None],
    ) -> None:
        self.generations: dict[int, Generation] = {}
        self._booted = booted
        self._children = children
        self._add = add
        self.history = History()
        self.on_announce: Callable[[Generation], None] | None = None  # of a successor on trial
        self.on_drains: Callable[[list[Drain]], None] | None = None  # of a predecessor that drains
        self.elders: list[Drain] = []  # of masters before this one
        self.masters: set[int] = set()  # among our children

    def newest(self) -> Generation:
        """The generation that was begun last."""
        return self.generations[max(self.generations)]

    def published(self) -> list[Generation]:
        """Those that readers were shown, oldest first: they see the last one."""
        return [one for one in self.generations.values() if one.is_published]

    def own_listeners(self) -> None:
        """No other master serves on them any more: they end with this one."""
        for listener in itertools.chain(*self._booted.listeners.values()):
            listener.shared = False
        for generation in self.generations.values():
            generation.board.set_shared(False)

    @singledispatchmethod
    def perform(self, verdict: Verdict) -> None:
        """Do what a verdict says."""
        raise AssertionError(f"no act for {verdict}")

    @perform.register
    def _(self, verdict: verdicts.Begin) -> None:
        number, now = verdict.number, time.monotonic()
        if number > 1:
            within = self._booted.config.master.start_timeout + MARGIN
            self._booted.notifier.status("starting again", within)
        try:
            generation = Generation(self._booted, number, self.history)
            self.generations[number] = generation
            generation.init(self._children.lives[number].start_by)
            if self._children.on_trial:
                generation.board.set_shared(True)
            elif self._children.lives.serving is None:
                generation.publish()
        except BaseException as error:
            cause = caught(error)
            if number > 1 and cause.message:
                log.error("generation not made", generation=number, reason=cause.message)
            self._add(self._children.failed(number, cause, now))
        else:
            exclusive = {slot.number for slot in generation.slots if slot.is_exclusive}
            slots = range(len(generation.slots))
            self._add(self._children.made(number, slots, exclusive, time.monotonic()))

    @perform.register
    def _(self, verdict: verdicts.Fork) -> None:
        generation = self.generations[verdict.number]
        others = [one for one in self.generations.values() if one is not generation]
        table: dict[int, int] = {}
        failure = None
        try:
            generation.fork(verdict.slots, table, others)
            self._booted.guard.ensure()
        except Exception as error:
            failure = caught(error)
        now = time.monotonic()
        self._children.forked(verdict.number, table, now, generation.fork_begun)
        if failure is not None:
            self._add(self._children.failed(verdict.number, failure, now))

    @perform.register
    def _(self, verdict: verdicts.Announce) -> None:
        generation = self.generations[verdict.number]
        generation.set_state(ServerState.RUNNING)
        if verdict.is_whole:
            generation.hear_no_more()
        if self.on_announce is None:
            self.serve(generation)
            self.tell_service_manager()
        else:
            self.on_announce(generation)

    def serve(self, generation: Generation) -> None:
        """It is the one that serves: readers hear of it."""
        generation.publish()
        self.show_drains()
        count = generation.forked
        log.info(
            "server ready",  # waited for by tests and scripts
            name=self._booted.config.name,
            pid=os.getpid(),
            children=count,
            generation=generation.number,
            after=time.monotonic() - generation.begun,
        )
        if self._booted.launcher is not None:
            self._booted.launcher.release()
        if generation.number == 1:
            self._booted.greet(self._booted)

    def tell_service_manager(self) -> None:
        """All is ready, and this is the main process."""
        self._booted.notifier.ready(f"running: {len(self.newest().slots)} children")

    def merge(self, history: History) -> None:
        """Remember what went wrong under the predecessor."""
        self.history.crashes, self.history.deaths = history.crashes, history.deaths
        self.history.incidents = history.incidents
        self._show_history()

    @perform.register
    def _(self, verdict: verdicts.Tell) -> None:
        generation = self.generations.get(verdict.number)
        if generation is None:
            return  # it could not be made
        log.info("generation stopping", generation=verdict.number, reason=verdict.reason)
        for pid in generation.tell(self._slots_of(verdict.number)):
            process.tell(pid, signal.SIGTERM)

    @perform.register
    def _(self, verdict: verdicts.Dump) -> None:
        for pid, slot in self._slots_of(verdict.number).items():
            if slot in verdict.slots:
                process.dump_and_die(pid)

    @perform.register
    def _(self, verdict: verdicts.Kill) -> None:
        for pid in verdict.pids:
            found = self._children.lives.of(pid)
            if found is not None:
                life, slot = found
                self.generations[life.number].kill(slot, pid, verdict.reason)
        self._show_history()

    @perform.register
    def _(self, verdict: verdicts.Bury) -> None:
        known = self.history.incidents
        report = self.generations[verdict.number].deaths.bury(verdict)
        if report is not None:
            self.history.add_crash(report)
        if report is not None or self.history.incidents is not known:
            self._show_history()
        self.show_drains()
        if self._children.cause is not None:
            self._tell_progress()

    @perform.register
    def _(self, verdict: verdicts.Discard) -> None:
        generation = self.generations.get(verdict.number)
        if generation is None:  # it could not be made
            self._children.discarded(verdict.number)
            return
        generation.log_last_statistics()
        self._sweep(generation)
        generation.destroy()
        generation.release()
        del self.generations[verdict.number]
        log.info("generation gone", generation=verdict.number)
        self._children.discarded(verdict.number)
        if not self.generations:
            shutdown.kill_strays(self._booted.spared | self.masters)

    @perform.register
    def _(self, verdict: verdicts.Restart) -> None:
        number, wait, cause = verdict
        log.warning("server restarting", generation=number, wait=wait, reason=cause.reason)
        if self.generations:
            self.newest().set_state(ServerState.STARTING)
        self._booted.notifier.status(f"restarting: {cause.message or cause.reason}")
        if cause.reason == "start-failure":
            self.note_failure("failed restart", number - 1, cause.message or cause.reason)

    @perform.register
    def _(self, verdict: verdicts.Renew) -> None:
        log.info("generation renewing", generation=verdict.number, reason=verdict.reason)

    @perform.register
    def _(self, verdict: verdicts.RenewalFailed) -> None:
        number, wait, cause = verdict
        reason = cause.message or cause.reason
        log.error("renewal failed", generation=number, again_in=wait, reason=reason)
        self.note_failure("failed renewal", number, reason)

    @perform.register
    def _(self, verdict: verdicts.Linger) -> None:
        seconds = self._booted.config.master.drain_delay
        log.info("server lingering", reason=verdict.signum.name, seconds=seconds)
        for generation in self.generations.values():
            generation.linger()

    @perform.register
    def _(self, verdict: verdicts.End) -> None:
        """Step 1 and 2 of a shutdown: close the door, tell all."""
        log.info("server stopping", reason=verdict.cause.reason)
        shutdown.close_door(self._booted)
        told: list[int] = []
        for generation in self.generations.values():
            generation.set_state(ServerState.STOPPING)
            generation.close_door()
            told += generation.tell(self._slots_of(generation.number))
        self._tell_progress()
        if told and self._booted.group.terminate(told, lossless=False):
            self._booted.signals.record(signal.SIGTERM)

    # Help for those.

    def show_drains(self) -> None:
        """Name to readers the generations that are older than the one they see, or to the master
        that they see.
        """
        published = self.published()
        if self.on_drains is not None:
            self.on_drains(self._drains_of(published))
        elif published:
            *older, shown = published
            shown.board.set_draining([*self.elders, *self._drains_of(older)])

    def _drains_of(self, generations: Iterable[Generation]) -> list[Drain]:
        counts = {number: len(life.members) for number, life in self._children.lives.items()}
        drains = [one.drain(counts.get(one.number, 0)) for one in generations]
        return [drain for drain in drains if drain.children]

    def note_failure(
        self,
        kind: Literal["failed restart", "failed renewal", "failed reload"],
        number: int,
        reason: str,
    ) -> None:
        """Let `why` tell of it."""
        at = wall_clock() / 1e9
        self.history.add_incident(Incident(at=at, kind=kind, generation=number, reason=reason))
        self._show_history()

    def _show_history(self) -> None:
        for generation in self.generations.values():
            generation.show_history()

    def _slots_of(self, number: int) -> dict[int, int]:
        """Slot by pid."""
        life = self._children.lives.get(number)
        return {} if life is None else {pid: one.slot for pid, one in life.members.items()}

    def _sweep(self, generation: Generation) -> None:
        """Kill what the children of a generation left behind: as subreaper, all of it has become
        ours. Where another lives, only what is older than that one's first fork is known to be of
        this one.
        """
        others = [one for one in self.generations.values() if one is not generation]
        living = {pid for life in self._children.lives.values() for pid in life.members}
        helpers = {pid for one in self.generations.values() for pid in one.helpers}
        younger = [one.first_fork for one in others if one.number > generation.number]
        before = min((one for one in younger if one), default=None)
        if others and before is None:
            return
        shutdown.kill_strays(self._booted.spared | self.masters | living | helpers, before)

    def _tell_progress(self) -> None:
        """While the server stops: let the service manager wait as long as our own deadlines
        last.
        """
        left = sum(len(life.members) for life in self._children.lives.values())
        until = min(self._children.next_deadline(), float(2**31))
        within = max(0.0, until - time.monotonic()) if left else 0.0
        within += self._booted.config.master.destroy_timeout + 2 * GRACE
        self._booted.notifier.status(f"stopping: {left} children left", within)
