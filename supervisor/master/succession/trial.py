"""A successor's side of a reload: it tells how far it is, is offered the server, takes it over."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Callable, Iterable

from supervisor.errors import Exit
from supervisor.log.entries import log
from supervisor.master.acts import Acts
from supervisor.master.booted import Booted
from supervisor.master.cause import Cause
from supervisor.master.children import Children
from supervisor.master.generation import Generation
from supervisor.master.succession import messages
from supervisor.master.succession.elders import Elder, Elders
from supervisor.master.succession.messages import Held, Progress, Ready, Take, Taken, Yours
from supervisor.master.succession.predecessor import Predecessor
from supervisor.master.verdicts import Verdict
from supervisor.system import process
from supervisor.system.channel import Channel


class Trial:
    """Ends with the takeover, or with this master."""

    def __init__(
        self,
        booted: Booted,
        predecessor: Predecessor,
        children: Children,
        acts: Acts,
        elders: Elders,
        add: Callable[[Iterable[Verdict]], None],
    ) -> None:
        self._booted = booted
        self._predecessor = predecessor
        self._children = children
        self._acts = acts
        self._elders = elders
        self._add = add
        self._generation: Generation | None = None
        self._take: Take | None = None
        self._draining: list[Channel] = []
        children.on_trial = True
        children.elders_occupy = predecessor.bequest.has_exclusive
        acts.on_announce = self._announce

    def descriptors(self) -> list[int]:
        """Readable when `look` has something to do."""
        return [self._predecessor.channel.fileno()] if self._children.on_trial else []

    def private(self) -> list[int]:
        """For a child to close."""
        return [*self.descriptors(), *(one.fileno() for one in self._draining)]

    def tell_progress(self, ready: int, children: int) -> None:
        """So many are ready."""
        self._predecessor.tell(Progress(f"imported, {ready} of {children} children ready"))

    def look(self, now: float) -> None:
        """Hear what the predecessor says."""
        if not self._children.on_trial:
            return
        channel = self._predecessor.channel
        for message in channel.receive():
            found = messages.decode(message.data)
            if isinstance(found, Take):
                self._hold(found, message.descriptors)
            elif isinstance(found, Yours):
                self._take_over(now)
                return
        if channel.is_over:
            self._outlive(now)

    def _announce(self, generation: Generation) -> None:
        """All of it is ready that counts."""
        self._generation = generation
        pid_file = self._booted.pid_file
        path = "" if pid_file is None else str(pid_file.path)
        self._predecessor.tell(Ready(self._predecessor.shared, path))
        log.info("successor ready", generation=generation.number, children=len(generation.slots))

    def _hold(self, take: Take, descriptors: Iterable[int]) -> None:
        self._draining = [Channel(socket.socket(fileno=one)) for one in descriptors]
        if self._booted.runtime.claim.take_hold():
            self._take = take
            self._predecessor.tell(Held())
        else:
            self._end("the lock of the runtime directory could not be taken over")

    def _outlive(self, now: float) -> None:
        """The predecessor is dead: who holds half of the lock already gets all of it."""
        if self._take is not None:
            self._take_over(now)
        else:
            self._end("the predecessor died")

    def _end(self, why: str) -> None:
        cause = Cause("reload-failed", Exit.CRASH, message=why)
        self._add(self._children.end(cause, time.monotonic()))

    def _take_over(self, now: float) -> None:
        take, generation, booted = self._take, self._generation, self._booted
        assert take is not None
        assert generation is not None
        if not booted.runtime.claim.take_over():
            self._end("another server took the lock")
            return
        booted.runtime.note_pid()
        if booted.pid_file is not None:
            booted.pid_file.take_over()
        self._acts.merge(take.history)
        self._acts.on_announce = None
        self._children.taken_over(take.generation, now)
        self._predecessor.is_waiting = False
        self._meet_elders(take)
        self._acts.serve(generation)
        self._predecessor.tell(Taken())
        # Not before: were we killed until then, the predecessor would go on to serve on sockets
        # whose door our children, as orphans, have closed.
        self._acts.own_listeners()
        if booted.first:
            process.poke(booted.first)
        log.info(
            "server taken over", pid=os.getpid(), predecessor=self._predecessor.bequest.predecessor
        )

    def _meet_elders(self, take: Take) -> None:
        bequest = self._predecessor.bequest
        for pid, channel in zip(take.draining, self._draining, strict=True):
            self._elders.add(Elder(pid, channel, False))
        self._draining = []
        self._elders.add(
            Elder(bequest.predecessor, self._predecessor.channel, bequest.has_exclusive)
        )
