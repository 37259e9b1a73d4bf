"""Who takes part, and how each is started: peers as their own documentation advises for production.

Commands and configuration files are templates; those of peers are in `served/`.
"""

import os
import shutil
import sys
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Final, Literal

Loads = Literal["in each child", "in the master", "nowhere"]
IN_MASTER: Final = "in the master"
ROOT: Final = Path(__file__).parents[2]
SERVED: Final = Path(__file__).with_name("served")
ENVIRONMENT: Final = ROOT / ".venv-peers" / "bin"
OWN: Final = Path(sys.executable).parent
# Another checkout of this project, with its own .venv: to compare with how it was.
BEFORE: Final = os.environ.get("BENCH_BEFORE", "")

ANSWERS_HTTP: Final = ("wsgi", "asgi", "tcp", "no Python")
# What a datagram server is asked.
QUESTIONS: Final = {
    "udp echo": b"x" * 64,
    "udp sip": b"OPTIONS sip:me@127.0.0.1 SIP/2.0\r\n"
    b"Via: SIP/2.0/UDP 127.0.0.1:5061;branch=z9hG4bK-1\r\n"
    b"From: <sip:tester@127.0.0.1>;tag=1\r\nTo: <sip:me@127.0.0.1>\r\n"
    b"Call-ID: 1@127.0.0.1\r\nCSeq: 1 OPTIONS\r\nMax-Forwards: 70\r\nContent-Length: 0\r\n\r\n",
}

UWSGI: Final = (
    "uwsgi --http-socket 127.0.0.1:$port --add-header Connection:close --listen 2048"
    " --processes $children --master --die-on-term --strict --need-app --single-interpreter"
    " --vacuum --disable-logging --module hello:wsgi"
)
UVICORN: Final = "uvicorn --host 127.0.0.1 --port $port --workers $children --no-access-log"
NGINX: Final = "nginx -e stderr -c $config"
EXEC: Final = 'type = "exec"\ncommand = ["/bin/sh", "$served/block.sh", "$fifo"]\n'


@dataclass(frozen=True, slots=True)
class Contender:
    """One server in one set-up; `config` is a file in `served/`, `section` what follows it.

    `loads`: where the served module is imported; the announcements that readiness waits for follow
    from it. `says` is what it must have printed as well. `package` names its version, `only` the
    measures it is in, where it is not in all.
    """

    name: str
    side: Literal["ours", "floor", "peer"]
    family: str
    command: str
    package: str
    config: str = ""
    section: str = ""
    loads: Loads = "in each child"
    says: str = ""
    only: tuple[str, ...] = ()

    def template(self) -> str:
        """The text of its configuration file; empty for one that has none."""
        return (SERVED / self.config).read_text() + self.section if self.config else ""

    def program(self) -> Path | None:
        """The file to execute; None when it is not installed."""
        name = self.command.split(maxsplit=1)[0]
        directory = ENVIRONMENT if self.side == "peer" else OWN
        found = shutil.which(name, path=directory) or shutil.which(name, path="/usr/sbin:/usr/bin")
        return Path(found) if found else None


def ours(name: str, section: str, family: str = "", loads: Loads = IN_MASTER, **rest: Any) -> Any:
    """Ours is held to its own word as well: it says that it is ready when every child is."""
    facts = {"config": "ours.toml", "section": section, "loads": loads, "says": "server ready "}
    named = (f"supervisor {name}", "ours", family or name, "supervisor start -c $config")
    return Contender(*named, "prefork-supervisor", **facts, **rest)


def listening(kind: str, key: str, value: str) -> str:
    """The section of a type that listens."""
    scheme = "udp" if kind == "udp" else "tcp"
    return f'type = "{kind}"\n{key} = {value}\nlisten = ["{scheme}://127.0.0.1:$port"]\n'


