"""What went wrong, told: own frames first, others counted, nothing that harms a terminal."""

import sysconfig
from pathlib import Path

import pytest

import supervisor
from supervisor.scoreboard.records import KEPT, History, Incident
from supervisor.views.crashes import crash_line, facts, folded, why
from tests.support.scoreboards import report

OURS = str(Path(supervisor.__file__).parent / "workers/tcp.py")
PYTHON = sysconfig.get_path("stdlib") + "/json/decoder.py"
PACKAGE = "/srv/venv/lib/python3.11/site-packages/flask/app.py"


def raised(*frames):
    """Return a traceback as Python writes it, with a line of code below each frame."""
    lines = [f'  File "{path}", line 3, in {name}\n    {name}()\n' for path, name in frames]
    return "Traceback (most recent call last):\n" + "".join(lines) + "ValueError: no\n"


def test_own_frames_are_told_and_the_others_counted():
    """Ours, Python's and those of packages are none of the application's."""
    text = raised((OURS, "run"), (PACKAGE, "call"), ("/srv/app.py", "view"), (PYTHON, "decode"))
    assert list(folded(text)) == [
        "Traceback (most recent call last):",
        '  File "/srv/app.py", line 3, in view',
        "    view()",
        "  (3 frames of libraries)",
        "ValueError: no",
    ]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "ValueError: no",
        raised((OURS, "run"), (PYTHON, "decode")),
        raised(("/srv/app.py", "view")),
    ],
)
def test_where_all_or_none_are_own_all_are_told(text):
    """Nothing is left out that would leave nothing."""
    assert list(folded(text)) == text.splitlines()


def test_each_thread_is_folded_by_itself():
    """The heading of a thread stays above its own frames."""
    frames = f'  File "/srv/a.py", line 1 in f\n  File "{OURS}", line 2 in g\n'
    text = f"Thread 0x1 (most recent call first):\n{frames}\n\nThread 0x2:\n{frames}"
    own = ['  File "/srv/a.py", line 1 in f', "  (1 frames of libraries)"]
    assert list(folded(text)) == [
        *("Thread 0x1 (most recent call first):", *own),
        *("Thread 0x2:", *own),
    ]


def test_the_newest_come_first():
    """Crashes and incidents in one list, ten at most."""
    history = History()
    for number in range(KEPT):
        history.add_crash(report(at=2.0 * number))
        history.add_incident(
            Incident(at=2.0 * number + 1, kind="forced stop", generation=3, reason="late")
        )
    told = list(why(history))
    assert len(told) == KEPT
    assert told[0] == "1970-01-01T00:00:19.000Z forced stop reason=late generation=3"
    assert told[1].startswith("1970-01-01T00:00:18.000Z child died worker=echo slot=2 pid=99 ")


def test_all_requests_in_hand_are_told():
    """The oldest stands in the line, the others below it."""
    died = report(requests=("GET /a 2.000s", "GET /b 1.000s", "GET /c 0.500s"), oom=True)
    assert facts(died)["request"] == "GET /a 2.000s"
    assert facts(died)["note"].splitlines() == [
        "killed by the kernel's OOM killer",
        "also in hand: GET /b 1.000s",
        "also in hand: GET /c 0.500s",
    ]


def test_what_a_child_wrote_cannot_command_a_terminal():
    """Escape sequences in a traceback or a name are shown, not obeyed."""
    history = History()
    history.add_crash(report(traceback="ValueError: \x1b[2J\nx", worker="\x1b]0;x\x07"))
    (told,) = why(history)
    assert all(line.isprintable() for line in told.split("\n"))
    assert crash_line(history.crashes[0]).isprintable()
