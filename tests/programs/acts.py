"""Acts that the programs of the tests perform, by name, at any point of a server's life."""

import asyncio
import os
import signal
import sys
from pathlib import Path
from typing import NoReturn


def say(text: str) -> None:
    """Write one line to stderr, where the test reads the log; one write, so lines do not mix."""
    sys.stderr.flush()
    os.write(2, f"{text} pid={os.getpid()}\n".encode())


def hang() -> NoReturn:
    """Wait for ever; a signal handler that raises ends it."""
    while True:
        signal.pause()


def spin() -> NoReturn:
    """Compute for ever. Unlike `hang` it cannot miss a signal that comes just before it blocks."""
    while True:
        pass


def ignore_and_hang() -> NoReturn:
    """Wait for ever, deaf to SIGTERM."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    hang()


def fail() -> NoReturn:
    """Raise an ordinary exception."""
    raise RuntimeError("told to fail")


def swallow() -> NoReturn:
    """Wait for ever, and swallow whatever is raised."""
    while True:
        try:
            say("swallowing")
            spin()
        except BaseException:
            continue


def plug_ears() -> None:
    """Take the signals of this process, as careless libraries do."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGINT])


def borrow_loop() -> None:
    """Add and remove a signal handler of asyncio: that removes the wakeup descriptor."""
    loop = asyncio.new_event_loop()
    loop.add_signal_handler(signal.SIGUSR2, print)
    loop.remove_signal_handler(signal.SIGUSR2)
    loop.close()


_seen: list[str] = []


def swallow_later() -> None:
    """The second time only."""
    _seen.append("")
    if len(_seen) == 2:
        swallow()


ACTS = {
    "swallow_later": swallow_later,
    "swallow": swallow,
    "plug_ears": plug_ears,
    "borrow_loop": borrow_loop,
    "hang": hang,
    "spin": spin,
    "fail": fail,
    "exit": lambda: os._exit(0),
    "deaf": ignore_and_hang,
}


def act(name: str | None) -> None:
    """Do what the name says, or read the file that it names; nothing for None."""
    if name is not None and name.startswith("/"):
        Path(name).read_bytes()
    elif name is not None:
        ACTS[name]()
