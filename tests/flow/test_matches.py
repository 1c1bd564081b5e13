"""Matches by e-mail: held for review, bound when they are accepted, never proposed again when they are refused."""

from __future__ import annotations

import asyncio
import random
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar

import pytest
from sales_crm_adapters import CATALOGUE

from sales_crm_bridge import contract
from sales_crm_bridge.deadletters import Order, drop, redrive
from sales_crm_bridge.ledger.sql_ledger import SqlLedger
from sales_crm_bridge.matches import Fate, Verdict, What, decide
from sales_crm_bridge.sandbox import Fault, FaultKind
from sales_crm_bridge.simulate.loop import VirtualLoop, run
from sales_crm_bridge.simulate.world import World
from sales_crm_bridge.state import Match, MatchState
from tests.flow.flow_kit import View, disagreements, people, view, world

T = TypeVar("T")
UPSERT = "*/contacts/batch/upsert"
UPDATE = "*/contacts/batch/update"
LIST = "/crm/v3/objects/contacts"
READ = "*/contacts/batch/read"
KEY = "bridge_lead_id"


def play(folder: Path, story: Callable[[World], Awaitable[T]], **more: Any) -> T:
    """Run ``story`` in a world of three contacts."""
    loop = VirtualLoop()

    async def main() -> T:
        return await story(world(loop, folder, "matches", leads=3, **more))

    return run(main(), loop)


async def live(home: World, seconds: float = 600) -> View:
    """Let a process work for so long; what the topic then says."""
    assert not await home.live(lambda _service: asyncio.ensure_future(home.clock.sleep(seconds)))
    return view(home.topics.facts)


def create(home: World, lead_id: str, message_id: str, email: str, **more: Any) -> None:
    lead = contract.Lead(lead_id=lead_id, email=email, **more)
    home.utter(contract.CreateLeadRequested(lead=lead), tenant="acme", lead_id=lead_id, message_id=message_id)


def revise(home: World, lead_id: str, message_id: str, phone: str) -> None:
    body = contract.ReviseLeadRequested(lead=contract.Lead(lead_id=lead_id, phone=phone))
    body.update_mask.paths.append("phone")
    home.utter(body, tenant="acme", lead_id=lead_id, message_id=message_id)


def contacts(home: World) -> dict[str, dict[str, str]]:
    return {name: dict(values) for name, values in home.portal.truth().live["contacts"].items()}


def first(home: World) -> tuple[str, dict[str, str]]:
    """The oldest contact, and what it holds."""
    record = min(contacts(home), key=int)
    return record, dict(contacts(home)[record])


async def waiting(home: World) -> list[tuple[str, str]]:
    """Lead and record of each match that waits for a person."""
    return [(one.lead_id, one.crm_id) for one in await home.look(lambda ledger: ledger.matches("", 99))]


async def decided(home: World) -> list[Match]:
    """Those that do not wait any more, the last one first."""
    return await home.look(lambda ledger: ledger.matches("", 99, decided=True))


async def letters(home: World) -> list[str]:
    """The codes of the letters that are there."""
    return [one.code for one in await home.look(lambda ledger: ledger.dead_letters("", 99))]


async def say(home: World, *, accept: bool, ids: Sequence[int] = (), dry: bool = False) -> list[What]:
    """A person decides the matches that wait, or these; what becomes of each."""

    async def ask(ledger: SqlLedger) -> list[Fate]:
        meant = ids or [one.id for one in await ledger.matches("", 99)]
        verdict = Verdict(ids=meant, accept=accept, who="ann", why="looked at both")
        return [one async for one in decide(ledger, verdict, home.clock.now_us(), dry=dry)]

    return [one.what for one in await home.look(ask)]


async def clear(home: World, code: str = "") -> int:
    """Drop the letters that are there; how many there were."""

    async def ask(ledger: SqlLedger) -> int:
        order = Order(code=code, who="ben", why="tried")
        return len([one async for one in drop(ledger, order, home.clock.now_us())])

    return await home.look(ask)


