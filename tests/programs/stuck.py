"""Applications and workers that stay where they are, each in its own way."""

import asyncio
import collections
import itertools
import os
import threading
from collections.abc import AsyncIterator
from typing import Any, NoReturn

from supervisor import Child, Worker


def begin(what: str) -> None:
    os.write(2, f"begun {what}\n".encode())


def in_c() -> None:
    """Compute for ever where no signal is looked at."""
    collections.deque(itertools.repeat(None), maxlen=0)


def job(child: Child) -> None:
    begin("job")
    while not child.stopping:
        pass


async def forever() -> None:
    await asyncio.Event().wait()


async def parts() -> AsyncIterator[int]:
    await forever()
    yield 1


async def reading() -> None:
    async for _part in parts():
        pass


async def asgi(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """Wait for ever, alone or with many, or block the loop."""
    assert scope["type"] == "http"
    what = scope["path"][1:]
    begin(what)
    if what == "block":
        in_c()
    if what == "many":
        tasks = [asyncio.create_task(forever()) for _ in range(3000)]
        await asyncio.sleep(0)
        begin("all")
        await asyncio.gather(*tasks)
    await reading()


def wsgi(environ: dict[str, Any], start_response: Any) -> list[bytes]:
    begin(environ["PATH_INFO"][1:])
    in_c()
    return []


class Threaded(Worker):
    """Runs an event loop in a thread of its own beside the main one."""

    def run(self, child: Child) -> None:
        thread = threading.Thread(target=asyncio.run, args=(self._work(),), name="aside")
        thread.daemon = True
        thread.start()
        while not child.stopping:
            child.pause()

    async def _work(self) -> NoReturn:
        begin("aside")
        while True:
            await reading()
