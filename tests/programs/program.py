"""A foreign program for type `exec`: needs no import of ours, does what its first argument says."""

import json
import os
import signal
import socket
import sys


def say(text: str) -> None:
    """One line on stderr, in one write."""
    os.write(2, f"program {text} pid={os.getpid()}\n".encode())


def facts() -> None:
    """Tell what was inherited, then serve."""
    told = {key: os.environ.get(key) for key in ("LISTEN_FDS", "LISTEN_FDNAMES", "COLOUR")}
    descriptors = []
    for name in sorted(map(int, os.listdir("/proc/self/fd"))):
        try:
            os.fstat(name)
        except OSError:
            continue  # the listing itself
        descriptors.append(name)
    found = {
        "arguments": sys.argv[2:],
        "descriptors": descriptors,
        "directory": os.getcwd(),
        "own_group": os.getpgrp() == os.getpid(),
        "listen_pid_is_ours": os.environ.get("LISTEN_PID") == str(os.getpid()),
        **told,
    }
    say("facts " + json.dumps(found) + " end")
    serve()


def serve() -> None:
    """Answer each connection with our pid; leave with status 3 when one says `leave`."""
    listener = socket.socket(fileno=3)
    say("serves")
    while True:
        connection, _ = listener.accept()
        with connection:
            if connection.recv(100) == b"leave":
                sys.exit(3)
            connection.sendall(f"program {os.getpid()}\n".encode())


def deaf() -> None:
    """Ignore SIGTERM, close stdout, and serve."""
    signal.signal(signal.SIGTERM, signal.SIG_IGN)
    os.close(1)
    serve()


def daemon() -> None:
    """Leave a deaf daemon of our own behind, and serve."""
    if os.fork() == 0:
        os.setsid()
        if os.fork() == 0:
            signal.signal(signal.SIGTERM, signal.SIG_IGN)
            say("daemon")
            signal.pause()
        os._exit(0)
    os.wait()
    serve()


def gated() -> None:
    """Accept nothing before the file named by the next argument has been opened for writing."""
    say("waits")
    open(sys.argv[2]).close()
    serve()


def chatty() -> None:
    """Be ready, and then tell more than any socket holds."""
    notify = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    notify.connect(os.environ["NOTIFY_SOCKET"])
    notify.send(b"READY=1")
    for number in range(2000):
        notify.send(b"STATUS=step %d" % number)
    say("has told")
    serve()


def interrupted() -> None:
    """End in order on SIGUSR2 alone."""

    def leave(*_: object) -> None:
        say("leaves")
        sys.exit(0)

    signal.signal(signal.SIGUSR2, leave)
    signal.signal(signal.SIGTERM, lambda *_: say("got TERM"))
    serve()


globals()[sys.argv[1]]()
