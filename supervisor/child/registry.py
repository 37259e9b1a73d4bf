"""From the names in a Config to the classes behind them. A new built-in type is one line here."""

from __future__ import annotations

import difflib
import importlib.util
import inspect
import sys
from collections.abc import Callable, Iterable, Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

from supervisor.child import environment
from supervisor.child.module import Module
from supervisor.child.names import describe, import_module, load_object
from supervisor.child.shared import Declarations, Shared
from supervisor.child.worker import Worker
from supervisor.config.decode import Problems, decode, refuse_unknown, unknown
from supervisor.config.schema import COMMON_KEYS, Config, ModuleSection, Options, Section
from supervisor.errors import Exit, NameProblem, StartError, Stop, SystemFailure
from supervisor.system.cgroup import available_cpus
from supervisor.system.listeners import owner_ids

WORKERS: Final = {
    "tcp": "supervisor.workers.tcp:Tcp",
    "udp": "supervisor.workers.udp:Udp",
    "http": "supervisor.workers.http:Http",
    "exec": "supervisor.workers.exec:Exec",
    "task": "supervisor.workers.task:Task",
    "status": "supervisor.workers.status:Status",
    "wsgi": "supervisor.workers.wsgi:Wsgi",
    "asgi": "supervisor.workers.asgi:Asgi",
    "rsgi": "supervisor.workers.rsgi:Rsgi",
}
MODULES: Final = {
    "counters": "supervisor.modules.counters:Counters",
    "cache": "supervisor.modules.cache:Cache",
    "limits": "supervisor.modules.limits:Limits",
    "affinity": "supervisor.modules.affinity:Affinity",
    "metrics": "supervisor.modules.metrics:Metrics",
}


class LoadedSection(NamedTuple):
    """A worker section ready to be forked: `worker` is the instance that the children inherit."""

    section: Section
    children: int
    worker: Worker


class LoadedModule(NamedTuple):
    """A module's class and options; each generation makes an instance."""

    name: str
    kind: type[Module]
    options: Options


class Loaded(NamedTuple):
    """All user code of a server, imported."""

    sections: tuple[LoadedSection, ...]
    modules: tuple[LoadedModule, ...]
    shared: Shared


def check_built_in(config: Config, problems: Problems) -> None:
    """Add every problem that can be seen without running user code."""
    for section in config.workers:
        if section.common.type and not _is_user_type(section.common.type):
            found = _worker_class(section, problems)
            if found is not None and config.log.format == "json":
                _refuse_other_lines(found[1], f"workers.{section.name}", problems)
    for module in config.modules:
        if not _is_user_type(module.type):
            _module_class(module, problems)


def _refuse_other_lines(options: Options, path: str, problems: Problems) -> None:
    """Standard output and error often are one stream: no access log of another form beside JSON."""
    form = getattr(options, "access_log", "json")
    if form not in ("off", "json") and not options.access_log_file:  # type: ignore[attr-defined]
        problems.add(
            f"{path}.access_log",
            f"{form!r} on standard output beside JSON; write 'json' or set access_log_file",
        )


def load(config: Config, problems: Problems, after: Callable[[str], object] = str) -> Loaded:
    """Import `preload` and the workers' and modules' code, in that order, in the master; built-in
    modules first, since they may have to be there before user code is.

    Problems are added: status 78 for a name that does not exist, 76 where user code raised. Stop
    passes. `after` is called with the name of each piece of user code when that has run.
    """
    sys.path.insert(0, str(Path.cwd()))
    shared = Shared()
    known = load_built_in(config, problems)
    for index, name in enumerate(config.master.preload):
        _attempt(f"master.preload[{index}]", problems, import_module, name)
        after(name)
    sections = []
    for section in config.workers:
        sections.append(_load_section(section, config, shared, problems))
        after(f"workers.{section.name}")
    modules = [
        known[one.name] if one.name in known else _load_module(one, problems)
        for one in config.modules
    ]
    _check_renewal(config, modules, problems)
    return Loaded(
        tuple(section for section in sections if section),
        tuple(module for module in modules if module),
        shared,
    )


def load_built_in(config: Config, problems: Problems) -> dict[str, LoadedModule | None]:
    """The built-in modules, by name, preloaded; None for one with problems."""
    built_in = [one for one in config.modules if not _is_user_type(one.type)]
    return {one.name: _load_module(one, problems) for one in built_in}


def _load_module(module: ModuleSection, problems: Problems) -> LoadedModule | None:
    loaded = _module_class(module, problems)
    if loaded is not None:
        _attempt(f"modules.{module.name}", problems, loaded.kind.preload, loaded.options)
    return loaded


def _load_section(
    section: Section, config: Config, shared: Shared, problems: Problems
) -> LoadedSection | None:
    variables = environment.variables(section, problems)
    with environment.applied(variables):
        return _load_in_environment(section, config, shared, problems, variables)


def _load_in_environment(
    section: Section,
    config: Config,
    shared: Shared,
    problems: Problems,
    variables: Mapping[str, str],
) -> LoadedSection | None:
    found = _worker_class(section, problems)
    if found is None:
        return None
    kind, options = found
    path = f"workers.{section.name}"
    worker = _attempt(path, problems, kind, options)
    if worker is None:
        return None
    worker.server = Declarations(section.name, shared)
    worker.section = section
    worker.environment = variables
    _attempt(path, problems, worker.preload)
    count = section.common.children
    return LoadedSection(section, available_cpus() if count == "auto" else count, worker)


