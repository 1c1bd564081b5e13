"""The bridge between Apache Kafka, PostgreSQL and a CRM that is not ours, told to it by config/examples/bottlecrm.yaml alone."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import os
import random
import signal
import socket
import time
import uuid
from collections.abc import AsyncIterator, Callable, Mapping, Sequence
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from datetime import UTC, datetime
from decimal import Decimal
from pathlib import Path
from typing import Any

import httpx
import pytest

from sales_crm_bridge import contract
from sales_crm_bridge.kafka import KafkaSettings, ensure_topics
from tests.flow.flow_kit import View, view
from tests.real.bottle_kit import KEY, Organisation, Server
from tests.real.real_kit import LIMIT_S, Clients, Deployment, running, until_answered

SEEDS = 25
PAGES = "pull: {every: 2s, page_size: 8}"
"""Sweeps of several pages, so that what people do moves records from one page to another while they are read."""
OURS = "N"
"""The first name of every lead that Sales has made, and of no other; nobody changes it."""
KINDS = {"create", "revise", "qualify", "disqualify", "touch"}
"""What every round asks for, as the message ids name it."""
TAKEN = "taken@people.example"
"""The address of a lead that nobody touches."""
SAME = {
    "email": "email",
    "first_name": "first_name",
    "last_name": "last_name",
    "phone": "phone",
    "company_name": "company_name",
    "job_title": "job_title",
    "description": "description",
    "website": "website",
    "street": "address_line",
    "city": "city",
    "region": "state",
    "postal_code": "postcode",
    "country_code": "country",
    "rating": "rating",
    "source": "source",
}
STATUS = {
    None: contract.LeadStatus.LEAD_STATUS_NEW,
    "": contract.LeadStatus.LEAD_STATUS_NEW,
    "assigned": contract.LeadStatus.LEAD_STATUS_WORKING,
    "in process": contract.LeadStatus.LEAD_STATUS_QUALIFIED,
    "recycled": contract.LeadStatus.LEAD_STATUS_DISQUALIFIED,
    "closed": contract.LeadStatus.LEAD_STATUS_DISQUALIFIED,
}


def worth(lead: contract.Lead) -> tuple[Decimal, str] | None:
    """What a fact says that the lead may be worth."""
    money = lead.estimated_value
    return (money.units + Decimal(money.nanos).scaleb(-9), money.currency) if lead.HasField("estimated_value") else None


def worth_there(theirs: Mapping[str, Any]) -> tuple[Decimal, str] | None:
    """What the CRM says that the lead may be worth; it keeps a currency where there is no amount."""
    amount = theirs["opportunity_amount"]
    return None if amount is None else (Decimal(amount), theirs["currency"])


@dataclass
class Side:
    """One tenant: its organisation at the CRM, its clients at Kafka, and what they have asked for so far."""

    tenant: str
    org: Organisation
    hook: str
    clients: Clients
    rng: random.Random
    uttered: list[str] = field(default_factory=list)

    @property
    def told(self) -> View:
        """What its facts say by now."""
        self.clients.read()
        return view(self.clients.facts)

    def utter(self, body: object, lead_id: str, message_id: str) -> None:
        """Ask for something as a client of the domain does."""
        self.uttered.append(message_id)
        self.clients.utter(body, lead_id, message_id)

    def create(self, lead_id: str, message_id: str, **fields: object) -> None:
        """Ask for a new lead."""
        self.utter(contract.CreateLeadRequested(lead=contract.Lead(lead_id=lead_id, **fields)), lead_id, message_id)  # type: ignore[arg-type]

    def revise(self, lead_id: str, message_id: str, **fields: str) -> None:
        """Ask for other values of some fields of a lead."""
        body = contract.ReviseLeadRequested(lead=contract.Lead(lead_id=lead_id, **fields))  # type: ignore[arg-type]
        body.update_mask.paths.extend(fields)
        self.utter(body, lead_id, message_id)

    def round(self, number: int) -> None:
        """Every command there is, for a lead of Sales' own and one that was born in the CRM."""
        lead_id = f"L-{number}"
        self.create(
            lead_id,
            f"create-{number}",
            email=f"n{number}@sales.example",
            first_name=OURS,
            company_name="Navy",
            website=f"https://navy.example/{number}",
            street=f"{number} Pier Road\nShed 3",
            region="Virginia",
            postal_code="22202",
            country_code="US",
            rating=("HOT", "WARM", "COLD")[number % 3],
            source="call",
            estimated_value=contract.Money(currency="EUR", units=1000 + number, nanos=500_000_000),
        )
        self.revise(lead_id, f"revise-{number}", phone=f"+1 415 555 01{number:02}", city="Arlington")
        if number % 2:
            self.utter(contract.QualifyLeadRequested(), lead_id, f"qualify-{number}")
        else:
            self.utter(contract.DisqualifyLeadRequested(note="no budget"), lead_id, f"disqualify-{number}")
        born = sorted(name for name in self.told.leads if not name.startswith("L-"))
        self.revise(self.rng.choice(born), f"touch-{number}", job_title=f"Title {number}")

    async def seed(self) -> None:
        """Leads that are there before the bridge is."""
        await self.org.create(first_name="Still", email=TAKEN)
        for number in range(1, SEEDS):
            status = self.rng.choice([None, "assigned", "in process", "closed", "recycled"])
            await self.org.create(first_name=f"S{number}", email=f"s{number}@people.example", status=status)

    async def people(self, turns: int) -> None:
        """Persons at work in the CRM, a sort of deed each turn."""
        for turn in range(turns):
            ids = sorted(name for name, lead in (await self.org.leads()).items() if lead["email"] != TAKEN)
            one, other = self.rng.sample(ids, 2)
            match turn % 6:
                case 0:
                    await self.org.edit(one, phone=f"+1 415 555 {self.rng.randrange(10_000):04}")
                case 1:
                    await self.org.create(first_name="P", email=f"p{time.time_ns()}@people.example")
                case 2:
                    await self.org.delete(one)
                case 3:
                    await self.org.edit(one, status=self.rng.choice(["assigned", "closed"]), last_name=f"T{turn}")
                case 4:
                    await self.org.merge(one, other)
                case _:
                    # What is converted needs an e-mail address.
                    await self.org.edit(one, email=f"c{time.time_ns()}@people.example")
                    await self.org.edit(one, status="converted")

    def converted(self) -> dict[str, str]:
        """The leads that the facts say were converted, with their records."""
        found = {}
        for value in self.clients.facts:
            fact = contract.SalesIntegrationFact.FromString(value)
            if fact.WhichOneof("fact") == "crm_lead_converted":
                found[fact.subject.aggregate_id] = fact.crm_lead_converted.external.record_id
        return found

    async def disagreements(self) -> list[str]:
        """Where Sales' view, made of the facts alone, and the CRM differ, field by field."""
        told, truth, converted = self.told, await self.org.leads(), self.converted()
        found = list(told.wrong)
        found += [f"{name} took effect {count} times" for name, count in told.done.items() if count > 1]
        for lead_id, record in converted.items():
            held = await self.org.lead(record)
            if held is None or held["status"] != "converted":
                found.append(f"{lead_id} was told as converted, the CRM says {held}")
        records = {told.records[lead_id]: lead_id for lead_id in told.leads if lead_id not in converted}
        if len(records) != len(told.leads.keys() - converted.keys()):
            found.append("two leads share one record")
        found += [f"{record} is at the CRM alone" for record in truth.keys() - records.keys()]
        found += [f"{records[record]} ({record}) is on Sales' side alone" for record in records.keys() - truth.keys()]
        for record in records.keys() & truth.keys():
            lead, theirs = told.leads[records[record]], truth[record]
            for ours, name in SAME.items():
                if getattr(lead, ours) != (theirs[name] or ""):
                    found.append(f"{records[record]} {ours}: {getattr(lead, ours)!r}, the CRM says {theirs[name]!r}")
            if worth(lead) != worth_there(theirs):
                found.append(f"{records[record]} estimated_value: {worth(lead)}, the CRM says {worth_there(theirs)}")
            if lead.created_at.ToDatetime(UTC) != datetime.fromisoformat(theirs["created_at"]):
                found.append(f"{records[record]} created_at: {lead.created_at}, the CRM says {theirs['created_at']!r}")
            if lead.status != STATUS[theirs["status"]]:
                found.append(f"{records[record]} status: {lead.status}, the CRM says {theirs['status']!r}")
        # A merge gives the loser's key to a survivor that has none, so another record may carry it too: one of a person's own.
        made = [theirs["custom_fields"].get(KEY) for theirs in truth.values() if theirs["first_name"] == OURS]
        found += [f"two records were made for {key}" for key in {*made} - {None} if made.count(key) > 1]
        return sorted(found)


