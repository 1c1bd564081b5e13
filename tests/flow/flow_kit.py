"""What the flow tests share: a world made of one tenant file, and Sales' view of the leads built from the facts alone."""

from __future__ import annotations

import asyncio
import random
import shutil
from collections import Counter, defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from sales_crm_bridge import contract
from sales_crm_bridge.sandbox.hubspot import Portal, Vices
from sales_crm_bridge.settings import Settings
from sales_crm_bridge.simulate.loop import VirtualClock
from sales_crm_bridge.simulate.retold import Retold
from sales_crm_bridge.simulate.world import World

HERE = Path(__file__).parent
EPOCH_US = 1_790_000_000_000_000
TOKEN = "pat-na1-sandbox"
MAPPED = {
    "email": "email",
    "first_name": "firstname",
    "last_name": "lastname",
    "phone": "phone",
    "company_name": "company",
    "city": "city",
}


def world(
    loop: asyncio.AbstractEventLoop,
    folder: Path,
    seed: str,
    *,
    leads: int = 0,
    kind: str = "contacts",
    **portal: object,
) -> World:
    """One tenant on a sandbox HubSpot with ``leads`` contacts, a ledger in ``folder``, virtual time.

    ``kind``: what its leads are, contacts or records of the Lead object (``leads``).
    """
    tenants = folder / "tenants"
    tenants.mkdir(exist_ok=True)
    shutil.copy(HERE / ("acme.yaml" if kind == "contacts" else f"acme-{kind}.yaml"), tenants / "acme.yaml")
    clock = VirtualClock(loop, EPOCH_US)
    vices = portal.pop("vices", Vices.typical())
    crm = Portal.seeded(seed=1, leads=leads, clock=lambda: clock.now_us() / 1e6, vices=vices, **portal)  # type: ignore[arg-type]
    crm.add_property(kind, "bridge_lead_id", unique=True)
    settings = Settings.model_validate(
        {
            "hash_keys": ["a key of the tests, long enough"],
            "seal_key": "another key of the tests",
            "tenants": {"folder": str(tenants)},
        }
    )
    return World(settings=settings, folder=folder, clock=clock, portal=crm, seed=seed)


@dataclass
class View:
    """What a reader of the facts topic knows, and what it found wrong with the facts themselves."""

    leads: dict[str, contract.Lead] = field(default_factory=dict)
    kinds: Counter[str] = field(default_factory=Counter)
    done: Counter[str] = field(default_factory=Counter)
    refused: dict[str, str] = field(default_factory=dict)
    records: dict[str, str] = field(default_factory=dict)
    wrong: list[str] = field(default_factory=list)
    repeated: int = 0


def view(facts: list[bytes]) -> View:
    """Read the topic as a consumer that knows each fact by its message id.

    Wrong with the facts: one id with two contents, versions with a hole, and what is told twice under two ids.
    """
    seen: dict[str, bytes] = {}
    versions: dict[str, list[int]] = defaultdict(list)
    told = View()
    retold = Retold()
    for value in facts:
        record = contract.outgoing(value)
        received = contract.read(contract.SalesIntegrationFact, record.value, record.headers)
        assert not isinstance(received, contract.Unreadable)
        fact = received.envelope
        if fact.meta.message_id in seen:
            told.repeated += 1
            if seen[fact.meta.message_id] != record.value:
                told.wrong.append(f"message {fact.meta.message_id} has two contents")
            continue
        seen[fact.meta.message_id] = record.value
        versions[fact.subject.aggregate_id].append(fact.subject.aggregate_version)
        if wrong := retold.wrong(fact):
            told.wrong.append(f"{fact.subject.aggregate_id} in version {fact.subject.aggregate_version}: {wrong}")
        _take(told, fact)
    for aggregate, numbers in versions.items():
        if numbers != list(range(1, len(numbers) + 1)):
            told.wrong.append(f"{aggregate} was told in versions {numbers}")
    return told


