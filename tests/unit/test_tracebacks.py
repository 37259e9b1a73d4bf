"""Tracebacks for people: own frames first or in their place, the others counted."""

import sysconfig
from pathlib import Path

import pytest

import supervisor
from supervisor.views.tracebacks import folded, shortened

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
    own = ['  File "/srv/a.py", line 1 in f', "  (1 frame of libraries)"]
    assert list(folded(text)) == [
        *("Thread 0x1 (most recent call first):", *own),
        *("Thread 0x2:", *own),
    ]


def test_the_threads_of_the_application_come_first():
    """Of others, which wait for work as a rule, the innermost frame says enough."""
    idle = f'  File "{PYTHON}", line 1 in wait\n  File "{OURS}", line 2 in run\n'
    busy = f'  File "{PYTHON}", line 9 in decode\n  File "/srv/a.py", line 1 in view\n'
    text = (
        f"Fatal Python error: Aborted\n\nThread 0x1 (most recent call first):\n{idle}\n"
        f"Current thread 0x2 (most recent call first):\n{busy}\nExtension modules: x"
    )
    assert list(folded(text)) == [
        "Fatal Python error: Aborted",
        "Current thread 0x2 (most recent call first):",
        '  File "/srv/a.py", line 1 in view',
        "  (1 frame of libraries)",
        "Thread 0x1 (most recent call first):",
        f'  File "{PYTHON}", line 1 in wait',
        "  (1 frame of libraries)",
        "Extension modules: x",
    ]


def test_a_stack_keeps_its_order():
    """The innermost frame is told whose ever it is, own ones in their place."""
    own, library = '  File "/srv/app.py", line 3 in view', f'  File "{PYTHON}", line 9 in decode'
    frames = [library, library, own, library, library, library, own]
    assert list(shortened(frames)) == [
        library,
        "  (1 frame of libraries)",
        own,
        "  (3 frames of libraries)",
        own,
    ]
