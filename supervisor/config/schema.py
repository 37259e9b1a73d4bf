"""Every key of the configuration, with its type, its default and its one text.

The texts (`Meta.description`) are all there is: `supervisor types`, the reference file, the manual
and completion are made from them. `examples` is needed where a key has no default; `extra` has the
unit, which a type such as Timeout brings along. This file knows words and numbers only: no sockets,
no imported objects, no operating system.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from supervisor.config.address import Listen

Table = Mapping[str, Any]


Seconds = Annotated[float, Meta(ge=0, le=31_536_000, extra={"unit": "s"})]
Timeout = Annotated[float, Meta(gt=0, le=31_536_000, extra={"unit": "s"})]
Bytes = Annotated[int, Meta(ge=0, extra={"unit": "bytes"})]
Umask = Annotated[str, Meta(pattern="^(0o?)?[0-7]{3}$")]
Mode = Annotated[str, Meta(pattern="^(0o?)?[0-7]{3}$|^$")]

_MARGIN: Final = 5.0  # s beyond the deadlines of a stop


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every table: frozen, keyword only, unknown keys refused."""


class RenewOptions(Options, frozen=True):
    """When a generation is replaced by the next one, without losing a request; with a jitter of a
    tenth.
    """

    every: Annotated[Seconds, Meta(description="at that age; 0 = never")] = 0.0
    requests: Annotated[
        int, Meta(ge=0, description="when one child has had so many; 0 = never")
    ] = 0
    memory: Annotated[
        int, Meta(ge=0, description="when one child has so many bytes of PSS; 0 = never")
    ] = 0


class MasterOptions(Options, frozen=True):
    """`[master]`."""

    user: Annotated[
        str, Meta(description='the user that the server becomes after binding; "" = who started it')
    ] = ""
    group: Annotated[str, Meta(description='likewise; "" = that user\'s own group')] = ""
    umask: Annotated[
        Umask, Meta(description="octal; the permissions that new files do not get")
    ] = "0022"
    working_directory: Annotated[
        str, Meta(description='"" = where it was started; put first on sys.path')
    ] = ""
    preload: Annotated[
        tuple[str, ...],
        Meta(description="dotted modules imported before the first fork, to share their memory"),
    ] = ()
    before: Annotated[
        tuple[Annotated[tuple[str, ...], Meta(min_length=1)], ...],
        Meta(
            description="commands, each an array of words, run in order before the imports of a "
            "start; one that fails is a start failure"
        ),
    ] = ()
    start_timeout: Annotated[
        Timeout,
        Meta(description="from the imports until every child is ready; then a start failure"),
    ] = 30.0
    stop_timeout: Annotated[
        Timeout, Meta(description="for the children to finish what is in hand, then SIGKILL")
    ] = 10.0
    destroy_timeout: Annotated[
        Timeout, Meta(description="for the destroy hooks of all modules together")
    ] = 10.0
    crash_timeout: Annotated[
        Timeout,
        Meta(description="for the others after a child died, where somebody waits for their end"),
    ] = 2.0
    drain_delay: Annotated[
        Seconds,
        Meta(
            description="between a termination signal and the closing of the door: all goes on, "
            "but /readyz answers 503 and HTTP answers end their connections"
        ),
    ] = 0.0
    door: Annotated[
        Literal["auto", "drop", "refuse"],
        Meta(
            description="what a new TCP connection meets while the server stops: drop = silence, "
            "its kernel tries again and finds the next instance; refuse = an error; auto = refuse "
            "as pid 1, else drop"
        ),
    ] = "auto"
    renew: Annotated[
        RenewOptions,
        Meta(description="replace a generation by age, requests or memory"),
    ] = RenewOptions()
    restart: Annotated[
        Literal["never", "on-crash"],
        Meta(description="after a crash: never = end, on-crash = fork the next generation"),
    ] = "never"
    pid_file: Annotated[
        str,
        Meta(description='besides the runtime directory\'s own; removed at exit; "" = none'),
    ] = ""
    runtime_directory: Annotated[
        str,
        Meta(
            description="lock, pid and statistics of the running server; it must be the server's "
            'alone. "" = the first of $RUNTIME_DIRECTORY, /run/NAME (as root), '
            "$XDG_RUNTIME_DIR/NAME and /tmp/NAME-UID"
        ),
    ] = ""

    @property
    def longest_stop(self) -> float:
        """Seconds after which whoever waits for the end of a server that was told to stop may give
        up: its own deadlines are over by then, and what it says of them is written.
        """
        return self.drain_delay + self.stop_timeout + self.destroy_timeout + _MARGIN


class LogOptions(Options, frozen=True):
    """`[log]`."""

    level: Annotated[
        Literal["debug", "info", "warning", "error"],
        Meta(description="the least urgent entries that are written"),
    ] = "info"
    format: Annotated[
        Literal["text", "json"],
        Meta(description="json = one object a line; text takes the journal's form by itself"),
    ] = "text"
    file: Annotated[
        str,
        Meta(description='"" = standard error; follows a rename by logrotate without a signal'),
    ] = ""


