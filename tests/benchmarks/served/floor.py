"""The floor: what fork, accept and wait cost when nobody supervises.

Usage: floor.py CHILDREN PORT tcp|udp MODULE:FUNCTION
       floor.py CHILDREN PORT exec PROGRAM ARGUMENT...

Prints `ready forked_in=SECONDS` on stderr, ends on SIGTERM.
"""

import importlib
import os
import signal
import socket
import subprocess
import sys
from pathlib import Path

LONG = 3600.0


def serve(sock, function):
    """One connection, or datagram, after another."""
    while sock.type == socket.SOCK_STREAM:
        connection, address = sock.accept()
        with connection:
            function(connection, address)
    while True:
        data, address = sock.recvfrom(65535)
        answer = function(data, address)
        if answer is not None:
            sock.sendto(answer, address)


def forked(count, sock, function):
    """The pids of the children, once each of them has sent its ready byte."""
    reader, writer = os.pipe()
    pids = []
    for _ in range(count):
        pid = os.fork()
        if pid == 0:
            try:
                os.write(writer, b".")
                serve(sock, function)
            finally:
                os._exit(1)
        pids.append(pid)
    os.close(writer)
    while count:
        count -= len(os.read(reader, count)) or sys.exit("a child died before it was ready")
    return pids


def children(count, port, kind, arguments):
    """Start them; the interval timer is the stopwatch: stopping it returns what was left of it."""
    if kind == "exec":
        return [subprocess.Popen(["/bin/sh", *arguments]).pid for _ in range(count)], 0.0
    sys.path.append(str(Path(__file__).parents[3]))
    module, _, function = arguments[0].partition(":")
    work = getattr(importlib.import_module(module), function)
    sock = socket.socket(type=socket.SOCK_STREAM if kind == "tcp" else socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", port))
    if kind == "tcp":
        sock.listen(2048)
    signal.setitimer(signal.ITIMER_REAL, LONG)
    pids = forked(count, sock, work)
    return pids, LONG - signal.setitimer(signal.ITIMER_REAL, 0)[0]


count, port, kind, *arguments = sys.argv[1:]
pids, forked_in = children(int(count), int(port), kind, arguments)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
print(f"ready forked_in={forked_in:.6f}", file=sys.stderr, flush=True)
signal.sigwait({signal.SIGTERM})
for pid in pids:
    os.kill(pid, signal.SIGTERM)
for pid in pids:
    os.waitpid(pid, 0)
