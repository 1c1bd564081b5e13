"""What happens in the demo, from the first import to the comparison of both sides."""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from importlib.resources import files
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sales_crm_bridge import contract, wiring
from sales_crm_bridge.demo.compare import SalesView, differences
from sales_crm_bridge.errors import EXIT_OK, EXIT_RUNTIME
from sales_crm_bridge.kafka import KafkaFacts, KafkaIntents, KafkaSettings
from sales_crm_bridge.kafka.embedded import EmbeddedKafka
from sales_crm_bridge.ledger import open_ledger
from sales_crm_bridge.sandbox import SandboxApp, serve
from sales_crm_bridge.sandbox.hubspot import Portal, Vices
from sales_crm_bridge.settings import Settings
from sales_crm_bridge.tenants import load
from sales_crm_bridge.world import RealDice, WallClock

if TYPE_CHECKING:
    from collections.abc import Callable

    from google.protobuf.message import Message

    from sales_crm_bridge.console import Console
    from sales_crm_bridge.ports import Ledger
    from sales_crm_bridge.service import Service
    from sales_crm_bridge.tenants import Tenant

LEADS = 500
TENANT = "acme"
TOKEN = "pat-na1-sandbox"  # noqa: S105 - the sandbox's own token opens nothing else
LIMIT_S = 30.0


class Stage:
    """Everything the demo plays with."""

    def __init__(
        self,
        console: Console,
        portal: Portal,
        kafka: EmbeddedKafka,
        ledger: Ledger,
        service: Service,
        tenant: Tenant,
    ) -> None:
        self.ledger = ledger
        self.console = console
        self.portal = portal
        self.kafka = kafka
        self.service = service
        self.tenant = tenant
        self.view = SalesView()
        self.lines: list[tuple[str, str, str, str]] = []
        self._places: dict[int, int] = {}

    async def ask(self, body: Message, lead_id: str, message_id: str, values: contract.Lead) -> None:
        """Utter an intent, as a client of the Sales domain does, and remember which ``values`` it asks for."""
        self.view.asked[message_id] = values
        envelope = contract.intent(
            body,
            tenant_id=TENANT,
            aggregate_id=lead_id,
            message_id=message_id,
            correlation_id=f"demo-{message_id}",
            occurred_us=WallClock().now_us(),
            producer="sales-ui",
        )
        await self.kafka.ask([contract.record_of(envelope)])

    async def read(self) -> None:
        """Read what is new on the facts topic."""
        facts = []
        for _, value, headers in await self.kafka.facts(self._places):
            received = contract.read(contract.SalesIntegrationFact, value, headers)
            if not isinstance(received, contract.Unreadable):
                facts.append(received.envelope)
        self.lines += [(one.kind, one.lead[:13], one.what, one.cause) for one in self.view.take(facts)]

    async def until(self, done: Callable[[], bool]) -> None:
        """Read facts until ``done``, at most ``LIMIT_S``."""
        began = time.monotonic()
        while not done() and time.monotonic() - began < LIMIT_S:
            await self.read()
            await asyncio.sleep(0.05)

    async def listening(self) -> None:
        """Come back when the bridge reads the intent topic: the cluster in the process takes seconds to assign it."""
        while not await self.ledger.places(contract.INTENT_TOPIC):
            await self.ledger.wait((), 0.05)

    def hurry(self) -> None:
        """Make every walk due now, as if its time had come."""
        for worker in self.service.workers.values():
            worker.puller.hurry(everything=True)