def free_port() -> int:
    """Give a port that nothing listens on now."""
    with socket.socket() as held:
        held.bind(("127.0.0.1", 0))
        return int(held.getsockname()[1])


@asynccontextmanager
async def two_sides(
    folder: Path, passport: dict[str, Any], kafka: str, dsn: str, pull: str
) -> AsyncIterator[tuple[Deployment, Sequence[Side]]]:
    """Two tenants on two organisations of one server, and the deployment that serves both."""
    await ensure_topics(KafkaSettings(servers=kafka))
    port = free_port()
    files: dict[str, str] = {}
    secrets: dict[str, str] = {}
    sides: list[Side] = []
    try:
        for number, name in enumerate(("acme", "globex")):
            tenant = f"{name}-{os.getpid()}-{time.time_ns() % 1_000_000}"
            org = await Organisation.founded(passport, tenant)
            hook = f"http://127.0.0.1:{port}/webhooks/{tenant}/bottlecrm"
            sides.append(Side(tenant, org, hook, Clients(kafka, tenant), random.Random(number)))
            files[tenant] = org.file(tenant, passport["address"], **{"pull: {every: 1m, page_size: 500}": pull})
            secrets |= org.secrets(tenant, await org.hook(hook))
        settings = {"port_http": port, "http": {"breaker_open": "1s", "retry_max": "2s"}}
        yield Deployment(folder, kafka, dsn, files, secrets, settings), sides
    finally:
        for side in sides:
            side.clients.close()
            await side.org.close()


