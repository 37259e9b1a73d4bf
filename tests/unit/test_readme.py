"""The README's tables are the program's own."""

import re
import tomllib
from pathlib import Path

import msgspec

from supervisor import errors
from supervisor.child import names, registry
from supervisor.cli.main import main
from supervisor.system import signals
from tests.benchmarks.report.report import BEGIN, END
from tests.support import readme

ROOT = Path(__file__).parents[2]


def test_signals():
    """Every row of the table that handlers are made of."""
    assert readme.table("Signals", "signal") == [list(row) for row in signals.described()]


def test_statuses():
    """Every status, with its meaning."""
    assert readme.table("Exit statuses", "status") == [list(row) for row in errors.STATUSES]


def test_commands():
    """Every command with every option that is its own."""
    rows = {row[0].split()[0]: row[0] for row in readme.table("Commands", "command")}
    assert set(rows) == set(main.commands)
    for name, usage in rows.items():
        options = {option for one in main.commands[name].params for option in one.opts}
        own = {option for option in options if option.startswith("--")} - {"--config"}
        assert set(re.findall(r"--[a-z-]+", usage)) == own, name


def test_worker_types():
    """Every type that is built in, and how to name another."""
    rows = readme.table("Worker types", "type")
    names = [name for row in rows for name in row[0].split(", ")]
    assert sorted(names) == sorted([*registry.WORKERS, "package.module:Class"])


def test_modules():
    """Every module with all its options."""
    rows = {row[0]: row[2] for row in readme.table("Writing a module", "module")}
    for name, where in registry.MODULES.items():
        fields = msgspec.structs.fields(names.load_object(where).Options)
        assert rows.pop(name) == ", ".join(field.encode_name for field in fields)
    assert rows == {}


def test_extras_and_files_exist():
    """What is to be installed can be, and what is linked to is there."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = set(project["optional-dependencies"])
    named = re.findall(r"extras? `(\w+)`", readme.TEXT)
    assert named
    assert set(named) <= extras
    for target in re.findall(r"\]\(([\w./]+)\)", readme.TEXT):
        assert (ROOT / target).exists(), target
    for target in re.findall(r"`((?:conf|tests)/[\w./-]+)`", readme.TEXT):
        assert (ROOT / target).exists(), target


def test_links_lead_to_headings():
    """A link within the page names a heading as GitHub does."""
    headings = re.findall(r"(?m)^#+ (.+)$", readme.TEXT)
    anchors = {re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in headings}
    assert set(re.findall(r"\]\(#([\w-]+)\)", readme.TEXT)) <= anchors


def test_the_measured_part_has_its_marks():
    """The benchmarks put their table between them."""
    assert readme.TEXT.count(f"{BEGIN}\n") == readme.TEXT.count(f"{END}\n") == 1
    assert readme.TEXT.index(BEGIN) < readme.TEXT.index(END)
