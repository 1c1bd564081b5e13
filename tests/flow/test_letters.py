"""Dead letters of every kind put back to work, or dropped, while the bridge runs and while it does not."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path
from typing import TypeVar

import msgspec
import pytest
from sales_crm_adapters import CATALOGUE

from sales_crm_bridge import contract
from sales_crm_bridge.contract import Framing
from sales_crm_bridge.deadletters import Fate, Order, What, drop, redrive
from sales_crm_bridge.ledger.sql_ledger import SqlLedger
from sales_crm_bridge.model import Published
from sales_crm_bridge.sandbox import Fault, FaultKind
from sales_crm_bridge.simulate.loop import VirtualLoop, run
from sales_crm_bridge.simulate.world import World
from sales_crm_bridge.state import OutboxRow
from tests.flow.flow_kit import View, view, world

T = TypeVar("T")
UPSERT = "/crm/v3/objects/contacts/batch/upsert"
ANY = Order(who="ann", why="mended")


def play(folder: Path, story: Callable[[World], Awaitable[T]]) -> T:
    """Run ``story`` in a world of its own."""
    loop = VirtualLoop()

    async def main() -> T:
        return await story(world(loop, folder, "letters", leads=3))

    return run(main(), loop)


async def live(home: World, seconds: float = 600) -> View:
    """Let a process work for so long; what the topic then says."""
    assert not await home.live(lambda _service: asyncio.ensure_future(home.clock.sleep(seconds)))
    return view(home.topics.facts)


async def again(home: World, order: Order = ANY, *, dry: bool = False, framed: bool = False) -> list[tuple[What, str]]:
    """Put letters back to work, from outside; what becomes of each."""

    async def ask(ledger: SqlLedger) -> list[Fate]:
        return [one async for one in redrive(ledger, CATALOGUE, order, home.clock.now_us(), framed=framed, dry=dry)]

    return [(one.what, one.why) for one in await home.look(ask)]


async def letters(home: World) -> list[str]:
    """The codes of the letters that are there."""
    return [one.code for one in await home.look(lambda ledger: ledger.dead_letters("", 99))]


def create(home: World, lead_id: str, message_id: str, email: str) -> None:
    body = contract.CreateLeadRequested(lead=contract.Lead(lead_id=lead_id, email=email))
    home.utter(body, tenant="acme", lead_id=lead_id, message_id=message_id)


def revise(home: World, lead_id: str, message_id: str, phone: str) -> None:
    body = contract.ReviseLeadRequested(lead=contract.Lead(lead_id=lead_id, phone=phone))
    body.update_mask.paths.append("phone")
    home.utter(body, tenant="acme", lead_id=lead_id, message_id=message_id)


async def in_the_way(home: World) -> str:
    """L-1's create is parked, since a contact has its address; two revisions wait behind it. That contact."""
    await live(home)
    record, values = next(iter(home.portal.truth().live["contacts"].items()))
    create(home, "L-1", "m-1", values["email"])
    revise(home, "L-1", "m-2", "2")
    revise(home, "L-1", "m-3", "3")
    await live(home)
    assert await letters(home) == ["push.match-proposed"]
    return record


@pytest.mark.parametrize("running", [False, True], ids=["at rest", "running"])
def test_a_parked_command_goes_on_before_its_leads_later_ones(tmp_path: Path, running: bool) -> None:
    """The contact in the way is gone: the create takes effect, then the revisions in their order. A dry run has done nothing."""

    async def story(home: World) -> View:
        home.portal.person.delete(await in_the_way(home))
        assert await again(home, dry=True) == [(What.AGAIN, "match-proposed")]
        assert await letters(home) == ["push.match-proposed"]

        async def later() -> None:
            await home.clock.sleep(100 if running else 0)
            assert await again(home) == [(What.AGAIN, "match-proposed")]

        if not running:
            await later()
        person = asyncio.ensure_future(later() if running else home.clock.sleep(0))
        told = await live(home)
        await person
        assert await letters(home) == []
        contact = next(
            one for one in home.portal.truth().live["contacts"].values() if one.get("bridge_lead_id") == "L-1"
        )
        assert contact["phone"] == "3"
        return told

    told = play(tmp_path, story)
    assert told.done == {"m-1": 1, "m-2": 1, "m-3": 1}


def test_what_is_not_mended_comes_back_as_a_letter_once(tmp_path: Path) -> None:
    """Put back while it is still in the way, it is told again and parked again, and nothing of it goes round and round."""

    async def story(home: World) -> View:
        await in_the_way(home)
        await again(home)
        told = await live(home)
        assert await letters(home) == ["push.match-proposed"]
        (counts,) = await home.look(lambda ledger: ledger.command_counts())
        assert counts.parked == 1
        return told

    told = play(tmp_path, story)
    assert not told.done
    assert not told.wrong


def test_a_dropped_command_lets_the_later_ones_go_on(tmp_path: Path) -> None:
    """They are refused by what they meet themselves: there is no such lead. Who dropped the letter and why is remembered."""

    async def story(home: World) -> View:
        await in_the_way(home)

        async def ask(ledger: SqlLedger) -> list[Fate]:
            return [one async for one in drop(ledger, ANY, home.clock.now_us())]

        assert [one.what for one in await home.look(ask)] == [What.DROPPED]
        told = await live(home)
        (closed,) = await home.look(lambda ledger: ledger.dead_letters_closed(9))
        assert (closed.how, closed.who, closed.why, closed.lead_id) == ("dropped", "ann", "mended", "L-1")
        return told

    told = play(tmp_path, story)
    assert told.refused["m-2"] == "lead-unknown-in-crm"
    assert not told.done


