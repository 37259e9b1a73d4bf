"""One generation: what it has, and every act upon it. It decides nothing; see children.py."""

from __future__ import annotations

import gc
import itertools
import os
import signal
import time
from collections.abc import Callable, Collection, Iterable
from contextlib import ExitStack
from functools import partial
from typing import Final, NamedTuple, NoReturn

from supervisor.child.child import Child
from supervisor.child.life import Life
from supervisor.child.place import Place
from supervisor.child.renewal import Limits
from supervisor.child.shared import Server
from supervisor.log.entries import log
from supervisor.master.booted import Booted, Slot, slots_of
from supervisor.master.deaths import Deaths
from supervisor.master.modules import Modules
from supervisor.master.readiness import Readiness
from supervisor.master.standing import Standing
from supervisor.master.threads import warn_of_threads
from supervisor.master.verdicts import Ended
from supervisor.scoreboard.layout import ACTIVE, ERRORS, REQUESTS, ServerState, State
from supervisor.scoreboard.records import Drain, History
from supervisor.scoreboard.writer import Scoreboard
from supervisor.system import descriptors, process
from supervisor.system.process import Death
from supervisor.views import statistics

# Thawing makes the next generation collect the whole heap, 7 ms; never, and cycles of the dead
# generations would pile up.
_THAW_EVERY: Final = 16


class _Foreign(NamedTuple):
    """To be closed in a child: descriptors of the master and of other generations, the black boxes
    of this one but for its own, and how other generations learn that they are ready.
    """

    closed: tuple[range, ...]
    boxes: tuple[range, ...]
    readiness: list[Readiness]