def _worker_class(section: Section, problems: Problems) -> tuple[type[Worker], Options] | None:
    path = f"workers.{section.name}"
    kind = _class(section.common.type, WORKERS, Worker, path, problems)
    if kind is None:
        meant = _meant(section.common.type, WORKERS, Worker)
        if meant is not None:
            refuse_unknown(meant.Options, section.options, path, problems, COMMON_KEYS)
        return None
    options = decode(kind.Options, section.options, path, problems, near=COMMON_KEYS)
    for listen in section.listen:
        if listen.address.scheme not in kind.schemes:
            known = ", ".join(f"{scheme}://" for scheme in sorted(kind.schemes)) or "nothing"
            problems.add(
                f"{path}.listen",
                f"{listen.address}: type {section.common.type!r} listens on {known}",
            )
        _check_owner(listen.owner, f"{path}.listen", problems)
    if kind.needs_listener and not section.has_listen:
        problems.add(f"{path}.listen", "missing: this type needs at least one address")
    return None if options is None else (kind, options)


def _check_renewal(
    config: Config, modules: Iterable[LoadedModule | None], problems: Problems
) -> None:
    renew = config.master.renew
    for module in modules:
        if module and module.kind.exclusive and any((renew.every, renew.requests, renew.memory)):
            problems.add(
                "master.renew",
                f"modules.{module.name} is exclusive: two generations cannot live at a time",
            )


def _check_owner(owner: str, path: str, problems: Problems) -> None:
    try:
        owner_ids(owner)
    except LookupError as error:
        problems.add(path, f"owner {owner!r}: {error.args[0]}")


def _module_class(module: ModuleSection, problems: Problems) -> LoadedModule | None:
    path = f"modules.{module.name}"
    kind = _class(module.type, MODULES, Module, path, problems)
    if kind is None and (meant := _meant(module.type, MODULES, Module)) is not None:
        refuse_unknown(meant.Options, module.options, path, problems)
    options = None if kind is None else decode(kind.Options, module.options, path, problems)
    return None if kind is None or options is None else LoadedModule(module.name, kind, options)


def _class(
    name: str,
    known: Mapping[str, str],
    base: type[Worker] | type[Module],
    path: str,
    problems: Problems,
) -> Any | None:
    """The class behind a type name: built in, or `package.module:Class`."""
    if not name:
        return None
    if not _is_user_type(name) and name not in known:
        names = ", ".join(known)
        problems.add(
            f"{path}.type",
            f"{name!r}: {unknown(name, known, 'type')}; known: {names}, or package.module:Class",
        )
        return None
    kind = _attempt(f"{path}.type", problems, load_object, known.get(name, name))
    if kind is None:
        return None
    if not (isinstance(kind, type) and issubclass(kind, base)):
        problems.add(f"{path}.type", f"{name!r} is not a subclass of supervisor.{base.__name__}")
        return None
    for package, extra in kind.needs.items():
        if importlib.util.find_spec(package) is None:
            install = f"pip install 'prefork-supervisor[{extra}]'"
            problems.add(f"{path}.type", f"{name!r} needs {package}; install it with: {install}")
            return None
    return kind


def _meant(name: str, known: Mapping[str, str], base: type[Worker] | type[Module]) -> Any | None:
    """The built-in class behind a type name that is misspelt; None where it is another mistake."""
    near = difflib.get_close_matches(name, known, n=1)
    is_misspelt = near and name not in known and not _is_user_type(name)
    return _class(near[0], known, base, "", Problems("")) if is_misspelt else None


def _is_user_type(name: str) -> bool:
    return ":" in name


def _attempt(path: str, problems: Problems, function: Any, *arguments: Any) -> Any:
    """Call user code; an exception becomes a problem at `path`, and None is returned."""
    try:
        return function(*arguments)
    except NameProblem as error:
        problems.add(f"{path}.{error.key}" if error.key else path, str(error))
    except SystemFailure as error:
        raise SystemFailure(f"{path}: {error}") from error
    except StartError as error:
        problems.add_raised(path, str(error), error.exit_code, error.__cause__)
    except (Stop, KeyboardInterrupt, MemoryError):
        raise
    except BaseException as error:
        problems.add_raised(path, describe(error), Exit.START_FAILED, error)
    return None


def built_in(name: str) -> type[Worker] | type[Module]:
    """The class of a built-in type or module."""
    kind: type[Worker] | type[Module] = load_object((WORKERS | MODULES)[name])
    return kind


def class_of(name: str) -> type[Worker] | type[Module]:
    """The class of a type or module, built in or `package.module:Class`. Raises NameProblem."""
    known = WORKERS | MODULES
    if name not in known and not _is_user_type(name):
        raise NameProblem(f"{name!r} is none of {', '.join(known)}, nor package.module:Class")
    found = load_object(known.get(name, name))
    if isinstance(found, type) and issubclass(found, Worker | Module):
        return found
    raise NameProblem(f"{name!r} is neither a Worker nor a Module")


def about(kind: type) -> str:
    """The purpose of a type: the first paragraph of its docstring, on one line."""
    return " ".join((inspect.getdoc(kind) or "").partition("\n\n")[0].split())
