"""The far side of the rim: one HTTP request over httpx, its answer read within limits, its end told apart."""

from __future__ import annotations

import asyncio
import re
import socket
import zlib
from functools import cache
from typing import TYPE_CHECKING

import httpcore
import httpx

from sales_crm_bridge.rim.hosts import GuardedBackend, HostRules
from sales_crm_bridge.rim.terms import AnswerLost, NotSent

if TYPE_CHECKING:
    import ssl
    from collections.abc import AsyncIterator, Awaitable, Callable, Sequence

BODY_BYTES_MAX = 33_554_432
CONNECT_TIMEOUT_S = 10.0

KEEP_ALIVE_S = 4.0
"""An idle connection is closed by us after so long: sooner than servers do it, whose closing can cross a request on its way."""

_GZIP_OR_ZLIB = 47  # zlib's window bits for "look at the header"

_NOT_SENT = (
    httpx.ConnectError,
    httpx.ConnectTimeout,
    httpx.PoolTimeout,
    httpx.ProxyError,
    httpx.UnsupportedProtocol,
    httpcore.ConnectError,
    httpcore.ConnectTimeout,
    httpcore.PoolTimeout,
    httpcore.ProxyError,
    httpcore.UnsupportedProtocol,
)
_MALFORMED = (httpx.LocalProtocolError, httpcore.LocalProtocolError, httpx.InvalidURL, UnicodeError)
_LOST = (httpx.TransportError, httpcore.TimeoutException, httpcore.NetworkError, httpcore.ProtocolError, OSError)


async def system_addresses(host: str, port: int) -> list[str]:
    """What the machine's resolver says about ``host``, in its order."""
    found = await asyncio.get_running_loop().getaddrinfo(host, port, type=socket.SOCK_STREAM)
    return [str(entry[4][0]) for entry in found]


@cache
def verified() -> ssl.SSLContext:
    """TLS as every account has it, made once: the certificates of all authorities take a megabyte and many milliseconds."""
    return httpx.create_ssl_context(trust_env=False)


class SocketTransport(httpx.AsyncBaseTransport):
    """httpx's lowest layer over guarded connections: HTTP/1.1, kept alive, TLS verified.

    Environment variables that name proxies or certificates are not read: ``proxy`` and ``tls`` say it in so many words.
    Behind a proxy it is the proxy that connects, so there only the name of the host is judged.

    Each connection is a pool of one, and the one that was used last is used next. A pool of many looks at all of its connections,
    and asks each idle one's socket, for every request: with 32 of them that cost more than the request.
    """

    def __init__(
        self,
        rules: HostRules,
        *,
        in_flight: int,
        tls: ssl.SSLContext | None = None,
        proxy: str = "",
        resolve: Callable[[str, int], Awaitable[list[str]]] = system_addresses,
        network: httpcore.AsyncNetworkBackend | None = None,
    ) -> None:
        self._rules = rules
        self._tls = tls or verified()
        self._proxy = proxy
        inner = network or httpcore.AnyIOBackend()
        self._network = inner if proxy else GuardedBackend(rules, resolve, inner)
        self._room = asyncio.Semaphore(in_flight)
        self._free: list[tuple[httpcore.AsyncConnectionPool, float]] = []
        self._busy: list[httpcore.AsyncConnectionPool] = []
        self._closed = False

    def _made(self) -> httpcore.AsyncConnectionPool:
        """A connection, not yet opened."""
        if self._proxy:
            return httpcore.AsyncHTTPProxy(
                proxy_url=self._proxy,
                ssl_context=self._tls,
                max_connections=1,
                keepalive_expiry=KEEP_ALIVE_S,
                network_backend=self._network,
            )
        return httpcore.AsyncConnectionPool(
            ssl_context=self._tls, max_connections=1, keepalive_expiry=KEEP_ALIVE_S, network_backend=self._network
        )

    async def handle_async_request(self, request: httpx.Request) -> httpx.Response:
        """Send it; raises ``NotSent`` for what our rules forbid, else httpcore's own errors."""
        url = request.url
        if refused := self._rules.refusal(url.scheme, url.host):
            raise NotSent(refused, forbidden=True)
        try:
            async with asyncio.timeout(request.extensions.get("timeout", {}).get("pool")):
                await self._room.acquire()
        except TimeoutError:
            raise httpcore.PoolTimeout from None
        connection = self._free.pop()[0] if self._free else self._made()
        self._busy.append(connection)
        try:
            answer = await connection.handle_async_request(
                httpcore.Request(
                    method=request.method,
                    url=httpcore.URL(scheme=url.raw_scheme, host=url.raw_host, port=url.port, target=url.raw_path),
                    headers=request.headers.raw,
                    content=request.stream,
                    extensions=request.extensions,
                )
            )
        except BaseException:
            await self._give_back(connection)
            raise
        stream = _Stream(answer, lambda: self._give_back(connection))
        return httpx.Response(answer.status, headers=answer.headers, stream=stream, extensions=answer.extensions)

    async def _give_back(self, connection: httpcore.AsyncConnectionPool) -> None:
        """It may be used again; those that nobody has used for long are closed."""
        now = asyncio.get_running_loop().time()
        self._busy.remove(connection)
        self._room.release()
        if self._closed:
            await connection.aclose()
            return
        self._free.append((connection, now))
        unused = [one for one, since in self._free if since < now - KEEP_ALIVE_S]
        del self._free[: len(unused)]  # before any of them is closed: meanwhile others take what is free
        for one in unused:
            await one.aclose()

    async def aclose(self) -> None:
        """Close every connection."""
        self._closed = True
        while self._free:
            await self._free.pop()[0].aclose()
        for connection in list(self._busy):
            await connection.aclose()


