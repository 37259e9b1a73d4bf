"""The only door to fork, wait, kill, prctl, process groups, the terminal and the end of a
process.
"""

from __future__ import annotations

import atexit
import contextlib
import ctypes
import functools
import math
import os
import resource
import signal
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple, NoReturn, TypeVar

from supervisor import log, signals
from supervisor.errors import NoPermission, SystemFailure

_PR_SET_PDEATHSIG: Final = 1  # linux/prctl.h
_PR_SET_CHILD_SUBREAPER: Final = 36
_PF_FORKNOEXEC: Final = 0x40  # linux/sched.h
_PR_SET_DUMPABLE: Final = 4
_PR_SET_NO_NEW_PRIVS: Final = 38

T = TypeVar("T")


class Death(NamedTuple):
    """What wait4(2) told of one process: how it ended, and what it used (CPU in s, peak RSS in
    bytes).
    """

    pid: int
    exit_code: int | None
    signum: int | None
    dumped_core: bool
    cpu_seconds: float
    peak_rss: int

    @property
    def cause(self) -> str:
        """`SIGSEGV` or `exit 3`."""
        return f"exit {self.exit_code}" if self.signum is None else signals.name_of(self.signum)


def fork_all(lives: Sequence[tuple[T, Callable[[], NoReturn]]], table: dict[int, T]) -> None:
    """Fork a child for each (key, life) and note the key by its pid in `table`.

    A child calls its life with every signal blocked, and never comes back. Ends early when a
    termination signal waits. Raises SystemFailure when the system refuses.

    The loop is as bare as can be: whatever page the master writes between two forks stays behind as
    a private copy in the child before.
    """
    log.flush()
    mask = signals.block_all()
    try:
        for key, life in lives:
            pid = os.fork()
            if pid == 0:
                try:
                    life()
                finally:
                    os._exit(70)
            table[pid] = key
            if signals.termination_waits():
                break
    except OSError as error:
        raise SystemFailure(f"cannot fork: {error.strerror}") from error
    finally:
        signals.set_mask(mask)


def become_child(subject: str, title: str, master: int) -> None:
    """Cut what ties a fresh fork to the master, and ask for SIGTERM at the master's death
    (prctl(2)).

    Call with signals blocked, after any change of credentials: that clears the request.
    """
    atexit._clear()
    log.rename(subject)
    set_title(title)
    _prctl(_PR_SET_PDEATHSIG, signal.SIGTERM)
    if os.getppid() != master:
        # It died before the request was made, so nobody will send the signal.
        os.kill(os.getpid(), signal.SIGTERM)


def leave(code: int) -> NoReturn:
    """End this process here: nothing unwinds, no atexit entry of the master runs."""
    log.flush()
    os._exit(code)


def die_of(signum: int) -> NoReturn:
    """End by the signal, so that the parent sees it; as pid 1, where the kernel ignores it, exit
    128 + number.
    """
    log.flush()
    signals.restore_default(signal.Signals(signum))
    os.kill(os.getpid(), signum)
    os._exit(128 + signum)


def run_exit_functions() -> None:
    """Run what user code registered with atexit in the master; its end is not an interpreter's
    usual one.
    """
    atexit._run_exitfuncs()


def reap() -> Iterator[Death]:
    """Yield every process that has ended, ours or adopted, until none is left to collect."""
    while True:
        try:
            pid, status, usage = os.wait4(-1, os.WNOHANG)
        except ChildProcessError:
            return
        if pid == 0:
            return
        by_signal = os.WIFSIGNALED(status)
        yield Death(
            pid=pid,
            exit_code=None if by_signal else os.WEXITSTATUS(status),
            signum=os.WTERMSIG(status) if by_signal else None,
            dumped_core=os.WCOREDUMP(status),
            cpu_seconds=usage.ru_utime + usage.ru_stime,
            peak_rss=usage.ru_maxrss * 1024,
        )


def kill(pid: int) -> None:
    """SIGKILL a process that we have not reaped yet, so the pid is still its own."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


def tell(pid: int, signum: signal.Signals) -> None:
    """Send a signal to a process that we have not reaped yet; CONT too, for one that is stopped."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signum)
        os.kill(pid, signal.SIGCONT)


