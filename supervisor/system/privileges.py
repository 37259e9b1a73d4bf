"""Who the server is once its sockets are bound: `master.user` and `group`, for good."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
from collections.abc import Iterator
from typing import NamedTuple

from supervisor.config.decode import Problems
from supervisor.config.schema import MasterOptions
from supervisor.errors import NameProblem, NoPermission
from supervisor.system.process import allow_core_dumps, forbid_new_privileges


class Identity(NamedTuple):
    """Whom to become. `name` and `home` are "" for an id that has no entry in passwd(5)."""

    uid: int
    gid: int
    groups: tuple[int, ...]
    name: str
    home: str

    def __str__(self) -> str:
        return f"{self.name or self.uid}:{self.gid}"


def check(options: MasterOptions, problems: Problems) -> None:
    """Add a problem for a user or group that does not exist."""
    try:
        wanted(options)
    except NameProblem as error:
        problems.add(f"master.{error.key}", str(error))


def wanted(options: MasterOptions) -> Identity | None:
    """The identity that `user` and `group` (names or numbers) ask for, None when neither is given.

    The supplementary groups are the user's own (getgrouplist(3)). Raises NameProblem.
    """
    if not options.user and not options.group:
        return None
    user = _user(options.user or str(os.geteuid()))
    group = _group(options.group)
    if group is None and user[1] is None:
        raise NameProblem("a user without an entry in passwd needs master.group too", "user")
    uid, own_group, name, home = user
    gid = own_group if group is None else group
    assert gid is not None
    groups = tuple(os.getgrouplist(name, gid)) if name else (gid,)
    return Identity(uid, gid, groups, name, home)


def _user(user: str) -> tuple[int, int | None, str, str]:
    """(uid, gid, name, home)."""
    try:
        entry = pwd.getpwuid(int(user)) if user.isdecimal() else pwd.getpwnam(user)
    except KeyError:
        if user.isdecimal():
            return int(user), None, "", ""
        raise NameProblem(f"{user!r}: no such user", "user") from None
    return entry.pw_uid, entry.pw_gid, entry.pw_name, entry.pw_dir


def _group(group: str) -> int | None:
    if not group:
        return None
    if group.isdecimal():
        return int(group)
    try:
        return grp.getgrnam(group).gr_gid
    except KeyError:
        raise NameProblem(f"{group!r}: no such group", "group") from None


def become(identity: Identity) -> None:
    """Change user and groups, verify it, and shut the way back: nothing we execute gains rights
    either.

    HOME, USER and LOGNAME follow, as under su(1). Raises NoPermission unless all of it took.
    """
    if not _is(identity):
        _change(identity)
    forbid_new_privileges()
    if identity.name:
        os.environ.update(HOME=identity.home, USER=identity.name, LOGNAME=identity.name)


def refused(identity: Identity, error: OSError) -> NoPermission:
    """The error for a step on the way to `identity` that the system did not allow."""
    return NoPermission(
        f"master.user: cannot become {identity}: {error.strerror}; start as root, or leave "
        "user and group to the service manager"
    )


def _change(identity: Identity) -> None:
    try:
        # Groups first: without root it is too late for them.
        os.setgroups(identity.groups)
        os.setresgid(identity.gid, identity.gid, identity.gid)
        os.setresuid(identity.uid, identity.uid, identity.uid)
    except OSError as error:
        raise refused(identity, error) from None
    if not _is(identity) or set(os.getgroups()) != set(identity.groups) or _can_return(identity):
        raise NoPermission(f"master.user: {identity} was asked for but did not take")
    # The kernel forbids dumps to a process that changed its user, and hides its /proc from that
    # very user: no core of a crash, no statistics.
    allow_core_dumps()


def _is(identity: Identity) -> bool:
    uid, gid = identity.uid, identity.gid
    return os.getresuid() == (uid, uid, uid) and os.getresgid() == (gid, gid, gid)


def _can_return(identity: Identity) -> bool:
    """True when root is one call away; tried, since capabilities may keep the way open."""
    if identity.uid == 0:
        return False
    try:
        os.setuid(0)
    except PermissionError:
        return False
    return True


@contextlib.contextmanager
def acting_as(uid: int, gid: int) -> Iterator[None]:
    """Inside, files are touched with the rights of another user; root only."""
    before = os.getgroups(), os.getegid(), os.geteuid()
    os.setgroups([gid])
    os.setegid(gid)
    os.seteuid(uid)
    try:
        yield
    finally:
        os.seteuid(before[2])
        os.setegid(before[1])
        os.setgroups(before[0])
