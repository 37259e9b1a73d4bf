"""The master's loop over its generations: wait, take the signals, reap, ask the table of the
children what that means, and do it.
"""

from __future__ import annotations

import os
import random
import signal
import time
from collections import deque
from collections.abc import Iterable
from functools import singledispatchmethod
from types import FrameType
from typing import Final, NoReturn

from supervisor.child.news import News
from supervisor.config.schema import Config
from supervisor.log.entries import log
from supervisor.master import shutdown, verdicts
from supervisor.master.boot import MARGIN, Boot
from supervisor.master.booted import Booted
from supervisor.master.cause import Cause
from supervisor.master.children import GRACE, Children, Policy
from supervisor.master.daemon import Launcher
from supervisor.master.generation import Generation
from supervisor.master.modules import log_abandoned
from supervisor.master.verdicts import Verdict
from supervisor.scoreboard.layout import ServerState
from supervisor.scoreboard.records import History, Incident
from supervisor.system import process, signals
from supervisor.system.clock import wall_clock

_JITTER: Final = 0.1  # of the age at which a generation is renewed


class Master:
    """Runs once. `handle_sigs` is where signals are obeyed: their handler only notes the number."""

    def __init__(self, boot: Boot, booted: Booted) -> None:
        self._boot = boot
        self._booted = booted
        self._signals = booted.signals
        self._generations: dict[int, Generation] = {}  # that live, oldest first
        self._history = History()
        self._children = Children(_policy(booted))
        self._verdicts: deque[Verdict] = deque()
        # What is gone is discarded when nothing else is to be done: `destroy` may take its time.
        self._discards: deque[Verdict] = deque()
        self._signals.on_deaf = self._leave_behind

    def run(self) -> Cause:
        """Live until the last child is gone, and return why the server ended."""
        self._add(self._children.begin(time.monotonic(), self._booted.start_by))
        try:
            return self._run()
        except Exception as error:  # a fault of ours: the children still end in order
            self._add(self._children.end(_cause_of(error), time.monotonic()))
            return self._run()

    def _run(self) -> Cause:
        while not self._children.is_over or self._verdicts or self._discards:
            if self._verdicts or self._discards:
                self._perform((self._verdicts or self._discards).popleft())
                continue
            self._wait()
            self.handle_sigs()
            self._note_ready()
            if self._children.cause is not None:
                shutdown.refuse(self._booted)
            self._add(self._children.tick(time.monotonic()))
        cause = self._children.cause
        assert cause is not None
        return cause

    def _add(self, found: Iterable[Verdict]) -> None:
        for verdict in found:
            is_discard = isinstance(verdict, verdicts.Discard)
            (self._discards if is_discard else self._verdicts).append(verdict)

    def _wait(self) -> None:
        """Wait until something happens, or is due; without a deadline for as long as it takes."""
        notifier = self._booted.notifier
        until = min(self._children.next_deadline(), notifier.due)
        left = None if until == float("inf") else max(0.0, until - time.monotonic())
        ready = [one for each in self._generations.values() for one in each.readiness.descriptors()]
        self._signals.wait(left, *ready)
        notifier.ping(time.monotonic())

    # What has happened.

    def handle_sigs(self) -> None:
        """Obey the signals that are pending: an order to stop first, for the exits of children
        beside it are its consequences.
        """
        for number in self._signals.take():
            if number in signals.TERMINATIONS:
                self._add(self._children.signalled(number, time.monotonic()))
            elif number is signal.SIGCHLD:
                self._reap()
            elif number is signal.SIGUSR1:
                self._print_statistics()

    def _reap(self) -> None:
        for death in process.reap():
            self._note_death(death)

    def _note_death(self, death: process.Death) -> None:
        if self._children.of(death.pid) is None:
            return  # an orphan that was adopted
        self._note_ready()  # it may have told, and finished, since the last look
        found = self._children.of(death.pid)
        assert found is not None
        life, slot = found
        generation = self._generations[life.number]
        ended = generation.examine(slot, death, life)
        self._add(self._children.died(death.pid, ended, time.monotonic()))

    def _note_ready(self) -> None:
        for generation in self._generations.values():
            life = self._children.lives.get(generation.number)
            if life is None:
                continue
            for kind, slot in generation.readiness.take(life.pids_by_slot):
                self._note_news(generation, kind, slot)

    def _note_news(self, generation: Generation, kind: News, slot: int) -> None:
        number, now = generation.number, time.monotonic()
        if kind is not News.READY:
            self._add(self._children.wants_renewal(number, kind.name.lower(), now))
            return
        life = self._children.lives[number]
        pid = life.pids_by_slot().get(slot)
        if pid is not None and slot in life.waiting:
            generation.become_ready(slot, pid)
            self._add(self._children.ready(number, slot, now))

    def _print_statistics(self) -> None:
        if self._generations:
            shutdown.print_statistics(self._newest().board)

    def _newest(self) -> Generation:
        return self._generations[max(self._generations)]

    # What is to be done.

    @singledispatchmethod
    def _perform(self, verdict: Verdict) -> None:
        raise AssertionError(f"no act for {verdict}")

    @_perform.register
    def _(self, verdict: verdicts.Begin) -> None:
        number, now = verdict.number, time.monotonic()
        if number > 1:
            within = self._booted.config.master.start_timeout + MARGIN
            self._booted.notifier.status("starting again", within)
        try:
            generation = Generation(self._booted, number, self._history)
            self._generations[number] = generation
            generation.init(self._children.lives[number].start_by)
            if self._children.serving is None:
                generation.publish()
        except BaseException as error:
            cause = _cause_of(error)
            if number > 1 and cause.message:
                log.error("generation not made", generation=number, reason=cause.message)
            self._add(self._children.failed(number, cause, now))
        else:
            exclusive = {slot.number for slot in generation.slots if slot.is_exclusive}
            slots = range(len(generation.slots))
            self._add(self._children.made(number, slots, exclusive, time.monotonic()))

    @_perform.register
    def _(self, verdict: verdicts.Fork) -> None:
        generation = self._generations[verdict.number]
        others = [one for one in self._generations.values() if one is not generation]
        table: dict[int, int] = {}
        failure = None
        try:
            generation.fork(verdict.slots, table, others)
        except Exception as error:
            failure = _cause_of(error)
        now = time.monotonic()
        self._add(self._children.forked(verdict.number, table, now))
        if failure is not None:
            self._add(self._children.failed(verdict.number, failure, now))

    @_perform.register
    def _(self, verdict: verdicts.Announce) -> None:
        generation = self._generations[verdict.number]
        generation.publish()
        generation.set_state(ServerState.RUNNING)
        self._show_drains()
        if verdict.is_whole:
            generation.hear_no_more()
        count = len(generation.slots)
        log.info(
            "server ready",  # waited for by tests and scripts
            name=self._booted.config.name,
            pid=os.getpid(),
            children=count,
            generation=generation.number,
            after=time.monotonic() - generation.begun,
        )
        self._booted.notifier.ready(f"running: {count} children")
        if self._booted.launcher is not None:
            self._booted.launcher.release()

    @_perform.register
    def _(self, verdict: verdicts.Tell) -> None:
        generation = self._generations.get(verdict.number)
        if generation is None:
            return  # it could not be made
        log.info("generation stopping", generation=verdict.number, reason=verdict.reason)
        for pid in generation.tell(self._slots_of(verdict.number)):
            process.tell(pid, signal.SIGTERM)

    @_perform.register
    def _(self, verdict: verdicts.Dump) -> None:
        for pid, slot in self._slots_of(verdict.number).items():
            if slot in verdict.slots:
                process.dump_and_die(pid)

    @_perform.register
    def _(self, verdict: verdicts.Kill) -> None:
        for pid in verdict.pids:
            found = self._children.of(pid)
            if found is not None:
                life, slot = found
                self._generations[life.number].kill(slot, pid, verdict.reason)
        self._show_history()

    @_perform.register
    def _(self, verdict: verdicts.Bury) -> None:
        known = self._history.incidents
        report = self._generations[verdict.number].bury(verdict)
        if report is not None:
            self._history.add_crash(report)
        if report is not None or self._history.incidents is not known:
            self._show_history()
        self._show_drains()
        if self._children.cause is not None:
            self._tell_progress()

    @_perform.register
    def _(self, verdict: verdicts.Discard) -> None:
        generation = self._generations.get(verdict.number)
        if generation is None:  # it could not be made
            self._children.discarded(verdict.number)
            return
        generation.log_last_statistics()
        self._sweep(generation)
        generation.destroy()
        generation.release()
        del self._generations[verdict.number]
        log.info("generation gone", generation=verdict.number)
        self._children.discarded(verdict.number)
        if not self._generations:
            shutdown.kill_strays(self._booted.strangers)

    @_perform.register
    def _(self, verdict: verdicts.Restart) -> None:
        number, wait, cause = verdict
        log.warning("server restarting", generation=number, wait=wait, reason=cause.reason)
        if self._generations:
            self._newest().set_state(ServerState.STARTING)
        self._booted.notifier.status(f"restarting: {cause.message or cause.reason}")

    @_perform.register
    def _(self, verdict: verdicts.Renew) -> None:
        log.info("generation renewing", generation=verdict.number, reason=verdict.reason)

    @_perform.register
    def _(self, verdict: verdicts.RenewalFailed) -> None:
        number, wait, cause = verdict
        reason = cause.message or cause.reason
        log.error("renewal failed", generation=number, again_in=wait, reason=reason)
        self._history.add_incident(
            Incident(at=wall_clock() / 1e9, kind="failed renewal", generation=number, reason=reason)
        )
        self._show_history()

    @_perform.register
    def _(self, verdict: verdicts.Linger) -> None:
        seconds = self._booted.config.master.drain_delay
        log.info("server lingering", reason=verdict.signum.name, seconds=seconds)
        for generation in self._generations.values():
            generation.linger()

    @_perform.register
    def _(self, verdict: verdicts.End) -> None:
        """Step 1 and 2 of a shutdown: close the door, tell all."""
        log.info("server stopping", reason=verdict.cause.reason)
        shutdown.close_door(self._booted)
        told: list[int] = []
        for generation in self._generations.values():
            generation.set_state(ServerState.STOPPING)
            generation.close_door()
            told += generation.tell(self._slots_of(generation.number))
        self._tell_progress()
        if told and self._booted.group.terminate(told, lossless=False):
            self._signals.record(signal.SIGTERM)

    # Help for those.

    def _show_drains(self) -> None:
        """Name to readers the generations that are older than the one they see."""
        published = [one for one in self._generations.values() if one.is_published]
        if not published:
            return
        *older, shown = published
        counts = {number: len(life.members) for number, life in self._children.lives.items()}
        drains = [one.drain(counts.get(one.number, 0)) for one in older]
        shown.board.set_draining([drain for drain in drains if drain.children])

    def _show_history(self) -> None:
        for generation in self._generations.values():
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
        others = [one for one in self._generations.values() if one is not generation]
        living = {pid for life in self._children.lives.values() for pid in life.members}
        helpers = {pid for one in self._generations.values() for pid in one.helpers}
        younger = [one.first_fork for one in others if one.number > generation.number]
        before = min((one for one in younger if one), default=None)
        if others and before is None:
            return
        shutdown.kill_strays(self._booted.strangers | living | helpers, before)

    def _tell_progress(self) -> None:
        """While the server stops: let the service manager wait as long as our own deadlines
        last.
        """
        left = sum(len(life.members) for life in self._children.lives.values())
        until = min(self._children.next_deadline(), float(2**31))
        within = max(0.0, until - time.monotonic()) if left else 0.0
        within += self._booted.config.master.destroy_timeout + 2 * GRACE
        self._booted.notifier.status(f"stopping: {left} children left", within)

    def _leave_behind(self, raised: signal.Signals, frame: FrameType | None) -> NoReturn:
        """User code has swallowed Stop, and does not end: go on without it, from inside the signal
        handler, on top of its frame, which is never returned to.
        """
        log_abandoned(raised, frame)
        try:
            self._resume(raised)
            cause = self._run()
        except BaseException as error:  # or the user code below would swallow this as well
            cause = _cause_of(error)
        self._boot.leave(cause)

    def _resume(self, raised: signal.Signals) -> None:
        """Go on behind user code that hangs: an `init` has failed, or the rest of a generation's
        `destroy` hooks is still to be called.
        """
        queued = {one.number for one in self._discards if isinstance(one, verdicts.Discard)}
        for number in self._generations.keys() - self._children.lives.keys() - queued:
            self._discards.appendleft(verdicts.Discard(number))
        is_late = raised is signal.SIGALRM
        late = Cause.start_failure("start_timeout passed, and Stop was swallowed")
        for number, life in list(self._children.lives.items()):
            if not life.is_made:
                cause = late if is_late else Cause.by_signal(raised)
                self._add(self._children.failed(number, cause, time.monotonic()))


def _policy(booted: Booted) -> Policy:
    master = booted.config.master
    every = master.renew.every

    def age() -> float:
        return every * random.uniform(1 - _JITTER, 1 + _JITTER) if every else float("inf")

    return Policy(
        restarts=master.restart == "on-crash",
        start_timeout=master.start_timeout,
        stop_timeout=master.stop_timeout,
        crash_timeout=master.crash_timeout,
        drain_delay=master.drain_delay,
        is_exclusive=any(one.kind.exclusive for one in booted.loaded.modules),
        renew_after=age,
    )


def _cause_of(error: BaseException) -> Cause:
    cause = Cause.by_error(error)
    if cause.reason == "internal-error":
        log.error("internal error", exc=error)
    return cause


def serve(config: Config, launcher: Launcher | None = None) -> NoReturn:
    """Boot, live, release everything, and end this process with the true status."""
    boot = Boot(config, launcher)
    boot.listen_to_signals()
    try:
        cause = Master(boot, boot.run()).run()
    except BaseException as error:
        cause = _cause_of(error)
    boot.leave(cause)
