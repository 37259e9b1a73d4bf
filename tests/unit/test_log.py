"""The form of an entry, and that each is written at once and whole."""

import contextlib
import json
import logging
import os
import re
import socket
import struct
import sys

import pytest

from supervisor.log import entries, journald

INSTANT = r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z"
PID = os.getpid()


@pytest.fixture(autouse=True)
def _restored(monkeypatch):
    """A test's changes of logging are undone."""
    monkeypatch.delenv("JOURNAL_STREAM", raising=False)
    monkeypatch.delenv("TERM", raising=False)
    root = logging.getLogger()
    handlers, level, ours = root.handlers[:], root.level, dict(vars(entries.log))
    yield
    entries.log.destination.close()
    vars(entries.log).update(ours)
    root.handlers[:] = handlers
    root.setLevel(level)


@pytest.fixture
def journal(monkeypatch, tmp_path):
    """Pose as journald: return the socket that gets its entries."""
    monkeypatch.setattr(journald, "SOCKET", str(tmp_path / "journal"))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as ours:
        ours.bind(str(tmp_path / "journal"))
        ours.setblocking(False)
        yield ours


@contextlib.contextmanager
def stderr():
    """Collect what is written to stderr inside, one string for each write(2)."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_DGRAM)
    with ours, theirs, contextlib.suppress(BlockingIOError):
        before, said = os.dup(2), []
        os.dup2(theirs.fileno(), 2)
        try:
            yield said
        finally:
            os.dup2(before, 2)
            os.close(before)
        ours.setblocking(False)
        while True:
            said.append(ours.recv(2**20).decode())


def written(level, form, event, file="", **facts):
    """Return what one entry of ours becomes on stderr, write by write."""
    with stderr() as said:
        entries.configure("debug", form, file)
        getattr(entries.log, level)(event, **facts)
    return said


def test_an_entry_in_text():
    """The instant in UTC, the level, the subject with its pid, the message."""
    (entry,) = written("info", "text", "server ready", name="web")
    assert re.fullmatch(rf"{INSTANT} INFO master\[{PID}\] server ready name=web\n", entry)


def test_an_entry_in_json():
    """One object a line; the facts are its keys, with their own types."""
    (entry,) = written("warning", "json", "child exited", code=3, after=0.04, lock=None, at='"é"\n')
    facts = json.loads(entry)
    assert entry.count("\n") == 1
    assert re.fullmatch(INSTANT, facts.pop("time"))
    assert facts == {
        "level": "warning",
        "logger": "supervisor",
        "message": 'child exited code=3 after=0.040s at="\\"é\\"\\n"',
        "event": "child exited",
        "pid": PID,
        "worker": None,
        "slot": None,
        "code": 3,
        "after": 0.04,
        "at": '"é"\n',
    }


def test_an_entry_for_the_journal(journal):
    """One datagram, however many lines; the journal knows time and pid."""
    assert written("warning", "journal", "one\ntwo") == []
    fields = journal.recv(4096)
    assert b"MESSAGE\n" + struct.pack("<Q", 14) + b"master one\ntwo\n" in fields
    assert b"PRIORITY=4\n" in fields


@pytest.mark.parametrize(
    ("level", "priority"), [("debug", 7), ("info", 6), ("warning", 4), ("error", 3)]
)
def test_an_entry_for_a_journal_that_is_gone(monkeypatch, tmp_path, level, priority):
    """It goes to stderr, the priority before every line."""
    monkeypatch.setattr(journald, "SOCKET", str(tmp_path / "nobody"))
    expected = f"<{priority}>master one\n<{priority}>two\n"
    assert written(level, "journal", "one\ntwo") == [expected]


@pytest.mark.parametrize("form", ["text", "json"])
def test_a_traceback_is_one_write(form):
    """An entry of many lines, longer than any buffer, is written at once."""
    with stderr() as said:
        entries.configure("info", form, "")
        try:
            raise ValueError("x" * 20_000)
        except ValueError:
            entries.log.exception("request failed")
        entries.log.info("next")
    first, second = said
    assert "request failed" in first
    assert "Traceback (most recent call last):" in first
    assert "x" * 20_000 in first
    assert "next" in second


@pytest.mark.parametrize("form", ["text", "json"])
@pytest.mark.parametrize("to_file", [False, True])
def test_text_that_is_no_unicode_is_logged(tmp_path, form, to_file):
    """A file name of odd bytes costs no entry."""
    file = str(tmp_path / "log") if to_file else ""
    said = written("info", form, "cannot open", file, path=os.fsdecode(b"/caf\xe9"))
    text = (tmp_path / "log").read_text() if to_file else "".join(said)
    assert "/caf\\" in text
    assert "udce9" in text


def test_levels_below_the_configured_one_are_left_out():
    """At level warning neither info nor debug is written, by any logger."""
    with stderr() as said:
        entries.configure("warning", "text", "")
        entries.log.info("a")
        logging.getLogger("other").debug("b")
        logging.getLogger("other").warning("c")
    (entry,) = said
    assert entry.endswith(" c\n")


def test_a_child_has_its_own_subject():
    """After the fork entries begin with the section and the slot."""
    with stderr() as said:
        entries.configure("info", "text", "")
        entries.rename("web/3")
        entries.log.info("hello")
    (entry,) = said
    assert f" INFO web/3[{PID}] hello\n" in entry


def test_a_reader_that_is_gone_does_no_harm():
    """An entry that nobody can read is dropped."""
    reader, writer = os.pipe()
    os.close(reader)
    with stderr() as said:
        os.dup2(writer, 2)
        entries.configure("info", "text", "")
        entries.log.info("unheard")
        entries.say_error("unheard")
    os.close(writer)
    assert said == []


def test_a_file_is_followed_by_name(tmp_path):
    """After a rename by logrotate the next entry goes to a new file; stderr stays silent."""
    file, old = tmp_path / "log", tmp_path / "log.1"
    with stderr() as said:
        entries.configure("info", "text", str(file))
        entries.log.info("before")
        file.rename(old)
        entries.log.info("after")
    assert re.fullmatch(rf"{INSTANT} INFO master\[{PID}\] before\n", old.read_text())
    assert re.fullmatch(rf"{INSTANT} INFO master\[{PID}\] after\n", file.read_text())
    assert said == []


def test_a_full_disk_does_no_harm():
    """An entry that cannot be written is dropped, without a word on stderr."""
    assert written("info", "text", "lost", file="/dev/full") == []


def test_a_file_that_cannot_be_opened_is_told(tmp_path):
    """The caller turns it into a configuration error."""
    with pytest.raises(OSError, match="No such file"):
        entries.configure("info", "text", str(tmp_path / "absent/log"))


def stream_of(descriptor):
    """Return what systemd would put into JOURNAL_STREAM for a descriptor."""
    facts = os.fstat(descriptor)
    return f"{facts.st_dev}:{facts.st_ino}"


def test_the_journal_is_detected():
    """Only when stderr is the very stream that systemd made for us."""
    with stderr():
        other = {"JOURNAL_STREAM": stream_of(0)}
        assert entries.to_journal({"JOURNAL_STREAM": stream_of(2)})
        assert not any(map(entries.to_journal, [{}, {"JOURNAL_STREAM": ""}, other]))


@pytest.mark.parametrize(("form", "is_ours"), [("text", True), ("json", False)])
def test_the_journal_changes_text_only(monkeypatch, journal, form, is_ours):
    """Under systemd text goes to the journal; JSON was asked for and stays."""
    with stderr() as said:
        monkeypatch.setenv("JOURNAL_STREAM", stream_of(2))
        entries.configure("info", form, "")
        entries.log.info("hello")
    assert [entry[0] for entry in said] == ([] if is_ours else ["{"])
    if is_ours:
        assert b"MESSAGE=master hello\n" in journal.recv(4096)


def test_a_file_is_no_journal(monkeypatch, tmp_path):
    """A log file has ordinary lines, also under systemd."""
    with stderr():
        monkeypatch.setenv("JOURNAL_STREAM", stream_of(2))
        entries.configure("info", "text", str(tmp_path / "log"))
        entries.log.info("hello")
    assert re.match(INSTANT, (tmp_path / "log").read_text())


@pytest.mark.parametrize(
    ("facts", "text"),
    [
        ({}, ""),
        ({"slot": 3, "pid": 4711}, "slot=3 pid=4711"),
        ({"after": 0.04}, "after=0.040s"),
        ({"lock": None, "slot": 0}, "slot=0"),
        ({"cause": "exit 3"}, 'cause="exit 3"'),
        ({"name": ""}, 'name=""'),
        ({"name": "é"}, "name=é"),
        ({"error": 'a "b"'}, 'error="a \\"b\\""'),
        ({"path": "a\nb"}, 'path="a\\nb"'),
    ],
)
def test_facts_are_pairs(facts, text):
    """`key=value`, quoted where it could be misread; None is left out, floats are seconds."""
    assert entries.pairs(**facts) == text


def test_an_error_is_told_to_people():
    """One line each, all at once."""
    with stderr() as said:
        entries.say_error("first\nsecond")
    assert said == ["supervisor: error: first\nsupervisor: error: second\n"]


def test_flush_survives_closed_streams(monkeypatch):
    """stdio that is closed or missing is no reason to fail."""
    with open(os.devnull, "w") as closed:
        pass
    for stream in (closed, None):
        monkeypatch.setattr(sys, "stdout", stream)
        monkeypatch.setattr(sys, "stderr", stream)
        entries.flush()