class ListenOptions(Options, frozen=True):
    """A `listen` entry in table form."""

    address: Annotated[
        str,
        Meta(description="as in the short form", examples=["unix:///run/reference.sock"]),
    ]
    mode: Annotated[
        Mode,
        Meta(description='of a unix socket; octal digits, "" = what the umask leaves'),
    ] = ""
    owner: Annotated[
        str,
        Meta(
            description='of a unix socket: "USER:GROUP", "USER" or ":GROUP"; "" = the server\'s own'
        ),
    ] = ""


class SectionOptions(Options, frozen=True):
    """The keys that all `[workers.NAME]` have; `listen` is beside them."""

    type: Annotated[
        str,
        Meta(
            description='a built-in type or "package.module:Class"',
            examples=["{type}"],
        ),
    ]
    children: Annotated[
        Annotated[int, Meta(ge=1, le=65_536)] | Literal["auto"],
        Meta(
            description="processes; auto = CPUs that this process may use (affinity, cgroup quota)"
        ),
    ] = 1
    backlog: Annotated[
        int,
        Meta(
            ge=1,
            le=2**31 - 1,
            description="connections that may wait to be accepted (net.core.somaxconn caps it)",
        ),
    ] = 2048
    request_timeout: Annotated[
        Seconds,
        Meta(description="a longer request ends its child, with a traceback; 0 = no limit"),
    ] = 0.0
    slow_request: Annotated[
        Seconds,
        Meta(
            description="a request in hand for longer is logged once, with its stack, and goes on; "
            "0 = none is"
        ),
    ] = 0.0
    env: Annotated[
        Mapping[str, str],
        Meta(description="variables, set before the section's code is imported"),
    ] = {}
    env_file: Annotated[
        str,
        Meta(
            description="a file of more of them, NAME=value a line; # begins a comment; relative "
            'to this file\'s folder; env wins; "" = none'
        ),
    ] = ""


# A section's addresses. They are decoded apart from the other keys, into `Section.listen`.
Entries = Annotated[
    tuple[str | ListenOptions, ...],
    Meta(
        description="addresses: tcp://HOST:PORT (IPv6 in brackets, port 0 = any), udp://HOST:PORT, "
        "unix:///PATH; or tables. Required but by exec and task"
    ),
]

COMMON_KEYS: Final = (*SectionOptions.__struct_fields__, "listen")


class TlsOptions(Options, frozen=True):
    """The `tls` table. All files are PEM."""

    certificate: Annotated[
        str, Meta(description="the file of the chain", examples=["certificate.pem"])
    ]
    key: Annotated[str, Meta(description='its file; "" = it is in that of the certificate')] = ""
    minimum: Annotated[Literal["1.2", "1.3"], Meta(description="oldest version accepted")] = "1.2"
    client_ca: Annotated[
        str,
        Meta(description='clients must show a certificate of this file; "" = they need none'),
    ] = ""


TlsTable = Annotated[TlsOptions | None, Meta(description="encryption; absent = none")]
Connection = Annotated[
    Timeout,
    Meta(description="without progress of the client, then an error of that request"),
]
ProxyProtocol = Annotated[
    Literal["off", "v1", "v2"],
    Meta(
        description="a connection begins with the header of the PROXY protocol, from one of "
        "trusted_proxies: it alone tells the client's address; else the connection ends"
    ),
]
TrustedProxies = Annotated[
    tuple[str, ...],
    Meta(description='addresses and networks that may send the PROXY header; "*" = all'),
]


NAMES: Final = "expected letters, digits, '_', '-' and '.', at most 64"


def is_name(name: object) -> bool:
    """True for what a server can be called: it becomes a directory, so it is a plain word."""
    return isinstance(name, str) and bool(_NAME.fullmatch(name))


_NAME: Final = re.compile(r"[A-Za-z0-9_-][A-Za-z0-9_.-]{0,63}")


class Section(msgspec.Struct, frozen=True):
    """A worker section. `options` is the table of the type's own options, not yet decoded."""

    name: str
    common: SectionOptions
    listen: tuple[Listen, ...]
    has_listen: bool  # also where no entry of it can be used
    options: Table


class ModuleSection(msgspec.Struct, frozen=True):
    """A `[modules.NAME]`; `type` is the name itself unless given."""

    name: str
    type: Annotated[
        str,
        Meta(description='a built-in one or "package.module:Class"; absent = the section\'s name'),
    ]
    options: Table


class Config(msgspec.Struct, frozen=True):
    """A whole configuration file."""

    file: str
    name: Annotated[
        str,
        Meta(
            description="in titles, logs, metrics and the runtime directory; absent = the file's "
            "stem",
        ),
    ]
    master: MasterOptions
    log: LogOptions
    workers: tuple[Section, ...]
    modules: tuple[ModuleSection, ...]
