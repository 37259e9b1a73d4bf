"""Where the reading half stands, what it tells, and where a head ends."""

from __future__ import annotations

import re
from enum import IntEnum
from typing import Final

from supervisor.workers.web.http1.request import Refusal, Request


class Reading(IntEnum):
    """Where the machine stands in the client's bytes."""

    IDLE = 0  # nothing of a request has come
    HEAD = 1
    METHOD = 2  # the method is refused; whether it is one at all cannot be seen yet
    LENGTH = 3  # in a body of known length
    CHUNK_SIZE = 4
    CHUNK = 5
    TRAILERS = 6
    ENDING = 7  # the body is whole, which is to be told
    DONE = 8  # the request is whole
    FAULTY = 9
    GIVEN_UP = 10


class End:
    """The event that a body is whole: there is one, END."""

    def __repr__(self) -> str:
        return "END"


END: Final = End()
Event = Request | Refusal | bytes | End

IDLE, HEAD, METHOD, LENGTH, CHUNK_SIZE, CHUNK, TRAILERS, ENDING, DONE, FAULTY, GIVEN_UP = Reading


_TOKEN = rb"[!#$%&'*+\-.^_`|~0-9A-Za-z]"
METHOD_SO_FAR: Final = re.compile(_TOKEN + rb"*")
# RFC 9112, 7.1.1, with the "bad" white space that a recipient has to remove, and llhttp refuses.
EXTENDED_SIZE: Final = re.compile(
    rb"([0-9A-Fa-f]+)(?:[ \t]*;[ \t]*%(t)b+"
    rb'(?:[ \t]*=[ \t]*(?:%(t)b+|"(?:[^"\\\x00-\x08\x0a-\x1f\x7f]|\\[^\x00-\x08\x0a-\x1f\x7f])*"))?'
    rb")+\r\n" % {b"t": _TOKEN}
)


def end_of_head(before: bytes, data: bytes) -> int:
    """How many bytes of `data` belong to the head that began with `before`."""
    overlap = before[-3:]
    found = (overlap + data).find(b"\r\n\r\n")
    return len(data) if found < 0 else found + 4 - len(overlap)


def is_over(head: bytes) -> bool:
    """True where nothing follows, though llhttp waits: also behind a line of HTTP/0.9."""
    return head.endswith(b"\r\n\r\n") or _lacks_version(head)


def _lacks_version(head: bytes) -> bool:
    line, end, _ = head.partition(b"\r\n")
    return bool(end) and line.count(b" ") < 2


def status_of(reason: str, head: bytes) -> int:
    """The answer to a head that llhttp has refused, but for its method."""
    if reason == "Invalid HTTP version" or head.startswith(b"PRI "):
        return 505
    is_coding = reason.startswith("Request has invalid `Transfer-Encoding`")
    return 501 if is_coding and not _lacks_version(head) else 400


def too_long(head: bytes) -> Refusal:
    """The refusal of a head beyond header_limit: 414 where it is the request line that is long."""
    if b"\r\n" in head:
        return Refusal(431, "head too long")
    return Refusal(414, "request line too long")