async def until_observed(sides: Sequence[Side], count: int) -> None:
    """Wait until each side has been told of at least so many leads."""
    began = time.monotonic()
    while any(len(side.told.leads) < count for side in sides):
        assert time.monotonic() - began < LIMIT_S, "leads are missing"
        await asyncio.sleep(0.3)


async def until_one_is_done(sides: Sequence[Side], message_ids: Sequence[str]) -> None:
    """Wait until one of these intents of one side has taken effect: the others are under way then."""
    began = time.monotonic()
    while not any(side.told.done[name] for side in sides for name in message_ids):
        assert time.monotonic() - began < LIMIT_S, "nothing gets on"
        await asyncio.sleep(0.05)


async def all_answered(sides: Sequence[Side]) -> None:
    """Wait until every intent of every side has its outcome."""
    for side in sides:
        await until_answered(side.clients, side.uttered)


@pytest.mark.timeout(400)
async def test_both_sides_agree_after_everything_that_happens_to_them(
    tmp_path: Path, bottlecrm: dict[str, Any], kafka_bootstrap: str, postgres_dsn: str
) -> None:
    """Import, every command, people's edits, a bridge killed, the CRM killed in the middle of writes, stopped and started."""
    server = Server(bottlecrm)
    async with two_sides(tmp_path, bottlecrm, kafka_bootstrap, postgres_dsn, PAGES) as (bridge, sides):
        try:
            await asyncio.gather(*(side.seed() for side in sides))
            await bridge.do("migrate")
            async with running(bridge, "first") as (first,):
                await until_observed(sides, SEEDS)
                for side in sides:
                    for number in range(4):
                        side.round(number)
                    side.create("L-bad", "bad", email="not an address", first_name="B")
                    side.create("L-taken", "taken", email=TAKEN, first_name="T")
                await asyncio.gather(*(side.people(6) for side in sides))
                await until_one_is_done(sides, ["create-0", "create-1", "create-2", "create-3"])
                first.kill()
            for side in sides:
                for number in range(4, 8):
                    side.round(number)
            await asyncio.gather(*(side.people(12) for side in sides))
            async with running(bridge, "second") as (second,):
                await until_one_is_done(sides, [f"create-{number}" for number in range(4, 8)])
                await server.kill()
                await server.do("start")
                await asyncio.gather(*(side.people(6) for side in sides))
                await all_answered(sides)
                await server.do("stop")
                for side in sides:
                    for number in range(8, 10):
                        side.round(number)
                await asyncio.sleep(2)  # long enough for the bridge to meet the outage
                await server.do("start")
                await all_answered(sides)
                second.send_signal(signal.SIGTERM)
                assert await asyncio.wait_for(second.wait(), 30) == 0
            synced = json.loads(await bridge.do("sync", "--once", "--json"))
            assert synced["ok"], synced
            wrong = {side.tenant: await side.disagreements() for side in sides}
            told = [side.told for side in sides]
        except BaseException:
            print(bridge.logs())  # noqa: T201 - shown with the failure
            raise
    assert not any(wrong.values()), json.dumps(wrong, indent=1)
    for one in told:
        assert one.refused["bad"] == "invalid"
        assert one.refused["taken"] == "email-taken"
        assert not [name for name in one.refused if name.startswith("create-")]
        # Each kind of command took effect, and nothing was believed to be gone that came back: there is no archive here.
        assert {name.split("-")[0] for name, count in one.done.items() if count} == KINDS
        assert "crm_lead_restored" not in one.kinds


