"""Delete, undelete, archive, merge, convert: five outcomes through the whole flow, and what becomes of commands under way."""

from __future__ import annotations

import asyncio
import dataclasses
import random
from collections.abc import Awaitable, Callable, Iterator
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sales_crm_adapters import CATALOGUE

from sales_crm_bridge import contract
from sales_crm_bridge.deadletters import Order, redrive
from sales_crm_bridge.ledger.sql_ledger import SqlLedger
from sales_crm_bridge.model import Operation
from sales_crm_bridge.sandbox import Fault, FaultKind
from sales_crm_bridge.sandbox.hubspot import Vices
from sales_crm_bridge.simulate.loop import VirtualLoop, run
from sales_crm_bridge.simulate.world import World
from sales_crm_bridge.state import InboxRow, Intake, NewCommand
from tests.flow.flow_kit import View, differing, people, view, world

T = TypeVar("T")
UPDATE = "*/contacts/batch/update"
UPSERT = "*/contacts/batch/upsert"
INVALID = (
    b'{"status":"error","message":"no","category":"VALIDATION_ERROR","errors":[{"context":{"propertyName":["phone"]}}]}'
)
PROBED_S = 5
"""A session has asked by then what its credentials may write: those calls are not the ones that are to fail."""


@pytest.fixture(autouse=True)
def no_bug(caplog: pytest.LogCaptureFixture) -> Iterator[None]:
    """A worker recovers from a bug by itself, so that alone would not be seen."""
    yield
    assert not [record.getMessage() for record in caplog.get_records("call") if record.levelname == "ERROR"]


def vices(*, third: bool) -> Vices:
    """An ordinary day; ``third``: what survives a merge is a third record."""
    return dataclasses.replace(Vices.typical(), merge_makes_new_id=third)


def play(folder: Path, story: Callable[[World], Awaitable[T]], *, follow: bool, leads: int = 3, **more: Any) -> T:
    """Run ``story`` in a world of three contacts whose tenant has chosen what becomes of a merged lead's commands."""
    loop = VirtualLoop()

    async def main() -> T:
        home = world(loop, folder, "life cycle", leads=leads, **more)
        file = folder / "tenants" / "acme.yaml"
        if follow:
            file.write_text(f"{file.read_text()}push: {{after_merge: follow}}\n")
        return await story(home)

    return run(main(), loop)


async def live(home: World, seconds: float = 600) -> View:
    """Let a process work for so long; what the topic then says."""
    assert not await home.live(lambda _service: asyncio.ensure_future(home.clock.sleep(seconds)))
    return view(home.topics.facts)


def revise(home: World, lead_id: str, message_id: str, phone: str) -> None:
    body = contract.ReviseLeadRequested(lead=contract.Lead(lead_id=lead_id, phone=phone))
    body.update_mask.paths.append("phone")
    home.utter(body, tenant="acme", lead_id=lead_id, message_id=message_id)


def create(home: World, lead_id: str, message_id: str, email: str, **more: Any) -> None:
    lead = contract.Lead(lead_id=lead_id, email=email, **more)
    home.utter(contract.CreateLeadRequested(lead=lead), tenant="acme", lead_id=lead_id, message_id=message_id)


def taken(home: World, lead_id: str, message_id: str, phone: str) -> InboxRow:
    """An intent as intake books it, so that the order between two leads is known."""
    body = contract.ReviseLeadRequested(lead=contract.Lead(lead_id=lead_id, phone=phone))
    body.update_mask.paths.append("phone")
    now_us = home.clock.now_us()
    envelope = contract.intent(
        body,
        tenant_id="acme",
        aggregate_id=lead_id,
        message_id=message_id,
        correlation_id=f"c-{message_id}",
        occurred_us=now_us,
        producer="sales-ui",
    )
    payload = contract.record_of(envelope).value
    command = NewCommand(conn=1, lead_id=lead_id, operation=Operation.REVISE, payload=payload, occurred_us=now_us)
    return InboxRow(tenant="acme", message_id=message_id, command=command)


def contacts(home: World) -> dict[str, dict[str, str]]:
    return {name: dict(values) for name, values in home.portal.truth().live["contacts"].items()}


