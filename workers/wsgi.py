"""Type `wsgi`: a synchronous application, called by threads of the engine granian."""

from __future__ import annotations

import io
import sys
import threading
from collections.abc import Callable, Iterable
from typing import Annotated, Any, ClassVar

from msgspec import Meta

from supervisor.child.child import Child
from supervisor.child.requests import Request
from supervisor.child.worker import Worker
from supervisor.config.schema import Options
from supervisor.log.entries import pairs
from supervisor.workers.web import access_log, proxies
from supervisor.workers.web.application import ApplicationOptions, load_application, prepare
from supervisor.workers.web.gateway import Body, Call, HungUp, Response, TooLarge
from supervisor.workers.web.room import Room

Application = Callable[[dict[str, Any], Callable[..., Any]], Iterable[bytes]]

_BUFFER = 65_536  # bytes of a request's body read at once
_TOO_LARGE = "413 Content Too Large"


class WsgiOptions(ApplicationOptions, frozen=True):
    """Options of type `wsgi`."""

    threads: Annotated[
        int, Meta(ge=1, le=1024, description="in each child, that call the application")
    ] = 1


class Wsgi(Worker):
    """Serves a WSGI application, which `threads` threads call in each child.

    The engine's threads accept, parse and call; the main thread waits for signals.
    """

    Options: ClassVar[type[Options]] = WsgiOptions
    schemes: ClassVar[frozenset[str]] = frozenset({"tcp", "unix"})
    needs_listener = True

    def preload(self) -> None:
        self._application = prepare(self.options, "wsgi")

    def init(self, child: Child) -> None:
        from supervisor.workers.engines.granian import Granian

        options = self.options
        if not options.preload:
            self._application = load_application(options)
        child.serve_from_threads(options.threads)
        self._call: Call = Caller(self._application, child, options).call
        if len(child.listeners) > 1:
            self._call = in_turn(self._call, options.threads)
        self._room = Room(child, can_grow=options.keep_alive > 0)
        self._engine = Granian(child, options, "wsgi", self._call, threads=options.threads)

    def run(self, child: Child) -> None:
        engine, room, threads = self._engine, self._room, self.options.threads
        call = room.watched(self._call, engine.stop)
        engine.start(threads, call)
        while room.wait_for_need():
            engine.stop()  # closes what is idle
            if threads == 1:
                engine.wait_until_done()  # with two threads none of them would be the only one
            if room.takes_all:
                engine.start()
            else:
                engine.start(threads, call)
        engine.drain(threads)


def in_turn(call: Call, threads: int) -> Call:
    """The call, at most so many at once: each listener has an engine, and each engine `threads`."""
    turn = threading.Semaphore(threads)

    def wait_and_call(
        protocol: Any, scope: dict[str, Any], is_last: Callable[[], bool] | None = None
    ) -> None:
        with turn:
            call(protocol, scope, is_last)

    return wait_and_call


class Caller:
    """Turns what the engine hands over into one call of the application (PEP 3333)."""

    def __init__(self, application: Application, child: Child, options: WsgiOptions) -> None:
        self._application = proxies.wsgi(application, options.trusted_proxies)
        self._child = child
        self._log = access_log.log(options, child)
        self._prefix = options.root_path
        self._body_limit = options.body_limit
        self._base: dict[str, Any] = {
            "SCRIPT_NAME": options.root_path,
            "wsgi.errors": sys.stderr,
            "wsgi.input_terminated": True,
            "wsgi.multiprocess": True,
            "wsgi.multithread": options.threads > 1,
            "wsgi.run_once": False,
            "wsgi.version": (1, 0),
        }

    def call(
        self, protocol: Any, scope: dict[str, Any], is_last: Callable[[], bool] | None = None
    ) -> None:
        """Answer one request; whatever the application raises is an error of that request."""
        log = self._log
        begun = log.begin() if log else None
        response = Response(protocol, is_last or self._is_stopping)
        environ = self._environ(scope, response)
        with self._child.request() as request:
            self._answer(environ, response, request)
            if response.code >= 500:
                request.fail()
        if log and begun:
            log.end(begun, _served(environ, response.code, response.size))

    def _is_stopping(self) -> bool:
        return self._child.stopping

    def _answer(self, environ: dict[str, Any], response: Response, request: Request) -> None:
        try:
            if self._body_limit and _length(environ) > self._body_limit:
                response.refuse(_TOO_LARGE)
            else:
                response.send(self._application(environ, response.start))
        except TooLarge:
            response.refuse(_TOO_LARGE)
        except (Exception, SystemExit) as error:
            request.fail()
            facts = pairs(path=environ["PATH_INFO"])
            if isinstance(error, HungUp):
                self._child.log.info("request failed %s error=client-hung-up", facts)
            else:
                self._child.log.error("request failed %s", facts, exc_info=error)
            response.refuse("500 Internal Server Error")

    def _environ(self, scope: dict[str, Any], response: Response) -> dict[str, Any]:
        environ = self._base | scope
        if self._prefix and environ["PATH_INFO"].startswith(self._prefix):
            environ["PATH_INFO"] = environ["PATH_INFO"][len(self._prefix) :]
        if "CONTENT_LENGTH" in environ or "HTTP_TRANSFER_ENCODING" in environ:
            source, length = scope["wsgi.input"], _length(environ)
            body = Body(source, length, self._body_limit, response.no_more)
            environ["wsgi.input"] = io.BufferedReader(body, _BUFFER)
        else:
            environ["wsgi.input"] = io.BytesIO()
        return environ


def _length(environ: dict[str, Any]) -> int:
    return int(environ.get("CONTENT_LENGTH") or 0)


def _served(environ: dict[str, Any], status: int, size: int) -> access_log.Served:
    query = f"?{environ['QUERY_STRING']}" if environ["QUERY_STRING"] else ""
    return access_log.Served(
        client=environ["REMOTE_ADDR"],
        method=environ["REQUEST_METHOD"],
        target=environ["PATH_INFO"] + query,
        protocol=environ["SERVER_PROTOCOL"],
        status=status,
        size=size,
        fields={
            name[5:].replace("_", "-").lower().encode("latin-1"): value.encode("latin-1")
            for name, value in environ.items()
            if name.startswith("HTTP_")
        },
    )
