"""How a log entry looks and where it goes. One entry is one write(2), so entries of many processes
never mix.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
import stat
import sys
import time
from typing import Literal

log = logging.getLogger("supervisor")

Format = Literal["text", "json", "journal"]


class _Formatter(logging.Formatter):
    """Knows the subject, `master[4711]` or `web/3[4712]`, that every entry of this process begins
    with.
    """

    def __init__(self, subject: str) -> None:
        super().__init__()
        self.subject = subject

    def message(self, record: logging.LogRecord) -> str:
        text = record.getMessage()
        if record.exc_info:
            text += "\n" + self.formatException(record.exc_info)
        return text

    def format(self, record: logging.LogRecord) -> str:
        return f"{_instant(record)} {record.levelname} {self.subject} {self.message(record)}\n"


class _JsonFormatter(_Formatter):
    def format(self, record: logging.LogRecord) -> str:
        entry = {
            "time": _instant(record),
            "level": record.levelname.lower(),
            "logger": record.name,
            "subject": self.subject,
            "message": self.message(record),
        }
        return json.dumps(entry, ensure_ascii=False) + "\n"


class _JournalFormatter(_Formatter):
    """journald knows the time, the pid and the priority by itself."""

    def format(self, record: logging.LogRecord) -> str:
        return f"{self.subject.partition('[')[0]} {self.message(record)}"


class _StderrHandler(logging.Handler):
    """Writes each entry to descriptor 2 at once; a reader that is gone is no reason to fail."""

    def emit(self, record: logging.LogRecord) -> None:
        data = self.format(record).encode("utf-8", "backslashreplace")
        with contextlib.suppress(OSError):
            while data:
                data = data[os.write(2, data) :]


def _file_handler(file: str) -> logging.Handler:
    """A handler that follows a rename by logrotate; the formatter ends the line itself."""
    from logging.handlers import WatchedFileHandler

    handler = WatchedFileHandler(file, encoding="utf-8", errors="backslashreplace")
    handler.terminator = ""
    return handler


def _instant(record: logging.LogRecord) -> str:
    date = time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(record.created))
    return f"{date}.{int(record.msecs):03d}Z"


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


def configure(level: str, form: Format, file: str, subject: str = "master") -> None:
    """Send all logging of this process to `file`, or to stderr when it is empty.

    Raises OSError when the file cannot be opened.
    """
    if not file and form == "text" and to_journal(os.environ):
        form = "journal"
    kinds = {"text": _Formatter, "json": _JsonFormatter, "journal": _JournalFormatter}
    handler = _destination(form, file)
    handler.setFormatter(kinds[form](f"{subject}[{os.getpid()}]"))
    root = logging.getLogger()
    root.handlers[:] = [handler]
    logging.raiseExceptions = False  # a full disk must not stop the server
    root.setLevel(level.upper())


def _destination(form: Format, file: str) -> logging.Handler:
    if form == "journal":
        from supervisor.log.journald import JournalHandler

        return JournalHandler()
    return _file_handler(file) if file else _StderrHandler()


def rename(subject: str) -> None:
    """Begin this process's entries with another subject; for a child, after the fork."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler.formatter, _Formatter):
            handler.formatter.subject = f"{subject}[{os.getpid()}]"


def give_to(uid: int, gid: int) -> None:
    """Let another user own the log file, so that it can be opened again after a rotation."""
    for handler in logging.getLogger().handlers:
        if isinstance(handler, logging.FileHandler) and handler.stream is not None:
            descriptor = handler.stream.fileno()
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                os.fchown(descriptor, uid, gid)


def flush() -> None:
    """Write out what stdio still holds; before a fork and before an exit."""
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError, AttributeError):
            stream.flush()


def say_error(message: str) -> None:
    """Tell the person at the terminal, one line each: `supervisor: error: ...`. Never raises."""
    priority = "<3>" if to_journal(os.environ) else ""  # sd-daemon(3)
    text = "".join(f"{priority}supervisor: error: {line}\n" for line in message.splitlines())
    with contextlib.suppress(OSError):
        os.write(2, text.encode("utf-8", "backslashreplace"))


def pairs(**facts: object) -> str:
    """`slot=3 pid=4711 after=0.04s`: the facts of one log line. None is left out; floats are
    seconds.
    """
    return " ".join(f"{key}={_show(value)}" for key, value in facts.items() if value is not None)


def _show(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3f}s"
    text = str(value)
    is_plain = text.isprintable() and " " not in text and text != ""
    return text if is_plain else json.dumps(text, ensure_ascii=False)
