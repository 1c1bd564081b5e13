"""Spans to a collector over OTLP/HTTP, by OpenTelemetry's SDK. Imported only where an endpoint is configured.

The SDK batches and sends in a thread of its own, with its own clock and retries; nothing of that reaches the flow, which hands
over spans that have their ids and times already. A collector that is away costs spans and log lines, nothing else.
"""

from __future__ import annotations

import asyncio
import logging
import threading
from importlib.metadata import version
from typing import TYPE_CHECKING

from opentelemetry import context as contexts
from opentelemetry import trace
from opentelemetry.exporter.otlp.proto.http import Compression
from opentelemetry.exporter.otlp.proto.http.trace_exporter import OTLPSpanExporter
from opentelemetry.sdk.resources import OTELResourceDetector, Resource
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import BatchSpanProcessor
from opentelemetry.sdk.trace.id_generator import IdGenerator
from opentelemetry.sdk.trace.sampling import ALWAYS_ON
from opentelemetry.trace import (
    Link,
    NonRecordingSpan,
    SpanContext,
    SpanKind,
    Status,
    StatusCode,
    TraceFlags,
    TraceState,
)

from sales_crm_bridge.tracing import Kind

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sales_crm_bridge.tracing import Context, Span

log = logging.getLogger(__name__)

SERVICE = "sales-crm-bridge"

_KINDS = {Kind.INTERNAL: SpanKind.INTERNAL, Kind.CLIENT: SpanKind.CLIENT, Kind.CONSUMER: SpanKind.CONSUMER}


class OtlpSpans:
    """``ports.SpanSink``: hands spans to the SDK, which sends them to ``endpoint`` (with its path) in batches.

    ``instance`` names this process. ``queue_max`` spans wait at most, the oldest are dropped; one export, its repetitions included,
    takes at most ``timeout_s``. What else the SDK can do is set by its own variables (``OTEL_EXPORTER_OTLP_CERTIFICATE``, say).
    """

    def __init__(
        self,
        endpoint: str,
        *,
        service: str,
        instance: str,
        headers: Mapping[str, str],
        queue_max: int,
        timeout_s: float,
        delay_s: float = 5.0,
    ) -> None:
        self._ids = _GivenIds()
        self._timeout_s = timeout_s
        ours = {
            "service.name": service,
            "service.version": version(SERVICE),
            "service.instance.id": instance,
        }
        # The environment's names (OTEL_SERVICE_NAME, OTEL_RESOURCE_ATTRIBUTES) are the deployment's own, and win.
        self._provider = TracerProvider(
            sampler=ALWAYS_ON,
            resource=Resource(ours).merge(OTELResourceDetector().detect()),
            id_generator=self._ids,
            shutdown_on_exit=False,
        )
        self._exporter = OTLPSpanExporter(
            endpoint=endpoint, headers=dict(headers) or None, timeout=timeout_s, compression=Compression.Gzip
        )
        self._provider.add_span_processor(
            BatchSpanProcessor(
                self._exporter,
                max_queue_size=queue_max,
                max_export_batch_size=min(512, queue_max),
                schedule_delay_millis=delay_s * 1000,
            )
        )
        self._tracer = self._provider.get_tracer(SERVICE, version(SERVICE))

    def ended(self, span: Span) -> None:
        """Queue it; a full queue drops its oldest."""
        context = span.context
        self._ids.trace_id, self._ids.span_id = int(context.trace_id, 16), int(context.span_id, 16)
        cause = contexts.Context()
        if span.parent:
            cause = trace.set_span_in_context(NonRecordingSpan(_place(context, span.parent)), cause)
        made = self._tracer.start_span(
            span.name,
            context=cause,
            kind=_KINDS[span.kind],
            attributes=span.attributes,
            links=[Link(_place(link)) for link in span.links],
            start_time=span.begun_us * 1000,
            record_exception=False,
        )
        if span.fault:
            made.set_attribute("error.type", span.fault)
            made.set_status(Status(StatusCode.ERROR))
        made.end(span.ended_us * 1000)

    async def close(self) -> None:
        """Send what waits, for at most ``timeout_s``; never raises."""
        loop, done = asyncio.get_running_loop(), asyncio.Event()

        def shut() -> None:
            self._provider.shutdown()
            if not loop.is_closed():
                loop.call_soon_threadsafe(done.set)

        # A daemon, so that a collector that does not answer cannot hold up the process's end.
        threading.Thread(target=shut, name="telemetry", daemon=True).start()
        try:
            async with asyncio.timeout(self._timeout_s):
                await done.wait()
        except TimeoutError:
            log.warning("the last spans were not sent in time", extra={"event": "telemetry.late"})


class _GivenIds(IdGenerator):
    """Gives the SDK the ids that the span already has."""

    def __init__(self) -> None:
        self.trace_id = self.span_id = 0

    def generate_span_id(self) -> int:
        return self.span_id

    def generate_trace_id(self) -> int:
        return self.trace_id


def _place(context: Context, span_id: str = "") -> SpanContext:
    return SpanContext(
        trace_id=int(context.trace_id, 16),
        span_id=int(span_id or context.span_id, 16),
        is_remote=True,
        trace_flags=TraceFlags(context.flags),
        trace_state=TraceState.from_header([context.state] if context.state else []),
    )
