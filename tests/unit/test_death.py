"""A child's death as facts, as one log entry, and as one line."""

import signal
import textwrap

import pytest

from supervisor.log.forms import Entry, Origin, as_text
from supervisor.master.death import Crash, cause_of, last_line, own_part
from supervisor.scoreboard.layout import State
from supervisor.scoreboard.records import Report
from supervisor.system.process import Death, fork_all

RAISED = 'Traceback (most recent call last):\n  File "a.py", line 1, in run\nValueError: no\n'
FATAL = (
    "Fatal Python error: Segmentation fault\n\n"
    "Current thread 0x00007f (most recent call first):\n"
    '  File "a.py", line 3 in crash\n  File "child.py", line 9 in live\n'
)
LATE = (
    "Current thread 0x00007f (most recent call first):\n"
    '  File "a.py", line 3 in hang\n  File "child.py", line 9 in live\n'
)


def exited(code):
    """Return a death by exit."""
    return Death(4712, code, None, False, 0.25, 12 * 2**20 + 5)


def killed(signum, dumped_core=False):
    """Return a death by signal."""
    return Death(4712, None, signum, dumped_core, 0.25, 12 * 2**20 + 5)


def crash(death, **facts):
    """Return a crash of `web/3`, ready and idle, with nothing else to say."""
    known = {
        "at": 1_700_000_000.5,
        "generation": 2,
        "slot": 3,
        "worker": "web",
        "death": death,
        "cause": death.cause,
        "state": State.IDLE,
        "in_state": 1.5,
        "uptime": 60.0,
        "requests": (),
        "lock": None,
        "traceback": "",
        "was_ready": True,
        "oom_killed": False,
    }
    return Crash(**known | facts)


@pytest.mark.parametrize(
    ("death", "active", "has_request_timeout", "is_stopping", "cause"),
    [
        (exited(0), 0, False, False, "exit 0"),
        (exited(3), 1, True, True, "exit 3"),
        (killed(signal.SIGSEGV), 1, True, False, "SIGSEGV"),
        (killed(signal.SIGKILL), 0, False, True, "SIGKILL"),
        (killed(40), 0, False, False, "signal 40"),
        (killed(signal.SIGALRM), 1, True, False, "request_timeout"),
        (killed(signal.SIGALRM), 0, True, False, "SIGALRM"),
        (killed(signal.SIGALRM), 1, False, False, "SIGALRM"),
        (killed(signal.SIGALRM), 0, False, True, "stop_timeout"),
        (killed(signal.SIGALRM), 1, True, True, "stop_timeout"),
    ],
)
def test_the_cause_of_a_death(death, active, has_request_timeout, is_stopping, cause):
    """A signal, an exit status, or the deadline that sent SIGALRM."""
    facts = {"has_request_timeout": has_request_timeout, "is_stopping": is_stopping}
    assert cause_of(death, active=active, **facts) == cause


def entry(died):
    """The log entry of a crash, without the instant and who writes it."""
    text = as_text(Entry(0, "ERROR", "child died", died.facts()), Origin())
    return text.partition("] ")[2].rstrip("\n")


def test_an_exit_in_one_entry():
    """Facts that are not known are left out."""
    assert entry(crash(exited(3))) == (
        'child died worker=web slot=3 pid=4712 cause="exit 3" exit=3 uptime=60.000s state=idle'
        " for=1.500s peak_rss=12MiB cpu=0.250s"
    )


def test_a_fault_in_one_entry():
    """Everything that is known stands in the first line; the black box follows."""
    died = crash(
        killed(signal.SIGSEGV, dumped_core=True),
        state=State.BUSY,
        requests=("GET /cart 0.520s id=7", "GET / 0.100s"),
        lock="cache.write",
        traceback=FATAL,
    )
    assert entry(died) == (
        "child died worker=web slot=3 pid=4712 cause=SIGSEGV signal=SIGSEGV core_dumped=True"
        ' uptime=60.000s state=busy for=1.500s request="GET /cart 0.520s id=7"'
        " lock=cache.write peak_rss=12MiB cpu=0.250s\n  also in hand: GET / 0.100s\n"
        + textwrap.indent(FATAL.rstrip("\n"), "  ")
    )


