"""Our log: what it is told, and where that goes.

It shares nothing with the package logging, which applications configure: whatever they do there,
our entries keep their form, their level and their file.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
import traceback
from typing import TYPE_CHECKING, Final, Literal

from supervisor.log.destination import Destination, Form, ToFile, ToStderr, encoded, wants_colour
from supervisor.log.file import write_all
from supervisor.log.forms import (
    OURS,
    Entry,
    Level,
    Origin,
    as_coloured_text,
    as_json,
    as_text,
    escaped,
    pairs,
)

if TYPE_CHECKING:
    from supervisor.log.foreign import OwnLogger

__all__ = ["pairs"]

Format = Literal["text", "json", "journal"]
_FORMS: Final[dict[str, Form]] = {"text": as_text, "json": as_json}


class Log:
    """Our own log: an event and its facts, `log.info("child ready", worker="web", slot=3)`.

    Facts that are None are left out; floats are seconds. `note`, `table` and `traceback` may have
    many lines. Nothing here raises. Until it is configured, warnings and errors go to stderr.
    """

    def __init__(self) -> None:
        self.origin = Origin()
        self.destination: Destination = ToStderr(as_text)
        self.says_json = False  # on stderr
        self._level: int = Level.WARNING

    def configure(self, level: str, destination: Destination, *, says_json: bool) -> None:
        """Let entries of `level` and above go there."""
        self.destination.close()
        self.destination = destination
        self.says_json = says_json
        self._level = Level[level.upper()]

    def is_enabled(self, level: int) -> bool:
        """True where entries of this level are written."""
        return level >= self._level

    def debug(self, event: str, /, **facts: object) -> None:
        """Each wake."""
        self._tell(Level.DEBUG, event, facts)

    def info(self, event: str, /, **facts: object) -> None:
        """The life of the server."""
        self._tell(Level.INFO, event, facts)

    def warning(self, event: str, /, **facts: object) -> None:
        """The unexpected."""
        self._tell(Level.WARNING, event, facts)

    def error(self, event: str, /, *, exc: BaseException | None = None, **facts: object) -> None:
        """Log an entry that needs a person; with the traceback of `exc`."""
        if exc is not None:
            facts["traceback"] = "".join(traceback.format_exception(exc))
        self._tell(Level.ERROR, event, facts)

    def exception(self, event: str, /, **facts: object) -> None:
        """An error with the traceback of the exception in hand."""
        self.error(event, exc=sys.exception(), **facts)

    def write(self, entry: Entry) -> None:
        """Write an entry, whatever its level."""
        self.destination.put(entry, self.origin)

    def tell(self, severity: Level, logger: str, message: str, /, **facts: object) -> None:
        """Write what somebody else has to say, whatever its level."""
        self.write(Entry(time.time_ns(), severity.name, message, facts, logger, severity))

    def _tell(self, level: Level, event: str, facts: dict[str, object]) -> None:
        if self.is_enabled(level):
            self.write(Entry(time.time_ns(), level.name, event, facts, severity=level))


log: Final = Log()


def configure(level: str, form: Format, file: str = "") -> None:
    """Send our entries, and what applications log without a configuration of their own, to `file`,
    or to stderr where it is empty.

    Raises OSError when the file cannot be opened.
    """
    from supervisor.log import foreign

    if not file and form == "text" and to_journal(os.environ):
        form = "journal"
    log.configure(level, _destination(form, file), says_json=form == "json" and not file)
    foreign.take_root(log.write, Level[level.upper()])


def _destination(form: Format, file: str) -> Destination:
    if form == "journal":
        from supervisor.log.journald import Journal

        return Journal()
    if file:
        return ToFile(_FORMS[form], file, say_error)
    return ToStderr(as_coloured_text if form == "text" and wants_colour() else _FORMS[form])


def wrap_streams() -> None:
    """Where the log is JSON: what Python code prints, here and in the children, becomes entries."""
    from supervisor.log import streams

    streams.wrap(log.tell)


def logger(name: str) -> OwnLogger:
    """A logger for user code whose records come to our log, whatever `logging` is made of."""
    from supervisor.log.foreign import OwnLogger

    return OwnLogger(name, log.write, log.is_enabled)


def to_journal(environ: dict[str, str] | os._Environ[str]) -> bool:
    """True when descriptor 2 is the stream that systemd named in JOURNAL_STREAM
    (systemd.exec(5)).
    """
    stream = environ.get("JOURNAL_STREAM", "")
    try:
        facts = os.fstat(2)
    except OSError:
        return False
    return stream == f"{facts.st_dev}:{facts.st_ino}"


def rename(subject: str) -> None:
    """Begin this process's entries with `SECTION/SLOT`, or `master`; after a fork."""
    worker, _, slot = subject.rpartition("/")
    log.origin = Origin(worker, int(slot)) if worker else Origin()


def give_to(uid: int, gid: int) -> None:
    """Let another user own the log file, so that it can be opened again after a rotation."""
    log.destination.give_to(uid, gid)


def flush() -> None:
    """Write out what stdio still holds; before a fork and before an exit."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()


def say_error(message: str) -> None:
    """Tell the person at the terminal, one line each: `supervisor: error: ...`; where the log on
    stderr is JSON, one object each. Never raises.
    """
    lines = [escaped(line) for line in message.splitlines()]
    if log.says_json:
        for line in lines:
            log.tell(Level.ERROR, OURS, line)
        return
    priority = "<3>" if to_journal(os.environ) else ""  # sd-daemon(3)
    text = "".join(f"{priority}supervisor: error: {line}\n" for line in lines)
    with contextlib.suppress(OSError):
        write_all(2, encoded(text))
