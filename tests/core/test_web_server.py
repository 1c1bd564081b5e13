"""The HTTP side on a real socket: what is answered, what is cut off, and how it ends."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, MutableMapping
from dataclasses import replace
from typing import Any

import pytest

from sales_crm_bridge.errors import EnvironmentFault
from sales_crm_bridge.web import LineLimits, serve, server
from sales_crm_bridge.web.face import HEAD_BYTES_MAX
from sales_crm_bridge.web.lines import Line
from sales_crm_bridge.web.server import TAKEN_AT_ONCE
from tests.core.web_kit import House, event, house, signed
from tests.core.wire_kit import request, wire

LINES = LineLimits(head_s=60.0, answer_s=60.0, connections_max=100)

Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


@pytest.fixture
async def home() -> AsyncIterator[House]:
    """Give a face over a ledger in memory; all is well."""
    made = await house()
    yield made
    await made.ledger.close()


class Slow:
    """An application whose answers come when they are let go."""

    def __init__(self) -> None:
        self.begun = asyncio.Event()
        self.go_on = asyncio.Event()

    async def __call__(self, scope: Any, receive: Receive, send: Send) -> None:
        self.begun.set()
        await self.go_on.wait()
        await send({"type": "http.response.start", "status": 200, "headers": [(b"content-length", b"4")]})
        await send({"type": "http.response.body", "body": b"done"})


def serving(
    app: Any,
    host: str = "127.0.0.1",
    port: int = 0,
    limits: LineLimits = LINES,
    cut: Callable[[str], None] = lambda _why: None,
) -> contextlib.AbstractAsyncContextManager[tuple[int, asyncio.Task[None]]]:
    """Serve with limits that nothing here comes near to, unless told otherwise."""
    return serve(app, host, port, limits, cut)


def ipv6_is_there() -> bool:
    """Whether this machine has an address of that family at all: some containers know the family and have no address."""
    try:
        socket.create_server(("::1", 0), family=socket.AF_INET6).close()
    except OSError:
        return False
    return socket.has_dualstack_ipv6()


async def test_a_delivery_over_a_real_socket_is_taken(home: House) -> None:
    """200 for a signed delivery, several on one connection, and the ledger has them; the server says nothing of itself."""
    async with serving(home.face.app) as (port, _), wire(port) as crm:
        for number in (512, 513):
            body, headers = signed([event(number)])
            fields = [f"{name}: {value}" for name, value in headers.items()]
            await crm.send(request("POST", "/webhooks/acme/main", f"Content-Length: {len(body)}", *fields, body=body))
            assert await crm.answer() == (200, b"{}")
        assert "server" not in crm.headers
        assert await home.heard() == ["512", "513"]


async def test_the_head_of_a_request_has_a_limit(home: House) -> None:
    """A head beyond the limit is refused, whether it has come whole or not, and the connection closes; one below it is served."""
    async with serving(home.face.app) as (port, _):
        for end in (b"", b"\r\n\r\n"):
            async with wire(port) as one:
                await one.send(b"GET /healthz HTTP/1.1\r\nHost: x\r\nX: " + b"a" * 3 * HEAD_BYTES_MAX + end)
                status, _ = await one.answer()
                assert status in (400, 431)
                assert await one.ended()
        async with wire(port) as one:
            await one.send(request("GET", "/healthz", "X: " + "a" * (HEAD_BYTES_MAX - 1000)))
            assert await one.answer() == (200, b"ok\n")


async def test_what_is_no_http_is_refused(home: House) -> None:
    """400, and the connection is closed: a TLS hello on the plain port, say."""
    async with serving(home.face.app) as (port, _), wire(port) as one:
        await one.send(b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03")
        assert (await one.answer())[0] == 400
        assert await one.ended()


async def test_a_request_under_way_is_finished_before_the_end() -> None:
    """At the end what is under way gets its answer, what is idle is closed, and nothing new is taken."""
    slow = Slow()
    async with contextlib.AsyncExitStack() as stack:
        port, task = await stack.enter_async_context(serving(slow))
        async with wire(port) as busy, wire(port) as idle:
            await idle.send(b"GET / HT")
            await busy.send(request("GET", "/"))
            await slow.begun.wait()
            assert not task.done()
            leaving = asyncio.create_task(stack.aclose())
            assert await idle.ended()
            asyncio.get_running_loop().call_later(
                0.3, slow.go_on.set
            )  # when the server already waits for the last of them
            assert await busy.answer() == (200, b"done")
            assert await busy.ended()
            await leaving
        assert task.done()
        with pytest.raises(ConnectionError):
            await asyncio.open_connection("127.0.0.1", port)


async def test_an_address_that_is_taken_is_a_matter_of_the_environment(home: House) -> None:
    """A port that somebody has, or an address that is none of ours: the code, the setting and what to do, before anything runs."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        for host, port in (("127.0.0.1", other.getsockname()[1]), ("192.0.2.1", 0)):
            with pytest.raises(EnvironmentFault) as told:
                async with serving(home.face.app, host, port):
                    raise AssertionError("it listens")
            assert (told.value.code, told.value.place) == ("http.port-taken", "port_http")
            assert "PORT_HTTP" in told.value.remedy


