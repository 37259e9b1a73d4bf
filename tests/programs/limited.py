"""Handlers that tell, or exceed, what the modules `limits` and `affinity` have set."""

import json
import os
import resource

NAMES = ("RLIMIT_AS", "RLIMIT_NOFILE", "RLIMIT_CPU", "RLIMIT_CORE")


def telling(connection, address) -> None:
    """Answer with the limits and the CPUs of this child."""
    limits = [resource.getrlimit(getattr(resource, name))[0] for name in NAMES]
    connection.sendall(json.dumps([limits, sorted(os.sched_getaffinity(0))]).encode())


def allocating(connection, address) -> None:
    """Take a gigabyte."""
    connection.sendall(b"%d" % len(bytes(1_000_000_000)))


def burning(child) -> None:
    """Use up CPU time."""
    while True:
        child.poll()
