"""A preforking multi-process server supervisor: healthy, or gone and explained.

These names are what workers, modules and handlers import. Each is loaded when it is first asked
for, so that a command pays only for what it needs (PEP 562).
"""

from __future__ import annotations

TYPE_CHECKING = False  # the name is enough for type checkers; the module typing takes 5 ms
if TYPE_CHECKING:
    from typing import Any, Final

    from supervisor.child.child import Child, current
    from supervisor.child.module import Module
    from supervisor.child.shared import Server
    from supervisor.child.worker import Worker
    from supervisor.config.schema import Options
    from supervisor.errors import Stop
    from supervisor.system.listeners import Listener

__all__ = ["Child", "Listener", "Module", "Options", "Server", "Stop", "Worker", "current"]

_ORIGINS: Final = {
    "Child": "supervisor.child.child",
    "Listener": "supervisor.system.listeners",
    "Module": "supervisor.child.module",
    "Options": "supervisor.config.schema",
    "Server": "supervisor.child.shared",
    "Stop": "supervisor.errors",
    "Worker": "supervisor.child.worker",
    "current": "supervisor.child.child",
}


def __getattr__(name: str) -> Any:
    from importlib import import_module

    if name not in _ORIGINS:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_ORIGINS[name]), name)
