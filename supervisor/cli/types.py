"""The worker types and modules that there are, each option with its meaning."""

from __future__ import annotations

import textwrap
from collections.abc import Iterator

from supervisor.child import registry
from supervisor.child.worker import Worker
from supervisor.config import keys
from supervisor.config.keys import Key

_WIDTH = 100


def listing() -> str:
    """Every type and module with its options, the keys that all sections have first."""
    lines = ['Every worker section, [workers.NAME] (a type is built in, or "package.module:Class")']
    for key in keys.common_keys():
        lines += _option(key)
    lines += ["", "Worker types"]
    for name in registry.WORKERS:
        lines += ["", *_kind(name, registry.built_in(name))]
    lines += ["", "Modules, [modules.NAME]"]
    for name in registry.MODULES:
        lines += ["", *_kind(name, registry.built_in(name))]
    return "\n".join(lines)


def description(name: str, kind: type) -> str:
    """One type or module; those of a worker section are followed by the common keys."""
    lines = list(_kind(name, kind))
    if issubclass(kind, Worker):
        lines += ["", "Every worker section has these, too:", ""]
        for key in keys.common_keys():
            lines += _option(key)
    return "\n".join(lines)


def _kind(name: str, kind: type) -> Iterator[str]:
    yield from textwrap.wrap(f"{name}: {registry.about(kind)}", _WIDTH)
    if issubclass(kind, Worker) and kind.schemes:
        addresses = ", ".join(f"{scheme}://" for scheme in sorted(kind.schemes))
        yield f"Listens on {addresses}{'' if kind.needs_listener else ' (may have none)'}."
    for key in keys.keys_of(kind.Options):  # type: ignore[attr-defined]
        yield from _option(key)


def _option(key: Key, indent: str = "  ") -> Iterator[str]:
    """`name = default  (type, unit)`, and its meaning below."""
    is_shown = not key.is_required and not (key.default is None and key.inner)
    yield f"{indent}{key.name}{f' = {key.value}' if is_shown else ''}  ({key.words})"
    margin = f"{indent}    "
    yield from textwrap.wrap(key.text, _WIDTH, initial_indent=margin, subsequent_indent=margin)
    for inner in key.inner:
        yield from _option(inner, margin)
