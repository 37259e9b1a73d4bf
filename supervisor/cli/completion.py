"""Completion of the command in a shell. The words are click's; the keys of --set are ours."""

from __future__ import annotations

import contextlib
import typing
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final, Literal

import click
import msgspec
from click.shell_completion import get_completion_class

from supervisor.child import names, registry
from supervisor.config.load import load
from supervisor.config.schema import (
    Config,
    LogOptions,
    MasterOptions,
    ModuleSection,
    Options,
    Section,
    SectionOptions,
)
from supervisor.errors import SupervisorError

# bash breaks words at = and :, and ends a completed one with a space. The values of --set hold all
# of these, so the words are put together again for click, and its answers cut to the last part.
_BASH: Final = """\
_supervisor_words() {
    local -a words=("${COMP_WORDS[@]:0:COMP_CWORD+1}") joined=()
    local word last
    for word in "${words[@]}"; do
        last=$((${#joined[@]} - 1))
        if ((last > 0)) && [[ $word == [=:] || ${joined[last]} == *[=:] ]]; then
            joined[last]+=$word
        else
            joined+=("$word")
        fi
    done
    local current=${COMP_WORDS[COMP_CWORD]} whole=${joined[${#joined[@]} - 1]}
    [[ $current == [=:] ]] && current=
    local COMP_WORDS=("${joined[@]}") COMP_CWORD=$((${#joined[@]} - 1))
    _supervisor_completion "$1"
    [[ ${COMPREPLY[0]-} == *= ]] && compopt -o nospace
    COMPREPLY=("${COMPREPLY[@]#"${whole%"$current"}"}")
}
complete -o nosort -F _supervisor_words supervisor
"""


def script(shell: str, command: click.Group) -> str:
    """The script that the shell has to source."""
    kind = get_completion_class(shell)
    assert kind is not None
    text = kind(command, {}, "supervisor", "_SUPERVISOR_COMPLETE").source()
    if shell == "bash":
        return text + _BASH
    # zsh: of what has no description (the keys of --set have none) more is to be typed.
    return text.replace("compadd -U", "compadd -S '' -U")


def settings(file: Path | None, incomplete: str) -> list[str]:
    """Candidates for KEY= or KEY=VALUE of --set; `file` names the sections there are."""
    found = dict(_keys(file))
    key, given, _ = incomplete.partition("=")
    words = (
        [f"{key}={value}" for value in found.get(key, ())] if given else [f"{k}=" for k in found]
    )
    return [word for word in words if word.startswith(incomplete)]


def _keys(file: Path | None) -> Iterator[tuple[str, list[str]]]:
    """Every key with the values that it is known to take."""
    yield "name", []
    yield from _of("master", MasterOptions)
    yield from _of("log", LogOptions)
    found = None if file is None else _read(file)
    for section in found.workers if found else ():
        yield from _of_section(section)
    for module in found.modules if found else ():
        yield from _of_module(module)


def _read(file: Path) -> Config | None:
    with contextlib.suppress(SupervisorError, OSError):
        return load(file)[0]
    return None


def _of_section(section: Section) -> Iterator[tuple[str, list[str]]]:
    path = f"workers.{section.name}"
    yield from _of(path, SectionOptions)
    yield f"{path}.type", list(registry.WORKERS)
    yield f"{path}.listen", []
    yield from _of(path, _built_in(registry.WORKERS.get(section.common.type)))


def _of_module(module: ModuleSection) -> Iterator[tuple[str, list[str]]]:
    yield f"modules.{module.name}.type", list(registry.MODULES)
    yield from _of(f"modules.{module.name}", _built_in(registry.MODULES.get(module.type)))


def _built_in(where: str | None) -> type[msgspec.Struct]:
    """The options of a type; a user's own class is not imported for a key."""
    with contextlib.suppress(SupervisorError):
        if where is not None:
            kind: type[msgspec.Struct] = names.load_object(where).Options
            return kind
    return Options


def _of(path: str, kind: type[msgspec.Struct]) -> Iterator[tuple[str, list[str]]]:
    for field in msgspec.structs.fields(kind):
        yield f"{path}.{field.encode_name}", list(_words(field.type))


def _words(kind: Any) -> Iterator[str]:
    """The words that a value of this type can be."""
    if kind is bool:
        yield from ("true", "false")
    for part in typing.get_args(kind):
        if typing.get_origin(kind) is Literal:
            yield str(part)
        elif typing.get_origin(kind) is not tuple:
            yield from _words(part)
