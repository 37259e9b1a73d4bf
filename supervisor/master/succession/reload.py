"""A reload as the predecessor performs it: the successor is started, told, given the server."""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Callable, Iterable
from functools import singledispatchmethod

from supervisor.errors import Exit, SystemFailure
from supervisor.log.entries import log
from supervisor.master.acts import Acts
from supervisor.master.booted import Booted
from supervisor.master.cause import Cause
from supervisor.master.children import Children
from supervisor.master.succession import messages, state
from supervisor.master.succession.bequest import bequest_of, listeners_of
from supervisor.master.succession.elders import Elders
from supervisor.master.succession.messages import (
    Ask,
    Done,
    Drains,
    Failed,
    Hurry,
    Launched,
    Take,
    Told,
    Yours,
)
from supervisor.master.succession.orders import Client, Orders
from supervisor.master.succession.predecessor import VARIABLE
from supervisor.master.succession.state import Succession
from supervisor.master.succession.successor import Successor
from supervisor.master.verdicts import Tell, Verdict
from supervisor.scoreboard.records import Drain
from supervisor.system import process
from supervisor.system.channel import pair
from supervisor.system.pidfd import PidFd

_BUSY = Failed(Exit.ALREADY_RUNNING, "a reload is under way; try again when it is done")
_NOT_READY = Failed(Exit.ALREADY_RUNNING, "the server is not ready; try again when it is")
_EXCLUSIVE = Failed(
    Exit.CONFIG, "a module is exclusive, which bears no second master; stop the server and start it"
)


