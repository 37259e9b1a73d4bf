"""The modules of one generation in the master: `init` in order, `destroy` in reverse, each under a
deadline.
"""

from __future__ import annotations

import signal
import time
from typing import Final

from supervisor.child.module import Module
from supervisor.child.names import describe
from supervisor.child.shared import Server
from supervisor.errors import StartError, Stop
from supervisor.log.entries import log
from supervisor.master.frame import Frame
from supervisor.scoreboard.writer import Scoreboard
from supervisor.views import picture

GRACE: Final = 1.0  # s: for a destroy after the common deadline, for a dump


class Hooks:
    """Those whose `init` has succeeded, and what is still to be destroyed."""

    def __init__(self, frame: Frame, board: Scoreboard, generation: int) -> None:
        self.modules: dict[str, Module] = {}  # by name
        self._frame = frame
        self._board = board
        self._generation = generation

    def init(self, start_by: float) -> None:
        """Make all. Raises StartError for one that raises or is late (monotonic s), Stop when told
        to stop.
        """
        shared = self._frame.loaded.shared
        shared.begin_generation()
        shared.row.words, shared.row.base = self._board.words, self._board.row_base(-1)
        for name, kind, options in self._frame.loaded.modules:
            try:
                left = start_by - time.monotonic()
                with self._frame.signals.deadline(left), self._frame.signals.stop_raised():
                    module = kind(options)
                    module.init(self._server(name))
                    self.modules[name] = module
            except Stop as stop:
                if stop.signum == signal.SIGALRM:
                    log.exception("module init abandoned", module=name)
                    raise StartError(f"modules.{name}: init not done by start_timeout") from stop
                raise
            except BaseException as error:
                log.exception("module init failed", module=name)
                raise StartError(f"modules.{name}: init failed: {describe(error)}") from error
        shared.write_initial()

    def _server(self, name: str) -> Server:
        frame = self._frame
        return Server(
            name,
            frame.config.name,
            self._generation,
            frame.loaded.shared,
            frame.resources,
            lambda: picture.counters(self._board.snapshot()),
        )

    def destroy(self) -> None:
        """Destroy each once; the common deadline abandons the one that hangs."""
        whole = self._frame.config.master.destroy_timeout
        deadline = time.monotonic() + whole
        while self.modules:
            name, module = self.modules.popitem()
            try:
                left = max(deadline - time.monotonic(), min(GRACE, whole))
                with self._frame.signals.deadline(left):
                    module.destroy()
                log.debug("module destroyed", module=name)
            except Stop:
                log.exception("module destroy abandoned", module=name, reason="destroy-timeout")
            except BaseException:
                log.exception("module destroy failed", module=name)
