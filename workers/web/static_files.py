"""Static files: from a path and the fields of a request to what is answered (RFC 9110, 12 to 14).

Nothing outside the root is shown, whatever a path or a symbolic link says, and nothing that is no
regular file. It opens files and sends nothing.
"""

from __future__ import annotations

import mimetypes
import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from email.utils import formatdate, parsedate_to_datetime
from functools import lru_cache
from typing import NamedTuple
from urllib.parse import unquote_to_bytes

Fields = list[tuple[bytes, bytes]]

# The coding, the end of the file's name beside the plain one: the first that a client takes.
_CODINGS = ((b"br", b".br"), (b"zstd", b".zst"), (b"gzip", b".gz"))
_FLAGS = os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW
_CODED = {"gzip": "application/gzip", "bzip2": "application/x-bzip2", "xz": "application/x-xz"}


@dataclass(frozen=True, slots=True)
class Answer:
    """`descriptor` is an open file, -1 = there is no body; `length` bytes of it from `at` on are
    the body. Whoever takes the answer closes it.
    """

    status: int
    fields: Fields
    descriptor: int = -1
    at: int = 0
    length: int = 0


class Mounts:
    """Directories by the prefix of a path."""

    def __init__(self, static: Mapping[str, str]) -> None:
        mounts = ((prefix.rstrip("/").encode(), Files(root)) for prefix, root in static.items())
        self._mounts = sorted(mounts, key=lambda mount: -len(mount[0]))

    def find(self, path: bytes) -> tuple[Files, bytes] | None:
        """The files of a path (percent-encoded, without query), by the longest prefix, and the path
        among them; None for what is the application's.
        """
        for prefix, files in self._mounts:
            if path.startswith(prefix + b"/") or (path == prefix and prefix):
                return files, path[len(prefix) :] or b"/"
        return None


class _Opened(NamedTuple):
    descriptor: int
    facts: os.stat_result
    coding: bytes


class Files:
    """The files below a directory."""

    def __init__(self, root: str) -> None:
        self._root = os.path.realpath(os.fsencode(root))
        self._below = self._root.rstrip(b"/") + b"/"

    def answer(self, method: str, path: bytes, named: Mapping[bytes, bytes]) -> Answer:
        """Answer for a path (percent-encoded, begins with a slash, without query)."""
        if method not in ("GET", "HEAD"):
            return Answer(405, [(b"Allow", b"GET, HEAD")])
        name = self._name(path)
        if name is None:
            return Answer(404, [])
        if not name.endswith(b"/") and os.path.isdir(name):
            return self._redirect(path, name)
        plain = name + b"index.html" if name.endswith(b"/") else name
        opened = self._open_best(plain, _accepted(named.get(b"accept-encoding", b"")))
        return Answer(404, []) if opened is None else _described(opened, plain, named)

    def _redirect(self, path: bytes, name: bytes) -> Answer:
        """The address of a directory ends with a slash, or its page's links would lead astray."""
        if not self._is_file(name + b"/index.html"):
            return Answer(404, [])
        return Answer(301, [(b"Location", b"/" + path.lstrip(b"/") + b"/")])

    def _name(self, path: bytes) -> bytes | None:
        """The file of a path, None for one that cannot lead to a file below the root."""
        decoded = unquote_to_bytes(path)
        parts = decoded.split(b"/")
        if b"\0" in decoded or b".." in parts or b"." in parts or decoded[:2] == b"//":
            return None
        return self._below + decoded.lstrip(b"/")

    def _is_file(self, name: bytes) -> bool:
        opened = self._open(name, b"")
        if opened is not None:
            os.close(opened.descriptor)
        return opened is not None

    def _open_best(self, name: bytes, accepted: frozenset[bytes]) -> _Opened | None:
        for coding, end in _CODINGS:
            if coding in accepted and (coded := self._open(name + end, coding)) is not None:
                if self._is_file(name):
                    return coded
                os.close(coded.descriptor)
        return self._open(name, b"")

    def _open(self, name: bytes, coding: bytes) -> _Opened | None:
        """None for what is not there, not a regular file, not to be read or outside the root."""
        try:
            real = os.path.realpath(name, strict=True)
            if not real.startswith(self._below):
                return None
            descriptor = os.open(real, _FLAGS)
        except (OSError, ValueError):
            return None
        facts = os.fstat(descriptor)
        if not stat.S_ISREG(facts.st_mode):
            os.close(descriptor)
            return None
        return _Opened(descriptor, facts, coding)


