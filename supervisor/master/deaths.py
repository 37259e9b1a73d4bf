"""The deaths of one generation: what is known of each, what it means to people, what is counted."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from supervisor.child.shared import Shared
from supervisor.log.entries import log
from supervisor.master.booted import Slot
from supervisor.master.death import Crash, Examiner
from supervisor.master.verdicts import Bury, Ended
from supervisor.master.verdicts import Death as Meaning
from supervisor.scoreboard.layout import State
from supervisor.scoreboard.records import History, Incident, Report
from supervisor.scoreboard.writer import Scoreboard
from supervisor.system.clock import wall_clock
from supervisor.system.process import Death


class Deaths:
    """`forced` counts the children that had to be killed to stop."""

    def __init__(
        self,
        number: int,
        slots: Sequence[Slot],
        board: Scoreboard,
        shared: Shared,
        history: History,
    ) -> None:
        self.forced = 0
        self._number = number
        self._slots = slots
        self._board = board
        self._history = history
        self._examiner = Examiner(board, shared, number)
        self._reports: dict[int, Crash] = {}  # of those that are not buried yet, by pid

    def examine(
        self,
        number: int,
        death: Death,
        black_box: int,
        *,
        uptime: float,
        is_late: bool,
        is_cause: bool,
    ) -> Ended:
        """Collect what is known of a dead child, before its row goes; as Examiner.examine."""
        crash = self._reports[death.pid] = self._examiner.examine(
            self._slots[number],
            death,
            black_box,
            uptime=uptime,
            is_late=is_late,
            is_cause=is_cause,
        )
        finished = crash.state is State.FINISHED
        return Ended(death.exit_code, finished=finished, message=crash.message())

    def bury(self, verdict: Bury) -> Report | None:
        """Say what its death means; return its report if it is a crash."""
        crash = self._reports.pop(verdict.pid)
        self._board.end_slot(verdict.slot, verdict.death is Meaning.FINISHED)
        facts = self.facts(verdict.slot, verdict.pid)
        if verdict.death is Meaning.FINISHED:
            log.info("child finished", **facts)
        elif verdict.death is Meaning.CONSEQUENCE:
            self._log_consequence(facts, crash)
        else:
            log.error("child died", **crash.facts())
            return crash.report()
        return None

    def _log_consequence(self, facts: dict[str, Any], crash: Crash) -> None:
        death, box = crash.death, crash.traceback or None
        if crash.cause == "stop_timeout":
            self.count_forced(crash.slot, death.pid, "stop-timeout", crash.traceback)
            reason = {"signal": "SIGALRM", "reason": "stop-timeout"}
            log.warning("child killed", **facts, **reason, traceback=box)
        elif death.signum is not None:
            log.info("child exited", **facts, signal=death.cause, traceback=box)
        else:
            log.info("child exited", **facts, code=death.exit_code, traceback=box)

    def count_forced(self, number: int, pid: int, reason: str, traceback: str = "") -> None:
        """One more had to be killed."""
        self.forced += 1
        self._board.set_forced(self.forced)
        self._history.add_incident(
            Incident(
                at=wall_clock() / 1e9,
                kind="forced stop",
                generation=self._number,
                reason=reason,
                worker=self._slots[number].section,
                slot=number,
                pid=pid,
                traceback=traceback,
            )
        )

    def facts(self, number: int, pid: int) -> dict[str, Any]:
        """Which child an entry is about."""
        worker = self._slots[number].section
        return {"worker": worker, "slot": number, "generation": self._number, "pid": pid}
