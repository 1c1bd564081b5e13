"""A CRM far faster than any client: every page of every list is rendered before the first request comes.

``python -m benchmarks.server LEADS PAGE LATENCY_S ACCOUNT`` prints its address and serves until its standard input ends. What is no
page of a list (the account, its properties, sign-in) is answered by the sandbox HubSpot.
"""

from __future__ import annotations

import asyncio
import sys
import time
from typing import Any

import httpx
import orjson

from benchmarks.leads import hubspot_pages, properties
from sales_crm_bridge.sandbox import SandboxApp
from sales_crm_bridge.sandbox.hubspot import Account, Portal, Vices

LIST = b"GET /crm/v3/objects/contacts?"
SEARCH = (b"POST /crm/v3/objects/contacts/search", b"GET /changes?")
WRITE = b"POST /crm/v3/objects/contacts/batch/"
NOTHING: dict[str, Any] = dict.fromkeys(properties(0))
MADE = "2026-06-01T00:00:00.000Z"
EMPTY = b'{"total":0,"results":[]}'


def rendered(body: bytes) -> bytes:
    """A whole answer."""
    head = f"HTTP/1.1 200 OK\r\ncontent-type: application/json;charset=utf-8\r\ncontent-length: {len(body)}\r\n\r\n"
    return head.encode() + body


class Pages:
    """Everything that is answered, by the place where a page begins."""

    def __init__(self, leads: int, page: int, latency_s: float, account: int) -> None:
        bodies = [rendered(body) for body in hubspot_pages(leads, page)]
        self.pages = {b"" if number == 0 else str(number * page).encode(): body for number, body in enumerate(bodies)}
        self.empty = rendered(EMPTY)
        self.made = 0
        self.latency_s = latency_s
        self.nothing = rendered(b'{"results":[]}')
        portal = Portal.seeded(
            seed=1,
            leads=0,
            clock=time.time,
            vices=Vices(search_per_s=10_000, burst_per_10_s=1_000_000),
            account=Account(portal_id=account),
        )
        portal.add_property("contacts", "bridge_lead_id", unique=True)
        self.rest = httpx.AsyncClient(
            transport=httpx.ASGITransport(SandboxApp(portal)),
            base_url="http://sandbox.invalid",
        )

    def at_once(self, head: bytes) -> bytes | None:
        """The answer to a request that begins like this; None: it is not a page. Below ``/empty`` there is a CRM without leads."""
        if b" /empty/" in head[:20]:
            return self.nothing
        if head.startswith(LIST):
            target = head.split(b" ", 2)[1]
            if b"archived=true" in target:
                return self.nothing
            after = target.partition(b"after=")[2].partition(b"&")[0]
            return self.pages.get(after, self.nothing)
        return self.empty if head.startswith(SEARCH) else None

    def written(self, body: bytes) -> bytes:
        """The answer to a batch of writes: each took effect, and is answered with the whole record, as most CRMs do.

        (HubSpot itself leaves out what it was not told, and so costs a batch read more.)
        """
        rows = []
        for one in orjson.loads(body)["inputs"]:
            if "properties" not in one:  # it is read, not written
                rows.append(
                    {"id": one["id"], "properties": NOTHING, "createdAt": MADE, "updatedAt": MADE, "archived": False}
                )
                continue
            self.made += 1
            rows.append(
                {
                    "id": str(500_000_000 + self.made),
                    "properties": NOTHING | one["properties"] | {"bridge_lead_id": one.get("id", "")},
                    "createdAt": MADE,
                    "updatedAt": MADE,
                    "archived": False,
                    "new": True,
                    "objectWriteTraceId": one.get("objectWriteTraceId", ""),
                }
            )
        return rendered(orjson.dumps({"status": "COMPLETE", "results": rows}))

    async def slowly(self, head: bytes, body: bytes) -> bytes:
        """What the sandbox answers."""
        first, *lines = head.decode("latin-1").split("\r\n")
        method, target, _ = first.split(" ", 2)
        headers = [(name, value.strip()) for name, _, value in (line.partition(":") for line in lines)]
        answer = await self.rest.request(method, target, headers=headers, content=body)
        return (
            f"HTTP/1.1 {answer.status_code} X\r\ncontent-type: application/json\r\n"
            f"content-length: {len(answer.content)}\r\n\r\n"
        ).encode() + answer.content


class Talk(asyncio.Protocol):
    """One connection; requests are answered one after the other."""

    def __init__(self, pages: Pages) -> None:
        self._pages = pages
        self._seen = b""
        self._transport: Any = None
        self._busy: asyncio.Task[None] | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Keep the way back."""
        self._transport = transport

    def data_received(self, data: bytes) -> None:
        """Answer every whole request."""
        self._seen += data
        while self._busy is None:
            head, end, rest = self._seen.partition(b"\r\n\r\n")
            if not end:
                return
            size = 0
            for line in head.lower().split(b"\r\n"):
                if line.startswith(b"content-length:"):
                    size = int(line[15:])
            if len(rest) < size:
                return
            body, self._seen = rest[:size], rest[size:]
            answer = self._pages.at_once(head)
            if answer is not None:
                self._transport.write(answer)
            else:
                self._busy = asyncio.create_task(self._answer(head, body))

    async def _answer(self, head: bytes, body: bytes) -> None:
        if head.startswith(WRITE):
            await asyncio.sleep(self._pages.latency_s)
            self._transport.write(self._pages.written(body))
        else:
            self._transport.write(await self._pages.slowly(head, body))
        self._busy = None
        self.data_received(b"")


async def main(leads: int, page: int, latency_s: float, account: int) -> None:
    """Serve until standard input ends; a write is answered after ``latency_s``."""
    pages = Pages(leads, page, latency_s, account)
    loop = asyncio.get_running_loop()
    server = await loop.create_server(lambda: Talk(pages), "127.0.0.1", 0)
    print(f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", flush=True)  # noqa: T201 - told to who started it
    await loop.run_in_executor(None, sys.stdin.read)


if __name__ == "__main__":
    asyncio.run(main(int(sys.argv[1]), int(sys.argv[2]), float(sys.argv[3]), int(sys.argv[4])))
