"""Shared by the tests of HTTP conformance: the published requests, and the answers to each."""

from __future__ import annotations

import contextlib
import json
import re
import tomllib
from dataclasses import dataclass
from itertools import takewhile
from pathlib import Path
from typing import Any

from httptools import HttpResponseParser

from tests.support.clients import connect

REQUESTS = Path(__file__).parents[1] / "requests"
# Follows each case on its connection: who answers it has kept the connection, and in step.
NEXT = b"GET /next HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"
NEXT_SEEN = "GET /next "


@dataclass(frozen=True, kw_only=True)
class Case:
    """Bytes for a connection, and what has to become of them. tests/requests/README.md."""

    name: str
    data: bytes
    sees: tuple[str, ...] = ()
    then: str = "refused"
    may_refuse: bool = False

    def allows(self, answers: list[Answer]) -> bool:
        """Tell whether a server that keeps to the specification may answer so."""
        served = tuple(answer.seen for answer in takewhile(Answer.is_served, answers))
        refusals = answers[len(served) :]
        following = (NEXT_SEEN,) if self.then == "next" else ()
        if self.then != "refused" and served == self.sees + following:
            return not refusals
        before = () if self.may_refuse else self.sees
        may_refuse = self.may_refuse or self.then == "refused"
        return may_refuse and served == before and _is_refusal(refusals)


@dataclass(frozen=True)
class Answer:
    """One response: its status and, where it is the application's, the request it has seen."""

    status: int
    seen: str | None = None
    headers: tuple[tuple[str, str], ...] = ()

    def is_served(self) -> bool:
        """True where the application has answered."""
        return self.seen is not None


def _is_refusal(answers: list[Answer]) -> bool:
    """True for one refusal, or a close without a word."""
    statuses = [answer.status for answer in answers]
    return len(statuses) <= 1 and all(400 <= s < 500 or s in (501, 505) for s in statuses)


def cases() -> list[Case]:
    """Return all cases: gunicorn's and those of RFC 9112."""
    return [*_published(), *_specified()]


def _published() -> list[Case]:
    """gunicorn's files: line ends are nothing, those of the request are written as escapes."""
    known = tomllib.loads((REQUESTS / "gunicorn.toml").read_text())
    return [
        Case(
            name=name,
            data=_with_host(_unescaped(file.read_bytes()), known.get(name, {})),
            **_facts(known.get(name, {})),
        )
        for file in sorted((REQUESTS / "gunicorn").glob("*valid/*.http"))
        for name in [f"{file.parent.name}/{file.stem}"]
    ]


def _unescaped(text: bytes) -> bytes:
    data = text.replace(b"\n", b"").replace(b"\\r\\n", b"\r\n")
    return data.replace(b"\\0", b"\0").replace(b"\\n", b"\n").replace(b"\\t", b"\t")


def _with_host(data: bytes, facts: dict[str, Any]) -> bytes:
    """Without Host a request of HTTP/1.1 is refused for that alone (rfc9112.toml: no-host)."""
    if b"host:" in data.lower() or facts.get("is_sent_as_it_is"):
        return data
    return re.sub(rb"( HTTP/1\.1\r\n)", rb"\1Host: x\r\n", data)


def _specified() -> list[Case]:
    facts = tomllib.loads((REQUESTS / "rfc9112.toml").read_text())
    return [
        Case(name=one["name"], data="\r\n".join(one["send"]).encode("latin-1"), **_facts(one))
        for one in facts["case"]
    ]


def _facts(entry: dict[str, Any]) -> dict[str, Any]:
    facts = {key: entry[key] for key in ("then", "may_refuse") if key in entry}
    return facts | {"sees": tuple(entry.get("sees", ()))}


def answers(address: str, case: Case) -> list[Answer]:
    """Send a case and one more request; return the responses up to the end of the connection."""
    reader = _Reader()
    with connect(address) as connection, contextlib.suppress(ConnectionError):
        connection.sendall(case.data + NEXT)
        while data := connection.recv(65536):
            reader.parser.feed_data(data)
    return [_answer(status, bytes(body)) for status, body in reader.responses]


def _answer(status: int, body: bytes) -> Answer:
    if status != 200:
        return Answer(status)
    report = json.loads(body)
    return Answer(status, report["seen"], tuple(map(tuple, report["headers"])))


class _Reader:
    """Takes apart what comes on one connection; a response may end with it."""

    def __init__(self) -> None:
        self.parser = HttpResponseParser(self)
        self.responses: list[tuple[int, bytearray]] = []

    def on_headers_complete(self) -> None:
        self.responses.append((self.parser.get_status_code(), bytearray()))

    def on_body(self, data: bytes) -> None:
        self.responses[-1][1].extend(data)
