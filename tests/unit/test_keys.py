"""Keys as facts for people: a field's type in words, its default as TOML, its text."""

import tomllib
from typing import Annotated, Literal

import msgspec
import pytest
from msgspec import Meta

from supervisor.config import keys
from supervisor.config.schema import Options, Timeout


class Inner(Options, frozen=True):
    """A table in a table."""

    certificate: Annotated[str, Meta(description="a file", examples=["c.pem"])]
    minimum: Literal["1.2", "1.3"] = "1.2"


class Outer(Options, frozen=True):
    """One option of each kind."""

    path: Annotated[str, Meta(description="where", examples=["/tmp"])]
    wait: Annotated[Timeout, Meta(description="until then")] = 3.0
    children: Annotated[int, Meta(ge=1, le=9)] | Literal["auto"] = 1
    names: tuple[str, ...] = ("a", 'b"')
    cpus: tuple[Annotated[int, Meta(ge=0)], ...] = ()
    env: dict[str, str] = msgspec.field(default_factory=dict)
    kind: Literal["a", "b", "c"] = "a"
    is_on: bool = False
    absent: Annotated[Inner | None, Meta(description="a table")] = None
    present: Inner = Inner(certificate="d.pem")


FOUND = {key.name: key for key in keys.keys_of(Outer)}


@pytest.mark.parametrize(
    ("name", "words"),
    [
        ("path", "string, required"),
        ("wait", "number > 0 and <= 31536000, s"),
        ("children", 'integer 1 to 9 or "auto"'),
        ("names", "array of strings"),
        ("cpus", "array of integers >= 0"),
        ("env", "table of strings"),
        ("kind", '"a", "b" or "c"'),
        ("is_on", "true or false"),
        ("absent", "table"),
        ("present", "table"),
    ],
)
def test_the_type_in_words(name, words):
    """With bounds and unit, and whether it is required."""
    assert FOUND[name].words == words


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("path", '"/tmp"'),
        ("wait", "3.0"),
        ("names", '["a", "b\\""]'),
        ("env", "{}"),
        ("is_on", "false"),
        ("absent", '{ certificate = "c.pem", minimum = "1.2" }'),
        ("present", '{ certificate = "d.pem", minimum = "1.2" }'),
    ],
)
def test_the_value_as_toml(name, value):
    """The default, or the example where there is none; the decoder reads it back."""
    assert FOUND[name].value == value
    table = {"path": ""} | tomllib.loads(f"{name} = {value}")
    assert name in msgspec.to_builtins(msgspec.convert(table, Outer))


def test_texts_and_inner_keys():
    """The text is the field's; a table brings its own keys."""
    assert FOUND["wait"].text == "until then"
    assert [key.name for key in FOUND["absent"].inner] == ["certificate", "minimum"]


def test_listen_is_among_the_common_keys():
    """It is decoded apart, and told with the others."""
    assert [key.name for key in keys.common_keys()][:3] == ["type", "children", "listen"]


def test_a_key_that_is_no_bare_word_is_quoted():
    """A path prefix as key of a table."""
    assert keys.to_toml({"/static": "public"}) == '{ "/static" = "public" }'
