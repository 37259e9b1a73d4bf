"""Handlers of children whose master is killed meanwhile."""

import ctypes
import os
import select
import signal
import socket
from typing import Any, NoReturn


def lock_twice(library: ctypes.CDLL) -> None:
    """Wait for ever in C, for a mutex that this thread holds."""
    mutex = ctypes.create_string_buffer(64)
    library.pthread_mutex_init(mutex, None)
    library.pthread_mutex_lock(mutex)
    library.pthread_mutex_lock(mutex)


def stuck(connection: socket.socket, address: Any) -> None:
    """Never come back from C."""
    connection.sendall(b"taken\n")
    lock_twice(ctypes.CDLL(None))


def stuck_with_the_interpreter(connection: socket.socket, address: Any) -> None:
    """Never come back from C, and let no other thread of Python run."""
    connection.sendall(b"taken\n")
    lock_twice(ctypes.PyDLL(None))


def stuck_with_litter(connection: socket.socket, address: Any) -> None:
    """Never come back from C, and leave a daemon's like below."""
    if os.fork() == 0:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        connection.sendall(b"taken\n")
        wait_for_ever()
    lock_twice(ctypes.CDLL(None))


def slow_in_c(connection: socket.socket, address: Any) -> None:
    """Spend half a second in C, where no handler of Python runs."""
    ctypes.PyDLL(None).usleep(500_000)
    connection.sendall(b"done\n")


def slow(connection: socket.socket, address: Any) -> None:
    """Take half a second."""
    select.select([], [], [], 0.5)
    connection.sendall(b"done\n")


def litter(connection: socket.socket, address: Any) -> None:
    """Leave behind one that ignores TERM in a session of its own, its child, and one that is
    stopped; serve until a byte comes.
    """
    if os.fork() == 0:
        os.setsid()
        signal.signal(signal.SIGTERM, signal.SIG_IGN)
        if os.fork() == 0:
            os.setsid()
        connection.sendall(b"x")
        wait_for_ever()
    stopped = os.fork()
    if stopped == 0:
        os.kill(os.getpid(), signal.SIGSTOP)
        wait_for_ever()
    os.waitid(os.P_PID, stopped, os.WSTOPPED)
    connection.sendall(b"x")
    connection.recv(1)


def stopped_stray(connection: socket.socket, address: Any) -> None:
    """Leave behind one that is stopped and has no parent in this process."""
    gone, alive = os.pipe()
    if os.fork() == 0:
        if os.fork() == 0:
            os.close(gone)
            signal.signal(signal.SIGTERM, signal.SIG_DFL)
            os.kill(os.getpid(), signal.SIGSTOP)
            wait_for_ever()
        os.waitid(os.P_ALL, 0, os.WSTOPPED | os.WNOWAIT)
        os._exit(0)
    os.wait()
    os.close(gone)
    os.close(alive)
    connection.sendall(b"x")


def wait_for_ever() -> NoReturn:
    while True:
        signal.pause()
