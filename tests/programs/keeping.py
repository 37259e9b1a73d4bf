"""Children that use the module `cache`, and a module that needs what nobody has."""

import os
import random
import socket
from collections.abc import Mapping
from typing import Any, ClassVar

from acts import say

from supervisor import Child, Module, current


def synced(child: Child) -> None:
    """Put a thousand entries and write them to disk, then wait."""
    cache = child.modules["cache"]
    for number in range(1000):
        cache.put(f"synced-{number}", b"%d" % number)
    cache.sync()
    say("cache synced")
    child.sleep(1000)


def hammering(child: Child) -> None:
    """Put, get and delete as fast as can be; every value tells its key."""
    cache = child.modules["cache"]
    generator = random.Random(child.rank)
    number = 0
    while True:
        key = f"hammer-{generator.randrange(500)}"
        cache.put(key, key.encode() * generator.randrange(1, 200))
        other = f"hammer-{generator.randrange(500)}"
        value = cache.get(other)
        assert value is None or value.startswith(other.encode())
        if generator.random() < 0.2:
            cache.delete(other)
        number += 1
        if number == 200:
            say("cache hammered")
        child.poll()


def talking(connection: socket.socket, address: Any) -> None:
    """Obey lines (`put KEY VALUE`, `get KEY`, `fill`, `pid`), and answer each, until the end."""
    cache = current().modules["cache"]
    for line in connection.makefile():
        answer = ANSWERS[line.split()[0]](cache, *line.split()[1:])
        connection.sendall(f"{answer}\n".encode())


def fill(cache: Any) -> None:
    """Put more than a small disk holds."""
    for number in range(1000):
        cache.put(f"fill-{number}", os.urandom(30_000))


ANSWERS = {
    "put": lambda cache, key, value: cache.put(key, value.encode()),
    "get": lambda cache, key: cache.get(key).decode(),
    "fill": fill,
    "pid": lambda _: os.getpid(),
}


class Needy(Module):
    """Cannot be used: what it needs does not exist."""

    needs: ClassVar[Mapping[str, str]] = {"package_that_nobody_has": "cache"}
