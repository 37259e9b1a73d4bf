"""One connection of a client in a child's own loop: its socket, what came and what is to go."""

from __future__ import annotations

import contextlib
import errno
import io
import os
import socket
import ssl
import tempfile
from collections import deque
from os import write
from pathlib import Path
from typing import TYPE_CHECKING, BinaryIO

from supervisor.system.listeners import as_socket
from supervisor.workers.web.http1 import Connection, Reading, Refusal
from supervisor.workers.web.proxy_header import Introduction

if TYPE_CHECKING:
    from supervisor.workers.web.calls import Call

CHUNK = 65_536
_SPAN = 1 << 20  # bytes of a file that are sent at once
WANTS_MORE = (BlockingIOError, ssl.SSLWantReadError, ssl.SSLWantWriteError)


class Client:
    """`mask` is what epoll watches for, 0 = nothing, -1 = it does not know this socket. `sock` is
    an object for the descriptor, where something but bytes is exchanged before the first request.
    """

    __slots__ = (
        "_file",
        "_out",
        "body",
        "call",
        "deadline",
        "descriptor",
        "http",
        "introduction",
        "is_ending",
        "is_fresh",
        "is_secure",
        "is_shaking",
        "is_streaming",
        "local",
        "mask",
        "moved",
        "origin",
        "peer",
        "port",
        "queued",
        "sock",
        "unsent",
    )

    def __init__(
        self,
        descriptor: int,
        http: Connection,
        peer: str,
        port: int,
        sock: socket.socket | None = None,
    ) -> None:
        self.descriptor = descriptor
        self.sock = sock
        self.http = http
        self.peer = peer
        self.port = port
        self.local = ("", "")
        self.is_secure = self.is_shaking = sock is not None and isinstance(sock, ssl.SSLSocket)
        self.introduction: Introduction | None = None  # the header of the proxy is to come
        self.is_fresh = True  # it has not sent anything yet
        self.is_streaming = False  # its answer has begun and goes on
        self.is_ending = False  # only its end is waited for
        self.mask = -1
        self.deadline = self.queued = 0
        self.moved = False  # bytes have gone or come since the deadline was set
        self.call: Call | None = None  # the answer that is being made
        self.body: Body | None = None
        self.unsent = 0  # bytes that the client has not taken, of a file a token one
        self._out: deque[bytes | memoryview] | None = None
        self._file: FileRange | None = None

    def receive(self) -> bytes:
        """The bytes that came, b"" at the end. Raises one of WANTS_MORE, or another OSError."""
        if self.sock is None:
            return os.read(self.descriptor, CHUNK)
        data = self.sock.recv(CHUNK)
        if self.is_secure:
            while left := self.sock.pending():  # type: ignore[attr-defined]
                data += self.sock.recv(left)
        return data

    @property
    def is_idle(self) -> bool:
        """True between two requests, with nothing left to send."""
        return self.call is None and self.http.state is Reading.IDLE and not self.unsent

    def shake_hands(self) -> bool:
        """Go on with what comes before a request: the header of a proxy, then the handshake of TLS;
        False where it has to send first. Raises what is of WANTS_MORE, and OSError for a client
        that speaks something else.
        """
        if self.introduction is not None:
            self._be_introduced(self.introduction)
        try:
            if self.is_secure:
                self.sock.do_handshake()  # type: ignore[union-attr]
        except ssl.SSLWantWriteError:
            return False
        self.is_shaking = False
        return True

    def _be_introduced(self, introduction: Introduction) -> None:
        header = introduction.receive(self.sock)  # type: ignore[arg-type]  # who is introduced has one
        if header is None:
            raise BlockingIOError
        if header.source is not None:
            self.peer, self.port = header.source
        self.introduction = None

    def keep(self, data: bytes) -> Refusal | None:
        """Keep a part of the body until it is whole; return why that is not possible."""
        body = self.body
        assert body is not None
        try:
            body.add(data)
        except OSError as error:
            body.close()  # the room is others', while this client lingers
            status = 507 if error.errno in (errno.ENOSPC, errno.EDQUOT) else 500
            return Refusal(status, f"body not kept in {body.folder}: {error.strerror}")
        return None

    def put(self, data: bytes) -> None:
        """Send it, or keep what does not go now. Raises OSError where the client is gone."""
        rest: bytes | memoryview = data
        if not self.unsent:
            try:
                sent = self.sock.send(data) if self.sock else write(self.descriptor, data)
            except WANTS_MORE:
                sent = 0
            if sent == len(data):
                return
            rest = memoryview(data)[sent:]
            self.moved = True
        if self._out is None:
            self._out = deque()
        self._out.append(rest)
        self.unsent += len(rest)

    def _send(self, data: bytes | memoryview) -> int:
        return self.sock.send(data) if self.sock else write(self.descriptor, data)

    def put_file(self, span: FileRange) -> None:
        """Send a part of a file, after what was put before and before what will be put."""
        self._file = span
        self.unsent += 1
        self.flush()

    def flush(self) -> None:
        """Send what goes now. Raises OSError where the client is gone."""
        with contextlib.suppress(*WANTS_MORE):
            while self._out:
                self._send_first(self._out)
            while self._file is not None:
                self._send_file(self._file)

    def _send_first(self, out: deque[bytes | memoryview]) -> None:
        data = out[0]
        sent = self._send(data)
        self.moved = True
        self.unsent -= sent
        if sent < len(data):
            out[0] = memoryview(data)[sent:]
        else:
            out.popleft()

    def _send_file(self, span: FileRange) -> None:
        count = min(span.left, _SPAN)
        if self.is_secure:
            sent = self._send(os.pread(span.descriptor, min(count, CHUNK), span.at))
        else:
            sent = os.sendfile(self.descriptor, span.descriptor, span.at, count)
        if not sent:
            raise ConnectionAbortedError("the file has become shorter")
        self.moved = True
        span.at += sent
        span.left -= sent
        if not span.left:
            self._file = None
            self.unsent -= 1

    def end_sending(self) -> None:
        """Let the client read the end of the last answer."""
        if not self.is_secure:
            with as_socket(self.descriptor) as sock:
                sock.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        """End it, and let go of everything."""
        self.http.close()
        if self.body is not None:
            self.body.close()
        if self.sock is None:
            os.close(self.descriptor)
            return
        if self.is_secure and not self.is_shaking:
            with contextlib.suppress(OSError, ValueError):
                self.sock.unwrap()  # type: ignore[attr-defined]
        self.sock.close()