def facts_of(home: World, kind: str) -> list[tuple[str, Any]]:
    """Lead and body of each fact of a kind, once."""
    found: dict[str, tuple[str, Any]] = {}
    for value in home.topics.facts:
        record = contract.outgoing(value)
        received = contract.read(contract.SalesIntegrationFact, record.value, record.headers)
        assert not isinstance(received, contract.Unreadable)
        fact = received.envelope
        if fact.HasField(kind):  # type: ignore[arg-type]  # a variant's name
            found[fact.meta.message_id] = (fact.subject.aggregate_id, getattr(fact, kind))
    return list(found.values())


async def proposed(home: World, *, pulled: bool = True, **more: Any) -> tuple[str, dict[str, str]]:
    """L-1's create has met the oldest contact, which was told of before (``pulled``) or not; that contact, as it was."""
    if pulled:
        await live(home, 60)
    else:  # nothing can be listed
        for path in (LIST, f"{LIST}/search"):
            home.portal.faults.add(Fault(FaultKind.STATUS, path=path, status=200, reply=b"[]", times=None))
    record, values = first(home)
    create(home, "L-1", "m-1", values["email"], **{"phone": "+1 ours", **more})
    home.utter(contract.QualifyLeadRequested(), tenant="acme", lead_id="L-1", message_id="m-2")
    await live(home, 60)
    assert await waiting(home) == [("L-1", record)]
    assert await letters(home) == ["push.match-proposed"]
    assert contacts(home)[record] == values
    return record, values


@pytest.mark.parametrize("running", [False, True], ids=["at rest", "running"])
@pytest.mark.parametrize("pulled", [True, False], ids=["told of", "not seen yet"])
def test_an_accepted_match_binds_and_its_create_goes_on_as_an_update(
    tmp_path: Path, *, pulled: bool, running: bool
) -> None:
    """The contact carries our key and our values, and keeps the others; the lead's later command follows in its order.

    The lead as which it was told of has ended: it was merged into ours, and a command about it is refused as such.
    """

    async def story(home: World) -> None:
        record, values = await proposed(home, pulled=pulled)
        born = facts_of(home, "crm_lead_observed")
        if running:
            home.portal.faults.add(Fault(FaultKind.DELAY, path=READ, delay_s=3.0))

        async def person() -> None:
            await home.clock.sleep(100 if running else 0)
            assert await say(home, accept=True, dry=True) == [What.ACCEPTED]
            assert await waiting(home) == [("L-1", record)]
            assert await say(home, accept=True) == [What.ACCEPTED]

        if not running:
            await person()
        deciding = asyncio.ensure_future(person() if running else home.clock.sleep(0))
        told = await live(home, 600)
        await deciding
        now = contacts(home)[record]
        assert (now[KEY], now["phone"], now["hs_lead_status"]) == ("L-1", "+1 ours", "CONNECTED")
        assert {name: now[name] for name in ("email", "firstname", "lastname")} == {
            name: values[name] for name in ("email", "firstname", "lastname")
        }
        assert told.done == {"m-1": 1, "m-2": 1}
        home.portal.faults.clear()
        told = await live(home, 2400)
        assert not disagreements(told, home.portal)
        assert told.records["L-1"] == record
        (match,) = await decided(home)
        assert (match.state, match.who, match.why) == (MatchState.BOUND, "ann", "looked at both")
        assert await letters(home) == []
        assert await waiting(home) == []
        other = next(lead for lead, seen in born if seen.external.record_id == record) if pulled else ""
        gone = facts_of(home, "crm_lead_removed")
        assert [(lead, one.merged_into_lead_id) for lead, one in gone] == ([(other, "L-1")] if pulled else [])
        assert [one.adopted for lead, one in facts_of(home, "crm_lead_pushed") if lead == "L-1"] == [True, False]
        if pulled:
            revise(home, other, "m-3", "+1 whose")
            told = await live(home, 300)
            assert told.refused["m-3"] == "lead-merged"
            assert contacts(home)[record]["phone"] == "+1 ours"
            assert not disagreements(told, home.portal)

    play(tmp_path, story)


def gone(home: World, record: str) -> None:
    home.portal.person.delete(record)


def readdressed(home: World, record: str) -> None:
    home.portal.person.edit(record, {"email": "somebody@else.example"})


def merged(home: World, record: str) -> None:
    home.portal.person.merge(max(contacts(home), key=int), record)


