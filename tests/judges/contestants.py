"""Whose servers are judged, and how each is started: one child, one port of 127.0.0.1."""

from __future__ import annotations

import contextlib
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.benchmarks.contenders import ENVIRONMENT
from tests.benchmarks.running import free_port
from tests.support.clients import connect
from tests.support.harness import DEADLINE, PROGRAMS, SUPERVISOR, Program

HERE: Final = Path(__file__).parent


@dataclass(frozen=True)
class Contestant:
    """`command` with {port} and {app}; `family` is the interface that it speaks."""

    name: str
    family: str
    command: str
    is_ours: bool = False

    def program(self) -> str:
        """The file to execute; empty where it is not installed."""
        if self.is_ours:
            return SUPERVISOR
        found = ENVIRONMENT / self.command.partition(" ")[0]
        return str(found) if found.exists() else ""

    @contextmanager
    def serving(self, app: str) -> Iterator[str]:
        """Serve an application; yields the address. Raises AssertionError where it does not."""
        port = free_port()
        words = self.command.format(port=port, app=app).split()[1:]
        with tempfile.TemporaryDirectory() as directory:
            places = {"PYTHONPATH": f"{HERE}:{PROGRAMS}", "HOME": directory}
            program = Program([self.program(), *words], Path(directory), extra=places)
            try:
                _until_it_answers(program, f"tcp://127.0.0.1:{port}")
                yield f"http://127.0.0.1:{port}"
            finally:
                program.close()


def _until_it_answers(program: Program, address: str) -> None:
    """Strangers give no event for "I listen now": between two attempts its end is waited for."""
    for _ in range(int(DEADLINE / 0.02)):
        with contextlib.suppress(ConnectionRefusedError):
            return connect(address).close()
        with contextlib.suppress(subprocess.TimeoutExpired):
            program.process.wait(0.02)
            break
    raise AssertionError(f"it does not answer:\n{program.log}")


def ours(family: str, *options: str) -> Contestant:
    kind = "asgi" if family == "http2" else family
    words = "supervisor run {app} --bind 127.0.0.1:{port} --children 1 -n judged-{port}"
    words = " ".join([words, f'--set workers.web.type="{kind}"', *options])
    return Contestant(f"supervisor {family}", family, words, is_ours=True)


CONTESTANTS: Final = (
    ours("wsgi"),
    ours("asgi"),
    ours("http2", '--set workers.web.http="2"'),
    Contestant("gunicorn", "wsgi", "gunicorn -w 1 --threads 4 -b 127.0.0.1:{port} {app}"),
    Contestant(
        "uwsgi",
        "wsgi",
        "uwsgi --http-socket 127.0.0.1:{port} --http-keepalive --master --need-app"
        " --die-on-term --single-interpreter --module {app}",
    ),
    Contestant(
        "granian wsgi", "wsgi", "granian --interface wsgi --host 127.0.0.1 --port {port} {app}"
    ),
    Contestant("uvicorn", "asgi", "uvicorn --host 127.0.0.1 --port {port} {app}"),
    Contestant(
        "granian asgi", "asgi", "granian --interface asgi --host 127.0.0.1 --port {port} {app}"
    ),
    Contestant("hypercorn", "asgi", "hypercorn -b 127.0.0.1:{port} {app}"),
    Contestant(
        "granian http2",
        "http2",
        "granian --interface asgi --http 2 --host 127.0.0.1 --port {port} {app}",
    ),
)