def test_a_request_cannot_forge_a_line():
    """A line break in the name of a request does not break the line."""
    assert len(entry(crash(exited(3), requests=("/\nchild",))).splitlines()) == 1


@pytest.mark.parametrize("proved", [True, False])
def test_the_oom_killer_is_named_only_when_proved(proved):
    """SIGKILL alone does not say who sent it."""
    lines = entry(crash(killed(signal.SIGKILL), oom_killed=proved)).splitlines()
    assert ("  killed by the kernel's OOM killer" in lines) is proved


@pytest.mark.parametrize(
    ("facts", "message"),
    [
        ({}, "workers.web: slot 3 died: exit 3"),
        ({"was_ready": False}, "workers.web: slot 3 failed before it was ready: exit 3"),
        ({"traceback": RAISED}, "workers.web: slot 3 died: exit 3: ValueError: no"),
        ({"cause": "start_timeout"}, "workers.web: slot 3 died: start_timeout"),
    ],
)
def test_a_crash_in_one_line(facts, message):
    """Who started the server reads who died, of what, and why."""
    assert crash(exited(3), **facts).message() == message


def test_the_report_is_what_readers_find():
    """Statistics and `why` keep all that is known."""
    killed_busy = crash(
        killed(signal.SIGSEGV, dumped_core=True),
        requests=("GET /cart 0.520s",),
        lock="cache.write",
        traceback=FATAL,
    )
    assert killed_busy.report() == Report(
        at=1_700_000_000.5,
        generation=2,
        slot=3,
        worker="web",
        pid=4712,
        cause="SIGSEGV",
        signal="SIGSEGV",
        state="idle",
        lock="cache.write",
        peak_rss_bytes=12 * 2**20 + 5,
        oom=False,
        requests=("GET /cart 0.520s",),
        traceback=FATAL,
        exit_code=None,
        core_dumped=True,
        was_ready=True,
        uptime=60.0,
        in_state=1.5,
        cpu_seconds=0.25,
    )


@pytest.mark.parametrize(
    ("traceback", "line"),
    [
        ("", ""),
        ("\n \n", ""),
        (RAISED, "ValueError: no"),
        (RAISED + "\n\n", "ValueError: no"),
        (FATAL, "Fatal Python error: Segmentation fault"),
        ("Timeout (0:00:11)!\nThread 0x7f\n", "Timeout (0:00:11)!"),
        ("Tcp.run() returned without being told to\n", "Tcp.run() returned without being told to"),
        (LATE, 'File "a.py", line 3 in hang'),
    ],
)
def test_the_line_that_says_what_happened(traceback, line):
    """The exception, the fault, or where a late child was: never the frame that all have."""
    assert last_line(traceback) == line


FORKED = (
    f'  File "/x/supervisor/process.py", line 45 in {fork_all.__name__}\n'
    '  File "/x/supervisor/generation.py", line 239 in _start\n'
    '  File "/x/bin/supervisor", line 8 in <module>\n'
)


@pytest.mark.parametrize(
    ("text", "own"),
    [
        ("", ""),
        (RAISED, RAISED),
        (FATAL, FATAL),
        (FATAL + FORKED, FATAL),
        (
            FATAL + FORKED + "\nExtension modules: x (total: 1)\n",
            FATAL + "\nExtension modules: x (total: 1)",
        ),
        (FATAL + FORKED + "\n" + LATE + FORKED, FATAL + "\n" + LATE),
    ],
)
def test_a_traceback_ends_where_the_child_began(text, own):
    """The frames of the master that forked are left out, and nothing else is."""
    assert own_part(text) == own.strip("\n")
