"""Measure the application types against other servers: `python -m tests.benchmarks.engines`.

All servers of a comparison run at once, two children each; wrk loads them in turns of a second, so
that what disturbs the machine disturbs all. Rates are medians; CPU is that of the children.
"""

import argparse
import itertools
import re
import shutil
import socket
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import NamedTuple

import psutil

BIN = Path(sys.executable).parent
PROGRAMS = Path(__file__).parents[1] / "programs"
DEADLINE = 30.0  # s
CLOSE = ("-H", "Connection: close")

Command = Sequence[str]


class Server(NamedTuple):
    """A running server under load."""

    name: str
    port: int
    process: psutil.Process


class Turn(NamedTuple):
    """What one turn of load gave: requests a second, microseconds of CPU a request."""

    rate: float
    cpu: float


def commands(port: int, directory: Path, children: int) -> dict[str, dict[str, Command]]:
    """How each server is started on a port, by comparison and name; ours comes first."""
    bind, many = f"127.0.0.1:{port}", str(children)
    granian = ["granian", "--workers", many, "--port", str(port), "--no-access-log"]
    gunicorn = ["gunicorn", "-w", many, "-b", bind, "--log-level", "error"]
    uvicorn = [*gunicorn, "-k", "uvicorn.workers.UvicornWorker"]

    def ours(kind: str, **values: str) -> Command:
        config = directory / f"{kind}-{port}.toml"
        more = "".join(f'{key} = "{value}"\n' for key, value in values.items())
        config.write_text(
            f'[master]\nruntime_directory = "{config.with_suffix(".run")}"\n'
            f'working_directory = "{PROGRAMS}"\n[workers.web]\ntype = "{kind}"\n'
            f'app = "applications:{kind}"\nchildren = {children}\nlisten = ["tcp://{bind}"]\n{more}'
        )
        return ["supervisor", "start", "-c", str(config), "--set", "log.level=error"]

    asgi = ["--interface", "asgi", "--loop", "uvloop", "applications:asgi"]
    return {
        "wsgi": {
            "supervisor": ours("wsgi"),
            "granian": [*granian, "--interface", "wsgi", "applications:wsgi"],
            "gunicorn sync": [*gunicorn, "applications:wsgi"],
        },
        "asgi": {
            "supervisor": ours("asgi"),
            "supervisor, engine granian": ours("asgi", engine="granian"),
            "granian": [*granian, *asgi],
            "gunicorn, uvicorn": [*uvicorn, "applications:asgi"],
        },
    }


