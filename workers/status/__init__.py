"""Type `status`: the state of the server as a web page, as JSON, for Prometheus, and for probes.

It reads a copy of the scoreboard; the master takes no part, and nobody but this child works for it.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, ClassVar, Final

import msgspec
from msgspec import Meta

from supervisor.child.child import Child
from supervisor.child.place import Place
from supervisor.child.worker import Worker
from supervisor.config.schema import Options, ProxyProtocol, Timeout, TrustedProxies
from supervisor.errors import MissingExtra
from supervisor.scoreboard.reader import Snapshot
from supervisor.views import statistics
from supervisor.views.crashes import with_own_frames
from supervisor.workers.status import pages
from supervisor.workers.status.pages import Answer, Route, text
from supervisor.workers.web.bounds import Times
from supervisor.workers.web.calls import Call, Service
from supervisor.workers.web.client import Client
from supervisor.workers.web.http1 import Limits, Request, head_of
from supervisor.workers.web.loop import Loop
from supervisor.workers.web.proxy_header import proxies

_PAGE: Final = {
    "/": ("status.html", "text/html; charset=utf-8"),
    "/status.css": ("status.css", "text/css; charset=utf-8"),
    "/status.js": ("status.js", "text/javascript; charset=utf-8"),
}


_HEAD: Final = 8_192  # bytes of a request's head
_BODY: Final = 65_536  # bytes of a body, which nobody reads
_CLIENTS: Final = 256
_LAST_WORDS: Final = 1.0  # s for a client, once we were told to stop


class StatusOptions(Options, frozen=True):
    """Options of type `status`."""

    connection_timeout: Annotated[
        Timeout, Meta(description="for the request, and again for the answer")
    ] = 10.0
    per_child: Annotated[bool, Meta(description="`/metrics` has a histogram of each child too")] = (
        False
    )
    proxy_protocol: ProxyProtocol = "off"
    trusted_proxies: TrustedProxies = ()


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
        self._proxies = proxies(self.options.proxy_protocol, self.options.trusted_proxies)

    def run(self, child: Child) -> None:
        service = Service(child)

        def call(client: Client, request: Request) -> Call:
            # Before the request begins, which would be in it.
            return StatusCall(service, client, request, self._route(child))

        timeout = self.options.connection_timeout
        times = Times(timeout, keep_alive=0.0, stream=min(timeout, _LAST_WORDS))
        limits = Limits(_HEAD, _BODY)
        Loop(service, call, limits, times, most=_CLIENTS, proxies=self._proxies).run()

    def _route(self, child: Child) -> Route:
        snapshot = child.snapshot()
        facts: dict[str, Callable[[Snapshot, str], Answer]] = {
            "/stats.json": _statistics,
            "/page.json": _page_facts,
            "/metrics": partial(_metrics, child.place, per_child=self.options.per_child),
            "/healthz": _health,
            "/readyz": _readiness,
        }

        def route(path: str, accept: str) -> Answer | None:
            make = facts.get(path)
            return make(snapshot, accept) if make else self._files.get(path)

        return route


class StatusCall(Call):
    """One request for a page."""

    __slots__ = ("_route",)

    def __init__(self, service: Service, client: Client, request: Request, route: Route) -> None:
        super().__init__(service, client, request)
        self._route = route

    def respond(self) -> bytes:
        request, client = self.request, self.client
        made = pages.answer(
            request.method,
            request.target.partition(b"?")[0].decode("latin-1"),
            request.named,
            self._route,
            names_only_us=pages.is_on_loopback(client.local[0]),
        )
        return self.whole(head_of(made.status, pages.fields(made)), made.body)


def _statistics(snapshot: Snapshot, _accept: str) -> Answer:
    body = msgspec.json.encode(statistics.of(snapshot))
    return Answer(HTTPStatus.OK, "application/json", body)


def _page_facts(snapshot: Snapshot, _accept: str) -> Answer:
    """The same for the page: of tracebacks the application's own frames first."""
    facts = statistics.of(snapshot)
    crashes = tuple(map(with_own_frames, facts.crashes))
    shown = msgspec.structs.replace(
        facts,
        crashes=crashes,
        last_crash=crashes[0] if crashes else None,
        incidents=tuple(map(with_own_frames, facts.incidents)),
    )
    return Answer(HTTPStatus.OK, "application/json", msgspec.json.encode(shown))


def _metrics(place: Place, snapshot: Snapshot, accept: str, *, per_child: bool) -> Answer:
    try:
        from supervisor.views import application, metrics
    except MissingExtra as error:
        return text(HTTPStatus.NOT_IMPLEMENTED, str(error))
    facts = statistics.of(snapshot, per_child=per_child)
    own = application.read(place.runtime, place.master)
    page = metrics.expose(facts, own, accept, per_child=per_child)
    return Answer(HTTPStatus.OK, page.content_type, page.body)


def _health(_snapshot: Snapshot, _accept: str) -> Answer:
    return text(HTTPStatus.OK, "ok")


def _readiness(snapshot: Snapshot, _accept: str) -> Answer:
    reason = statistics.why_not_ready(snapshot)
    if not reason:
        return text(HTTPStatus.OK, "ready")
    return text(HTTPStatus.SERVICE_UNAVAILABLE, f"not ready: {reason}")