async def play(console: Console, *, keep: bool) -> int:
    """Play the whole story; 0 when both sides agree in the end."""
    began = time.monotonic()
    portal = Portal.seeded(seed=1, leads=LEADS, clock=time.time, vices=Vices(search_lag_s=(0.0, 0.3), search_per_s=50))
    portal.add_property("contacts", "bridge_lead_id", unique=True)
    with tempfile.TemporaryDirectory(prefix="sales-crm-bridge-") as folder, EmbeddedKafka() as kafka:
        async with serve(SandboxApp(portal)) as address:
            settings = _settings(Path(folder), address, kafka.servers)
            tenant = load(Path(settings.tenants.folder), wiring.catalogue()).tenants[TENANT]
            ledger = await open_ledger(settings.ledger_address(), migrate=True)
            outside = wiring.Outside(
                clock=WallClock(), dice=RealDice(), ledger=ledger, transport=wiring.real_transport(settings)
            )
            ends = kafka.settings("demo")
            service = wiring.assemble(
                settings, outside, source=KafkaIntents(ends), sink=KafkaFacts(KafkaSettings(servers=kafka.servers))
            )
            stage = Stage(console, portal, kafka, ledger, service, tenant)
            running = asyncio.create_task(service.run())
            try:
                wrong = await _acts(stage)
                told = _told(stage, wrong, time.monotonic() - began)
                if console.as_json:
                    click.echo(told)
                if keep:
                    await _keep(stage, address, running)
            finally:
                service.stop()
                await running
                await ledger.close()
    return EXIT_RUNTIME if wrong else EXIT_OK


def _settings(folder: Path, address: str, servers: str) -> Settings:
    (folder / "token").write_text(TOKEN, encoding="utf-8")
    tenants = folder / "tenants"
    tenants.mkdir()
    text = files("sales_crm_bridge.demo").joinpath("tenant.yaml").read_text(encoding="utf-8")
    (tenants / f"{TENANT}.yaml").write_text(
        text.replace("ADDRESS", address).replace("FOLDER", str(folder)), encoding="utf-8"
    )
    return Settings.model_validate(
        {
            "ledger": f"sqlite:///{folder / 'bridge.db'}",
            "kafka": {"bootstrap.servers": servers},
            "hash_keys": [RealDice().name()],
            "seal_key": RealDice().name(),
            "tenants": {"folder": str(tenants)},
            "lease": {"ttl": "10s", "renew": "1s"},
            "service": {"drain": "5s"},
            "push": {"settle_first": "200ms"},
        }
    )


async def _acts(stage: Stage) -> list[str]:
    """Import, people, intents, comparison; the differences that are left."""
    console, portal, view = stage.console, stage.portal, stage.view
    console.say(f"A HubSpot with {LEADS} leads, a Kafka and a SQLite ledger are inside this process.")
    with console.progress() as progress:

        def imported() -> bool:
            progress.tell(TENANT, "import", view.imported, LEADS)
            return view.imported >= LEADS

        await stage.until(imported)
    console.say(f"{view.imported} leads imported, each told as a fact.")

    ids = sorted(portal.truth().live["contacts"], key=int)
    console.say("Now a person works in the CRM: two edits, a new lead, a merge, a delete …")
    portal.person.edit(ids[0], {"phone": "+49 30 901820", "city": "Berlin"})
    portal.person.edit(ids[1], {"hs_lead_status": "CONNECTED"})
    portal.person.create("contacts", {"email": "walk.in@shop.example", "firstname": "Walk", "lastname": "In"})
    portal.person.merge(ids[2], ids[3])
    portal.person.delete(ids[4])
    console.say(
        "… and the Sales domain utters intents, one of which the CRM refuses, one twice, one that is none of ours."
    )
    await stage.listening()
    await _utter(stage)
    asked = {"create-1", "create-2", "revise-1", "qualify-1", "disqualify-2", "create-3"}
    await stage.until(lambda: asked <= set(view.outcomes))
    await asyncio.sleep(1.5)  # the tenant's horizon: what is younger is not read yet
    stage.hurry()

    def agreed() -> bool:
        return not differences(view, portal.truth().live["contacts"], stage.tenant)

    began = time.monotonic()
    while not agreed() and time.monotonic() - began < LIMIT_S / 3:
        await stage.read()
        await asyncio.sleep(0.1)
    console.table(
        "facts on sales.integration.facts.v1 since the import", ("fact", "lead", "what", "because of"), stage.lines
    )
    left = differences(view, portal.truth().live["contacts"], stage.tenant)
    return left + [f"intent {name} has no outcome" for name in sorted(asked - set(view.outcomes))]


