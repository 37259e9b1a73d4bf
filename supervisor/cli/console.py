"""`supervisor console`: a prompt with commands that look at a running server, signal it, stop it.

A command is one method and one line in the table. Ctrl-C ends the command, never the console.
"""

from __future__ import annotations

import contextlib
import json
import shlex
import signal
import sys
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Final, NamedTuple

import msgspec

from supervisor.cli import prompt
from supervisor.config.schema import Config
from supervisor.errors import Stop, SupervisorError
from supervisor.system import process
from supervisor.system.interrupt import stop_raised_by
from supervisor.system.pidfd import PidFd
from supervisor.views import rates, statistics, table
from supervisor.views.records import LiveStatistics
from supervisor.views.running import Reader
from supervisor.views.table import Paint

_ENDS: Final = (signal.SIGTERM, signal.SIGHUP, signal.SIGPWR)
_SIGNALS: Final = tuple(sorted(one.name for one in signal.Signals))


class CommandError(Exception):
    """A command was used wrongly; the text says how it is used."""


class Command(NamedTuple):
    """One command: what it takes, what it does, and what does it."""

    takes: str
    does: str
    run: Callable[[Console, list[str]], None]


class Console:
    """One session at the prompt."""

    def __init__(self, config: Config, paint: Paint) -> None:
        self._config = config
        self._reader = Reader(config)
        self._paint = paint

    def run(self) -> signal.Signals | None:
        """Read and obey until the end of input (None) or a signal that ends us.

        Raises NotRunning when there is no server in the first place.
        """
        self._reader.find()
        try:
            with stop_raised_by(*_ENDS), prompt.history(), prompt.completion(self._complete):
                self._read_and_obey()
        except Stop as stop:
            return stop.signum
        return None

    def _read_and_obey(self) -> None:
        sign = f"{self._config.name}> " if sys.stdin.isatty() else ""
        if sign:
            print(f"Console of {self._config.name}. Try help; Ctrl-D leaves.")
        while True:
            try:
                line = input(sign)
            except EOFError:
                if sign:
                    print()
                return
            except KeyboardInterrupt:
                print()
                continue
            if not self._obey(line):
                return

    def _obey(self, line: str) -> bool:
        """Run one line; False when it was the last."""
        try:
            words = shlex.split(line)
            if words and words[0] in ("quit", "exit"):
                return False
            if words:
                self._command(words[0]).run(self, words[1:])
        except KeyboardInterrupt:
            print("\nInterrupted")
        except (SupervisorError, CommandError, ValueError) as error:
            print(f"error: {error}")
        return True

    def _command(self, name: str) -> Command:
        if name not in COMMANDS:
            raise CommandError(f"{name}: no such command; try help")
        return COMMANDS[name]

    def _complete(self, line: str) -> list[str]:
        """The words that the last one of `line` may become."""
        *before, word = line.split(" ") or [""]
        known: Sequence[str] = (*COMMANDS, "quit")
        if before and before[0] == "signal":
            known = _SIGNALS if len(before) > 1 else self._slots()
        elif before:
            known = list(COMMANDS) if before[0] == "help" else ()
        return [one + " " for one in known if one.lower().startswith(word.lower())]

    def _slots(self) -> list[str]:
        with contextlib.suppress(SupervisorError):
            return [str(child.slot) for child in self._look().children]
        return []

    def _look(self) -> LiveStatistics:
        return statistics.of(self._reader.snapshot(), with_pss=False)

    def _print(self, rows: Sequence[Sequence[Any]]) -> None:
        print("\n".join(table.aligned(rows, self._paint)))

    # The commands.

    def stats(self, words: list[str]) -> None:
        _expect(words, 0)
        print(table.table(self._look(), self._paint))

    def children(self, words: list[str]) -> None:
        _expect(words, 0, 1)
        facts = self._look()
        children = facts.children
        if words:
            sections = [one.name for one in facts.workers]
            if words[0] not in sections:
                raise CommandError(f"{words[0]}: no such section; there are: {', '.join(sections)}")
            children = tuple(child for child in children if child.worker == words[0])
        self._print(table.child_rows(children))

    def watch(self, words: list[str]) -> None:
        """One line for each look, until Ctrl-C; one only where commands are piped in, for nobody is
        there to press it.
        """
        _expect(words, 0, 1)
        interval = float(words[0]) if words else 1.0
        if not 0.1 <= interval <= 3600:
            raise CommandError("watch: SECONDS from 0.1 to 3600")
        print(self._paint(_WATCH_HEADS, "head"))
        before = self._look()
        with PidFd(before.pid) as master:
            while not master.wait(interval):
                now = self._look()
                print(_watch_line(before, now), flush=True)
                if not sys.stdin.isatty():
                    return
                before = now
        self._reader.find()

    def modules(self, words: list[str]) -> None:
        _expect(words, 0)
        counters = self._look().counters
        for module in self._config.modules:
            options = "  ".join(f"{key} = {value!r}" for key, value in module.options.items())
            print(f"{self._paint(module.name, 'name')}  {module.type}  {options}".rstrip())
        if counters:
            self._print([("counter", "value"), *counters.items()])
        elif not self._config.modules:
            print("no modules, no counters")

    def config(self, words: list[str]) -> None:
        """The file as it is now; the server may have read an older one."""
        _expect(words, 0)
        for key, value in _settings(self._config):
            print(f"{self._paint(key, 'name')} = {json.dumps(value, default=msgspec.to_builtins)}")

    def signal(self, words: list[str]) -> None:
        _expect(words, 2)
        number = _signal_named(words[1])
        slot = int(words[0]) if words[0].isdecimal() else -1
        pid = self._pid_of(slot)
        with PidFd(pid) as grip:
            # The pid may have been reused between the look and the grip: look again.
            if self._pid_of(slot) != pid:
                raise CommandError(f"slot {slot} was replaced in this very moment; try again")
            grip.send(number)
        print(f"{number.name} sent to slot {slot}, pid {pid}")

    def _pid_of(self, slot: int) -> int:
        _, master = self._reader.find()
        for child in self._look().children:
            if child.slot == slot and child.pid:
                # The scoreboard is its writers' word; the kernel knows whose child it is.
                if master not in (child.pid, process.parent_of(child.pid)):
                    raise CommandError(f"pid {child.pid} is no child of the server")
                return child.pid
        raise CommandError("no such child; its slot is what the command children shows")

    def stop(self, words: list[str]) -> None:
        _expect(words, 0)
        pid, is_gone = self._reader.stop(self._config.master.longest_stop)
        if not is_gone:
            raise CommandError(f"pid {pid} still runs")
        print(f"{self._config.name} stopped, pid {pid}")

    def help(self, words: list[str]) -> None:
        _expect(words, 0, 1)
        chosen = {words[0]: self._command(words[0])} if words else COMMANDS
        rows = [(f"{name} {one.takes}".strip(), one.does) for name, one in chosen.items()]
        if not words:
            rows.append(("quit", "leave; so does Ctrl-D"))
        self._print([("command", "does"), *rows])


