"""One generation as the table of the children sees it."""

from __future__ import annotations


class Member:
    """One living child."""

    __slots__ = ("is_told", "kill_at", "slot")

    def __init__(self, slot: int) -> None:
        self.slot = slot
        self.is_told = False
        self.kill_at: float | None = None


class Standing:
    """One generation: its living children, and how far it has come."""

    def __init__(self, number: int, begun: float, start_by: float) -> None:
        self.number = number
        self.begun = begun
        self.start_by = start_by
        self.members: dict[int, Member] = {}  # by pid
        self.slots: frozenset[int] = frozenset()  # all that it has, forked or not
        self.exclusive: frozenset[int] = frozenset()
        self.held: frozenset[int] = frozenset()  # exclusive, and not forked yet
        self.waiting: set[int] = set()  # forked, and not ready yet
        self.late: frozenset[int] = frozenset()
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
