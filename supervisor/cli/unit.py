"""A systemd service and socket for one configuration (systemd.service(5), systemd.socket(5),
systemd.exec(5)).

Text out of a Config; touches nothing but names that have to be looked up.
"""

from __future__ import annotations

import math
import os
import socket
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from supervisor.config.address import Listen
from supervisor.config.schema import Config, Section

_LOWEST_FREE_PORT: Final = 1024

# A server needs none of these rights. Not here, since user code may: MemoryDenyWriteExecute (JIT,
# cffi callbacks), ProcSubset (psutil reads /proc/stat), PrivateNetwork, IPAddressDeny.
_HARDENING: Final = """\
NoNewPrivileges=yes
ProtectSystem=strict
PrivateTmp={private_tmp}
ProtectHome={protect_home}
PrivateDevices=yes
DevicePolicy=closed
ProtectClock=yes
ProtectControlGroups=yes
ProtectHostname=yes
ProtectKernelLogs=yes
ProtectKernelModules=yes
ProtectKernelTunables=yes
ProtectProc=invisible
RestrictAddressFamilies=AF_UNIX AF_INET AF_INET6
RestrictNamespaces=yes
RestrictRealtime=yes
RestrictSUIDSGID=yes
LockPersonality=yes
RemoveIPC=yes
SystemCallArchitectures=native
SystemCallFilter=@system-service
SystemCallFilter=~@privileged
SystemCallErrorNumber=EPERM
"""


def service(config: Config, command: Path, *, with_socket: bool) -> str:
    """The service unit. `command` is the absolute path of `supervisor`."""
    file = Path(config.file).absolute()
    directory = Path(config.master.working_directory or ".").absolute()
    reads = [command, file, directory]
    reads += [Path(sys.base_prefix)] if command == own_command() else []
    lines = [
        f"# {config.name}.service, for {file}",
        "[Unit]",
        f"Description={config.name}, run by supervisor",
        "After=network-online.target",
        "Wants=network-online.target",
        "# It is started again however often it fails; who gives up leaves the service down.",
        "StartLimitIntervalSec=0",
        *([f"Requires={config.name}.socket", f"After={config.name}.socket"] if with_socket else []),
        "",
        "[Service]",
        "Type=notify",
        f"ExecStart={_word(command)} start -c {_word(file)}",
        "# A new version takes over when all of it is ready; where it fails, this one goes on.",
        f"ExecReload={_word(command)} reload -c {_word(file)}",
        f"WorkingDirectory={_escaped(directory)}",
        *_identity(config),
        f"UMask={config.master.umask or '0022'}",
        f"RuntimeDirectory={config.name}",
        "# Its own deadlines come first: it explains what happened, a timeout here does not.",
        f"TimeoutStartSec={_deadline(_start_seconds(config))}",
        f"TimeoutStopSec={_deadline(config.master.longest_stop)}",
        "# Only the master is told; what is left after it is killed.",
        "KillMode=mixed",
        "Restart=on-failure",
        "# A wrong configuration (78) does not get better by itself.",
        "RestartPreventExitStatus=78",
        "SuccessExitStatus=SIGPWR",
        "# It ends the whole server by itself when a child dies, and says of what.",
        "OOMPolicy=continue",
        "# Restart it when the master is stuck; costs two wake-ups in this time.",
        "#WatchdogSec=60",
        "",
        *_capabilities(config, with_socket),
        *_HARDENING.format(
            private_tmp="no" if any(_below(path, "/tmp", "/var/tmp") for path in reads) else "yes",
            protect_home=_home(reads),
        ).splitlines(),
        *_writable(config),
        "",
        "[Install]",
        "WantedBy=multi-user.target",
    ]
    return "\n".join(lines) + "\n"


def socket_unit(config: Config) -> str | None:
    """The socket unit with every address that systemd can hold for us; None when there is none.

    The server binds the others itself: port 0, a unix socket in the runtime directory (it goes with
    the service), or one whose mode or owner is not the first one's (systemd has one for all).
    """
    entries = list(_held(config))
    if not entries:
        return None
    unix = [listen for _, listen in entries if listen.address.scheme == "unix"]
    lines = [
        f"# {config.name}.socket: stays open while the service restarts, so nobody is refused",
        "[Unit]",
        f"Description=Sockets of {config.name}",
        "",
        "[Socket]",
        *(_listen_line(listen) for _, listen in entries),
        "BindIPv6Only=ipv6-only",
        "NoDelay=yes",
        f"Backlog={max(section.common.backlog for section, _ in entries)}",
        *(_socket_file(unix[0], config) if unix else []),
        "",
        "[Install]",
        "WantedBy=sockets.target",
    ]
    return "\n".join(lines) + "\n"


