"""Shared by the types `wsgi`, `asgi` and `rsgi`: options, and how an application is loaded."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, ClassVar, Literal

from msgspec import Meta

from supervisor.child.names import import_module, load_object
from supervisor.config.schema import Bytes, Connection, Options, Seconds, Timeout, TlsTable
from supervisor.errors import NameProblem
from supervisor.system import tls
from supervisor.workers.web.interface import refuse_another

Loop = Annotated[Literal["uvloop", "asyncio"], Meta(description="the event loop")]
WebSockets = Annotated[bool, Meta(description="false = an upgrade is refused")]


class ApplicationOptions(Options, frozen=True):
    """Options that `wsgi`, `asgi` and `rsgi` have in common."""

    interface: ClassVar[str]  # the type's name

    app: Annotated[
        str,
        Meta(
            description="package.module:attribute; without an attribute, application or app",
            examples=["supervisor.workers.echo:{type}"],
        ),
    ]
    factory: Annotated[bool, Meta(description="app is a function that makes the application")] = (
        False
    )
    preload: Annotated[
        bool, Meta(description="imported in the master, so that the children share its memory")
    ] = True
    root_path: Annotated[
        str, Meta(description="prefix of all paths, where a proxy leaves it on")
    ] = ""
    http: Annotated[
        Literal["auto", "1", "2"],
        Meta(description="version; 2 is spoken by granian; auto = 1, and by rsgi both"),
    ] = "auto"
    tls: TlsTable = None
    keep_alive: Annotated[
        Seconds,
        Meta(description="an idle connection is kept so long; 0 = one request a connection"),
    ] = 30.0
    header_limit: Annotated[
        int,
        Meta(
            ge=8192,
            le=16_777_216,
            description="of the head of a request",
            extra={"unit": "bytes"},
        ),
    ] = 65_536
    body_limit: Annotated[
        Bytes, Meta(description="of the body of a request, 413 beyond; 0 = no limit")
    ] = 0
    trusted_proxies: Annotated[
        tuple[str, ...],
        Meta(description='addresses and networks whose X-Forwarded-* count; "*" = all'),
    ] = ()
    access_log: Annotated[
        Literal["off", "common", "combined", "json"], Meta(description="the form of its lines")
    ] = "off"
    access_log_file: Annotated[
        str, Meta(description='"" = standard output; follows a rename by logrotate')
    ] = ""
    access_log_skip: Annotated[
        tuple[str, ...],
        Meta(description='paths without a line, unless the answer is an error: ["/healthz"]'),
    ] = ()
    access_log_headers: Annotated[
        tuple[str, ...], Meta(description="request headers that a line of form json has")
    ] = ()
    request_id: Annotated[
        str,
        Meta(
            description="header that names a request, taken from a trusted proxy or made; "
            'given to the application, sent back, logged; "" = none'
        ),
    ] = ""
    connection_timeout: Connection = 60.0
    stream_timeout: Annotated[
        Timeout,
        Meta(
            description="at a stop a streaming answer goes on for so long, at most half of "
            "stop_timeout"
        ),
    ] = 3.0
    body_buffer: Annotated[
        Bytes,
        Meta(
            description="of a request's body, taken before the application reads it; wsgi spools "
            "what is more to disk"
        ),
    ] = 1_048_576
    answer_buffer: Annotated[
        Bytes, Meta(description="of an answer, made before its client has taken it")
    ] = 1_048_576
    static: Annotated[
        Mapping[str, str],
        Meta(description='directory by path prefix: { "/static" = "public" }'),
    ] = {}


def need(module: str, kind: str) -> None:
    """Import a package of an extra. Raises NameProblem that says what to install."""
    try:
        importlib.import_module(module)
    except ModuleNotFoundError as error:
        if error.name != module:
            raise
        extra = "http2" if module == "granian" else "http"
        raise NameProblem(
            f"{kind} needs {module}: pip install 'prefork-supervisor[{extra}]'", "type"
        ) from None


def prepare(options: ApplicationOptions, kind: str) -> Any:
    """In the master, for what granian serves: check, and import the application where it is to be
    shared; None where not. Raises NameProblem and StartError.
    """
    need("granian", f"type {kind!r}")
    from supervisor.workers.engines import granian

    granian.check_version()
    check_files(options)
    return preloaded(options)


def preloaded(options: ApplicationOptions) -> Any:
    """The application where it is imported before the fork, else None."""
    if options.preload:
        return load_application(options)
    check_application(options)
    return None


def load_application(options: ApplicationOptions) -> Any:
    """Import the application, or make it. Raises NameProblem and StartError."""
    found = find_application(options.app, factory=options.factory)
    refuse_another(found, options.app, options.interface)
    return found


def find_application(name: str, *, factory: bool = False) -> Any:
    """The application `package.module:attribute`, of whatever interface; of a module alone its
    `application` or `app`. Raises NameProblem and StartError.
    """
    found = load_object(name, "app") if ":" in name else _in_module(name)
    if factory:
        found = _made(found, name)
    if not callable(found) and not hasattr(found, "__rsgi__"):
        raise NameProblem(f"{name!r} is not callable", "app")
    return found


def _in_module(name: str) -> Any:
    module = import_module(name, "app")
    for attribute in ("application", "app"):
        if hasattr(module, attribute):
            return getattr(module, attribute)
    raise NameProblem(f"{name!r} has neither application nor app; write {name}:NAME", "app")


def _made(factory: Any, name: str) -> Any:
    if not callable(factory):
        raise NameProblem(f"{name!r} is not callable", "app")
    return factory()


def check_application(options: ApplicationOptions) -> None:
    """Look for the application's package without importing it. Raises NameProblem."""
    module, colon, attribute = options.app.partition(":")
    package = module.partition(".")[0]
    if not package or (colon and not attribute):
        raise NameProblem(f"{options.app!r}: expected package.module:name", "app")
    if importlib.util.find_spec(package) is None:
        raise NameProblem(f"no module named {package!r}", "app")


def check_files(options: ApplicationOptions) -> None:
    """Raise NameProblem for a certificate, key or static directory that cannot be used."""
    if options.tls is not None:
        tls.context(options.tls)
    for prefix, directory in options.static.items():
        if not prefix.startswith("/"):
            raise NameProblem(f"{prefix!r}: a prefix starts with '/'", "static")
        if not Path(directory).is_dir():
            raise NameProblem(f"{directory!r} is not a directory", "static")