def _take(told: View, fact: contract.SalesIntegrationFact) -> None:
    kind = fact.WhichOneof("fact") or ""
    lead_id = fact.subject.aggregate_id
    told.kinds[kind] += 1
    match kind:
        case "crm_lead_observed":
            told.leads[lead_id] = fact.crm_lead_observed.lead
            told.records[lead_id] = fact.crm_lead_observed.external.record_id
        case "crm_lead_restored":
            told.leads[lead_id] = fact.crm_lead_restored.lead
            told.records[lead_id] = fact.crm_lead_restored.external.record_id
        case "crm_lead_removed":
            told.leads.pop(lead_id, None)
            told.records.pop(lead_id, None)
        case "crm_lead_pushed":
            told.done[fact.meta.causation_id] += 1
            told.records[lead_id] = fact.crm_lead_pushed.external.record_id
            if fact.crm_lead_pushed.HasField("lead"):
                told.leads[lead_id] = fact.crm_lead_pushed.lead
        case "crm_lead_push_failed":
            told.refused[fact.meta.causation_id] = fact.crm_lead_push_failed.crm_code
        case _:
            pass


def disagreements(told: View, portal: Portal) -> list[str]:
    """Where Sales' view and the CRM's contacts differ, field by field; empty when both sides agree."""
    return differing(told, portal.truth().live["contacts"], MAPPED)


def differing(told: View, live: Mapping[str, Mapping[str, str]], mapped: Mapping[str, str]) -> list[str]:
    """Where Sales' view and the CRM's live records differ; ``mapped``: Sales' names of the fields → the CRM's."""
    found = list(told.wrong)
    lead_of = {record: lead_id for lead_id, record in told.records.items() if lead_id in told.leads}
    if len(lead_of) != len(told.leads):
        found.append("two leads share one record")
    for record in sorted({*live, *lead_of}, key=int):
        lead_id = lead_of.get(record)
        if lead_id is None or record not in live:
            found.append(f"record {record} (lead {lead_id}) is on one side only")
            continue
        lead, truth = told.leads[lead_id], live[record]
        for ours, theirs in mapped.items():
            if (getattr(lead, ours) or "") != (truth.get(theirs) or ""):
                found.append(f"{lead_id} {ours}: {getattr(lead, ours)!r}, the CRM says {truth.get(theirs)!r}")
    keys = Counter(truth["bridge_lead_id"] for truth in live.values() if truth.get("bridge_lead_id"))
    found += [f"{count} records carry key {key}" for key, count in keys.items() if count > 1]
    return found


async def people(home: World, rng: random.Random, turns: int) -> list[str]:
    """Persons edit in the CRM and clients of the domain utter intents, at times of chance; gives the intents' message ids.

    Some leads are created with an address that a contact has: those creates are parked, and nothing else is asked of them.
    """
    uttered: list[str] = []
    born = 0
    ours: list[str] = []
    for turn in range(turns):
        await home.clock.sleep(rng.uniform(1, 30))
        ids = sorted(home.portal.truth().live["contacts"], key=int)
        chance = rng.random()
        if chance < 0.40:
            home.portal.person.edit(rng.choice(ids), {"phone": f"+1 {rng.randrange(10**6)}"})
        elif chance < 0.50:
            home.portal.person.delete(rng.choice(ids))
        elif chance < 0.60:
            home.portal.person.merge(*rng.sample(ids, 2))
        elif chance < 0.70:
            home.portal.person.create("contacts", {"email": f"p{turn}@people.example", "firstname": "P"})
        elif chance < 0.85 or not ours:
            born += 1
            name, email = f"L-{born}", f"n{born}@sales.example"
            if chance < 0.73:
                email = home.portal.truth().live["contacts"][rng.choice(ids)]["email"]
            else:
                ours.append(name)
            lead = contract.Lead(lead_id=name, email=email, first_name="N")
            uttered.append(f"create-{born}")
            home.utter(contract.CreateLeadRequested(lead=lead), tenant="acme", lead_id=name, message_id=uttered[-1])
        else:
            uttered.append(f"qualify-{turn}")
            home.utter(contract.QualifyLeadRequested(), tenant="acme", lead_id=rng.choice(ours), message_id=uttered[-1])
    return uttered