class Generation:
    """Made, then `init`, `fork`, `tell`, `destroy`; `release` gives back all it had at any stage.

    `_stack` holds what is to be given back, so a generation that fails half-way leaves nothing.
    """

    def __init__(self, booted: Booted, number: int, history: History) -> None:
        self.number = number
        self.begun = time.monotonic()
        self.first_fork = 0.0  # s since the machine's boot, as /proc tells of processes
        self.fork_begun = 0.0  # the same instant, monotonic s
        self.helpers: frozenset[int] = frozenset()  # what its modules run: theirs to end
        self.slots = slots_of(booted.loaded.sections)
        self.modules = Modules(booted.signals)
        self._is_published = False
        self._booted = booted
        self._limits = Limits(
            booted.config.master.renew.requests, booted.config.master.renew.memory
        )
        booted.runtime.ensure()
        self._ready: set[int] = set()  # slots
        self._forked_at: dict[int, float] = {}  # monotonic s, by slot
        descriptors.allow_descriptors(len(self.slots))
        self._resources = booted.resources.branch()
        self._boxes: list[int] = []
        with ExitStack() as stack:
            stack.callback(self._resources.release)
            stack.callback(_close_all, self._boxes)
            for slot in self.slots:
                self._boxes.append(os.memfd_create(f"black-box-{slot.number}"))
            self.readiness = Readiness()
            stack.callback(self.readiness.close)
            self.board = Scoreboard(
                booted.runtime.scoreboard, len(self.slots), number, booted.started_at
            )
            stack.callback(self.board.close)
            self._stack = stack.pop_all()
        self.board.set_history(history)
        self._history = history
        self.shared = booted.loaded.shared.for_generation()
        self._stack.callback(self.shared.close)
        self.deaths = Deaths(number, self.slots, self.board, self.shared, history)

    # Before the fork.

    def init(self, start_by: float) -> None:
        """Make the modules. Raises StartError, Stop."""
        before = set(process.own_children())
        self.shared.stand_at(self.board.words, self.board.row_base(-1))
        for loaded in self._booted.loaded.modules:
            self.modules.init(loaded.name, loaded, self._server, start_by)
            self._resources.look()
        self.shared.write_initial()
        self.board.describe(self._booted.describe(self.shared))
        self.helpers = frozenset(set(process.own_children()) - before)

    def _server(self, owner: str) -> Server:
        return Server(
            owner,
            self._booted.config.name,
            self.number,
            self.shared,
            self._resources,
            lambda: statistics.counters(self.board.snapshot()),
            len(self.slots),
            self._booted.file,
        )

    # The fork.

    def fork(
        self,
        numbers: Collection[int],
        table: dict[int, int],
        others: Iterable[Generation],
    ) -> None:
        """Fork these slots and note each in `table`, slot by pid, as it comes. `others` live
        beside. Raises SystemFailure.
        """
        slots = [slot for slot in self.slots if slot.number in numbers]
        foreign = self._foreign(tuple(others))
        try:
            lives = [(slot.number, self._life(slot, foreign)) for slot in slots]
            gc.collect()
            gc.freeze()
            warn_of_threads()
            self.first_fork = self.first_fork or time.clock_gettime(time.CLOCK_BOOTTIME)
            self.fork_begun = self.fork_begun or time.monotonic()
            process.fork_all(lives, table)
        finally:
            is_last = len(self._forked_at) == len(self.slots)
            self.readiness.seal(numbers, table.values(), is_last=is_last)

    def _foreign(self, others: tuple[Generation, ...]) -> _Foreign:
        """To be closed in every child: found once, for each object that is looked at there costs a
        copy of its page.
        """
        booted, boxes = self._booted, (one._boxes for one in others)
        private = itertools.chain.from_iterable(tell() for tell in booted.private)
        closed = sorted({*private, *booted.runtime.descriptors(), *itertools.chain(*boxes)})
        ranges = descriptors.ranges_of
        return _Foreign(ranges(closed), ranges(self._boxes), [one.readiness for one in others])

    def _life(self, slot: Slot, foreign: _Foreign) -> Callable[[], NoReturn]:
        """The life of one child: made before the first fork, lived in its own process only."""
        place = self.place(slot)._replace(drop_foreign=partial(self._drop_foreign, slot, foreign))
        watch = slot.worker.watch(place)
        if watch is not None:
            self.readiness.add(slot.number, watch)
            place = place._replace(is_watched=True)
        self.board.begin_slot(slot.number)
        self._forked_at[slot.number] = time.monotonic()
        return self.life(slot, place).live

    def life(self, slot: Slot, place: Place) -> Life:
        """The life that the process of this slot will live."""
        modules, recorder = self.modules.living, self._booted.signals
        return Life(Child(place, slot.worker, modules, self.board, self.shared, recorder))

    def place(self, slot: Slot) -> Place:
        """Everything that the child of this slot is told."""
        booted = self._booted
        return Place(
            server=booted.config.name,
            section=slot.section,
            slot=slot.number,
            rank=slot.rank,
            generation=self.number,
            master=os.getpid(),
            listeners=booted.listeners[slot.section],
            stop_timeout=booted.config.master.stop_timeout,
            request_timeout=slot.request_timeout,
            runtime=booted.runtime.path,
            tempdir=booted.runtime.tempdir(self.number, slot.number),
            ready=self.readiness.writer,
            limits=self._limits,
            is_watched=False,
            black_box=self._boxes[slot.number],
            drop_foreign=_nothing,
            group_is_ours=booted.group.is_ours_alone,
        )

    def _drop_foreign(self, slot: Slot, foreign: _Foreign) -> None:
        """In a child: close what belongs to the master or to other children."""
        if self._booted.launcher is not None:
            self._booted.launcher.leave_streams()
        for one in foreign.closed:
            os.closerange(one.start, one.stop)
        for section, listeners in self._booted.listeners.items():
            if section != slot.section:
                for listener in listeners:
                    listener.socket.close()
        self.readiness.drop_foreign(slot.number)
        descriptors.close_others(foreign.boxes, self._boxes[slot.number])
        for readiness in foreign.readiness:
            readiness.close()
        descriptors.limit_descriptors(self._booted.descriptor_limit)

    # While it lives.

    def become_ready(self, number: int, pid: int) -> None:
        """A child is: note and log it."""
        self._ready.add(number)
        self.board.mark_ready(number)
        after = time.monotonic() - self._forked_at[number]
        log.info("child ready", **self.deaths.facts(number, pid), after=after)

    def hear_no_more(self) -> None:
        """All children are ready: nothing more comes through the pipe, unless they grow old."""
        if not self._limits:
            self.readiness.complete()

    def publish(self) -> None:
        """Let readers find this generation's scoreboard under the server's name, from now on."""
        if not self._is_published:
            self.board.publish()
            self._is_published = True

    def set_state(self, state: ServerState) -> None:
        """Set the state of the server that readers see."""
        self.board.set_server_state(state)

    def close_door(self) -> None:
        """Let the children serve what waits in the queues, for nobody comes after them."""
        self.board.close_door()

    def tell(self, pids: dict[int, int]) -> list[int]:
        """Stop those (slot by pid) that want another signal than TERM; return the pids of the
        rest.
        """
        rest = []
        for pid, number in pids.items():
            if self.readiness.is_watched(number):
                self.board.set_state(number, State.STOPPING)
            signum = self.slots[number].worker.stop_signal
            if signum == signal.SIGTERM:
                rest.append(pid)
                continue
            process.tell(pid, signum)
            if number not in self._ready:
                process.tell(pid, signal.SIGTERM)  # it may still be our code
        return rest

    def kill(self, number: int, pid: int, reason: str) -> None:
        """SIGKILL a child, and count it."""
        facts = self.deaths.facts(number, pid)
        log.warning("child killed", **facts, signal="SIGKILL", reason=reason)
        process.kill(pid)
        self.deaths.count_forced(number, pid, reason)

    def linger(self) -> None:
        """The server is about to end: it is not ready any more, and answers end connections."""
        self.board.begin_drain_delay()

    @property
    def forked(self) -> int:
        """How many children it has so far: exclusive ones may still be held back."""
        return len(self._forked_at)

    @property
    def is_published(self) -> bool:
        """True once readers were shown this generation."""
        return self._is_published

    def drain(self, children: int) -> Drain:
        """The line that readers are shown of it once a newer one serves."""
        return Drain(self.number, os.getpid(), self.board.total(ACTIVE), children)

    def show_history(self) -> None:
        """Let readers see what went wrong."""
        self.board.set_history(self._history)

    # The death of a child.

    def examine(self, number: int, death: Death, life: Standing) -> Ended:
        """Collect what is known of a dead child, before its row and its files go."""
        ended = self.deaths.examine(
            number,
            death,
            self._boxes[number],
            uptime=time.monotonic() - self._forked_at[number],
            is_late=number in life.late_slots,
            is_cause=not life.is_told,
        )
        self.readiness.forget(number)
        self._booted.runtime.clear_child(self.number, number)
        return ended

    # The end.

    def log_last_statistics(self) -> None:
        """Log its last statistics, when its last child is gone."""
        if not self._is_published:
            return  # no child was ever made
        requests, errors = (self.board.total(word) for word in (REQUESTS, ERRORS))
        killed = self.deaths.forced or None
        log.info("last statistics", requests=requests, errors=errors, killed=killed)

    def destroy(self) -> None:
        """Destroy its modules."""
        self.modules.destroy(self._booted.config.master.destroy_timeout)

    def release(self) -> None:
        """Give back all that this generation alone had."""
        self._stack.close()
        self._booted.runtime.clear_generation(self.number)
        if self.number % _THAW_EVERY == 0:
            gc.unfreeze()


def _nothing() -> None:
    """For a child that has nothing of others."""


def _close_all(numbers: Iterable[int]) -> None:
    for one in descriptors.ranges_of(numbers):
        os.closerange(one.start, one.stop)
