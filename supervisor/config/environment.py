"""The environment in a configuration: `${NAME}` in its strings, and SUPERVISOR__ keys."""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from functools import reduce
from typing import Any, Final, NamedTuple

from supervisor.config.decode import join

_PREFIX: Final = "SUPERVISOR__"
_REFERENCE: Final = re.compile(r"\$(?:\$|\{(?:([A-Za-z_]\w*)(?::-([^}]*))?\})?)", re.ASCII)


class Override(NamedTuple):
    """A key path that a variable sets, and the text of its value."""

    variable: str
    key: str
    value: str


def expand(value: Any, environ: Mapping[str, str], found: dict[str, str], path: str = "") -> Any:
    """`value` with `${NAME}` and `${NAME:-default}` (also where NAME is empty) replaced in every
    string, and `$$` by `$`. Keys are left, and what was put in is not looked at again. Problems
    are added to `found`, by key path.
    """
    if isinstance(value, Mapping):
        return {key: expand(item, environ, found, join(path, key)) for key, item in value.items()}
    if isinstance(value, list):
        return [
            expand(item, environ, found, f"{path}[{place}]") for place, item in enumerate(value)
        ]
    if not isinstance(value, str):
        return value

    def replaced(match: re.Match[str]) -> str:
        name, default = match[1], match[2]
        if match[0] == "$$":
            return "$"
        if name is None:
            found[path] = "'${' needs a NAME and '}'; '$$' is a plain '$'"
        elif default is not None:
            return environ.get(name) or default
        elif name not in environ:
            found[path] = f"${{{name}}}: not set in the environment"
        return environ.get(name or "", "")

    return _REFERENCE.sub(replaced, value)


def overrides(environ: Mapping[str, str], table: Mapping[str, Any]) -> Iterator[Override]:
    """The keys set by variables like SUPERVISOR__WORKERS__WEB__CHILDREN. A key that `table` has is
    found without case, `-` as `_`; names in an `env` table stay as they are.
    """
    for variable in sorted(environ):
        names = variable.removeprefix(_PREFIX).split("__")
        if variable.startswith(_PREFIX) and all(names):
            yield Override(variable, _path(names, table), environ[variable])


def _path(names: list[str], table: Any) -> str:
    keys: list[str] = []
    for name in names:
        known = table if isinstance(table, Mapping) else {}
        is_free = len(keys) > 2 and keys[-1] == "env"
        keys.append(name if is_free else _known(name, known))
        table = known.get(keys[-1])
    return reduce(join, keys, "")


def _known(name: str, known: Mapping[str, Any]) -> str:
    plain = name.lower().replace("-", "_")
    return next((key for key in known if key.lower().replace("-", "_") == plain), plain)