async def until_told(side: Side, what: str, holds: Callable[[View], bool]) -> None:
    """Wait until the side's facts say so."""
    began = time.monotonic()
    while not holds(side.told):
        assert time.monotonic() - began < LIMIT_S, f"not told: {what}"
        await asyncio.sleep(0.1)


def shown(told: View, record: str) -> contract.Lead:
    """Give the lead that the facts show for a record; an empty one if there is none."""
    return next((told.leads[name] for name, one in told.records.items() if one == record), contract.Lead())


async def delivered(hook: str, lead: str, secret: str) -> int:
    """Deliver what the CRM delivers when a lead was changed, signed with ``secret``; gives the status of the answer."""
    body = json.dumps({"id": str(uuid.uuid4()), "event": "lead.updated", "data": {"id": lead}}).encode()
    at = str(int(time.time()))
    digest = hmac.new(secret.encode(), f"{at}.".encode() + body, hashlib.sha256).hexdigest()
    headers = {"X-BottleCRM-Signature": f"t={at},v1={digest}", "Content-Type": "application/json"}
    async with httpx.AsyncClient() as client:
        return (await client.post(hook, content=body, headers=headers)).status_code


async def test_webhooks_make_changes_known_long_before_the_next_sweep(
    tmp_path: Path, bottlecrm: dict[str, Any], kafka_bootstrap: str, postgres_dsn: str
) -> None:
    """With a sweep an hour: an edit, a new lead, a conversion and a deletion are told all the same; a forged hint is refused."""
    async with two_sides(tmp_path, bottlecrm, kafka_bootstrap, postgres_dsn, "pull: {every: 1h}") as (bridge, sides):
        acme, _ = sides
        ids = [await side.org.create(first_name="S", email=f"s{n}@people.example") for side in sides for n in range(4)]
        one, two, three, _ = ids[:4]
        try:
            await bridge.do("migrate")
            async with running(bridge, "bridge"):
                await until_observed(sides, 4)
                await acme.org.edit(one, phone="+1 415 555 0100")
                await until_told(acme, "an edit", lambda told: shown(told, one).phone == "+1 415 555 0100")
                new = await acme.org.create(first_name="New", email="new@people.example")
                await until_told(acme, "a new lead", lambda told: shown(told, new).first_name == "New")
                await acme.org.edit(two, status="converted")
                await until_told(acme, "a conversion", lambda _told: two in acme.converted().values())
                await acme.org.delete(three)
                await until_told(acme, "a deletion", lambda told: three not in told.records.values())
                assert [await delivered(side.hook, one, "whsec_guessed") for side in sides] == [401, 401]
                wrong = [await side.disagreements() for side in sides]
        except BaseException:
            print(bridge.logs())  # noqa: T201 - shown with the failure
            raise
        assert wrong == [[], []]
        taken = [one for one in await acme.org.deliveries() if one["status"] == "succeeded"]
        assert {one["event"] for one in taken} == {"lead.created", "lead.updated", "lead.deleted"}
