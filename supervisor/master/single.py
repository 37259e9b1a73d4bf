"""`--dont-fork`: one process, in which the first worker section runs and a debugger can stop."""

from __future__ import annotations

import os
from collections.abc import Callable
from functools import partial
from typing import NoReturn

from supervisor.child.life import Life
from supervisor.errors import Exit, StartError
from supervisor.log.entries import log
from supervisor.master.death import last_line
from supervisor.master.frame import Cause
from supervisor.master.generation import Generation
from supervisor.master.postmortem import read_black_box
from supervisor.scoreboard.layout import ServerState
from supervisor.system.signals import Action


class Single(Generation):
    """A generation that is the master and its only child at once."""

    def run_here(self, start_by: float, end: Callable[[Cause], NoReturn]) -> NoReturn:
        """Live. A termination signal ends it in its handler, for nobody else is there."""
        slot, frame = self._slots[0], self._frame
        if slot.section.worker.needs_fork:
            kind = slot.section.section.common.type
            raise StartError(f"workers.{slot.name}: type {kind!r} does not run with --dont-fork")
        self._hooks.init(start_by)
        self._board.publish(frame.describe())
        place = self._place(slot)._replace(request_timeout=0.0, ready=-1)
        worker, shared = slot.section.worker, frame.loaded.shared
        life = Life(place, worker, self._hooks.modules, self._board, shared, frame.signals)
        finish = partial(self._finish, life, end)
        frame.signals.install(
            {
                Action.STOP: lambda number: finish(Cause(number.name, signum=number)),
                Action.STATISTICS: lambda _: self._print_statistics(),
            },
        )
        self._board.begin_slot(slot.number)
        self._board.set_server_state(ServerState.RUNNING)
        log.info("server ready", name=frame.config.name, pid=os.getpid(), children=0)
        frame.notifier.ready("running: one process")
        finish(self._cause_of(life.live_here()))

    def _finish(self, life: Life, end: Callable[[Cause], NoReturn], cause: Cause) -> NoReturn:
        log.info("server stopping", reason=cause.reason)
        self._frame.notifier.stopping(f"stopping: {cause.reason}")
        life.abandon()
        self._sweep()
        self._give_back()
        end(cause)

    def _cause_of(self, code: Exit) -> Cause:
        """Why the worker has ended by itself."""
        slot = self._slots[0]
        text = read_black_box(slot.black_box)
        if text:
            log.error("child died", worker=slot.name, traceback=text)
        message = f"workers.{slot.name}: {last_line(text)}" if code else ""
        return Cause("finished" if code == Exit.OK else "child-died", code, message=message)
