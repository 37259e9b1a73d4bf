"""The judges: each looks at a server that runs, and says how many of its cases it passes."""

from __future__ import annotations

import json
import re
import subprocess
import tempfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from tests.benchmarks.contenders import ROOT
from tests.support.conformance import answers, cases

HERE: Final = Path(__file__).parent
ENVIRONMENT: Final = ROOT / ".venv-judges" / "bin"
TIMEOUT: Final = 1200.0  # s for one judge and one server
# Of Autobahn's cases: 9 measures speed; 12 and 13 send compressed messages, a thousand each, which
# lasts: where time is short only the first of each kind is sent. kosoku takes `*` for all that
# follows.
ALL: Final = ("-x", "9.*")
FEW: Final = tuple(
    f"-i{case}"
    for case in (
        *(f"{chapter}.*" for chapter in (*range(1, 8), 10)),
        *(f"12.{kind}.1" for kind in range(1, 6)),
        *(f"13.{kind}.1" for kind in range(1, 8)),
    )
)
GOOD: Final = ("OK", "NON-STRICT", "INFORMATIONAL")


@dataclass
class Score:
    """Cases passed and asked; the names of those that failed."""

    passed: int = 0
    failed: list[str] = field(default_factory=list)

    def add(self, name: str, *, is_good: bool) -> None:
        if is_good:
            self.passed += 1
        else:
            self.failed.append(name)

    def __str__(self) -> str:
        return f"{self.passed}/{self.passed + len(self.failed)}"


@dataclass(frozen=True)
class Judge:
    """Judges servers of these families with this application; `look(url, is_short)`."""

    name: str
    families: Sequence[str]
    application: str
    look: Callable[[str, bool], Score]


def websockets(url: str, is_short: bool) -> Score:
    """kosoku: Autobahn's cases of RFC 6455 and 7692."""
    options = FEW if is_short else ALL
    score = Score()
    with tempfile.TemporaryDirectory() as folder:
        place = url.removeprefix("http://")
        _run(ENVIRONMENT / "kosoku", *options, "-p", "2", "-o", folder, place)
        (found,) = json.loads((Path(folder) / "index.json").read_text()).values()
    for name, case in found.items():
        is_good = case["behavior"] in GOOD and case["behaviorClose"] in GOOD
        score.add(name, is_good=is_good)
    return score


def requests(url: str, _: bool) -> Score:
    """`tests/requests`: what RFC 9110 and 9112 say that a server MUST."""
    score = Score()
    for case in cases():
        try:
            is_good = case.allows(answers(url.replace("http", "tcp"), case))
        except (OSError, ValueError, KeyError, StopIteration):
            is_good = False  # no answer in time, or none that is understood
        score.add(case.name, is_good=is_good)
    return score


def clients(url: str, _: bool) -> Score:
    """requests, urllib3, httpx, aiohttp, curl, and what no library does."""
    score = Score()
    for line in _run(ENVIRONMENT / "python", HERE / "clients.py", url).splitlines():
        verdict, name = re.fullmatch(r"(ok|not ok) (.*)", line).groups()  # type: ignore[union-attr]
        score.add(name, is_good=verdict == "ok")
    return score


def schema(url: str, is_short: bool) -> Score:
    """schemathesis: what an API says of itself holds, whatever is sent."""
    examples = "20" if is_short else "200"
    options = ["--max-examples", examples, "--seed", "1", "--no-color"]
    said = _run(ENVIRONMENT / "schemathesis", "run", f"{url}/openapi.json", *options)
    score = Score()
    (tested,) = re.findall(r"Tested: (\d+)", said) or re.findall(r"Operations:\s+(\d+)", said)
    failures = re.findall(r"(?m)^_+ (.+?) _+$", said)
    score.passed, score.failed = int(tested) - len(failures), failures
    return score


def streams(url: str, is_short: bool) -> Score:
    """h2load: streams of HTTP/2, many on a connection, all answered."""
    count = 2_000 if is_short else 20_000
    said = _run(Path("h2load"), "-n", str(count), "-c", "4", "-m", "20", f"{url}/")
    (succeeded,) = re.findall(r"(\d+) succeeded", said)
    lost = count - int(succeeded)
    return Score(int(succeeded), ["lost"] * lost)


def _run(program: Path, *arguments: str | Path) -> str:
    """Return what it prints. It may end with any status: a judge that condemns has its own."""
    command = [str(program), *map(str, arguments)]
    with tempfile.TemporaryDirectory() as folder:  # schemathesis leaves a cache where it runs
        done = subprocess.run(
            command, capture_output=True, text=True, timeout=TIMEOUT, check=False, cwd=folder
        )
    return done.stdout or done.stderr


BOTH: Final = ("wsgi", "asgi")
JUDGES: Final = (
    Judge("WebSockets (kosoku)", ["asgi"], "served:asgi", websockets),
    Judge("RFC 9112 (own cases)", BOTH, "echoes:{family}", requests),
    Judge("wsgiref.validate", ["wsgi"], "served:validated", requests),
    Judge("clients", BOTH, "served:{family}", clients),
    Judge("API (schemathesis)", ["asgi"], "api:app", schema),
    Judge("HTTP/2 (h2load)", ["http2"], "served:asgi", streams),
)
