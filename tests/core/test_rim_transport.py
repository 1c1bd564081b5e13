"""The transport over real sockets: what left, what was lost, what may not be spoken to at all."""

from __future__ import annotations

import asyncio
import gzip
import ipaddress
import itertools
import os
import socket
import tracemalloc
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

import httpcore
import httpx
import pytest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, Response
from starlette.routing import Route

from sales_crm_bridge.crm_http import AnswerLost, HostRules, HttpxTransport, NotSent, SocketTransport
from sales_crm_bridge.model import Effect, HttpCall
from sales_crm_bridge.rim import transport as wires
from sales_crm_bridge.rim.hosts import GuardedBackend, literal, public
from sales_crm_bridge.rim.transport import verified
from sales_crm_bridge.rim.wire import Wire
from sales_crm_bridge.simulate.loop import VirtualClock

LOCAL = HostRules(["127.0.0.1"])
Handler = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


@asynccontextmanager
async def served(handler: Handler) -> AsyncIterator[str]:
    """A raw server on a free port; its address."""
    server = await asyncio.start_server(_closing(handler), "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    async with server:
        yield f"http://127.0.0.1:{port}"


def _closing(handler: Handler) -> Handler:
    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        try:
            await reader.readuntil(b"\r\n\r\n")
            await handler(reader, writer)
        except (ConnectionError, asyncio.IncompleteReadError):
            pass
        finally:
            writer.close()

    return handle


def saying(*parts: bytes) -> Handler:
    """A server that sends these bytes and closes."""

    async def handle(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        for part in parts:
            writer.write(part)
            await writer.drain()

    return handle


@asynccontextmanager
async def transport(rules: HostRules = LOCAL, **more: Any) -> AsyncIterator[HttpxTransport]:
    """A transport over sockets, closed at the end."""
    made = HttpxTransport(SocketTransport(rules, in_flight=4), **more)
    try:
        yield made
    finally:
        await made.close()


async def ask(url: str, *, method: str = "GET", body: bytes = b"", timeout_s: float = 20.0, **more: Any) -> Any:
    """One request over a transport of its own."""
    async with transport(**more) as made:
        return await made.send(method, url, [("accept-encoding", "gzip")], body, timeout_s)


async def test_an_answer_comes_whole_over_a_kept_connection() -> None:
    """Status, headers in lower case and body; ten calls use one connection."""
    connections = 0

    async def handle(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal connections
        connections += 1
        while True:
            writer.write(b"HTTP/1.1 201 Created\r\nX-Thing: a\r\nX-Thing: b\r\nContent-Length: 2\r\n\r\nhi")
            await writer.drain()
            await reader.readuntil(b"\r\n\r\n")

    async with served(handle) as address, transport() as made:
        for _ in range(10):
            status, headers, body = await made.send("GET", f"{address}/x", [], b"", 20)
            assert (status, body) == (201, b"hi")
            assert headers.count(("x-thing", "a")) == headers.count(("x-thing", "b")) == 1
    assert connections == 1


class Keeping:
    """A server that keeps its connections and answers after ``wait_s``: which one each call came by, and which are open."""

    def __init__(self, wait_s: float) -> None:
        self._wait_s = wait_s
        self._numbers = itertools.count()
        self.came: list[int] = []
        self.there: list[int] = []
        self.arrived = asyncio.Event()

    async def handle(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        number = next(self._numbers)
        self.there.append(number)
        try:
            while True:
                self.came.append(number)
                self.arrived.set()
                await asyncio.sleep(self._wait_s)
                writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi")
                await writer.drain()
                await reader.readuntil(b"\r\n\r\n")
        finally:
            self.there.remove(number)


async def test_as_many_connections_as_calls_at_the_same_time_and_no_more_than_may_be() -> None:
    """Four for six calls together: two wait. One after the other they all go by the one that was used last."""
    crm = Keeping(0.05)
    async with served(crm.handle) as address, transport() as made:

        async def call() -> None:
            assert (await made.send("GET", f"{address}/x", [], b"", 20))[0] == 200

        await asyncio.gather(*(call() for _ in range(6)))
        assert sorted(set(crm.came)) == [0, 1, 2, 3]
        assert len(crm.came) == 6
        del crm.came[:]
        for _ in range(3):
            await call()
        assert len(set(crm.came)) == 1


async def test_a_call_for_which_no_connection_becomes_free_is_not_sent() -> None:
    """It had waited its time in our own queue: nothing left us, and the call that was under way is not disturbed."""
    crm = Keeping(1.0)
    async with served(crm.handle) as address:
        inner = SocketTransport(LOCAL, in_flight=1)
        made = HttpxTransport(inner, connect_timeout_s=0.1)
        first = asyncio.create_task(made.send("GET", f"{address}/x", [], b"", 20))
        await crm.arrived.wait()
        with pytest.raises(NotSent, match=r"http\.pool-timeout"):
            await made.send("GET", f"{address}/x", [], b"", 20)
        assert (await first)[0] == 200
        assert len(crm.came) == 1
        assert (await made.send("GET", f"{address}/x", [], b"", 20))[0] == 200
        await made.close()


async def test_connections_that_nobody_uses_are_closed_by_the_next_call(monkeypatch: pytest.MonkeyPatch) -> None:
    """A burst leaves no sockets behind; also what a failed or an abandoned call has used is given back."""
    monkeypatch.setattr(wires, "KEEP_ALIVE_S", 0.05)
    crm = Keeping(0.02)
    async with served(crm.handle) as address, transport() as made:
        url = f"{address}/x"
        await asyncio.gather(*(made.send("GET", url, [], b"", 20) for _ in range(4)))
        assert len(crm.there) == 4
        left = asyncio.create_task(made.send("GET", url, [], b"", 20))
        await asyncio.sleep(0)
        left.cancel()
        await asyncio.gather(left, return_exceptions=True)
        for _ in range(2):  # the first closes the others, and is itself too old for the second
            await asyncio.sleep(0.1)
            await made.send("GET", url, [], b"", 20)
        await asyncio.sleep(0.05)
        assert len(crm.there) == 1
        await asyncio.gather(*(made.send("GET", url, [], b"", 20) for _ in range(4)))


async def test_what_is_free_may_be_taken_while_unused_connections_are_closed(monkeypatch: pytest.MonkeyPatch) -> None:
    """Closing takes a while, and other calls begin in it: they take what is free, and everybody is answered."""
    monkeypatch.setattr(wires, "KEEP_ALIVE_S", 0.05)
    crm = Keeping(0.02)
    async with served(crm.handle) as address, transport() as made:
        url = f"{address}/x"
        await asyncio.gather(*(made.send("GET", url, [], b"", 20) for _ in range(4)))
        await asyncio.sleep(0.1)
        close = httpcore.AsyncConnectionPool.aclose
        others: list[asyncio.Task[Any]] = []

        async def slow(pool: httpcore.AsyncConnectionPool) -> None:
            if not others:
                others.extend(asyncio.create_task(made.send("GET", url, [], b"", 20)) for _ in range(4))
                await asyncio.sleep(0.01)
            await close(pool)

        monkeypatch.setattr(httpcore.AsyncConnectionPool, "aclose", slow)
        assert (await made.send("GET", url, [], b"", 20))[0] == 200
        assert [status for status, _, _ in await asyncio.gather(*others)] == [200] * 4


async def test_closing_ends_the_calls_under_way() -> None:
    """No connection outlives its transport."""
    crm = Keeping(5.0)
    async with served(crm.handle) as address:
        made = HttpxTransport(SocketTransport(LOCAL, in_flight=2))
        under_way = asyncio.create_task(made.send("GET", f"{address}/x", [], b"", 20))
        await crm.arrived.wait()
        await made.close()
        with pytest.raises(AnswerLost):
            await under_way


@pytest.mark.parametrize(
    "parts",
    [
        (),
        (b"HTTP/1.1 200 OK\r\nContent-Le",),
        (b"HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\n", b"half of it"),
        (b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", b"5\r\nhel"),
        (b"what is this\r\n\r\n",),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nContent-Length: 9\r\n\r\n", b"not gzip!"),
        (b"HTTP/1.1 200 OK\r\nContent-Encoding: gzip\r\nConnection: close\r\n\r\n", gzip.compress(b"x" * 999)[:-9]),
    ],
    ids=["nothing", "in the head", "after the head", "in a chunk", "not HTTP", "broken packing", "packing cut"],
)
async def test_an_answer_that_is_cut_is_lost(parts: tuple[bytes, ...]) -> None:
    """The request has arrived, so whatever is missing of the answer: AnswerLost, never NotSent, never half a body."""
    async with served(saying(*parts)) as address:
        with pytest.raises(AnswerLost):
            await ask(f"{address}/x", method="POST", body=b"{}")


async def test_a_refused_connection_is_not_sent() -> None:
    """Nobody listens: nothing left us."""
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    with pytest.raises(NotSent) as caught:
        await ask(f"http://127.0.0.1:{port}/x", method="POST", body=b"{}")
    assert (caught.value.reason, caught.value.forbidden) == ("http.connect-error", False)


@pytest.mark.parametrize("packed", [False, True])
async def test_a_body_beyond_the_limit_is_cut_off(*, packed: bool) -> None:
    """Plain or packed (a bomb of 10 MB in 10 kB): reading stops at the limit, and trying again is called hopeless."""
    plain = b"x" * 10_000_000
    body = gzip.compress(plain) if packed else plain
    head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\n{'Content-Encoding: gzip' if packed else 'X: y'}\r\n\r\n"
    async with served(saying(head.encode(), body)) as address:
        with pytest.raises(AnswerLost) as caught:
            await ask(f"{address}/x", body_bytes_max=1_000_000)
        assert (caught.value.reason, caught.value.hopeless) == ("http.body-too-large", True)


async def test_a_bomb_is_not_unpacked_before_it_is_seen_to_be_one() -> None:
    """50 MB in one packed part of 50 kB: what is held stays near the limit."""
    bomb = gzip.compress(b"x" * 50_000_000)

    def handle(_: httpx.Request) -> httpx.Response:
        return httpx.Response(200, headers={"content-encoding": "gzip"}, stream=httpx.ByteStream(bomb))

    made = HttpxTransport(httpx.MockTransport(handle), body_bytes_max=100_000)
    tracemalloc.start()
    try:
        with pytest.raises(AnswerLost):
            await made.send("GET", "https://crm.example/", [], b"", 5)
        assert tracemalloc.get_traced_memory()[1] < 5_000_000
    finally:
        tracemalloc.stop()


@pytest.mark.parametrize("encoding", ["gzip", "deflate"])
async def test_a_packed_body_within_the_limit_is_unpacked(encoding: str) -> None:
    """A body of exactly the limit comes through; one byte more does not."""
    for extra, good in ((0, True), (1, False)):
        plain = os.urandom(1000) * 100 + b"x" * extra
        body = gzip.compress(plain) if encoding == "gzip" else zlib.compress(plain)
        head = f"HTTP/1.1 200 OK\r\nContent-Length: {len(body)}\r\nContent-Encoding: {encoding}\r\n\r\n"
        async with served(saying(head.encode(), body[:777], body[777:])) as address:
            if good:
                assert (await ask(f"{address}/x", body_bytes_max=100_000))[2] == plain
            else:
                with pytest.raises(AnswerLost):
                    await ask(f"{address}/x", body_bytes_max=100_000)


async def test_an_answer_that_never_ends_is_given_up() -> None:
    """A byte now and then keeps every read alive, yet the whole has an end."""

    async def drip(_: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(b"HTTP/1.1 200 OK\r\nContent-Length: 1000000\r\n\r\n")
        while True:
            writer.write(b".")
            await writer.drain()
            await asyncio.sleep(0.01)

    async with served(drip) as address:
        with pytest.raises(AnswerLost) as caught:
            await ask(f"{address}/x", timeout_s=0.2)
        assert caught.value.reason == "http.timeout"


async def test_a_silent_server_is_given_up() -> None:
    """It took the request and says nothing: lost, not unsent."""

    async def silent(reader: asyncio.StreamReader, _: asyncio.StreamWriter) -> None:
        await reader.read()

    async with served(silent) as address:
        with pytest.raises(AnswerLost):
            await ask(f"{address}/x", method="POST", body=b"{}", timeout_s=0.2)


async def test_a_header_that_cannot_be_sent_is_forbidden_and_not_quoted() -> None:
    """A line end in a token would split the request: nothing leaves, and the error does not show the token."""
    async with served(saying(b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n")) as address, transport() as made:
        with pytest.raises(NotSent) as caught:
            await made.send("GET", f"{address}/x", [("authorization", "Bearer abc\r\nx-evil: 1")], b"", 5)
    assert caught.value.forbidden
    assert caught.value.__cause__ is None
    assert caught.value.__suppress_context__


async def test_an_app_in_the_process_needs_no_socket() -> None:
    """The same transport carries a call to an ASGI app."""

    async def echo(request: Request) -> Response:
        return JSONResponse({"host": request.headers["host"], "body": (await request.body()).decode()})

    app = Starlette(routes=[Route("/x", echo, methods=["POST"])])
    made = HttpxTransport(httpx.ASGITransport(app))
    status, _, body = await made.send("POST", "https://crm.example/x", [], b"hello", 5)
    assert (status, body) == (200, b'{"host":"crm.example","body":"hello"}')
    await made.close()


# --- where calls may go -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    "address",
    [
        *(
            "127.0.0.1",
            "10.1.2.3",
            "172.16.0.1",
            "192.168.1.1",
            "169.254.169.254",
            "100.64.0.1",
            "0.0.0.1",
            str(ipaddress.IPv4Address(0)),
            "224.0.0.1",
        ),
        *(
            "255.255.255.255",
            "192.0.2.1",
            "198.18.0.1",
            "240.0.0.1",
            "::1",
            "::",
            "fe80::1",
            "fc00::1",
            "fd00:ec2::254",
        ),
        *("::ffff:127.0.0.1", "::ffff:169.254.169.254", "64:ff9b::7f00:1", "64:ff9b:1::1", "2002:7f00:1::", "ff02::1"),
        *("2001:db8::1", "fec0::1"),
    ],
)
def test_an_address_that_is_not_of_the_open_internet_is_seen_as_such(address: str) -> None:
    """Private, loopback, link-local, metadata, shared, reserved, multicast, and IPv4 wrapped in IPv6."""
    assert not public(ipaddress.ip_address(address))


@pytest.mark.parametrize("address", ["1.1.1.1", "104.16.0.1", "2606:4700::1111", "64:ff9b::101:101", "::ffff:1.1.1.1"])
def test_an_address_of_the_open_internet_is_let_through(address: str) -> None:
    """The rule refuses no CRM."""
    assert public(ipaddress.ip_address(address))


@pytest.mark.parametrize(
    ("url", "reason"),
    [
        ("http://crm.example/", "http.plain-text"),
        ("http://127.0.0.1:9/", "http.plain-text"),
        ("https://127.0.0.1:9/", "http.private-address"),
        ("https://[::1]:9/", "http.private-address"),
        ("https://169.254.169.254/latest/meta-data", "http.private-address"),
        ("https://localhost:9/", "http.private-address"),
    ],
)
async def test_what_the_tenants_file_does_not_name_is_refused(url: str, reason: str) -> None:
    """Plain text and private addresses, by number and by name: nothing is sent, and it never will be."""
    with pytest.raises(NotSent) as caught:
        await ask(url, rules=HostRules())
    assert (caught.value.reason, caught.value.forbidden) == (reason, True)


class Network(httpcore.AsyncNetworkBackend):
    """Records where connections go; refuses those in ``dead``."""

    def __init__(self, dead: tuple[str, ...] = ()) -> None:
        self.dead = dead
        self.went: list[str] = []

    async def connect_tcp(self, host: str, port: int, *_: Any, **__: Any) -> httpcore.AsyncNetworkStream:
        """Note the address."""
        self.went.append(host)
        if host in self.dead:
            raise httpcore.ConnectError
        return httpcore.AsyncMockStream([b"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"])


def resolver(*answers: list[str]) -> tuple[Callable[[str, int], Awaitable[list[str]]], list[str]]:
    """A resolver that gives these answers in turn, the last one for ever; and the names it was asked for."""
    asked: list[str] = []

    async def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        return answers[min(len(asked), len(answers)) - 1]

    return resolve, asked


async def test_a_name_cannot_mean_one_address_to_the_check_and_another_to_the_socket() -> None:
    """DNS rebinding: one look-up, and the connection goes to the very address that was checked."""
    resolve, asked = resolver(["104.16.0.1"], ["127.0.0.1"])
    network = Network()
    await GuardedBackend(HostRules(), resolve, network).connect_tcp("crm.example", 443)
    assert (asked, network.went) == (["crm.example"], ["104.16.0.1"])
    with pytest.raises(NotSent, match=r"http\.private-address"):
        await GuardedBackend(HostRules(), resolve, network).connect_tcp("crm.example", 443)
    assert network.went == ["104.16.0.1"]


async def test_one_private_address_among_public_ones_is_enough_to_refuse() -> None:
    """A name that also points inside is not trusted at all."""
    resolve, _ = resolver(["104.16.0.1", "::ffff:10.0.0.7"])
    network = Network()
    with pytest.raises(NotSent):
        await GuardedBackend(HostRules(), resolve, network).connect_tcp("crm.example", 443)
    assert not network.went


async def test_the_next_address_is_tried_when_one_does_not_answer() -> None:
    """In the resolver's order; a host that the file names may be private."""
    resolve, _ = resolver(["10.0.0.1", "10.0.0.2", "10.0.0.3"])
    network = Network(dead=("10.0.0.1", "10.0.0.2"))
    await GuardedBackend(HostRules(["CRM.internal."]), resolve, network).connect_tcp("crm.internal", 443, timeout=3)
    assert network.went == ["10.0.0.1", "10.0.0.2", "10.0.0.3"]


async def test_a_name_that_does_not_resolve_is_not_sent() -> None:
    """No such name, no addresses: nothing left."""

    async def fails(host: str, port: int) -> list[str]:
        raise socket.gaierror

    for resolve in (fails, resolver([])[0]):
        inner = SocketTransport(HostRules(), in_flight=1, resolve=resolve, network=Network())
        with pytest.raises(NotSent) as caught:
            await HttpxTransport(inner).send("GET", "https://crm.example/", [], b"", 5)
        assert not caught.value.forbidden
        await inner.aclose()


def test_an_address_in_brackets_or_with_a_zone_is_read() -> None:
    """As URLs and resolvers write them."""
    assert literal("[::1]") == literal("::1%lo") == ipaddress.ip_address("::1")
    assert literal("crm.example") is None


# --- the wire: redirects ----------------------------------------------------------------------------------------------

REFUSED = "refused:"


def redirecting(
    to: str, status: int = 302, times: int = 1
) -> tuple[Callable[[httpx.Request], httpx.Response], list[httpx.Request]]:
    """A CRM that redirects ``times`` times, then answers; and what it saw."""
    seen: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        return httpx.Response(status, headers={"location": to}) if len(seen) <= times else httpx.Response(200)

    return handle, seen


async def follow(
    to: str, *, effect: Effect = Effect.READ, method: str = "GET", status: int = 302, times: int = 1
) -> list[httpx.Request]:
    """Send one call to a CRM that redirects; what it saw."""
    handle, seen = redirecting(to, status, times)
    clock = VirtualClock(asyncio.get_running_loop(), 0)
    wire = Wire("https://crm.example/base/", HttpxTransport(httpx.MockTransport(handle)), clock, 5)
    call = HttpCall(method=method, path="/leads", effect=effect, query=(("a", "x y&z"),))  # type: ignore[arg-type]
    try:
        await wire.send(call, (("Authorization", "Bearer secret"),))
    except AnswerLost as lost:
        return [*seen, httpx.Request("GET", REFUSED if lost.hopeless else lost.reason)]
    return seen


async def test_sign_ins_go_to_their_own_address_and_nothing_else_does() -> None:
    """A CRM with a host of its own for sign-ins: they go there, all else to the CRM, whose clock alone counts."""
    seen: list[httpx.Request] = []

    def handle(request: httpx.Request) -> httpx.Response:
        seen.append(request)
        date = "Thu, 01 Jan 1970 00:01:00 GMT" if request.url.host == "crm.example" else "Thu, 01 Jan 1970 10:00:00 GMT"
        return httpx.Response(200, headers={"date": date})

    clock = VirtualClock(asyncio.get_running_loop(), 0)
    transport = HttpxTransport(httpx.MockTransport(handle))
    wire = Wire("https://crm.example/base", transport, clock, 5, "https://login.example/")
    for effect in (Effect.READ, Effect.SIGN_IN, Effect.WRITE, Effect.SIGN_IN):
        await wire.send(HttpCall(method="POST", path="/x", effect=effect), ())
    assert [str(request.url) for request in seen] == [
        "https://crm.example/base/x", "https://login.example/x", "https://crm.example/base/x", "https://login.example/x",
    ]  # fmt: skip
    assert 60_000_000 <= wire.crm_now_us() < 120_000_000


@pytest.mark.parametrize("to", ["/other", "https://crm.example/other", "https://crm.example:443/other", "other?x=1"])
async def test_a_reading_call_follows_a_redirect_to_the_same_origin(to: str) -> None:
    """The credentials go along, since it is the same host, port and scheme."""
    seen = await follow(to)
    assert [request.url.host for request in seen] == ["crm.example"] * 2
    assert str(seen[0].url) == "https://crm.example/base/leads?a=x%20y%26z"
    assert seen[1].headers["authorization"] == "Bearer secret"


@pytest.mark.parametrize(
    "to",
    [
        *("https://evil.example/", "//evil.example/", "http://crm.example/", "https://crm.example:444/"),
        *("https://crm.example@evil.example/", "https://x:y@crm.example/", "https://crm.example.evil.example/"),
        *("https://crm.example\\@evil.example/", "ftp://crm.example/", "https://[::1/"),
    ],
)
async def test_no_credential_follows_a_redirect_elsewhere(to: str) -> None:
    """Another host, port or scheme, also in disguise: one request, then the call ends."""
    assert [str(request.url) for request in await follow(to)] == [
        "https://crm.example/base/leads?a=x%20y%26z",
        REFUSED,
    ]


async def test_backslashes_lead_nowhere_else() -> None:
    """What a browser would read as another host stays a path of ours."""
    seen = await follow("https:\\\\evil.example/")
    assert [request.url.host for request in seen] == ["crm.example"] * 2


async def test_a_write_is_never_redirected_and_a_read_not_for_ever() -> None:
    """307 would repeat the body; a sign-in goes where it was sent; a loop ends after three hops."""
    assert str((await follow("/other", effect=Effect.WRITE, method="POST", status=307))[1].url) == REFUSED
    assert str((await follow("/other", effect=Effect.READ, method="POST", status=307))[1].url) == REFUSED
    assert str((await follow("/other", effect=Effect.SIGN_IN))[1].url) == REFUSED
    assert len(await follow("/leads", times=99)) == 4 + 1
    assert len(await follow("/leads", times=3)) == 4


async def test_the_certificates_of_all_authorities_are_read_once(monkeypatch: pytest.MonkeyPatch) -> None:
    """A process has a transport for each account, and they would take a megabyte for each."""
    verified.cache_clear()
    read: list[object] = []
    make = httpx.create_ssl_context

    def counted(**rules: Any) -> object:
        read.append(rules)
        return make(**rules)

    monkeypatch.setattr(httpx, "create_ssl_context", counted)
    for _ in range(3):
        await SocketTransport(HostRules(), in_flight=1).aclose()
    assert read == [{"trust_env": False}]