async def _utter(stage: Stage) -> None:
    """An intent of every kind, one that the CRM refuses, one twice, and one that the gate passes over."""
    lead, status = contract.Lead, contract.LeadStatus
    ada = lead(lead_id="L-1", email="ada@sales.example", first_name="Ada", last_name="Byron")
    eve = lead(lead_id="L-2", email="eve@sales.example", first_name="Eve", last_name="Stone")
    bob = lead(lead_id="L-3", email="not an address", first_name="Bob")
    countess = lead(job_title="Countess")
    revise = contract.ReviseLeadRequested(lead=countess)
    revise.update_mask.paths.append("job_title")
    await stage.ask(contract.CreateLeadRequested(lead=ada), "L-1", "create-1", ada)
    await stage.ask(contract.CreateLeadRequested(lead=eve), "L-2", "create-2", eve)
    await stage.ask(contract.CreateLeadRequested(lead=eve), "L-2", "create-2", eve)
    await stage.ask(revise, "L-1", "revise-1", countess)
    qualified = lead(status=status.LEAD_STATUS_QUALIFIED)
    await stage.ask(contract.QualifyLeadRequested(note="wants a quote"), "L-1", "qualify-1", qualified)
    disqualified = lead(status=status.LEAD_STATUS_DISQUALIFIED)
    await stage.ask(contract.DisqualifyLeadRequested(reason="no budget"), "L-2", "disqualify-2", disqualified)
    await stage.ask(contract.CreateLeadRequested(lead=bob), "L-3", "create-3", bob)
    await stage.ask(contract.SalesDomainIntent().create_opportunity_requested, "O-1", "opportunity-1", lead())


def _told(stage: Stage, wrong: list[str], seconds: float) -> str:
    """Say how it ended; the counts as JSON."""
    view, console = stage.view, stage.console
    live = len(stage.portal.truth().live["contacts"])
    for difference in wrong:
        console.say(difference, "red")
    if wrong:
        console.say(f"The two sides differ in {len(wrong)} places.", "bold red")
    else:
        console.say(f"Both sides agree: {live} leads, field by field. ({seconds:.1f} s)", "bold green")
    counts: dict[str, Any] = {
        "agree": not wrong,
        "differences": len(wrong),
        "leads_in_crm": live,
        "leads_in_sales": len(view.leads),
        "imported": view.imported,
        "facts": dict(sorted(view.kinds.items())),
        "facts_repeated": view.repeated,
        "intents": dict(sorted(view.outcomes.items())),
        "seconds": round(seconds, 1),
    }
    return json.dumps(counts, indent=2)


async def _keep(stage: Stage, address: str, running: asyncio.Task[None]) -> None:
    """Leave everything running, and say how to play with it, until Ctrl-C."""
    say = stage.console.say
    record = min(stage.portal.truth().live["contacts"], key=int)
    say(f"The HubSpot is at {address}. Edit a lead as its API does:")
    say(
        f"  curl -X PATCH {address}/crm/v3/objects/contacts/{record} -H 'Authorization: Bearer {TOKEN}' "
        '-H \'Content-Type: application/json\' -d \'{"properties": {"city": "Lisbon"}}\''
    )
    say(f"Kafka is at {stage.kafka.servers}: intents on {contract.INTENT_TOPIC}, facts on {contract.FACT_TOPIC}.")
    say("New facts appear below. Ctrl-C ends it.")
    shown = len(stage.lines)
    while not running.done():
        await stage.read()
        for line in stage.lines[shown:]:
            say("  ".join(line))
        shown = len(stage.lines)
        await asyncio.sleep(0.5)