class FileRange:
    """Bytes of an open file that are to be sent."""

    __slots__ = ("at", "descriptor", "left")

    def __init__(self, descriptor: int, at: int, left: int) -> None:
        self.descriptor = descriptor
        self.at = at
        self.left = left


class Body:
    """The body of a request while it comes: in memory up to `limit` bytes, else in a file without a
    name in the child's directory.
    """

    def __init__(self, limit: int, folder: Path) -> None:
        self._limit = limit
        self.folder = folder
        self._file: BinaryIO = io.BytesIO()
        self.size = 0

    def add(self, data: bytes) -> None:
        """Take the next part. Raises OSError where the disk is full."""
        self.size += len(data)
        if self.size > self._limit and isinstance(self._file, io.BytesIO):
            kept = self._file.getvalue()
            self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            self._file = tempfile.TemporaryFile(dir=self.folder)  # noqa: SIM115
            self._file.write(kept)
        self._file.write(data)
        self._file.flush()  # a full disk is seen here, not where the application reads

    def file(self) -> BinaryIO:
        """All of it, from the beginning."""
        self._file.seek(0)
        return self._file

    def close(self) -> None:
        """Give memory or disk back."""
        with contextlib.suppress(OSError):  # what a full disk did not take is not taken now
            self._file.close()
