"""Type `task`: a user's function as a child, once or at a fixed rate."""

from __future__ import annotations

import math
import random
import time
from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta

from supervisor.child.child import Child
from supervisor.child.names import load_object
from supervisor.child.worker import Worker
from supervisor.config.schema import Options, Seconds


class TaskOptions(Options, frozen=True):
    """Options of type `task`."""

    run: Annotated[
        str,
        Meta(
            description="package.module:function, called with the child",
            examples=["conf.examples.task:report"],
        ),
    ]
    every: Annotated[Seconds, Meta(description="from one start to the next; 0 = once")] = 0.0
    jitter: Annotated[
        Seconds, Meta(description="the most by which a start is put off at random")
    ] = 0.0
    on_error: Annotated[
        Literal["die", "count"],
        Meta(description="an exception: die = the child's death, count = an error of that run"),
    ] = "die"


class Task(Worker):
    """Calls `run(child)`, once or periodically; each run is one request in the statistics."""

    Options: ClassVar[type[Options]] = TaskOptions
    schemes: ClassVar[frozenset[str]] = frozenset()
    exclusive = True

    def __init__(self, options: Any) -> None:
        super().__init__(options)
        self.may_finish = options.every == 0.0

    def preload(self) -> None:
        self._function = load_object(self.options.run, "run")

    def run(self, child: Child) -> None:
        options = self.options
        started = time.monotonic()
        due = started
        while True:
            child.sleep(due + random.uniform(0.0, options.jitter) - time.monotonic())
            self._run_once(child)
            if not options.every:
                return
            due = next_start(started, options.every, time.monotonic())

    def _run_once(self, child: Child) -> None:
        try:
            with child.request(self.options.run):
                self._function(child)
        except (Exception, SystemExit) as error:
            if self.options.on_error == "die":
                raise
            child.log.error("task failed", exc_info=error, extra={"run": self.options.run})


def next_start(started: float, every: float, now: float) -> float:
    """The next multiple of `every` since `started`; those that a long run missed are left out."""
    return started + (math.floor((now - started) / every) + 1) * every
