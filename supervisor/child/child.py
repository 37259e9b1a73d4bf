"""One child's life, top to bottom; and what worker, module and handler code sees of it."""

from __future__ import annotations

import os
import select
import signal
import struct
import time
import traceback
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple, NoReturn

from supervisor.child.requests import Burst, Request, Requests, Step
from supervisor.errors import Exit, Stop
from supervisor.log import entries
from supervisor.log.entries import log
from supervisor.scoreboard.layout import (
    ACTIVE,
    BUSY,
    BYTES,
    ERRORS,
    H_DOOR,
    PID,
    READY_AT,
    REQUESTS,
    STATE,
    STRIDE,
    State,
)
from supervisor.scoreboard.lock import Lock
from supervisor.scoreboard.reader import Snapshot
from supervisor.scoreboard.row import Counter
from supervisor.scoreboard.writer import Scoreboard
from supervisor.system import process, signals
from supervisor.system.clock import wall_clock
from supervisor.system.listeners import Listener
from supervisor.system.resources import Resources, journal_of
from supervisor.system.signals import Action, SignalRecorder

if TYPE_CHECKING:
    from supervisor.child.module import Module
    from supervisor.child.shared import Shared
    from supervisor.child.worker import Worker

# Connections taken in a row from one listener before the others are looked at.
_IN_A_ROW: Final = 64

_HEAD_START: Final = 0.1  # s

_current: Child | None = None


def current() -> Child:
    """Return the Child that this process is. Raises LookupError in the master."""
    if _current is None:
        raise LookupError("not in a child")
    return _current


class Counts(NamedTuple):
    """Requests in hand, and those that have ended."""

    active: int
    ended: int


class Place(NamedTuple):
    """Everything that the master decides about a child before the fork. Times in seconds."""

    server: str
    section: str
    slot: int
    rank: int
    generation: int
    master: int  # pid
    listeners: tuple[Listener, ...]
    stop_timeout: float
    request_timeout: float
    tempdir: Path
    ready: int  # descriptor: the slot number is written when ready
    is_watched: bool  # somebody else tells when this child is ready
    black_box: int  # descriptor
    drop_foreign: Callable[[], None]  # closes what belongs to the master or to other children
    group_is_ours: bool