def floor(name: str, family: str, arguments: str, loads: Loads) -> Contender:
    """The same work, children and system calls in a loop of some lines that supervises nothing."""
    command = f"python $served/floor.py $children $port {arguments}"
    return Contender(name, "floor", family, command, "", loads=loads, says="ready ")


def peer(name: str, family: str, command: str, package: str = "", **rest: Any) -> Contender:
    return Contender(name, "peer", family, command, package or command.split()[0], **rest)


def gunicorn(name: str, family: str, options: str, **rest: Any) -> Contender:
    command = f"gunicorn -w $children -b 127.0.0.1:$port {options} hello:{family}"
    return peer(f"gunicorn{name}", family, command, **rest)


def granian(family: str, options: str) -> Contender:
    command = "granian --host 127.0.0.1 --port $port --workers $children"
    options = f"--respawn-failed-workers --interface {family}{options}"
    return peer(f"granian {family}", family, f"{command} {options} hello:{family}")


def before() -> tuple[Contender, ...]:
    """Ours, as another checkout has it."""
    if not BEFORE:
        return ()
    now = ours("tcp", listening("tcp", "handler", '"hello:tcp"'), only=("lives",))
    command = f"{BEFORE}/.venv/bin/{now.command}"
    return (replace(now, name="before", side="peer", package="", command=command),)


SAMPLER: Final = listening("tests.benchmarks.served.sampler:Sampler", "request_timeout", "0.0")
LOADED, LIVING = ("throughput", "graceful"), ("start", "standing")
WSGI: Final = listening("wsgi", "app", '"hello:wsgi"')
CONTENDERS: Final = (
    ours("wsgi", WSGI),
    ours("wsgi, keep_alive 0", f"{WSGI}keep_alive = 0.0\n", "wsgi", only=LOADED),
    gunicorn(" sync", "wsgi", "-k sync"),
    gunicorn(" sync, preload", "wsgi", "-k sync --preload", loads=IN_MASTER, only=LIVING),
    gunicorn(" gthread", "wsgi", "-k gthread --threads 4"),
    granian("wsgi", ""),
    peer("uwsgi", "wsgi", UWSGI, loads=IN_MASTER),
    ours("asgi", listening("asgi", "app", '"hello:asgi"')),
    peer("uvicorn", "asgi", f"{UVICORN} hello:asgi"),
    gunicorn(", uvicorn worker", "asgi", "-k uvicorn_worker.UvicornWorker"),
    granian("asgi", " --loop uvloop"),
    peer("hypercorn", "asgi", "hypercorn -b 127.0.0.1:$port -w $children -k uvloop hello:asgi"),
    ours("tcp", listening("tcp", "handler", '"hello:tcp"')),
    floor("floor", "tcp", "tcp hello:tcp", IN_MASTER),
    ours("udp echo", listening("udp", "handler", '"hello:udp"')),
    floor("floor udp echo", "udp echo", "udp hello:udp", IN_MASTER),
    ours("udp sip", listening("udp", "handler", '"conf.examples.sip:reply"'), loads="nowhere"),
    floor("floor udp sip", "udp sip", "udp conf.examples.sip:reply", "nowhere"),
    ours("exec", EXEC, "programs", "in each child"),
    floor("floor exec", "programs", "exec $served/block.sh $fifo", "in each child"),
    peer(
        "supervisord", "programs", "supervisord -c $config", "supervisor", config="supervisord.conf"
    ),
    peer("circus", "programs", "circusd $config", "circus", config="circus.ini"),
    Contender("nginx", "floor", "no Python", NGINX, "nginx", "nginx.conf", "", "nowhere"),
    ours("statistics", SAMPLER, loads="nowhere"),
    ours("statistics, deadline", SAMPLER.replace("0.0", "60.0", 1), "statistics", "nowhere"),
    *before(),
)


def missing() -> dict[str, str]:
    """Why a contender cannot take part here, by its name."""
    return {
        one.name: f"{one.command.split()[0]} is not installed"
        for one in CONTENDERS
        if one.program() is None
    }
