"""The units before systemd's own eyes, and the manifests before those of Kubernetes."""

import json
import re
import shutil
import subprocess

import pytest

from tests.support.configs import web, write
from tests.support.harness import DEADLINE, SUPERVISOR, supervisor

pytestmark = pytest.mark.skipif(
    shutil.which("systemd-analyze") is None, reason="needs systemd-analyze (Debian: systemd)"
)


def analyze(directory, *arguments):
    """Run systemd-analyze with the units of a directory."""
    return subprocess.run(
        ["systemd-analyze", *arguments],
        env={"SYSTEMD_UNIT_PATH": f"{directory}:", "PATH": "/usr/bin:/bin", "LANG": "C.UTF-8"},
        cwd=directory,
        capture_output=True,
        text=True,
        check=False,
        timeout=DEADLINE,
    )


@pytest.fixture(params=["with a socket", "alone", "as a user"])
def units(request, tmp_path):
    """Print the units of a configuration, each into the file that its first line names."""
    master = {"user": "daemon"} if request.param == "as a user" else {}
    port = {"with a socket": 8000, "alone": 80, "as a user": 8000}[request.param]
    config = write(tmp_path, web(listen=[f"tcp://127.0.0.1:{port}"]), **master)
    options = ["--no-socket"] if request.param == "alone" else []
    printed = subprocess.run(
        [SUPERVISOR, "unit", "-c", str(config), *options],
        capture_output=True,
        text=True,
        check=True,
    ).stdout
    for name, text in re.findall(
        r"^# (\S+\.(?:service|socket))\b[^\n]*\n(.*?)(?=^# test|\Z)", printed, re.M | re.S
    ):
        (tmp_path / name).write_text(text)
    return tmp_path


def test_verify_has_nothing_to_say(units):
    """`systemd-analyze verify`: no error, no warning."""
    names = sorted(path.name for path in units.glob("test.s*"))
    assert "test.service" in names
    done = analyze(units, "verify", *(f"./{name}" for name in names))
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")


def test_the_exposure_is_low(units):
    """`systemd-analyze security` says 3.0 or less."""
    done = analyze(units, "security", "--offline=yes", "--json=short", "./test.service")
    assert json.loads(done.stdout)
    done = analyze(units, "security", "--offline=yes", "--threshold=30", "./test.service")
    assert done.returncode == 0, done.stdout


def test_directory_writes_what_is_printed(tmp_path):
    """`--directory` makes the files that the first lines name, and says so."""
    config = write(tmp_path, web(listen=["tcp://127.0.0.1:8000"]))
    arguments = ["unit", "-c", str(config), "--command", "/opt/supervisor"]
    printed = supervisor(*arguments).stdout
    done = supervisor(*arguments, "--directory", str(tmp_path))
    files = [tmp_path / "test.service", tmp_path / "test.socket"]
    assert (done.returncode, done.stderr) == (0, "")
    assert done.stdout == "".join(f"{file} written\n" for file in files)
    assert "\n".join(file.read_text() for file in files) == printed


def test_a_directory_that_is_not_there(tmp_path):
    """One line that names the file."""
    config = write(tmp_path, web(listen=["tcp://127.0.0.1:8000"]))
    done = supervisor("unit", "-c", str(config), "--directory", str(tmp_path / "none"))
    assert done.returncode == 78
    assert done.stderr == (
        f"supervisor: error: {tmp_path}/none/test.service: No such file or directory\n"
    )
