"""The last steps: the door, what is left behind, the last statistics, the status."""

from __future__ import annotations

import itertools
from typing import Final, NoReturn

from supervisor.errors import Exit, ScoreboardError
from supervisor.log import entries
from supervisor.log.entries import log
from supervisor.master.booted import Booted
from supervisor.master.cause import RELOADED, Cause
from supervisor.scoreboard.writer import Scoreboard
from supervisor.system import descriptors, process
from supervisor.views import statistics, table

_SAMPLING: Final = 0.2  # s that SIGUSR1 may take to ask the kernel about CPU and memory


def close_door(booted: Booted) -> None:
    """Nothing new comes in; the children serve what waits already. Inherited sockets outlive us."""
    booted.notifier.stopping("stopping")
    for listeners in booted.listeners.values():
        for listener in listeners:
            if not listener.outlives_us:
                listener.close_door()
    refuse(booted)


def refuse(booted: Booted) -> None:
    """Where the door refuses: as soon as the queue of a listener is empty, nobody else gets in."""
    if booted.refuses:
        for listener in itertools.chain(*booted.listeners.values()):
            if not listener.outlives_us:
                listener.refuse()


def kill_strays(spared: frozenset[int] | set[int], before: float | None = None) -> None:
    """Kill and reap what children left behind, but for `spared`: as subreaper, all of it has
    become ours. `before` (s since the machine's boot): only what was begun earlier.
    """
    process.reap_orphans(spared)
    while left := {
        pid
        for pid in set(process.own_children()) - spared
        if before is None or process.begun_at(pid) < before
    }:
        for pid in left:
            log.warning("left process killed", pid=pid, name=process.name_of(pid))
            process.kill(pid)
            process.reap_one(pid)


def print_statistics(board: Scoreboard) -> None:
    """The answer to SIGUSR1: the table of `supervisor stats`, as one entry."""
    try:
        facts = statistics.of(board.snapshot(), _SAMPLING, with_pss=False)
    except ScoreboardError as error:
        log.warning("no statistics", reason=str(error))
    else:
        log.info("statistics", table=table.table(facts))


def leave(cause: Cause) -> NoReturn:
    """Say why, and end this process as `cause` says: by the signal, or with its status."""
    if cause.message and cause.status != Exit.OK:
        entries.say_error(cause.message)
    if cause.reason == RELOADED:
        log.info("master gone")
    else:
        status = cause.reason if cause.signum is not None else int(cause.status)
        log.info("server stopped", status=status)
    process.run_exit_functions()
    entries.flush()
    descriptors.close_all_descriptors()
    if cause.signum is not None:
        process.die_of(cause.signum)
    process.leave(cause.status)
