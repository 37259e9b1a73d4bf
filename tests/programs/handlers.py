"""Request handlers. Each talks to its test over its connection, and waits for it there."""

import multiprocessing
import os
import re
import signal
import socket
import sys
from typing import Any, NoReturn

from acts import ignore_and_hang

from supervisor import current

Address = Any
# Made when the master imports this, so that all children share it.
LOCK = multiprocessing.get_context("fork").Lock()


def hello(connection: socket.socket, address: Address) -> None:
    """Answer at once, with the pid that serves."""
    connection.sendall(f"hello {os.getpid()}\n".encode())


def gated(connection: socket.socket, address: Address) -> None:
    """Say that the request is in hand, wait for a byte, answer."""
    connection.sendall(f"taken {os.getpid()}\n".encode())
    connection.recv(1)
    connection.sendall(b"done\n")


def deaf(connection: socket.socket, address: Address) -> NoReturn:
    """Say that the request is in hand and never come back, whatever SIGTERM says."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    connection.sendall(f"taken {os.getpid()}\n".encode())
    ignore_and_hang()


def computing(connection: socket.socket, address: Address) -> None:
    """Sit in one call of C code for longer than anybody waits."""
    connection.sendall(f"taken {os.getpid()}\n".encode())
    re.match(r"(a+)+$", "a" * 64 + "b")


def closing(connection: socket.socket, address: Address) -> None:
    """Answer, and close the connection itself."""
    connection.sendall(f"closing {os.getpid()}\n".encode())
    connection.close()


def failing(connection: socket.socket, address: Address) -> NoReturn:
    """Raise an ordinary exception."""
    raise ValueError("the handler failed")


def leaving(connection: socket.socket, address: Address) -> NoReturn:
    """Raise SystemExit, as careless code does."""
    sys.exit(4)


def vanishing(connection: socket.socket, address: Address) -> NoReturn:
    """End the process with status 0 and no word."""
    os._exit(0)


def family(connection: socket.socket, address: Address) -> None:
    """Leave a deaf grandchild of the master's own group behind; answer with its pid."""
    pid = os.fork()
    if pid == 0:
        ignore_and_hang()
    connection.sendall(f"grandchild {pid}\n".encode())


def daemon(connection: socket.socket, address: Address) -> None:
    """Leave a deaf daemon behind: own session, double fork; answer with its pid."""
    theirs, ours = socket.socketpair()
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            ours.sendall(str(os.getpid()).encode())
            ignore_and_hang()
        os._exit(0)
    os.wait()
    connection.sendall(b"grandchild " + theirs.recv(16) + b"\n")


def orphan(connection: socket.socket, address: Address) -> None:
    """Leave an orphan behind that tells its pid, waits for a byte and exits with status 3."""
    gone, alive = os.pipe()
    adopted, tell = os.pipe()
    if os.fork() == 0:
        if os.fork() == 0:
            os.read(adopted, 1)
            connection.sendall(f"orphan {os.getpid()}\n".encode())
            connection.recv(1)
            os._exit(3)
        os._exit(0)
    os.wait()
    os.write(tell, b".")
    os.close(alive)
    os.read(gone, 1)
    for descriptor in (gone, adopted, tell):
        os.close(descriptor)


def locking(connection: socket.socket, address: Address) -> None:
    """Wait for the lock that all children share, and die holding it when a byte comes."""
    connection.sendall(f"waiting {os.getpid()}\n".encode())
    with LOCK:
        connection.sendall(b"holding\n")
        connection.recv(1)
        os.kill(os.getpid(), signal.SIGKILL)


def asking(connection: socket.socket, address: Address) -> None:
    """Answer with a line of standard input."""
    connection.sendall(sys.stdin.readline().encode())


def listening(connection: socket.socket, address: Address) -> None:
    """Answer with the names of the service manager's variables that a child can see."""
    names = [key for key in os.environ if key.startswith(("LISTEN_", "NOTIFY_", "WATCHDOG_"))]
    connection.sendall(f"{names}\n".encode())


def counting(connection: socket.socket, address: Address) -> None:
    """Count one in the module `tally`."""
    current().modules["tally"].add()
    connection.sendall(b"counted\n")


def picky(data: bytes, address: Address) -> bytes | None:
    """Answer a datagram, but for `quiet` and `fail`."""
    if data == b"fail":
        raise ValueError("the reply failed")
    return None if data == b"quiet" else b"got " + data


def lent(data: bytes, address: Address) -> bytes:
    """Answer a datagram with the file that it names: of a FIFO it waits for the writer."""
    with open(data, "rb") as file:
        return file.read()
