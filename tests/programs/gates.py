"""A worker that is ready when its test says so."""

from acts import say

from supervisor import Child, Worker
from supervisor.config.schema import Options


class Gate(Worker):
    """Opens a FIFO in `init`, which waits until somebody writes into it."""

    class Options(Options, frozen=True):
        fifo: str

    def init(self, child: Child) -> None:
        say("worker waits")
        with open(self.options.fifo) as fifo:
            fifo.read()

    def run(self, child: Child) -> None:
        for _ in child.wait():
            raise AssertionError("it has no listener")
