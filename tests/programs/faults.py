"""A handler that fails on command in every way there is, and a module with a lock and a counter."""

import ctypes
import os
import re
import resource
import signal
import socket
import sys
from pathlib import Path
from typing import Any

import msgspec

from supervisor import Child, Module, Worker, current


class Gate(Module):
    """One lock and one counter for all children, and a file that must not outlive the server."""

    class Options(msgspec.Struct, frozen=True):
        marker: str = ""

    def __init__(self, options: Options) -> None:
        self.marker = options.marker

    def init(self, server: Any) -> None:
        self.lock = server.lock("lock")
        self.hits = server.counter("hits")
        if self.marker:
            server.resources.add_path(self.marker).touch()


def serve(connection: socket.socket, address: Any) -> None:
    """Do what the first line says; answer with slot, generation and pid if still alive."""
    command = connection.makefile().readline().strip()
    COMMANDS[command](connection)
    child = current()
    connection.sendall(f"{command} {child.slot} {child.generation} {os.getpid()}\n".encode())


def gate() -> Gate:
    """Return this child's instance of the module."""
    module = current().modules["gate"]
    assert isinstance(module, Gate)
    return module


def segv(connection: socket.socket) -> None:
    ctypes.string_at(0)


def overflow(connection: socket.socket) -> None:
    """Overflow the C stack: repr() of a list recurses in C."""
    sys.setrecursionlimit(10_000_000)
    nested: list[Any] = []
    for _ in range(400_000):
        nested = [nested]
    repr(nested)


def regex(connection: socket.socket) -> None:
    re.match(r"(a+)+$", "a" * 64 + "b")


def loop(connection: socket.socket) -> None:
    while True:
        pass


def late(connection: socket.socket) -> None:
    """Say that the request is in hand, and never come back."""
    connection.sendall(b"taken\n")
    while True:
        pass


def announced(connection: socket.socket) -> None:
    """Say that the request is in hand, and wait for a byte."""
    connection.sendall(b"taken\n")
    connection.recv(1)


def pause(connection: socket.socket) -> None:
    """Wait for a byte."""
    connection.recv(1)


def hang(connection: socket.socket) -> None:
    """Wait in the kernel for what never comes."""
    while True:
        signal.pause()


def memory(connection: socket.socket) -> None:
    """Ask for more memory than the limit allows."""
    soft, hard = resource.getrlimit(resource.RLIMIT_AS)
    resource.setrlimit(resource.RLIMIT_AS, (2**29, hard))
    try:
        bytearray(2**30)
    finally:
        resource.setrlimit(resource.RLIMIT_AS, (soft, hard))


def hold(connection: socket.socket) -> None:
    """Hold the lock until the peer sends a byte, then die if it is a `!`."""
    with gate().lock:
        connection.sendall(b"held\n")
        if connection.recv(1) == b"!":
            os.kill(os.getpid(), signal.SIGKILL)


def wait_for_lock(connection: socket.socket) -> None:
    """Say so, then wait for the lock."""
    connection.sendall(b"waiting\n")
    with gate().lock:
        pass


def try_lock(connection: socket.socket) -> None:
    """Tell whether the lock can be had in a moment."""
    got = gate().lock.acquire(timeout=0.01)
    connection.sendall(b"got\n" if got else b"busy\n")
    if got:
        gate().lock.release()


def file(connection: socket.socket) -> None:
    """Leave a file in the child's temporary directory and tell its path."""
    path: Path = current().tempdir / "file"
    path.write_text("left")
    connection.sendall(f"{path}\n".encode())


def named(connection: socket.socket) -> None:
    """Die with a request in hand that has a name."""
    with current().request("GET /cart"):
        os._exit(3)


COMMANDS = {
    "hello": lambda connection: gate().hits.add() if "gate" in current().modules else None,
    "segv": segv,
    "abort": lambda connection: os.abort(),
    "overflow": overflow,
    "exit": lambda connection: os._exit(3),
    "regex": regex,
    "loop": loop,
    "late": late,
    "pause": pause,
    "announced": announced,
    "hang": hang,
    "memory": memory,
    "hold": hold,
    "wait": wait_for_lock,
    "try": try_lock,
    "file": file,
    "named": named,
}


class Brief(Worker):
    """Is ready, and dies."""

    def run(self, child: Child) -> None:
        os._exit(1)


class Moody(Worker):
    """Fails its init for as long as a file exists."""

    class Options(msgspec.Struct, frozen=True):
        mood: str

    def init(self, child: Child) -> None:
        if Path(self.options.mood).exists():
            raise RuntimeError("in a bad mood")

    def run(self, child: Child) -> None:
        for _ in child.wait():
            os._exit(1)


class Scribbler(Worker):
    """Writes over the whole scoreboard, and dies, when a connection comes."""

    def run(self, child: Child) -> None:
        for _connection, _address in child.connections():
            words = child._board.words
            for number in range(len(words)):
                words[number] = 2**64 - 1
            os._exit(1)
