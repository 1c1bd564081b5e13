"""What the rows of the crash matrix and the outages share: a world of its own for each, and how it is judged when it is at rest."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import time
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

from sales_crm_bridge import contract
from sales_crm_bridge.sandbox import SandboxApp, serve
from sales_crm_bridge.sandbox.hubspot import Portal, Vices
from sales_crm_bridge.units import time_text
from tests.flow.flow_kit import View, disagreements, view
from tests.real.real_kit import LIMIT_S, Clients, Deployment, until_answered
from tests.real.test_flow_real import TENANT

LEADS = 30
FAST = {"lease": {"ttl": "3s", "renew": "500ms"}, "service": {"drain": "10s"}, "http": {"timeout": "3s"}}
"""So that another process takes over soon."""


@dataclass(frozen=True, kw_only=True)
class Row:
    """What became of one row of the matrix."""

    step: str
    lost: list[str]
    doubled: list[str]
    wrong: list[str]
    repeated: int


class Stage:
    """One row's world: a CRM with leads, a tenant, its deployment and ledger, a client of the domain, a reader of the facts."""

    def __init__(
        self,
        folder: Path,
        kafka: str,
        dsn: str,
        number: int,
        address: str,
        portal: Portal,
        settings: Mapping[str, object],
    ) -> None:
        folder.mkdir()
        self.tenant = f"crash-{os.getpid()}-{number}-{time.time_ns() % 1_000_000}"
        text = TENANT.format(tenant=self.tenant, address=address)
        text = text.replace("2026-01-01T00:00:00Z", time_text(time.time_ns() // 1000))
        self.bridge = Deployment(folder, kafka, dsn, {self.tenant: text}, {"ACME_TOKEN": "pat-na1-sandbox"}, settings)
        self.clients = Clients(kafka, self.tenant)
        self.portal = portal
        self.uttered: list[str] = []
        self._rng = random.Random(number)

    async def work(self, turns: range, *, reading: bool = True) -> None:
        """Persons edit, clients of the domain utter intents. ``reading``: and the facts are read, for which Kafka must be there."""
        for turn in turns:
            await asyncio.sleep(0.1)
            ids = sorted(self.portal.truth().live["contacts"], key=int)
            match turn % 4:
                case 0:
                    self.portal.person.edit(self._rng.choice(ids), {"phone": f"+1 {self._rng.randrange(10**6)}"})
                case 1:
                    self._utter(contract.CreateLeadRequested(lead=lead(turn)), f"L-{turn}", f"create-{turn}")
                case 2:
                    self.portal.person.create("contacts", {"email": f"p{turn}@people.example", "firstname": "P"})
                case _:
                    self._utter(contract.QualifyLeadRequested(), f"L-{turn - 2}", f"qualify-{turn}")
            if reading:
                self.clients.read(wait_s=0)

    def _utter(self, body: object, lead_id: str, message_id: str) -> None:
        self.clients.utter(body, lead_id, message_id)
        self.uttered.append(message_id)

    def judge(self, step: str) -> Row:
        """Compare both sides, now that everything is at rest."""
        told = view(self.clients.facts)
        return Row(
            step=step,
            lost=[name for name in self.uttered if not told.done[name] and name not in told.refused],
            doubled=[*(name for name, count in told.done.items() if count > 1), *twice(told, self.portal)],
            wrong=disagreements(told, self.portal),
            repeated=told.repeated,
        )


def lead(turn: int) -> contract.Lead:
    return contract.Lead(lead_id=f"L-{turn}", email=f"n{turn}@sales.example", first_name="N")


def twice(told: View, portal: Portal) -> list[str]:
    """Leads of the domain that the CRM has more than one record of."""
    mails = [one.get("email", "") for one in portal.truth().live["contacts"].values()]
    return sorted({mail for mail in mails if mail.endswith("@sales.example") and mails.count(mail) > 1})


async def killed_at(stage: Stage, step: str, times: int) -> None:
    """Let a process work until it kills itself at ``step``; people and clients are at work meanwhile."""
    mortal = await stage.bridge.start("mortal", step, str(times), "KILL", "run", module="tests.real.mortal")
    working = asyncio.ensure_future(stage.work(range(16)))
    try:
        code = await asyncio.wait_for(mortal.wait(), LIMIT_S)
    finally:
        if mortal.returncode is None:
            mortal.kill()
            await mortal.wait()
    await working
    assert code == -signal.SIGKILL, f"it never came to {step}: exit code {code}\n{stage.bridge.logs()}"


async def carried_on(stage: Stage) -> None:
    """Let another process answer everything, and end in order; then look at the CRM once more."""
    other = await stage.bridge.start("other", "run")
    try:
        await stage.work(range(16, 24))
        await until_answered(stage.clients, stage.uttered)
        other.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(other.wait(), 30) == 0, stage.bridge.logs()
    finally:
        if other.returncode is None:
            other.kill()
            await other.wait()
    await asyncio.sleep(1.5)  # the horizon: what is younger is not read yet
    assert json.loads(await stage.bridge.do("sync", "--once", "--json"))["ok"]
    stage.clients.read()


@asynccontextmanager
async def stage(
    folder: Path, kafka: str, dsn: str, number: int, settings: Mapping[str, object] = FAST
) -> AsyncIterator[Stage]:
    """Set up the world of row ``number`` in ``folder``, with its ledger at ``dsn`` migrated."""
    portal = Portal.seeded(
        seed=number,
        leads=LEADS,
        clock=time.time,
        vices=Vices(search_lag_s=(0.0, 0.5), burst_per_10_s=10_000, search_per_s=50),
    )
    portal.add_property("contacts", "bridge_lead_id", unique=True)
    async with serve(SandboxApp(portal)) as address:
        made = Stage(folder, kafka, dsn, number, address, portal, settings)
        try:
            await made.bridge.do("migrate")
            yield made
        finally:
            made.clients.close()


def show(rows: list[Row]) -> None:
    """The matrix as a table, for who reads the run."""
    for one in rows:
        print(f"{one.step:18} lost {len(one.lost)}  doubled {len(one.doubled)}  repeated {one.repeated}")  # noqa: T201 - see above
