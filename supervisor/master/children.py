"""Which child of which generation is what, and what must be done about it: facts in, verdicts out.

Pure: it knows no process, no file and no clock (`now` is monotonic seconds). The master tells it
each fact as it comes, and performs the verdicts that are returned, in their order.

A generation goes one way: it is begun (the master makes it), forked, ready, told to stop, gone.
At most one is on its way to be ready; the newest that is ready is the one that serves; those that
were told drain beside it.
"""

from __future__ import annotations

import itertools
import signal
from collections.abc import Collection, Iterable, Mapping
from typing import Final

from supervisor.errors import Exit
from supervisor.master.cause import RELOADED, Cause
from supervisor.master.policy import Policy, pause_after_failures, pause_after_service
from supervisor.master.standing import Lives, Member, Standing
from supervisor.master.verdicts import (
    Announce,
    Begin,
    Bury,
    Death,
    Discard,
    End,
    Ended,
    Fork,
    Linger,
    Renew,
    RenewalFailed,
    Restart,
    Tell,
    Verdict,
)

_DRAINING: Final = 2  # generations that may drain at a time
_ORDERS: Final = (signal.SIGTERM, signal.SIGINT, signal.SIGPWR)


class Children:
    """The table. `lives` has the living generations by number, oldest first."""

    def __init__(self, policy: Policy, first: int = 1) -> None:
        self.lives = Lives()
        self.on_trial = False  # a successor, until it is the server
        self.elders_occupy = False  # a predecessor has exclusive children
        self._first = first  # generation of this master
        self.cause: Cause | None = None  # why the server ends
        self.told: signal.Signals | None = None  # drain_delay runs since that signal
        self._policy = policy
        self._number = first - 1
        self._orders = 0
        self._failures = 0  # in a row
        self._begin_at: float | None = None
        self._linger_until: float | None = None
        self._renew_at: float | None = None
        self._discarding: set[int] = set()  # gone, and their modules not destroyed yet

    # Questions.

    @property
    def is_over(self) -> bool:
        """True when the server ends and nobody is left."""
        return self.cause is not None and not self.lives

    def next_deadline(self) -> float:
        """When `tick` has something to do, if no other fact comes before; infinite for never."""
        begin_at = self._begin_at if self._may_begin() else None
        instants = [begin_at, self._linger_until, self._renew_at]
        for life in self.lives.values():
            instants += life.deadlines()
        return min((one for one in instants if one is not None), default=float("inf"))

    @property
    def last_number(self) -> int:
        """The last number that a generation was given."""
        return self._number

    # Facts.

    def begin(self, now: float, start_by: float | None = None) -> list[Verdict]:
        """A generation shall be made now; `start_by`: its deadline, else start_timeout from now."""
        self._begin_at = self._renew_at = None
        self._number += 1
        start_by = now + self._policy.start_timeout if start_by is None else start_by
        self.lives[self._number] = Standing(self._number, start_by)
        return [Begin(self._number)]

    def made(
        self, number: int, slots: Collection[int], exclusive: Iterable[int], now: float
    ) -> list[Verdict]:
        """Generation `number` stands, with these slots, and can be forked: all that need not wait
        for predecessors.
        """
        life = self.lives[number]
        life.slots, life.exclusive = frozenset(slots), frozenset(exclusive)
        life.is_made = True
        is_held = self.elders_occupy or any(one.occupies() for one in self.lives.values())
        life.held = life.exclusive if is_held else frozenset()
        if life.slots == life.held:
            return self._complete(life, now) if self.on_trial else self._relieve(life, now)
        return [Fork(number, life.slots - life.held)]

    def forked(self, number: int, pids: Mapping[int, int], now: float, begun: float) -> None:
        """These slots, by pid, are forked, the first of the generation from `begun` on."""
        life = self.lives[number]
        life.begun = begun
        life.members |= {pid: Member(slot) for pid, slot in pids.items()}
        life.waiting |= set(pids.values())
        if life.held & set(pids.values()):
            life.held = frozenset()
            life.start_by = now + self._policy.start_timeout

    def failed(self, number: int, cause: Cause, now: float) -> list[Verdict]:
        """Generation `number` could not be made or forked. Where a signal was the reason, that is
        still to be told to `signalled`.
        """
        life = self.lives[number]
        if cause.signum is not None:
            return [*self._tell(life, cause.reason, now, after_crash=True), *self._gone()]
        return [*self._fail(life, cause, now), *self._gone()]

    def reserve(self) -> int:
        """The number of the first generation of a successor."""
        self._number += 1
        return self._number

    def taken_over(self, last: int, now: float) -> None:
        """This master is the server now; `last`: the last number that its predecessor has used."""
        self.on_trial = False
        self._number = max(self._number, last)
        self._renew_at = now + self._policy.renew_after()

    def relieved(self) -> list[Verdict]:
        """No predecessor has exclusive children any more."""
        self.elders_occupy = False
        return self.lives.unheld(self.elders_occupy)

    def handed_over(self, now: float) -> list[Verdict]:
        """A successor is the server now: all drain, and that is the end of this master."""
        self.cause = self.cause or Cause(RELOADED)
        self._begin_at = self._linger_until = self._renew_at = None
        told = [self._tell(life, "reload", now, after_crash=False) for life in self.lives.untold()]
        return [*itertools.chain(*told), *self._gone()]

    def bereaved(self, now: float) -> None:
        """The successor, which was the server, is dead: what drains ends as after a crash, and this
        master with that status.
        """
        self.cause = Cause("successor-died", Exit.CRASH, message="the successor died")
        self.lives.end_by(now + self._policy.crash_timeout)

    def discarded(self, number: int) -> None:
        """The modules of a generation that is gone are destroyed."""
        self._discarding.discard(number)

    def ready(self, number: int, slot: int, now: float) -> list[Verdict]:
        """A child has reported that it is ready."""
        life = self.lives.get(number)
        if life is None:
            return []
        life.waiting.discard(slot)
        if life.is_told or life.ready_at is not None or not life.is_complete:
            return []
        return self._complete(life, now)

    def died(self, pid: int, end: Ended, now: float) -> list[Verdict]:
        """A child was reaped."""
        found = self.lives.of(pid)
        if found is None:
            return []
        life, slot = found
        member = life.members.pop(pid)
        life.waiting.discard(slot)
        meaning = member.meaning(end, is_ending=self.cause is not None, told=self.told)
        verdicts: list[Verdict] = [Bury(life.number, slot, pid, meaning)]
        if meaning is Death.FINISHED:
            life.finished += 1
            if life.finished == len(life.slots) and not life.is_told:
                verdicts += self.end(Cause("finished"), now)
        elif meaning is Death.CAUSE:
            verdicts += self._lost(life, Cause("child-died", Exit.CRASH, message=end.message), now)
        return verdicts + self._after_a_death(life, now)

    def signalled(self, signum: signal.Signals, now: float) -> list[Verdict]:
        """A termination signal has come."""
        if self.cause is not None:
            return self._ordered_again(signum)
        if self.told is not None:
            return self.end(Cause.by_signal(self.told), now)
        if self._policy.drain_delay and self.lives.serving is not None:
            self.told, self._linger_until = signum, now + self._policy.drain_delay
            return [Linger(signum)]
        return self.end(Cause.by_signal(signum), now)

    def wants_renewal(self, number: int, reason: str, now: float) -> list[Verdict]:
        """A child of a generation says that it has grown old."""
        serving = self.lives.serving
        if serving is None or serving.number != number or self._is_busy():
            return []
        return [Renew(number, reason), *self.begin(now)]

    def end(self, cause: Cause, now: float) -> list[Verdict]:
        """The server ends, for good."""
        if self.cause is not None:
            return []
        self.cause = cause
        self._begin_at = self._linger_until = self._renew_at = None
        self._orders = max(self._orders, int(cause.signum in _ORDERS))
        timeout = self._policy.stop_timeout
        if cause.signum is None and cause.status is not Exit.OK:
            timeout = min(timeout, self._policy.crash_timeout)
        self.lives.end_by(now + timeout)
        return [End(cause), *self._gone()]

    def tick(self, now: float) -> list[Verdict]:
        """Time has passed."""
        verdicts: list[Verdict] = []
        if self._linger_until is not None and now >= self._linger_until and self.told is not None:
            verdicts += self.end(Cause.by_signal(self.told), now)
        if self._begin_at is not None and now >= self._begin_at and self._may_begin():
            verdicts += self.begin(now)
        if self._renew_at is not None and now >= self._renew_at:
            verdicts += self._renewed_by_age(now)
        for life in list(self.lives.values()):
            verdicts += life.late(now)
            if life.is_given_up(now):
                verdicts += self._lost(life, Cause.start_failure(life.lateness()), now)
        return verdicts + self.lives.overdue(now) + self._gone()

    # What follows from them.

    def _complete(self, life: Standing, now: float) -> list[Verdict]:
        """All of it is ready that counts."""
        life.ready_at = now
        self._failures = 0
        if not self.on_trial:
            self._renew_at = now + self._policy.renew_after()
        return [Announce(life.number, not life.held), *self._relieve(life, now)]

    def _after_a_death(self, life: Standing, now: float) -> list[Verdict]:
        verdicts: list[Verdict] = []
        if self.told is signal.SIGINT and self.cause is None and not life.members:
            verdicts += self.end(Cause.by_signal(self.told), now)
        return verdicts + self.lives.unheld(self.elders_occupy) + self._gone()

    def _lost(self, life: Standing, cause: Cause, now: float) -> list[Verdict]:
        """A generation has lost a child that it needs."""
        if life.ready_at is None:
            return self._fail(life, cause, now)
        return self._crash(life, life.ready_at, cause, now)

    def _crash(self, life: Standing, ready_at: float, cause: Cause, now: float) -> list[Verdict]:
        """It was the generation that served, since `ready_at`."""
        if not self._policy.restarts or self.told is not None or self.on_trial:
            return self.end(cause, now)
        verdicts = self._tell(life, cause.reason, now, after_crash=True)
        if self.lives.coming is None:
            wait = pause_after_service(life.begun, ready_at, now)
            verdicts += self._follow(wait, cause, now)
        return verdicts

    def _fail(self, life: Standing, cause: Cause, now: float) -> list[Verdict]:
        """It has ended before it was ready. The first generation ends the server."""
        if self.told is not None or life.number == self._first:
            return self.end(cause.before_ready() if cause.status is Exit.CRASH else cause, now)
        verdicts = self._tell(life, "start-failure", now, after_crash=True)
        self._failures += 1
        wait = pause_after_failures(self._failures)
        if self.lives.serving is not None:
            self._renew_at = now + wait
            return [*verdicts, RenewalFailed(life.number, wait, cause)]
        return verdicts + self._follow(wait, cause.before_ready(), now)

    def _follow(self, wait: float, cause: Cause, now: float) -> list[Verdict]:
        self._begin_at = now + wait
        verdicts: list[Verdict] = [Restart(self._number + 1, wait, cause)]
        return verdicts + (self.begin(now) if wait == 0.0 and self._may_begin() else [])

    def _may_begin(self) -> bool:
        """An exclusive module holds the next generation back until all others are gone."""
        return not (self._policy.is_exclusive and (self.lives or self._discarding))

    def _relieve(self, successor: Standing, now: float) -> list[Verdict]:
        """All of `successor` that need not wait is ready: those before it are told to stop."""
        verdicts: list[Verdict] = []
        for life in self.lives.untold():
            if life is not successor:
                verdicts += self._tell(life, "renewal", now, after_crash=False)
        return verdicts + self.lives.unheld(self.elders_occupy) + self._gone()

    def _tell(self, life: Standing, reason: str, now: float, *, after_crash: bool) -> list[Verdict]:
        """Tell all of a generation. Exclusive children have less time after a crash: others wait
        for their end.
        """
        policy = self._policy
        short = policy.crash_timeout if after_crash else policy.stop_timeout
        life.tell(now, short if policy.is_exclusive else policy.stop_timeout, short)
        verdicts: list[Verdict] = [Tell(life.number, tuple(life.members), reason)]
        draining = [one for one in self.lives.draining() if one.members]
        if len(draining) > _DRAINING:
            verdicts += draining[0].kill("too-many-generations")
        return verdicts

    def _ordered_again(self, signum: signal.Signals) -> list[Verdict]:
        """A second TERM or INT while the server stops: kill what is left, now."""
        self._orders += signum in (signal.SIGTERM, signal.SIGINT)
        if self._orders < 2:
            return []
        return [one for life in self.lives.values() for one in life.kill("second-signal")]

    def _is_busy(self) -> bool:
        is_ending = self.cause is not None or self.on_trial
        return is_ending or self.lives.coming is not None or self._begin_at is not None

    def _renewed_by_age(self, now: float) -> list[Verdict]:
        self._renew_at = None
        serving = self.lives.serving
        if serving is None or self._is_busy():
            return []
        return [Renew(serving.number, "again" if self._failures else "age"), *self.begin(now)]

    def _gone(self) -> list[Verdict]:
        is_awaited = self.lives.coming is not None or self._begin_at is not None
        due = self.lives.leave(is_awaited=is_awaited and not self._policy.is_exclusive)
        self._discarding.update(due)
        return [Discard(number) for number in due]