@pytest.mark.parametrize("change", [gone, readdressed])
def test_a_match_whose_ground_is_gone_is_withdrawn_and_the_create_tried_again(
    tmp_path: Path, change: Callable[[World, str], None]
) -> None:
    """The contact was deleted, or has another address by now: nothing is written to it, and the lead is made."""

    async def story(home: World) -> None:
        record, _ = await proposed(home)
        change(home, record)
        left = dict(contacts(home).get(record, {}))
        assert await say(home, accept=True) == [What.ACCEPTED]
        told = await live(home, 900)
        assert told.done == {"m-1": 1, "m-2": 1}
        assert contacts(home).get(record, {}) == left
        made = told.records["L-1"]
        assert made != record
        assert contacts(home)[made][KEY] == "L-1"
        assert not disagreements(told, home.portal)
        (match,) = await decided(home)
        assert (match.state, match.who) == (MatchState.WITHDRAWN, "ann")

    play(tmp_path, story)


def test_a_record_that_was_merged_since_gives_a_new_match_with_the_survivor(tmp_path: Path) -> None:
    """The survivor has the address now: it is another record, so a person is asked again, and what she says then counts."""

    async def story(home: World) -> None:
        record, _ = await proposed(home)
        merged(home, record)
        assert await say(home, accept=True) == [What.ACCEPTED]
        await live(home, 900)
        ((lead, survivor),) = await waiting(home)
        assert (lead, survivor != record) == ("L-1", True)
        assert await letters(home) == ["push.match-proposed"]
        assert await say(home, accept=True) == [What.ACCEPTED]
        told = await live(home, 900)
        assert told.done == {"m-1": 1, "m-2": 1}
        assert told.records["L-1"] == survivor
        assert not disagreements(told, home.portal)

    play(tmp_path, story)


def test_a_refused_match_is_never_proposed_again(tmp_path: Path) -> None:
    """The create is refused for good and says why; the lead's later command goes on, and the create uttered anew waits for nobody.

    A create of the lead that meets another record is proposed as ever.
    """

    async def story(home: World) -> None:
        record, values = await proposed(home)
        assert await say(home, accept=False) == [What.REFUSED]
        told = await live(home)
        assert (told.refused["m-1"], told.refused["m-2"]) == ("match-refused", "lead-unknown-in-crm")
        assert await clear(home, "push.not-found") == 1
        create(home, "L-1", "m-3", values["email"])
        told = await live(home)
        assert told.refused["m-3"] == "match-refused"
        failed = [one for _, one in facts_of(home, "crm_lead_push_failed") if one.crm_code == "match-refused"]
        assert [(one.needs_person, one.other_record_id) for one in failed] == [(False, record)] * 2
        assert await letters(home) == []
        assert await waiting(home) == []
        (match,) = await decided(home)
        assert (match.state, match.who, match.why) == (MatchState.REFUSED, "ann", "looked at both")
        assert contacts(home)[record] == values
        other = max(contacts(home), key=int)
        create(home, "L-1", "m-4", contacts(home)[other]["email"])
        await live(home)
        assert await waiting(home) == [("L-1", other)]
        assert not disagreements(view(home.topics.facts), home.portal)

    play(tmp_path, story)


def test_one_of_two_persons_decides(tmp_path: Path) -> None:
    """One accepts and one refuses in the same moment: the first has decided, the other is told; nothing can be decided later."""

    async def story(home: World) -> None:
        await proposed(home)
        (match,) = await home.look(lambda ledger: ledger.matches("", 9))
        said = await asyncio.gather(*(say(home, accept=accept, ids=[match.id]) for accept in (True, False)))
        assert sum(what is What.STAYS for whats in said for what in whats) == 1
        told = await live(home)
        accepted = What.ACCEPTED in said[0]
        assert bool(told.done["m-1"]) is accepted
        assert await say(home, accept=not accepted, ids=[match.id]) == [What.STAYS]

    play(tmp_path, story)


