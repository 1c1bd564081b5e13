"""Spans on their way to a collector: a real OTLP/HTTP receiver on a socket, and one that is not there."""

from __future__ import annotations

import asyncio
import gzip
import socket
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field

import pytest
import uvicorn
from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import ExportTraceServiceRequest
from opentelemetry.proto.trace.v1.trace_pb2 import Span as WireSpan
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from sales_crm_bridge import operate
from sales_crm_bridge.settings import Settings
from sales_crm_bridge.telemetry import OtlpSpans
from sales_crm_bridge.tracing import Context, Kind, Span

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"


@dataclass
class Collector:
    """What came, and what to answer."""

    requests: list[ExportTraceServiceRequest] = field(default_factory=list)
    headers: list[dict[str, str]] = field(default_factory=list)
    statuses: list[int] = field(default_factory=list)
    address: str = ""

    async def take(self, request: Request) -> Response:
        """One export."""
        self.headers.append(dict(request.headers))
        if self.statuses:
            return Response(status_code=self.statuses.pop(0))
        body = await request.body()
        if request.headers.get("content-encoding") == "gzip":
            body = gzip.decompress(body)
        self.requests.append(ExportTraceServiceRequest.FromString(body))
        return Response(b"", media_type="application/x-protobuf")

    @property
    def spans(self) -> list[WireSpan]:
        """Every span that came."""
        return [
            span
            for request in self.requests
            for resource in request.resource_spans
            for scope in resource.scope_spans
            for span in scope.spans
        ]

    @property
    def resource(self) -> dict[str, str]:
        """The newest request's resource."""
        found = self.requests[-1].resource_spans[0].resource.attributes
        return {one.key: one.value.string_value for one in found}


@asynccontextmanager
async def collecting() -> AsyncIterator[Collector]:
    """A collector that listens on a free port."""
    collector = Collector()
    listener = socket.create_server(("127.0.0.1", 0))
    collector.address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    take: Callable[[Request], Awaitable[Response]] = collector.take
    app = Starlette(routes=[Route("/v1/traces", take, methods=["POST"])])
    server = uvicorn.Server(uvicorn.Config(app, log_config=None, lifespan="off"))
    serving = asyncio.create_task(server.serve(sockets=[listener]))
    try:
        yield collector
    finally:
        server.should_exit = True
        await serving


SENDERS = ("telemetry", "OtelBatch")
"""How the names of the threads begin that send what waits: ours, and the SDK's."""


def senders_have_ended() -> bool:
    """Wait until every sender has given up: what it logs later is no test's."""
    senders = [thread for thread in threading.enumerate() if thread.name.startswith(SENDERS)]
    for thread in senders:
        thread.join(20)
    return not any(thread.is_alive() for thread in senders)


def sink(endpoint: str, **more: object) -> OtlpSpans:
    values: dict[str, object] = {"headers": {}, "queue_max": 2048, "timeout_s": 5.0, "delay_s": 0.02} | more
    return OtlpSpans(endpoint, service="bridge-of-the-tests", instance="i-1", **values)  # type: ignore[arg-type]


def span(number: int = 1, **more: object) -> Span:
    values: dict[str, object] = {
        "name": "push",
        "kind": Kind.CONSUMER,
        "context": Context(trace_id=TRACE, span_id=f"{number:016x}", flags=1, state="a=1,b=2"),
        "parent": "00f067aa0ba902b7",
        "begun_us": 1_790_000_000_000_001,
        "ended_us": 1_790_000_000_500_002,
        "attributes": {"sales.tenant": "acme", "sales.attempt": 2},
        "links": (),
    }
    return Span(**(values | more))  # type: ignore[arg-type]


async def test_a_span_arrives_as_it_was_handed_over(monkeypatch: pytest.MonkeyPatch) -> None:
    """Ids, parent, state, times to the microsecond, attributes, links, status and resource: none is the SDK's own idea."""
    monkeypatch.setenv("OTEL_RESOURCE_ATTRIBUTES", "deployment.environment.name=test")
    async with collecting() as collector:
        spans = sink(f"{collector.address}/v1/traces", headers={"Authorization": "Bearer token-of-the-collector"})
        other = Context(trace_id="1" * 32, span_id="2" * 16, flags=1)
        spans.ended(span(links=(other,), fault="http.timeout"))
        spans.ended(span(2, parent="", kind=Kind.CLIENT))
        await spans.close()
    one, root = collector.spans
    assert (one.trace_id.hex(), one.span_id.hex()) == (TRACE, f"{1:016x}")
    assert (one.parent_span_id.hex(), one.trace_state) == ("00f067aa0ba902b7", "a=1,b=2")
    assert (one.start_time_unix_nano, one.end_time_unix_nano) == (1_790_000_000_000_001_000, 1_790_000_000_500_002_000)
    told = {pair.key: pair.value.string_value or pair.value.int_value for pair in one.attributes}
    assert told == {"sales.tenant": "acme", "sales.attempt": 2, "error.type": "http.timeout"}
    assert [(link.trace_id.hex(), link.span_id.hex()) for link in one.links] == [("1" * 32, "2" * 16)]
    assert (one.kind, one.status.code) == (WireSpan.SPAN_KIND_CONSUMER, 2)
    assert (root.trace_id.hex(), root.parent_span_id, root.kind) == (TRACE, b"", WireSpan.SPAN_KIND_CLIENT)
    assert collector.headers[0]["authorization"] == "Bearer token-of-the-collector"
    assert collector.resource["service.name"] == "bridge-of-the-tests"
    assert collector.resource["deployment.environment.name"] == "test"


