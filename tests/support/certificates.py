"""Certificates for the tests, made by openssl."""

from __future__ import annotations

import subprocess
from pathlib import Path

from tests.support.harness import DEADLINE


def certificate_for(directory: Path) -> tuple[str, str]:
    """Return the paths of a certificate for localhost, which is its own authority, and its key."""
    paths = directory / "certificate.pem", directory / "key.pem"
    options = ["-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:prime256v1", "-nodes", "-x509"]
    options += ["-subj", "/CN=localhost", "-addext", "subjectAltName=DNS:localhost,IP:127.0.0.1"]
    subprocess.run(
        ["openssl", "req", *options, "-out", paths[0], "-keyout", paths[1], "-days", "2"],
        check=True,
        capture_output=True,
        timeout=DEADLINE,
    )
    return str(paths[0]), str(paths[1])
