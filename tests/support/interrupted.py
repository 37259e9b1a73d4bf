"""A server whose masters can be interrupted in the middle of a reload, at any step of theirs; see
tests/programs/interrupted.py.
"""

from __future__ import annotations

import sys
from pathlib import Path

from tests.support.clients import ask
from tests.support.configs import web, write
from tests.support.harness import PROGRAMS, Server


class Interrupted(Server):
    """Listens on a port and at a path, and has a pid file. Its code is `ship`ped by version."""

    def __init__(self, directory: Path, environment: dict[str, str]) -> None:
        self.directory = directory
        self.order = directory / "order"
        listen = ["tcp://127.0.0.1:0", f"unix://{directory / 'web.sock'}"]
        config = write(
            directory,
            web("mine:serve", listen=listen),
            working_directory=str(directory),
            pid_file=str(directory / "test.pid"),
        )
        program = (sys.executable, str(PROGRAMS / "interrupted.py"), str(self.order))
        super().__init__(directory, config, prefix=program, extra=environment)

    def interrupt(self, number: str, event: str, count: int, process: str) -> None:
        """Let this signal come at that step of the next reload."""
        beside = self.order.with_suffix(".new")
        beside.write_text(f"{number} {event} {count} {process}")
        beside.replace(self.order)

    def take_back(self) -> bool:
        """Let no signal come any more; False where it has come."""
        try:
            self.order.unlink()
        except FileNotFoundError:
            return False
        return True

    def versions(self) -> set[str]:
        """All that the listeners answer."""
        return {ask(self, index=index).decode() for index in range(2)}

    def left_behind(self) -> list[str]:
        """Files that a server should have removed, beside its configuration."""
        names = ("test.run/*", "*web.sock*", "*test.pid*")
        return [str(one) for name in names for one in self.directory.glob(name)]


def ship(directory: Path, version: str) -> None:
    """Write the code of a version: of another size, so that no old bytecode serves for it."""
    (directory / "mine.py").write_text(
        f"def serve(connection, address):\n    connection.sendall(b'{version}')\n"
    )
