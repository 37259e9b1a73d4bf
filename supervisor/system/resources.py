"""Resources, which must not outlive us: a stack of releases, and the paths that the next start
removes where we could not.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

from supervisor.log.entries import log
from supervisor.system.paths import Paths


class Resources:
    """Releases in reverse order of acquisition, each once, a failing one logged.

    Paths are also written to a journal before they exist; what a killed master left is removed by
    the next start from there.
    """

    def __init__(self) -> None:
        self._releases: list[tuple[str, Callable[[], object]]] = []
        self._paths = Paths()

    def add(self, what: str, release: Callable[[], object]) -> None:
        """Call `release` at the end. `what` names it in the log if it fails."""
        self._releases.append((what, release))

    def add_path(self, path: Path | str) -> Path:
        """Remove the file or directory tree at `path` at the end. Call it before it is made.

        Removed is the file that stood there when it was looked at last (see `look`), and no other
        that has taken its name since.
        """
        path = Path(os.path.abspath(path))
        self._paths.register(path)
        self.add(str(path), lambda: self._paths.remove(path))
        return path

    def add_socket(self, path: Path | str) -> None:
        """Let the next start remove a dead socket at `path`, should we be killed."""
        self._paths.register(Path(os.path.abspath(path)), "socket")

    def see(self, path: Path | str) -> None:
        """The file at a registered path is the one that we have made."""
        self._paths.see(Path(os.path.abspath(path)))

    def disown(self, path: Path | str) -> None:
        """Leave alone what is at a registered path: it is another's from now on."""
        self._paths.forget(Path(os.path.abspath(path)))

    def look(self) -> None:
        """Note which files have come at the registered paths since the last look."""
        self._paths.look()

    def use_journal(self, journal: Path) -> None:
        """Write all paths down in `journal`, from now on; again where its directory was lost."""
        self._paths.keep_in(journal)

    def branch(self) -> Resources:
        """A stack of its own that writes into the same journal: for a generation beside another."""
        branch = Resources()
        branch._paths = self._paths
        return branch

    def mark(self) -> int:
        """A place to release down to."""
        return len(self._releases)

    def release(self, mark: int = 0) -> None:
        """Release everything acquired since `mark`, newest first."""
        while len(self._releases) > mark:
            what, release = self._releases.pop()
            try:
                release()
            except Exception as error:
                log.warning("cannot release", what=what, error=str(error))
