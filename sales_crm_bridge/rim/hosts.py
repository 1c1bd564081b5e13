"""Where calls may go: public addresses over TLS, and what the tenant's file names besides."""

from __future__ import annotations

import asyncio
import ipaddress
from typing import TYPE_CHECKING

import httpcore

from sales_crm_bridge.rim.terms import NotSent

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable, Iterable

Address = ipaddress.IPv4Address | ipaddress.IPv6Address

TRIED_MAX = 4
"""Addresses of one name that are tried; they share the time for connecting."""

_NAT64 = ipaddress.ip_network("64:ff9b::/96")
_NAT64_LOCAL = ipaddress.ip_network("64:ff9b:1::/48")


class HostRules:
    """Decides about hosts and addresses. ``allow_hosts``: names or addresses that the tenant's file trusts, private or not."""

    def __init__(self, allow_hosts: Iterable[str] = ()) -> None:
        self._allowed = frozenset(_plain(host) for host in allow_hosts)

    def trusts(self, host: str) -> bool:
        """The tenant's file names ``host``: it may be private, and spoken to without TLS."""
        return _plain(host) in self._allowed

    def refusal(self, scheme: str, host: str) -> str:
        """Why nothing may be sent to ``host`` over ``scheme``, as a code ("" it may), as far as its name tells."""
        if self.trusts(host):
            return ""
        if scheme != "https":
            return "http.plain-text"
        return "http.private-address" if (address := literal(host)) and not public(address) else ""


def _plain(host: str) -> str:
    return host.strip("[]").rstrip(".").lower()


def literal(host: str) -> Address | None:
    """The address that ``host`` is written as (None: it is a name)."""
    try:
        return ipaddress.ip_address(_plain(host).partition("%")[0])
    except ValueError:
        return None


def public(address: Address) -> bool:
    """``address`` is one of the open Internet: not private, loopback, link-local, shared (RFC 6598), reserved or multicast.

    An IPv4 address that is wrapped in an IPv6 one (mapped, 6to4, Teredo, NAT64) is judged by itself.
    """
    if isinstance(address, ipaddress.IPv6Address):
        teredo = address.teredo
        inner = address.ipv4_mapped or address.sixtofour or (teredo[1] if teredo else None)
        if address in _NAT64:
            inner = ipaddress.IPv4Address(int(address) & 0xFFFF_FFFF)
        if inner is not None:
            return public(inner)
        if address in _NAT64_LOCAL or address.is_site_local:
            return False
    return address.is_global and not (address.is_multicast or address.is_reserved or address.is_unspecified)


class GuardedBackend(httpcore.AsyncNetworkBackend):
    """Connects to addresses that were looked at, so that a name cannot mean one address to the check and another to the socket.

    TLS still verifies the name: httpcore takes it from the URL, not from here.
    """

    def __init__(
        self,
        rules: HostRules,
        resolve: Callable[[str, int], Awaitable[list[str]]],
        inner: httpcore.AsyncNetworkBackend,
    ) -> None:
        self._rules = rules
        self._resolve = resolve
        self._inner = inner

    async def connect_tcp(
        self,
        host: str,
        port: int,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        local_address: str | None = None,
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """A connection to ``host``; raises ``NotSent`` (forbidden) if any of its addresses is not public and it is not trusted."""
        addresses = await self._addresses(host, port, timeout)
        if not self._rules.trusts(host) and not all(public(address) for address in addresses):
            raise NotSent("http.private-address", forbidden=True)
        tried = [str(address) for address in addresses[:TRIED_MAX]]
        share = timeout / len(tried) if timeout else timeout
        for address in tried[:-1]:
            try:
                return await self._inner.connect_tcp(address, port, share, local_address, socket_options)
            except (httpcore.ConnectError, httpcore.ConnectTimeout):
                continue
        return await self._inner.connect_tcp(tried[-1], port, share, local_address, socket_options)

    async def _addresses(self, host: str, port: int, timeout_s: float | None) -> list[Address]:
        if (address := literal(host)) is not None:
            return [address]
        try:
            async with asyncio.timeout(timeout_s):
                found = [literal(text) for text in await self._resolve(host, port)]
        except TimeoutError:
            raise httpcore.ConnectTimeout("no answer of the resolver") from None
        except OSError as error:
            raise httpcore.ConnectError("no such name") from error
        addresses = [address for address in found if address is not None]
        if not addresses:
            raise httpcore.ConnectError("no address")
        return addresses

    async def connect_unix_socket(
        self,
        path: str,
        timeout: float | None = None,  # noqa: ASYNC109 - httpcore's signature
        socket_options: Iterable[httpcore.SOCKET_OPTION] | None = None,
    ) -> httpcore.AsyncNetworkStream:
        """Never: no CRM lives there."""
        raise NotSent("http.unix-socket", forbidden=True)

    async def sleep(self, seconds: float) -> None:
        """Not asked for: the pool's own retries are off."""
        await self._inner.sleep(seconds)
