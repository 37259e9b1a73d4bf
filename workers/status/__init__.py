"""Type `status`: the state of the server as a web page, as JSON, for Prometheus, and for probes.

It reads a copy of the scoreboard; the master takes no part, and nobody but this child works for it.
"""

from __future__ import annotations

import select
from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, ClassVar, Final

import msgspec
from msgspec import Meta

from supervisor.child.child import Child
from supervisor.child.worker import Worker
from supervisor.config.schema import Options, Timeout
from supervisor.errors import MissingExtra
from supervisor.scoreboard.reader import Snapshot
from supervisor.views import statistics
from supervisor.workers.status.clients import Client, Clients
from supervisor.workers.status.exchange import Answer, Route, refusal, text

_PAGE: Final = {
    "/": ("status.html", "text/html; charset=utf-8"),
    "/status.css": ("status.css", "text/css; charset=utf-8"),
    "/status.js": ("status.js", "text/javascript; charset=utf-8"),
}


class StatusOptions(Options, frozen=True):
    """Options of type `status`."""

    connection_timeout: Annotated[
        Timeout, Meta(description="for the request, and again for the answer")
    ] = 10.0
    per_child: Annotated[bool, Meta(description="`/metrics` has a histogram of each child too")] = (
        False
    )


class Status(Worker):
    """Serves the state of the server: `/`, `/stats.json`, `/metrics`, `/healthz`, `/readyz`."""

    Options: ClassVar[type[Options]] = StatusOptions
    schemes: ClassVar[frozenset[str]] = frozenset({"tcp", "unix"})
    needs_listener = True

    def preload(self) -> None:
        folder = Path(__file__).with_name("page")
        self._files = {
            path: Answer(HTTPStatus.OK, kind, (folder / name).read_bytes())
            for path, (name, kind) in _PAGE.items()
        }

    def run(self, child: Child) -> None:
        with select.epoll() as epoll:
            clients = Clients(epoll, self._reply(child), self.options.connection_timeout)
            for listener in child.listeners:
                epoll.register(listener.fileno(), select.EPOLLIN | select.EPOLLEXCLUSIVE)
            while not child.stopping:
                child.pause(clients.time_left(), epoll.fileno())
                clients.turn(0.0, child.listeners)
            for listener in child.listeners:
                epoll.unregister(listener.fileno())
            for listener in child.wait():  # what waited when the door was closed
                clients.accept(listener)
            clients.finish()

    def _reply(self, child: Child) -> Callable[[Client], bytes]:
        """What answers a client; that is the request which is counted."""

        def answer(client: Client) -> bytes:
            snapshot = child.snapshot()  # before the request begins, which would be in it
            try:
                with child.request():
                    return client.reply(self._route(snapshot))
            except Exception as error:
                child.log.error("request failed", exc_info=error)
                return refusal(HTTPStatus.INTERNAL_SERVER_ERROR)

        return answer

    def _route(self, snapshot: Snapshot) -> Route:
        facts: dict[str, Callable[[Snapshot, str], Answer]] = {
            "/stats.json": _statistics,
            "/metrics": partial(_metrics, per_child=self.options.per_child),
            "/healthz": _health,
            "/readyz": _readiness,
        }

        def route(path: str, accept: str) -> Answer | None:
            make = facts.get(path)
            return make(snapshot, accept) if make else self._files.get(path)

        return route


def _statistics(snapshot: Snapshot, _accept: str) -> Answer:
    body = msgspec.json.encode(statistics.of(snapshot))
    return Answer(HTTPStatus.OK, "application/json", body)


def _metrics(snapshot: Snapshot, accept: str, *, per_child: bool) -> Answer:
    try:
        from supervisor.views import metrics
    except MissingExtra as error:
        return text(HTTPStatus.NOT_IMPLEMENTED, str(error))
    facts = statistics.of(snapshot, per_child=per_child)
    page = metrics.expose(facts, accept, per_child=per_child)
    return Answer(HTTPStatus.OK, page.content_type, page.body)


def _health(_snapshot: Snapshot, _accept: str) -> Answer:
    return text(HTTPStatus.OK, "ok")


def _readiness(snapshot: Snapshot, _accept: str) -> Answer:
    reason = statistics.why_not_ready(snapshot)
    if not reason:
        return text(HTTPStatus.OK, "ready")
    return text(HTTPStatus.SERVICE_UNAVAILABLE, f"not ready: {reason}")
