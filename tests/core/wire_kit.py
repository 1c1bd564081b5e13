"""Plain sockets to a served application: what is sent, byte by byte, and what comes back."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncIterator
from dataclasses import dataclass, field


@dataclass
class Wire:
    """One connection."""

    reader: asyncio.StreamReader
    writer: asyncio.StreamWriter
    headers: dict[str, str] = field(default_factory=dict)

    async def send(self, data: bytes) -> None:
        """Send, and know that it has left us."""
        self.writer.write(data)
        await self.writer.drain()

    async def answer(self) -> tuple[int, bytes]:
        """Wait for one answer: its status and its body; ``headers`` holds its headers, by lower-case name."""
        head = (await self.reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        line, *fields = head.strip().split("\r\n")
        self.headers = {name.lower(): value for name, _, value in (one.partition(": ") for one in fields)}
        length = self.headers.get("content-length")
        body = await (self.reader.readexactly(int(length)) if length is not None else self.reader.read())
        return int(line.split()[1]), body

    async def get(self, path: str) -> tuple[int, bytes]:
        """Ask for ``path``, and wait for the answer."""
        await self.send(request("GET", path))
        return await self.answer()

    async def ended(self) -> bool:
        """Wait until the other side has closed; whether nothing more came before that."""
        with contextlib.suppress(ConnectionError):
            return not await self.reader.read()
        return True


def request(method: str, path: str, *fields: str, body: bytes = b"") -> bytes:
    """Give a request as it goes over the wire."""
    head = (f"{method} {path} HTTP/1.1", "Host: bridge.example", *fields, "", "")
    return "\r\n".join(head).encode("latin-1") + body


@contextlib.asynccontextmanager
async def wire(port: int, host: str = "127.0.0.1") -> AsyncIterator[Wire]:
    """Connect to ``port``; let go at the end."""
    reader, writer = await asyncio.open_connection(host, port)
    try:
        yield Wire(reader, writer)
    finally:
        writer.close()
        with contextlib.suppress(ConnectionError):
            await writer.wait_closed()
