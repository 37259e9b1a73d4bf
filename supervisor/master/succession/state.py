"""How a successor comes to serve, as its predecessor sees it: facts in, verdicts out.

Pure: it knows no process, no socket and no clock (`now` is monotonic seconds). A reload goes one
way: asked for, begun, ready and on probation, offered, held, taken. Until it is taken the
predecessor goes on as if nothing had been, whatever happens to the successor.
"""

from __future__ import annotations

import enum
from typing import NamedTuple

from supervisor.errors import Exit
from supervisor.master.succession.messages import (
    Ask,
    Done,
    Failed,
    Held,
    Message,
    Progress,
    Ready,
    Taken,
)


class Phase(enum.Enum):
    """How far a reload is."""

    NONE = "none"
    BEGUN = "begun"
    PROBATION = "probation"
    OFFERED = "offered"
    HELD = "held"
    CANCELLED = "cancelled"
    OVER = "over"  # another serves


# Verdicts.


class Launch(NamedTuple):
    """Start the successor."""

    ask: Ask


class Show(NamedTuple):
    """Tell who asked how far it is."""

    text: str


class Offer(NamedTuple):
    """Let the successor take the second half of the lock."""

    ready: Ready


class LetGo(NamedTuple):
    """Give up the first half."""


class TakeBack(NamedTuple):
    """The successor is dead: be the server again."""


class Yield(NamedTuple):
    """The successor serves: drain."""


class Dismiss(NamedTuple):
    """Make the successor end."""


class Kill(NamedTuple):
    """It did not: SIGKILL."""


class Answer(NamedTuple):
    """Tell who asked how it ended; `is_over`: the successor is gone."""

    done: Done


Verdict = Launch | Show | Offer | LetGo | TakeBack | Yield | Dismiss | Kill | Answer

_STOPPED = Failed(Exit.NOT_RUNNING, "the server was stopped meanwhile")


class Succession:
    """One reload at a time, and the last one ends it all."""

    def __init__(self) -> None:
        self.phase = Phase.NONE
        self._ask = Ask()
        self._ready = Ready((), "")
        self._failure: Failed | None = None
        self._offer_at: float | None = None
        self._kill_at: float | None = None

    @property
    def is_under_way(self) -> bool:
        """True while a successor lives that does not serve."""
        return self.phase not in (Phase.NONE, Phase.OVER)

    @property
    def is_over(self) -> bool:
        """True once another serves."""
        return self.phase is Phase.OVER

    @property
    def due(self) -> float:
        """When `tick` has something to do, if nothing happens before; infinite for never."""
        instants = (self._offer_at, self._kill_at)
        return min((one for one in instants if one is not None), default=float("inf"))

    # Facts.

    def asked(self, ask: Ask) -> list[Verdict]:
        """Somebody who may asks for a reload. Only while none `is_under_way`."""
        self._ask, self._failure = ask, None
        self.phase = Phase.BEGUN
        return [Launch(ask)]

    def refused(self, failure: Failed) -> list[Verdict]:
        """The successor could not be started."""
        self._failure = failure
        return self.died()

    def heard(self, message: Message, now: float) -> list[Verdict]:
        """The successor says something."""
        if isinstance(message, Failed):
            self._failure = self._failure or message
        elif isinstance(message, Progress):
            return [Show(message.text)]
        elif isinstance(message, Ready) and self.phase is Phase.BEGUN:
            return self._begin_probation(message, now)
        elif isinstance(message, Held) and self.phase is Phase.OFFERED:
            self.phase = Phase.HELD
            return [LetGo()]
        elif isinstance(message, Taken) and self.phase is Phase.HELD:
            self.phase = Phase.OVER
            return [Yield(), Answer(Done(Exit.OK, ""))]
        return []

    def tick(self, now: float) -> list[Verdict]:
        """Time has passed."""
        if self._offer_at is not None and now >= self._offer_at:
            self._offer_at = None
            self.phase = Phase.OFFERED
            return [Offer(self._ready)]
        if self._kill_at is not None and now >= self._kill_at:
            self._kill_at = None
            return [Kill()]
        return []

    def ending(self, kill_at: float, line: str = "") -> list[Verdict]:
        """The server ends: its successor too. `line` says why, where nobody has stopped it."""
        if self.phase in (Phase.NONE, Phase.CANCELLED, Phase.OVER, Phase.HELD):
            return []
        self.phase = Phase.CANCELLED
        self._offer_at, self._kill_at = None, kill_at
        self._failure = Failed(Exit.CRASH, line) if line else _STOPPED
        return [Dismiss()]

    def died(self) -> list[Verdict]:
        """The successor is dead."""
        phase, self._offer_at, self._kill_at = self.phase, None, None
        if phase is Phase.OVER:
            return []
        self.phase = Phase.NONE
        failure = self._failure or _unexplained(phase)
        had_offer = phase in (Phase.OFFERED, Phase.HELD)
        back: list[Verdict] = [TakeBack()] if had_offer else []
        return [*back, Answer(Done(failure.status, failure.line))]

    # What follows from them.

    def _begin_probation(self, ready: Ready, now: float) -> list[Verdict]:
        self.phase, self._ready = Phase.PROBATION, ready
        self._offer_at = now + self._ask.probation
        shown: list[Verdict] = []
        if self._ask.probation:
            shown = [Show(f"ready, on probation for {self._ask.probation:g} s")]
        return shown + self.tick(now)


def _unexplained(phase: Phase) -> Failed:
    """For one that was killed, or died without a word."""
    if phase is Phase.BEGUN:
        return Failed(Exit.START_FAILED, "the successor died before it was ready")
    return Failed(Exit.CRASH, "the successor died in its probation")
