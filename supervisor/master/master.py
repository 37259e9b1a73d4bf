"""The master: boot in order, run generations, undo everything in reverse, leave with the true
status.
"""

from __future__ import annotations

import itertools
import os
import signal
import time
from typing import Final, NamedTuple, NoReturn

import msgspec

from supervisor.child import names, registry
from supervisor.child.registry import Loaded
from supervisor.config.address import Listen
from supervisor.config.decode import Problems
from supervisor.config.schema import Config
from supervisor.errors import ConfigError, Exit, NoPermission, StartError, Stop, SupervisorError
from supervisor.log import entries
from supervisor.log.entries import log
from supervisor.master.daemon import Launcher
from supervisor.master.frame import Cause, Frame
from supervisor.master.generation import Generation
from supervisor.system import descriptors, privileges, process, signals
from supervisor.system.adoption import adopt
from supervisor.system.clock import wall_clock
from supervisor.system.listeners import Listener, open_listener
from supervisor.system.notify import Notifier, take_inherited
from supervisor.system.privileges import Identity
from supervisor.system.resources import Resources, write_atomically
from supervisor.system.runtime import RuntimeDirectory, runtime_directories
from supervisor.system.signals import SignalRecorder
from supervisor.system.terminal import ProcessGroup

_STEADY: Final = 1.0  # s ready: the next generation follows at once
_HEALTHY: Final = 10.0  # s ready: the back-off is forgotten
_FIRST_DELAY: Final = 0.1  # s
_LONGEST_DELAY: Final = 30.0  # s
_MARGIN: Final = 5.0  # s that a start may take beside user code


class BackOff(NamedTuple):
    """How long to wait before the next generation, and what to double from. Seconds."""

    wait: float = 0.0
    last: float = 0.0

    def after(self, ready_for: float) -> BackOff:
        """What follows a generation that was ready for so long."""
        if ready_for >= _STEADY:
            return BackOff(0.0, 0.0 if ready_for >= _HEALTHY else self.last)
        wait = min(max(_FIRST_DELAY, self.last * 2), _LONGEST_DELAY)
        return BackOff(wait, wait)


