"""Where the demo plays: a HubSpot, a Kafka, a ledger, and the very service that ``run`` runs, all inside this process."""

from __future__ import annotations

import asyncio
import os
import tempfile
import time
from contextlib import asynccontextmanager, contextmanager
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING

from sales_crm_bridge import contract, operate
from sales_crm_bridge.demo.compare import Line, SalesView, differences
from sales_crm_bridge.kafka.embedded import PARTITIONS, EmbeddedKafka
from sales_crm_bridge.replay.live import Ears
from sales_crm_bridge.sandbox import SandboxApp, serve
from sales_crm_bridge.sandbox.hubspot import Portal, Vices
from sales_crm_bridge.settings import PREFIX
from sales_crm_bridge.settings import load as load_settings
from sales_crm_bridge.world import RealDice, WallClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping

    from sales_crm_bridge.demo.wishes import Wish
    from sales_crm_bridge.ports import Ledger
    from sales_crm_bridge.service import Service
    from sales_crm_bridge.settings import Settings
    from sales_crm_bridge.tenants import Tenant

LEADS = 500
TENANT = "acme"
LIMIT_S = 20.0
"""How long the demo waits for one thing before it goes on and says what is missing."""

LOOK_S = 0.05
HURRY_S = 0.5

VICES = Vices(search_lag_s=(0.1, 0.5), latency_s=(0.002, 0.01))
"""An account in a hurry: search lags behind writes and a call takes its time, each less than on an ordinary day; the rest
(limits, batch results in any order, a merge that makes a new record) is as ever."""


class Stage:
    """The parts that the demo plays with, and what Sales has learnt so far. ``folder``: the deployment's files."""

    def __init__(
        self,
        *,
        portal: Portal,
        address: str,
        kafka: EmbeddedKafka,
        folder: Path,
        ledger: Ledger,
        service: Service,
        tenant: Tenant,
        ears: Ears | None = None,
    ) -> None:
        self.ears = ears
        self.portal = portal
        self.address = address
        self.kafka = kafka
        self.folder = folder
        self.view = SalesView()
        self.lines: list[Line] = []
        self.uttered = 0
        self._ledger = ledger
        self._service = service
        self._tenant = tenant
        self._places: dict[int, int] = {}

    @property
    def token(self) -> str:
        """What opens the HubSpot in this process, and nothing else."""
        return self.portal.account.token

    @property
    def live(self) -> Mapping[str, Mapping[str, str]]:
        """What is really in the CRM."""
        return self.portal.truth().live["contacts"]

    @property
    def writes(self) -> int:
        """How many writes through the API the CRM has kept: none but the bridge makes any in the story."""
        return sum(entry.source == "INTEGRATION" for entry in self.portal.truth().log)

    def differences(self) -> list[str]:
        """Where the two sides differ now."""
        return differences(self.view, self.live, self._tenant)

    async def utter(self, wish: Wish, times: int = 1) -> None:
        """Utter an intent, as a client of the Sales domain does; more than once, as a client does that got no answer."""
        self.view.asked[wish.message_id] = wish.asked
        await self.kafka.ask([wish.record(TENANT, WallClock().now_us())] * times)
        self.uttered += times

    async def read(self) -> None:
        """Read what is new on the facts topic, as anyone can who may read it."""
        facts = []
        for _, value, headers in await self.kafka.facts(self._places):
            received = contract.read(contract.SalesIntegrationFact, value, headers)
            if isinstance(received, contract.Unreadable):
                self.view.kinds[f"unreadable: {received.code}"] += 1
            else:
                facts.append(received.envelope)
        self.lines += self.view.take(facts)

    async def until(self, done: Callable[[], bool]) -> bool:
        """Read facts until ``done``, at most ``LIMIT_S``; whether it is done."""
        began = time.monotonic()
        while True:
            await self.read()
            if done():
                return True
            if time.monotonic() - began > LIMIT_S:
                return False
            await asyncio.sleep(LOOK_S)

    async def listening(self) -> bool:
        """Come back when the bridge reads every partition of the intent topic: the cluster takes seconds to assign them."""
        return await self._when(self._assigned)

    async def taken(self) -> bool:
        """Come back when the bridge has decided about every intent: an offset is moved with the decision, in one transaction."""
        return await self._when(self._decided)

    async def _assigned(self) -> bool:
        return len(await self._ledger.places(contract.INTENT_TOPIC)) >= PARTITIONS

    async def _decided(self) -> bool:
        return sum((await self._ledger.places(contract.INTENT_TOPIC)).values()) >= self.uttered

    async def _published(self) -> bool:
        return (await self._ledger.outbox_depth())[0] == 0

    async def _when(self, done: Callable[[], Awaitable[bool]]) -> bool:
        began = time.monotonic()
        while not await done():
            if time.monotonic() - began > LIMIT_S:
                return False
            await asyncio.sleep(LOOK_S)
        return True

    async def everything_read(self) -> bool:
        """Have every feed read once more from beginning to end, as if its time had come, and all facts of it published."""
        # What is younger than the horizon is not read yet, and what search does not show yet cannot be.
        await asyncio.sleep(self._tenant.pull.horizon_s + VICES.search_lag_s[1])
        pullers = [worker.puller for worker in self._service.workers.values()]
        before = [{name: standing.run for name, standing in puller.standings.items()} for puller in pullers]
        hurried = 0.0

        def anew() -> bool:
            nonlocal hurried
            if all(
                name in puller.runs and puller.runs[name].number > number and puller.runs[name].finished_us
                for puller, numbers in zip(pullers, before, strict=True)
                for name, number in numbers.items()
            ):
                return True
            # A run that is under way began too early: the one after it is hurried as well.
            if time.monotonic() - hurried > HURRY_S:
                hurried = time.monotonic()
                for puller in pullers:
                    puller.hurry(everything=True)
                if self.ears is not None:
                    self.ears.hurried()
            return False

        if not await self.until(anew) or not await self._when(self._published):
            return False
        await self.read()
        return True