def dump_and_die(pid: int) -> None:
    """Make a child write its tracebacks into its black box and die (SIGALRM, see signals.py)."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGALRM)


def reap_all() -> None:
    """Collect every process that has ended; for when none of them is a child any more."""
    for _ in reap():
        pass


def suspend() -> None:
    """Stop this process, as Ctrl-Z does, until somebody lets it continue."""
    os.kill(os.getpid(), signal.SIGSTOP)


def reap_one(pid: int) -> None:
    """Wait for the end of a process that was killed."""
    with contextlib.suppress(ChildProcessError):
        os.waitpid(pid, 0)


def name_of(pid: int) -> str | None:
    """The command name of a process (proc(5)), None when it is gone."""
    with contextlib.suppress(OSError):
        return Path(f"/proc/{pid}/comm").read_text().strip()
    return None


def ranges_of(descriptors: Iterable[int]) -> tuple[range, ...]:
    """Ascending descriptors, most of them neighbours, as few ranges."""
    found: list[range] = []
    for descriptor in descriptors:
        if found and found[-1].stop == descriptor:
            found[-1] = range(found[-1].start, descriptor + 1)
        else:
            found.append(range(descriptor, descriptor + 1))
    return tuple(found)


def close_others(ranges: Iterable[range], kept: int) -> None:
    """Close all descriptors of `ranges` but `kept`, each range by one call or two
    (close_range(2)).

    In every child: to look at each descriptor would copy the pages of all of them.
    """
    for one in ranges:
        if kept in one:
            os.closerange(one.start, kept)
            os.closerange(kept + 1, one.stop)
        else:
            os.closerange(one.start, one.stop)


def allow_descriptors(count: int) -> int:
    """Raise our soft limit of open descriptors to `count` if it is lower; returns what it was.

    Raises SystemFailure when the hard limit forbids it.
    """
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != resource.RLIM_INFINITY and soft < count:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (count, hard))
        except ValueError:
            raise SystemFailure(f"{count} descriptors needed, ulimit -Hn is {hard}") from None
    return soft


def limit_descriptors(soft: int) -> None:
    """Give a child the soft limit that the master was started with."""
    resource.setrlimit(
        resource.RLIMIT_NOFILE, (soft, resource.getrlimit(resource.RLIMIT_NOFILE)[1])
    )


def die_with_master(signum: signal.Signals) -> None:
    """Ask for another signal than TERM at the master's death; in force across exec(2) as well."""
    _prctl(_PR_SET_PDEATHSIG, signum)


def lead_own_group() -> None:
    """Leave the master's process group: what is sent to all is not for us."""
    os.setpgid(0, 0)


def has_executed(pid: int) -> bool:
    """True once a process that was forked has called exec(2) (PF_FORKNOEXEC, proc(5) stat)."""
    try:
        facts = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    flags = int(facts.rpartition(")")[2].split()[6])
    return not flags & _PF_FORKNOEXEC


def become_subreaper() -> None:
    """Adopt orphans below us, so that none outlives us (prctl(2))."""
    _prctl(_PR_SET_CHILD_SUBREAPER, 1)


def forbid_new_privileges() -> None:
    """Let no program that is executed from here on gain rights by set-user-id (prctl(2))."""
    _prctl(_PR_SET_NO_NEW_PRIVS, 1)


def allow_core_dumps() -> None:
    """Be an ordinary process of our user again, after a change of credentials (prctl(2))."""
    _prctl(_PR_SET_DUMPABLE, 1)


def lead_session() -> None:
    """Leave the terminal: a session and a process group of our own (setsid(2))."""
    os.setsid()


def own_children() -> list[int]:
    """The pids whose parent is this process now, adopted orphans too (proc(5))."""
    pids: list[int] = []
    for task in Path("/proc/self/task").iterdir():
        with contextlib.suppress(OSError):
            pids += map(int, (task / "children").read_text().split())
    return pids


def set_title(title: str) -> None:
    """Show `title` in ps(1)."""
    from setproctitle import setproctitle

    setproctitle(title)


def close_all_descriptors() -> None:
    """Close everything above stderr."""
    os.closerange(3, os.sysconf("SC_OPEN_MAX"))


def hold_standard_descriptors() -> None:
    """Open /dev/null for each of 0, 1, 2 that is closed, so that no socket of ours lands there."""
    while (descriptor := os.open(os.devnull, os.O_RDWR)) <= 2:
        os.set_inheritable(descriptor, True)
    os.close(descriptor)


class ProcessGroup:
    """The group that the master leads: it is signalled as one, and owns the terminal while it
    runs.
    """

    def __init__(self, in_background: bool) -> None:
        self._before = os.getpgrp()
        self._terminal = None if in_background else _foreground_terminal(self._before)
        if self._before != os.getpid():
            os.setpgid(0, 0)
            self._alone = True
        else:
            # In `supervisor start | tee log` a job-control shell puts tee into the group that we
            # lead.
            self._alone = not _group_has_others(os.getpid())
        if self._terminal is not None and self._before != os.getpid():
            _hand_terminal(self._terminal, os.getpgrp())
            # Nobody who waits for us would see us stopped: Ctrl-Z would hang the terminal.
            signals.ignore(signal.SIGTSTP)

    def terminate(self, pids: list[int], *, lossless: bool) -> bool:
        """Send SIGTERM to the group, ourselves left out; True when someone else sent us one
        meanwhile.

        Where the group has strangers in it, only `pids` are told. Likewise if it has to be
        `lossless`: the kernel merges a TERM that comes between our own copy and its consumption.
        """
        if lossless or not self._alone:
            for pid in pids:
                tell(pid, signal.SIGTERM)
            return False
        with signals.blocked(signal.SIGTERM):
            os.killpg(os.getpid(), signal.SIGTERM)
            # Who is stopped would not see it before the deadline.
            os.killpg(os.getpid(), signal.SIGCONT)
            sender = signals.consume(signal.SIGTERM)
            return sender is not None and sender != os.getpid()

    @property
    def is_ours_alone(self) -> bool:
        """True when every process in it descends from us."""
        return self._alone

    def release(self) -> None:
        """Give the terminal back to the group that had it."""
        if self._terminal is not None and self._before != os.getpid():
            _hand_terminal(self._terminal, self._before)


