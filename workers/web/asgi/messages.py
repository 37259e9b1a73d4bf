"""Whole messages of a WebSocket, out of the frames that the machine of `websockets` finds."""

from __future__ import annotations

import logging
from collections import deque
from collections.abc import Iterable
from typing import Any, Final

from websockets.extensions.permessage_deflate import ServerPerMessageDeflateFactory
from websockets.frames import Frame, Opcode
from websockets.http11 import Request as Handshake
from websockets.http11 import Response
from websockets.protocol import State
from websockets.server import ServerProtocol

from supervisor.workers.web.http1 import Request

Fields = Iterable[tuple[bytes, bytes]]

_BROKEN: Final = 1007  # RFC 6455, 7.4.1: data that is not what its type says
_PONG_LATE: Final = 1011
_SILENT: Final = logging.Logger("websockets", logging.CRITICAL)  # a line for each connection


class Messages:
    """The server's side of one WebSocket, without its socket: `arrived` has what the application
    has not fetched yet, `size` its bytes.
    """

    __slots__ = ("_frames", "_handshake", "_machine", "_refusal", "arrived", "got_pong", "size")

    def __init__(self, request: Request, max_size: int) -> None:
        self._machine = ServerProtocol(
            extensions=[ServerPerMessageDeflateFactory(server_max_window_bits=12)],
            max_size=max_size or None,
            logger=_SILENT,
        )
        self._frames: list[Frame] = []
        self.arrived: deque[dict[str, Any]] = deque()
        self.size = 0
        self.got_pong = False
        self._handshake, self._refusal = _asked(self._machine, request)

    @property
    def refusal(self) -> bytes:
        """The bytes for a client that asked wrongly; b"" where all is well."""
        if self._refusal is None:
            return b""
        self._machine.send_response(self._refusal)
        return self.to_send()[0]

    @property
    def is_open(self) -> bool:
        """True while messages may be sent."""
        return self._machine.state is State.OPEN

    @property
    def is_closing(self) -> bool:
        """True while the client has to end the connection."""
        return self._machine.close_expected()

    @property
    def code(self) -> tuple[int, str]:
        """With which code, and why, it was closed; 1006 where it was not."""
        machine = self._machine
        close = machine.close_rcvd if machine.close_rcvd_then_sent else machine.close_sent
        close = close or machine.close_rcvd
        return (1006, "") if close is None else (int(close.code), close.reason)

    def accept(self, subprotocol: str | None, fields: Fields) -> None:
        """Take the client's offer."""
        response = self._handshake
        assert response is not None
        if subprotocol is not None:
            response.headers["Sec-WebSocket-Protocol"] = subprotocol
        for name, value in fields:
            response.headers[name.decode("latin-1")] = value.decode("latin-1")
        self._machine.send_response(response)

    def receive(self, data: bytes) -> None:
        """Take bytes that came."""
        self._machine.receive_data(data)
        for event in self._machine.events_received():
            if isinstance(event, Frame):
                self._take(event)

    def end(self) -> None:
        """The client will send nothing more."""
        self._machine.receive_eof()

    def send(self, message: dict[str, Any]) -> None:
        """Send a `websocket.send`."""
        text = message.get("text")
        if text is not None:
            self._machine.send_text(text.encode())
        else:
            self._machine.send_binary(message["bytes"])

    def ping(self) -> None:
        """Ask whether the client is there."""
        self._machine.send_ping(b"alive?")

    def give_up(self) -> None:
        """No pong has come."""
        self._machine.fail(_PONG_LATE, "keepalive ping timeout")

    def close(self, code: int, reason: str) -> None:
        """Begin to close, unless that has begun."""
        if self.is_open:
            self._machine.send_close(code, reason)

    def to_send(self) -> list[bytes]:
        """The bytes to send; b"" among them is the end."""
        return self._machine.data_to_send()

    def fetch(self) -> dict[str, Any]:
        """The next message; there is one."""
        message = self.arrived.popleft()
        self.size -= len(message.get("text") or message.get("bytes") or "")
        return message

    def _take(self, frame: Frame) -> None:
        if frame.opcode is Opcode.PONG:
            self.got_pong = True
        if frame.opcode not in (Opcode.TEXT, Opcode.BINARY, Opcode.CONT):
            return
        self._frames.append(frame)
        if frame.fin:
            frames, self._frames = self._frames, []
            self._join(frames[0].opcode, b"".join(frame.data for frame in frames))

    def _join(self, opcode: Opcode, data: bytes) -> None:
        message: dict[str, Any] = {"type": "websocket.receive", "bytes": data}
        if opcode is Opcode.TEXT:
            try:
                message = {"type": "websocket.receive", "text": data.decode()}
            except UnicodeDecodeError as error:
                self._machine.fail(_BROKEN, f"{error.reason} at position {error.start}")
                return
        self.size += len(message.get("text") or data)
        self.arrived.append(message)


def _asked(machine: ServerProtocol, request: Request) -> tuple[Response | None, Response | None]:
    """The answer to the client's wish, and what to say instead where it is wrong."""
    lines = [b"GET %b HTTP/1.1" % request.target]
    lines += [b"%b: %b" % field for field in request.fields]
    machine.receive_data(b"\r\n".join((*lines, b"", b"")))
    found = [event for event in machine.events_received() if isinstance(event, Handshake)]
    if not found:
        return None, machine.reject(400, "malformed handshake\n")
    response = machine.accept(found[0])
    return (response, None) if response.status_code == 101 else (None, response)
