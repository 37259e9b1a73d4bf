"""Writes the configurations of the tests: sections from keywords, files from sections."""

from __future__ import annotations

import json
from collections.abc import Mapping
from pathlib import Path

from tests.support.harness import PROGRAMS


def toml(value: object) -> str:
    """Return a value as TOML writes it."""
    if isinstance(value, Mapping):
        return "{ " + ", ".join(f"{key} = {toml(item)}" for key, item in value.items()) + " }"
    if isinstance(value, list):
        return "[" + ", ".join(toml(item) for item in value) + "]"
    return json.dumps(value)


def table(header: str, **values: object) -> str:
    """Return one TOML table."""
    return f"[{header}]\n" + "".join(f"{key} = {toml(value)}\n" for key, value in values.items())


def web(handler: str = "handlers:hello", *, name: str = "web", **values: object) -> str:
    """Return a `tcp` section of two children on any port, unless told otherwise."""
    values = {"type": "tcp", "listen": ["tcp://127.0.0.1:0"], "children": 2} | values
    return table(f"workers.{name}", handler=handler, **values)


def job(name: str = "job", **values: object) -> str:
    """Return a section of one child that runs the user's own worker `jobs:Scripted`."""
    return table(f"workers.{name}", **{"type": "jobs:Scripted", "children": 1} | values)


def hooks(name: str = "a", **acts: str) -> str:
    """Return a module that says on stderr which hook runs, and acts as told in each."""
    return table(f"modules.{name}", type="hooks:Hooks", label=name, acts=acts)


def write(directory: Path, text: str, *, name: str = "test", **master: object) -> Path:
    """Write a configuration whose runtime directory stands beside it, and return its path."""
    file = directory / f"{name}.toml"
    runtime = file.with_suffix(".run")
    master = {"runtime_directory": str(runtime), "working_directory": str(PROGRAMS)} | master
    file.write_text(f"name = {toml(name)}\n" + table("master", **master) + text)
    return file
