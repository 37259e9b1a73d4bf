"""Type `http`: static files below one directory."""

from __future__ import annotations

import os
from typing import Annotated, ClassVar

from msgspec import Meta

from supervisor.child.child import Child
from supervisor.child.worker import Worker
from supervisor.config.schema import (
    Connection,
    Options,
    ProxyProtocol,
    Seconds,
    TlsTable,
    TrustedProxies,
)
from supervisor.system import tls
from supervisor.workers.web.bounds import Times
from supervisor.workers.web.calls import Call, Service
from supervisor.workers.web.client import Client
from supervisor.workers.web.http1 import Limits, Request
from supervisor.workers.web.loop import Loop
from supervisor.workers.web.proxy_header import proxies
from supervisor.workers.web.site import FileCall
from supervisor.workers.web.static_files import Files


class HttpOptions(Options, frozen=True):
    """Options of type `http`."""

    root: Annotated[str, Meta(description="the directory; nothing outside it is served")] = "."
    connection_timeout: Connection = 60.0
    keep_alive: Annotated[
        Seconds,
        Meta(description="an idle connection is kept so long; 0 = one request a connection"),
    ] = 30.0
    tls: TlsTable = None
    proxy_protocol: ProxyProtocol = "off"
    trusted_proxies: TrustedProxies = ()


class Http(Worker):
    """Serves the files below a directory to GET and HEAD."""

    Options: ClassVar[type[Options]] = HttpOptions
    schemes: ClassVar[frozenset[str]] = frozenset({"tcp", "unix"})
    needs_listener = True

    def preload(self) -> None:
        root = os.path.realpath(self.options.root)
        if not os.path.isdir(root):
            raise NotADirectoryError(f"root: {self.options.root!r} is not a directory")
        self._files = Files(root)
        self._tls = None if self.options.tls is None else tls.context(self.options.tls)
        self._proxies = proxies(self.options.proxy_protocol, self.options.trusted_proxies)

    def run(self, child: Child) -> None:
        options, service, files = self.options, Service(child), self._files

        def call(client: Client, request: Request) -> Call:
            path = request.target.partition(b"?")[0]
            return FileCall(service, client, request, files, path)

        times = Times(options.connection_timeout, options.keep_alive, options.connection_timeout)
        Loop(service, call, Limits(), times, tls=self._tls, proxies=self._proxies).run()