def free_port() -> int:
    """A port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextmanager
def running(kind: str, name: str, directory: Path, children: int) -> Iterator[Server]:
    """A server that answers, ended afterwards."""
    port = free_port()
    command = commands(port, directory, children)[kind][name]
    process = subprocess.Popen(
        [str(BIN / command[0]), *command[1:]],
        cwd=PROGRAMS,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    try:
        wait_for_answer(port, process)
        yield Server(name, port, psutil.Process(process.pid))
    finally:
        end(process)


def end(process: subprocess.Popen[bytes]) -> None:
    """Stop a server; not each of the others ends by itself with many children."""
    tree = psutil.Process(process.pid).children(recursive=True)
    process.terminate()
    try:
        process.wait(DEADLINE)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()
        for child in psutil.wait_procs(tree, timeout=0)[1]:
            child.kill()


def wait_for_children(server: Server, children: int) -> None:
    """Wait until all have been started, and a moment more for them to load the application."""
    while len(server.process.children(recursive=True)) < children:
        time.sleep(0.1)
    time.sleep(3)


def wait_for_answer(port: int, process: subprocess.Popen[bytes]) -> None:
    """Connect until somebody answers: other servers do not say when they are ready."""
    by = time.monotonic() + DEADLINE
    while time.monotonic() < by and process.poll() is None:
        try:
            with socket.create_connection(("127.0.0.1", port), DEADLINE) as connection:
                connection.sendall(b"GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
                if connection.recv(1):
                    return
        except ConnectionError:
            time.sleep(0.05)
    raise SystemExit(f"no answer on port {port}")


def turn(server: Server, options: Command, seconds: int) -> Turn:
    """Load one server for so long."""
    before = cpu(server)
    command = ["wrk", "-t1", "-c32", f"-d{seconds}s", *options, f"http://127.0.0.1:{server.port}/"]
    said = subprocess.run(command, capture_output=True, text=True, check=True).stdout
    requests = int(re.search(r"(\d+) requests in", said)[1])  # type: ignore[index]
    rate = float(re.search(r"Requests/sec:\s+([\d.]+)", said)[1])  # type: ignore[index]
    return Turn(rate, (cpu(server) - before) / max(requests, 1) * 1e6)


def cpu(server: Server) -> float:
    """Seconds that the children have used."""
    times = [child.cpu_times() for child in server.process.children(recursive=True)]
    return sum(used.user + used.system for used in times)


def compare(kind: str, options: Command, rounds: int, directory: Path) -> Iterator[str]:
    """Lines of a table: each server's rate and CPU, and its ratios to ours' turn by turn."""
    names = list(commands(0, directory, 2)[kind])
    with ExitStack() as stack:
        servers = [stack.enter_context(running(kind, name, directory, 2)) for name in names]
        turns: dict[str, list[Turn]] = {name: [] for name in names}
        for number, server in itertools.product(range(rounds + 1), servers):
            taken = turn(server, options, 1)
            turns[server.name] += [taken] if number else []
    ours = turns[names[0]]
    for name in names:
        rate = statistics.median(one.rate for one in turns[name])
        used = statistics.median(one.cpu for one in turns[name])
        rates = statistics.median(a.rate / b.rate for a, b in zip(ours, turns[name], strict=True))
        costs = statistics.median(a.cpu / b.cpu for a, b in zip(ours, turns[name], strict=True))
        yield f"{name:28} {rate:9.0f}/s {used:7.1f} us   {rates:5.2f} x rate   {costs:5.2f} x CPU"


def memory(kind: str, directory: Path, children: int) -> Iterator[str]:
    """Lines of a table: the proportional size of all processes of a server, in MB."""
    for name in list(commands(0, directory, children)[kind])[:3]:
        with running(kind, name, directory, children) as server:
            wait_for_children(server, children)
            tree = [server.process, *server.process.children(recursive=True)]
            size = sum(process.memory_full_info().pss for process in tree) / 1e6
            yield f"{name:28} {size:9.1f} MB for {children} children"


def idle(kind: str, directory: Path, children: int, seconds: float) -> Iterator[str]:
    """Lines of a table: how often an idle server's threads woke up."""
    for name in list(commands(0, directory, children)[kind])[:3]:
        with running(kind, name, directory, children) as server:
            wait_for_children(server, children)
            before = wakeups(server)
            time.sleep(seconds)
            yield f"{name:28} {wakeups(server) - before:9} wake-ups in {seconds:.0f} s"


def wakeups(server: Server) -> int:
    """Voluntary context switches of all threads so far."""
    total = 0
    for process in [server.process, *server.process.children(recursive=True)]:
        for status in Path(f"/proc/{process.pid}/task").glob("*/status"):
            found = re.search(r"\nvoluntary_ctxt_switches:\s+(\d+)", status.read_text())
            total += int(found[1]) if found else 0
    return total


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.benchmarks.engines", description=__doc__)
    parser.add_argument("--rounds", type=int, default=9, help="turns of a second for each server")
    parser.add_argument("--only", choices=("wsgi", "asgi"), help="this type alone")
    arguments = parser.parse_args()
    if shutil.which("wrk") is None:
        print("needs wrk, a Debian package of that name", file=sys.stderr)
        return 1
    with tempfile.TemporaryDirectory() as name:
        for kind in (arguments.only,) if arguments.only else ("wsgi", "asgi"):
            report(kind, arguments.rounds, Path(name))
    return 0


def report(kind: str, rounds: int, directory: Path) -> None:
    """Print all tables of one type."""
    tables = {
        "kept connections": compare(kind, (), rounds, directory),
        "a connection a request": compare(kind, CLOSE, rounds, directory),
        "memory": memory(kind, directory, 32),
        "idle": idle(kind, directory, 32, 10.0),
    }
    for title, lines in tables.items():
        print(f"\n{kind}: {title}", flush=True)
        for line in lines:
            print(line, flush=True)


if __name__ == "__main__":
    sys.exit(main())
