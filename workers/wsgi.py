"""Type `wsgi`: a synchronous application, called by the child's main thread, or by `threads`."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar

from msgspec import Meta

from supervisor.child.child import Child
from supervisor.child.worker import Worker
from supervisor.config.schema import Options, ProxyProtocol
from supervisor.system import tls
from supervisor.workers.web import access_log
from supervisor.workers.web.application import (
    ApplicationOptions,
    check_files,
    load_application,
    preloaded,
    prepare,
)
from supervisor.workers.web.asgi.from_wsgi import from_wsgi
from supervisor.workers.web.bounds import Sizes, Times
from supervisor.workers.web.gateway import Gateway
from supervisor.workers.web.http1 import Limits
from supervisor.workers.web.loop import Loop
from supervisor.workers.web.proxy_header import proxies
from supervisor.workers.web.site import mounted


class WsgiOptions(ApplicationOptions, frozen=True):
    """Options of type `wsgi`."""

    interface: ClassVar[str] = "wsgi"

    threads: Annotated[
        int, Meta(ge=1, le=1024, description="in each child, that call the application")
    ] = 1
    proxy_protocol: ProxyProtocol = "off"


class Wsgi(Worker):
    """Serves a WSGI application, which is called when a request is whole.

    With `http = "2"` the engine granian serves it instead.
    """

    Options: ClassVar[type[Options]] = WsgiOptions
    schemes: ClassVar[frozenset[str]] = frozenset({"tcp", "unix"})
    needs_listener = True

    def preload(self) -> None:
        options = self.options
        self._tls = None if options.tls is None else tls.context(options.tls)
        self._proxies = proxies(options.proxy_protocol, options.trusted_proxies, options.http)
        if options.http == "2":
            self._application = prepare(options, "wsgi")
        else:
            check_files(options)
            self._application = preloaded(options)

    def init(self, child: Child) -> None:
        options = self.options
        if not options.preload:
            self._application = load_application(options)
        child.serve_from_threads(options.threads)
        if options.http == "2":
            from supervisor.workers.engines.asgi import Http2

            application = from_wsgi(self._application, child, options)
            self._server: Any = Http2(child, options, application)
        else:
            self._server = self._loop(child)

    def _loop(self, child: Child) -> Loop:
        options = self.options
        service = Gateway(
            self._application,
            options.root_path,
            options.threads,
            child,
            access_log.log(options, child),
            () if self._proxies else options.trusted_proxies,
            options.request_id,
        )
        return Loop(
            service,
            mounted(service, options.static, service.call),
            Limits(options.header_limit, options.body_limit),
            Times(options.connection_timeout, options.keep_alive, options.stream_timeout),
            Sizes(options.body_buffer, options.answer_buffer),
            self._tls,
            options.threads,
            proxies=self._proxies,
        )

    def run(self, child: Child) -> None:
        self._server.run()
