"""Requests that wait as the child lets them, and a child told to stop just before it is ready."""

import os
import select
import signal

from supervisor import Child, Worker, current

DEADLINE = 30.0


def asleep(environ, start_response):
    """Sleep for longer than any test lasts; those whose path is /lock wait for who sleeps."""
    if environ["PATH_INFO"] == "/lock":
        with current().modules["gate"].lock:
            return sleep(start_response)
    return sleep(start_response)


def sleep(start_response):
    os.write(2, b"request sleeps\n")
    current().sleep(1000)
    start_response("200 OK", [])
    return [b"awake"]


class Late(Worker):
    """Has the server told to stop in its `init`, and goes on."""

    def init(self, child: Child) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        os.kill(os.getppid(), signal.SIGTERM)
        # From the master, which waits for nobody's readiness any more.
        if signal.sigtimedwait([signal.SIGTERM], DEADLINE) is not None:
            signal.raise_signal(signal.SIGTERM)

    def run(self, child: Child) -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
        for _ in child.wait():
            raise AssertionError("it has no listener")


class Abandoned(Worker):
    """Kills the master in its `init`, and goes on."""

    def init(self, child: Child) -> None:
        signal.pthread_sigmask(signal.SIG_BLOCK, [signal.SIGTERM])
        master = os.pidfd_open(os.getppid())
        signal.pidfd_send_signal(master, signal.SIGKILL)
        select.select([master], [], [], DEADLINE)

    def run(self, child: Child) -> None:
        signal.pthread_sigmask(signal.SIG_UNBLOCK, [signal.SIGTERM])
        for _ in child.wait():
            raise AssertionError("it has no listener")
