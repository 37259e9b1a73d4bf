"""A child as worker, module and handler code sees it. Its life is in life.py."""

from __future__ import annotations

import os
import signal
import socket
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, NamedTuple

from supervisor.child.arrivals import Arrivals, ending
from supervisor.child.order import Order
from supervisor.child.place import Place
from supervisor.child.renewal import Limits, Renewal
from supervisor.child.requests import Batch, InHand, Request, Requests, TimedStep
from supervisor.child.slow import WatchedRequests
from supervisor.errors import Stop
from supervisor.log import entries
from supervisor.scoreboard.layout import STRIDE, State
from supervisor.scoreboard.lock import Lock
from supervisor.scoreboard.reader import Snapshot
from supervisor.scoreboard.row import Block, Counter, Row
from supervisor.scoreboard.writer import Scoreboard
from supervisor.system import process
from supervisor.system.files import remove_file
from supervisor.system.listeners import Listener, Peer
from supervisor.system.recorder import SignalRecorder
from supervisor.system.resources import Resources
from supervisor.system.tempdirs import make_journal_of, make_tempdir

if TYPE_CHECKING:
    from supervisor.child.module import Module
    from supervisor.child.shared import Shared
    from supervisor.child.worker import Worker

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
        self.place = place
        self._board = board
        self._shared = shared
        self._recorder = recorder
        self._order = Order(recorder)
        base = board.row_base(place.slot)
        row, slow = board.words[base : base + STRIDE], worker.section.common.slow_request
        self._requests = (
            WatchedRequests(row, place.request_timeout, slow, self._tell_slow)
            if slow
            else Requests(row, place.request_timeout)
        )
        self._resources: Resources | None = None

    # To stop.

    @property
    def stopping(self) -> bool:
        """True once this child was told to stop."""
        return self._order.signum is not None

    @property
    def is_orphan(self) -> bool:
        """True when the master is dead."""
        return os.getppid() != self.place.master

    def poll(self) -> None:
        """Raise Stop once this child was told to stop. For work that computes instead of
        waiting.
        """
        if self._order.signum is not None:
            raise Stop(self._order.signum)

    def when_told(self, callback: Callable[[], object]) -> None:
        """Call `callback`, inside the signal handler, once told to stop; at once if we were.

        For workers whose event loop waits: it may only wake that loop. `wakeup` ends the wait.
        """
        self._order.when_given(callback)

    # To wait.

    def wait(self) -> Iterator[Listener]:
        """Yield each listener that has something to accept or receive, until told to stop.

        Where the server ends for good, then also those whose accept queues still hold something.
        """
        return self._arrivals().ready()

    def connections(self) -> Iterator[tuple[socket.socket, Peer]]:
        """Yield each connection (blocking), with the peer's address, as `wait` yields listeners."""
        return self._arrivals().connections()

    def sleep(self, seconds: float) -> None:
        """Wait for so long; raise Stop at once when this child is told to stop. Any thread."""
        wake_at = time.monotonic() + seconds
        self.poll()
        while (left := wake_at - time.monotonic()) > 0:
            self._order.wait(left)
            self.poll()

    def pause(self, timeout: float | None = None, *descriptors: int) -> None:
        """Wait until told to stop, a descriptor is readable, or `timeout` seconds have passed.

        For a worker with a loop of its own; it may return early, so look again at what you wait
        for.
        """
        if self._order.signum is None:
            self._order.wait(timeout, *descriptors)

    @property
    def wakeup(self) -> SignalRecorder:
        """Its descriptor becomes readable with each signal, for an event loop of the main thread to
        watch and `clear`.
        """
        return self._recorder

    @property
    def others_serve(self) -> bool:
        """Once told to stop: True where the next generation, or a successor, serves already."""
        return self._board.is_shared or not (self.is_orphan or self._board.door_is_closed)

    def ending_listeners(self) -> list[Listener]:
        """Once told to stop: the listeners whose queues nobody will serve after us; none where they
        outlive us.
        """
        return ending(self.listeners, self._board, is_orphan=self.is_orphan)

    # Requests.

    @property
    def requests(self) -> Counts:
        """The requests of this child."""
        return Counts(self._requests.active, self.row.view().requests)

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

    def burst(self) -> Batch:
        """Context of requests that follow each other at once, one in hand at a time: cheaper than a
        `request` for each. Call `done` after each.
        """
        return self._requests.batch()

    def step(self) -> TimedStep | None:
        """Context, again and again, of what a request that is not `timed` does between two waits:
        longer than `request_timeout` it may not compute. None where requests have no deadline.
        """
        return TimedStep(self._requests) if self._requests.has_deadline else None

    @property
    def served(self) -> Requests:
        """Where a worker notes what it serves, when a `request` for each says too little: names of
        requests in hand, answers by class of status, open connections.
        """
        return self._requests

    # What it shares with others, and what is its own.

    @property
    def block(self) -> Block:
        """The words that the children of this section share."""
        return self._board.block(self.slot - self.rank)

    @property
    def server_is_ending(self) -> bool:
        """True once each answer should end its connection, though nobody was told to stop yet."""
        return self._board.is_draining

    @property
    def ending(self) -> memoryview:
        """One word, not 0 while `server_is_ending`: for code that runs for every request, where a
        call costs.
        """
        return self._board.ending

    def counter(self, name: str) -> Counter:
        """A counter declared before the fork, `module.name` or the own section's `name`. Raises
        KeyError.
        """
        word = self._shared.counters[self._full(name, self._shared.counters)]
        return Counter(self._shared.row, word)

    def lock(self, name: str) -> Lock:
        """A lock declared before the fork, `module.name` or the own section's `name`. Raises
        KeyError.
        """
        return self._shared.locks[self._full(name, self._shared.locks)]

    def snapshot(self) -> Snapshot:
        """A copy of the whole scoreboard, as a reader from outside would see it."""
        return self._board.snapshot()

    @property
    def resources(self) -> Resources:
        """Resources that must not outlive this child: `add_path` before a file or directory is
        made, and it is gone after every end, SIGKILL of this child or of the master included.
        """
        if self._resources is None:
            self._resources = Resources()
            self._resources.use_journal(make_journal_of(self.place.tempdir))
        return self._resources

    @property
    def tempdir(self) -> Path:
        """A directory of this child alone, removed by the master after the child's end, however it
        ends.
        """
        return make_tempdir(self.place.tempdir)

    # For its life alone.

    @property
    def row(self) -> Row:
        """Where this child writes, once it is the one that lives here."""
        return self._shared.row

    def become_current(self) -> None:
        """This process is this child from now on: what it counts and locks stands in its row."""
        global _current
        _current = self
        self._order.begin()
        base = self._board.row_base(self.slot)
        self._shared.stand_at(self._board.words, base, self._wait_for_lock)
        self.row.note_pid(os.getpid())

    def watch_itself(self, limits: Limits) -> None:
        """Tell the master when this child has grown old."""
        renewal = Renewal(limits, self.slot, self.place.ready, process.proportional_size)
        self._requests.look_at(renewal.first_look(), renewal.look)

    def tell_to_stop(self, signum: signal.Signals) -> None:
        """Called in the handlers of the signals that mean it; the first one counts."""
        if self.stopping:
            return
        self._order.give(signum)
        # A little before the master's SIGKILL, so that a late child still tells where it hangs.
        timeout = self.place.stop_timeout
        self._requests.stop_by(time.monotonic() + timeout - min(_HEAD_START, timeout / 10))

    def claim_group(self) -> bool:
        """True for the first orphan of this server that asks: it tells the process group."""
        return self._board.claim_group()

    def note_resources(self) -> None:
        """The files that were made by now at the paths of `resources` are this child's."""
        if self._resources is not None:
            self._resources.look()

    def release_resources(self) -> None:
        """Remove what is left of `resources`."""
        if self._resources is not None:
            self._resources.release()
            remove_file(make_journal_of(self.place.tempdir))

    def _arrivals(self) -> Arrivals:
        return Arrivals(self.listeners, self._order, self._recorder, self.ending_listeners)

    def _tell_slow(self, request: InHand, stack: str) -> None:
        self.log.warning("slow request", extra={**request.facts, "traceback": stack})

    def _full(self, name: str, known: Mapping[str, Any]) -> str:
        own = f"{self.place.section}.{name}"
        return own if own in known else name

    def _wait_for_lock(self, lock: Lock, timeout: float | None) -> bool:
        """Wait until the lock is ours; False at the timeout. Raises Stop if that would be in
        vain.
        """
        give_up_at = None if timeout is None else time.monotonic() + timeout
        while not lock.try_take():
            if self.stopping and (not self._requests.active or self._owner_died(lock)):
                self.poll()
            left = None if give_up_at is None else give_up_at - time.monotonic()
            if left is not None and left <= 0:
                return False
            self._order.wait(left, lock.fileno())
        return True

    def _owner_died(self, lock: Lock) -> bool:
        return self.is_orphan or self._board.state_of_owner(lock.number) is State.DEAD
