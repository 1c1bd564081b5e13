"""The whole flow over HubSpot's Lead object, where a lead is two records and a contact can have several leads."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import pytest

from sales_crm_bridge import contract
from sales_crm_bridge.sandbox import Fault, FaultKind
from sales_crm_bridge.sandbox.hubspot import CONTACTS, LEADS, Link, Portal
from sales_crm_bridge.simulate.loop import VirtualLoop, run
from sales_crm_bridge.simulate.world import World
from tests.flow.flow_kit import View, differing, view, world

PRIMARY = 578
MAPPED = {
    "email": "contact.email",
    "first_name": "contact.firstname",
    "last_name": "hs_lead_name",
    "phone": "contact.phone",
    "city": "contact.city",
}


def shown(portal: Portal) -> dict[str, dict[str, str]]:
    """Every live lead's properties, with those of its primary contact."""
    live = portal.truth().live
    found = {}
    for name, properties in live["leads"].items():
        links = portal._crm.books[LEADS.name].records[int(name)].links
        primary = min(number for (kind, number), types in links.items() if kind == CONTACTS.name and PRIMARY in types)
        contact = live["contacts"][str(primary)]
        found[name] = {**properties, **{f"contact.{field}": value for field, value in contact.items()}}
    return found


def play(
    folder: Path, story: Callable[[World], Awaitable[None]], peace_s: float = 900
) -> tuple[World, View, list[str]]:
    """Run ``story`` in a world of leads, then some time in peace; Sales' view then, and where it and the CRM disagree."""
    loop = VirtualLoop()

    async def main() -> tuple[World, View, list[str]]:
        home = world(loop, folder, "lead object", leads=30, lead_objects=20, kind="leads")
        await story(home)
        home.portal.faults.clear()
        assert not await home.live(lambda _service: asyncio.ensure_future(home.clock.sleep(peace_s)))
        told = view(home.topics.facts)
        return home, told, differing(told, shown(home.portal), MAPPED)

    return run(main(), loop)


def create(home: World, lead_id: str, message_id: str, email: str, **more: str) -> None:
    lead = contract.Lead(lead_id=lead_id, email=email, last_name=lead_id, **more)  # type: ignore[arg-type]  # texts, all
    home.utter(contract.CreateLeadRequested(lead=lead), tenant="acme", lead_id=lead_id, message_id=message_id)


def proposals(home: World) -> tuple[list[str], list[str]]:
    """The codes of the letters, and the leads of the matches that wait."""
    loop = VirtualLoop()

    async def ask() -> tuple[list[str], list[str]]:
        letters = await home.look(lambda ledger: ledger.dead_letters("", 99))
        matches = await home.look(lambda ledger: ledger.matches("", 99))
        return [one.code for one in letters], [one.lead_id for one in matches]

    return run(ask(), loop)


def act(home: World, rng: random.Random, turn: int) -> None:
    """A person does something in the CRM."""
    person, live = home.portal.person, home.portal.truth().live
    leads, contacts = sorted(live["leads"], key=int), sorted(live["contacts"], key=int)
    chance = rng.random()
    if chance < 0.40:
        person.edit(rng.choice(contacts), {"phone": f"+1 {rng.randrange(10**6)}"})
    elif chance < 0.60:
        person.edit(rng.choice(leads), {"hs_lead_name": f"Named {turn}"})
    elif chance < 0.70:
        person.delete(rng.choice(leads))
    elif chance < 0.78:
        person.delete(rng.choice(contacts))
    elif chance < 0.88:
        person.merge(*rng.sample(contacts, 2))
    else:
        link = Link(to=CONTACTS, id=int(rng.choice(contacts)), types=(PRIMARY,))
        person.create("leads", {"hs_lead_name": f"P {turn}"}, [link])


def utter(home: World, rng: random.Random, turn: int, ours: list[str]) -> str:
    """A client of the domain asks for something; gives the message id. ``ours``: leads that others may ask about later.

    Some leads are created with the address of a contact that is there. Some of them agree with it (``share``), some do not.
    """
    contacts = home.portal.truth().live["contacts"]
    taken = contacts[rng.choice(sorted(contacts, key=int))]
    chance, name = rng.random(), f"L-{turn}"
    if chance < 0.2:
        create(home, name, f"share-{turn}", taken["email"])
        return f"share-{turn}"
    if chance < 0.4:
        create(home, name, f"differ-{turn}", taken["email"], phone="+1 not hers")
        return f"differ-{turn}"
    if chance < 0.8 or not ours:
        create(home, name, f"create-{turn}", f"n{turn}@sales.example", first_name="N", phone="+1")
        ours.append(name)
        return f"create-{turn}"
    body = contract.QualifyLeadRequested()
    home.utter(body, tenant="acme", lead_id=rng.choice(ours), message_id=f"qualify-{turn}")
    return f"qualify-{turn}"


