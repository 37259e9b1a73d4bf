"""Environment variables in a configuration, and the variables of a section."""

import pytest

from supervisor.child.environment import applied, parse
from supervisor.config.load import load
from supervisor.errors import ConfigError

WEB = '[workers.web]\ntype = "tcp"\nlisten = ["tcp://127.0.0.1:0"]\nhandler = "m:f"\n'


@pytest.fixture
def read(tmp_path):
    """Return the configuration of a text, in an environment; a problem raises ConfigError."""

    def loaded(text, environ, *settings, name="conf.toml"):
        file = tmp_path / name
        file.write_text(text)
        config, problems = load(file, settings, environ)
        problems.raise_if_any()
        return config

    return loaded


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("${HERE}", "there"),
        ("a-${HERE}-b${HERE}", "a-there-bthere"),
        ("${MISSING:-else}", "else"),
        ("${EMPTY:-else}", "else"),
        ("${EMPTY}", ""),
        ("${HERE:-else}", "there"),
        ("$${HERE} costs 3$", "${HERE} costs 3$"),
        ("${NESTED}", "${HERE}"),
    ],
)
def test_variables_in_strings(read, text, value):
    """Replaced once, `$$` is `$`, and a lone `$` stays."""
    environ = {"HERE": "there", "EMPTY": "", "NESTED": "${HERE}"}
    config = read(f'{WEB}\n[master]\npid_file = "{text}"\n', environ)
    assert config.master.pid_file == value


def test_strings_in_arrays_and_tables_but_not_keys(read):
    """Every string of the file is looked at, no key is."""
    text = WEB.replace("127.0.0.1:0", "127.0.0.1:${PORT}") + 'env = { "${PORT}" = "${PORT}" }\n'
    (section,) = read(text, {"PORT": "8000"}).workers
    assert section.listen[0].address.port == 8000
    assert section.common.env == {"${PORT}": "8000"}


@pytest.mark.parametrize(
    ("text", "problem"),
    [("${GONE}", "${GONE}: not set in the environment"), ("${no", "'${' needs a NAME and '}'")],
)
def test_a_variable_that_is_not_set(read, text, problem):
    """A problem at its key, unless that is overridden."""
    text = f'{WEB}\n[master]\npid_file = "{text}"\n'
    with pytest.raises(ConfigError) as caught:
        read(text, {})
    assert f"conf.toml: master.pid_file: {problem}" in str(caught.value)
    assert read(text, {}, "master.pid_file=x").master.pid_file == "x"


def test_keys_from_the_environment(read):
    """Found without case, `-` as `_`; the file's value gives way, and `--set` wins over it."""
    text = WEB.replace("web", "My-Web")
    environ = {
        "SUPERVISOR__WORKERS__MY_WEB__CHILDREN": "8",
        "SUPERVISOR__MASTER__RESTART": "on-crash",
        "SUPERVISOR__WORKERS__MY_WEB__ENV__Database_URL": "x",
        "SUPERVISOR__LOG__LEVEL": "debug",
        "SUPERVISOR_CONFIG": "no key",
    }
    config = read(text, environ, "log.level=error")
    (section,) = config.workers
    assert (section.name, section.common.children) == ("My-Web", 8)
    assert section.common.env == {"Database_URL": "x"}
    assert (config.master.restart, config.log.level) == ("on-crash", "error")


def test_a_wrong_value_names_the_variable(read):
    """As one of --set is named by that."""
    with pytest.raises(ConfigError) as caught:
        read(WEB, {"SUPERVISOR__WORKERS__WEB__CHILDREN": "many"})
    assert str(caught.value).startswith(
        "SUPERVISOR__WORKERS__WEB__CHILDREN: workers.web.children: expected int"
    )


def test_pyproject(read):
    """`[tool.supervisor]` is a whole configuration, called as the project is."""
    inner = WEB.replace("[workers", "[tool.supervisor.workers")
    text = f'[project]\nname = "shop"\n{inner}'
    assert read(text, {}, name="pyproject.toml").name == "shop"
    with pytest.raises(ConfigError, match="no table"):
        read('[project]\nname = "shop"\n', {}, name="pyproject.toml")


def test_a_file_of_variables():
    """Comments, blank lines, quotes, and values with = in them."""
    text = "# c\n\nA=1\n B = two words \nC='q'\nD=\"a=b\"\nE=\nF=it's\n"
    assert parse(text) == {
        "A": "1", "B": "two words", "C": "q", "D": "a=b", "E": "", "F": "it's",
    }  # fmt: skip


@pytest.mark.parametrize("text", ["A=1\nnothing\n", "A=1\n=x\n"])
def test_a_bad_file_of_variables(text):
    """The line is named."""
    with pytest.raises(ValueError, match="line 2: expected NAME=value"):
        parse(text)


def test_variables_are_taken_back(monkeypatch):
    """The values from before are there again."""
    monkeypatch.setenv("KEPT", "old")
    monkeypatch.delenv("ADDED", raising=False)
    import os

    with applied({"KEPT": "new", "ADDED": "x"}):
        assert (os.environ["KEPT"], os.environ["ADDED"]) == ("new", "x")
    assert os.environ["KEPT"] == "old"
    assert "ADDED" not in os.environ