@pytest.mark.parametrize(("accept", "steps"), [(True, range(50, 118, 4)), (False, range(50, 74, 4))])
def test_a_process_that_is_killed_between_any_two_steps_does_it_once(
    tmp_path: Path, steps: range, *, accept: bool
) -> None:
    """Wherever the decision finds it dead: one binding, one outcome, one key, and both sides agree."""

    async def story(home: World) -> None:
        record, _ = await proposed(home)
        assert await say(home, accept=accept) == [What.ACCEPTED if accept else What.REFUSED]
        await home.live(lambda _service: asyncio.ensure_future(home.clock.sleep(120)), steps=left.pop())
        told = await live(home, 300)
        assert told.done == ({"m-1": 1, "m-2": 1} if accept else {})
        assert not disagreements(told, home.portal)
        assert [one[KEY] for one in contacts(home).values() if KEY in one] == (["L-1"] if accept else [])
        removed = [one.merged_into_lead_id for _, one in facts_of(home, "crm_lead_removed")]
        assert removed == (["L-1"] if accept else [])
        assert (told.records.get("L-1") == record) is accept
        assert sum(one.crm_code == "match-refused" for _, one in facts_of(home, "crm_lead_push_failed")) == (not accept)

    left = list(steps)
    while left:
        folder = tmp_path / str(left[-1])
        folder.mkdir()
        play(folder, story)


@pytest.mark.parametrize("kind", [FaultKind.CUT_BEFORE, FaultKind.CUT_AFTER, FaultKind.STATUS_AFTER])
def test_an_update_whose_answer_is_lost_is_called_done_only_when_it_is(tmp_path: Path, kind: FaultKind) -> None:
    """That the record is there proves nothing here: its values do."""

    async def story(home: World) -> None:
        record, _ = await proposed(home)
        home.portal.faults.add(Fault(kind, path=UPDATE, status=502))
        assert await say(home, accept=True) == [What.ACCEPTED]
        told = await live(home, 900)
        assert told.done == {"m-1": 1, "m-2": 1}
        assert (contacts(home)[record]["phone"], contacts(home)[record][KEY]) == ("+1 ours", "L-1")
        assert not disagreements(told, home.portal)

    play(tmp_path, story)


def test_while_the_crm_is_away_a_decision_waits_and_is_not_lost(tmp_path: Path) -> None:
    """The record cannot be read for a while: the command stands as waiting, then goes on."""

    async def story(home: World) -> None:
        await proposed(home)
        home.portal.faults.add(Fault(FaultKind.STATUS, path="*", status=503, times=None))
        assert await say(home, accept=True) == [What.ACCEPTED]
        assert not (await live(home, 300)).done
        (match,) = await decided(home)
        assert match.state is MatchState.ACCEPTED
        home.portal.faults.clear()
        told = await live(home, 1800)
        assert told.done == {"m-1": 1, "m-2": 1}
        assert not disagreements(told, home.portal)

    play(tmp_path, story)


def test_what_a_person_has_changed_since_the_intent_goes_by_the_rules_for_conflicts(tmp_path: Path) -> None:
    """As with an update: by the usual rule the CRM's newer value stays, and a fact says so; the other values are written."""

    async def story(home: World) -> None:
        record, _ = await proposed(home, city="Ours")
        home.portal.person.edit(record, {"phone": "+1 hers"})
        await live(home, 300)
        assert await say(home, accept=True) == [What.ACCEPTED]
        told = await live(home)
        now = contacts(home)[record]
        assert (now["phone"], now["city"], now[KEY]) == ("+1 hers", "Ours", "L-1")
        clashes = facts_of(home, "crm_lead_conflict_detected")
        assert [(lead, [one.field for one in body.conflicts]) for lead, body in clashes] == [("L-1", ["phone"])]
        assert told.done == {"m-1": 1, "m-2": 1}
        assert not disagreements(told, home.portal)

    play(tmp_path, story)


def test_a_record_of_another_lead_of_sales_is_not_proposed(tmp_path: Path) -> None:
    """It has its lead already: the create is parked as a duplicate, as ever, and what two persons accept binds it once."""

    async def story(home: World) -> None:
        record, values = await proposed(home)
        create(home, "L-2", "m-4", values["email"])
        await live(home)
        assert await waiting(home) == [("L-1", record), ("L-2", record)]
        assert await say(home, accept=True) == [What.ACCEPTED] * 2
        told = await live(home, 900)
        assert told.done == {"m-1": 1, "m-2": 1}
        assert await waiting(home) == []
        assert await letters(home) == ["push.duplicate"]
        create(home, "L-3", "m-5", values["email"])
        told = await live(home)
        assert await letters(home) == ["push.duplicate"] * 2
        assert not disagreements(told, home.portal)
        assert {one.lead_id: one.state for one in await decided(home)} == {
            "L-1": MatchState.BOUND,
            "L-2": MatchState.WITHDRAWN,
        }

    play(tmp_path, story)