def terminate_own_group() -> None:
    """SIGTERM to this process's whole group; for a child whose master is dead, so that
    grandchildren hear of it.
    """
    os.killpg(os.getpgrp(), signal.SIGTERM)


def _foreground_terminal(group: int) -> int | None:
    """The descriptor of the terminal whose foreground `group` holds, if any."""
    for descriptor in (0, 2, 1):
        with contextlib.suppress(OSError):
            if os.tcgetpgrp(descriptor) == group:
                return descriptor
    return None


def _hand_terminal(descriptor: int, group: int) -> None:
    with signals.blocked(signal.SIGTTOU), contextlib.suppress(OSError):
        os.tcsetpgrp(descriptor, group)


def _group_has_others(group: int) -> bool:
    for entry in os.scandir("/proc"):
        if entry.name.isdigit() and int(entry.name) != group:
            with contextlib.suppress(OSError):
                if os.getpgid(int(entry.name)) == group:
                    return True
    return False


def available_cpus() -> int:
    """CPUs that this process may use: affinity, and the cgroup's quota rounded up; at least 1."""
    cpus = len(os.sched_getaffinity(0))
    quota = _cgroup_quota()
    return max(1, min(cpus, math.ceil(quota))) if quota else cpus


def _cgroup_quota(root: Path = Path("/sys/fs/cgroup")) -> float | None:
    """The smallest CPU quota from our cgroup up to the root, in CPUs (cgroups(7), v2 then v1)."""
    quotas: list[float] = []
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        mount = root / controllers
        for folder in _up_to(mount, mount / path.strip("/")):
            quotas += _quota_in(folder)
    return min(quotas, default=None)


def oom_kills(root: Path = Path("/sys/fs/cgroup")) -> int:
    """How often the kernel's OOM killer struck in our cgroup (memory.events, or v1
    memory.oom_control).
    """
    with contextlib.suppress(OSError):
        file = _oom_file(root)
        rows = file.read_text().splitlines() if file else []
        return int(dict(row.split(None, 1) for row in rows).get("oom_kill", 0))
    return 0


@functools.cache
def _oom_file(root: Path) -> Path | None:
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        mount = root / controllers
        for folder in _up_to(mount, mount / path.strip("/")):
            for file in (folder / "memory.events", folder / "memory.oom_control"):
                if file.exists():
                    return file
    return None


def _up_to(mount: Path, folder: Path) -> Iterator[Path]:
    """A cgroup's directory and those above it; a container may see only the upper ones."""
    return (one for one in (folder, *folder.parents) if one.is_relative_to(mount))


def _quota_in(folder: Path) -> list[float]:
    with contextlib.suppress(OSError, ValueError):
        quota, period = (folder / "cpu.max").read_text().split()
        return [int(quota) / int(period)] if quota != "max" else []
    with contextlib.suppress(OSError, ValueError):
        v1 = int((folder / "cpu.cfs_quota_us").read_text())
        period_v1 = int((folder / "cpu.cfs_period_us").read_text())
        return [v1 / period_v1] if v1 > 0 else []
    return []


@functools.cache
def _prctl_function() -> Callable[..., int]:
    function = ctypes.CDLL(None, use_errno=True).prctl
    function.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
    function.restype = ctypes.c_int
    return function


def _prctl(option: int, value: int) -> None:
    if _prctl_function()(option, value, 0, 0, 0) != 0:
        raise SystemFailure(f"prctl({option}): {os.strerror(ctypes.get_errno())}")


class PidFd:
    """A grip on another process that a reused pid cannot fool (pidfd_open(2))."""

    def __init__(self, pid: int) -> None:
        try:
            self._descriptor = os.pidfd_open(pid)
        except ProcessLookupError:
            self._descriptor = -1

    def __enter__(self) -> PidFd:
        return self

    def __exit__(self, *_: object) -> None:
        if self._descriptor >= 0:
            os.close(self._descriptor)

    def send(self, signum: signal.Signals) -> None:
        """Send a signal. Raises NoPermission when the process is another user's."""
        try:
            with contextlib.suppress(ProcessLookupError):
                if self._descriptor >= 0:
                    signal.pidfd_send_signal(self._descriptor, signum)
        except PermissionError:
            raise NoPermission(f"not allowed to send {signum.name}: not our process") from None

    def wait(self, timeout: float) -> bool:
        """Wait until it has ended; False at the timeout (s)."""
        return self._descriptor < 0 or signals.pid_is_gone(self._descriptor, timeout)
