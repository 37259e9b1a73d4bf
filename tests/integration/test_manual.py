"""The manual page: made of the program's own tables, as it stands in conf/man and in the wheel."""

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
from supervisor.config import keys
from supervisor.config.schema import LogOptions, MasterOptions
from supervisor.system import signals
from tests.support.harness import DEADLINE, supervisor

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "conf/man/supervisor.1"
IGNORED = shutil.ignore_patterns(".*", "build", "*.egg-info", "__pycache__")


def needs(program, package):
    """Skip where a program is missing."""
    return pytest.mark.skipif(not shutil.which(program), reason=f"needs {program} ({package})")


def run(*command, **options):
    """Run a program that must have nothing to complain of; return what it prints."""
    done = subprocess.run(
        command, capture_output=True, text=True, timeout=2 * DEADLINE, check=False, **options
    )
    assert (done.returncode, done.stderr) == (0, ""), done.stdout
    return done.stdout


def test_the_page_is_the_one_that_is_checked_in():
    """`supervisor man > conf/man/supervisor.1` brings it up to date."""
    done = supervisor("man")
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == PAGE.read_text()


@needs("mandoc", "Debian: mandoc")
def test_mandoc_has_nothing_to_say():
    """Not even of style."""
    assert run("mandoc", "-Tlint", str(PAGE)) == ""


@needs("groff", "Debian: groff-base")
def test_groff_has_nothing_to_say():
    """With all its warnings on."""
    assert run("groff", "-man", "-Tutf8", "-ww", str(PAGE))


@pytest.fixture(scope="module")
def rendered():
    """The page as it is read, without its formatting."""
    formatters = {
        "mandoc": ("mandoc", "-Tutf8", "-Owidth=300"),
        "groff": ("groff", "-man", "-Tutf8", "-P-c", "-rLL=300n", "-rHY=0"),
    }
    for name, command in formatters.items():
        if shutil.which(name):
            return re.sub(r".\x08", "", run(*command, str(PAGE)))
    pytest.skip("needs mandoc or groff (Debian: mandoc, groff-base)")


def said(text, page):
    """True if the page says it, however it is broken into lines."""
    return " ".join(text.split()) in " ".join(page.split())


def test_every_command_and_option_is_there(rendered):
    """With its help, as click has it."""
    for name, command in main.commands.items():
        assert f"supervisor {name}\n" in rendered
        for parameter in command.params:
            assert (parameter.metavar or parameter.opts[-1].removeprefix("shell")) in rendered
            assert said(getattr(parameter, "help", None) or "", rendered)


def test_signals_statuses_and_keys_are_there(rendered):
    """Every row of the tables that the program goes by."""
    for row in signals.described():
        assert said(f"{row.signals} Master: {row.master}. Child: {row.child}.", rendered)
    for status, meaning in errors.STATUSES:
        assert said(f"{status} {meaning}", rendered)
    for key in [*keys.keys_of(MasterOptions), *keys.keys_of(LogOptions), *keys.common_keys()]:
        assert said(f"{key.name} = {key.value} ({key.words}) {key.text}", rendered), key


def test_every_type_has_its_part(rendered):
    """Worker types and modules."""
    for kind in registry.WORKERS:
        assert f"[workers.NAME] of type {kind}\n" in rendered
    for name in registry.MODULES:
        assert f"[modules.{name}]\n" in rendered


def test_the_wheel_brings_it(tmp_path):
    """Where pip installs the command, man(1) finds its page."""
    shutil.copytree(ROOT, tmp_path / "source", symlinks=True, ignore=IGNORED)
    build = [sys.executable, "-m", "pip", "wheel", "--quiet", "--disable-pip-version-check"]
    run(*build, "--no-deps", "--no-build-isolation", "-w", str(tmp_path), str(tmp_path / "source"))
    (wheel,) = tmp_path.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
        (page,) = [name for name in names if name.endswith("/data/share/man/man1/supervisor.1")]
        assert archive.read(page).decode() == PAGE.read_text()
