"""The table of other servers' options is of keys that there are, and of options that they have."""

import re
import shutil
import subprocess
import sys
from pathlib import Path

import msgspec
import pytest

from supervisor.child import registry
from supervisor.config import schema
from supervisor.config.decode import unknown
from supervisor.config.equivalents import EQUIVALENTS, NONE

ALL = [one for options in EQUIVALENTS.values() for one in options]


def names_of(kind):
    """Return the keys of a table, those of its tables below it."""
    return {field.encode_name for field in msgspec.structs.fields(kind)}


def test_every_key_is_one_of_ours():
    """Below the section of a web application, or from the top."""
    web = names_of(registry.built_in("wsgi").Options) | names_of(registry.built_in("asgi").Options)
    web |= set(schema.COMMON_KEYS) | {f"tls.{key}" for key in names_of(schema.TlsOptions)}
    top = {".name", *(f".log.{key}" for key in names_of(schema.LogOptions))}
    top |= {f".master.{key}" for key in names_of(schema.MasterOptions)}
    top |= {f".master.renew.{key}" for key in names_of(schema.RenewOptions)}
    assert {one.key for one in ALL if one.key} <= web | top


def test_what_has_no_key_says_what_to_do():
    """Or needs nothing."""
    assert not [one for one in ALL if not one.key and not one.note and one.form != NONE]


@pytest.mark.parametrize("program", ["gunicorn", "uvicorn"])
def test_they_are_options_that_it_has(program):
    """Every option in the table is in the --help of the installed program."""
    command = Path(sys.executable).with_name(program)
    if not shutil.which(str(command)):
        pytest.skip(f"no {program} here")
    shown = subprocess.run([command, "--help"], capture_output=True, text=True, check=True).stdout
    theirs = set(re.findall(r"(?<![\w-])--?[a-zA-Z][\w-]*", shown))
    assert not {name for one in EQUIVALENTS[program] for name in one.names.split()} - theirs


@pytest.mark.parametrize(
    ("key", "said"),
    [
        ("bind", "unknown key; gunicorn's bind is 'listen' here"),
        ("max_requests", "unknown key; gunicorn's max_requests is 'master.renew.requests' here"),
        ("uds", "unknown key; uvicorn's uds is 'listen' here"),
        ("timeout", "unknown key; gunicorn's timeout is no key here: it is not request_timeout"),
        ("chidren", "unknown key; did you mean 'children'?"),
        ("threads", "unknown key"),
    ],
)
def test_an_unknown_key_of_theirs_names_ours(key, said):
    """A key that is an option of gunicorn or uvicorn; another is compared with ours."""
    assert unknown(key, ["children", "listen"]).startswith(said)