class Master:
    """Boots, runs one generation after another, and gives everything back."""

    def __init__(self, config: Config, launcher: Launcher | None = None) -> None:
        self._config = config
        self._launcher = launcher
        self._notifier = Notifier(os.environ)
        self._resources = Resources()
        self._signals = SignalRecorder()
        # How a shell without job control marks what it started with `&`: the terminal is not ours.
        self._in_background = signals.is_ignored(signal.SIGINT)
        self._started_at = wall_clock()
        self._start_by = float("inf")  # monotonic s

    def run(self) -> Cause:
        """Live, release everything, and return why it ended."""
        self._signals.install()
        signals.unblock_all()  # what our parent blocked, or the fork of a daemon
        self._resources.add("signals", self._signals.close)
        try:
            return self._generations(self._boot())
        except Stop as stop:
            return _stopped(stop)
        except SupervisorError as error:
            return Cause("start-failure", error.exit_code, message=str(error))
        except Exception as error:
            log.exception("internal error")
            return Cause("internal-error", Exit.CRASH, message=names.describe(error))
        finally:
            self._resources.release()

    def run_here(self) -> Cause:
        """`--dont-fork`: the first worker section runs in this very process; returns only if boot
        failed.
        """
        from supervisor.master.single import Single

        self._config = msgspec.structs.replace(self._config, workers=self._config.workers[:1])
        self._signals.install()
        self._resources.add("signals", self._signals.close)
        try:
            Single(self._boot(), 1).run_here(self._start_by, self._end_here)
        except Stop as stop:
            return _stopped(stop)
        except SupervisorError as error:
            return Cause("start-failure", error.exit_code, message=str(error))
        finally:
            self._resources.release()

    def _end_here(self, cause: Cause) -> NoReturn:
        self._resources.release()
        leave(cause)

    def _boot(self) -> Frame:
        """Everything before the first generation, in the order of the contract."""
        strangers = frozenset(process.own_children())
        self._resources.add("service manager", self._notifier.close)
        group = ProcessGroup(self._in_background)
        self._resources.add("terminal", group.release)
        process.become_subreaper()
        config = self._config
        self._notifier.status("starting", config.master.start_timeout + _MARGIN)
        identity = privileges.wanted(config.master)
        runtime = RuntimeDirectory(
            runtime_directories(config.name, config.master.runtime_directory)[0]
        )
        runtime.acquire(self._resources, None if identity is None else identity.uid)
        if config.master.pid_file:
            self._write_pid_file(config.master.pid_file)
        self._obey()
        listeners = self._open_listeners()
        if identity is not None:
            self._drop_privileges(identity, runtime, listeners)
        self._start_by = time.monotonic() + config.master.start_timeout
        loaded = self._load()
        process.set_title(f"supervisor: {config.name} master")
        self._obey()
        return Frame(
            config=config,
            loaded=loaded,
            listeners=listeners,
            runtime=runtime,
            resources=self._resources,
            signals=self._signals,
            group=group,
            started_at=self._started_at,
            private=self._private(runtime),
            strangers=strangers,
            notifier=self._notifier,
            launcher=self._launcher,
        )

    def _private(self, runtime: RuntimeDirectory) -> tuple[int, ...]:
        launcher = () if self._launcher is None else self._launcher.descriptors()
        return (*self._notifier.descriptors(), *launcher, runtime.descriptor)

    def _drop_privileges(
        self,
        identity: Identity,
        runtime: RuntimeDirectory,
        listeners: dict[str, tuple[Listener, ...]],
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
        paths = [str(runtime.path)] if runtime.made else []
        paths += [self._config.master.pid_file] if self._config.master.pid_file else []
        for listener in itertools.chain(*listeners.values()):
            if listener.address.scheme == "unix" and not listener.inherited:
                paths.append(listener.address.path)
        for path in paths:
            if not os.access(os.path.dirname(os.path.abspath(path)), os.W_OK):
                log.warning(
                    "path will stay: its directory is not the user's",
                    path=path,
                    user=identity.name or identity.uid,
                )

    def _hand_over(
        self,
        identity: Identity,
        runtime: RuntimeDirectory,
        listeners: dict[str, tuple[Listener, ...]],
    ) -> None:
        uid, gid = identity.uid, identity.gid
        runtime.give_to(uid, gid)
        entries.give_to(uid, gid)
        if self._config.master.pid_file:
            os.chown(self._config.master.pid_file, uid, gid, follow_symlinks=False)
        for section in self._config.workers:
            for listen, listener in zip(section.listen, listeners[section.name], strict=True):
                if not listen.owner:
                    listener.give_to(uid, gid)

    def _write_pid_file(self, name: str) -> None:
        path = self._resources.add_path(name)
        try:
            write_atomically(path, b"%d\n" % os.getpid())
        except PermissionError as error:
            raise NoPermission(f"master.pid_file: {path}: {error.strerror}") from None
        except OSError as error:
            problem = f"{self._config.file}: master.pid_file: {path}: {error.strerror}"
            raise ConfigError([problem]) from None

    def _obey(self) -> None:
        """Between two steps of boot: raise Stop for a termination signal that has come."""
        with self._signals.stop_raised():
            pass

    def _open_listeners(self) -> dict[str, tuple[Listener, ...]]:
        config = self._config
        wanted = {section.name: section.listen for section in config.workers}
        adopted = adopt(take_inherited(os.environ), wanted)
        opened: dict[str, tuple[Listener, ...]] = {}
        for section in config.workers:
            opened[section.name] = tuple(
                adopted.get((section.name, index)) or self._open(listen, section.common.backlog)
                for index, listen in enumerate(section.listen)
            )
            for listener in opened[section.name]:
                listener.backlog = section.common.backlog
                log.info("listening", worker=section.name, address=listener.address)
        return opened

    def _open(self, listen: Listen, backlog: int) -> Listener:
        if listen.address.scheme == "unix":
            self._resources.write_down(listen.address.path, "socket")
        listener = open_listener(listen, backlog)
        self._resources.add(str(listen.address), listener.release)
        return listener

    def _load(self) -> Loaded:
        """Import user code; a termination signal and start_timeout end it."""
        problems = Problems(self._config.file)
        try:
            with (
                self._signals.deadline(self._config.master.start_timeout),
                self._signals.stop_raised(),
            ):
                loaded = registry.load(self._config, problems)
        except Stop as stop:
            if stop.signum == signal.SIGALRM:
                log.exception("import abandoned", reason="start-timeout")
                raise StartError("user code not imported by start_timeout") from stop
            raise
        problems.raise_if_any()
        return loaded

    def _generations(self, frame: Frame) -> Cause:
        """One generation after another, until one ends for good."""
        number, back_off, crash, start_by = 1, BackOff(), None, self._start_by
        while True:
            generation = Generation(frame, number, crash)
            cause = generation.run(start_by, self._ends)
            if self._ends(cause, generation):
                return cause
            if generation.told is not None:
                return Cause(generation.told.name, signum=generation.told)
            back_off = back_off.after(generation.ready_for)
            number, crash = number + 1, generation.last_crash
            log.warning(
                "server restarting", generation=number, wait=back_off.wait, reason=cause.reason
            )
            self._notifier.status(f"restarting: {cause.message or cause.reason}")
            told = self._pause(back_off.wait)
            if told is not None:
                self._notifier.stopping(f"stopping: {told.reason}")
                return told
            self._notifier.status("starting again", self._config.master.start_timeout + _MARGIN)
            start_by = time.monotonic() + self._config.master.start_timeout

    def _ends(self, cause: Cause, generation: Generation) -> bool:
        """True when no generation follows."""
        if self._config.master.restart == "never" or cause.signum is not None:
            return True
        if cause.status == Exit.OK:
            return True
        return generation.number == 1 and generation.ready_at is None

    def _pause(self, seconds: float) -> Cause | None:
        """Wait between generations; a termination signal cuts it short."""
        resume_at = time.monotonic() + seconds
        while True:
            number = self._signals.termination()
            if number is not None:
                return Cause(number.name, signum=number)
            left = resume_at - time.monotonic()
            if left <= 0:
                return None
            self._notifier.wait(self._signals, left)
            process.reap_all()


def _stopped(stop: Stop) -> Cause:
    return Cause(stop.signum.name, signum=stop.signum)


def leave(cause: Cause) -> NoReturn:
    """Say why, and end this process as `cause` says: by the signal, or with its status."""
    if cause.message and cause.status != Exit.OK:
        entries.say_error(cause.message)
    status = cause.reason if cause.signum is not None else int(cause.status)
    log.info("server stopped", status=status)
    process.run_exit_functions()
    entries.flush()
    descriptors.close_all_descriptors()
    if cause.signum is not None:
        process.die_of(cause.signum)
    process.leave(cause.status)