COMMANDS: Final = {
    "stats": Command("", "print the statistics", Console.stats),
    "children": Command("[SECTION]", "print a line for each child", Console.children),
    "watch": Command(
        "[SECONDS]", "print rates every second until Ctrl-C; once from a script", Console.watch
    ),
    "modules": Command("", "print the modules and all counters", Console.modules),
    "config": Command("", "print the configuration file, defaults included", Console.config),
    "signal": Command("SLOT NAME", "send a signal to one child: signal 3 USR1", Console.signal),
    "stop": Command("", "stop the server and wait until it is gone", Console.stop),
    "help": Command("[COMMAND]", "print this", Console.help),
}

_WATCH_HEADS: Final = "state          req/s     err/s  in hand  queued     CPU"


def _watch_line(before: LiveStatistics, now: LiveStatistics) -> str:
    rate = rates.between(before, now)
    sections, children = rate.sections.values(), rate.children.values()
    queued = sum(one.queued or 0 for worker in now.workers for one in worker.listen)
    return (
        f"{now.state:<10} {sum(one.requests for one in sections):>9.1f} "
        f"{sum(one.errors for one in sections):>9.1f} {now.totals.active:>8} {queued:>7} "
        f"{sum(one.cpu for one in children):>7.0%}"
    )


def _expect(words: Sequence[str], least: int, most: int | None = None) -> None:
    if not least <= len(words) <= (least if most is None else most):
        raise CommandError("wrong number of words; try help")


def _signal_named(name: str) -> signal.Signals:
    """USR1, SIGUSR1, usr1 or 10."""
    with contextlib.suppress(ValueError):
        return signal.Signals(int(name))
    for known in signal.Signals:
        if known.name in (name.upper(), f"SIG{name.upper()}"):
            return known
    raise CommandError(f"{name}: no such signal")


def _settings(config: Config) -> Iterator[tuple[str, Any]]:
    """(key path, value) of everything that the file sets or leaves at its default."""
    yield "name", config.name
    for name in ("master", "log"):
        for key, value in msgspec.structs.asdict(getattr(config, name)).items():
            yield f"{name}.{key}", value
    for section in config.workers:
        values = msgspec.structs.asdict(section.common)
        values["listen"] = [str(listen.address) for listen in section.listen]
        for key, value in (values | dict(section.options)).items():
            yield f"workers.{section.name}.{key}", value
    for module in config.modules:
        for key, value in ({"type": module.type} | dict(module.options)).items():
            yield f"modules.{module.name}.{key}", value
