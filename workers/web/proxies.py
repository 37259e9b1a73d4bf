"""Who a request of RSGI comes from, where proxies that we trust say so."""

from __future__ import annotations

from typing import Any, Final

from supervisor.workers.web.forwarded import Trust, joined, origin

_NAMES: Final = ("forwarded", "x-forwarded-for", "x-forwarded-proto")


def seen(scope: Any, trust: Trust) -> Any:
    """The scope as the proxies that we trust tell it."""
    return _Forwarded(scope, trust) if trust else scope


def host_of(client: str) -> str:
    """The address in the `client` of an RSGI scope, ADDRESS:PORT; "" where it has none."""
    return client.rpartition(":")[0].strip("[]")


class _Forwarded:
    """An RSGI scope, with `client` and `scheme` as a proxy says."""

    __slots__ = ("_scope", "client", "scheme")

    def __init__(self, scope: Any, trust: Trust) -> None:
        host, port = host_of(scope.client), scope.client.rpartition(":")[2]
        fields = [
            (name.encode(), value.encode("latin-1"))
            for name in _NAMES
            for value in scope.headers.get_all(name)
        ]
        came = origin(host, int(port or 0), scope.scheme, joined(fields), trust)
        self._scope = scope
        self.scheme = came.scheme
        self.client = scope.client
        if came.client and came.client != host:
            name = f"[{came.client}]" if ":" in came.client else came.client
            self.client = f"{name}:{came.port}"

    def __getattr__(self, name: str) -> Any:
        return getattr(self._scope, name)
