"""Events in any order: there is one master, a true status, no half life, and nothing is left."""

from __future__ import annotations

import os
import re
import shutil
import signal
import socket
import tempfile
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, invariant, precondition, rule

from tests.support import configs
from tests.support.clients import dial, line, rest
from tests.support.harness import Server

CHILDREN = 3
slots = st.integers(0, CHILDREN - 1)


class AnyOrder(RuleBasedStateMachine):
    """A server with `restart = "on-crash"`, and anything may happen until it is told to stop."""

    def __init__(self) -> None:
        super().__init__()
        self.directory = Path(tempfile.mkdtemp())
        self.in_hand: list[socket.socket] = []
        self.generation = 1

    @initialize()
    def start(self) -> None:
        section = configs.web("handlers:gated", children=CHILDREN)
        # User code takes the master's signals, once at the start and in each generation.
        master = {"restart": "on-crash", "stop_timeout": 1.0, "preload": ["plugging"]}
        meddling = configs.hooks(init="plug_ears", destroy="borrow_loop")
        config = configs.write(self.directory, meddling + section, **master)
        self.server = Server(self.directory, config)
        self.server.wait_for("server ready ")

    def tell(self, slot: int, number: signal.Signals) -> None:
        os.kill(self.server.children()[slot], number)

    def crash(self, slot: int, number: signal.Signals) -> None:
        """A death, and the next generation beside what is in hand elsewhere."""
        self.tell(slot, number)
        self.generation += 1
        self.server.wait_for(rf"server ready .*generation={self.generation}\b")

    def let_go(self) -> None:
        """Let every handler end that waits for its byte."""
        while self.in_hand:
            connection = self.in_hand.pop()
            try:
                connection.sendall(b".")
                assert rest(connection) in (b"done\n", b"")
            except OSError:
                connection.close()

    @rule(slot=slots)
    def kill(self, slot: int) -> None:
        self.crash(slot, signal.SIGKILL)

    @rule(slot=slots)
    def segv(self, slot: int) -> None:
        # One that is stopped dies of this only when it goes on.
        self.tell(slot, signal.SIGCONT)
        self.crash(slot, signal.SIGSEGV)

    @rule(slot=slots)
    def stop_and_continue(self, slot: int) -> None:
        self.tell(slot, signal.SIGSTOP)
        self.tell(slot, signal.SIGCONT)

    @rule(slot=slots)
    def quiet(self, slot: int) -> None:
        """HUP and USR2 mean nothing to anybody."""
        for number in (signal.SIGHUP, signal.SIGUSR2):
            self.tell(slot, number)
            self.server.signal(number)

    @rule()
    def statistics(self) -> None:
        since = len(self.server.log)
        self.server.signal(signal.SIGUSR1)
        self.server.wait_for(r"statistics\n", since=since)

    @precondition(lambda self: len(self.in_hand) < CHILDREN)
    @rule()
    def ask(self) -> None:
        """One more request, which a child has in hand when this ends; perhaps beyond its
        generation.
        """
        connection = dial(self.server)
        assert line(connection).startswith("taken ")
        self.in_hand.append(connection)

    @rule()
    def answer(self) -> None:
        self.let_go()

    @invariant()
    def alive_and_whole(self) -> None:
        """A running server has all of its children, of one generation, under the one master."""
        facts = self.server.stats()
        assert facts["pid"] == self.server.pid
        assert facts["state"] == "running"
        assert facts["generation"] == self.generation
        assert len(facts["children"]) == CHILDREN

    def teardown(self) -> None:
        """Some servers are told once, some twice; the status says TERM, and nothing is left."""
        try:
            twice = self.generation % 2 == 0
            self.server.signal(signal.SIGTERM)
            self.server.wait_for("server stopping reason=SIGTERM")
            if twice:
                self.server.signal(signal.SIGTERM)
            else:
                self.let_go()
            assert self.server.wait() == -signal.SIGTERM
            self.server.wait_gone()
            hooks = re.findall(r"^hook a (init|destroy)", self.server.log, re.MULTILINE)
            assert hooks.count("init") == hooks.count("destroy") == self.generation
        finally:
            for connection in self.in_hand:
                connection.close()
            complaints = self.server.close()
            shutil.rmtree(self.directory)
        assert not complaints


TestAnyOrder = AnyOrder.TestCase
# Twelve servers, with the back-off of many crashes in a row, are one test here.
TestAnyOrder.pytestmark = [pytest.mark.timeout(600)]
TestAnyOrder.settings = settings(
    max_examples=12,
    stateful_step_count=8,
    deadline=None,
    derandomize=True,
    suppress_health_check=list(HealthCheck),
)