@asynccontextmanager
async def stage(*, record: bool = False) -> AsyncIterator[tuple[Stage, asyncio.Task[None]]]:
    """Everything up and running, and the task that the service runs in; at the end it drains, and nothing is left.

    ``record``: with ears at the rim.
    """
    portal = Portal.seeded(seed=1, leads=LEADS, clock=time.time, vices=VICES)
    portal.add_property("contacts", "bridge_lead_id", unique=True)
    with tempfile.TemporaryDirectory(prefix="sales-crm-bridge-") as name, EmbeddedKafka() as kafka:
        folder = Path(name)
        async with serve(SandboxApp(portal, asyncio.sleep)) as address:
            settings = deployment(folder, address, kafka.servers, portal.account.token)
            (tenant,) = operate.tenants_of(settings)
            async with operate.ledger_of(settings, make=True) as ledger:
                ears = Ears(settings=settings, tenant=tenant) if record else None
                service, _, _ = operate.service_of(settings, ledger, ears=ears)
                running = asyncio.create_task(service.run(), name="service")
                try:
                    yield (
                        Stage(
                            portal=portal,
                            address=address,
                            kafka=kafka,
                            folder=folder,
                            ledger=ledger,
                            service=service,
                            tenant=tenant,
                            ears=ears,
                        ),
                        running,
                    )
                finally:
                    if ears is not None:
                        ears.end()
                    service.stop()
                    await running


def deployment(folder: Path, address: str, servers: str, token: str) -> Settings:
    """Write the files of a deployment into ``folder``, and read them as ``run`` does."""
    dice = RealDice()
    secrets = {"token": token, "hash_key": dice.name(), "seal_key": dice.name()}
    for part in ("secrets", "tenants"):
        (folder / part).mkdir()
    for name, value in secrets.items():
        (folder / "secrets" / name).write_text(value, encoding="utf-8")
    words = {"FOLDER": str(folder), "ADDRESS": address, "SERVERS": servers}
    for source, place in (("bridge.yaml", "bridge.yaml"), ("tenant.yaml", f"tenants/{TENANT}.yaml")):
        text = files("sales_crm_bridge.demo").joinpath(source).read_text(encoding="utf-8")
        first, *rest = text.splitlines(keepends=True)
        body = "".join(rest)
        for word, value in words.items():
            body = body.replace(word, value)
        (folder / place).write_text(first + body, encoding="utf-8")
    with _own_settings():
        return load_settings(folder / "bridge.yaml")


@contextmanager
def _own_settings() -> Iterator[None]:
    """Put the environment's settings aside: they are a deployment's, and the demo must never touch its ledger or its Kafka."""
    names = [
        name for name in os.environ if name.upper().startswith(PREFIX) or name.upper() in {"PORT_HTTP", "PORT_GRPC"}
    ]
    aside = {name: os.environ.pop(name) for name in names}
    try:
        yield
    finally:
        os.environ.update(aside)
