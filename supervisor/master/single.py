"""`--dont-fork`: one process, in which the first worker section runs and a debugger can stop."""

from __future__ import annotations

import os
from functools import partial
from typing import NoReturn

import msgspec

from supervisor.child.life import Life
from supervisor.config.schema import Config
from supervisor.errors import Exit, StartError
from supervisor.log.entries import log
from supervisor.master import shutdown
from supervisor.master.boot import Boot
from supervisor.master.booted import Booted, Slot
from supervisor.master.cause import Cause
from supervisor.master.death import last_line, read_black_box
from supervisor.master.generation import Generation
from supervisor.master.succession.predecessor import Start
from supervisor.scoreboard.layout import ServerState
from supervisor.scoreboard.records import History
from supervisor.system.signals import Action


def serve_here(config: Config, start: Start) -> NoReturn:
    """Boot, and be the only child of the only generation, until the end of this process."""
    boot = Boot(msgspec.structs.replace(config, workers=config.workers[:1]), start)
    boot.listen_to_signals()
    try:
        booted = boot.run()
        generation = Generation(booted, 1, History())
        boot.resources.add("generation", generation.release)
        Single(boot, booted, generation).run()
    except BaseException as error:
        boot.leave(Cause.by_error(error))


class Single:
    """The master and its only child at once. A termination signal ends it inside the handler, for
    nobody else is there to do it.
    """

    def __init__(self, boot: Boot, booted: Booted, generation: Generation) -> None:
        self._boot = boot
        self._booted = booted
        self._generation = generation

    def run(self) -> NoReturn:
        """Live."""
        generation, booted = self._generation, self._booted
        slot = generation.slots[0]
        if slot.worker.needs_fork:
            raise StartError(
                f"workers.{slot.section}: type {slot.type!r} does not run with --dont-fork"
            )
        generation.init(booted.start_by)
        generation.publish()
        place = generation.place(slot)._replace(request_timeout=0.0, ready=-1)
        life = generation.life(slot, place)
        finish = partial(self._finish, life)
        booted.signals.install(
            {
                Action.STOP: lambda number: finish(Cause.by_signal(number)),
                Action.STATISTICS: lambda _: shutdown.print_statistics(generation.board),
            },
        )
        generation.board.begin_slot(slot.number)
        generation.set_state(ServerState.RUNNING)
        log.info("server ready", name=booted.config.name, pid=os.getpid(), children=0)
        booted.notifier.ready("running: one process")
        finish(self._cause_of(slot, place.black_box, life.live_here()))

    def _finish(self, life: Life, cause: Cause) -> NoReturn:
        log.info("server stopping", reason=cause.reason)
        self._booted.notifier.stopping(f"stopping: {cause.reason}")
        life.abandon()
        shutdown.kill_strays(self._generation.helpers | self._booted.spared)
        self._generation.destroy()
        shutdown.kill_strays(self._booted.spared)
        self._boot.leave(cause)

    def _cause_of(self, slot: Slot, black_box: int, code: Exit) -> Cause:
        """Why the worker has ended by itself."""
        text = read_black_box(black_box)
        if text:
            log.error("child died", worker=slot.section, traceback=text)
        message = f"workers.{slot.section}: {last_line(text)}" if code else ""
        return Cause("finished" if code == Exit.OK else "child-died", code, message=message)
