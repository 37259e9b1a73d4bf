"""The package logging's records, as entries of our log.

Applications configure logging as they like. Their records reach us while the root logger has our
handler; our own entries never pass through here.
"""

from __future__ import annotations

import logging
import traceback
from collections.abc import Callable
from typing import Any, Final

from supervisor.log.forms import OURS, Entry

# What every record has; the rest is what the application added with `extra=`.
_USUAL: Final = {*vars(logging.LogRecord("", 0, "", 0, "", (), None)), "message", "asctime"}
_USUAL.add("taskName")  # since 3.12

Write = Callable[[Entry], None]


class RootHandler(logging.Handler):
    """Hands each record on. What an application does to all handlers (shutdown, close) it may do:
    nothing of it is kept here.
    """

    def __init__(self, write: Write) -> None:
        super().__init__()
        self._write = write

    def emit(self, record: logging.LogRecord) -> None:
        try:
            self._write(entry_of(record, record.name))
        except Exception:
            self.handleError(record)


class OwnLogger(logging.Logger):
    """A logger for user code whose records always come to our log, as our own do: it is not among
    those that `logging.getLogger` knows, so no configuration reaches it. `extra=` are facts.
    """

    def __init__(self, name: str, write: Write, is_enabled: Callable[[int], bool]) -> None:
        super().__init__(name)
        self._write = write
        self._is_enabled = is_enabled

    def isEnabledFor(self, level: int) -> bool:
        return self._is_enabled(level)

    def handle(self, record: logging.LogRecord) -> None:
        self._write(entry_of(record, OURS))


def take_root(write: Write, level: int) -> None:
    """Let our handler be the root logger's only one, until an application says otherwise."""
    root = logging.getLogger()
    root.handlers[:] = [RootHandler(write)]
    root.setLevel(level)


def entry_of(record: logging.LogRecord, logger: str) -> Entry:
    """The record as an entry. Raises whatever an argument of it raises."""
    facts: dict[str, Any] = {key: value for key, value in vars(record).items() if key not in _USUAL}
    told = _traceback(record)
    if told:
        facts["traceback"] = told
    at = int(record.created * 1e6) * 1000
    return Entry(at, record.levelname, record.getMessage(), facts, logger, record.levelno)


def _traceback(record: logging.LogRecord) -> str:
    parts = []
    if record.exc_info and record.exc_info[0] is not None:
        parts.append("".join(traceback.format_exception(*record.exc_info)).rstrip("\n"))
    if record.stack_info:
        parts.append(record.stack_info)
    return "\n".join(parts)
