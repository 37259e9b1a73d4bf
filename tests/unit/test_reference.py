"""conf/reference.toml is the truth: every key that exists, with the default that it has.

A key that TOML cannot show (default None) may stand there commented out: `# key = value`.
"""

import re
import tomllib
import typing
from pathlib import Path

import msgspec
import pytest

from supervisor.child import names, registry
from supervisor.config.load import load
from supervisor.config.schema import (
    Config,
    ListenOptions,
    LogOptions,
    MasterOptions,
    Options,
    SectionOptions,
)
from tests.support.harness import supervisor

FILE = Path(__file__).parents[2] / "conf/reference.toml"
ALL = re.sub(r"(?m)^# (?=\w+ = )", "", FILE.read_text(encoding="utf-8"))
SHOWN = tomllib.loads(ALL)


def fields(kind):
    """Return the fields of a Struct by key."""
    return {field.encode_name: field for field in msgspec.structs.fields(kind)}


COMMON = {*fields(SectionOptions), "listen"}


def nested_in(kind):
    """Return the Struct in `Struct` or `Struct | None`."""
    for member in typing.get_args(kind) or (kind,):
        if isinstance(member, type) and issubclass(member, msgspec.Struct):
            return member
    return None


def default_of(field):
    """Return a field's default as TOML gives it; None where it has none, or None."""
    if field.required:
        return None
    made = field.default_factory is not msgspec.NODEFAULT
    default = field.default_factory() if made else field.default
    return list(default) if isinstance(default, tuple) else default


def differences(kind, tables, path):
    """Say what `tables`, together, lack of `kind`, have beyond it, or show with another value."""
    known = fields(kind)
    keys = {key: None for table in tables for key in table}
    found = [f"{path}.{key}: no such key" for key in keys if key not in known]
    for key, field in known.items():
        here, values = f"{path}.{key}", [table[key] for table in tables if key in table]
        nested, default = nested_in(field.type), default_of(field)
        if not values:
            found.append(f"{here}: missing")
        elif nested:
            found += differences(nested, values, here)
        elif default is not None and any(repr(value) != repr(default) for value in values):
            found.append(f"{here}: the default is {default!r}")
    return found


def sections(kind):
    """Return the worker sections of one type."""
    return [table for table in SHOWN["workers"].values() if table["type"] == kind]


def without(tables, keys):
    """Return the tables without some keys."""
    return [{key: table[key] for key in table if key not in keys} for table in tables]


def test_the_top_is_complete():
    """The name is the file's stem, the tables are those that a configuration has."""
    assert SHOWN.keys() == set(fields(Config)) - {"file"}
    assert SHOWN["name"] == FILE.stem


@pytest.mark.parametrize(("kind", "name"), [(MasterOptions, "master"), (LogOptions, "log")])
def test_a_fixed_table_shows_every_default(kind, name):
    """Each key of the table stands there with its default, and no other key does."""
    assert differences(kind, [SHOWN[name]], name) == []


def test_worker_sections_show_every_common_default():
    """Each common key stands in some section, and has its default wherever it stands."""
    tables, known = SHOWN["workers"].values(), fields(SectionOptions)
    common = [{key: table[key] for key in known if key in table} for table in tables]
    assert differences(SectionOptions, common, "workers") == []


def test_listen_is_shown_in_both_forms():
    """Some entry is a plain address, and the tables show every key."""
    entries = [entry for table in SHOWN["workers"].values() for entry in table.get("listen", ())]
    tables = [entry for entry in entries if not isinstance(entry, str)]
    assert len(tables) < len(entries)
    assert differences(ListenOptions, tables, "listen") == []


@pytest.mark.parametrize("kind", registry.WORKERS)
def test_a_worker_type_shows_every_option(kind):
    """A type's own options stand in its sections with their defaults, and no other key does."""
    options = names.load_object(registry.WORKERS[kind]).Options
    assert sections(kind)
    assert differences(options, without(sections(kind), COMMON), f"workers ({kind})") == []


@pytest.mark.parametrize("name", registry.MODULES)
def test_a_module_shows_every_option(name):
    """A module's options stand in its section with their defaults, and no other key does."""
    options = names.load_object(registry.MODULES[name]).Options
    assert SHOWN["modules"][name]["type"] == name
    shown = without([SHOWN["modules"][name]], {"type"})
    assert differences(options, shown, f"modules.{name}") == []


def test_every_key_has_a_comment():
    """A key without a word on what it is for stands nowhere."""
    keys = re.findall(r"(?m)^\w+ = .*$", ALL)
    assert keys
    assert [line for line in keys if " # " not in line] == []


def options_of(header):
    """Return the Structs whose keys stand under a header."""
    table, name = header.split(".")
    if table == "modules":
        return [names.load_object(registry.MODULES[name]).Options]
    where = registry.WORKERS[SHOWN["workers"][name]["type"]]
    return [SectionOptions, names.load_object(where).Options]


@pytest.mark.parametrize("header", re.findall(r"(?m)^\[(\w+\.[\w-]+)\]", ALL))
def test_a_required_key_is_marked(header):
    """The line of a key that has no default says (required)."""
    _, _, rest = ALL.partition(f"[{header}]\n")
    body = re.split(r"(?m)^\[", rest)[0]
    known = {key: field for kind in options_of(header) for key, field in fields(kind).items()}
    lines = {key: re.search(rf"(?m)^{key} = .*", body) for key in known if known[key].required}
    assert [key for key, line in lines.items() if not line or "(required)" not in line[0]] == []


def test_what_is_commented_out_is_valid_too(tmp_path):
    """With every key in force the file has no problem."""
    (tmp_path / FILE.name).write_text(ALL, encoding="utf-8")
    loaded, problems = load(tmp_path / FILE.name)
    registry.check_built_in(loaded, problems)
    assert problems.lines == []


def test_check_accepts_it():
    """`supervisor check` says ok."""
    done = supervisor("check", "-c", str(FILE))
    assert (done.returncode, done.stderr) == (0, "")


class Inner(Options, frozen=True):
    """A table in a table."""

    certificate: str
    minimum: str = "1.2"


class Outer(Options, frozen=True):
    """One option of each kind."""

    path: str
    size: int = 3
    limit: int | None = None
    names: tuple[str, ...] = ("a",)
    inner: Inner | None = None


GOOD = {
    "path": "/tmp",
    "size": 3,
    "limit": 7,
    "names": ["a"],
    "inner": {"certificate": "c", "minimum": "1.2"},
}


@pytest.mark.parametrize(
    ("shown", "expected"),
    [
        (GOOD, []),
        (without([GOOD], {"size"})[0], ["x.size: missing"]),
        (without([GOOD], {"limit"})[0], ["x.limit: missing"]),
        (GOOD | {"colour": 1}, ["x.colour: no such key"]),
        (GOOD | {"size": 4}, ["x.size: the default is 3"]),
        (GOOD | {"size": 3.0}, ["x.size: the default is 3"]),
        (GOOD | {"names": []}, ["x.names: the default is ['a']"]),
        (GOOD | {"inner": {"certificate": "c"}}, ["x.inner.minimum: missing"]),
    ],
)
def test_a_forgotten_option_is_noticed(shown, expected):
    """The comparison that these tests rest on finds each kind of difference."""
    assert differences(Outer, [shown], "x") == expected
