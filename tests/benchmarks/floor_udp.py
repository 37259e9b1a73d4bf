"""A bare prefork datagram server: recvfrom, answer, sendto.

Usage: floor_udp.py CHILDREN MODULE:FUNCTION. Prints `ready address=HOST:PORT forked_in=SECONDS`.
"""

import importlib
import os
import signal
import socket
import sys


def serve(sock: socket.socket, name: str) -> None:
    """Answer until SIGTERM ends this child by its default."""
    module, _, function = name.partition(":")
    reply = getattr(importlib.import_module(module), function)
    while True:
        data, address = sock.recvfrom(65535)
        answer = reply(data, address)
        if answer is not None:
            sock.sendto(answer, address)


def main() -> None:
    """Bind, fork, say that we are ready, wait for SIGTERM, take the children along."""
    sys.path.insert(0, os.getcwd())
    sock = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
    sock.bind(("127.0.0.1", 0))
    pids = []
    for _ in range(int(sys.argv[1])):
        pid = os.fork()
        if pid == 0:
            serve(sock, sys.argv[2])
        pids.append(pid)
    host, port = sock.getsockname()
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGTERM})
    print(f"ready address={host}:{port} forked_in=0.0", flush=True)
    signal.sigwait({signal.SIGTERM})
    for pid in pids:
        os.kill(pid, signal.SIGTERM)
    for pid in pids:
        os.waitpid(pid, 0)


main()
