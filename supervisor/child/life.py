"""One child's life, from the fork to the end of its process."""

from __future__ import annotations

import contextlib
import os
import signal
import time
import traceback
from typing import TYPE_CHECKING, Final, NoReturn

from supervisor.child import news, telling
from supervisor.child.child import Child
from supervisor.child.news import News
from supervisor.errors import Exit, Stop
from supervisor.log.entries import log
from supervisor.scoreboard.layout import State
from supervisor.system import process, signals
from supervisor.system.signals import Action

if TYPE_CHECKING:
    from supervisor.child.module import Module

_BLACK_BOX_TEXT: Final = 32_768  # bytes at most


class Life:
    """Made in the master; `live` runs in the child."""

    def __init__(self, child: Child) -> None:
        self._child = child
        self._place = child.place
        self._worker = child.worker
        self._recorder = child.wakeup
        self._initialised: list[Module] = []
        self._is_open = False  # the worker
        self._printing = False

    def live(self) -> NoReturn:
        """Be this child until the end. Called right after the fork, with all signals blocked."""
        code = Exit.CRASH
        try:
            self._detach()
            code = self._work()
        except BaseException as error:
            self._put_into_black_box(error)
        finally:
            if self._child.is_orphan:
                self._leave_nothing()
            process.leave(code)

    def live_here(self) -> Exit:
        """Be this child in the master's own process (`--dont-fork`); returns what the exit code
        would be.
        """
        self._child.become_current()
        telling.begin(self._place.tempdir)
        return self._work()

    def abandon(self) -> None:
        """Close worker and modules from inside a signal handler (`--dont-fork`)."""
        self._close_worker()
        self._leave_modules(Exit.OK)

    def _detach(self) -> None:
        """Cut the ties to the master, become the slot, and only then let signals through."""
        place = self._place
        title = f"supervisor: {place.server} {place.section}[{place.rank}]"
        process.become_child(f"{place.section}/{place.slot}", title)
        place.drop_foreign()
        self._child.become_current()
        signals.dump_at_faults(place.black_box)
        self._recorder.become_child(
            {Action.STOP: self._child.tell_to_stop, Action.STATISTICS: self._print_statistics}
        )
        signals.dump_at_deadline(place.black_box)
        if not place.is_watched:  # nor does the program that it becomes
            telling.begin(place.tempdir)
        process.send_at_masters_death(signal.SIGTERM, place.master)
        signals.unblock_all()

    def _leave_nothing(self) -> None:
        """The master is dead: nobody else ends what was started below it."""
        with contextlib.suppress(BaseException):  # a signal's exception must not keep us
            if self._place.group_is_ours and self._child.claim_group():
                process.terminate_own_group()
            process.kill_descendants()

    def _work(self) -> Exit:
        """Init, ready, run, close; returns the exit code."""
        if self._worker.environment:
            os.environ.update(self._worker.environment)
        try:
            with self._recorder.stop_raised():
                for module in self._child.modules.values():
                    module.child_init(self._child)
                    self._initialised.append(module)
                self._worker.init(self._child)
        except Stop:
            return self._leave_modules(Exit.OK)
        except BaseException as error:
            self._put_into_black_box(error)
            return self._leave_modules(Exit.START_FAILED)
        self._is_open = True
        self._child.note_resources()
        if not self._place.is_watched:
            self._report_ready()
        code = self._run()
        self._close_worker()
        return self._leave_modules(code)

    def _report_ready(self) -> None:
        self._child.row.mark_ready()
        if not self._child.stopping:
            self._child.row.set_state(State.IDLE)
        if self._place.ready >= 0:
            # A master that was told to stop has closed its end: nobody waits for this child.
            with contextlib.suppress(BrokenPipeError):
                os.write(self._place.ready, news.encode(News.READY, self._place.slot))
            if self._place.limits:
                self._child.watch_itself(self._place.limits)
            else:
                os.close(self._place.ready)

    def _run(self) -> Exit:
        try:
            self._worker.run(self._child)
        except Stop:
            pass
        except BaseException as error:
            self._put_into_black_box(error)
            return Exit.CRASH
        if self._child.stopping:
            return Exit.OK
        if self._worker.may_finish:
            self._child.row.set_state(State.FINISHED)
            return Exit.OK
        kind = type(self._worker).__name__
        self._write_black_box(f"{kind}.run() returned without being told to\n")
        return Exit.CRASH

    def _close_worker(self) -> None:
        """Call `close` of a worker that was initialised, once."""
        if not self._is_open:
            return
        self._is_open = False
        try:
            self._worker.close()
        except BaseException:
            log.exception("worker close failed")

    def _leave_modules(self, code: Exit) -> Exit:
        """Call `child_exit` of what was initialised, in reverse, each once; then give back the
        rest.
        """
        while self._initialised:
            module = self._initialised.pop()
            try:
                module.child_exit(self._child)
            except BaseException:
                log.exception("child_exit failed", module=type(module).__name__)
        self._child.release_resources()
        return code

    def _print_statistics(self, _signum: signal.Signals) -> None:
        if self._printing:
            return
        self._printing = True
        row = self._child.row.view()
        log.info(
            "statistics",
            state=row.state.name.lower(),
            requests=row.requests,
            errors=row.errors,
            active=row.active,
            busy=row.busy(time.monotonic_ns()),
        )
        self._printing = False

    def _put_into_black_box(self, error: BaseException) -> None:
        self._write_black_box("".join(traceback.format_exception(error)))

    def _write_black_box(self, text: str) -> None:
        data = text.encode("utf-8", "backslashreplace")
        os.write(self._place.black_box, data[-_BLACK_BOX_TEXT:])