def _start_seconds(config: Config) -> float:
    """A start that fails at its deadline still has to stop what did start."""
    return config.master.start_timeout + config.master.longest_stop


def _deadline(seconds: float) -> str:
    return f"{math.ceil(seconds)}s"


def _identity(config: Config) -> Iterator[str]:
    """systemd changes the user, so that the server never is root."""
    master = config.master
    if master.user:
        yield f"User={_escaped(master.user)}"
    if master.group:
        yield f"Group={_escaped(master.group)}"
    if not master.user:
        yield "# A user of its own, made for the time it runs. User= for one that owns files."
        yield "DynamicUser=yes"


def _capabilities(config: Config, with_socket: bool) -> list[str]:
    """None at all, but for ports below 1024 that no socket unit binds."""
    held = {listen.address for _, listen in _held(config)} if with_socket else set()
    low = any(
        listen.address.scheme != "unix"
        and 0 < listen.address.port < _LOWEST_FREE_PORT
        and listen.address not in held
        for _, listen in _entries(config)
    )
    if low:
        name = "CAP_NET_BIND_SERVICE"
        return [f"AmbientCapabilities={name}", f"CapabilityBoundingSet={name}"]
    return ["CapabilityBoundingSet="]


def _writable(config: Config) -> Iterator[str]:
    """ProtectSystem=strict leaves nothing to write but what is named."""
    runtime = f"/run/{config.name}"
    files = [config.log.file, config.master.pid_file]
    files += [listen.address.path for _, listen in _entries(config) if listen.address.path]
    files += [str(section.options.get("access_log_file", "")) for section in config.workers]
    files += [str(module.options.get("path", "")) for module in config.modules]
    base = Path(config.master.working_directory or ".").absolute()
    folders = {str((base / file).parent) for file in files if file}
    for folder in sorted(folders):
        if not _below(Path(folder), runtime, "/dev", "/tmp"):
            yield f"ReadWritePaths={_escaped(folder)}"


def _home(reads: Iterable[Path]) -> str:
    below = any(_below(path, "/home", "/root", "/run/user") for path in reads)
    return "read-only" if below else "yes"


def _below(path: Path, *roots: str) -> bool:
    return any(path.is_relative_to(root) for root in roots)


def _entries(config: Config) -> Iterator[tuple[Section, Listen]]:
    for section in config.workers:
        for listen in section.listen:
            yield section, listen


def _held(config: Config) -> Iterator[tuple[Section, Listen]]:
    first: Listen | None = None
    for section, listen in _entries(config):
        address = listen.address
        if address.scheme == "unix":
            first = first or listen
            alike = (listen.mode, listen.owner) == (first.mode, first.owner)
            if alike and not _below(Path(address.path), f"/run/{config.name}"):
                yield section, listen
        elif address.is_fixed:
            yield section, listen


def _listen_line(listen: Listen) -> str:
    address = listen.address
    if address.scheme == "unix":
        return f"ListenStream={_escaped(address.path)}"
    host = _numeric(address.host)
    host = f"[{host}]" if ":" in host else host
    key = "ListenStream" if address.scheme == "tcp" else "ListenDatagram"
    return f"{key}={host}:{address.port}"


def _numeric(host: str) -> str:
    """The address of a host name, as our own bind would take it; systemd looks up no names."""
    try:
        found = socket.getaddrinfo(host, 0, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)
    except socket.gaierror:
        return host
    return str(found[0][4][0])


def _socket_file(listen: Listen, config: Config) -> Iterator[str]:
    mode = int(listen.mode, 8) if listen.mode else 0o777 & ~int(config.master.umask or "0022", 8)
    yield f"SocketMode={mode:04o}"
    user, _, group = listen.owner.partition(":")
    user, group = user or config.master.user, group or config.master.group
    if user:
        yield f"SocketUser={_escaped(user)}"
    if group:
        yield f"SocketGroup={_escaped(group)}"
    yield "RemoveOnStop=yes"


def _word(path: Path) -> str:
    """One word of a command line (systemd.service(5), "Command lines")."""
    text = _escaped(path).replace("$", "$$")
    if any(character in text for character in " \t\"'\\;"):
        text = '"' + text.replace("\\", "\\\\").replace('"', '\\"') + '"'
    return text


def _escaped(value: object) -> str:
    """A value without systemd's specifiers."""
    return str(value).replace("%", "%%")


def own_command() -> Path:
    """The absolute path of the `supervisor` that runs now."""
    beside = Path(sys.executable).with_name("supervisor")
    started = Path(sys.argv[0])
    return Path(os.path.abspath(started if started.name == "supervisor" else beside))
