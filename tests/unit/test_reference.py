"""conf/reference.toml is made from the fields of the code, and every field has its text."""

import re
import tomllib
from pathlib import Path

import pytest

from supervisor.child import registry
from supervisor.cli import reference
from supervisor.config import keys
from supervisor.config.load import load
from supervisor.config.schema import LogOptions, MasterOptions
from tests.support.harness import supervisor

FILE = Path(__file__).parents[2] / "conf/reference.toml"
ALL = re.sub(r"(?m)^#(?=\w+ = )", "", FILE.read_text(encoding="utf-8"))
TYPES = [*registry.WORKERS, *registry.MODULES]


def with_inner(shown):
    """Return keys and those of the tables in them."""
    return [one for key in shown for one in (key, *key.inner)]


def test_the_file_is_the_one_that_is_made():
    """`make docs` brings it up to date after a key, its default or its text has changed."""
    assert FILE.read_text(encoding="utf-8") == reference.text(), "run: make docs"


def test_every_common_key_has_a_text():
    """Tables that every configuration has."""
    shown = [*keys.keys_of(MasterOptions), *keys.keys_of(LogOptions), *keys.common_keys()]
    assert [key.name for key in with_inner(shown) if not key.text] == []


@pytest.mark.parametrize("name", TYPES)
def test_every_option_has_a_text(name):
    """An option is a field with `Meta(description=...)`, and an example where it is required."""
    shown = with_inner(keys.keys_of(registry.built_in(name).Options))
    lacking = [key.name for key in shown if not key.text or (key.is_required and not key.example)]
    assert lacking == [], "give the field a Meta(description=..., examples=[...])"


@pytest.mark.parametrize("name", TYPES)
def test_every_option_is_in_the_file(name):
    """Each key stands in the section of its type, with its default."""
    shown = tomllib.loads(ALL)
    section = (shown["workers"] | shown["modules"])[name]
    for key in keys.keys_of(registry.built_in(name).Options):
        value = tomllib.loads(f"value = {key.value}")["value"]
        expected = value.replace("{type}", name) if isinstance(value, str) else value
        assert section[key.name] == expected


@pytest.mark.parametrize("name", TYPES)
def test_every_type_is_told_in_a_line(name):
    """The first paragraph of the docstring is what `supervisor types` says of it."""
    assert 10 < len(registry.about(registry.built_in(name))) < 100


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