def test_a_lost_write_is_read_back_before_it_is_made_again(tmp_path: Path) -> None:
    """It had taken effect after all: done, and nothing was written twice."""

    async def story(home: World) -> tuple[View, int]:
        patience = home.settings.push.model_copy(update={"settle_max": 1, "retry_max_s": 5.0})
        home.settings = home.settings.model_copy(update={"push": patience})
        await live(home, 60)
        # Other calls are answered, and the record alone cannot be read: in the end a person must look.
        home.portal.faults.add(
            Fault(FaultKind.CUT_AFTER, path=UPSERT),
            Fault(FaultKind.STATUS, path="*/contacts/batch/read", body=b'"L-1"', times=None, status=500),
        )
        create(home, "L-1", "m-1", "one@sales.example")

        async def others() -> None:
            for number in range(30):
                await home.clock.sleep(3)
                create(home, f"M-{number}", f"n-{number}", f"n{number}@sales.example")

        busy = asyncio.ensure_future(others())
        await live(home, 300)
        await busy
        assert await letters(home) == ["push.unknown-outcome"]
        home.portal.faults.clear()
        assert await again(home) == [(What.READ_BACK, "settle-exhausted")]
        told = await live(home, 600)
        mine = [one for one in home.portal.truth().live["contacts"].values() if one.get("bridge_lead_id") == "L-1"]
        return told, len(mine)

    told, records = play(tmp_path, story)
    assert told.done["m-1"] == 1
    assert records == 1


def test_an_intent_that_could_not_be_read_is_taken_in_when_it_can_be(tmp_path: Path) -> None:
    """Framed messages met a deployment that knew of no framing; what is no message at all stays, and blocks nobody."""

    async def story(home: World) -> View:
        create(home, "L-1", "m-1", "one@sales.example")
        log = next(log for log in home.topics.intents if log)
        log[0] = msgspec.structs.replace(log[0], value=Framing(schema_id=7).wrap(0, log[0].value))
        home.topics.put(b"acme/L-9", b"\xff\xffnoise", ())
        create(home, "L-2", "m-2", "two@sales.example")
        told = await live(home)
        assert told.done == {"m-2": 1}
        assert len(await letters(home)) == 2
        assert {what for what, _ in await again(home)} == {What.STAYS}
        fates = await again(home, framed=True)
        assert sorted(what for what, _ in fates) == [What.STAYS, What.TAKEN]
        assert [why for what, why in fates if what is What.STAYS] == ["contract.bad-framing"]
        assert len(await letters(home)) == 1
        return await live(home)

    told = play(tmp_path, story)
    assert told.done == {"m-1": 1, "m-2": 1}


def test_a_fact_that_kafka_refused_is_published_under_its_own_id(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It was too large for the topic; once that is mended, a reader has every fact once."""

    async def story(home: World) -> View:
        publish = home.sink.publish

        async def refuse_one(rows: Sequence[OutboxRow]) -> Published:
            large = [row for row in rows if b"one@sales.example" in row.fact]
            rest = await publish([row for row in rows if row not in large])
            return Published(rest.acked, [(row.seq, "MSG_SIZE_TOO_LARGE") for row in large])

        monkeypatch.setattr(home.sink, "publish", refuse_one)
        create(home, "L-1", "m-1", "one@sales.example")
        assert not (await live(home)).done
        assert await letters(home) == ["relay.refused"]
        monkeypatch.undo()
        assert await again(home) == [(What.PUBLISHED, "")]
        return await live(home)

    told = play(tmp_path, story)
    assert told.done == {"m-1": 1}
    assert not told.wrong


def test_a_record_that_could_not_be_read_is_read_again(tmp_path: Path) -> None:
    """The CRM gave it in a shape that nobody knows, once: put back, it is read by its id and told."""

    async def story(home: World) -> View:
        first = min(home.portal.truth().live["contacts"], key=int)
        garbled = msgspec.json.encode(
            {"results": [{"id": first, "properties": {"email": []}, "updatedAt": "2026-09-01T00:00:00Z"}]}
        )
        home.portal.faults.add(Fault(FaultKind.STATUS, path="/crm/v3/objects/contacts", status=200, reply=garbled))
        told = await live(home, 5)
        assert first not in told.records.values()
        assert await letters(home)
        assert {what for what, _ in await again(home)} == {What.REREAD}
        told = await live(home, 60)
        assert await letters(home) == []
        assert first in told.records.values()
        return told

    told = play(tmp_path, story)
    assert not told.wrong


def test_letters_that_come_back_are_not_met_again_in_the_same_round(tmp_path: Path) -> None:
    """All of a code are put back once each, also more than a page of them, and also while the bridge parks them anew."""

    async def story(home: World) -> int:
        for number in range(450):
            create(home, f"L-{number}", f"m-{number}", "no address")
        await live(home, 3_600)
        assert await letters(home) == ["push.validation"] * 99
        fates = await again(home, Order(code="push.validation", who="ann"))
        assert {what for what, _ in fates} == {What.AGAIN}
        return len(fates)

    assert play(tmp_path, story) == 450
