"""README and manual: their tables are the program's own, and what they point to is there."""

import re
import tomllib
from pathlib import Path

import msgspec
import pytest

from supervisor.child import names, registry
from tests.benchmarks.report.report import BEGIN, END
from tests.support.readme import DOCUMENTS, PAGES, README

ROOT = Path(__file__).parents[2]


def page(name):
    """Return a page of the manual."""
    return next(one for one in PAGES if one.name == name)


def test_the_readme_can_be_read():
    """It is a first acquaintance; the rest is the manual's."""
    assert len(README.text.splitlines()) <= 450


@pytest.mark.parametrize(
    ("document", "chapter"), [(README, "Types"), (page("supervisor-workers.7"), "Worker types")]
)
def test_worker_types(document, chapter):
    """Every type that is built in, and how to name another."""
    rows = document.table(chapter, "type")
    found = [name for row in rows for name in row[0].split(", ")]
    assert sorted(found) == sorted([*registry.WORKERS, "package.module:Class"])


def test_modules():
    """Every module with all its options."""
    rows = {row[0]: row[2] for row in page("supervisor-workers.7").table("Modules", "module")}
    for name, where in registry.MODULES.items():
        fields = msgspec.structs.fields(names.load_object(where).Options)
        assert rows.pop(name) == ", ".join(field.encode_name for field in fields)
    assert rows == {}


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda one: one.name)
def test_extras_and_files_exist(document):
    """Extras that are named can be installed, and files that are linked to are there."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    extras = set(project["optional-dependencies"])
    assert set(re.findall(r"extras? `(\w+)`", document.text)) <= extras
    for target in re.findall(r"\]\(([\w./]+)\)", document.text):
        assert (ROOT / target).exists(), target
    for target in re.findall(r"`((?:conf|tests|supervisor)/[\w./-]+)`", document.text):
        assert (ROOT / target).exists(), target


def test_files_of_the_inside_exist():
    """The chapter on the inside names files by their place in the tree."""
    for target in re.findall(r"`(\w+/[\w./]*)`", README.chapters()["How it works inside"]):
        assert (
            (ROOT / target).exists()
            or (ROOT / "supervisor" / target).exists()
            or (ROOT / "workers" / target).exists()
        ), target


@pytest.mark.parametrize("document", DOCUMENTS, ids=lambda one: one.name)
def test_links_lead_to_headings(document):
    """A link within a page names a heading as GitHub does."""
    headings = re.findall(r"(?m)^#+ (.+)$", document.text)
    anchors = {re.sub(r"[^\w -]", "", one.lower()).replace(" ", "-") for one in headings}
    assert set(re.findall(r"\]\(#([\w-]+)\)", document.text)) <= anchors


def test_pages_name_pages_that_exist():
    """Each reference to a page of ours is one."""
    known = {re.sub(r"\.(\d)$", r"(\1)", one.name) for one in PAGES}
    for document in DOCUMENTS:
        named = set(re.findall(r"\bsupervisor[\w.-]*\(\d\)", document.text))
        assert named <= known, document.name


def test_the_measured_part_has_its_marks():
    """The benchmarks put their table between them."""
    assert README.text.count(f"{BEGIN}\n") == README.text.count(f"{END}\n") == 1
    assert README.text.index(BEGIN) < README.text.index(END)


def test_advisories_name_tests_that_exist():
    """The last column of each row: cases of requests, `file::test`."""
    cases = tomllib.loads((ROOT / "tests/requests/rfc9112.toml").read_text())["case"]
    files = {file.name: file.read_text() for file in (ROOT / "tests").rglob("test_*.py")}
    known = {case["name"] for case in cases}
    for name, text in files.items():
        known |= {f"{name}::{test}" for test in re.findall(r"(?m)^(?:async )?def (test_\w+)", text)}
    rows = re.findall(r"(?m)^\|.*\|$", page("supervisor-http.7").chapters()["Advisories"])[2:]
    assert len(rows) > 20
    for row in rows:
        named = re.findall(r"`([^`]+)`", row.rsplit("|", 2)[1])
        assert named, row
        assert set(named) <= known, row
