"""One generation as the table of the children sees it."""

from __future__ import annotations

import signal
from typing import Final

from supervisor.master.verdicts import Death, Dump, Ended, Fork, Kill, Verdict

GRACE: Final = 1.0  # s that a late child has to write down where it hangs


class Member:
    """One living child."""

    __slots__ = ("is_told", "kill_at", "slot")

    def __init__(self, slot: int) -> None:
        self.slot = slot
        self.is_told = False
        self.kill_at: float | None = None

    def meaning(self, end: Ended, *, is_ending: bool, told: signal.Signals | None) -> Death:
        """Of its end, where the server `is_ending`, or drain_delay runs since the signal `told`."""
        if end.finished and end.exit_code == 0:
            return Death.FINISHED
        if is_ending or self.is_told:
            return Death.CONSEQUENCE
        # The terminal's Ctrl-C reaches the children as well, at once.
        if told is signal.SIGINT and end.exit_code == 0:
            return Death.CONSEQUENCE
        return Death.CAUSE


class Standing:
    """One generation: its living children, and how far it has come."""

    def __init__(self, number: int, start_by: float) -> None:
        self.number = number
        self.begun = 0.0  # its first fork
        self.start_by = start_by
        self.members: dict[int, Member] = {}  # by pid
        self.slots: frozenset[int] = frozenset()  # all that it has, forked or not
        self.exclusive: frozenset[int] = frozenset()
        self.held: frozenset[int] = frozenset()  # exclusive, and not forked yet
        self.waiting: set[int] = set()  # forked, and not ready yet
        self.late_slots: frozenset[int] = frozenset()
        self.give_up_at: float | None = None
        self.finished = 0
        self.is_made = False
        self.ready_at: float | None = None
        self.is_told = False

    @property
    def is_complete(self) -> bool:
        """True when no child that counts is waited for."""
        return self.is_made and not self.waiting and self.held != self.slots

    @property
    def is_ready(self) -> bool:
        """True once all of it was ready."""
        return self.ready_at is not None

    def pids_by_slot(self) -> dict[int, int]:
        """The living children."""
        return {member.slot: pid for pid, member in self.members.items()}

    @property
    def is_gone(self) -> bool:
        """True when it was told and nobody is left."""
        return self.is_told and not self.members

    def occupies(self) -> bool:
        """True while an exclusive child of it lives."""
        return any(member.slot in self.exclusive for member in self.members.values())

    # What happens to it. Instants in monotonic s.

    def tell(self, now: float, stop_timeout: float, exclusive_timeout: float) -> None:
        """All of it is told to stop; exclusive children may have less time than the others."""
        self.is_told = True
        self.waiting.clear()
        for member in self.members.values():
            timeout = exclusive_timeout if member.slot in self.exclusive else stop_timeout
            member.is_told, member.kill_at = True, now + min(timeout, stop_timeout)

    def end_by(self, instant: float) -> None:
        """The server ends: what lives then is killed, if it was not to be killed before."""
        self.is_told = True
        for member in self.members.values():
            member.is_told = True
            member.kill_at = instant if member.kill_at is None else min(member.kill_at, instant)

    def kill(self, reason: str) -> list[Verdict]:
        """All of it is killed now."""
        for member in self.members.values():
            member.kill_at = None
        return [Kill(tuple(self.members), reason)] if self.members else []

    def overdue(self, now: float) -> list[int]:
        """The pids of those that are to be killed now, each once."""
        late = [
            (pid, member)
            for pid, member in self.members.items()
            if member.kill_at is not None and now >= member.kill_at
        ]
        for _, member in late:
            member.kill_at = None
        return [pid for pid, _ in late]

    def late(self, now: float) -> list[Verdict]:
        """At start_timeout: those that are late write down where they hang, and die."""
        if not self._is_late(now) or self.give_up_at is not None:
            return []
        self.late_slots, self.give_up_at = frozenset(self.waiting), now + GRACE
        return [Dump(self.number, self.late_slots)]

    def is_given_up(self, now: float) -> bool:
        """True for those that did not even die."""
        return self._is_late(now) and self.give_up_at is not None and now >= self.give_up_at

    def lateness(self) -> str:
        """The same in words."""
        numbers = ", ".join(map(str, sorted(self.late_slots)))
        return f"slot {numbers} not ready within start_timeout, and deaf to SIGALRM"

    def _is_late(self, now: float) -> bool:
        return bool(self.waiting) and not self.is_told and now >= self.start_by

    def deadlines(self) -> list[float]:
        """When something is due, if nothing happens before."""
        found = [one.kill_at for one in self.members.values() if one.kill_at is not None]
        if self.waiting and not self.is_told:
            found.append(self.give_up_at or self.start_by)
        return found


class Lives(dict[int, Standing]):
    """The living generations by number, oldest first. `held`: those that are gone, whose modules
    are still to be destroyed.
    """

    def __init__(self) -> None:
        super().__init__()
        self.held: list[int] = []

    @property
    def serving(self) -> Standing | None:
        """The generation that was ready and was not told to stop."""
        return next((one for one in self.untold() if one.ready_at is not None), None)

    @property
    def coming(self) -> Standing | None:
        """The generation that is not ready yet."""
        return next((one for one in self.untold() if one.ready_at is None), None)

    def draining(self) -> list[Standing]:
        """Those that were told and still live, oldest first."""
        return [one for one in self.values() if one.is_told]

    def of(self, pid: int) -> tuple[Standing, int] | None:
        """The generation and the slot of a living child."""
        for life in self.values():
            if pid in life.members:
                return life, life.members[pid].slot
        return None

    def untold(self) -> list[Standing]:
        """Those that were not told to stop."""
        return [one for one in self.values() if not one.is_told]

    def leave(self, *, is_awaited: bool) -> list[int]:
        """Take out those that are gone; returns those whose modules are to be destroyed now.

        That is user code, and may take its time: where another generation `is_awaited`, those that
        have served are held until it is ready. One that never was ready holds what the next needs.
        """
        gone = [life for life in self.values() if life.is_gone]
        for life in gone:
            del self[life.number]
        later = [life.number for life in gone if is_awaited and life.is_ready]
        due = [] if is_awaited else self.held
        self.held = self.held[len(due) :] + later
        return [*due, *(life.number for life in gone if life.number not in later)]

    def end_by(self, instant: float) -> None:
        """All that lives then is killed, if it was not to be killed before."""
        for life in self.values():
            life.end_by(instant)

    def unheld(self, elders_occupy: bool) -> list[Verdict]:
        """Exclusive children that need no longer wait for their predecessors."""
        for life in self.untold():
            older = [one for one in self.values() if one.number < life.number]
            if life.held and not elders_occupy and not any(one.occupies() for one in older):
                return [Fork(life.number, life.held)]
        return []

    def overdue(self, now: float) -> list[Verdict]:
        """Those that had their time to stop."""
        late = [pid for life in self.values() for pid in life.overdue(now)]
        return [Kill(tuple(late), "stop-timeout")] if late else []
