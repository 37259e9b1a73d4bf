"""Functions that the type `task` runs; each tells its test what it does on stderr."""

import os
import sys
import time
from pathlib import Path

from acts import hang, say

from supervisor import Child, Stop


def once(child: Child) -> None:
    """Be done at once."""
    say("task done")


def counting(child: Child) -> None:
    """Compute in Python, and ask now and then whether to stop; keep a temporary file."""
    leave_files(child)
    say("task counts")
    total = 0
    while True:
        total += sum(range(1000))
        child.poll()


def deaf(child: Child) -> None:
    """Compute in Python without ever asking; keep a temporary file."""
    leave_files(child)
    say("task counts")
    total = 0
    while True:
        total += 1


def leave_files(child: Child) -> None:
    """Make a file in the own directory, and a file and a directory registered elsewhere."""
    (child.tempdir / "own").write_text("")
    for name in ("REGISTERED_FILE", "REGISTERED_TREE"):
        path = Path(os.environ[name])
        child.resources.add_path(path)
        if name.endswith("TREE"):
            path.mkdir()
            path /= "inside"
        path.write_text("")


def dying(child: Child) -> None:
    """Make files, wait for the kill."""
    leave_files(child)
    say("task waits")
    hang()


def sleeping(child: Child) -> None:
    """Sleep for a long time; tell by what signal it ended."""
    say("task sleeps")
    try:
        child.sleep(1000)
    except Stop as stop:
        say(f"task stopped by {stop.signum.name}")
        raise


def beating(child: Child) -> None:
    """Tell when it was."""
    say(f"task beat at={time.monotonic():.3f}")


def slow(child: Child) -> None:
    """Take 0.4 s."""
    say(f"task begins at={time.monotonic():.3f}")
    child.sleep(0.4)
    say(f"task ends at={time.monotonic():.3f}")


def failing(child: Child) -> None:
    """Raise an ordinary exception."""
    say("task fails")
    raise ValueError("the task failed")


def leaving(child: Child) -> None:
    """Raise SystemExit, as careless code does."""
    say("task leaves")
    sys.exit(4)