def facts(home: World, kind: str) -> list[tuple[str, Any]]:
    """Lead and body of each fact of a kind, in the order of the topic."""
    found = []
    for value in home.topics.facts:
        record = contract.outgoing(value)
        received = contract.read(contract.SalesIntegrationFact, record.value, record.headers)
        assert not isinstance(received, contract.Unreadable)
        if received.envelope.WhichOneof("fact") == kind:
            found.append((received.envelope.subject.aggregate_id, getattr(received.envelope, kind)))
    return found


async def three(home: World) -> list[tuple[str, str]]:
    """Lead and record of the three contacts, once the bridge has told of them; the oldest first."""
    told = await live(home, 120)
    pairs = sorted(((record, lead) for lead, record in told.records.items()), key=lambda one: int(one[0]))
    return [(lead, record) for record, lead in pairs]


def disagreements(told: View, home: World) -> list[str]:
    """Where Sales' view and the CRM differ, phones aside: what an intent has changed of them Sales knows from the intent alone."""
    mapped = {"email": "email", "first_name": "firstname", "last_name": "lastname", "city": "city"}
    return differing(told, home.portal.truth().live["contacts"], mapped)


def failure(home: World, message_id: str) -> tuple[str, str, str, str]:
    """Aggregate, code, and the survivor's record and lead, of the one failure that was told of an intent."""
    found = []
    for value in home.topics.facts:
        record = contract.outgoing(value)
        received = contract.read(contract.SalesIntegrationFact, record.value, record.headers)
        assert not isinstance(received, contract.Unreadable)
        fact = received.envelope
        if fact.HasField("crm_lead_push_failed") and fact.meta.causation_id == message_id:
            body = fact.crm_lead_push_failed
            found.append((fact.subject.aggregate_id, body.crm_code, body.other_record_id, body.other_lead_id))
    (one,) = found
    return one


# --- the five outcomes, as Sales sees them ----------------------------------------------------------------------------


def test_a_deleted_lead_is_removed_and_its_return_is_a_restoration_of_the_same_lead(tmp_path: Path) -> None:
    """Archived, it refuses commands; back with another value it is the same lead, told once as restored, and takes commands."""

    async def story(home: World) -> None:
        (lead, record), *_ = await three(home)
        home.portal.person.delete(record)
        await live(home, 1500)
        revise(home, lead, "m-1", "+1 nobody")
        told = await live(home, 300)
        assert told.refused["m-1"] == "lead-removed"
        assert lead not in told.leads
        home.portal.person.restore(record)
        home.portal.person.edit(record, {"city": "Back"})
        told = await live(home, 1500)
        assert told.leads[lead].city == "Back"
        revise(home, lead, "m-2", "+1 again")
        told = await live(home, 1500)
        assert told.done == {"m-2": 1}
        assert told.kinds["crm_lead_restored"] == told.kinds["crm_lead_removed"] == 1
        assert len(told.leads) == 3
        assert not disagreements(told, home)

    play(tmp_path, story, follow=False)


@pytest.mark.parametrize("third", [True, False], ids=["into a third record", "into the primary"])
@pytest.mark.parametrize("follow", [True, False], ids=["follow", "refuse"])
def test_a_merge_moves_the_binding_and_tells_of_both(tmp_path: Path, *, third: bool, follow: bool) -> None:
    """The survivor keeps its lead, the loser is removed into it by name, and a later command of the loser goes by the policy."""

    async def story(home: World) -> None:
        (winner, primary), (loser, other), _ = await three(home)
        survivor = home.portal.person.merge(primary, other)
        assert (survivor != primary) is third
        told = await live(home, 1500)
        ((gone, body),) = facts(home, "crm_lead_removed")
        assert (gone, body.merged_into.record_id, body.merged_into_lead_id) == (loser, survivor, winner)
        assert told.records[winner] == survivor
        revise(home, loser, "m-1", "+1 loser")
        revise(home, winner, "m-2", "+1 winner")
        told = await live(home, 300)
        if follow:
            assert told.done == {"m-1": 1, "m-2": 1}
            pushed = [(lead, one.asked_lead_id) for lead, one in facts(home, "crm_lead_pushed")]
            assert sorted(pushed) == [(winner, ""), (winner, loser)]
            assert contacts(home)[survivor]["phone"] == ("+1 loser" if pushed[-1][1] else "+1 winner")
        else:
            assert contacts(home)[survivor]["phone"] == "+1 winner"
            assert told.done == {"m-2": 1}
            assert failure(home, "m-1") == (loser, "lead-merged", survivor, winner)
        told = await live(home, 2400)
        assert not disagreements(told, home)

    play(tmp_path, story, follow=follow, vices=vices(third=third))


