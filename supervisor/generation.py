"""One life of the set of children: init modules, fork, wait until ready, watch, stop, destroy
modules.
"""

from __future__ import annotations

import gc
import os
import signal
import threading
import time
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Final, NamedTuple, NoReturn

from supervisor import process, signals, stats, table
from supervisor.child import Child, Place
from supervisor.config import Config
from supervisor.crash import Crash, cause_of, last_line, own_part
from supervisor.daemon import Launcher
from supervisor.errors import Exit, ScoreboardError, StartError, Stop, SupervisorError
from supervisor.listeners import Listener
from supervisor.log import log, pairs
from supervisor.module import Module, Server
from supervisor.process import Death, ProcessGroup
from supervisor.readiness import Readiness
from supervisor.registry import Loaded, LoadedSection, describe
from supervisor.resources import Resources, RuntimeDirectory, clear_journal, journal_of, remove
from supervisor.scoreboard import (
    ACTIVE,
    H_DOOR,
    H_FORCED,
    READY_AT,
    Scoreboard,
    ServerState,
    State,
    text_of,
    wall_clock,
)
from supervisor.signals import Action, SignalRecorder
from supervisor.systemd import Notifier

_BLACK_BOX_SIZE: Final = 65_536  # bytes read back, the last ones
_SPARE_DESCRIPTORS: Final = 256  # beside the black boxes: listeners, locks, what modules open
# Thawing makes the next generation collect the whole heap, 7 ms; never, and cycles of the dead
# generations would pile up.
_THAW_EVERY: Final = 16
_GRACE: Final = 1.0  # s: for a destroy after the common deadline, for a dump
_SAMPLING: Final = 0.2  # s that SIGUSR1 may take to ask the kernel about CPU and memory
_OPERATOR: Final = (signal.SIGTERM, signal.SIGINT)


class Cause(NamedTuple):
    """Why a generation ended. `signum` where a signal ended it, `message` for who started it."""

    reason: str
    status: Exit = Exit.OK
    signum: signal.Signals | None = None
    message: str = ""


class Slot(NamedTuple):
    """What the master decides about a child before its fork. `black_box` is a memfd."""

    number: int
    rank: int
    section: LoadedSection
    black_box: int

    @property
    def name(self) -> str:
        """The section's name."""
        return self.section.section.name


class Frame(NamedTuple):
    """What all generations share; made by the master, before the first."""

    config: Config
    loaded: Loaded
    listeners: dict[str, tuple[Listener, ...]]  # by section
    runtime: RuntimeDirectory
    resources: Resources
    signals: SignalRecorder
    group: ProcessGroup
    started_at: int  # ns since 1970
    private: tuple[int, ...]  # descriptors that no child may keep
    strangers: frozenset[int]  # children of this process before it was ours
    notifier: Notifier
    launcher: Launcher | None  # who waits for readiness, under --daemon


