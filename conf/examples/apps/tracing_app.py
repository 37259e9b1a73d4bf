"""Traces by OpenTelemetry's SDK, which is started in each child.

Its BatchSpanProcessor sends from a thread, and no thread lives on in a child that was begun before
the fork: an SDK that is set up at the import collects spans for ever and sends none.
"""

from collections.abc import Callable, Iterable
from typing import Any

from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor

from supervisor import Child, Module, Server

TRACER = trace.get_tracer(__name__)  # finds the provider when it is used


class Tracing(Module):
    """Where spans are sent, the environment says: OTEL_EXPORTER_OTLP_ENDPOINT and its kin."""

    def init(self, server: Server) -> None:
        self._name = server.name

    def child_init(self, child: Child) -> None:
        service = {"service.name": self._name, "service.instance.id": str(child.slot)}
        self._provider = TracerProvider(resource=Resource.create(service))
        self._provider.add_span_processor(BatchSpanProcessor(OTLPSpanExporter()))
        trace.set_tracer_provider(self._provider)

    def child_exit(self, child: Child) -> None:
        """Send what is still in hand."""
        self._provider.shutdown()


def app(environ: dict[str, Any], start_response: Callable[..., Any]) -> Iterable[bytes]:
    """One span a request."""
    with TRACER.start_as_current_span(f"{environ['REQUEST_METHOD']} {environ['PATH_INFO']}"):
        start_response("200 OK", [("Content-Type", "text/plain")])
        return [b"traced\n"]
