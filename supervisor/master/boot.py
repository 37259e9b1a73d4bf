"""Boot: everything before the first generation, in the order of the contract. What fails at any
step undoes the steps before it, in reverse.
"""

from __future__ import annotations

import itertools
import os
import signal
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from types import FrameType
from typing import Final, NoReturn

from supervisor.child import registry
from supervisor.child.registry import Loaded
from supervisor.config.address import Listen
from supervisor.config.decode import Problems
from supervisor.config.schema import Config
from supervisor.errors import ConfigError, StartError, Stop
from supervisor.log import entries
from supervisor.log.entries import log
from supervisor.master import before
from supervisor.master.booted import Booted, Greeting, no_greeting
from supervisor.master.cause import Cause
from supervisor.master.daemon import Launcher
from supervisor.master.guard import Guard
from supervisor.master.modules import keep_ears, log_abandoned
from supervisor.master.shutdown import leave
from supervisor.master.succession.messages import Progress
from supervisor.master.succession.predecessor import Start
from supervisor.system import descriptors, privileges, process, signals
from supervisor.system.adoption import Claims, adopt
from supervisor.system.clock import Instant
from supervisor.system.listeners import Listener, open_listener
from supervisor.system.lookup import runtime_directories
from supervisor.system.notify import Notifier, take_inherited
from supervisor.system.parenthood import Parenthood
from supervisor.system.pid_file import PidFile
from supervisor.system.privileges import Identity
from supervisor.system.recorder import SignalRecorder
from supervisor.system.resources import Resources
from supervisor.system.runtime import RuntimeDirectory
from supervisor.system.terminal import ProcessGroup

MARGIN: Final = 5.0  # s that a start may take beside user code

_Listeners = dict[str, tuple[Listener, ...]]


