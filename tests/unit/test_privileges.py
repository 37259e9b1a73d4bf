"""Who a server becomes: what names and numbers mean, and that the change took or is refused."""

import os
import pwd
import subprocess
import sys
import textwrap

import pytest

from supervisor.config.schema import MasterOptions
from supervisor.errors import NameProblem
from supervisor.system import privileges
from tests.support.harness import DEADLINE, environment

NOBODY = pwd.getpwnam("nobody")


def test_without_a_name_nobody_is_meant():
    """Neither user nor group: the server stays who it is."""
    assert privileges.wanted(MasterOptions()) is None


@pytest.mark.parametrize("user", ["nobody", str(NOBODY.pw_uid)])
def test_a_user_brings_group_and_home(user):
    """By name or by number; the groups are those of the user."""
    identity = privileges.wanted(MasterOptions(user=user))
    assert identity[:2] == (NOBODY.pw_uid, NOBODY.pw_gid)
    assert identity.groups == tuple(os.getgrouplist("nobody", NOBODY.pw_gid))
    assert (identity.name, identity.home) == ("nobody", NOBODY.pw_dir)
    assert str(identity) == f"nobody:{NOBODY.pw_gid}"


def test_numbers_without_a_name():
    """Both are needed, and nothing else is known."""
    identity = privileges.wanted(MasterOptions(user="54321", group="54322"))
    assert identity == (54321, 54322, (54322,), "", "")
    assert str(identity) == "54321:54322"


def test_a_group_alone_keeps_the_user():
    """The user is who started the server."""
    identity = privileges.wanted(MasterOptions(group="54322"))
    assert identity[:2] == (os.geteuid(), 54322)


@pytest.mark.parametrize(
    ("options", "key"),
    [
        ({"user": "nobdy"}, "user"),
        ({"group": "nogrp"}, "group"),
        ({"user": "54321"}, "user"),
    ],
)
def test_who_does_not_exist_is_named_by_key(options, key):
    """The problem belongs to the option that holds it."""
    with pytest.raises(NameProblem) as caught:
        privileges.wanted(MasterOptions(**options))
    assert caught.value.key == key


def run(code):
    """Run a program as root that may not come back; return its exit status."""
    program = [sys.executable, "-c", IMPORTS + textwrap.dedent(code)]
    return subprocess.run(program, timeout=DEADLINE, env=environment(), check=False).returncode


IMPORTS = """
import os, pwd, sys
from supervisor.config.schema import MasterOptions
from supervisor.errors import NoPermission
from supervisor.system import privileges
nobody = pwd.getpwnam("nobody")
privileges.become(privileges.wanted(MasterOptions(user="nobody")))
"""


@pytest.mark.root
def test_the_way_back_is_shut():
    """All ids are the user's, root is out of reach, HOME is the user's."""
    code = """
    try:
        os.setuid(0)
    except PermissionError:
        is_nobody = os.getresuid() == (nobody.pw_uid,) * 3
        sys.exit(not (is_nobody and os.environ["HOME"] == nobody.pw_dir))
    sys.exit(2)
    """
    assert run(code) == 0


@pytest.mark.root
def test_who_may_not_change_is_refused():
    """A user cannot become another one."""
    code = """
    try:
        privileges.become(privileges.wanted(MasterOptions(user="54321", group="54322")))
    except NoPermission:
        sys.exit(0)
    sys.exit(1)
    """
    assert run(code) == 0


@pytest.mark.root
def test_acting_as_a_user_is_for_a_while(tmp_path):
    """Inside, files are made with that user's rights; after it, ours."""
    before = os.getgroups(), os.getegid(), os.geteuid()
    tmp_path.chmod(0o700)
    with privileges.acting_as(54321, 54322):
        assert (os.geteuid(), os.getegid(), os.getgroups()) == (54321, 54322, [54322])
        with pytest.raises(PermissionError):
            (tmp_path / "file").touch()
    assert (os.getgroups(), os.getegid(), os.geteuid()) == before
