"""The name under which `Module` and `Server` were taught first; new code takes them from
`supervisor`.
"""

from supervisor.child.module import Module
from supervisor.child.shared import Server

__all__ = ["Module", "Server"]