class _Stream(httpx.AsyncByteStream):
    """An answer's body; its end, however it comes, gives the connection back."""

    def __init__(self, answer: httpcore.Response, ended: Callable[[], Awaitable[None]]) -> None:
        self._answer = answer
        self._ended: Callable[[], Awaitable[None]] | None = ended

    async def __aiter__(self) -> AsyncIterator[bytes]:
        async for part in self._answer.aiter_stream():
            yield part

    async def aclose(self) -> None:
        ended, self._ended = self._ended, None
        try:
            await self._answer.aclose()
        finally:
            if ended is not None:
                await ended()


def sockets(rules: HostRules, *, in_flight: int, tls: ssl.SSLContext | None = None, proxy: str = "") -> SocketTransport:
    """The transport for real CRMs: at most ``in_flight`` connections, to hosts that ``rules`` let through."""
    return SocketTransport(rules, in_flight=in_flight, tls=tls, proxy=proxy)


class HttpxTransport:
    """``ports.Transport`` over any httpx transport: ``sockets(…)``, or ``httpx.ASGITransport(app)`` for a CRM in the process.

    An answer of more than ``body_bytes_max`` bytes, packed or unpacked, is cut off and lost. ``timeout_s`` of ``send`` bounds
    the whole call, also an answer that comes one byte at a time.
    """

    def __init__(
        self,
        inner: httpx.AsyncBaseTransport,
        *,
        body_bytes_max: int = BODY_BYTES_MAX,
        connect_timeout_s: float = CONNECT_TIMEOUT_S,
    ) -> None:
        self._inner = inner
        self._body_bytes_max = body_bytes_max
        self._connect_timeout_s = connect_timeout_s

    async def send(
        self, method: str, url: str, headers: Sequence[tuple[str, str]], body: bytes, timeout_s: float
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        """Status, headers (names in lower case) and body of the answer. Raises ``NotSent`` or ``AnswerLost``, nothing else."""
        connect_s = min(
            self._connect_timeout_s, timeout_s / 3
        )  # TCP and TLS each, so that both end before the whole does
        waits = {"connect": connect_s, "pool": connect_s, "read": timeout_s, "write": timeout_s}
        # The errors' own words may quote a header or an address, so only their kind is kept, and they are not chained.
        try:
            request = httpx.Request(
                method,
                url,
                headers=list(headers),
                content=body or None,
                extensions={"timeout": waits},
            )
            async with asyncio.timeout(timeout_s):
                return await self._exchange(request)
        except _MALFORMED:
            raise NotSent("http.malformed", forbidden=True) from None
        except _NOT_SENT as error:
            raise NotSent(_code(error)) from None
        except TimeoutError:
            raise AnswerLost("http.timeout") from None
        except _LOST as error:
            raise AnswerLost(_code(error)) from None

    async def _exchange(self, request: httpx.Request) -> tuple[int, list[tuple[str, str]], bytes]:
        answer = await self._inner.handle_async_request(request)
        try:
            stream = answer.stream
            assert isinstance(stream, httpx.AsyncByteStream)
            body = _Body(answer.headers.get("content-encoding", ""), self._body_bytes_max)
            async for part in stream:
                body.add(part)
            headers = [(name.lower(), value) for name, value in answer.headers.multi_items()]
            return answer.status_code, headers, body.whole()
        finally:
            await answer.aclose()

    async def close(self) -> None:
        """Close every connection."""
        await self._inner.aclose()


def _code(error: Exception) -> str:
    """``http.read-timeout`` for a ``ReadTimeout``."""
    return "http." + re.sub(r"(?<=[a-z])(?=[A-Z])", "-", type(error).__name__).lower()


class _Body:
    """An answer's body as it comes, unpacked, never holding more than ``most`` bytes and one part."""

    def __init__(self, encoding: str, most: int) -> None:
        encoding = encoding.strip().lower()
        if encoding not in {"", "identity", "gzip", "x-gzip", "deflate"}:
            raise AnswerLost("http.unknown-encoding", hopeless=True)
        self._inflate = None if encoding in {"", "identity"} else zlib.decompressobj(_GZIP_OR_ZLIB)
        self._most = most
        self._packed = 0
        self._parts: list[bytes] = []
        self._size = 0

    def add(self, part: bytes) -> None:
        """Take the next part; raises ``AnswerLost`` when the whole becomes too large or cannot be unpacked."""
        self._packed += len(part)
        if self._inflate is not None:
            try:
                part = self._inflate.decompress(part, self._most + 1 - self._size)
            except zlib.error:
                raise AnswerLost("http.broken-encoding") from None
        self._size += len(part)
        if max(self._packed, self._size) > self._most:
            raise AnswerLost("http.body-too-large", hopeless=True)
        self._parts.append(part)

    def whole(self) -> bytes:
        """The body; raises ``AnswerLost`` if its packing has no end."""
        if self._inflate is not None and self._packed and not self._inflate.eof:
            raise AnswerLost("http.broken-encoding")
        return b"".join(self._parts)