def signal_cause(taken: Iterable[signal.Signals]) -> Cause | None:
    """The cause in one turn's signals. It precedes the turn's deaths: exits beside it are
    consequences.
    """
    for number in taken:
        if number in signals.TERMINATIONS:
            return Cause(number.name, signum=number)
    return None


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
        self._modules: dict[str, Module] = {}
        self._helpers: frozenset[int] = frozenset()
        self._mark = frame.resources.mark()
        self._oom_kills = process.oom_kills()
        count = sum(section.children for section in frame.loaded.sections)
        self._descriptor_limit = process.allow_descriptors(count + _SPARE_DESCRIPTORS)
        self._slots = _plan(frame.loaded.sections)
        self._black_boxes = process.ranges_of(slot.black_box for slot in self._slots)
        self._readiness = Readiness()
        self._waiting: set[int] = set()  # slots that are not ready yet
        self._board = Scoreboard(
            frame.runtime.scoreboard, len(self._slots), number, frame.started_at
        )
        self._board.set_crash(last_crash)

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
            try:
                self._destroy_modules()
            finally:
                self._release()
        return cause

    def run_here(self, start_by: float, end: Callable[[Cause], NoReturn]) -> NoReturn:
        """`--dont-fork`: be the master and its only child. A termination signal ends it in its
        handler.
        """
        slot = self._slots[0]
        if slot.section.worker.needs_fork:
            kind = slot.section.section.common.type
            raise StartError(f"workers.{slot.name}: type {kind!r} does not run with --dont-fork")
        self._init_modules(start_by)
        self._board.publish(self._describe())
        place = self._place(slot)._replace(request_timeout=0.0, ready=-1)
        shared = self._frame.loaded.shared
        child = Child(
            place, slot.section.worker, self._modules, self._board, shared, self._frame.signals
        )

        def finish(cause: Cause) -> NoReturn:
            log.info("server stopping %s", pairs(reason=cause.reason))
            self._frame.notifier.stopping(f"stopping: {cause.reason}")
            child.abandon()
            self._sweep(self._helpers)
            self._destroy_modules()
            self._release()
            end(cause)

        self._frame.signals.install(
            {
                Action.STOP: lambda number: finish(Cause(number.name, signum=number)),
                Action.STATISTICS: lambda _: self._print_statistics(),
            },
        )
        self._board.begin_slot(slot.number)
        self._board.set_server_state(ServerState.RUNNING)
        log.info("server ready %s", pairs(name=place.server, pid=os.getpid(), children=0))
        self._frame.notifier.ready("running: one process")
        code = child.live_here()
        text = _read_black_box(slot.black_box)
        if text:
            log.error("child died worker=%s\n%s", slot.name, text)
        message = f"workers.{slot.name}: {last_line(text)}" if code else ""
        finish(Cause("finished" if code == Exit.OK else "child-died", code, message=message))

    # Up.

    def _up(self, start_by: float) -> Cause:
        """Start and serve until there is a reason not to."""
        try:
            self._init_modules(start_by)
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

    def _init_modules(self, start_by: float) -> None:
        frame, shared = self._frame, self._frame.loaded.shared
        shared.begin_generation()
        shared.row.words, shared.row.base = self._board.words, self._board.row_base(-1)
        for name, kind, options in frame.loaded.modules:
            server = Server(
                name, frame.config.name, self.number, shared, frame.resources, self._totals
            )
            left = start_by - time.monotonic()
            try:
                with frame.signals.deadline(left), frame.signals.stop_raised():
                    module = kind(options)
                    module.init(server)
                    self._modules[name] = module
            except Stop as stop:
                if stop.signum == signal.SIGALRM:
                    log.exception("module init abandoned %s", pairs(module=name))
                    raise StartError(f"modules.{name}: init not done by start_timeout") from stop
                raise
            except BaseException as error:
                log.exception("module init failed %s", pairs(module=name))
                raise StartError(f"modules.{name}: init failed: {describe(error)}") from error
        shared.write_initial()

    def _start_children(self, start_by: float) -> Cause | None:
        """Fork all and wait until all are ready; a Cause if it does not come to that."""
        self._board.publish(self._describe())
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
            child = Child(place, worker, self._modules, self._board, shared, recorder)
            self._board.begin_slot(slot.number)
            children.append((slot, child.live))
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
        process.close_others(self._black_boxes, slot.black_box)
        process.limit_descriptors(self._descriptor_limit)

    def _until_ready(self, start_by: float) -> Cause | None:
        while self._waiting and self._cause is None:
            self._turn(start_by - time.monotonic())
            if self._waiting and self._cause is None and time.monotonic() >= start_by:
                self._dump_late()
        self._readiness.complete()
        if self._waiting and self._cause is not None:
            return _as_start_failure(self._cause)
        return None

    def _announce(self) -> None:
        self._board.set_server_state(ServerState.RUNNING)
        self.ready_at = time.monotonic()
        facts = pairs(
            name=self._frame.config.name,
            pid=os.getpid(),
            children=len(self._slots),
            generation=self.number,
            after=self.ready_at - self._begun,
        )
        log.info("server ready %s", facts)  # waited for by tests and scripts
        self._frame.notifier.ready(f"running: {len(self._slots)} children")
        if self._frame.launcher is not None:
            self._frame.launcher.release()

    def _become_ready(self, slot: Slot) -> None:
        self._waiting.remove(slot.number)
        self._board.mark_ready(slot.number)
        pid = self._board.pid(slot.number)
        after = (wall_clock() - self._board.started_at(slot.number)) / 1e9
        log.info("child ready %s after=%.3fs", self._name(slot, pid), after)

    def _dump_late(self) -> None:
        """Let the late ones write down where they hang, and die: the first report is the cause."""
        self._late = frozenset(self._waiting)
        for pid, slot in self._alive.items():
            if slot.number in self._late:
                process.dump_and_die(pid)
        give_up_at = time.monotonic() + _GRACE
        while self._cause is None and time.monotonic() < give_up_at:
            self._turn(give_up_at - time.monotonic())
        if self._cause is None:
            numbers = ", ".join(map(str, sorted(self._late)))
            message = f"slot {numbers} not ready within start_timeout, and deaf to SIGALRM"
            self._cause = Cause("start-failure", Exit.START_FAILED, message=message)

    def _describe(self) -> dict[str, Any]:
        """What the words of the scoreboard mean, for readers."""
        frame = self._frame
        return {
            "name": frame.config.name,
            "workers": [
                {
                    "name": loaded.section.name,
                    "type": loaded.section.common.type,
                    "children": loaded.children,
                    "backlog": loaded.section.common.backlog,
                    "listen": [str(one.address) for one in frame.listeners[loaded.section.name]],
                }
                for loaded in frame.loaded.sections
            ],
            "counters": frame.loaded.shared.counters,
            "locks": list(frame.loaded.shared.locks),
        }

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
            facts = stats.detailed(self._board.snapshot(), _SAMPLING, with_pss=False)
        except ScoreboardError as error:
            log.warning("no statistics %s", pairs(reason=str(error)))
        else:
            log.info("statistics\n%s", table.table(facts))

    def _bury(self, death: Death) -> None:
        """Take a dead child off the table; its death is the cause unless there is one already."""
        if self._alive[death.pid].number in self._waiting:
            self._note_ready()  # it may have told, and finished, since the last look
        slot = self._alive.pop(death.pid)
        self._readiness.forget(slot.number)
        self._remove_temporary(slot)
        if self._cause is not None and death.exit_code == 0:
            self._board.end_slot(slot.number)
            log.info("child exited %s code=0", self._name(slot, death.pid))
            return
        crash = self._examine(slot, death)
        is_finished = crash.state is State.FINISHED and death.exit_code == 0
        self._board.end_slot(slot.number, is_finished)
        if is_finished:
            log.info("child finished %s", self._name(slot, death.pid))
            self._finished += 1
            if self._finished == len(self._slots):
                self._cause = self._cause or Cause("finished")
        elif self._cause is not None:
            self._log_consequence(slot, crash)
        else:
            self.last_crash = crash.record()
            self._board.set_crash(self.last_crash)
            log.error("%s", crash.entry())
            self._cause = Cause("child-died", Exit.CRASH, message=crash.message())

    def _remove_temporary(self, slot: Slot) -> None:
        """What the child registered, and its own directory."""
        if not self._frame.runtime.temporary.exists():
            return
        tempdir = self._frame.runtime.temporary / str(slot.number)
        clear_journal(journal_of(tempdir))
        remove(journal_of(tempdir))
        remove(tempdir)

    def _log_consequence(self, slot: Slot, crash: Crash) -> None:
        name, death = self._name(slot, crash.death.pid), crash.death
        box = f"\n{crash.traceback}" if crash.traceback else ""
        if crash.cause == "stop_timeout":
            self._board.words[H_FORCED] += 1
            log.warning("child killed %s signal=SIGALRM reason=stop-timeout%s", name, box)
        elif death.signum is not None:
            log.info("child exited %s signal=%s%s", name, death.cause, box)
        else:
            log.info("child exited %s code=%s%s", name, death.exit_code, box)

    def _examine(self, slot: Slot, death: Death) -> Crash:
        """Collect what is known of a dead child: its row, its black box, what the kernel says."""
        now = wall_clock()
        row = self._board.row(slot.number)
        state, since = self._board.state(slot.number)
        oom_killed = (
            death.signum == signal.SIGKILL
            and self._cause is None
            and process.oom_kills() > self._oom_kills
        )
        is_late = slot.number in self._late and death.signum == signal.SIGALRM
        cause = cause_of(
            death,
            active=row[ACTIVE],
            has_request_timeout=slot.section.section.common.request_timeout > 0,
            is_stopping=state is State.STOPPING,
        )
        return Crash(
            at=now / 1e9,
            generation=self.number,
            slot=slot.number,
            worker=slot.name,
            death=death,
            cause="start_timeout" if is_late else cause,
            state=state,
            in_state=(time.monotonic_ns() - since) / 1e9,
            uptime=(now - self._board.started_at(slot.number)) / 1e9,
            request=text_of(row),
            lock=self._lock_name(slot.number),
            traceback=_read_black_box(slot.black_box),
            was_ready=row[READY_AT] != 0,
            oom_killed=oom_killed,
        )

    def _lock_name(self, number: int) -> str | None:
        held = self._board.lock_of(number)
        names = list(self._frame.loaded.shared.locks)
        return names[held - 1] if 0 < held <= len(names) else None

    # Down.

    def _stop(self, cause: Cause, ends: bool) -> None:
        """Steps 1 to 4 of a shutdown: close the door, stop, kill the late, sweep."""
        self._cause = cause
        log.info("server stopping %s", pairs(reason=cause.reason))
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
        self._sweep(self._helpers)

    def _log_last_statistics(self) -> None:
        if not self._board.is_published:
            return  # no child was ever made
        totals = stats.totals(self._board.snapshot())
        killed = self._board.words[H_FORCED] or None
        facts = pairs(requests=totals["requests"], errors=totals["errors"], killed=killed)
        log.info("last statistics %s", facts)

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
        within = max(0.0, kill_at - time.monotonic()) + master.destroy_timeout + 2 * _GRACE
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
            log.warning("child killed %s signal=SIGKILL reason=%s", self._name(slot, pid), reason)
            process.kill(pid)
            self._board.words[H_FORCED] += 1

    def _sweep(self, spared: frozenset[int]) -> None:
        """Kill and reap what children left behind: as subreaper, all of it has become ours."""
        process.reap_all()
        while left := set(process.own_children()) - spared - self._frame.strangers:
            for pid in left:
                log.warning("left process killed %s", pairs(pid=pid, name=process.name_of(pid)))
                process.kill(pid)
                process.reap_one(pid)

    def _destroy_modules(self) -> None:
        """Destroy in reverse, each once; the common deadline abandons the one that hangs."""
        whole = self._frame.config.master.destroy_timeout
        deadline = time.monotonic() + whole
        while self._modules:
            name, module = self._modules.popitem()
            try:
                left = max(deadline - time.monotonic(), min(_GRACE, whole))
                with self._frame.signals.deadline(left):
                    module.destroy()
                log.debug("module destroyed %s", pairs(module=name))
            except Stop:
                facts = pairs(module=name, reason="destroy-timeout")
                log.exception("module destroy abandoned %s", facts)
            except BaseException:
                log.exception("module destroy failed %s", pairs(module=name))
        self._sweep(frozenset())

    def _release(self) -> None:
        """Give back what this generation alone had."""
        self._frame.resources.release(self._mark)
        remove(self._frame.runtime.temporary)
        self._readiness.close()
        for slot in self._slots:
            os.close(slot.black_box)
        self._board.close()
        if self.number % _THAW_EVERY == 0:
            gc.unfreeze()

    def _totals(self) -> dict[str, int]:
        return stats.counters(self._board.snapshot())

    def _name(self, slot: Slot, pid: int) -> str:
        return pairs(worker=slot.name, slot=slot.number, generation=self.number, pid=pid)


def _plan(sections: Iterable[LoadedSection]) -> list[Slot]:
    """Slots in file order. The black boxes come one after another, so they are few ranges."""
    places = [(section, rank) for section in sections for rank in range(section.children)]
    return [
        Slot(number, rank, section, os.memfd_create(f"black-box-{number}"))
        for number, (section, rank) in enumerate(places)
    ]


def _as_start_failure(cause: Cause) -> Cause:
    if cause.signum is not None:
        return cause
    return cause._replace(reason="start-failure", status=Exit.START_FAILED)


def _read_black_box(descriptor: int) -> str:
    size = os.fstat(descriptor).st_size
    data = os.pread(descriptor, _BLACK_BOX_SIZE, max(0, size - _BLACK_BOX_SIZE))
    return own_part(data.decode("utf-8", "replace"))


def _warn_of_threads() -> None:
    names = [
        thread.name for thread in threading.enumerate() if thread is not threading.main_thread()
    ]
    if names:
        log.warning("threads alive before the fork %s", pairs(threads=", ".join(names)))
