"""slowhttptest for some seconds: slow heads, slow bodies, slow readers. They cost no child, and
others are served all the time.
"""

import shutil
import signal
import subprocess

import pytest

from tests.support.applications import get, section
from tests.support.clients import endpoint
from tests.support.harness import DEADLINE

pytestmark = pytest.mark.skipif(not shutil.which("slowhttptest"), reason="needs slowhttptest")

TYPES = {
    "wsgi": ("streams:wsgi", "/big"),
    "asgi": ("asgi_streams:app", "/download"),
}
ATTACKS = {
    "heads": ["-H", "-i", "1"],
    "bodies": ["-B", "-i", "1", "-s", "8192"],
    "readers": ["-X", "-w", "512", "-y", "1024", "-n", "1", "-z", "32"],
}


@pytest.mark.parametrize("kind", TYPES)
@pytest.mark.parametrize("attack", ATTACKS)
def test_slow_clients_by_the_hundred(serve, kind, attack, tmp_path):
    """While 200 are slow, each request of another client is answered, and no child dies."""
    application, long = TYPES[kind]
    server = serve(section(kind, app=application))
    host, port = endpoint(server.address())
    path = long if attack == "readers" else "/"
    size = ["-c", "200", "-r", "200", "-l", "4", "-p", str(int(DEADLINE))]
    with (tmp_path / "said").open("w") as said:
        process = subprocess.Popen(
            ["slowhttptest", *ATTACKS[attack], *size, "-u", f"http://{host}:{port}{path}"],
            stdout=said,
            stderr=said,
        )
        while process.poll() is None:
            assert get(server) == (200, b"hello")
    assert "service available" in (tmp_path / "said").read_text()
    assert "child died" not in server.log
    assert server.stats()["crashes"] == []
    assert server.stop() == -signal.SIGTERM
    assert "child killed" not in server.log