# --- commands under way -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize("follow", [True, False], ids=["follow", "refuse"])
@pytest.mark.parametrize("first", ["loser", "survivor"])
def test_a_command_that_meets_the_merge_before_the_pull_waits_for_it(
    tmp_path: Path, first: str, *, follow: bool
) -> None:
    """The CRM refuses the write to the record that was merged away, and no pull has told of it yet.

    The lead that lives on in the new record is written to there, whatever the policy; the other one's command goes by the policy.
    """

    async def story(home: World) -> None:
        (winner, primary), (loser, other), _ = await three(home)
        survivor = home.portal.person.merge(primary, other)
        leads = [loser, winner] if first == "loser" else [winner, loser]
        for number, lead in enumerate(leads):
            revise(home, lead, f"m-{number}", f"+1 {number}")
        told = await live(home, 300)
        of_loser, of_winner = ("m-0", "m-1") if first == "loser" else ("m-1", "m-0")
        assert told.done[of_winner] == 1
        if follow:
            assert told.done == {"m-0": 1, "m-1": 1}
        else:
            assert told.done == {of_winner: 1}
            assert failure(home, of_loser) == (loser, "lead-merged", survivor, winner)
            assert contacts(home)[survivor]["phone"] == f"+1 {of_winner[2:]}"
        told = await live(home, 2400)
        assert not disagreements(told, home)

    play(tmp_path, story, follow=follow)


@pytest.mark.parametrize("follow", [True, False], ids=["follow", "refuse"])
@pytest.mark.parametrize("kind", [FaultKind.CUT_AFTER, FaultKind.STATUS_AFTER, FaultKind.TIMEOUT_AFTER])
def test_a_merge_while_the_answer_to_the_losers_update_is_lost(
    tmp_path: Path, kind: FaultKind, *, follow: bool
) -> None:
    """The read-back says that the record was merged away: the update ends once, told as failed, or done at the survivor.

    What was uttered later, about either lead, is not overwritten by it.
    """

    async def story(home: World) -> None:
        (winner, primary), (loser, other), _ = await three(home)

        async def person() -> None:
            await home.clock.sleep(PROBED_S)
            home.portal.faults.add(Fault(kind, path=UPDATE, status=502))
            revise(home, loser, "m-0", "+1 0")
            await home.clock.sleep(2)
            home.portal.person.merge(primary, other)
            revise(home, loser, "m-1", "+1 1")

        deed = asyncio.ensure_future(person())
        told = await live(home, 900)
        await deed
        survivor = told.records[winner]
        if follow:
            assert told.done == {"m-0": 1, "m-1": 1}
            assert contacts(home)[survivor]["phone"] == "+1 1"
        else:
            assert not told.done
            for name in ("m-0", "m-1"):
                assert failure(home, name) == (loser, "lead-merged", survivor, winner)
        told = await live(home, 2400)
        assert not disagreements(told, home)

    play(tmp_path, story, follow=follow)


@pytest.mark.parametrize("follow", [True, False], ids=["follow", "refuse"])
def test_commands_that_were_put_off_meet_the_merge_when_their_turn_comes(tmp_path: Path, *, follow: bool) -> None:
    """The CRM was down when they came; in the order in which they were uttered the survivor has the last one's value."""

    async def story(home: World) -> None:
        (winner, primary), (loser, other), _ = await three(home)

        async def person() -> None:
            await home.clock.sleep(PROBED_S)
            home.portal.faults.add(Fault(FaultKind.STATUS, path=UPDATE, times=None, status=503))
            for number, lead in enumerate([loser, winner, loser, winner, loser]):
                revise(home, lead, f"m-{number}", f"+1 {number}")
                await home.clock.sleep(2)
            home.portal.person.merge(primary, other)
            await home.clock.sleep(120)
            home.portal.faults.clear()

        deed = asyncio.ensure_future(person())
        told = await live(home, 2400)
        await deed
        survivor = told.records[winner]
        if follow:
            assert told.done == {f"m-{number}": 1 for number in range(5)}
            assert contacts(home)[survivor]["phone"] == "+1 4"
            assert [lead for lead, _ in facts(home, "crm_lead_pushed")] == [winner] * 5
        else:
            assert told.done == {"m-1": 1, "m-3": 1}
            for number in (0, 2, 4):
                assert failure(home, f"m-{number}") == (loser, "lead-merged", survivor, winner)
            assert contacts(home)[survivor]["phone"] == "+1 3"
        assert not disagreements(told, home)

    play(tmp_path, story, follow=follow)