async def test_all_addresses_are_listened_on_where_none_is_named(home: House) -> None:
    """Without `web.host` the machine is reached over each family that it has."""
    async with serving(home.face.app, "", 0) as (port, _):
        async with wire(port) as one:
            assert (await one.get("/healthz"))[0] == 200
        if ipv6_is_there():
            async with wire(port, "::1") as one:
                assert (await one.get("/healthz"))[0] == 200


async def test_who_connects_and_asks_nothing_is_cut_off(home: House) -> None:
    """Over a real socket too: nothing, or half a head, on a new connection or on one that has been answered before."""
    cut: list[str] = []
    async with serving(home.face.app, limits=replace(LINES, head_s=0.05), cut=cut.append) as (port, _):
        for begun in (b"", b"GET /healthz HTT"):
            async with wire(port) as one:
                await one.send(begun)
                assert await one.ended()
        async with wire(port) as one:
            assert (await one.get("/healthz"))[0] == 200
            await one.send(b"GET /healthz HTT")
            assert await one.ended()
    assert cut == ["slow"] * 3


async def test_a_crowd_that_asks_nothing_locks_nobody_out(home: House) -> None:
    """With many more silent connections than there may be, a probe is answered, and those that had to go are counted."""
    few = replace(LINES, connections_max=5)
    async with serving(home.face.app, limits=few, cut=home.face.cut) as (port, _), contextlib.AsyncExitStack() as crowd:
        for _ in range(20):
            await crowd.enter_async_context(wire(port))
        async with wire(port) as probe:
            assert await probe.get("/healthz") == (200, b"ok\n")
            _, page = await probe.get("/metrics")
    assert b'sales_crm_bridge_http_connections_cut_total{why="room"} 16.0' in page
    assert b'sales_crm_bridge_http_connections_cut_total{why="slow"} 0.0' in page


async def test_a_rush_is_taken_little_by_little(home: House, monkeypatch: pytest.MonkeyPatch) -> None:
    """A hundred that connect at the same moment wait in the machine, and no more than a few beyond the limit are ever open."""
    opened, gone, most = 0, 0, 0

    class Counted(Line):
        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]  # as the original's
            nonlocal opened, most
            opened += 1
            most = max(most, opened - gone)
            super().connection_made(transport)

        def connection_lost(self, exc: Exception | None) -> None:
            nonlocal gone
            gone += 1
            super().connection_lost(exc)

    monkeypatch.setattr(server, "Line", Counted)
    async with serving(home.face.app, limits=replace(LINES, connections_max=5)) as (port, _):
        async with wire(port) as one:
            assert (await one.get("/healthz"))[0] == 200  # it has begun
        with contextlib.ExitStack() as crowd:
            for _ in range(100):
                crowd.enter_context(socket.create_connection(("127.0.0.1", port), timeout=5))
            async with wire(port) as one:
                assert (await one.get("/healthz"))[0] == 200
    assert opened == 102
    assert most <= 5 + 3 * TAKEN_AT_ONCE


async def test_a_process_with_few_files_says_that_it_keeps_fewer_connections(
    home: House, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The setting cannot be kept, and whoever made it should know."""
    monkeypatch.setattr(resource, "getrlimit", lambda _: (100, 100))
    async with serving(home.face.app):
        pass
    told = [vars(record) for record in caplog.records if hasattr(record, "event")]
    assert [(one["event"], one["connections"]) for one in told] == [("http.few-files", 50)]
