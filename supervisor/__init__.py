"""A preforking multi-process server supervisor: healthy, or gone and explained.

These names are what workers, modules and handlers import.
"""

from supervisor.child import Child, current
from supervisor.errors import Stop
from supervisor.module import Module
from supervisor.worker import Worker

__all__ = ["Child", "Module", "Stop", "Worker", "current"]
