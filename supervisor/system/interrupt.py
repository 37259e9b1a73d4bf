"""Signals that end a prompt: raised as exceptions, so that what has to be restored on the way out
is.
"""

from __future__ import annotations

import contextlib
import os
import select
import signal
import threading
from collections.abc import Iterator
from typing import Any, Final

from supervisor.errors import Stop

_AGAIN: Final = 0.05  # s until a signal that no handler has seen is sent again


@contextlib.contextmanager
def stop_raised_by(*signums: signal.Signals) -> Iterator[None]:
    """Inside, the first of `signums` raises Stop; the others do nothing from then on, so that what
    has to be restored on the way out is. SIGINT raises KeyboardInterrupt. For a prompt.

    A signal just before readline's select(2) would only be seen at the next key: a thread, asleep
    until one comes, sends it again until its handler has run.
    """
    seen = threading.Event()

    def end(signum: int, _frame: Any) -> None:
        for number in signums:
            signal.signal(number, signal.SIG_IGN)
        seen.set()
        raise Stop(signum)

    def interrupt(_signum: int, _frame: Any) -> None:
        seen.set()
        raise KeyboardInterrupt

    reader, writer = os.pipe2(os.O_CLOEXEC)
    os.set_blocking(writer, False)
    sender = threading.Thread(target=_send_again, args=(reader, seen), daemon=True)
    sender.start()
    for number in signums:
        signal.signal(number, end)
    signal.signal(signal.SIGINT, interrupt)
    signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    try:
        yield
    finally:
        signal.set_wakeup_fd(-1)
        seen.set()
        os.close(writer)
        sender.join()
        os.close(reader)


def _send_again(reader: int, seen: threading.Event) -> None:
    main = threading.main_thread().ident
    while came := os.read(reader, 4096):
        while not seen.wait(_AGAIN) and main is not None:
            signal.pthread_kill(main, came[-1])
        # What was sent again has left its number in the pipe as well.
        while select.select([reader], [], [], 0)[0] and os.read(reader, 4096):
            pass
        seen.clear()
