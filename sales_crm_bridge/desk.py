"""The place where the work on one CRM account is done: everything push and pull share about one connection."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from sales_crm_bridge.fieldwatch import FieldWatch
from sales_crm_bridge.observer import NOBODY

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from sales_crm_bridge.drift import Drift
    from sales_crm_bridge.errors import Place
    from sales_crm_bridge.facts import Scribe
    from sales_crm_bridge.mapping import Mapping
    from sales_crm_bridge.observer import AccountObserver
    from sales_crm_bridge.policy.commands import Patience
    from sales_crm_bridge.policy.eyes import Look
    from sales_crm_bridge.policy.walks import Pace
    from sales_crm_bridge.ports import Clock, CrmAdapter, Ledger, Speaker
    from sales_crm_bridge.state import Commit, Fence
    from sales_crm_bridge.tracing import Tracer


@dataclass(frozen=True, slots=True, kw_only=True)
class PushRules:
    """A tenant's push settings. ``refuse_behind``: a later command of a parked lead is refused, else it waits.

    ``conflict_rule``: Sales field → ``domain``, ``crm``, ``newest`` or ``hold``.
    """

    batch: int
    in_flight: int
    refuse_behind: bool
    patience: Patience
    conflict_rule: Callable[[str], str]


@dataclass(slots=True)
class Books:
    """The order of work on the account's bindings: one writer at a time, and no look at a lead while a write to it is under way.

    ``writing``: leads whose write has no known outcome yet. Push adds them under the lock before it calls, and takes them out
    under the lock when the outcome is in the ledger; pull leaves the lock and waits while a lead of its page is among them.
    So a page that shows our own write is always compared with the binding that knows of it.

    ``facts``: how many facts the connection has told of itself. ``edition`` moves with every commit of ours, so what was
    read under an edition holds while it stands: nobody else writes to the account's bindings.
    ``spare``: so many facts more may wait in the outbox before its depth must be asked for again;
    ``full``: there is no room for one.
    """

    lock: asyncio.Lock = field(default_factory=asyncio.Lock)
    writing: set[str] = field(default_factory=set)
    facts: int = 0
    edition: int = 0
    spare: int = 0
    full: bool = False
    _freed: asyncio.Event = field(default_factory=asyncio.Event)

    def start(self, leads: Iterable[str]) -> None:
        """At the start of a session nothing is in flight but what the ledger holds for unknown."""
        self.writing = set(leads)
        self._freed.set()

    def begin(self, leads: Iterable[str]) -> None:
        """A write to these leads is about to be made."""
        self.writing.update(leads)

    def end(self, leads: Iterable[str]) -> None:
        """The outcome of the writes to these leads is in the ledger."""
        self.writing.difference_update(leads)
        self._freed.set()

    async def freed(self) -> None:
        """Come back when some lead has been taken out since."""
        self._freed.clear()
        await self._freed.wait()


@dataclass(slots=True, kw_only=True)
class Desk:
    """One connection, ready to work: who it is, and the hands that act for it under lease ``fence``.

    ``outbox_max``: facts of this connection waiting in the outbox at which pull and push pause. ``name``: tenant and connection.
    ``place``: where the tenant's file says a thing. Only ``eyes`` are ever changed, by the warden, under the lock of the books.
    """

    conn: int
    tenant: str
    name: str
    adapter: CrmAdapter
    mapping: Mapping
    eyes: Look
    scribe: Scribe
    speaker: Speaker
    ledger: Ledger
    clock: Clock
    fence: Fence
    tracer: Tracer
    pace: Pace
    push: PushRules
    outbox_max: int
    place: Callable[..., Place]
    fields: FieldWatch = field(default_factory=FieldWatch)
    observer: AccountObserver = NOBODY
    books: Books = field(default_factory=Books)

    async def room(self) -> None:
        """Come back when the outbox has room for more of this connection's facts (rule 13: a full one pauses the work)."""
        while self.books.spare <= 0:
            # Counting costs as much as there is to count, and only we add facts of this connection.
            self.books.spare = self.outbox_max - (await self.ledger.outbox_depth(self.conn))[0]
            self.books.full = self.books.spare <= 0
            if self.books.full:
                await self.clock.sleep(1.0)

    async def commit(self, commit: Commit) -> None:
        """Commit under the desk's lease; raises as ``Ledger.commit``, and then what was committed is not known."""
        try:
            await self.ledger.commit(self.fence, commit)
        finally:
            self.books.edition += 1
            self.books.spare -= len(commit.outbox)

    async def drift(self, drift: Drift) -> None:
        """The same, of a step about the CRM's fields and what waits for them."""
        try:
            await self.ledger.drift(self.fence, drift)
        finally:
            self.books.edition += 1
            self.books.spare -= len(drift.commit.outbox)
