"""The master's loop over its generations: wait, take the signals, reap, ask the table of the
children what that means, and do it.
"""

from __future__ import annotations

import signal
import time
from collections import deque
from collections.abc import Iterable
from types import FrameType
from typing import NoReturn

from supervisor.child.news import News
from supervisor.config.schema import Config
from supervisor.log.entries import log
from supervisor.master import shutdown, verdicts
from supervisor.master.acts import Acts
from supervisor.master.boot import Boot
from supervisor.master.booted import Booted, Greeting, no_greeting
from supervisor.master.cause import Cause, caught
from supervisor.master.children import Children
from supervisor.master.daemon import Launcher
from supervisor.master.generation import Generation
from supervisor.master.modules import log_abandoned
from supervisor.master.succession.masters import Masters
from supervisor.master.succession.predecessor import Start
from supervisor.master.verdicts import Verdict
from supervisor.system import process, signals


class Master:
    """Runs once. `handle_sigs` is where signals are obeyed: their handler only notes the number."""

    def __init__(self, boot: Boot, booted: Booted) -> None:
        self._boot = boot
        self._booted = booted
        self._signals = booted.signals
        predecessor = booted.start.predecessor
        first = 1 if predecessor is None else predecessor.bequest.generation
        self._children = Children(booted.policy(), first)
        self._acts = Acts(booted, self._children, self._add)
        self._masters = Masters(booted, self._children, self._acts, self._add)
        self._verdicts: deque[Verdict] = deque()
        # What is gone is discarded when nothing else is to be done: `destroy` may take its time.
        self._discards: deque[Verdict] = deque()
        self._signals.on_deaf = self._leave_behind
        self._signals.meanwhile = self._obey_meanwhile
        self._hinted: set[signal.Signals] = set()

    def run(self) -> Cause:
        """Live until the last child is gone, and return why the server ended."""
        self._add(self._children.begin(time.monotonic(), self._booted.start_by))
        try:
            return self._run()
        except Exception as error:  # a fault of ours: the children still end in order
            self._add(self._children.end(caught(error), time.monotonic()))
            return self._run()

    def _run(self) -> Cause:
        while not self._is_over() or self._verdicts or self._discards:
            if self._verdicts or self._discards:
                self._perform((self._verdicts or self._discards).popleft())
                continue
            self._wait()
            self._look()
        cause = self._children.cause
        assert cause is not None
        self._boot.parenthood = self._masters.parenthood()
        return cause

    def _look(self) -> None:
        """See what has happened, and what is due."""
        self.handle_sigs()
        self._note_ready()
        self._masters.look(time.monotonic())
        if self._children.cause is not None:
            shutdown.refuse(self._booted)
        self._add(self._children.tick(time.monotonic()))

    def _obey_meanwhile(self) -> float:
        """While a module is destroyed a signal has come, or something is due: obey, and see the
        next generation ready, inside the signal handler, on top of that user code. Returns when
        something is due (monotonic s). Nothing else is destroyed there.
        """
        try:
            self._look()
            while self._verdicts or self._children.lives.coming:
                if self._verdicts:
                    self._perform(self._verdicts.popleft())
                    continue
                self._wait()
                self._look()
            self._booted.notifier.ping(time.monotonic())
        except Exception as error:  # a fault of ours, which that code must not see
            self._add(self._children.end(caught(error), time.monotonic()))
        return self._due()

    def _is_over(self) -> bool:
        return self._children.is_over and self._masters.are_gone

    def _perform(self, verdict: Verdict) -> None:
        if isinstance(verdict, verdicts.End):
            self._masters.end(verdict.cause, time.monotonic())
        self._acts.perform(verdict)

    def _add(self, found: Iterable[Verdict]) -> None:
        for verdict in found:
            is_discard = isinstance(verdict, verdicts.Discard)
            (self._discards if is_discard else self._verdicts).append(verdict)

    def _wait(self) -> None:
        """Wait until something happens, or is due; without a deadline for as long as it takes."""
        until = self._due()
        left = None if until == float("inf") else max(0.0, until - time.monotonic())
        ready = [
            one for each in self._acts.generations.values() for one in each.readiness.descriptors()
        ]
        self._signals.wait(left, *ready, *self._masters.descriptors())
        self._booted.notifier.ping(time.monotonic())

    def _due(self) -> float:
        notifier = self._booted.notifier
        return min(self._children.next_deadline(), notifier.due, self._masters.due)

    # What has happened.

    def handle_sigs(self) -> None:
        """Obey the signals that are pending: an order to stop first, for the exits of children
        beside it are its consequences.
        """
        for number in self._signals.take():
            if self._masters.pass_on(number):
                continue
            if number in signals.TERMINATIONS:
                self._add(self._children.signalled(number, time.monotonic()))
            elif number is signal.SIGCHLD:
                self._reap()
            elif number is signal.SIGUSR1:
                self._print_statistics()
            elif signals.MASTERS_ACTIONS.get(number) is signals.Action.HINT:
                self._hint(number)

    def _hint(self, number: signal.Signals) -> None:
        """Other servers reload at it, and whoever sends it expects that."""
        if number not in self._hinted:
            self._hinted.add(number)
            log.warning(f"{number.name} ignored; to reload: supervisor reload")

    def _reap(self) -> None:
        for death in process.reap():
            self._note_death(death)

    def _note_death(self, death: process.Death) -> None:
        if self._children.lives.of(death.pid) is None:
            self._masters.note_death(death)  # if it is not an orphan that was adopted
            self._booted.guard.note_death(death)
            return
        self._note_ready()  # it may have told, and finished, since the last look
        found = self._children.lives.of(death.pid)
        assert found is not None
        life, slot = found
        generation = self._acts.generations[life.number]
        ended = generation.examine(slot, death, life)
        self._add(self._children.died(death.pid, ended, time.monotonic()))

    def _note_ready(self) -> None:
        for generation in self._acts.generations.values():
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
            self._masters.tell_progress(life)
            self._add(self._children.ready(number, slot, now))

    def _print_statistics(self) -> None:
        if self._acts.generations:
            shutdown.print_statistics(self._acts.newest().board)

    def _leave_behind(self, raised: signal.Signals, frame: FrameType | None) -> NoReturn:
        """User code has swallowed Stop, and does not end: go on without it, from inside the signal
        handler, on top of its frame, which is never returned to.
        """
        log_abandoned(raised, frame)
        try:
            self._resume(raised)
            cause = self._run()
        except BaseException as error:  # or the user code below would swallow this as well
            cause = caught(error)
        self._boot.leave(cause)

    def _resume(self, raised: signal.Signals) -> None:
        """Go on behind user code that hangs: an `init` has failed, or the rest of a generation's
        `destroy` hooks is still to be called.
        """
        queued = {one.number for one in self._discards if isinstance(one, verdicts.Discard)}
        for number in self._acts.generations.keys() - self._children.lives.keys() - queued:
            if number not in self._children.lives.held:
                self._discards.appendleft(verdicts.Discard(number))
        is_late = raised is signal.SIGALRM
        late = Cause.start_failure("start_timeout passed, and Stop was swallowed")
        for number, life in list(self._children.lives.items()):
            if not life.is_made:
                cause = late if is_late else Cause.by_signal(raised)
                self._add(self._children.failed(number, cause, time.monotonic()))


def serve(
    config: Config,
    start: Start,
    launcher: Launcher | None = None,
    greet: Greeting = no_greeting,
) -> NoReturn:
    """Boot, live, release everything, and end this process with the true status. `greet` is called
    when the first generation is ready.
    """
    boot = Boot(config, start, launcher, greet)
    boot.listen_to_signals()
    try:
        cause = Master(boot, boot.run()).run()
    except BaseException as error:
        cause = caught(error)
    boot.leave(cause)
