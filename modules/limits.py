"""Module `limits`: resource limits for every child, the programs of `exec` included."""

from __future__ import annotations

import resource
from typing import Annotated, ClassVar, Final, NamedTuple

from msgspec import Meta

from supervisor.child.child import Child
from supervisor.child.module import Module
from supervisor.child.shared import Server
from supervisor.config.schema import Options
from supervisor.errors import StartError
from supervisor.log.entries import log

Limit = Annotated[int, Meta(ge=-1, le=2**62)]

_AS_IT_IS: Final = -1


class LimitsOptions(Options, frozen=True):
    """Options of module `limits`."""

    memory: Annotated[
        Limit, Meta(description="of address space; -1 = as the master's", extra={"unit": "bytes"})
    ] = _AS_IT_IS
    files: Annotated[Limit, Meta(description="open descriptors; -1 = as the master's")] = _AS_IT_IS
    cpu: Annotated[
        Limit,
        Meta(
            description="of CPU time, then the child dies of SIGXCPU; -1 = as the master's",
            extra={"unit": "s"},
        ),
    ] = _AS_IT_IS
    core: Annotated[
        Limit, Meta(description="of a core dump; -1 = as the master's", extra={"unit": "bytes"})
    ] = _AS_IT_IS


class _Kind(NamedTuple):
    number: int  # setrlimit(2)
    grace: int  # from the soft to the hard limit


_KINDS: Final = {
    "memory": _Kind(resource.RLIMIT_AS, 0),
    "files": _Kind(resource.RLIMIT_NOFILE, 0),
    "cpu": _Kind(resource.RLIMIT_CPU, 1),  # at the hard limit it would be SIGKILL: no traceback
    "core": _Kind(resource.RLIMIT_CORE, 0),
}


class Limits(Module):
    """Limits the resources of each child, before its worker's `init`; the master has no limits."""

    Options: ClassVar[type[Options]] = LimitsOptions

    def init(self, server: Server) -> None:
        """Refuse at once what the children would be refused."""
        self._pairs = {kind: self._pair(name, kind) for name, kind in _KINDS.items()}
        self._limited = server.counter("children")

    def child_init(self, child: Child) -> None:
        for kind, pair in self._pairs.items():
            if pair is not None:
                resource.setrlimit(kind.number, pair)
        self._limited.add()
        log.debug("limits set", slot=child.slot)

    def _pair(self, name: str, kind: _Kind) -> tuple[int, int] | None:
        """(soft, hard) to set, None for nothing."""
        wanted: int = getattr(self.options, name)
        if wanted == _AS_IT_IS:
            return None
        _, highest = resource.getrlimit(kind.number)
        if highest != resource.RLIM_INFINITY and wanted > highest:
            raise StartError(f"{name} = {wanted}: more than the hard limit, {highest}")
        hard = wanted + kind.grace
        return wanted, hard if highest == resource.RLIM_INFINITY else min(hard, highest)
