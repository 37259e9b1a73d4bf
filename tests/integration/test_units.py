"""The units before systemd's own eyes, and the manifests before those of Kubernetes."""

import json
import re
import shutil
import subprocess

import pytest

from tests.harness import DEADLINE, SUPERVISOR
from tests.integration.configs import web, write

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
