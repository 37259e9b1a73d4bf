"""A module that declares a counter."""

from supervisor import Module


class Tally(Module):
    """Counts what its children tell it to."""

    def init(self, server) -> None:
        self._total = server.counter("total")

    def add(self) -> None:
        self._total.add(1)
