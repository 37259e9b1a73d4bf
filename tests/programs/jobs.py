"""Workers of a user's own, by dotted path."""

from typing import NoReturn

import msgspec
from acts import act, say

from supervisor import Child, Worker


class Scripted(Worker):
    """Says `worker NAME` on stderr in each hook, and fails, hangs or leaves where told to."""

    class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
        preload: str | None = None
        init: str | None = None
        run: str | None = None
        close: str | None = None

    def preload(self) -> None:
        self._hook("preload", self.options.preload)

    def init(self, child: Child) -> None:
        self._hook("init", self.options.init)

    def run(self, child: Child) -> None:
        """Answer each connection with `own RANK`, or act as told when one has come."""
        self._hook("run")
        for connection, _address in child.connections():
            with connection, child.request():
                if self.options.run == "return":
                    return
                act(self.options.run)
                connection.sendall(f"own {child.rank}\n".encode())

    def close(self) -> None:
        self._hook("close", self.options.close)

    def _hook(self, name: str, what: str | None = None) -> None:
        say(f"worker {name}")
        act(what)


class Counting(Worker):
    """Computes without end, and asks now and then whether to stop."""

    def run(self, child: Child) -> NoReturn:
        say("worker counting")
        while True:
            child.poll()
