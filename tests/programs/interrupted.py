"""Runs the command line, and sends a signal to it at the n-th audit event of a name.

    python interrupted.py FILE COMMAND...

FILE says `SIGNAL EVENT COUNT PROCESS`. PROCESS is `earlier` for one that ran before FILE was
written, `later` for one that was started after it. FILE goes when the signal is sent, so one is
sent. EVENT is `any` for all of them.

So a test reaches every point of a boot or a reload exactly, where no clock could. The event
precedes its act. A successor is started by the same words, and is reached too.
"""

import os
import signal
import sys
from pathlib import Path
from typing import NamedTuple


class Order(NamedTuple):
    """The content of FILE."""

    signal: str
    event: str
    count: int
    process: str

    @classmethod
    def parse(cls, text: str) -> "Order":
        """From one line."""
        number, event, count, process = text.split()
        return cls(number, event, int(count), process)


class Interruption:
    """An audit hook of this process; of its children it is none."""

    def __init__(self, file: Path) -> None:
        self._file = file
        self._process = "later" if file.exists() else "earlier"
        self._pid = os.getpid()
        self._order: Order | None = None
        self._seen = 0

    def __call__(self, name: str, arguments: tuple[object, ...]) -> None:
        """An audit event."""
        if os.getpid() != self._pid or not os.path.exists(self._file):
            return
        order = self._order or self._read()
        if order.process == self._process and order.event in (name, "any"):
            self._seen += 1
            if self._seen == order.count:
                self._interrupt(order)

    def _read(self) -> Order:
        self._order = Order("", "none", 0, "")  # an open is an event, too
        self._order = Order.parse(self._file.read_text())
        return self._order

    def _interrupt(self, order: Order) -> None:
        try:
            os.unlink(self._file)
        except FileNotFoundError:  # taken back at this instant
            return
        os.write(2, f"interrupted at {order.event} {order.count}\n".encode())
        os.kill(self._pid, signal.Signals[order.signal])


if __name__ == "__main__":
    from supervisor.cli.main import main

    sys.addaudithook(Interruption(Path(sys.argv[1])))
    del sys.argv[:2]
    main()
