"""How an entry looks, and that nothing in it can do harm."""

import json
import logging
import math
import os

import pytest

from supervisor.log import foreign
from supervisor.log.forms import (
    Entry,
    Origin,
    Size,
    as_coloured_text,
    as_journal,
    as_json,
    as_text,
    escaped,
    escaped_field,
)

AT = 1_000_000_000_123_456_789
PID = os.getpid()
HEAD = "2001-09-09T01:46:40.123Z"
FORGED = f"{HEAD} ERROR master[1] child died"
# An escape sequence, its C1 form, a carriage return, what ends a line in Unicode, what turns it.
HARMFUL = ["\x1b[2J", "\x9b2J", "\r", "\x0b", "\x0c", "\x85", "\u2028", "\u2029", "\u202e", "\x00"]


def ours(event="child died", **facts):
    """An entry of ours."""
    return Entry(AT, "ERROR", event, facts, severity=40)


def theirs(message, **facts):
    """An entry of an application."""
    return Entry(AT, "INFO", message, facts, "shop", 20)


def record(message, *arguments, **more):
    """A record as an application's logger makes it."""
    made = logging.LogRecord("shop", 20, "x.py", 1, message, arguments, more.pop("exc_info", None))
    vars(made).update(more)
    return made


def test_text():
    """Instant, level, subject and pid; ours with its facts, others with their logger's name."""
    web = Origin("web", 3)
    assert as_text(ours(slot=3, after=0.04), web) == (
        f"{HEAD} ERROR web/3[{PID}] child died slot=3 after=0.040s\n"
    )
    assert as_text(theirs("sold", amount=3), Origin()) == f"{HEAD} INFO master[{PID}] shop: sold\n"


def test_what_has_many_lines_is_indented():
    """Notes, tables and tracebacks stand below the line; an empty line stays empty."""
    entry = ours(traceback="Traceback:\n  File\n\nValueError", note="killed", slot=3)
    lines = as_text(entry, Origin()).splitlines()[1:]
    assert lines == ["  killed", "  Traceback:", "    File", "", "  ValueError"]


@pytest.mark.parametrize("text", [f"a\n{FORGED}", *(f"a{odd}{FORGED}" for odd in HARMFUL)])
@pytest.mark.parametrize(
    "entry",
    [
        lambda text: theirs(text),
        lambda text: theirs("a", traceback=text),
        lambda text: ours(traceback=text),
        lambda text: ours(peer=text),
        lambda text: ours(event=text),
        lambda text: Entry(AT, "INFO", "a", {}, text),
        lambda text: Entry(AT, text, "a", {}, "shop"),
    ],
)
def test_nothing_forges_an_entry(entry, text):
    """Wherever it stands: one line begins an entry, and nothing in it commands a terminal."""
    forged = entry(text)
    shown = as_text(forged, Origin())
    assert sum(line.startswith("2001") for line in shown.splitlines()) == 1
    assert not any(odd[0] in shown for odd in HARMFUL)
    assert not any(odd[0] in as_journal(forged, Origin()) for odd in HARMFUL)
    line = as_json(forged, Origin())
    assert len(line.splitlines()) == 1
    assert not any(odd[0] in line for odd in HARMFUL)
    assert text in json.loads(line).values() or text.lower() in json.loads(line).values()


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain é 漢 \u3000", "plain é 漢 \u3000"),
        ("a\tb\nc", "a\tb\nc"),
        ("\x1b[31m", "\\x1b[31m"),
        ("\u2028\u202e", "\\u2028\\u202e"),
        ("\udce9", "\\udce9"),
    ],
)
def test_harmful_characters_are_escaped(text, shown):
    """And no others."""
    assert escaped(text) == shown


def test_a_field_stays_one():
    """No space, quote or control character ends it."""
    assert escaped_field("192.0.2.7") == "192.0.2.7"
    assert escaped_field('1 - - [x] "GET') == "1\\x20-\\x20-\\x20[x]\\x20\\x22GET"


def test_json_of_ours():
    """The facts are keys, those of a child stand in place of the master's own."""
    entry = json.loads(as_json(ours(worker="web", slot=3, pid=7, lock=None, rss=Size(5)), Origin()))
    assert entry == {
        "time": HEAD,
        "level": "error",
        "logger": "supervisor",
        "message": "child died worker=web slot=3 pid=7 rss=0MiB",
        "event": "child died",
        "pid": 7,
        "worker": "web",
        "slot": 3,
        "rss": 5,
    }


def test_json_of_others():
    """Facts in `extra` are keys, but cannot pose as the entry's own; NaN is not JSON."""
    text = as_json(theirs("sold", pid=1, level="x", n=math.nan, o={1: {2}}), Origin("web", 0))
    entry = json.loads(text, parse_constant=pytest.fail)
    assert (entry["pid"], entry["level"], entry["worker"], entry["slot"]) == (PID, "info", "web", 0)
    assert (entry["n"], entry["o"]) == ("nan", "{1: {2}}")
    assert "event" not in entry


def test_colour_tells_how_urgent_it_is():
    """The level only, and not where all is well."""
    assert "\x1b[31mERROR\x1b[0m master" in as_coloured_text(ours(), Origin())
    assert "\x1b" not in as_coloured_text(theirs("\x1b[31m"), Origin())


def test_a_record_is_an_entry():
    """Message, extra, traceback and stack; what every record has is left out."""
    try:
        raise ValueError("no")
    except ValueError as error:
        caught = (type(error), error, error.__traceback__)
    entry = foreign.entry_of(
        record("sold %d", 3, exc_info=caught, stack_info="Stack", amount=3), "shop"
    )
    assert (entry.message, entry.level, entry.severity, entry.logger) == (
        "sold 3",
        "INFO",
        20,
        "shop",
    )
    assert entry.facts["amount"] == 3
    assert entry.facts["traceback"].startswith("Traceback (most recent call last):\n")
    assert entry.facts["traceback"].endswith("ValueError: no\nStack")
    assert set(entry.facts) == {"amount", "traceback"}


def test_a_record_that_cannot_be_formatted_harms_nobody(capsys):
    """It is reported as the package logging reports it."""
    foreign.RootHandler(pytest.fail).handle(record("%d", "x"))
    assert "--- Logging error ---" in capsys.readouterr().err


def test_an_exception_that_is_none():
    """`exc_info=True` outside a handler."""
    assert foreign.entry_of(record("a", exc_info=(None, None, None)), "shop").facts == {}