def _described(opened: _Opened, plain: bytes, named: Mapping[bytes, bytes]) -> Answer:
    size, modified = opened.facts.st_size, opened.facts.st_mtime
    tag = b'"%x-%x-%b"' % (opened.facts.st_mtime_ns, size, opened.coding or b"plain")
    fields: Fields = [
        (b"ETag", tag),
        (b"Last-Modified", _date(int(modified))),
        (b"Vary", b"Accept-Encoding"),
        (b"Accept-Ranges", b"bytes"),
    ]
    status = _precondition(named, tag, int(modified))
    if status:
        os.close(opened.descriptor)
        return Answer(status, fields)
    fields.append((b"Content-Type", _kind(plain)))
    if opened.coding:
        fields.append((b"Content-Encoding", opened.coding))
    span = _range(named, tag, int(modified), size)
    if span is None:
        return Answer(200, fields, opened.descriptor, 0, size)
    begin, end = span
    if begin >= end:
        os.close(opened.descriptor)
        return Answer(416, [(b"Content-Range", b"bytes */%d" % size)])
    fields.append((b"Content-Range", b"bytes %d-%d/%d" % (begin, end - 1, size)))
    return Answer(206, fields, opened.descriptor, begin, end - begin)


def _precondition(named: Mapping[bytes, bytes], tag: bytes, modified: int) -> int:
    """RFC 9110, 13.2.2: 412, 304, or 0 = go on."""
    if b"if-match" in named:
        if not _matches(named[b"if-match"], tag, is_weak=False):
            return 412
    elif b"if-unmodified-since" in named:
        since = _seconds(named[b"if-unmodified-since"])
        if since is not None and modified > since:
            return 412
    if b"if-none-match" in named:
        return 304 if _matches(named[b"if-none-match"], tag, is_weak=True) else 0
    since = _seconds(named.get(b"if-modified-since", b""))
    return 304 if since is not None and modified <= since else 0


def _matches(value: bytes, tag: bytes, *, is_weak: bool) -> bool:
    if value.strip() == b"*":
        return True
    tags = [one.strip() for one in value.split(b",")]
    return tag in tags or (is_weak and b"W/" + tag in tags)


def _range(
    named: Mapping[bytes, bytes], tag: bytes, modified: int, size: int
) -> tuple[int, int] | None:
    """First byte, and the one after the last; None = all of it. An empty one cannot be satisfied.
    More than one range is answered with all, as a server may (RFC 9110, 14.2).
    """
    value = named.get(b"range", b"").strip()
    condition = named.get(b"if-range")
    if condition is not None and condition != tag and _seconds(condition) != modified:
        return None
    unit, _, spec = value.partition(b"=")
    first, dash, last = spec.strip().partition(b"-")
    if unit.lower() != b"bytes" or not dash or not (first or last):
        return None
    if not all(one.isdigit() or not one for one in (first, last)) or len(spec) > 40:
        return None
    if not first:
        return max(0, size - int(last)), size
    if last and int(last) < int(first):
        return None
    return int(first), min(size, int(last) + 1) if last else size


def _accepted(value: bytes) -> frozenset[bytes]:
    """The codings that a client takes: those named with no q of 0."""
    found = set()
    for one in value.lower().split(b","):
        coding, _, parameter = one.partition(b";")
        weight = parameter.strip()
        if not (weight.startswith(b"q=0") and not weight[3:].strip(b".0")):
            found.add(coding.strip())
    return frozenset(found)


@lru_cache(1024)
def _kind(name: bytes) -> bytes:
    kind, coding = mimetypes.guess_type(os.fsdecode(name))
    if coding is not None:
        kind = _CODED.get(coding, "application/octet-stream")
    kind = kind or "application/octet-stream"
    if kind.startswith("text/") or kind in ("application/javascript", "application/json"):
        kind += "; charset=utf-8"
    return kind.encode()


def _date(seconds: int) -> bytes:
    return formatdate(seconds, usegmt=True).encode()


def _seconds(value: bytes) -> int | None:
    """Seconds since 1970 of a date of HTTP; None for what is none."""
    try:
        return int(parsedate_to_datetime(value.decode("ascii")).timestamp())
    except (ValueError, TypeError, OverflowError, UnicodeDecodeError):
        return None
