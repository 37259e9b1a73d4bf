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
