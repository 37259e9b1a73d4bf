"""An entry of the log, and how it looks as text, as JSON and to journald. Pure.

The one place where anything is escaped: whatever an entry holds, it can neither begin another one
nor command the terminal on which it is read.
"""

from __future__ import annotations

import enum
import json
import math
import os
import re
import time
from collections.abc import Mapping
from typing import Final, NamedTuple

OURS: Final = ""  # the logger of our own entries
_OUR_NAME: Final = "supervisor"

# Control characters but tab and newline (C0, DEL, C1), line and paragraph separators, what turns
# the direction of writing, and lone surrogates, which UTF-8 cannot hold.
_HARMFUL: Final = re.compile(
    r"[\x00-\x08\x0b-\x1f\x7f-\x9f\u200e\u200f\u2028-\u202e\u2066-\u2069\ud800-\udfff]"
)
# Facts of many lines, which stand below the line of the others; JSON has them as any other.
_BLOCKS: Final = ("note", "table", "traceback")
_COLOURS: Final = {"DEBUG": "2", "WARNING": "33", "ERROR": "31", "CRITICAL": "1;31"}


class Level(enum.IntEnum):
    """The numbers are those of the package logging."""

    DEBUG = 10
    INFO = 20
    WARNING = 30
    ERROR = 40


class Entry(NamedTuple):
    """One thing that happened. `message` of ours is the event, and `facts` are shown in text; those
    of others (`extra=`) are in JSON only, but for the traceback.
    """

    at: int  # ns since 1970
    level: str
    message: str
    facts: Mapping[str, object] = {}
    logger: str = OURS
    severity: int = Level.INFO


class Origin(NamedTuple):
    """The child that writes; without a worker the master."""

    worker: str = ""
    slot: int | None = None

    @property
    def subject(self) -> str:
        """`master` or `web/3`."""
        return f"{self.worker}/{self.slot}" if self.worker else "master"


def as_text(entry: Entry, origin: Origin) -> str:
    """`INSTANT LEVEL SUBJECT[PID] ...`; each further line is indented."""
    head = f"{_instant(entry.at)} {entry.level} {origin.subject}[{os.getpid()}]"
    return _indented(f"{head} {_body(entry)}") + "\n"


def told(entry: Entry) -> str:
    """`INSTANT ...` without its origin, as `why` shows an entry later."""
    return _indented(f"{_instant(entry.at)} {_body(entry)}")


def as_coloured_text(entry: Entry, origin: Origin) -> str:
    """The same for a terminal: the level tells by its colour how urgent it is."""
    text, colour = as_text(entry, origin), _COLOURS.get(entry.level)
    if colour is None:
        return text
    return text.replace(entry.level, f"\x1b[{colour}m{entry.level}\x1b[0m", 1)


def as_json(entry: Entry, origin: Origin) -> str:
    """One object on one line. `message` is what text shows; ours also have the `event` alone, and
    their facts as keys.
    """
    facts = {key: _plain(value) for key, value in entry.facts.items() if value is not None}
    head: dict[str, object] = {
        "time": _instant(entry.at),
        "level": entry.level.lower(),
        "logger": entry.logger or _OUR_NAME,
        "message": _line(entry),
    }
    where: dict[str, object] = {
        "pid": os.getpid(),
        "worker": origin.worker or None,
        "slot": origin.slot,
    }
    if entry.logger == OURS:
        # An entry of the master about a child has the child's slot and pid.
        return _object(head | {"event": entry.message} | where | facts)
    return _object(head | where | {key: facts[key] for key in facts if key not in head | where})


def as_journal(entry: Entry, origin: Origin) -> str:
    """The message for journald, which knows time, pid and priority by itself."""
    return escaped(f"{origin.subject} {_body(entry)}")


def _indented(text: str) -> str:
    return re.sub(r"\n(?!\n)", "\n  ", escaped(text))


def escaped(text: str) -> str:
    """Text that can do no harm where it is shown; tabs and newlines stay."""
    if text.isprintable():
        return text
    return _HARMFUL.sub(lambda found: found[0].encode("unicode_escape").decode(), text)


def escaped_field(text: str) -> str:
    """Text that stays one field of a line whose fields are divided by spaces."""
    return re.sub(r"[^!#-~]", lambda found: f"\\x{ord(found[0]):02x}", text)


def pairs(**facts: object) -> str:
    """`slot=3 pid=4711 after=0.040s`: facts as text. None is left out; floats are seconds."""
    return " ".join(f"{key}={_show(value)}" for key, value in facts.items() if value is not None)


class Size(int):
    """Bytes; text shows MiB."""

    def __str__(self) -> str:
        return f"{self // 1048576}MiB"


def _show(value: object) -> str:
    if isinstance(value, float):
        return f"{value:.3f}s"
    text = str(value)
    is_plain = text.isprintable() and " " not in text and text != ""
    return text if is_plain else json.dumps(text, ensure_ascii=False)


def _body(entry: Entry) -> str:
    """The line after the subject, and the lines below it."""
    name = f"{entry.logger}: " if entry.logger != OURS else ""
    blocks = [str(entry.facts[name]) for name in _BLOCKS if entry.facts.get(name)]
    return name + "\n".join(part.strip("\n") for part in (_line(entry), *blocks))


def _line(entry: Entry) -> str:
    """The event, with those facts of ours that are short."""
    if entry.logger != OURS:
        return entry.message
    facts = {key: value for key, value in entry.facts.items() if key not in _BLOCKS}
    return f"{entry.message} {pairs(**facts)}".rstrip(" ")


def _instant(at: int) -> str:
    seconds, rest = divmod(at, 1_000_000_000)
    return f"{time.strftime('%Y-%m-%dT%H:%M:%S', time.gmtime(seconds))}.{rest // 1_000_000:03d}Z"


def _plain(value: object) -> object:
    """A float of seconds to the microsecond."""
    return round(value, 6) if isinstance(value, float) else value


def _object(facts: Mapping[str, object]) -> str:
    """JSON of what may be anything: an application chose what it gave to `extra`."""
    try:
        text = json.dumps(facts, ensure_ascii=False, allow_nan=False, default=str)
    except (TypeError, ValueError, RecursionError):
        simple = {str(key): _simple(value) for key, value in facts.items()}
        text = json.dumps(simple, ensure_ascii=False)
    return _HARMFUL.sub(lambda found: f"\\u{ord(found[0]):04x}", text) + "\n"


def _simple(value: object) -> object:
    is_plain = isinstance(value, float) and math.isfinite(value)
    return value if is_plain or isinstance(value, str | int | None) else repr(value)
