"""The server's side of TLS: one context for every type that has a `tls` table. The protocol itself
is the standard library's.
"""

from __future__ import annotations

import contextlib
import errno
import ssl
from collections.abc import Iterator
from typing import Final

from supervisor.config.schema import TlsOptions
from supervisor.errors import NameProblem

_MINIMUM: Final = {"1.2": ssl.TLSVersion.TLSv1_2, "1.3": ssl.TLSVersion.TLSv1_3}


def context(options: TlsOptions) -> ssl.SSLContext:
    """Read the files of the `tls` table. Raises NameProblem, which names the key that is wrong."""
    made = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    made.minimum_version = _MINIMUM[options.minimum]
    # load_cert_chain does not tell which of its two files it could not open.
    with _naming(options.certificate, "tls.certificate"):
        open(options.certificate, "rb").close()
    with _naming(options.key or options.certificate, "tls.key"):
        made.load_cert_chain(options.certificate, options.key or None, password=_refuse)
    if options.client_ca:
        made.verify_mode = ssl.CERT_REQUIRED
        with _naming(options.client_ca, "tls.client_ca"):
            made.load_verify_locations(options.client_ca)
    return made


@contextlib.contextmanager
def _naming(file: str, key: str) -> Iterator[None]:
    """Turn an error with a file into a problem of the option that names the file."""
    try:
        yield
    except ssl.SSLError as error:
        raise NameProblem(f"{file!r}: {error.reason or error}", key) from None
    except OSError as error:
        raise NameProblem(f"{file!r}: {error.strerror}", key) from None


def _refuse() -> str:
    """OpenSSL calls this for the pass phrase of a key. Without it OpenSSL asks the terminal."""
    raise PermissionError(errno.EACCES, "the key has a passphrase; keys are read unattended")
