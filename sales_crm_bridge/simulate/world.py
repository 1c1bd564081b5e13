"""The whole flow in one process on virtual time: real rooms, real SQLite, real adapter and rim; a sandbox CRM and topics in memory.

One seed gives one trace. Processes of the bridge come, die between any two of their steps, and come again; people edit in the CRM
and clients of the domain utter intents meanwhile.
"""

from __future__ import annotations

import asyncio
import random
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from sales_crm_bridge import contract, wiring
from sales_crm_bridge.crm_http import HttpxTransport
from sales_crm_bridge.ledger import open_ledger
from sales_crm_bridge.observer import NOBODY
from sales_crm_bridge.policy import walks
from sales_crm_bridge.sandbox import SandboxTransport
from sales_crm_bridge.simulate.process import Killed, Life, MortalLedger, MortalSink, MortalTransport
from sales_crm_bridge.simulate.topic import Topics, TopicSink, TopicSource
from sales_crm_bridge.tasks import end, first

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from google.protobuf.message import Message

    from sales_crm_bridge.ledger.sql_ledger import SqlLedger
    from sales_crm_bridge.observer import Observer
    from sales_crm_bridge.policy.walks import Standing
    from sales_crm_bridge.ports import SpanSink
    from sales_crm_bridge.sandbox.hubspot import Portal
    from sales_crm_bridge.service import Service
    from sales_crm_bridge.settings import Settings
    from sales_crm_bridge.simulate.loop import VirtualClock


def _let_the_dead_rest(loop: asyncio.AbstractEventLoop, context: dict[str, Any]) -> None:
    """A task that ended by being killed has nothing more to say."""
    if not isinstance(context.get("exception"), Killed):
        loop.default_exception_handler(context)


T = TypeVar("T")


class SeededDice:
    """``ports.Dice`` from a seed."""

    def __init__(self, seed: str) -> None:
        self._random = random.Random(seed)

    def fraction(self) -> float:
        """A number in [0, 1)."""
        return self._random.random()

    def name(self) -> str:
        """16 hexadecimal characters."""
        return f"{self._random.getrandbits(64):016x}"


class World:
    """One deployment and its surroundings. ``settings.tenants.folder`` holds the tenant's file, ``folder`` the ledger.

    ``portal``: the CRM. ``topics``: Kafka's. ``trace``: every crossing of every process's border, in order. ``spans``: where
    spans go (None: nowhere). ``observer``: who watches.
    """

    def __init__(
        self,
        *,
        settings: Settings,
        folder: Path,
        clock: VirtualClock,
        portal: Portal,
        seed: str,
        spans: SpanSink | None = None,
    ) -> None:
        self.spans = spans
        self.observer: Observer = NOBODY
        self.settings = settings
        self._address = f"sqlite:///{folder / 'ledger.db'}"
        self._seed = seed
        self._lives = 0
        self.clock = clock
        self.portal = portal
        self.topics = Topics(4, clock.now_us)
        self.sink = TopicSink(self.topics)
        self.trace: list[str] = []

    def utter(
        self,
        body: Message,
        *,
        tenant: str,
        lead_id: str,
        message_id: str,
        occurred_us: int | None = None,
        traceparent: str = "",
        tracestate: str = "",
    ) -> None:
        """Put an intent on the topic, as a client of the domain does."""
        envelope = contract.intent(
            body,
            tenant_id=tenant,
            aggregate_id=lead_id,
            message_id=message_id,
            correlation_id=f"c-{message_id}",
            occurred_us=self.clock.now_us() if occurred_us is None else occurred_us,
            producer="sales-ui",
            traceparent=traceparent,
            tracestate=tracestate,
        )
        record = contract.record_of(envelope)
        self.topics.put(record.key, record.value, record.headers)

    async def live(
        self, until: Callable[[Service], asyncio.Future[None]], steps: int | None = None, last: str = ""
    ) -> bool:
        """Start a process; it lives until the task that ``until`` makes has ended (it then drains) or it is killed (True).

        ``steps`` and ``last``: when it is killed, see ``Life``.
        """
        self._lives += 1
        name = f"p{self._lives}"
        life = Life(name, self.trace, self.clock.now_us, steps, last)
        ledger = await open_ledger(self._address, migrate=True)
        others = set(asyncio.all_tasks())
        asyncio.get_running_loop().set_exception_handler(_let_the_dead_rest)
        try:
            service = self._service(ledger, life)
            working = asyncio.ensure_future(service.run())
            ending = until(service)
            dying = asyncio.ensure_future(life.dead.wait())
            await first((working, ending, dying))
            if not life.dead.is_set():
                service.stop()
                await first((working, dying))
            if not life.dead.is_set():
                working.result()
            left = sorted(asyncio.all_tasks() - others, key=lambda task: task.get_name())
            await end(left)
            for task in left:
                if not task.cancelled():
                    task.exception()
        finally:
            await ledger.close()
        return life.dead.is_set()

    async def look(self, ask: Callable[[SqlLedger], Awaitable[T]]) -> T:
        """Ask the ledger something, from outside."""
        ledger = await open_ledger(self._address)
        try:
            return await ask(ledger)
        finally:
            await ledger.close()

    async def positions(self) -> dict[str, Standing]:
        """Where the first connection's walks stand, from the ledger."""
        stored = await self.look(lambda ledger: ledger.positions(1))
        return {name: standing for name, data in stored.items() if (standing := walks.decode(data)) is not None}

    def _service(self, ledger: object, life: Life) -> Service:
        mortal = MortalLedger(ledger, life)
        outside = wiring.Outside(
            clock=self.clock,
            dice=SeededDice(f"{self._seed}/{life.name}"),
            ledger=mortal,
            transport=lambda _tenant: MortalTransport(
                HttpxTransport(SandboxTransport(self.portal, sleep=self.clock.sleep)), life
            ),
            spans=self.spans,
            observer=self.observer,
        )
        return wiring.assemble(
            self.settings,
            outside,
            source=TopicSource(self.topics),
            sink=MortalSink(self.sink, life),
        )