@pytest.mark.parametrize("first", ["loser", "survivor"])
def test_commands_of_both_leads_that_are_due_in_the_same_round_go_one_after_the_other(
    tmp_path: Path, first: str
) -> None:
    """What was the survivor's oldest command is so no more when an older one of the loser is carried: nothing stops over that."""

    async def story(home: World) -> None:
        (winner, primary), (loser, other), _ = await three(home)
        survivor = home.portal.person.merge(primary, other)
        await live(home, 900)
        leads = [loser, winner, loser] if first == "loser" else [winner, loser, winner]
        rows = [taken(home, lead, f"m-{number}", f"+1 {number}") for number, lead in enumerate(leads)]
        await home.look(lambda ledger: ledger.take(Intake(rows=rows, dead=(), offsets={}, now_us=home.clock.now_us())))
        told = await live(home, 60)
        assert told.done == {"m-0": 1, "m-1": 1, "m-2": 1}
        assert [one.asked_lead_id for _, one in facts(home, "crm_lead_pushed")] == [
            "" if lead == winner else loser for lead in leads
        ]
        assert contacts(home)[survivor]["phone"] == "+1 2"
        assert not told.wrong

    play(tmp_path, story, follow=True)


@pytest.mark.parametrize("end", ["live", "removed"])
def test_a_chain_of_merges_is_followed_to_its_end(tmp_path: Path, end: str) -> None:
    """A into B, B into C: A's command is C's; where C was deleted since, it is refused as such, and names it."""

    async def story(home: World) -> None:
        (lead_c, c), (_, b), (lead_a, a) = await three(home)
        second = home.portal.person.merge(b, a)
        await live(home, 900)
        last = home.portal.person.merge(c, second)
        await live(home, 900)
        if end == "removed":
            home.portal.person.delete(last)
            await live(home, 1500)
        revise(home, lead_a, "m-1", "+1 chain")
        told = await live(home, 300)
        if end == "live":
            assert told.done == {"m-1": 1}
            assert contacts(home)[last]["phone"] == "+1 chain"
            ((lead, pushed),) = facts(home, "crm_lead_pushed")
            assert (lead, pushed.asked_lead_id, pushed.external.record_id) == (lead_c, lead_a, last)
        else:
            assert failure(home, "m-1") == (lead_a, "lead-removed", last, lead_c)
        told = await live(home, 2400)
        assert not disagreements(told, home)

    play(tmp_path, story, follow=True)


def test_what_was_written_at_the_survivor_is_no_change_of_a_person(tmp_path: Path) -> None:
    """The survivor's binding knows the value as ours: no echo; a person's change a second later is told."""

    async def story(home: World) -> None:
        (winner, primary), (loser, other), _ = await three(home)
        survivor = home.portal.person.merge(primary, other)
        before = (await live(home, 900)).kinds["crm_lead_observed"]
        revise(home, loser, "m-1", "+1 ours")
        told = await live(home, 2400)
        assert told.kinds["crm_lead_observed"] == before
        home.portal.person.edit(survivor, {"phone": "+1 hers"})
        told = await live(home, 900)
        assert told.kinds["crm_lead_observed"] == before + 1
        assert told.leads[winner].phone == "+1 hers"

    play(tmp_path, story, follow=True)


@pytest.mark.parametrize("follow", [True, False], ids=["follow", "refuse"])
def test_a_create_whose_record_was_merged_away_is_made_once(tmp_path: Path, *, follow: bool) -> None:
    """Its answer was lost and a person merged the new contact into another one before the read-back: nothing is made again."""

    async def story(home: World) -> None:
        (_, primary), *_ = await three(home)

        async def person() -> None:
            await home.clock.sleep(PROBED_S)
            home.portal.faults.add(Fault(FaultKind.CUT_AFTER, path=UPSERT))
            create(home, "L-1", "m-1", "one@sales.example", phone="+1 ours")
            await home.clock.sleep(2)
            (made,) = [name for name, held in contacts(home).items() if held.get("bridge_lead_id") == "L-1"]
            home.portal.person.merge(primary, made)

        deed = asyncio.ensure_future(person())
        told = await live(home, 2400)
        await deed
        assert len(contacts(home)) == 3
        assert told.done["m-1"] + ("m-1" in told.refused) == 1
        assert not told.wrong

    play(tmp_path, story, follow=follow)