class Reload:
    """Performs what the table of the succession says. `elders` are the masters before this one."""

    def __init__(
        self,
        booted: Booted,
        children: Children,
        acts: Acts,
        elders: Elders,
        add: Callable[[Iterable[Verdict]], None],
    ) -> None:
        self.table = Succession()
        self.successor: Successor | None = None
        self._orders = Orders()
        self._client: Client | None = None
        self._server_ends = False  # as the successor has said, which serves
        self._booted = booted
        self._children = children
        self._acts = acts
        self._elders = elders
        self._add = add
        predecessor = booted.start.predecessor
        self._settings = () if predecessor is None else predecessor.bequest.settings

    # For the loop.

    def descriptors(self) -> list[int]:
        """Readable when `look` has something to do."""
        control = self._booted.runtime.control
        found = [] if control is None or not self._may_ask else [control.fileno()]
        if self.successor is not None and not self.successor.channel.is_over:
            found.append(self.successor.channel.fileno())
        return [*found, *self._orders.descriptors()]

    def private(self) -> list[int]:
        """For a child to close."""
        client = [] if self._client is None else [self._client.fileno()]
        channel = [] if self.successor is None else [self.successor.channel.fileno()]
        return [*client, *channel, *self._orders.descriptors()]

    def look(self, now: float) -> None:
        """Hear what the successor, and those who ask for one, have to say."""
        self._listen(now)
        control = self._booted.runtime.control
        if control is not None and self._may_ask:
            for client in self._orders.take(control):
                self._answer(client)
        self._perform(self.table.tick(now))

    def end(self, line: str) -> None:
        """The server ends: `line` says why where nobody has told it to."""
        kill_at = time.monotonic() + self._booted.config.master.stop_timeout
        self._perform(self.table.ending(kill_at, line))

    @property
    def _may_ask(self) -> bool:
        return not self.table.is_over and not self._children.on_trial

    def _listen(self, now: float) -> None:
        successor = self.successor
        if successor is None or successor.channel.is_over:
            return
        for message in successor.channel.receive():
            found = messages.decode(message.data)
            if isinstance(found, Hurry):
                self._server_ends = True
                self._children.lives.end_by(now + found.seconds)
            elif isinstance(found, Launched):
                self._acts.masters.add(found.pid)
            else:
                self._perform(self.table.heard(found, now))
        if successor.channel.is_over:
            self._lose(now)

    def _lose(self, now: float) -> None:
        """The successor is dead."""
        if self.table.is_over:
            self._booted.runtime.abandon()
            if not self._server_ends:
                log.warning("successor died", successor=self.successor and self.successor.pid)
                self._children.bereaved(now)
        self._perform(self.table.died())

    def _answer(self, client: Client) -> None:
        refusal = self._refusal()
        if refusal is not None:
            log.warning("reload refused", reason=refusal.line)
            client.end(Done(refusal.status, refusal.line))
            return
        self._client = client
        self._perform(self.table.asked(client.ask))

    def _refusal(self) -> Failed | None:
        children = self._children
        if self._booted.policy().is_exclusive:
            return _EXCLUSIVE
        if self.table.is_under_way:
            return _BUSY
        if children.lives.serving is None or children.cause or children.told:
            return _NOT_READY
        return None

    def _perform(self, found: Iterable[state.Verdict]) -> None:
        for verdict in found:
            self._do(verdict)

    # The acts.

    @singledispatchmethod
    def _do(self, verdict: state.Verdict) -> None:
        raise AssertionError(f"no act for {verdict}")

    @_do.register
    def _(self, verdict: state.Launch) -> None:
        generation = self._children.reserve()
        channel, theirs = pair()
        with theirs:
            try:
                pid = self._launch(theirs.fileno())
            except SystemFailure as error:
                channel.close()
                self._perform(self.table.refused(Failed(error.exit_code, str(error))))
                return
        self.successor = Successor(pid, generation, channel)
        log.info("reload begun", successor=pid, generation=generation)
        self._acts.masters.add(pid)  # our child, where this is the first master
        self._elders.tell(Launched(pid))
        self._bequeath(self.successor, verdict.ask)

    def _bequeath(self, successor: Successor, ask: Ask) -> None:
        control = self._booted.runtime.control
        assert control is not None
        settings = (*self._settings, *ask.settings)
        bequest = bequest_of(
            self._booted,
            successor.generation,
            settings,
            ask.timeout,
            has_exclusive=self._has_exclusive(),
        )
        listeners = listeners_of(self._booted)
        successor.send(bequest, [control.fileno(), *(one.fileno() for _, _, one in listeners)])

    def _launch(self, kept: int) -> int:
        start, notifier = self._booted.start, self._booted.notifier
        changes = {VARIABLE: str(kept), "LISTEN_PID": "", "LISTEN_FDS": "", "LISTEN_FDNAMES": ""}
        changes["WATCHDOG_PID"] = ""  # it named us, or another one
        if not notifier.is_watched:
            changes["WATCHDOG_USEC"] = ""
        return start.origin.launch(changes, kept, apart=self._booted.first != os.getpid())

    def _has_exclusive(self) -> bool:
        lives = self._children.lives.values()
        return self._children.elders_occupy or any(life.occupies() for life in lives)

    @_do.register
    def _(self, verdict: state.Show) -> None:
        if self._client is not None and self.successor is not None:
            self._client.say(Told(self.successor.pid, verdict.text))

    @_do.register
    def _(self, verdict: state.Offer) -> None:
        assert self.successor is not None
        self._share(verdict.ready.shared)
        self._acts.published()[-1].board.keep()
        self._booted.runtime.claim.offer()
        take = Take(self._children.last_number, self._acts.history, self._elders.pids())
        self.successor.send(take, self._elders.descriptors())

    def _share(self, places: Iterable[int]) -> None:
        """From now on an end of this master, also by SIGKILL, leaves these listeners alone."""
        listeners = listeners_of(self._booted)
        for place in places:
            listeners[place][2].shared = True
        for generation in self._acts.generations.values():
            generation.board.set_shared(True)

    @_do.register
    def _(self, verdict: state.LetGo) -> None:
        assert self.successor is not None
        self._booted.runtime.claim.let_go()
        self.successor.send(Yours())

    @_do.register
    def _(self, verdict: state.TakeBack) -> None:
        booted = self._booted
        self._acts.own_listeners()
        if not booted.runtime.claim.take_back():
            lost = Cause("lock-lost", Exit.CRASH, message="another server took the lock")
            self._add(self._children.end(lost, time.monotonic()))
            return
        if self._children.cause is None:
            booted.runtime.note_pid()
            self._acts.published()[-1].board.publish()
            if booted.pid_file is not None:
                booted.pid_file.take_back()

    @_do.register
    def _(self, verdict: state.Yield) -> None:
        assert self.successor is not None
        booted, pid = self._booted, self.successor.pid
        booted.group.hand_terminal_to(pid)
        booted.notifier.hand_over(pid)
        if booted.pid_file is not None:
            booted.pid_file.disown()
        for listener in itertools.chain(*booted.listeners.values()):
            if not listener.outlives_us:
                listener.close_door()
        log.info("reloaded", successor=pid, generation=self.successor.generation)
        self._elders.forget()
        self._orders.close()
        self._acts.on_drains = self._tell_drains
        for told in self._children.handed_over(time.monotonic()):
            self._do_at_once(told)
        self._acts.show_drains()

    def _do_at_once(self, verdict: Verdict) -> None:
        """Children are told before anybody hears that the successor serves: who asks then is
        answered by new code.
        """
        if isinstance(verdict, Tell):
            self._acts.perform(verdict)
        else:
            self._add([verdict])

    def _tell_drains(self, drains: list[Drain]) -> None:
        assert self.successor is not None
        self.successor.send(Drains(tuple(drains), self._has_exclusive()))

    @_do.register
    def _(self, verdict: state.Dismiss) -> None:
        self._signal(signal.SIGTERM)
        self._signal(signal.SIGCONT)

    @_do.register
    def _(self, verdict: state.Kill) -> None:
        assert self.successor is not None
        log.warning("successor killed", successor=self.successor.pid, reason="stop-timeout")
        process.tell_group(self.successor.pid, signal.SIGKILL)

    def _signal(self, number: signal.Signals) -> None:
        assert self.successor is not None
        with PidFd(self.successor.pid) as successor:
            successor.send(number)

    @_do.register
    def _(self, verdict: state.Answer) -> None:
        successor, done = self.successor, verdict.done
        if done.status == Exit.OK:
            assert successor is not None
            done = Done(Exit.OK, "", successor.pid)
        else:
            number = 0 if successor is None else successor.generation
            log.error("reload failed", status=done.status, reason=done.line)
            self._acts.note_failure("failed reload", number, done.line)
            if successor is not None:
                successor.channel.close()
                self._booted.runtime.clear_master(successor.pid, successor.generation)
                self.successor = None
        if self._client is not None:
            self._client.end(done)
            self._client = None
