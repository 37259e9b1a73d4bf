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
import signal
from collections.abc import Callable, Collection, Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple, NoReturn, TypeVar

from supervisor.errors import SystemFailure
from supervisor.log import entries
from supervisor.system import signals
from supervisor.system.observe import children_of

# linux/prctl.h
_PR_SET_PDEATHSIG: Final = 1
_PR_SET_DUMPABLE: Final = 4
_PR_SET_CHILD_SUBREAPER: Final = 36
_PR_SET_NO_NEW_PRIVS: Final = 38
_PF_FORKNOEXEC: Final = 0x40  # linux/sched.h

T = TypeVar("T")


class Death(NamedTuple):
    """One process by wait4(2): how it ended, and how much CPU (s) and memory (peak RSS in bytes) it
    used.
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
    entries.flush()
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


def become_child(subject: str, title: str) -> None:
    """Cut what ties a fresh fork to the master."""
    atexit._clear()
    entries.rename(subject)
    set_title(title)


def send_at_masters_death(signum: int, master: int) -> None:
    """Let the kernel send `signum` to this process when the master dies (prctl(2)); in force across
    exec(2) as well.
    """
    _prctl(_PR_SET_PDEATHSIG, signum)
    if os.getppid() != master:
        # It died before the request was made, so the kernel will not send the signal.
        os.kill(os.getpid(), signum)


def leave(code: int) -> NoReturn:
    """End this process here: nothing unwinds, no atexit entry of the master runs."""
    entries.flush()
    os._exit(code)


def die_of(signum: int) -> NoReturn:
    """End by the signal, so that the parent sees it; as pid 1, where the kernel ignores it, exit
    128 + number.
    """
    entries.flush()
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


def tell_group(leader: int, signum: signal.Signals) -> None:
    """Send a signal to a process group, which may be gone."""
    with contextlib.suppress(ProcessLookupError):
        os.killpg(leader, signum)


def dump_and_die(pid: int) -> None:
    """Make a child write its tracebacks into its black box and die (SIGALRM, see signals.py)."""
    with contextlib.suppress(ProcessLookupError):
        os.kill(pid, signal.SIGALRM)


def poke(pid: int) -> None:
    """Make the parent of all masters look which of them serves."""
    with contextlib.suppress(ProcessLookupError, PermissionError):
        os.kill(pid, signal.SIGCHLD)


def reap_orphans(spared: Collection[int]) -> None:
    """Collect every process that has ended, but for those in `spared`."""
    for pid in set(own_children()) - set(spared):
        with contextlib.suppress(ChildProcessError):
            os.waitpid(pid, os.WNOHANG)


def begun_at(pid: int) -> float:
    """When a process was begun, s since the machine's boot (proc(5) stat, CLOCK_BOOTTIME; exact to
    a clock tick). Infinite for one that is gone.
    """
    try:
        facts = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return math.inf
    return int(facts.rpartition(")")[2].split()[19]) / os.sysconf("SC_CLK_TCK")


def proportional_size() -> int:
    """Memory of this process, bytes: shared pages count by the share of each (proc(5)
    smaps_rollup, Pss). Some milliseconds for a large one.
    """
    for line in Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Pss:"):
            return int(line.split()[1]) * 1024
    return 0


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


def lead_own_group() -> None:
    """Leave the master's process group: what is sent to all is not for us."""
    os.setpgid(0, 0)


def parent_of(pid: int) -> int | None:
    """The pid of a process's parent (proc(5) stat), None when it is gone."""
    with contextlib.suppress(OSError):
        return int(Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[1])
    return None


def has_executed(pid: int) -> bool:
    """True once a process that was forked has called exec(2) (PF_FORKNOEXEC, proc(5) stat)."""
    try:
        facts = Path(f"/proc/{pid}/stat").read_text()
    except OSError:
        return False
    flags = int(facts.rpartition(")")[2].split()[6])
    return not flags & _PF_FORKNOEXEC


def become_subreaper(wanted: bool = True) -> None:
    """Adopt orphans below us, so that none outlives us (prctl(2)); or do so no more."""
    _prctl(_PR_SET_CHILD_SUBREAPER, int(wanted))


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
    """The pids whose parent is this process now, adopted orphans too (proc(5)). Raises
    SystemFailure without /proc.
    """
    try:
        return children_of(os.getpid())
    except OSError as error:
        raise SystemFailure(f"/proc/self/task: {error.strerror}") from None


def has_threads() -> bool:
    """True where this process has more threads than the main one, also those of C code."""
    return len(os.listdir("/proc/self/task")) > 1


def set_title(title: str) -> None:
    """Show `title` in ps(1)."""
    _title_setter()(title)


@functools.cache
def _title_setter() -> Callable[[str], None]:
    """Imported once, in the master: not even the look at what is imported costs its children."""
    from setproctitle import setproctitle

    return setproctitle


def terminate_own_group() -> None:
    """SIGTERM to this process's whole group, CONT too, for those that are stopped; for a child
    whose master is dead, so that grandchildren hear of it.
    """
    os.killpg(os.getpgrp(), signal.SIGTERM)
    os.killpg(os.getpgrp(), signal.SIGCONT)


def kill_descendants() -> None:
    """SIGKILL to all that descends from this process, in whatever group or session, and wait for
    it. What a killed one leaves becomes our child, and is killed as well.
    """
    become_subreaper()
    while left := own_children():
        for pid in left:
            kill(pid)
            reap_one(pid)


@functools.cache
def _prctl_function() -> Callable[..., int]:
    function = ctypes.CDLL(None, use_errno=True).prctl
    function.argtypes = [ctypes.c_int] + [ctypes.c_ulong] * 4
    function.restype = ctypes.c_int
    return function


def _prctl(option: int, value: int) -> None:
    if _prctl_function()(option, value, 0, 0, 0) != 0:
        raise SystemFailure(f"prctl({option}): {os.strerror(ctypes.get_errno())}")
