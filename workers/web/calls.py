"""One request in hand of a child's own loop: what is counted and logged, and what errors do.

A type gives a subclass of Call, which makes the answer. The loop calls `first`, and `next` again
and again while there is `more`; with threads, a thread of the pool does.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Sequence
from contextlib import suppress
from resource import RUSAGE_THREAD, getrusage, struct_rusage
from time import monotonic_ns
from typing import TYPE_CHECKING

from supervisor.child.child import Child
from supervisor.errors import Stop
from supervisor.scoreboard.layout import H_DRAINING, SLOW_UNTIL
from supervisor.system.clock import wall_clock
from supervisor.workers.web import access_log
from supervisor.workers.web.forwarded import Origin, Trust, joined, origin
from supervisor.workers.web.http1 import Connection, Head, Request, date_line, head_of

if TYPE_CHECKING:
    from supervisor.workers.web.client import Client, FileRange

MakeCall = Callable[["Client", Request], "Call"]

_TEXT = b"text/plain; charset=utf-8"
OUR_FAULTS = (500, 507)  # among the statuses of what is refused
_SLOW = 10_000_000  # ns: slower calls are spread over the children by the kernel
_CERTAINLY_SLOW = 100_000_000  # ns: nobody waits so long for a processor
_SECOND = _SLOW_FOR = 1_000_000_000  # ns


class Service:
    """The parts that all calls of a child have in common."""

    def __init__(
        self,
        child: Child,
        log: access_log.Log | None = None,
        trusted: Sequence[str] = (),
        request_id: str = "",
    ) -> None:
        self.child = child
        self.requests = child.served
        self.log = log
        self.trust = Trust(trusted)
        self.request_id = request_id.lower().encode()
        self.is_wary = False  # `mark` is to be called
        self._wary_until = 0  # monotonic ns
        self._before: struct_rusage | None = None
        self._block = child.block
        self.send_now: Callable[[Call, bytes], object] = _put  # what comes before the answer
        self.judges = bool(self.trust or self.request_id)  # each request is asked where it is from
        self._date, self._date_until = b"", 0  # monotonic ns

    def date(self, http: Connection, now: int, elapsed: int) -> bytes:
        """The line of the header Date, for the answer to a request that has taken so long (ns).
        Kept connections end now where this or another request of the section was slow of late, or
        the server is about to stop.
        """
        block = self._block
        if elapsed >= _SLOW and self._is_slow(now, elapsed):
            block.be_slow_until(now + _SLOW_FOR)
            http.last = True
        elif block.words[SLOW_UNTIL] > now or block.header[H_DRAINING]:
            http.last = True
        if now >= self._date_until:  # the clock is asked twice a second
            self._date, self._date_until = date_line(wall_clock() // _SECOND), now + _SECOND // 2
        return self._date

    def mark(self, now: int) -> None:
        """The loop has waited: what is used from now on is used by requests."""
        self.is_wary = now < self._wary_until
        self._before = getrusage(RUSAGE_THREAD) if self.is_wary else None

    def _is_slow(self, now: int, elapsed: int) -> bool:
        """Tell whether the request itself took so long, or the machine had no time for it, which no
        other child would change: then it has neither waited nor computed. To know that costs a
        microsecond a turn of the loop, so it is looked at after a first suspicion.
        """
        if elapsed >= _CERTAINLY_SLOW or self.child.served.lock is not None:
            return True
        before = self._before
        self._wary_until, self.is_wary = now + _SLOW_FOR, True
        if before is None:
            return False
        after = getrusage(RUSAGE_THREAD)
        computed = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
        return after.ru_nvcsw > before.ru_nvcsw or computed * 2e9 >= _SLOW

    def not_begun(self, client: Client, error: OSError) -> None:
        """Log a connection that has ended before its first request could come. Without the header
        of its proxy it is an error.
        """
        facts = {"peer": client.peer, "error": getattr(error, "reason", None) or error}
        if client.introduction is None:
            self.child.log.info("handshake failed", extra=facts)
        else:
            self.requests.account(None, True)
            self.child.log.info("connection refused", extra=facts)

    def refused(self, client: Client, status: int, reason: str) -> None:
        """Count and log a request that no application saw."""
        self.requests.account(None, True, status)
        facts = {"peer": client.peer, "status": status, "reason": reason}
        log = self.child.log.error if status in OUR_FAULTS else self.child.log.info
        log("request refused", extra=facts)


class Call:
    """One request. `begun` is the monotonic ns from which its own time counts, `timed` says whether
    it has a deadline now (supervisor.child.requests), `ended` when it was over (monotonic ns).
    """

    __slots__ = (
        "_place",
        "_since",
        "begun",
        "client",
        "closing",
        "ended",
        "failed",
        "file",
        "identity",
        "is_over",
        "more",
        "origin",
        "reason",
        "request",
        "service",
        "size",
        "status",
        "timed",
    )

    def __init__(self, service: Service, client: Client, request: Request) -> None:
        self.service = service
        self.client = client
        self.request = request
        self.timed = True
        self.status = self.size = 0  # the size is that of the body of the answer, in bytes
        self.failed = self.more = self.is_over = False  # `more`: `next` has more
        self.file: FileRange | None = None  # to be sent after what `first` returned
        self.origin: Origin | None = None
        self.identity = ""  # the id of the request
        self.reason = ""  # why nobody takes the answer any more
        self.closing: Callable[[], object] | None = None  # what to call when it has ended

    def first(self) -> bytes:
        """Call the application; return the first bytes to send."""
        service = self.service
        if service.judges:
            self._judge_origin()
        self.begun = self._since = now = monotonic_ns()
        identity = self.identity.encode() if self.identity else b""
        self._place = service.requests.enter(self, now, self.request.name, identity)
        try:
            data = self.respond()
        except (Exception, SystemExit, Stop) as error:
            data = self._excuse(error, has_sent=False)
        except BaseException:
            self.end(failed=True)
            raise
        if self.more:
            self._leave_deadline()
        else:
            self.end()
        return data

    def next(self) -> bytes:
        """The next bytes to send. Where there is no `more` afterwards, it has ended."""
        requests = self.service.requests
        if requests.has_deadline:
            self.begun, self.timed = monotonic_ns(), True
            requests.time_step(self)
        try:
            data = self.step()
        except (Exception, SystemExit, Stop) as error:
            data = self._excuse(error, has_sent=True)
        finally:
            self._leave_deadline()
        if not self.more:
            self.end()
        return data

    def _leave_deadline(self) -> None:
        """Stop the clock: the client's time is not the application's."""
        if self.timed:
            self.timed = False
            if self.service.requests.has_deadline:
                self.service.requests.end_step(self)

    def respond(self) -> bytes:
        """The type's own: the first bytes of the answer."""
        raise NotImplementedError

    def step(self) -> bytes:
        """The type's own: the next bytes. It clears `more` with the last ones."""
        raise NotImplementedError

    def cut(self) -> None:
        """The client is gone, or time is up (`reason`): nothing more is sent."""
        if not self.is_over:
            self.more = False
            facts = {"target": self._path(), "error": self.reason}
            self.service.child.log.info("request failed", extra=facts)
            self.end(failed=True)

    def end(self, *, failed: bool = False) -> None:
        """Count it, log it, and give back what it holds."""
        if self.is_over:
            return
        self.is_over = True
        if self.closing is not None:
            self._close(self.closing)
        service, status = self.service, self.status or 500
        self.ended = now = monotonic_ns()
        elapsed = now - self._since
        failed = failed or self.failed or status >= 500
        service.requests.leave(self, now, elapsed, failed, self._place, status)
        if service.log is not None:
            self._log(service.log, elapsed / 1e9)

    def _close(self, closing: Callable[[], object]) -> None:
        self.closing = None
        try:
            closing()
        except (Exception, SystemExit) as error:
            self.failed = True
            self.service.child.log.error("request failed", exc_info=error)

    def head(self, head: Head, length: int | None = None) -> bytes:
        """The head of the answer. Raises InvalidAnswer."""
        http, now = self.client.http, monotonic_ns()
        self.status = head.status
        if self.identity:
            head = self._identified(head)
        return http.answer(head, self.service.date(http, now, now - self.begun), length)

    def whole(self, head: Head, body: bytes) -> bytes:
        """An answer whose body is there. Raises InvalidAnswer."""
        http, now = self.client.http, monotonic_ns()
        self.status = head.status
        self.size = len(body)
        if self.identity:
            head = self._identified(head)
        return http.whole(head, body, self.service.date(http, now, now - self.begun))

    def _identified(self, head: Head) -> Head:
        return head.plus(self.service.request_id, self.identity.encode("latin-1"))

    def plain(self, status: int, text: str) -> bytes:
        """A whole answer of one line."""
        return self.whole(head_of(status, [(b"Content-Type", _TEXT)]), text.encode() + b"\n")

    def _excuse(self, error: BaseException, *, has_sent: bool) -> bytes:
        """An error of the application: 500 where nothing was sent, else the connection ends. Stop,
        raised where it waited, is one too: it ends this request, the loop goes on to drain.
        """
        self.failed = True
        self.more = False
        self.file = None
        facts = {"target": self._path()}
        self.service.child.log.error("request failed", exc_info=error, extra=facts)
        http = self.client.http
        if has_sent:
            http.break_off()
            return b""
        http.withdraw()
        return self.plain(500, "500 Internal Server Error")

    def _judge_origin(self) -> None:
        service, client, request = self.service, self.client, self.request
        if service.trust:
            scheme = "https" if client.is_secure else "http"
            fields = joined(request.fields)
            self.origin = origin(client.peer, client.port, scheme, fields, service.trust)
        if service.request_id:
            given = request.named.get(service.request_id, b"").decode("latin-1")
            is_trusted = given and service.trust.trusts(client.peer)
            self.identity = given if is_trusted else secrets.token_hex(16)

    @property
    def facts(self) -> dict[str, object]:
        """The facts that name it in the log."""
        facts: dict[str, object] = {"method": self.request.method, "path": self._path()}
        if self.identity:
            facts["request_id"] = self.identity
        return facts

    def _path(self) -> str:
        return self.request.raw_target.partition(b"?")[0].decode("latin-1")

    def _log(self, log: access_log.Log, seconds: float) -> None:
        request = self.request
        served = access_log.Served(
            client=self.origin.client if self.origin else self.client.peer,
            method=request.method,
            target=request.raw_target.decode("latin-1"),
            protocol="HTTP/1.1" if request.is_http11 else "HTTP/1.0",
            status=self.status or 500,
            size=self.size,
            fields=request.named,
            request_id=self.identity,
        )
        log.write(wall_clock() / 1e9 - seconds, seconds, served)


def _put(call: Call, data: bytes) -> None:
    with suppress(OSError):  # its client is gone, which is seen when the answer is sent
        call.client.put(data)
