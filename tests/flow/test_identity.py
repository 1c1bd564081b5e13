"""Which record is whose lead, through the whole flow: a binding and our key decide, an e-mail address never does."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import NamedTuple

import msgspec
import pytest
from sales_crm_adapters.hubspot.writing import ContactWriter

from sales_crm_bridge import contract
from sales_crm_bridge.model import Accepted, Outcome, Write
from sales_crm_bridge.ports import Talk
from sales_crm_bridge.sandbox import Fault, FaultKind
from sales_crm_bridge.simulate.loop import VirtualLoop, run
from sales_crm_bridge.simulate.world import World
from tests.flow.flow_kit import View, disagreements, view, world

UPSERT = "*/contacts/batch/upsert"


class Told(NamedTuple):
    """How a story ended: Sales' view, what disagrees, the failure's category and other record, and the dead letters."""

    view: View
    wrong: list[str]
    failures: list[tuple[str, str, bool]]
    letters: list[tuple[str, str]]


def play(folder: Path, story: Callable[[World], Awaitable[None]]) -> tuple[World, Told]:
    """Run ``story`` in a world of three contacts, and twenty minutes of peace after it."""
    loop = VirtualLoop()

    async def main() -> tuple[World, Told]:
        home = world(loop, folder, "identity", leads=3)
        await story(home)
        home.portal.faults.clear()
        await live(home, 1200)
        told = view(home.topics.facts)
        failures = [
            (contract.CrmErrorCategory.Name(one.category), one.other_record_id, one.needs_person)
            for one in failed(home.topics.facts)
        ]
        letters = [
            (letter.code, letter.message) for letter in await home.look(lambda ledger: ledger.dead_letters("acme", 9))
        ]
        return home, Told(told, disagreements(told, home.portal), failures, letters)

    return run(main(), loop)


def failed(facts: list[bytes]) -> list[contract.CrmLeadPushFailed]:
    """The failures that the facts tell of."""
    found = []
    for value in facts:
        record = contract.outgoing(value)
        received = contract.read(contract.SalesIntegrationFact, record.value, record.headers)
        assert not isinstance(received, contract.Unreadable)
        if received.envelope.HasField("crm_lead_push_failed"):
            found.append(received.envelope.crm_lead_push_failed)
    return found


async def live(home: World, seconds: float) -> None:
    assert not await home.live(lambda _service: asyncio.ensure_future(home.clock.sleep(seconds)))


def create(home: World, lead_id: str, message_id: str, email: str, **more: str) -> None:
    lead = contract.Lead(lead_id=lead_id, email=email, **more)  # type: ignore[arg-type]  # texts, all of them
    home.utter(contract.CreateLeadRequested(lead=lead), tenant="acme", lead_id=lead_id, message_id=message_id)


def contact(home: World) -> tuple[str, dict[str, str]]:
    """The oldest contact, and what it holds."""
    live_contacts = home.portal.truth().live["contacts"]
    name = min(live_contacts, key=int)
    return name, dict(live_contacts[name])


@pytest.mark.parametrize("pulled", [True, False], ids=["bound", "not seen yet"])
@pytest.mark.parametrize("fault", [None, FaultKind.CUT_AFTER, FaultKind.CUT_BEFORE], ids=["", "lost", "cut"])
def test_a_create_never_writes_to_a_contact_that_has_its_address(
    tmp_path: Path, fault: FaultKind | None, *, pulled: bool
) -> None:
    """The contact is a lead that was born in the CRM: not a value of it changes, and no fact says so.

    The create is parked with the contact named, also where its first answer was lost; another lead's create goes on.
    """
    before: list[tuple[str, dict[str, str]]] = []

    async def story(home: World) -> None:
        if pulled:
            await live(home, 120)
        before.append(contact(home))
        if fault is not None:
            home.portal.faults.add(Fault(fault, path=UPSERT))
        create(home, "L-1", "m-1", before[0][1]["email"], first_name="Sales", phone="+1 ours")
        create(home, "L-2", "m-2", "two@sales.example")
        await live(home, 600)

    home, told = play(tmp_path, story)
    record, values = before[0]
    assert home.portal.truth().live["contacts"][record] == values
    assert not told.wrong
    assert told.view.done == {"m-2": 1}
    assert "L-1" not in told.view.leads
    assert told.view.kinds["crm_lead_observed"] == 3
    assert told.failures == [("CRM_ERROR_CATEGORY_DUPLICATE", record, True)]
    assert told.letters == [
        ("push.match-proposed", f"create was refused: CONFLICT; record {record} may be this lead's")
    ]


@pytest.mark.parametrize("kind", [FaultKind.CUT_AFTER, FaultKind.STATUS_AFTER])
def test_a_create_whose_answer_was_lost_is_proven_by_our_key(tmp_path: Path, kind: FaultKind) -> None:
    """A person edits the new contact before it is read back: the create is done, its contact ours, the edit told as hers."""

    async def story(home: World) -> None:
        await live(home, 120)
        home.portal.faults.add(Fault(kind, path=UPSERT, status=502))
        create(home, "L-1", "m-1", "one@sales.example", phone="+1 ours")

        async def meanwhile() -> None:
            made: list[str] = []
            while not made:
                await home.clock.sleep(0.5)
                made = [name for name, held in home.portal.truth().live["contacts"].items() if "bridge_lead_id" in held]
            home.portal.person.edit(made[0], {"phone": "+1 hers"})
            await home.clock.sleep(600)

        await home.live(lambda _service: asyncio.ensure_future(meanwhile()))

    _, told = play(tmp_path, story)
    assert not told.wrong
    assert told.view.done == {"m-1": 1}
    assert told.view.leads["L-1"].phone == "+1 hers"
    assert not told.letters


@pytest.mark.parametrize("batch", [1, 100], ids=["apart", "in one batch"])
def test_a_crm_that_names_one_record_for_two_leads_binds_it_to_one(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, batch: int
) -> None:
    """Its answers come at once, so both are written down in one transaction: the second is refused, nothing stops."""
    names: list[str] = []
    honest = ContactWriter.push

    def dishonest(self: ContactWriter, writes: Sequence[Write]) -> Talk[list[Outcome]]:
        outcomes = yield from honest(self, writes)
        told = []
        for write, outcome in zip(writes, outcomes, strict=True):
            if isinstance(outcome, Accepted) and write.key in {"L-1", "L-2"}:
                names.append(outcome.crm_id)
                outcome = msgspec.structs.replace(outcome, crm_id=names[0])  # noqa: PLW2901 - it lies
            told.append(outcome)
        return told

    monkeypatch.setattr(ContactWriter, "push", dishonest)

    async def story(home: World) -> None:
        file = tmp_path / "tenants" / "acme.yaml"
        file.write_text(file.read_text() + f"push: {{batch: {batch}}}\n")
        for number in (1, 2, 3):
            create(home, f"L-{number}", f"m-{number}", f"{number}@sales.example")
        await live(home, 600)

    _, told = play(tmp_path, story)
    assert told.view.done == {"m-1": 1, "m-3": 1}
    assert told.failures == [("CRM_ERROR_CATEGORY_CONFLICT", names[0], False)]
