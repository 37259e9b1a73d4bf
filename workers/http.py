"""Type `http`: static files below one directory, by the standard library's request handler on our
accept loop.
"""

from __future__ import annotations

import http.server
import os
import socket
from http import HTTPStatus
from pathlib import Path
from typing import Annotated, Any, ClassVar

from msgspec import Meta

from supervisor.child.child import Child
from supervisor.child.worker import Worker
from supervisor.config.schema import Connection, Options, TlsTable
from supervisor.workers.tcp import hang_up, load_tls, log_failure


class HttpOptions(Options, frozen=True):
    """Options of type `http`."""

    root: Annotated[str, Meta(description="the directory; nothing outside it is served")] = "."
    connection_timeout: Connection = 60.0
    tls: TlsTable = None


class Http(Worker):
    """Serves the files below a directory to GET and HEAD, one request a connection.

    An idle client must not keep a child.
    """

    Options: ClassVar[type[Options]] = HttpOptions
    schemes: ClassVar[frozenset[str]] = frozenset({"tcp", "unix"})
    needs_listener = True

    def preload(self) -> None:
        self._root = os.path.realpath(self.options.root)
        if not os.path.isdir(self._root):
            raise NotADirectoryError(f"root: {self.options.root!r} is not a directory")
        self._tls = load_tls(self.options.tls)

    def run(self, child: Child) -> None:
        for connection, address in child.connections():
            self._answer(child, connection, address)

    def _answer(self, child: Child, connection: socket.socket, address: Any) -> None:
        try:
            connection.settimeout(self.options.connection_timeout)
            with child.request():
                if self._tls is not None:
                    connection = self._tls.secure(connection, self.options.connection_timeout)
                _Request(connection, address, self._root, child)
        except Exception as error:
            log_failure(child, error, address)
        finally:
            hang_up(connection)


class _Request(http.server.SimpleHTTPRequestHandler):
    """One request. Nothing outside the root is shown, whatever a path or a symbolic link says."""

    protocol_version = "HTTP/1.1"
    server_version = "supervisor"
    sys_version = ""

    def __init__(self, connection: socket.socket, address: Any, root: str, child: Child) -> None:
        self._child = child
        super().__init__(connection, address or ("unix", 0), None, directory=root)  # type: ignore[arg-type]

    def handle(self) -> None:
        self.close_connection = True
        self.handle_one_request()

    def end_headers(self) -> None:
        self.send_header("Connection", "close")
        super().end_headers()

    def send_head(self) -> Any:
        path = self.translate_path(self.path)
        indexes = [os.path.join(path, name) for name in ("index.html", "index.htm")]
        for candidate in (path, *indexes):
            if not self._may_show(candidate):
                self.send_error(HTTPStatus.NOT_FOUND, "File not found")
                return None
        return super().send_head()

    def _may_show(self, path: str) -> bool:
        """True below the root, for what does not exist too; a FIFO or a device would block us."""
        if "\0" in path or not Path(os.path.realpath(path)).is_relative_to(self.directory):
            return False
        return os.path.isfile(path) or os.path.isdir(path) or not os.path.exists(path)

    def log_request(self, code: Any = "-", size: Any = "-") -> None:
        self._child.log.debug('%s "%s" %s', self.client_address[0], self.requestline, code)

    def log_message(self, format: str, *arguments: Any) -> None:
        self._child.log.debug("%s " + format, self.client_address[0], *arguments)