async def people(home: World, rng: random.Random, turns: int) -> list[str]:
    """Persons and clients of the domain at work, at times of chance; gives the intents' message ids."""
    uttered: list[str] = []
    ours: list[str] = []
    for turn in range(turns):
        await home.clock.sleep(rng.uniform(1, 30))
        if rng.random() < 0.6:
            act(home, rng, turn)
        else:
            uttered.append(utter(home, rng, turn, ours))
    return uttered


@pytest.mark.parametrize("faults", [False, True])
def test_leads_of_two_records_are_neither_lost_nor_doubled(tmp_path: Path, *, faults: bool) -> None:
    """Processes die between any two steps, answers are lost, contacts are merged and deleted: both sides agree in the end."""
    rng = random.Random(f"lead objects {faults}")
    uttered: list[str] = []

    async def story(home: World) -> None:
        if faults:
            for fault in (
                Fault(FaultKind.CUT_AFTER, method="POST", path="*/batch/*", times=None, chance=0.15),
                Fault(FaultKind.CUT_BEFORE, times=None, chance=0.03),
                Fault(FaultKind.STATUS, times=None, chance=0.05, status=503),
            ):
                home.portal.faults.add(fault)
        busy = asyncio.ensure_future(people(home, rng, 80))
        for _ in range(10):
            await home.live(lambda _service: asyncio.ensure_future(home.clock.sleep(600)), steps=rng.randrange(1, 300))
            await home.clock.sleep(rng.uniform(0, 40))
        uttered.extend(await busy)

    _, told, wrong = play(tmp_path, story, peace_s=2 * 3600)
    wrong += [f"{name} has no outcome" for name in uttered if not told.done[name] and name not in told.refused]
    wrong += [f"{name} took effect {count} times" for name, count in told.done.items() if count > 1]
    assert not wrong, "\n".join(wrong)
    assert "CONTACT_DIFFERS" in told.refused.values()
    assert any(name.startswith("share") for name in told.done)
    assert told.kinds["crm_lead_removed"]


def test_a_contact_is_shared_by_who_agrees_with_it_and_never_written_to(tmp_path: Path) -> None:
    """Two creates with the address of a contact that has a lead already: the one that agrees stands on it, the other is parked.

    The contact keeps its values; an edit of it by a person is then told of both of its leads.
    """
    contacts: list[tuple[str, dict[str, str]]] = []

    async def story(home: World) -> None:
        lead = min(home.portal.truth().live["leads"], key=int)
        (_, number), *_ = home.portal._crm.links.of(home.portal._crm.books["leads"].records[int(lead)], CONTACTS)
        contacts.append((str(number), dict(home.portal.truth().live["contacts"][str(number)])))

        async def meanwhile() -> None:
            await home.clock.sleep(300)
            values = contacts[0][1]
            create(home, "L-1", "m-1", values["email"], phone=values["phone"])
            create(home, "L-2", "m-2", values["email"], phone="+1 not hers")
            await home.clock.sleep(300)
            contacts.append((str(number), dict(home.portal.truth().live["contacts"][str(number)])))
            home.portal.person.edit(str(number), {"phone": "+1 edited"})
            await home.clock.sleep(300)

        await home.live(lambda _service: asyncio.ensure_future(meanwhile()))

    home, told, wrong = play(tmp_path, story)
    assert not wrong, "\n".join(wrong)
    assert proposals(home) == (["push.duplicate"], [])  # a contact is no lead's record, so it is none to be bound
    assert contacts[0] == contacts[1]
    assert told.done == {"m-1": 1}
    assert told.refused == {"m-2": "CONTACT_DIFFERS"}
    assert sum(lead.phone == "+1 edited" for lead in told.leads.values()) >= 2
    assert told.leads["L-1"].phone == "+1 edited"


@pytest.mark.parametrize("path", ["*/contacts/batch/create", "*/leads/batch/create"])
def test_a_create_that_was_carried_out_in_part_makes_no_second_contact_or_lead(tmp_path: Path, path: str) -> None:
    """The answer to the first or the second of its calls is lost: one contact, one lead, told once."""

    async def story(home: World) -> None:
        home.portal.faults.add(Fault(FaultKind.CUT_AFTER, path=path))
        create(home, "L-1", "m-1", "one@sales.example", phone="+1 ours")

    home, told, wrong = play(tmp_path, story)
    assert not wrong, "\n".join(wrong)
    assert told.done == {"m-1": 1}
    live = home.portal.truth().live
    assert sum(contact.get("email") == "one@sales.example" for contact in live["contacts"].values()) == 1
    assert len(live["leads"]) == 21
