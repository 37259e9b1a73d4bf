"""Runs the command line, and sends SIGTERM to it at the n-th audit event of a name.

    python interrupted.py EVENT COUNT COMMAND...

So a test reaches every point of boot exactly, where no clock could. The event precedes its act.
"""

import os
import signal
import sys
from collections.abc import Callable


def interrupt_at(event: str, count: int) -> Callable[[str, tuple[object, ...]], None]:
    """Return an audit hook that sends SIGTERM to this process, once."""
    left = count
    master = os.getpid()

    def hook(name: str, arguments: tuple[object, ...]) -> None:
        nonlocal left
        if name == event and os.getpid() == master:
            left -= 1
            if left == 0:
                os.write(2, f"interrupted at {event} {count}\n".encode())
                os.kill(master, signal.SIGTERM)

    return hook


if __name__ == "__main__":
    from supervisor.cli.main import main

    sys.addaudithook(interrupt_at(sys.argv[1], int(sys.argv[2])))
    del sys.argv[:3]
    main()
