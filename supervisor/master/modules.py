"""The modules of one generation in the master: `init` in order, `destroy` in reverse, each under a
deadline.
"""

from __future__ import annotations

import signal
import time
import traceback
from collections.abc import Callable
from types import FrameType
from typing import Final

from supervisor.child.module import Module
from supervisor.child.names import describe
from supervisor.child.registry import LoadedModule
from supervisor.child.shared import Server
from supervisor.errors import StartError, Stop, SystemFailure
from supervisor.log.entries import log
from supervisor.system.recorder import SignalRecorder

_LAST: Final = 1.0  # s that a destroy has after the common deadline


class Modules:
    """Those whose `init` has succeeded, by name, and so those that are still to be destroyed."""

    def __init__(self, signals: SignalRecorder) -> None:
        self.living: dict[str, Module] = {}
        self._signals = signals

    def init(
        self, name: str, loaded: LoadedModule, server: Callable[[str], Server], by: float
    ) -> None:
        """Make one. Raises StartError for one that raises or is late (`by` in monotonic s), Stop
        when told to stop.
        """
        try:
            with self._signals.deadline(by - time.monotonic()), self._signals.stop_raised():
                module = loaded.kind(loaded.options)
                module.init(server(name))
                self.living[name] = module
        except Stop as stop:
            if stop.signum != signal.SIGALRM:
                raise
            log.exception("module init abandoned", module=name)
            raise StartError(f"modules.{name}: init not done by start_timeout") from stop
        except SystemFailure as error:
            raise SystemFailure(f"modules.{name}: {error}") from error
        except BaseException as error:
            log.exception("module init failed", module=name)
            raise StartError(f"modules.{name}: init failed: {describe(error)}") from error
        finally:
            keep_ears(self._signals, f"modules.{name}")

    def destroy(self, timeout: float) -> None:
        """Destroy each once, in reverse; the common `timeout` (s) abandons the one that hangs.

        May be called again for what is left, from the handler that left one where it hangs.
        """
        deadline = time.monotonic() + timeout
        while self.living:
            name, module = self.living.popitem()
            try:
                left = max(deadline - time.monotonic(), min(_LAST, timeout))
                with self._signals.deadline(left), self._signals.obeyed_meanwhile():
                    module.destroy()
                log.debug("module destroyed", module=name)
            except Stop:
                log.exception("module destroy abandoned", module=name, reason="destroy-timeout")
            except BaseException:
                log.exception("module destroy failed", module=name)
            finally:
                keep_ears(self._signals, f"modules.{name}")


def log_abandoned(raised: signal.Signals, frame: FrameType | None) -> None:
    """User code was told to end by Stop, and swallowed it: say where it hangs."""
    stack = "".join(traceback.format_stack(frame)).rstrip("\n")
    log.error("user code abandoned", signal=raised.name, traceback=stack)


def keep_ears(signals: SignalRecorder, whose: str) -> None:
    """After user code in the master: put back what it changed of our signals, with a warning that
    names it. Without this, one `loop.remove_signal_handler` makes the master deaf.
    """
    changed = signals.keep_ears()
    if changed:
        log.warning("signals put back", changed_by=whose, what=", ".join(changed))
