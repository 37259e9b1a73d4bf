"""Module `affinity`: every child on one CPU, chosen by its slot."""

from __future__ import annotations

import os
from typing import Annotated, ClassVar

from msgspec import Meta

from supervisor.child.child import Child
from supervisor.child.module import Module
from supervisor.child.shared import Server
from supervisor.config.schema import Options
from supervisor.errors import StartError


class AffinityOptions(Options, frozen=True):
    """Options of module `affinity`."""

    cpus: Annotated[
        tuple[Annotated[int, Meta(ge=0)], ...],
        Meta(description="their numbers, slot n gets the n-th in turn; [] = all that we may use"),
    ] = ()


class Affinity(Module):
    """Pins each child to one CPU, and with it all that it starts."""

    Options: ClassVar[type[Options]] = AffinityOptions

    def init(self, server: Server) -> None:
        allowed = os.sched_getaffinity(0)
        strange = sorted(set(self.options.cpus) - allowed)
        if strange:
            raise StartError(f"cpus: {strange} not among those we may use, {sorted(allowed)}")
        self._cpus = self.options.cpus or tuple(sorted(allowed))
        self._pinned = server.counter("children")

    def child_init(self, child: Child) -> None:
        os.sched_setaffinity(0, {self._cpus[child.slot % len(self._cpus)]})
        self._pinned.add()
