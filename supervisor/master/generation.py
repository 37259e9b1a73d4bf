"""One life of the set of children: init modules, fork, wait until ready, watch, stop, destroy
modules.
"""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import Any, Final, NoReturn

from supervisor.child.child import Place
from supervisor.child.life import Life
from supervisor.child.names import describe
from supervisor.errors import Exit, ScoreboardError, Stop, SupervisorError
from supervisor.log.entries import log
from supervisor.master.death import Crash
from supervisor.master.frame import Cause, Frame, Slot, as_start_failure, plan, signal_cause
from supervisor.master.hooks import GRACE, Hooks
from supervisor.master.postmortem import Examiner, remove_temporary
from supervisor.master.readiness import Readiness
from supervisor.scoreboard.layout import H_DOOR, H_FORCED, ServerState, State
from supervisor.scoreboard.writer import Scoreboard
from supervisor.system import descriptors, process
from supervisor.system.clock import wall_clock
from supervisor.system.process import Death
from supervisor.system.resources import remove
from supervisor.views import picture, table

_SPARE_DESCRIPTORS: Final = 256  # beside the black boxes: listeners, locks, what modules open
# Thawing makes the next generation collect the whole heap, 7 ms; never, and cycles of the dead
# generations would pile up.
_THAW_EVERY: Final = 16
_SAMPLING: Final = 0.2  # s that SIGUSR1 may take to ask the kernel about CPU and memory
_OPERATOR: Final = (signal.SIGTERM, signal.SIGINT)


