"""A section's own variables: `env` and `env_file`, there while its code is imported and runs."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator, Mapping
from pathlib import Path

from supervisor.config.decode import Problems
from supervisor.config.schema import Section


def variables(section: Section, problems: Problems) -> Mapping[str, str]:
    """The variables of the file and those of `env`, which win. Problems are added."""
    path, common = f"workers.{section.name}", section.common
    for name in common.env:
        if not name or "=" in name:
            problems.add(f"{path}.env", f"{name!r} is no name of a variable")
            return {}
    if not common.env_file:
        return common.env
    try:
        found = parse(Path(common.env_file).read_text(encoding="utf-8"))
    except OSError as error:
        problems.add(f"{path}.env_file", f"{common.env_file}: {error.strerror}")
    except ValueError as error:
        problems.add(f"{path}.env_file", f"{common.env_file}: {error}")
    else:
        return {**found, **common.env}
    return common.env


def parse(text: str) -> dict[str, str]:
    """`NAME=value` a line; blank lines and those that begin with # are nothing, quotes around a
    value go. Raises ValueError.
    """
    found = {}
    for number, line in enumerate(text.splitlines(), 1):
        if not line.strip() or line.lstrip().startswith("#"):
            continue
        name, equals, value = (part.strip() for part in line.partition("="))
        if not name or not equals or "\0" in line:
            raise ValueError(f"line {number}: expected NAME=value")
        found[name] = _unquoted(value)
    return found


def _unquoted(value: str) -> str:
    is_quoted = len(value) > 1 and value[0] == value[-1] and value[0] in "\"'"
    return value[1:-1] if is_quoted else value


@contextlib.contextmanager
def applied(found: Mapping[str, str]) -> Iterator[None]:
    """Inside, the variables are set; outside they are as they were before."""
    before = {name: os.environ.get(name) for name in found}
    os.environ.update(found)
    try:
        yield
    finally:
        for name, value in before.items():
            if value is None:
                os.environ.pop(name, None)
            else:
                os.environ[name] = value
