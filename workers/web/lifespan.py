"""The start and the end of an ASGI application, by its lifespan protocol."""

from __future__ import annotations

import asyncio
from collections.abc import MutableMapping
from typing import Any

from supervisor.errors import StartError

Message = MutableMapping[str, Any]


class Lifespan:
    """The application's start and end, by the lifespan protocol of ASGI.

    An application that raises before it has received anything does not speak the protocol.
    """

    def __init__(self, application: Any, mode: str) -> None:
        self.state: dict[str, Any] = {}
        self._application = application
        self._mode = mode
        self._queue: asyncio.Queue[Message] = asyncio.Queue()
        self._answers: asyncio.Queue[Message] = asyncio.Queue()
        self._task: asyncio.Task[None] | None = None
        self._has_received = False

    async def startup(self) -> None:
        """Return when the application is up. Raises what it raised, or StartError."""
        if self._mode == "off":
            return
        self._task = asyncio.ensure_future(self._run())
        answer = await self._ask("lifespan.startup")
        if answer is None:
            error = self._task.exception()
            if self._has_received or self._mode == "on":
                raise error or StartError("the application ended its lifespan before it was up")
            self._task = None
        elif answer["type"] != "lifespan.startup.complete":
            await asyncio.wait([self._task])
            raise self._task.exception() or StartError(_last_line(answer))

    async def shutdown(self) -> None:
        """Return when the application is down. Raises what it raised, or StartError."""
        if self._task is None:
            return
        answer = None if self._task.done() else await self._ask("lifespan.shutdown")
        if answer is not None and answer["type"] == "lifespan.shutdown.complete":
            return
        await asyncio.wait([self._task])
        error = self._task.exception()
        if error is not None or answer is not None:
            raise error or StartError(_last_line(answer or {}))

    async def _ask(self, question: str) -> Message | None:
        """The application's answer, None when it ended without one."""
        assert self._task is not None
        self._queue.put_nowait({"type": question})
        answer = asyncio.ensure_future(self._answers.get())
        await asyncio.wait([self._task, answer], return_when=asyncio.FIRST_COMPLETED)
        if answer.done():
            return answer.result()
        answer.cancel()
        return None

    async def _run(self) -> None:
        scope = {
            "type": "lifespan",
            "asgi": {"version": "3.0", "spec_version": "2.0"},
            "state": self.state,
        }
        await self._application(scope, self._receive, self._answers.put)

    async def _receive(self) -> Message:
        self._has_received = True
        return await self._queue.get()


def _last_line(answer: Message) -> str:
    lines = str(answer.get("message", "")).strip().splitlines()
    return lines[-1] if lines else f"the application answered {answer.get('type')}"