class Boot:
    """The steps, and what they have acquired. `signals` records from the first step on."""

    def __init__(
        self,
        config: Config,
        start: Start,
        launcher: Launcher | None = None,
        greet: Greeting = no_greeting,
    ) -> None:
        self.config = config if start.predecessor is None else start.predecessor.adapt(config)
        self._start = start
        self.resources = Resources()
        self.signals = SignalRecorder()
        self.notifier = Notifier(os.environ)
        self._launcher = launcher
        self._greet = greet
        # How a shell without job control marks what it started with `&`: the terminal is not ours.
        self._in_background = signals.is_ignored(signal.SIGINT)
        self._started_at = Instant.now()
        self._pid_file: PidFile | None = None
        self.parenthood: Parenthood | None = None  # what this process becomes, if it does not end
        if start.predecessor is not None:
            self._started_at = Instant(*start.predecessor.bequest.started_at)
            self.notifier.hold()

    def listen_to_signals(self) -> None:
        """Be deaf no more, also to what our parent blocked, or the fork of a daemon."""
        self.signals.install()
        self.signals.on_deaf = self._leave_behind
        signals.unblock_all()
        self.resources.add("signals", self.signals.close)

    def leave(self, cause: Cause) -> NoReturn:
        """Give everything back, and end this process."""
        if self._start.predecessor is not None and cause.signum is None:
            self._start.predecessor.fail(cause.status, cause.message or cause.reason)
        self.resources.release()
        if self.parenthood is not None:
            self.parenthood.become(self.signals)
        leave(cause)

    def run(self) -> Booted:
        """Take every step. Raises SupervisorError, and Stop when told to stop."""
        if self._start.predecessor is not None:
            self._start.predecessor.refuse_another(self.config)
        config, strangers = self.config, frozenset(process.own_children())
        self.resources.add("service manager", self.notifier.close)
        group = ProcessGroup(self._in_background)
        self.resources.add("terminal", group.release)
        process.become_subreaper()
        self.notifier.status("starting", config.master.start_timeout + MARGIN)
        identity = privileges.wanted(config.master)
        runtime = self._own_runtime_directory(identity)
        self._write_pid_file()
        self._obey()
        listeners = self._open_listeners()
        if identity is not None:
            self._drop_privileges(identity, runtime, listeners)
        if self._start.predecessor is None:
            runtime.listen()
        if config.master.before:
            before.run_all(config, self.signals, self.notifier)
            self.notifier.status("starting", config.master.start_timeout + MARGIN)
        start_by = time.monotonic() + config.master.start_timeout
        loaded = self._load()
        if self._start.predecessor is not None:
            self._start.predecessor.tell(Progress("imported"))
            _refuse_exclusive(config, loaded)
        process.set_title(f"supervisor: {config.name} master")
        self._obey()
        spared = group.strangers | strangers
        guard = Guard(config.name, config.master.stop_timeout, spared, self._launcher)
        self.resources.add("guard", guard.end)
        return Booted(
            config=config,
            loaded=loaded,
            listeners=listeners,
            runtime=runtime,
            resources=self.resources,
            signals=self.signals,
            group=group,
            started_at=self._started_at,
            start_by=start_by,
            private=self._private(),
            strangers=strangers,
            guard=guard,
            descriptor_limit=descriptors.limit(),
            notifier=self.notifier,
            launcher=self._launcher,
            greet=self._greet,
            start=self._start,
            pid_file=self._pid_file,
            first=self._first(),
        )

    def _first(self) -> int:
        """Who started us waits for our pid, unless a service manager follows the main process, or
        a daemon was wanted. As pid 1 we stay in any case.
        """
        if self._start.predecessor is not None:
            return self._start.predecessor.bequest.first
        leaves = self.notifier.is_there or self._launcher is not None
        return 0 if leaves and os.getpid() != 1 else os.getpid()

    def _leave_behind(self, raised: signal.Signals, frame: FrameType | None) -> NoReturn:
        """User code has swallowed Stop, and does not end: leave from inside the handler."""
        log_abandoned(raised, frame)
        is_deadline = raised is signal.SIGALRM
        message = "user code not imported by start_timeout, and Stop was swallowed"
        self.leave(Cause.start_failure(message) if is_deadline else Cause.by_signal(raised))

    def _own_runtime_directory(self, identity: Identity | None) -> RuntimeDirectory:
        config, predecessor = self.config, self._start.predecessor
        if predecessor is not None:
            runtime = RuntimeDirectory(Path(predecessor.bequest.runtime), config.name)
            runtime.claim.made = predecessor.bequest.is_made
            runtime.join(self.resources, predecessor.control)
            return runtime
        places = runtime_directories(config.name, config.master.runtime_directory)
        runtime = RuntimeDirectory(places[0], config.name)
        runtime.acquire(self.resources, None if identity is None else identity.uid)
        return runtime

    def _private(self) -> list[Callable[[], Iterable[int]]]:
        launcher = [] if self._launcher is None else [self._launcher.descriptors]
        return [self.notifier.descriptors, *launcher]

    def _drop_privileges(
        self, identity: Identity, runtime: RuntimeDirectory, listeners: _Listeners
    ) -> None:
        """Hand over what the new user has to write or remove, become it, and say what it cannot
        remove.
        """
        if os.geteuid() == 0:
            try:
                self._hand_over(identity, runtime, listeners)
            except PermissionError as error:
                raise privileges.refused(identity, error) from None
        privileges.become(identity)
        log.info("privileges dropped", user=identity.name or identity.uid)
        paths = [str(runtime.path)] if runtime.claim.made else []
        paths += [self.config.master.pid_file] if self.config.master.pid_file else []
        for listener in itertools.chain(*listeners.values()):
            if listener.address.scheme == "unix" and not listener.inherited:
                paths.append(listener.address.path)
        for path in paths:
            if not os.access(os.path.dirname(os.path.abspath(path)), os.W_OK):
                user = identity.name or identity.uid
                log.warning("path will stay: its directory is not the user's", path=path, user=user)

    def _hand_over(
        self, identity: Identity, runtime: RuntimeDirectory, listeners: _Listeners
    ) -> None:
        uid, gid = identity.uid, identity.gid
        runtime.give_to(uid, gid)
        entries.give_to(uid, gid)
        if self._pid_file is not None:
            self._pid_file.give_to(uid, gid)
        for section in self.config.workers:
            for listen, listener in zip(section.listen, listeners[section.name], strict=True):
                if not listen.owner:
                    listener.give_to(uid, gid)

    def _write_pid_file(self) -> None:
        name = self.config.master.pid_file
        if not name:
            return
        self._pid_file = PidFile(name, f"{self.config.file}: master.pid_file", self.resources)
        if self._start.predecessor is None:
            self._pid_file.write()
        else:
            self._pid_file.stage()

    def _obey(self) -> None:
        """Between two steps: raise Stop for a termination signal that has come."""
        with self.signals.stop_raised():
            pass

    def _open_listeners(self) -> _Listeners:
        config = self.config
        wanted = {section.name: section.listen for section in config.workers}
        adopted = self._adopted(wanted)
        opened: _Listeners = {}
        for section in config.workers:
            opened[section.name] = tuple(
                adopted.get((section.name, index)) or self._open(listen, section.common.backlog)
                for index, listen in enumerate(section.listen)
            )
            for listener in opened[section.name]:
                listener.backlog = section.common.backlog
                log.info("listening", worker=section.name, address=listener.address)
        return opened

    def _adopted(self, wanted: Mapping[str, Sequence[Listen]]) -> Claims:
        """The listeners that are open already: handed to us, or a predecessor's."""
        if self._start.predecessor is None:
            return adopt(take_inherited(os.environ), wanted)
        claims = self._start.predecessor.claims(wanted)
        for listener in claims.values():
            if not listener.inherited:
                self._keep(listener)
        return claims

    def _keep(self, listener: Listener) -> None:
        """A predecessor has bound it; it will be ours."""
        if listener.address.scheme == "unix":
            self.resources.add_socket(listener.address.path)
        self.resources.add(str(listener.address), listener.release)

    def _open(self, listen: Listen, backlog: int) -> Listener:
        if listen.address.scheme == "unix":
            self.resources.add_socket(listen.address.path)
        listener = open_listener(listen, backlog)
        if listen.address.scheme == "unix":
            self.resources.see(listen.address.path)
        self.resources.add(str(listen.address), listener.release)
        return listener

    def _load(self) -> Loaded:
        """Import user code; a termination signal and start_timeout end it."""
        problems = Problems(self.config.file)
        after = partial(keep_ears, self.signals)
        try:
            with (
                self.signals.deadline(self.config.master.start_timeout),
                self.signals.stop_raised(),
            ):
                loaded = registry.load(self.config, problems, after)
        except Stop as stop:
            if stop.signum == signal.SIGALRM:
                log.exception("import abandoned", reason="start-timeout")
                raise StartError("user code not imported by start_timeout") from stop
            raise
        finally:
            after("user code")
        for error in problems.raised.values():  # the line on standard error has only its end
            log.error("user code raised", exc=error)
        problems.raise_if_any()
        return loaded


def _refuse_exclusive(config: Config, loaded: Loaded) -> None:
    """A module that bears no second one of itself cannot be made beside a predecessor."""
    problems = [
        f"{config.file}: modules.{one.name}: it is exclusive; stop the server and start it"
        for one in loaded.modules
        if one.kind.exclusive
    ]
    if problems:
        raise ConfigError(problems)