class Child:
    """This process, as user code sees it."""

    def __init__(
        self,
        place: Place,
        worker: Worker,
        modules: Mapping[str, Module],
        board: Scoreboard,
        shared: Shared,
        recorder: SignalRecorder,
    ) -> None:
        self.slot = place.slot
        self.rank = place.rank
        self.generation = place.generation
        self.listeners: Sequence[Listener] = place.listeners
        self.worker = worker
        self.modules = modules
        self.log = entries.logger(place.section)
        self._place = place
        self._board = board
        self._shared = shared
        self._words = board.words
        self._base = board.row_base(place.slot)
        self._signals = recorder
        self._stop_signal: signal.Signals | None = None
        row = board.words[self._base : self._base + STRIDE]
        self._requests = Requests(row, place.request_timeout)
        self._printing = False
        self._initialised: list[Module] = []
        self._resources: Resources | None = None
        self._when_told: Callable[[], object] | None = None

    # What user code may call.

    @property
    def requests(self) -> Counts:
        """The requests of this child."""
        return Counts(self._requests.active, self._words[self._base + REQUESTS])

    @property
    def stopping(self) -> bool:
        """True once this child was told to stop."""
        return self._stop_signal is not None

    @property
    def is_orphan(self) -> bool:
        """True when the master is dead."""
        return os.getppid() != self._place.master

    @property
    def black_box(self) -> int:
        """The descriptor of what stands in the crash report, should this child die."""
        return self._place.black_box

    def poll(self) -> None:
        """Raise Stop once this child was told to stop. For work that computes instead of
        waiting.
        """
        if self._stop_signal is not None:
            raise Stop(self._stop_signal)

    def sleep(self, seconds: float) -> None:
        """Wait for so long; raise Stop at once when this child is told to stop."""
        wake_at = time.monotonic() + seconds
        self.poll()
        while (left := wake_at - time.monotonic()) > 0:
            self._signals.wait(left)
            self.poll()

    def wait(self) -> Iterator[Listener]:
        """Yield each listener that has something to accept or receive, until told to stop.

        Where the server ends for good, then also what already waits in the accept queues. Many
        children wait on one socket, one is woken (EPOLLEXCLUSIVE, epoll_ctl(2)); no signal is lost
        between test and wait.
        """
        by_descriptor = {listener.fileno(): listener for listener in self.listeners}
        with select.epoll() as epoll:
            epoll.register(self._signals.fileno(), select.EPOLLIN)
            for descriptor in by_descriptor:
                epoll.register(descriptor, select.EPOLLIN | select.EPOLLEXCLUSIVE)
            while self._stop_signal is None:
                for descriptor, _ in epoll.poll():
                    if descriptor not in by_descriptor:
                        self._signals.clear()
                    elif self._stop_signal is None:
                        yield from self._in_a_row(by_descriptor[descriptor])
        yield from self._what_waits()

    def pause(self, timeout: float | None = None, *descriptors: int) -> None:
        """Wait until told to stop, a descriptor is readable, or `timeout` seconds have passed.

        For a worker with a loop of its own; it may return early, so look again at what you wait
        for.
        """
        if self._stop_signal is None:
            self._signals.wait(timeout, *descriptors)

    def snapshot(self) -> Snapshot:
        """A copy of the whole scoreboard, as a reader from outside would see it."""
        return self._board.snapshot()

    def wait_for_stop(self) -> None:
        """Sleep until told to stop. For workers whose threads serve."""
        while not self.stopping:
            self._signals.wait(None)

    def wait_until(self, descriptor: int) -> None:
        """Sleep until `descriptor` is readable, told to stop or not; signals are heeded."""
        ready = select.poll()
        ready.register(descriptor, select.POLLIN)
        while not ready.poll(0):
            self._signals.wait(None, descriptor)

    def when_told(self, callback: Callable[[], object]) -> None:
        """Call `callback`, inside the signal handler, once told to stop; at once if we were.

        For workers whose event loop waits: it may only wake that loop. `wakeup` ends the wait.
        """
        self._when_told = callback
        if self.stopping:
            callback()

    @property
    def wakeup(self) -> SignalRecorder:
        """What becomes readable with each signal, for an event loop to watch and `clear`."""
        return self._signals

    def ending_listeners(self) -> list[Listener]:
        """Once told to stop: the listeners whose queues nobody will serve after us; none where they
        outlive us.
        """
        ending = [one for one in self.listeners if one.is_stream and not one.inherited]
        if self.is_orphan:
            for listener in ending:
                listener.close_door()
        elif not self._words[H_DOOR]:
            return []
        for listener in ending:
            listener.door_closed = True
        return ending

    def request(self, name: str = "", *, timed: bool = True) -> Request:
        """Context of one request: state, counts, latency, deadline. `name` shows in statistics and
        crash reports.

        An exception that leaves it counts as an error of that request. One that is not `timed`
        (a WebSocket) has no deadline and no latency.
        """
        return Request(self._requests, name, timed)

    def serve_from_threads(self, count: int) -> None:
        """Let requests begin and end in so many other threads than the main one. Call it in
        `init`.
        """
        self._requests.serve_from_threads(count)

    def burst(self) -> Burst:
        """Context of requests that follow each other at once, one in hand at a time: cheaper than a
        `request` for each. Call `done` after each.
        """
        return Burst(self._requests)

    def step(self) -> Step | None:
        """Context, again and again, of what a request that is not `timed` does between two waits:
        longer than `request_timeout` it may not compute. None where requests have no deadline.
        """
        return Step(self._requests) if self._requests.has_deadline else None

    def counter(self, name: str) -> Counter:
        """A counter declared before the fork, `module.name` or the own section's `name`. Raises
        KeyError.
        """
        return Counter(
            self._shared.row, self._shared.counters[self._full(name, self._shared.counters)]
        )

    def lock(self, name: str) -> Lock:
        """A lock declared before the fork, `module.name` or the own section's `name`. Raises
        KeyError.
        """
        return self._shared.locks[self._full(name, self._shared.locks)]

    def count_bytes(self, amount: int) -> None:
        """Add to the bytes that this child transferred."""
        self._words[self._base + BYTES] += amount

    @property
    def resources(self) -> Resources:
        """What must not outlive this child: `add_path` before a file or directory is made, and it
        is gone after every end, SIGKILL of this child or of the master included.
        """
        if self._resources is None:
            self._resources = Resources()
            self._resources.use_journal(journal_of(self._place.tempdir))
        return self._resources

    @property
    def tempdir(self) -> Path:
        """A directory of this child alone, removed by the master after the child's end, however it
        ends.
        """
        path = self._place.tempdir
        path.mkdir(mode=0o700, parents=True, exist_ok=True)
        return path

    def _full(self, name: str, known: Mapping[str, Any]) -> str:
        own = f"{self._place.section}.{name}"
        return own if own in known else name

    def _in_a_row(self, listener: Listener) -> Iterator[Listener]:
        yield listener
        for _ in range(_IN_A_ROW):
            if not listener.more or self._stop_signal is not None:
                return
            yield listener

    def _what_waits(self) -> Iterator[Listener]:
        """Where the door was closed, each listener as long as its accept queue holds something."""
        for listener in self.ending_listeners():
            while listener.has_waiting():
                yield listener

    # Signals: children handle them directly.

    def _told_to_stop(self, signum: signal.Signals) -> None:
        if self._stop_signal is not None:
            return
        self._stop_signal = signum
        # A little before the master's SIGKILL, so that a late child still tells where it hangs.
        timeout = self._place.stop_timeout
        self._requests.stop_by(time.monotonic() + timeout - min(_HEAD_START, timeout / 10))
        if self._when_told is not None:
            self._when_told()

    def _print_statistics(self, _signum: signal.Signals) -> None:
        if self._printing:
            return
        self._printing = True
        words, base = self._words, self._base
        state = State(words[base + STATE] & 7).name.lower()
        facts = {"requests": REQUESTS, "errors": ERRORS, "active": ACTIVE}
        numbers = {name: words[base + word] for name, word in facts.items()}
        busy = words[base + BUSY] / 1e9
        log.info("statistics", state=state, **numbers, busy=busy)
        self._printing = False

    def _wait_for_lock(self, lock: Lock, timeout: float | None) -> bool:
        """Wait until the lock is ours; False at the timeout. Raises Stop if that would be in
        vain.
        """
        give_up_at = None if timeout is None else time.monotonic() + timeout
        while not lock.try_take():
            if self._stop_signal is not None and (
                not self._requests.active or self._owner_died(lock)
            ):
                raise Stop(self._stop_signal)
            left = None if give_up_at is None else give_up_at - time.monotonic()
            if left is not None and left <= 0:
                return False
            self._signals.wait(left, lock.fileno())
        return True

    def _owner_died(self, lock: Lock) -> bool:
        return self.is_orphan or self._board.state_of_owner(lock.number) is State.DEAD

    def _set_state(self, state: State) -> None:
        self._shared.row.set_state(state)

    # Life.

    def live(self) -> NoReturn:
        """Be this child until the end. Called right after the fork, with all signals blocked."""
        code = Exit.CRASH
        try:
            self._detach()
            code = self._work()
        except BaseException as error:
            self._put_into_black_box(error)
        finally:
            if self.is_orphan and self._place.group_is_ours:
                process.terminate_own_group()
            process.leave(code)

    def _detach(self) -> None:
        """Cut the ties to the master, become the slot, and only then let signals through."""
        place = self._place
        title = f"supervisor: {place.server} {place.section}[{place.rank}]"
        process.become_child(f"{place.section}/{place.slot}", title, place.master)
        place.drop_foreign()
        self._become_current()
        signals.dump_at_faults(place.black_box)
        self._signals.become_child(
            {Action.STOP: self._told_to_stop, Action.STATISTICS: self._print_statistics}
        )
        signals.dump_at_deadline(place.black_box)
        signals.unblock_all()

    def _become_current(self) -> None:
        global _current
        _current = self
        row = self._shared.row
        row.words, row.base, row.wait_for = self._words, self._base, self._wait_for_lock
        self._words[self._base + PID] = os.getpid()

    def live_here(self) -> Exit:
        """Be this child in the master's own process (`--dont-fork`); returns what the exit code
        would be.
        """
        self._become_current()
        return self._work()

    def _work(self) -> Exit:
        """Init, ready, run, close; returns the exit code."""
        try:
            with self._signals.stop_raised():
                for module in self.modules.values():
                    module.child_init(self)
                    self._initialised.append(module)
                self.worker.init(self)
        except Stop:
            return self._leave_modules(Exit.OK)
        except BaseException as error:
            self._put_into_black_box(error)
            return self._leave_modules(Exit.START_FAILED)
        if not self._place.is_watched:
            self._report_ready()
        code = self._run()
        self.close_worker()
        return self._leave_modules(code)

    def _report_ready(self) -> None:
        self._words[self._base + READY_AT] = wall_clock()
        if self._stop_signal is None:
            self._set_state(State.IDLE)
        if self._place.ready >= 0:
            os.write(self._place.ready, struct.pack("=I", self.slot))
            os.close(self._place.ready)

    def _run(self) -> Exit:
        try:
            self.worker.run(self)
        except Stop:
            pass
        except BaseException as error:
            self._put_into_black_box(error)
            return Exit.CRASH
        if self.stopping:
            return Exit.OK
        if self.worker.may_finish:
            self._set_state(State.FINISHED)
            return Exit.OK
        self._write_black_box(
            f"{type(self.worker).__name__}.run() returned without being told to\n"
        )
        return Exit.CRASH

    def close_worker(self) -> None:
        """Call the worker's `close`; an exception in it is logged."""
        try:
            self.worker.close()
        except BaseException:
            log.exception("worker close failed")

    def _leave_modules(self, code: Exit) -> Exit:
        """Call `child_exit` of what was initialised, in reverse, each once; then give back the
        rest.
        """
        while self._initialised:
            module = self._initialised.pop()
            try:
                module.child_exit(self)
            except BaseException:
                log.exception("child_exit failed", module=type(module).__name__)
        if self._resources is not None:
            self._resources.release()
            journal_of(self._place.tempdir).unlink(missing_ok=True)
        return code

    def abandon(self) -> None:
        """Close worker and modules from inside a signal handler (`--dont-fork`)."""
        if self._words[self._base + READY_AT]:
            self.close_worker()
        self._leave_modules(Exit.OK)

    def _put_into_black_box(self, error: BaseException) -> None:
        self._write_black_box("".join(traceback.format_exception(error)))

    def _write_black_box(self, text: str) -> None:
        data = text.encode("utf-8", "backslashreplace")
        os.write(self._place.black_box, data[-32_768:])
