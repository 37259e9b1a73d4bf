"""The offers of a server to modules and workers before the fork: counters, locks, resources."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from supervisor.errors import StartError
from supervisor.scoreboard import layout
from supervisor.scoreboard.lock import Lock
from supervisor.scoreboard.row import Counter, Row
from supervisor.system.resources import Resources

# Facts that every row has anyway; a counter may stand for one of them.
_BUILT_IN = {"requests": layout.REQUESTS, "errors": layout.ERRORS}


class Shared:
    """The counters and locks declared before the fork, by full name ("module.name").

    One has what the workers' preload declares and lasts as long as the server; each generation has
    one of its own beside it, so that `destroy` of the old still reads and writes its own numbers
    while the next one serves.
    """

    def __init__(self, lasting: Shared | None = None) -> None:
        self.row = Row()
        self.counters: dict[str, int] = {} if lasting is None else dict(lasting.counters)
        self.locks: dict[str, Lock] = {} if lasting is None else dict(lasting.locks)
        self.initial: dict[str, int] = {}
        self._lasting = lasting

    def for_generation(self) -> Shared:
        """The same counters and locks for one generation: every lock is free and new."""
        for lock in self.locks.values():
            lock.renew()
        return Shared(self)

    def counter(self, name: str, stands_for: str | None = None) -> Counter:
        """Declare a counter, or find it again. Raises StartError when there are too many."""
        if name not in self.counters:
            if len(self.counters) >= layout.MAX_COUNTERS:
                raise StartError(f"counter {name!r}: more than {layout.MAX_COUNTERS}")
            offset = layout.COUNTERS + len(self.counters)
            self.counters[name] = _BUILT_IN[stands_for] if stands_for else offset
        return Counter(self.row, self.counters[name])

    def lock(self, name: str) -> Lock:
        """Declare a lock, or find it again. Raises StartError when there are too many."""
        if name not in self.locks:
            if len(self.locks) >= layout.MAX_LOCKS:
                raise StartError(f"lock {name!r}: more than {layout.MAX_LOCKS}")
            self.locks[name] = Lock(len(self.locks) + 1, self.row)
            self.locks[name].renew()
        return self.locks[name]

    def stand_at(
        self,
        words: memoryview,
        base: int,
        wait_for: Callable[[Lock, float | None], bool] | None = None,
    ) -> None:
        """Let everything declared write into the row that begins at word `base`: the master's own,
        and after the fork the child's.
        """
        for row in (self.row,) if self._lasting is None else (self.row, self._lasting.row):
            row.words, row.base, row.wait_for = words, base, wait_for

    def write_initial(self) -> None:
        """Let the counters begin with the values that `Server.restore` gave."""
        for name, value in self.initial.items():
            if name in self.counters:
                self.row.words[self.row.base + self.counters[name]] = value

    def close(self) -> None:
        """Give back what this generation alone has declared."""
        lasting = {} if self._lasting is None else self._lasting.locks
        for name, lock in self.locks.items():
            if name not in lasting:
                lock.close()


class Declarations:
    """Where a worker's `preload` and a module's `init` declare. Names are the owner's own."""

    def __init__(self, owner: str, shared: Shared) -> None:
        self._owner = owner
        self._shared = shared

    def counter(self, name: str, stands_for: str | None = None) -> Counter:
        """A number that all children add to, shown in the statistics as `OWNER.name`.

        `stands_for` "requests" or "errors" makes it count what is counted anyway. Call it in `init`
        or `preload`.
        """
        return self._shared.counter(f"{self._owner}.{name}", stands_for)

    def lock(self, name: str) -> Lock:
        """A lock between all children; a crash report names it. Call it in `init` or `preload`."""
        return self._shared.lock(f"{self._owner}.{name}")


class Server(Declarations):
    """The server as a module's `init` sees it. `resources` lives as long as the modules do."""

    def __init__(
        self,
        owner: str,
        name: str,
        generation: int,
        shared: Shared,
        resources: Resources,
        totals: Callable[[], dict[str, int]],
        children: int,
        file: Callable[[str], Path],
    ) -> None:
        super().__init__(owner, shared)
        self.name = name
        self.generation = generation
        self.resources = resources
        self.children = children  # of all sections, in one generation
        self._totals = totals
        self._file = file

    def restore(self, totals: dict[str, int]) -> None:
        """Let counters begin with these values, by full name. Call it in `init`."""
        self._shared.initial.update(totals)

    def file(self, name: str) -> Path:
        """Where a file may stand that lasts as long as the server, over all generations: in the
        runtime directory, removed at the end, also after SIGKILL. Call it before it is made.
        """
        return self._file(name)

    def totals(self) -> dict[str, int]:
        """The sum of every counter over all processes, by full name."""
        return self._totals()
