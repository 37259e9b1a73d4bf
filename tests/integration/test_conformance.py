"""Malformed and smuggled requests: refused, and never otherwise than by the engine alone."""

import subprocess
import sys
import time
from dataclasses import dataclass
from pathlib import Path

import pytest

from tests.support import configs
from tests.support.applications import ENGINES
from tests.support.clients import connect
from tests.support.conformance import answers, cases
from tests.support.harness import DEADLINE, PROGRAMS, Program, Server

CASES = {case.name: case for case in cases()}


@dataclass(frozen=True, kw_only=True)
class Deviation:
    """Cases that an engine, ours or alone, answers otherwise than they say: a status a response."""

    reason: str
    engines: tuple[str, ...]
    statuses: tuple[int, ...]
    cases: tuple[str, ...]


HYPER = ("rsgi",)
BROKEN_CHUNKS = (
    *(f"invalid/chunked_{number}" for number in ("01", "02", "03", "04", "10", "11", "12", "13")),
    "valid/029",
    "valid/030",
    "chunk-size-not-hexadecimal",
    "chunk-size-with-0x",
    "chunk-size-with-underscore",
    "negative-chunk-size",
    "signed-chunk-size",
    "empty-chunk-size",
    "chunk-size-beyond-64-bits",
    "space-before-chunk-size",
    "bare-lf-after-chunk-size",
    "bare-cr-after-chunk-size",
    "bare-lf-in-chunk-extension",
    "bare-lf-after-chunk",
    "chunk-longer-than-its-size",
    "nul-in-chunk-size",
)
DEVIATIONS = (
    Deviation(
        reason="Host is the application's matter: frameworks compare it with the names they allow",
        engines=HYPER,
        statuses=(200, 200),
        cases=(
            "no-host",
            "two-hosts",
            "host-with-path",
            "host-with-user",
            "host-with-space",
            "empty-host",
        ),
    ),
    Deviation(
        reason="which target suits which method is the application's matter too",
        engines=HYPER,
        statuses=(200, 200),
        cases=("asterisk-with-get",),
    ),
    Deviation(
        reason="hyper takes a name for an authority, as CONNECT has it: the path is empty",
        engines=HYPER,
        statuses=(200, 200),
        cases=("target-without-slash",),
    ),
    Deviation(
        reason="hyper drops a space after a chunk size",
        engines=HYPER,
        statuses=(200, 200),
        cases=("invalid/chunked_09", "space-after-chunk-size"),
    ),
    Deviation(
        reason="hyper looks at the last coding only",
        engines=HYPER,
        statuses=(200, 200),
        cases=("te-chunked-twice",),
    ),
    Deviation(
        reason="the head was good, so the application is running when the chunk is met: it is told "
        "of a hang-up and gives no answer, which the engine makes 500, and closes",
        engines=("rsgi",),
        statuses=(500,),
        cases=BROKEN_CHUNKS,
    ),
)
STATUSES = {
    (engine, case): deviation.statuses
    for deviation in DEVIATIONS
    for engine in deviation.engines
    for case in deviation.cases
}

LOGGED = ("sh", "-c", 'exec "$0" "$@" >&2')  # granian's log is its standard output
BIN = Path(sys.executable).parent
# The engine's own server, with the same application. A unix socket leaves no port to be chosen.
ALONE = {
    "rsgi": ["granian", "--interface", "rsgi", "--loop", "uvloop", "--uds"],
}


@pytest.fixture(scope="module")
def programs():
    """All servers of this file; ended after its last test."""
    programs: list[Program] = []
    yield programs
    assert not [complaint for program in programs for complaint in program.close()]


@pytest.fixture(scope="module")
def ours(programs, tmp_path_factory):
    """The address of our server of each engine: one server, a section each."""
    directory = tmp_path_factory.mktemp("ours")
    text = "".join(
        configs.table(
            f"workers.{engine}",
            **{**section, "app": _application(engine)},
            listen=["tcp://127.0.0.1:0"],
            children=1,
        )
        for engine, section in ENGINES.items()
    )
    programs.append(server := Server(directory, configs.write(directory, text)))
    server.wait_for("server ready ")
    return {engine: server.address(engine) for engine in ENGINES}


@pytest.fixture(scope="module")
def alone(programs, tmp_path_factory):
    """The address of each engine's own server."""
    directory = tmp_path_factory.mktemp("alone")
    addresses = {engine: f"{directory}/{engine}.sock" for engine in ALONE}
    for engine, (command, *options) in ALONE.items():
        arguments = [str(BIN / command), *options, addresses[engine], _application(engine)]
        programs.append(Program([*LOGGED, *arguments], PROGRAMS))
    for program, address in zip(programs[-len(ALONE) :], addresses.values(), strict=True):
        program.wait_for("Started worker-1")
        _until_it_listens(program, f"unix://{address}")
    return {engine: f"unix://{address}" for engine, address in addresses.items()}


def _until_it_listens(program, address):
    """Granian tells of a worker before that listens: only an attempt shows it. Between two of them
    the end of the program is waited for.
    """
    by = time.monotonic() + DEADLINE
    while True:
        try:
            return connect(address).close()
        except ConnectionRefusedError:
            assert time.monotonic() < by, program.log
        with pytest.raises(subprocess.TimeoutExpired):
            program.process.wait(0.01)


def _application(engine):
    return f"echoes:{ENGINES[engine]['type']}"


@pytest.mark.parametrize("engine", ENGINES)
@pytest.mark.parametrize("case", CASES)
def test_as_the_specification_says(ours, case, engine):
    """Malformed requests are refused once, good ones understood as meant, except DEVIATIONS."""
    got = answers(ours[engine], CASES[case])
    if (engine, case) in STATUSES:
        assert tuple(answer.status for answer in got) == STATUSES[engine, case], got
    assert CASES[case].allows(got) == ((engine, case) not in STATUSES), got


@pytest.mark.parametrize("engine", ALONE)
@pytest.mark.parametrize("case", CASES)
def test_as_the_engine_alone(ours, alone, case, engine):
    """We add nothing to an engine's understanding of HTTP, and take nothing away."""
    assert answers(ours[engine], CASES[case]) == answers(alone[engine], CASES[case])
