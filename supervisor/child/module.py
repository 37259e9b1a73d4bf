"""The contract of a module, and what a server offers to it: counters, locks, resources."""

from __future__ import annotations

from collections.abc import Mapping
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, ClassVar

from supervisor.config.schema import Options

if TYPE_CHECKING:
    from supervisor.child.child import Child
from supervisor.child.shared import Server


class Module:
    """Base of all modules. Every hook is optional. A new instance in each generation."""

    Options: ClassVar[type[Options]] = Options
    exclusive: ClassVar[bool] = False  # it cannot stand another of itself, of another generation
    needs: ClassVar[Mapping[str, str]] = MappingProxyType({})  # package: the extra that brings it

    @classmethod
    def preload(cls, options: Any) -> None:
        """Master, once, when the code is imported; of a built-in module before `master.preload` and
        all other user code. It may be called again, and by `check`: open nothing.
        """

    def __init__(self, options: Any) -> None:
        self.options = options

    def init(self, server: Server) -> None:
        """Master, before the first fork."""

    def child_init(self, child: Child) -> None:
        """Every child, before its worker's `init`."""

    def child_exit(self, child: Child) -> None:
        """Every child that leaves by itself or by TERM."""

    def destroy(self) -> None:
        """Master, after the last child; reverse order; exactly once."""
