"""The whole main job on real parts: Apache Kafka, PostgreSQL, HTTP, two bridge processes, one of them killed in the middle."""

from __future__ import annotations

import asyncio
import json
import os
import random
import signal
import time
from pathlib import Path

from sales_crm_bridge import contract
from sales_crm_bridge.kafka import KafkaSettings, ensure_topics
from sales_crm_bridge.sandbox import Fault, FaultKind, SandboxApp, serve
from sales_crm_bridge.sandbox.hubspot import Portal, Vices
from tests.flow.flow_kit import disagreements, view
from tests.real.real_kit import Clients, Deployment, running, until_answered

LEADS = 300

TENANT = """
tenant: {tenant}
leads:
  - {{owner: crm, from: 2026-01-01T00:00:00Z}}
connection:
  adapter: hubspot
  address: {address}
  account: "4242"
  credentials: {{kind: token, token: env:ACME_TOKEN}}
  allow_hosts: [127.0.0.1]
  limits: {{per_second: 200, in_flight: 4}}
fields:
  email: email
  first_name: firstname
  last_name: lastname
  phone: phone
  company_name: company
  city: city
  status:
    crm: hs_lead_status
    values: {{NEW: new, OPEN: working, CONNECTED: qualified, UNQUALIFIED: disqualified}}
    otherwise: working
pull: {{every: 1s, horizon: 1s, second_pass: 10s, removed_every: 1m, audit_every: 5m}}
"""


async def edit(portal: Portal, clients: Clients, rng: random.Random, turns: range) -> list[str]:
    """Persons and clients of the domain at work; gives the message ids of the intents."""
    uttered = []
    for turn in turns:
        await asyncio.sleep(0.05)
        ids = sorted(portal.truth().live["contacts"], key=int)
        match turn % 8:
            case 0 | 1 | 2:
                portal.person.edit(rng.choice(ids), {"phone": f"+1 {rng.randrange(10**6)}"})
            case 3:
                portal.person.create("contacts", {"email": f"p{turn}@people.example", "firstname": "P"})
            case 4:
                portal.person.merge(*rng.sample(ids, 2))
            case 5:
                portal.person.delete(rng.choice(ids))
            case 6:
                lead = contract.Lead(lead_id=f"L-{turn}", email=f"n{turn}@sales.example", first_name="N")
                uttered.append(f"create-{turn}")
                clients.utter(contract.CreateLeadRequested(lead=lead), f"L-{turn}", uttered[-1])
            case _:
                uttered.append(f"qualify-{turn}")
                clients.utter(contract.QualifyLeadRequested(), f"L-{turn - 1}", uttered[-1])
    return uttered


async def test_two_processes_one_killed_nothing_lost_nothing_doubled(
    tmp_path: Path, kafka_bootstrap: str, postgres_dsn: str
) -> None:
    """300 leads, people's edits, intents, lost answers; one process is killed, the other takes over; both sides agree."""
    tenant = f"acme-{os.getpid()}-{time.time_ns() % 1_000_000}"
    await ensure_topics(KafkaSettings(servers=kafka_bootstrap))
    portal = Portal.seeded(
        seed=3,
        leads=LEADS,
        clock=time.time,
        vices=Vices(search_lag_s=(0.0, 0.5), burst_per_10_s=10_000, search_per_s=50),
    )
    portal.add_property("contacts", "bridge_lead_id", unique=True)
    portal.faults.add(Fault(FaultKind.CUT_AFTER, method="POST", path="*/batch/*", times=None, chance=0.1))
    rng = random.Random(3)
    async with serve(SandboxApp(portal)) as address:
        files = {tenant: TENANT.format(tenant=tenant, address=address)}
        bridge = Deployment(tmp_path, kafka_bootstrap, postgres_dsn, files, {"ACME_TOKEN": "pat-na1-sandbox"})
        await bridge.do("migrate")
        clients = Clients(kafka_bootstrap, tenant)
        try:
            async with running(bridge, "first", "second") as (first, second):
                uttered = await edit(portal, clients, rng, range(80))
                first.kill()
                uttered += await edit(portal, clients, rng, range(80, 160))
                await until_answered(clients, uttered)
                second.send_signal(signal.SIGTERM)
                assert await asyncio.wait_for(second.wait(), 30) == 0
            portal.faults.clear()
            await asyncio.sleep(1.5)  # the horizon: what is younger is not read yet
            synced = json.loads(await bridge.do("sync", "--once", "--json"))
            clients.read()
        except BaseException:
            print(bridge.logs())  # noqa: T201 - shown with the failure
            raise
        finally:
            clients.close()
    assert synced["ok"]
    told = view(clients.facts)
    assert not disagreements(told, portal)
    assert not [name for name, count in told.done.items() if count > 1]
    ours = {name for name in uttered if name.startswith("create-")}
    assert told.kinds["crm_lead_observed"] >= len(portal.truth().live["contacts"]) - len(ours) > LEADS / 2
