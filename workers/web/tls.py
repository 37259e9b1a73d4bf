"""TLS for stream types: the `tls` table, and a handshake that ends in time. The protocol itself is
the standard library's.
"""

from __future__ import annotations

import contextlib
import errno
import select
import socket
import ssl
import time
from collections.abc import Iterator

from supervisor.config.schema import TlsOptions
from supervisor.errors import NameProblem

_MINIMUM = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


class HandshakeError(ConnectionError):
    """The peer does not speak TLS with us, or has no certificate that we take."""


class Tls:
    """What all children of a section share: made in the master, before the fork. Raises
    NameProblem.
    """

    def __init__(self, options: TlsOptions) -> None:
        self._context = context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        context.sslsocket_class = _Polite
        context.minimum_version = _MINIMUM[options.minimum]
        with _naming(options.certificate, "tls.certificate"):
            open(options.certificate, "rb").close()
        with _naming(options.key or options.certificate, "tls.key"):
            context.load_cert_chain(options.certificate, options.key or None, password=_refuse)
        if options.client_ca:
            context.verify_mode = ssl.CERT_REQUIRED
            with _naming(options.client_ca, "tls.client_ca"):
                context.load_verify_locations(options.client_ca)

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


class _Polite(ssl.SSLSocket):
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


@contextlib.contextmanager
def _naming(file: str, key: str) -> Iterator[None]:
    """Turn what goes wrong with a file into a problem of the option that names it."""
    try:
        yield
    except ssl.SSLError as error:
        raise NameProblem(f"{file!r}: {error.reason or error}", key) from None
    except OSError as error:
        raise NameProblem(f"{file!r}: {error.strerror}", key) from None


def _refuse() -> str:
    """Nobody is there to type a passphrase."""
    raise PermissionError(errno.EACCES, "the key has a passphrase; keys are read unattended")
