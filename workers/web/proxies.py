"""Who a request comes from, where a proxy that we trust says so (X-Forwarded-For, -Proto)."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any


def wsgi(application: Any, trusted: Sequence[str]) -> Any:
    """The application behind the proxies whose addresses or networks are `trusted`."""
    if not trusted:
        return application
    from granian.utils.proxies import wrap_wsgi_with_proxy_headers

    return wrap_wsgi_with_proxy_headers(application, list(trusted))


def asgi(application: Any, trusted: Sequence[str]) -> Any:
    """As `wsgi`, for an ASGI application."""
    if not trusted:
        return application
    from granian.utils.proxies import wrap_asgi_with_proxy_headers

    return wrap_asgi_with_proxy_headers(application, list(trusted))


def rsgi(application: Any, trusted: Sequence[str]) -> Any:
    """As `wsgi`, for an RSGI application."""
    if not trusted:
        return application
    judged = wsgi(lambda facts, _: facts, trusted)

    def forward(scope: Any, protocol: Any) -> Any:
        facts = {
            "REMOTE_ADDR": host_of(scope.client),
            "wsgi.url_scheme": scope.scheme,
            "HTTP_X_FORWARDED_FOR": ", ".join(scope.headers.get_all("x-forwarded-for")),
            "HTTP_X_FORWARDED_PROTO": scope.headers.get("x-forwarded-proto"),
        }
        return application(_Forwarded(scope, judged(facts, None)), protocol)

    return forward


def host_of(client: str) -> str:
    """The address in the `client` of an RSGI scope, ADDRESS:PORT; "" where it has none."""
    return client.rpartition(":")[0].strip("[]")


class _Forwarded:
    """An RSGI scope, with `client` and `scheme` as a proxy says."""

    __slots__ = ("_scope", "client", "scheme")

    def __init__(self, scope: Any, facts: dict[str, str]) -> None:
        self._scope = scope
        self.scheme = facts["wsgi.url_scheme"]
        self.client = scope.client
        if (host := facts["REMOTE_ADDR"]) != host_of(scope.client):
            self.client = f"[{host}]:0" if ":" in host else f"{host}:0"

    def __getattr__(self, name: str) -> Any:
        return getattr(self._scope, name)
