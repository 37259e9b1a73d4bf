"""The manual: made of the program's own tables, as it stands in conf/man and in the wheel."""

import re
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from supervisor import errors
from supervisor.child import registry
from supervisor.cli.main import main
from supervisor.cli.man import PAGES
from supervisor.config import keys
from supervisor.config.schema import LogOptions, MasterOptions
from supervisor.system import signals
from tests.support.harness import DEADLINE, supervisor

ROOT = Path(__file__).parents[2]
FOLDER = ROOT / "conf/man"
IGNORED = shutil.ignore_patterns(".*", "build", "*.egg-info", "__pycache__")


def needs(program, package):
    """Skip where a program is missing."""
    return pytest.mark.skipif(not shutil.which(program), reason=f"needs {program} ({package})")


def output_of(*command, **options):
    """Run a program that must have nothing to complain of; return its output."""
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=2 * DEADLINE, check=False, **options
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    return done.stdout


def file_of(page):
    """Return the file of a page."""
    return FOLDER / f"{page}.{PAGES[page]}"


@pytest.mark.parametrize("page", PAGES)
def test_the_page_is_the_one_that_is_checked_in(page):
    """`make docs` brings it up to date."""
    done = supervisor("man", page)
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == file_of(page).read_text(), "run: make docs"


def test_the_first_page_needs_no_name():
    """`supervisor man` is about the command."""
    assert supervisor("man").stdout == file_of("supervisor").read_text()
    assert supervisor("man", "nonsense").returncode == 2


@needs("mandoc", "Debian: mandoc")
@pytest.mark.parametrize("page", PAGES)
def test_mandoc_has_nothing_to_say(page):
    """Not even of style."""
    assert output_of("mandoc", "-Tlint", str(file_of(page))) == ""


@needs("groff", "Debian: groff-base")
@pytest.mark.parametrize("page", PAGES)
def test_groff_has_nothing_to_say(page):
    """With all its warnings on."""
    assert output_of("groff", "-man", "-Tutf8", "-ww", str(file_of(page)))


@needs("man", "Debian: man-db")
def test_on_a_terminal_it_is_shown_by_man(run, tmp_path):
    """Formatted, by whatever man(1) pages with."""
    shown = run(["supervisor", "man", "supervisor.toml"], terminal=True, extra={"PAGER": "cat"})
    shown.wait_for("configuration of supervisor")
    shown.wait()
    assert ".SH NAME" not in shown.log


def rendered(page):
    """Return a page as it is read, without its formatting."""
    formatters = {
        "mandoc": ("mandoc", "-Tutf8", "-Owidth=300"),
        "groff": ("groff", "-man", "-Tutf8", "-P-c", "-rLL=300n", "-rHY=0"),
    }
    for name, command in formatters.items():
        if shutil.which(name):
            return re.sub(r".\x08", "", output_of(*command, str(file_of(page))))
    pytest.skip("needs mandoc or groff (Debian: mandoc, groff-base)")


def said(text, page):
    """True if the page says it, however it is broken into lines."""
    return " ".join(text.split()) in " ".join(page.split())


def test_every_command_and_option_is_there():
    """With its help, as click has it."""
    page = rendered("supervisor")
    for name, command in main.commands.items():
        assert f"supervisor {name}\n" in page
        for parameter in command.params:
            assert (parameter.metavar or parameter.opts[-1].removeprefix("shell")) in page
            assert said(getattr(parameter, "help", None) or "", page)


def test_signals_and_statuses_are_there():
    """Every row of the tables that the program goes by."""
    page = rendered("supervisor")
    for row in signals.described():
        assert said(f"{row.signals} Master: {row.master}. Child: {row.child}.", page)
    for status, meaning in errors.STATUSES:
        assert said(f"{status} {meaning}", page)


def test_every_key_is_there():
    """With its default, its type in words and its text."""
    page = rendered("supervisor.toml")
    for key in [*keys.keys_of(MasterOptions), *keys.keys_of(LogOptions), *keys.common_keys()]:
        assert said(f"{key.name} = {key.value} ({key.words}) {key.text}", page), key


def test_every_type_has_its_part():
    """Worker types and modules."""
    page = rendered("supervisor.toml")
    for kind in registry.WORKERS:
        assert f"[workers.NAME] of type {kind}\n" in page
    for name in registry.MODULES:
        assert f"[modules.{name}]\n" in page


def test_the_wheel_brings_it(tmp_path):
    """Where pip installs the command, man(1) finds its pages, and `supervisor man` its prose."""
    shutil.copytree(ROOT, tmp_path / "source", symlinks=True, ignore=IGNORED)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"]
    output_of(
        *build, "--no-deps", "--no-build-isolation", "-w", str(tmp_path), str(tmp_path / "source")
    )
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        found = archive.namelist()
        for page, section in PAGES.items():
            assert f"supervisor/cli/pages/{page}.{section}.md" in found
            where = f"/data/share/man/man{section}/{page}.{section}"
            (name,) = [one for one in found if one.endswith(where)]
            assert archive.read(name).decode() == file_of(page).read_text()
