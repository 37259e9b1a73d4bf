"""Who takes part, and how each is started: as its own documentation advises for production.

Commands and configuration files are templates; reports show them as they stand here.
"""

import shutil
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

Family = Literal["wsgi", "asgi", "programs", "floor"]

ENVIRONMENT = Path(__file__).parents[3] / ".venv-peers" / "bin"
OWN = Path(sys.executable).parent

OURS_APPLICATION = """\
name = "bench"
[master]
runtime_directory = "$directory/run"
restart = "on-crash"
[workers.web]
type = "{kind}"
app = "hello:{kind}"
children = $children
listen = ["tcp://127.0.0.1:$port"]
"""
OURS_PROGRAMS = """\
name = "bench"
[master]
runtime_directory = "$directory/run"
[workers.web]
type = "exec"
command = ["/bin/sh", "$served/block.sh", "$fifo"]
children = $children
"""
SUPERVISORD = """\
[supervisord]
nodaemon = true
logfile = NONE
pidfile = $directory/pid
[program:web]
command = /bin/sh $served/block.sh $fifo
process_name = web_%(process_num)03d
numprocs = $children
stdout_logfile = NONE
stderr_logfile = NONE
"""
CIRCUS = """\
[circus]
endpoint = ipc://$directory/endpoint
pubsub_endpoint = ipc://$directory/pubsub
[watcher:web]
cmd = /bin/sh $served/block.sh $fifo
numprocesses = $children
"""
NGINX = """\
daemon off;
pid $directory/pid;
worker_processes $children;
error_log stderr error;
events { worker_connections 1024; }
http {
    access_log off;
    client_body_temp_path $directory/body;
    proxy_temp_path $directory/proxy;
    fastcgi_temp_path $directory/fastcgi;
    uwsgi_temp_path $directory/uwsgi;
    scgi_temp_path $directory/scgi;
    server {
        listen 127.0.0.1:$port backlog=2048;
        location / { default_type text/plain; return 200 "hello"; }
    }
}
"""


@dataclass(frozen=True, slots=True, kw_only=True)
class Contender:
    """One server in one set-up.

    `loads`: where the served module is imported; the announcements that readiness waits for follow
    from it. `says` is a line that it must have printed as well. `package` names its version, `only`
    the measures it is in, where it is not in all.
    """

    name: str
    family: Family
    package: str
    command: str
    config: str = ""
    loads: Literal["in each child", "in the master", "nowhere"] = "in each child"
    says: str = ""
    is_ours: bool = False
    only: tuple[str, ...] = ()

    def program(self) -> Path | None:
        """The file to execute; None when it is not installed."""
        name = self.command.split(maxsplit=1)[0]
        directory = OWN if self.is_ours else ENVIRONMENT
        found = shutil.which(name, path=directory) or shutil.which(name, path="/usr/sbin:/usr/bin")
        return Path(found) if found else None


def ours(name: str, family: Family, config: str, *only: str) -> Contender:
    """Ours is held to its own word as well: it says that it is ready when every child is."""
    return Contender(
        name=name,
        family=family,
        package="prefork-supervisor",
        command="supervisor start -c $config",
        config=config,
        loads="in each child" if family == "programs" else "in the master",
        says="server ready ",
        is_ours=True,
        only=only,
    )


def gunicorn(name: str, family: Family, options: str, **rest: Any) -> Contender:
    command = f"gunicorn -w $children -b 127.0.0.1:$port {options} hello:{family}"
    return Contender(name=name, family=family, package="gunicorn", command=command, **rest)


def granian(family: Family, options: str) -> Contender:
    return Contender(
        name=f"granian {family}",
        family=family,
        package="granian",
        command="granian --host 127.0.0.1 --port $port --workers $children --respawn-failed-workers"
        f" --interface {family}{options} hello:{family}",
    )


CONTENDERS = (
    ours("supervisor wsgi", "wsgi", OURS_APPLICATION.format(kind="wsgi")),
    ours(
        "supervisor wsgi, keep_alive 0",
        "wsgi",
        OURS_APPLICATION.format(kind="wsgi") + "keep_alive = 0.0\n",
        "throughput",
        "graceful",
    ),
    gunicorn("gunicorn sync", "wsgi", "-k sync"),
    gunicorn(
        "gunicorn sync, preload",
        "wsgi",
        "-k sync --preload",
        loads="in the master",
        only=("start", "standing"),
    ),
    gunicorn("gunicorn gthread", "wsgi", "-k gthread --threads 4"),
    granian("wsgi", ""),
    Contender(
        name="uwsgi",
        family="wsgi",
        package="uwsgi",
        command="uwsgi --http-socket 127.0.0.1:$port --add-header Connection:close --listen 2048"
        " --processes $children --master --die-on-term --strict --need-app --single-interpreter"
        " --vacuum --disable-logging --module hello:wsgi",
        loads="in the master",
    ),
    ours("supervisor asgi", "asgi", OURS_APPLICATION.format(kind="asgi")),
    Contender(
        name="uvicorn",
        family="asgi",
        package="uvicorn",
        command="uvicorn --host 127.0.0.1 --port $port --workers $children --no-access-log"
        " hello:asgi",
    ),
    gunicorn("gunicorn, uvicorn worker", "asgi", "-k uvicorn_worker.UvicornWorker"),
    granian("asgi", " --loop uvloop"),
    Contender(
        name="hypercorn",
        family="asgi",
        package="hypercorn",
        command="hypercorn -b 127.0.0.1:$port -w $children -k uvloop hello:asgi",
    ),
    ours("supervisor exec", "programs", OURS_PROGRAMS),
    Contender(
        name="supervisord",
        family="programs",
        package="supervisor",
        command="supervisord -c $config",
        config=SUPERVISORD,
    ),
    Contender(
        name="circus",
        family="programs",
        package="circus",
        command="circusd $config",
        config=CIRCUS,
    ),
    Contender(
        name="nginx",
        family="floor",
        package="nginx",
        command="nginx -e stderr -c $config",
        config=NGINX,
        loads="nowhere",
    ),
)


def missing() -> dict[str, str]:
    """Why a contender cannot take part here, by its name."""
    return {
        contender.name: f"{contender.command.split()[0]} is not installed"
        for contender in CONTENDERS
        if contender.program() is None
    }