def test_a_lead_that_is_being_written_to_is_not_merged_meanwhile(tmp_path: Path) -> None:
    """A command about the lead that was born with the record has no known outcome yet: the match waits for that."""

    async def story(home: World) -> None:
        record, _ = await proposed(home)
        born = next(lead for lead, name in view(home.topics.facts).records.items() if name == record)
        home.portal.faults.add(Fault(FaultKind.CUT_AFTER, path=UPDATE))
        revise(home, born, "m-3", "+1 for the other")
        killed = await home.live(lambda _service: asyncio.ensure_future(home.clock.sleep(3)))
        assert not killed
        assert await say(home, accept=True) == [What.ACCEPTED]
        told = await live(home, 900)
        assert told.done == {"m-1": 1, "m-2": 1, "m-3": 1}
        assert not disagreements(told, home.portal)

    play(tmp_path, story)


def test_a_letter_that_is_put_back_or_dropped_takes_its_match_along(tmp_path: Path) -> None:
    """Put back, the create meets the record again and is proposed again, once; dropped, nothing waits for it any more."""

    async def story(home: World) -> None:
        record, _ = await proposed(home)

        async def again(ledger: SqlLedger) -> int:
            order = Order(who="ben", why="tried")
            return len([one async for one in redrive(ledger, CATALOGUE, order, home.clock.now_us())])

        assert await home.look(again) == 1
        assert await waiting(home) == []
        await live(home, 60)
        assert await waiting(home) == [("L-1", record)]
        assert await clear(home) == 1
        assert await waiting(home) == []
        (match,) = await decided(home)
        assert (match.state, match.who) == (MatchState.WITHDRAWN, "ben")
        told = await live(home, 60)
        assert told.refused["m-2"] == "lead-unknown-in-crm"

    play(tmp_path, story)


@pytest.mark.parametrize("seed", range(3))
def test_persons_decide_while_all_else_goes_on(tmp_path: Path, seed: int) -> None:
    """Contacts are edited, deleted and merged, answers are lost and processes die while matches are decided: both sides agree."""
    rng = random.Random(f"decisions {seed}")

    async def story(home: World) -> list[str]:
        for fault in (
            Fault(FaultKind.CUT_AFTER, method="POST", path="*/batch/*", times=None, chance=0.10),
            Fault(FaultKind.CUT_BEFORE, times=None, chance=0.03),
            Fault(FaultKind.STATUS, times=None, chance=0.03, status=503),
        ):
            home.portal.faults.add(fault)
        busy = asyncio.ensure_future(people(home, rng, 60))

        async def decider() -> None:
            while True:
                await home.clock.sleep(rng.uniform(20, 90))
                for match in await home.look(lambda ledger: ledger.matches("", 99)):
                    if rng.random() < 0.7:
                        await say(home, accept=rng.random() < 0.7, ids=[match.id])

        deciding = asyncio.ensure_future(decider())
        for _ in range(8):
            await home.live(lambda _service: asyncio.ensure_future(home.clock.sleep(600)), steps=rng.randrange(1, 300))
            await home.clock.sleep(rng.uniform(0, 40))
        uttered = await busy
        home.portal.faults.clear()
        await live(home, 1800)
        deciding.cancel()
        await clear(home, "push.duplicate")  # of records that are other leads'
        told = await live(home, 3 * 3600)
        wrong = disagreements(told, home.portal)
        wrong += [f"{name} has no outcome" for name in uttered if not told.done[name] and name not in told.refused]
        wrong += [f"{name} took effect {count} times" for name, count in told.done.items() if count > 1]
        states = {one.state for one in await decided(home)}
        assert MatchState.ACCEPTED not in states
        assert await waiting(home) == []
        return [*wrong, *sorted(states)]

    loop = VirtualLoop()

    async def main() -> list[str]:
        return await story(world(loop, tmp_path, f"decisions {seed}", leads=40))

    found = run(main(), loop)
    assert set(found) <= set(MatchState), "\n".join(found)
    assert found