@pytest.mark.parametrize("follow", [True, False], ids=["follow", "refuse"])
def test_a_parked_command_that_is_put_back_after_a_merge_meets_it_then(tmp_path: Path, *, follow: bool) -> None:
    """What stood behind it waits for it; both then go by the policy, in their order, and no letter stays."""

    async def story(home: World) -> None:
        (winner, primary), (loser, other), _ = await three(home)

        async def person() -> None:
            await home.clock.sleep(PROBED_S)
            home.portal.faults.add(Fault(FaultKind.STATUS, path=UPDATE, times=None, status=400, reply=INVALID))
            revise(home, loser, "m-0", "+1 0")
            await home.clock.sleep(30)
            home.portal.faults.clear()
            revise(home, loser, "m-1", "+1 1")

        deed = asyncio.ensure_future(person())
        await live(home, 120)
        await deed
        survivor = home.portal.person.merge(primary, other)
        told = await live(home, 900)
        assert not told.done
        assert [one.needs_person for _, one in facts(home, "crm_lead_push_failed")] == [True]

        async def again(ledger: SqlLedger) -> int:
            order = Order(who="ben", why="tried")
            return len([one async for one in redrive(ledger, CATALOGUE, order, home.clock.now_us())])

        assert await home.look(again) == 1
        told = await live(home, 2400)
        if follow:
            assert told.done == {"m-0": 1, "m-1": 1}
            assert contacts(home)[survivor]["phone"] == "+1 1"
        else:
            assert not told.done
            assert failure(home, "m-1") == (loser, "lead-merged", survivor, winner)
        assert not await home.look(lambda ledger: ledger.dead_letters("", 9))
        assert not disagreements(told, home)

    play(tmp_path, story, follow=follow)


# --- killed between two steps -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("follow", [True, False], ids=["follow", "refuse"])
@pytest.mark.parametrize("steps", range(20, 260, 20))
def test_killed_anywhere_between_merge_and_outcome_each_command_ends_once(
    tmp_path: Path, steps: int, *, follow: bool
) -> None:
    """Commands of both leads, a lost answer, a merge, and two processes that die on the way: one outcome each, both sides agree."""

    async def story(home: World) -> None:
        (winner, primary), (loser, other), _ = await three(home)

        async def person() -> None:
            await home.clock.sleep(PROBED_S)
            home.portal.faults.add(Fault(FaultKind.CUT_AFTER, path=UPDATE))
            revise(home, loser, "m-0", "+1 0")
            await home.clock.sleep(2)
            home.portal.person.merge(primary, other)
            revise(home, winner, "m-1", "+1 1")
            revise(home, loser, "m-2", "+1 2")

        deed = asyncio.ensure_future(person())
        for _ in range(2):
            assert await home.live(lambda _service: asyncio.ensure_future(home.clock.sleep(900)), steps=steps)
            await home.clock.sleep(1)
        await deed
        told = await live(home, 3600)
        assert all(told.done[name] + (name in told.refused) == 1 for name in ("m-0", "m-1", "m-2"))
        assert told.done["m-1"] == 1
        assert told.done["m-2"] == int(follow)
        assert not disagreements(told, home)

    play(tmp_path, story, follow=follow)


@pytest.mark.parametrize("seed", range(4))
def test_people_merge_and_delete_while_processes_die_and_commands_follow(tmp_path: Path, seed: int) -> None:
    """Kills, lost answers, merges by chance: in the end every intent has one outcome, and both sides agree."""
    rng = random.Random(f"life cycle {seed}")

    async def story(home: World) -> None:
        home.portal.faults.add(Fault(FaultKind.CUT_AFTER, method="POST", path="*/batch/*", times=None, chance=0.15))
        busy = asyncio.ensure_future(people(home, rng, 60))
        for _ in range(10):
            await home.live(lambda _service: asyncio.ensure_future(home.clock.sleep(600)), steps=rng.randrange(1, 300))
            await home.clock.sleep(rng.uniform(0, 40))
        uttered = await busy
        home.portal.faults.clear()
        told = await live(home, 3 * 3600)
        assert [name for name in uttered if told.done[name] + (name in told.refused) != 1] == []
        assert not disagreements(told, home)

    play(tmp_path, story, follow=True, leads=30)
