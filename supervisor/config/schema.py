"""TOML in, frozen values out, every problem named with its key path.

Config knows words and numbers only: no sockets, no imported objects, no operating system.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from supervisor.config.address import Listen

Table = Mapping[str, Any]


Seconds = Annotated[float, Meta(ge=0, le=31_536_000)]


Timeout = Annotated[float, Meta(gt=0, le=31_536_000)]


Umask = Annotated[str, Meta(pattern="^(0o?)?[0-7]{3}$")]


Mode = Annotated[str, Meta(pattern="^(0o?)?[0-7]{3}$|^$")]


class Options(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """Base of every table: frozen, keyword only, unknown keys refused."""


class MasterOptions(Options, frozen=True):
    """`[master]`. Times in seconds."""

    user: str = ""
    group: str = ""
    umask: Umask = "0022"
    working_directory: str = ""
    preload: tuple[str, ...] = ()
    start_timeout: Timeout = 30.0
    stop_timeout: Timeout = 10.0
    destroy_timeout: Timeout = 10.0
    restart: Literal["never", "on-crash"] = "never"
    pid_file: str = ""
    runtime_directory: str = ""


class LogOptions(Options, frozen=True):
    """`[log]`."""

    level: Literal["debug", "info", "warning", "error"] = "info"
    format: Literal["text", "json"] = "text"
    file: str = ""


class ListenOptions(Options, frozen=True):
    """A `listen` entry in table form. `mode` and `owner` are for unix sockets."""

    address: str
    mode: Mode = ""
    owner: str = ""


class SectionOptions(Options, frozen=True):
    """The keys that all `[workers.NAME]` have. `backlog` in connections, times in seconds."""

    type: str
    children: Annotated[int, Meta(ge=1, le=65_536)] | Literal["auto"] = 1
    backlog: Annotated[int, Meta(ge=1, le=2**31 - 1)] = 2048
    request_timeout: Seconds = 0.0


COMMON_KEYS: Final = (*SectionOptions.__struct_fields__, "listen")


class TlsOptions(Options, frozen=True):
    """The `tls` table of stream types. `certificate`: PEM file with the chain; `key`: PEM file, ""
    = it is in the certificate's. `minimum`: oldest version. `client_ca`: PEM file; clients must
    show a certificate of it.
    """

    certificate: str
    key: str = ""
    minimum: Literal["1.2", "1.3"] = "1.2"
    client_ca: str = ""


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
    type: str
    options: Table


class Config(msgspec.Struct, frozen=True):
    """A whole configuration file."""

    file: str
    name: str
    master: MasterOptions
    log: LogOptions
    workers: tuple[Section, ...]
    modules: tuple[ModuleSection, ...]
