"""Why a server ends, or a generation: in one word for the log, with its exit status."""

from __future__ import annotations

import signal
from typing import Final, NamedTuple

from supervisor.child.names import describe
from supervisor.errors import Exit, Stop, SupervisorError, is_shortage
from supervisor.log.entries import log

RELOADED: Final = "reload"  # the reason of a master that has handed over


class Cause(NamedTuple):
    """`signum` where a signal ended it, `message` is the line for standard error."""

    reason: str
    status: Exit = Exit.OK
    signum: signal.Signals | None = None
    message: str = ""

    @classmethod
    def by_signal(cls, signum: signal.Signals) -> Cause:
        """The order to stop."""
        return cls(signum.name, signum=signum)

    @classmethod
    def start_failure(cls, message: str, status: Exit = Exit.START_FAILED) -> Cause:
        """It ended before all of it was ready."""
        return cls("start-failure", status, message=message)

    @classmethod
    def by_error(cls, error: BaseException) -> Cause:
        """An exception that has reached the master's own code. Stop(SIGALRM) is a deadline of
        boot.
        """
        if isinstance(error, Stop):
            if error.signum == signal.SIGALRM:
                return cls.start_failure("start_timeout passed")
            return cls.by_signal(error.signum)
        if isinstance(error, SupervisorError):
            return cls.start_failure(str(error), error.exit_code)
        if is_shortage(error):
            return cls.start_failure(describe(error), Exit.SYSTEM)
        return cls("internal-error", Exit.CRASH, message=describe(error))

    def before_ready(self) -> Cause:
        """The same, where it happened before all children were ready: the start has failed."""
        return self._replace(reason="start-failure", status=Exit.START_FAILED)


def caught(error: BaseException) -> Cause:
    """The cause, with the traceback of a fault of ours in the log."""
    cause = Cause.by_error(error)
    if cause.reason == "internal-error":
        log.error("internal error", exc=error)
    return cause
