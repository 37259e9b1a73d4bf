"""TLS for stream types: a handshake that ends in time, on a blocking connection."""

from __future__ import annotations

import contextlib
import select
import socket
import ssl
import time

from supervisor.config.schema import TlsOptions
from supervisor.system import tls


class HandshakeError(ConnectionError):
    """The peer does not speak TLS with us, or has no certificate that we take."""


class Tls:
    """All children of a section share it: made in the master, before the fork. Raises
    NameProblem.
    """

    def __init__(self, options: TlsOptions) -> None:
        self._context = tls.context(options)
        self._context.sslsocket_class = _ClosingSocket

    def secure(self, connection: socket.socket, timeout: float) -> ssl.SSLSocket:
        """Shake hands within `timeout` s altogether. Raises HandshakeError and TimeoutError.

        The peer cannot stretch it by sending a byte now and then.
        """
        secured = self._context.wrap_socket(
            connection, server_side=True, do_handshake_on_connect=False
        )
        try:
            _shake_hands(secured, time.monotonic() + timeout)
        except BaseException:
            secured.close()
            raise
        secured.settimeout(timeout)
        return secured


class _ClosingSocket(ssl.SSLSocket):
    """Tells the peer at the end that nothing was cut off (close_notify)."""

    def close(self) -> None:
        if self.fileno() >= 0:
            self.setblocking(False)  # the peer's answer is not waited for
            with contextlib.suppress(OSError, ValueError):
                self.unwrap()
        super().close()


def _shake_hands(connection: ssl.SSLSocket, give_up_at: float) -> None:
    connection.setblocking(False)
    while True:
        try:
            connection.do_handshake()
            return
        except ssl.SSLWantReadError:
            _wait(connection, select.POLLIN, give_up_at)
        except ssl.SSLWantWriteError:
            _wait(connection, select.POLLOUT, give_up_at)
        except ssl.SSLError as error:
            raise HandshakeError(f"TLS: {error.reason or error}") from None


def _wait(connection: ssl.SSLSocket, event: int, give_up_at: float) -> None:
    poll = select.poll()
    poll.register(connection, event)
    if not poll.poll(max(0, int((give_up_at - time.monotonic()) * 1000) + 1)):
        raise TimeoutError("TLS handshake")