async def test_the_environments_name_of_the_service_wins(monkeypatch: pytest.MonkeyPatch) -> None:
    """OTEL_SERVICE_NAME is what an operator sets for every workload the same way."""
    monkeypatch.setenv("OTEL_SERVICE_NAME", "leads-eu")
    async with collecting() as collector:
        spans = sink(f"{collector.address}/v1/traces")
        spans.ended(span())
        await spans.close()
    assert collector.resource["service.name"] == "leads-eu"


async def test_a_collector_that_is_busy_gets_the_spans_later() -> None:
    """A 503 is asked again by the sender's thread; the span arrives once."""
    async with collecting() as collector:
        collector.statuses = [503]
        spans = sink(f"{collector.address}/v1/traces")
        spans.ended(span())
        await spans.close()
        assert len(collector.headers) == 2
    assert len(collector.spans) == 1


def says_that_spans_were_lost(caplog: pytest.LogCaptureFixture) -> bool:
    """Which of them comes first, a full queue, a failed export or our own limit, is the scheduler's choice."""
    words = ("Queue full", "Failed to export", "the last spans were not sent in time")
    return any(word in record.getMessage() for record in caplog.records for word in words)


async def test_a_collector_that_is_away_costs_nothing_but_the_spans(caplog: pytest.LogCaptureFixture) -> None:
    """Ten thousand spans with nobody there and a small queue: no exception, and an end within the named limit."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        address = f"http://127.0.0.1:{listener.getsockname()[1]}"
    spans = sink(f"{address}/v1/traces", queue_max=512, timeout_s=0.2)
    for number in range(1, 10_001):
        spans.ended(span(number))
    await spans.close()
    assert senders_have_ended()
    spans.ended(span())  # after the end: dropped without a word to the caller
    assert says_that_spans_were_lost(caplog)


async def test_a_collector_that_never_answers_cannot_hold_up_the_end() -> None:
    """It accepts the connection and says nothing: the end comes all the same, long before the exporter would give up by itself."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        spans = sink(f"http://127.0.0.1:{listener.getsockname()[1]}/v1/traces", timeout_s=0.3)
        spans.ended(span())
        async with asyncio.timeout(8):
            await spans.close()
    assert senders_have_ended()


def settings(**telemetry: object) -> Settings:
    return Settings.model_validate({"telemetry": telemetry})


async def test_a_configured_endpoint_is_used_and_closed() -> None:
    """From the settings to the collector, with the last spans sent at the end."""
    async with collecting() as collector:
        async with operate.spans_of(settings(endpoint=collector.address)) as spans:
            assert spans is not None
            spans.ended(span())
        assert len(collector.spans) == 1
    assert collector.resource["service.name"] == "sales-crm-bridge"


@pytest.mark.parametrize(
    ("environ", "endpoint", "wanted"),
    [
        ({}, "", ""),
        ({}, "http://c:4318/", "http://c:4318/v1/traces"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://e:4318"}, "", "http://e:4318/v1/traces"),
        ({"OTEL_EXPORTER_OTLP_ENDPOINT": "http://e:4318"}, "http://c:4318", "http://c:4318/v1/traces"),
        ({"OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": "http://t/x"}, "", "http://t/x"),
        ({"OTEL_SDK_DISABLED": "TRUE"}, "http://c:4318", ""),
        ({"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": "http://e:4318"}, "", ""),
    ],
)
def test_the_settings_win_over_the_standard_variables(environ: dict[str, str], endpoint: str, wanted: str) -> None:
    """OpenTelemetry's own variables are understood, and can switch it off."""
    assert settings(endpoint=endpoint).telemetry.traces_endpoint(environ) == wanted


def test_without_an_endpoint_opentelemetry_is_not_even_imported() -> None:
    """A process that makes everything ready to run, with no endpoint: none of its modules is loaded."""
    program = (
        "import asyncio, sys\n"
        "from sales_crm_bridge import cli, operate, wiring\n"
        "from sales_crm_bridge.settings import Settings\n"
        "async def main():\n"
        "    async with operate.spans_of(Settings()) as spans:\n"
        "        assert spans is None\n"
        "asyncio.run(main())\n"
        "print(sorted(name for name in sys.modules if name.startswith('opentelemetry')))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, env={})
    assert done.stdout.strip() == "[]"
