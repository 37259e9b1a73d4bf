"""A release: an sdist and a wheel that are whole, and each serves in a clean environment."""

import re
import shutil
import signal
import subprocess
import sys
import tarfile
import tomllib
import urllib.request
import zipfile
from pathlib import Path

import pytest

from tests.support.harness import DEADLINE

ROOT = Path(__file__).parents[2]
VERSION = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]["version"]
IGNORED = shutil.ignore_patterns(".*", "build", "dist", "*.egg-info", "__pycache__")
INSTALL = 10 * DEADLINE  # s; an index may be slow
APPLICATION = """\
def app(environ, start_response):
    start_response("200 OK", [("Content-Type", "text/plain")])
    return [b"hello"]
"""


def done(*command, **options):
    """Run a program that must succeed; return its output."""
    ended = subprocess.run(
        command, capture_output=True, text=True, timeout=INSTALL, check=False, **options
    )
    assert ended.returncode == 0, ended.stdout + ended.stderr
    return ended.stdout


@pytest.fixture(scope="module")
def released(tmp_path_factory):
    """Return the sdist and the wheel, built from a copy of the tree: the wheel from the sdist."""
    folder = tmp_path_factory.mktemp("release")
    shutil.copytree(ROOT, folder / "source", symlinks=True, ignore=IGNORED)
    build = [sys.executable, "-m", "build", "--no-isolation", "--outdir", str(folder / "dist")]
    done(*build, str(folder / "source"))
    (sdist,) = (folder / "dist").glob("*.tar.gz")
    (wheel,) = (folder / "dist").glob("*.whl")
    return {"sdist": sdist, "wheel": wheel}


def test_they_can_be_published(released):
    """The index would take their metadata and show the README."""
    out = done(sys.executable, "-m", "twine", "check", "--strict", *map(str, released.values()))
    assert out.count("PASSED") == 2


def test_their_version(released):
    """The changelog tells of it, with its date."""
    assert released["sdist"].name == f"prefork_supervisor-{VERSION}.tar.gz"
    assert released["wheel"].name == f"prefork_supervisor-{VERSION}-py3-none-any.whl"
    readme = (ROOT / "README.md").read_text()
    assert re.search(rf"(?m)^### {re.escape(VERSION)} - \d{{4}}-\d\d-\d\d$", readme)


def test_they_have_every_module(released):
    """Each file of the packages is in both, under the name by which it is imported."""
    packages = ("supervisor", "supervisor/workers", "supervisor/modules")
    files = {
        f"{package}/{file.relative_to(ROOT / package)}"
        for package in packages
        for file in (ROOT / package).rglob("*.py")
    }
    with zipfile.ZipFile(released["wheel"]) as wheel:
        assert files <= set(wheel.namelist())
    with tarfile.open(released["sdist"]) as sdist:
        assert files <= {name.partition("/")[2] for name in sdist.getnames()}


@pytest.mark.timeout(3 * INSTALL)
@pytest.mark.parametrize("kind", ["sdist", "wheel"])
def test_it_serves_in_a_clean_environment(released, run, tmp_path, kind):
    """Installed alone, with what it depends on, it runs an application."""
    done(sys.executable, "-m", "venv", str(tmp_path / "venv"))
    pip = [str(tmp_path / "venv/bin/pip"), "install", "--quiet", "--disable-pip-version-check"]
    done(*pip, str(released[kind]))
    (tmp_path / "hello.py").write_text(APPLICATION)
    command = [str(tmp_path / "venv/bin/supervisor"), "run", "hello:app", "--bind", "127.0.0.1:0"]
    program = run([*command, "-n", f"release-{kind}"], extra={})
    (found, _) = program.wait_for(r"listening worker=web address=tcp://(\S+)", "server ready ")
    with urllib.request.urlopen(f"http://{found[1]}/", timeout=DEADLINE) as answer:
        assert answer.read() == b"hello"
    program.signal(signal.SIGTERM)
    assert program.wait() == -signal.SIGTERM