class Generation:
    """Owns the pid table. Runs once; is done when the last child is gone and the modules are
    destroyed.
    """

    def __init__(self, frame: Frame, number: int, last_crash: dict[str, Any] | None = None) -> None:
        self.number = number
        self.last_crash = last_crash
        self.ready_at: float | None = None  # monotonic s
        self.ready_for = 0.0  # s, until there was a cause to end
        self.told: signal.Signals | None = None  # a termination signal that came while it stopped
        self._frame = frame
        self._begun = time.monotonic()
        self._alive: dict[int, Slot] = {}
        self._finished = 0
        self._cause: Cause | None = None
        self._late: frozenset[int] = frozenset()
        self._helpers: frozenset[int] = frozenset()
        self._mark = frame.resources.mark()
        count = sum(section.children for section in frame.loaded.sections)
        self._descriptor_limit = descriptors.allow_descriptors(count + _SPARE_DESCRIPTORS)
        self._slots = plan(frame.loaded.sections)
        self._black_boxes = descriptors.ranges_of(slot.black_box for slot in self._slots)
        self._readiness = Readiness()
        self._waiting: set[int] = set()  # slots that are not ready yet
        self._board = Scoreboard(
            frame.runtime.scoreboard, len(self._slots), number, frame.started_at
        )
        self._board.set_crash(last_crash)
        self._hooks = Hooks(frame, self._board, number)
        self._examiner = Examiner(frame, self._board, number)

    def run(self, start_by: float, ends: Callable[[Cause, Generation], bool]) -> Cause:
        """Live. `start_by` in monotonic seconds; `ends` tells whether the server ends with a
        cause.
        """
        cause = self._up(start_by)
        if self.ready_at is not None:
            self.ready_for = time.monotonic() - self.ready_at
        try:
            self._stop(cause, ends(cause, self))
        finally:
            self._give_back()
        return cause

    # Up.

    def _up(self, start_by: float) -> Cause:
        """Start and serve until there is a reason not to."""
        try:
            self._hooks.init(start_by)
            return self._start_children(start_by) or self._serve()
        except Stop as stop:
            if stop.signum == signal.SIGALRM:
                return Cause("start-failure", Exit.START_FAILED, message="start_timeout passed")
            return Cause(stop.signum.name, signum=stop.signum)
        except SupervisorError as error:
            return Cause("start-failure", error.exit_code, message=str(error))
        except Exception as error:
            log.exception("internal error")
            return Cause("internal-error", Exit.CRASH, message=describe(error))

    def _start_children(self, start_by: float) -> Cause | None:
        """Fork all and wait until all are ready; a Cause if it does not come to that."""
        self._board.publish(self._frame.describe())
        self._helpers = frozenset(process.own_children())
        _warn_of_threads()
        try:
            children = self._children()
            gc.collect()
            gc.freeze()
            process.fork_all(children, self._alive)
        finally:
            self._readiness.seal([slot.number for slot in self._alive.values()])
        return self._until_ready(start_by)

    def _children(self) -> list[tuple[Slot, Callable[[], NoReturn]]]:
        """All children, made before the first fork; each lives in its own process only."""
        shared, recorder = self._frame.loaded.shared, self._frame.signals
        self._waiting = {slot.number for slot in self._slots}
        children: list[tuple[Slot, Callable[[], NoReturn]]] = []
        for slot in self._slots:
            place, worker = self._place(slot), slot.section.worker
            watch = worker.watch(place)
            if watch is not None:
                self._readiness.add(slot.number, watch)
                place = place._replace(is_watched=True)
            life = Life(place, worker, self._hooks.modules, self._board, shared, recorder)
            self._board.begin_slot(slot.number)
            children.append((slot, life.live))
        return children

    def _place(self, slot: Slot) -> Place:
        frame, section = self._frame, slot.section.section
        return Place(
            server=frame.config.name,
            section=section.name,
            slot=slot.number,
            rank=slot.rank,
            generation=self.number,
            master=os.getpid(),
            listeners=frame.listeners[section.name],
            stop_timeout=frame.config.master.stop_timeout,
            request_timeout=section.common.request_timeout,
            tempdir=frame.runtime.temporary / str(slot.number),
            ready=self._readiness.writer,
            is_watched=False,
            black_box=slot.black_box,
            drop_foreign=partial(self._drop_foreign, slot),
            group_is_ours=frame.group.is_ours_alone,
        )

    def _drop_foreign(self, slot: Slot) -> None:
        """In a child: close what belongs to the master or to the other children."""
        if self._frame.launcher is not None:
            self._frame.launcher.leave_streams()
        for descriptor in self._frame.private:
            os.close(descriptor)
        self._readiness.drop_foreign(slot.number)
        descriptors.close_others(self._black_boxes, slot.black_box)
        descriptors.limit_descriptors(self._descriptor_limit)

    def _until_ready(self, start_by: float) -> Cause | None:
        while self._waiting and self._cause is None:
            self._turn(start_by - time.monotonic())
            if self._waiting and self._cause is None and time.monotonic() >= start_by:
                self._dump_late()
        self._readiness.complete()
        if self._waiting and self._cause is not None:
            return as_start_failure(self._cause)
        return None

    def _announce(self) -> None:
        self._board.set_server_state(ServerState.RUNNING)
        self.ready_at = time.monotonic()
        log.info(
            "server ready",  # waited for by tests and scripts
            name=self._frame.config.name,
            pid=os.getpid(),
            children=len(self._slots),
            generation=self.number,
            after=self.ready_at - self._begun,
        )
        self._frame.notifier.ready(f"running: {len(self._slots)} children")
        if self._frame.launcher is not None:
            self._frame.launcher.release()

    def _become_ready(self, slot: Slot) -> None:
        self._waiting.remove(slot.number)
        self._board.mark_ready(slot.number)
        pid = self._board.pid(slot.number)
        after = (wall_clock() - self._board.started_at(slot.number)) / 1e9
        log.info("child ready", **self._facts(slot, pid), after=after)

    def _dump_late(self) -> None:
        """Let the late ones write down where they hang, and die: the first report is the cause."""
        self._late = frozenset(self._waiting)
        for pid, slot in self._alive.items():
            if slot.number in self._late:
                process.dump_and_die(pid)
        give_up_at = time.monotonic() + GRACE
        while self._cause is None and time.monotonic() < give_up_at:
            self._turn(give_up_at - time.monotonic())
        if self._cause is None:
            numbers = ", ".join(map(str, sorted(self._late)))
            message = f"slot {numbers} not ready within start_timeout, and deaf to SIGALRM"
            self._cause = Cause("start-failure", Exit.START_FAILED, message=message)

    # Serving: the loop.

    def _serve(self) -> Cause:
        self._announce()
        while self._cause is None:
            self._turn(None)
        return self._cause

    def _turn(self, timeout: float | None) -> list[signal.Signals]:
        """Wait once, take the signals, reap, report. The first reason to end becomes the cause."""
        self._frame.notifier.wait(self._frame.signals, timeout, *self._readiness.descriptors())
        taken = self._frame.signals.take()
        self._cause = self._cause or signal_cause(taken)
        self._note_ready()
        if signal.SIGCHLD in taken:
            for death in process.reap():
                if death.pid in self._alive:
                    self._bury(death)
        if signal.SIGUSR1 in taken:
            self._print_statistics()
        return taken

    def _note_ready(self) -> None:
        told = self._readiness.take(self._pids)
        if self._cause is None:
            for number in told:
                self._become_ready(self._slots[number])

    def _pids(self) -> dict[int, int]:
        """The pid of each living child by its slot."""
        return {slot.number: pid for pid, slot in self._alive.items()}

    def _print_statistics(self) -> None:
        try:
            facts = picture.detailed(self._board.snapshot(), _SAMPLING, with_pss=False)
        except ScoreboardError as error:
            log.warning("no statistics", reason=str(error))
        else:
            log.info("statistics", table=table.table(facts))

    def _bury(self, death: Death) -> None:
        """Take a dead child off the table; its death is the cause unless there is one already."""
        if self._alive[death.pid].number in self._waiting:
            self._note_ready()  # it may have told, and finished, since the last look
        slot = self._alive.pop(death.pid)
        self._readiness.forget(slot.number)
        remove_temporary(self._frame.runtime, slot.number)
        if self._cause is not None and death.exit_code == 0:
            self._board.end_slot(slot.number)
            log.info("child exited", **self._facts(slot, death.pid), code=0)
            return
        crash = self._examiner.examine(slot, death, late=self._late, is_cause=self._cause is None)
        is_finished = crash.state is State.FINISHED and death.exit_code == 0
        self._board.end_slot(slot.number, is_finished)
        if is_finished:
            log.info("child finished", **self._facts(slot, death.pid))
            self._finished += 1
            if self._finished == len(self._slots):
                self._cause = self._cause or Cause("finished")
        elif self._cause is not None:
            self._log_consequence(slot, crash)
        else:
            self.last_crash = crash.record()
            self._board.set_crash(self.last_crash)
            log.error("child died", **crash.facts())
            self._cause = Cause("child-died", Exit.CRASH, message=crash.message())

    def _log_consequence(self, slot: Slot, crash: Crash) -> None:
        death, facts = crash.death, self._facts(slot, crash.death.pid)
        box = crash.traceback or None
        if crash.cause == "stop_timeout":
            self._board.words[H_FORCED] += 1
            reason = {"signal": "SIGALRM", "reason": "stop-timeout"}
            log.warning("child killed", **facts, **reason, traceback=box)
        elif death.signum is not None:
            log.info("child exited", **facts, signal=death.cause, traceback=box)
        else:
            log.info("child exited", **facts, code=death.exit_code, traceback=box)

    # Down.

    def _stop(self, cause: Cause, ends: bool) -> None:
        """Steps 1 to 4 of a shutdown: close the door, stop, kill the late, sweep."""
        self._cause = cause
        log.info("server stopping", reason=cause.reason)
        self._board.set_server_state(ServerState.STOPPING)
        if ends:
            self._close_door()
        frame = self._frame
        kill_at = time.monotonic() + frame.config.master.stop_timeout
        self._tell_progress(kill_at, ends)
        # A second order to stop may be merged with our own; the first, during a switch, must not.
        if self._alive and frame.group.terminate(self._tell_others(), lossless=not ends):
            frame.signals.record(signal.SIGTERM)
        orders = 1 if cause.signum in _OPERATOR else 0
        killed = False
        while self._alive:
            before = len(self._alive)
            taken = self._turn(None if killed else kill_at - time.monotonic())
            self._heed(taken, ends)
            if len(self._alive) < before:
                self._tell_progress(kill_at, ends)
            orders += sum(number in _OPERATOR for number in taken)
            if not killed and (orders >= 2 or time.monotonic() >= kill_at):
                self._kill_rest("second-signal" if orders >= 2 else "stop-timeout")
                killed = True
        self._log_last_statistics()
        self._sweep()

    def _log_last_statistics(self) -> None:
        if not self._board.is_published:
            return  # no child was ever made
        totals = picture.totals(self._board.snapshot())
        killed = self._board.words[H_FORCED] or None
        log.info(
            "last statistics", requests=totals["requests"], errors=totals["errors"], killed=killed
        )

    def _tell_others(self) -> list[int]:
        """Stop those that want another signal than TERM; return the pids of the rest."""
        rest = []
        for pid, slot in self._alive.items():
            if self._readiness.is_watched(slot.number):
                self._board.set_state(slot.number, State.STOPPING)
            number = slot.section.worker.stop_signal
            if number == signal.SIGTERM:
                rest.append(pid)
                continue
            process.tell(pid, number)
            if slot.number in self._waiting:
                process.tell(pid, signal.SIGTERM)  # it may still be our code
        return rest

    def _tell_progress(self, kill_at: float, ends: bool) -> None:
        """Let the service manager wait as long as our own deadlines last; a restart's start too."""
        master = self._frame.config.master
        within = max(0.0, kill_at - time.monotonic()) + master.destroy_timeout + 2 * GRACE
        if not ends:
            within += master.start_timeout
        self._frame.notifier.status(f"stopping: {len(self._alive)} children left", within)

    def _heed(self, taken: list[signal.Signals], ends: bool) -> None:
        """Remember a termination that comes while we stop; it ends a server that meant to go on."""
        told = signal_cause(taken)
        if told is not None and self.told is None:
            self.told = told.signum
            if not ends:
                self._close_door()

    def _close_door(self) -> None:
        """Nothing new comes in; the children serve what waits already. Inherited sockets outlive
        us.
        """
        self._frame.notifier.stopping("stopping")
        for listeners in self._frame.listeners.values():
            for listener in listeners:
                if not listener.inherited:
                    listener.close_door()
        self._board.words[H_DOOR] = 1

    def _kill_rest(self, reason: str) -> None:
        for pid, slot in self._alive.items():
            log.warning("child killed", **self._facts(slot, pid), signal="SIGKILL", reason=reason)
            process.kill(pid)
            self._board.words[H_FORCED] += 1

    def _sweep(self) -> None:
        """Kill and reap what children left behind: as subreaper, all of it has become ours. What
        the modules run is theirs to end.
        """
        self._kill_strays(self._helpers)

    def _kill_strays(self, spared: frozenset[int]) -> None:
        process.reap_all()
        while left := set(process.own_children()) - spared - self._frame.strangers:
            for pid in left:
                log.warning("left process killed", pid=pid, name=process.name_of(pid))
                process.kill(pid)
                process.reap_one(pid)

    def _give_back(self) -> None:
        """Steps 5 and 6: destroy the modules, and release what this generation alone had."""
        try:
            self._hooks.destroy()
            self._kill_strays(frozenset())
        finally:
            self._release()

    def _release(self) -> None:
        self._frame.resources.release(self._mark)
        remove(self._frame.runtime.temporary)
        self._readiness.close()
        for slot in self._slots:
            os.close(slot.black_box)
        self._board.close()
        if self.number % _THAW_EVERY == 0:
            gc.unfreeze()

    def _facts(self, slot: Slot, pid: int) -> dict[str, Any]:
        """Which child an entry is about."""
        return {"worker": slot.name, "slot": slot.number, "generation": self.number, "pid": pid}


def _warn_of_threads() -> None:
    names = [
        thread.name for thread in threading.enumerate() if thread is not threading.main_thread()
    ]
    if names:
        log.warning("threads alive before the fork", threads=", ".join(names))
