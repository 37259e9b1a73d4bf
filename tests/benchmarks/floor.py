"""A bare prefork echo server: what fork, accept and wait cost when nobody supervises.

Usage: floor.py CHILDREN. Prints `ready address=HOST:PORT forked_in=SECONDS`, ends on SIGTERM.
"""

import os
import signal
import socket
import sys

LONG = 3600.0


def serve(listener: socket.socket, ready: int) -> None:
    """Answer one request per connection until SIGTERM ends this child."""
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})
    os.write(ready, b".")
    while True:
        connection, _ = listener.accept()
        with connection:
            connection.sendall(connection.recv(65536))


def fork(count: int, listener: socket.socket) -> list[int]:
    """The pids of the children, once each of them has sent its ready byte."""
    reader, writer = os.pipe()
    pids = []
    for _ in range(count):
        pid = os.fork()
        if pid == 0:
            try:
                serve(listener, writer)
            finally:
                os._exit(1)
        pids.append(pid)
    os.close(writer)
    while count:
        count -= len(os.read(reader, count)) or sys.exit("a child died before it was ready")
    return pids


def main() -> None:
    """Bind, fork, say that we are ready, wait for SIGTERM, take the children along."""
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    with socket.create_server(("127.0.0.1", 0), backlog=2048) as listener:
        # The interval timer is the stopwatch: stopping it returns what was left of it.
        signal.setitimer(signal.ITIMER_REAL, LONG)
        pids = fork(int(sys.argv[1]), listener)
        forked_in = LONG - signal.setitimer(signal.ITIMER_REAL, 0)[0]
        host, port = listener.getsockname()
        print(f"ready address={host}:{port} forked_in={forked_in:.6f}", flush=True)
        signal.sigwait({signal.SIGTERM})
        for pid in pids:
            os.kill(pid, signal.SIGTERM)
        for pid in pids:
            os.waitpid(pid, 0)


main()
