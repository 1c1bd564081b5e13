"""A tenant that has leads already: pairs are bound before the first pull, which then recognises them and tells nothing of them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import pytest

from sales_crm_bridge import contract, seeding
from sales_crm_bridge.errors import LeaseLost, RuntimeFault
from sales_crm_bridge.ledger import open_ledger
from sales_crm_bridge.ledger.sql_ledger import SqlLedger
from sales_crm_bridge.policy.seeding import Pair
from sales_crm_bridge.roster import row_of
from sales_crm_bridge.seeding import Seeded, lease_held
from sales_crm_bridge.simulate.world import World
from sales_crm_bridge.state import lease_name
from sales_crm_bridge.trying import tenant_of
from sales_crm_bridge.units import time_text
from tests.flow.flow_kit import EPOCH_US, View
from tests.flow.test_cases import live, play, revise

LEASE = lease_name("acme", "hubspot")
TTL_S = 20.0


def records(home: World) -> list[str]:
    return sorted(home.portal.truth().live["contacts"], key=int)


async def connection(home: World, ledger: SqlLedger) -> int:
    """The number of the connection, also before its file is in force."""
    folder = Path(home.settings.tenants.folder)
    account = await seeding.account_of(home.settings, ledger, "acme", folder / "acme.yaml", make=True)
    return account.conn


async def seed(home: World, pairs: Sequence[Pair], *, holder: str = "import", die_after: int = 10**9) -> Seeded:
    """Import pairs from another process, ten in a transaction; it dies after so many of these."""

    async def work(ledger: SqlLedger) -> Seeded:
        told = Seeded(tenant="acme", dry=False)
        conn = await connection(home, ledger)
        held = lease_held(ledger, home.clock, holder, LEASE, TTL_S, 60)
        fence = await held.__aenter__()
        for number, at in enumerate(range(0, len(pairs), 10)):
            if number == die_after:
                return told  # nothing is given back
            await seeding.bind(ledger, conn, fence, pairs[at : at + 10], None, told)
        await held.__aexit__(None, None, None)
        return told

    return await home.look(work)


def paired(ids: Sequence[str]) -> list[Pair]:
    return [Pair(at, f"S-{name}", name) for at, name in enumerate(ids, 2)]


def wrong(facts: View) -> list[str]:
    """What is wrong with the facts; of a paired lead the facts say nothing before its removal, for Sales knows it otherwise."""
    return [one for one in facts.wrong if not (one.startswith("S-") and one.endswith("removed, and was not there"))]


async def made(home: World) -> None:
    """An empty ledger, as ``migrate`` makes it."""
    await home.live(lambda _service: asyncio.ensure_future(home.clock.sleep(0)), steps=0)


def test_the_first_pull_recognises_what_was_paired_and_makes_no_flood(tmp_path: Path) -> None:
    """60 of 100 leads were paired: 40 are told. What changes of the 60 afterwards is told as a change, in version 1."""

    async def story(home: World) -> None:
        await made(home)
        ids = records(home)
        told = await seed(home, paired(ids[:60]))
        assert (told.bound, told.known, told.exit_code) == (60, 0, 0)
        facts = await live(home, 1800)
        assert facts.kinds["crm_lead_observed"] == 40
        assert set(facts.records.values()) == set(ids[60:])
        home.portal.person.edit(ids[3], {"city": "Lisbon"})
        home.portal.person.delete(ids[4])
        facts = await live(home, 1800)
        assert not wrong(facts)
        assert (facts.kinds["crm_lead_observed"], facts.kinds["crm_lead_removed"]) == (41, 1)
        assert facts.leads[f"S-{ids[3]}"].city == "Lisbon"
        (seen,) = [
            fact.crm_lead_observed
            for value in home.topics.facts
            if (fact := contract.SalesIntegrationFact.FromString(value)).subject.aggregate_id == f"S-{ids[3]}"
        ]
        assert list(seen.changed_fields) == ["city"]

    play(tmp_path, story, leads=100)


def test_a_command_before_the_first_look_makes_no_flood_either(tmp_path: Path) -> None:
    """A paired lead is written to before any pull has shown it: its other fields are learnt later, not told as changes."""

    async def story(home: World) -> None:
        await made(home)
        ids = records(home)
        await seed(home, paired(ids))
        revise(home, f"S-{ids[0]}", "m-1", "phone", "+351 1")
        facts = await live(home, 1800)
        assert facts.done == {"m-1": 1}
        assert home.portal.truth().live["contacts"][ids[0]]["phone"] == "+351 1"
        assert facts.kinds["crm_lead_observed"] == 0
        home.portal.person.edit(ids[0], {"phone": "+351 2"})
        facts = await live(home, 600)
        assert not wrong(facts)
        assert facts.kinds["crm_lead_observed"] == 1
        assert facts.leads[f"S-{ids[0]}"].phone == "+351 2"

    play(tmp_path, story)


def test_a_pair_whose_record_is_gone_is_told_by_the_first_sweep(tmp_path: Path) -> None:
    """Sales has the lead, the CRM has it no more: that is a removal, and no silence."""

    async def story(home: World) -> None:
        await made(home)
        gone = records(home)[0]
        home.portal.person.delete(gone)
        await seed(home, [Pair(2, "S-gone", gone), Pair(3, "S-never", "987654")])
        facts = await live(home, 1800)
        assert not wrong(facts)
        assert facts.kinds["crm_lead_removed"] == 2

    play(tmp_path, story)


def test_an_import_that_is_killed_is_done_again(tmp_path: Path) -> None:
    """It dies after its second transaction, its lease still its own: another import waits for that, and goes on behind it."""

    async def story(home: World) -> None:
        await made(home)
        pairs = paired(records(home))
        died = await seed(home, pairs, die_after=2)
        assert died.bound == 20
        with pytest.raises(RuntimeFault, match="another import"):
            await seed(home, pairs, holder="second")
        await home.clock.sleep(TTL_S * 2)
        again = await seed(home, pairs, holder="third")
        assert (again.known, again.bound, again.exit_code) == (20, 30, 0)
        assert (await live(home, 1800)).kinds["crm_lead_observed"] == 0

    play(tmp_path, story, leads=50)


def test_an_import_runs_beside_a_working_bridge(tmp_path: Path) -> None:
    """The holder of the account ends its step, lends the lease out, and goes on: what it would have told as new is known then.

    Commands of the account wait meanwhile, and are carried out once.
    """

    async def story(home: World) -> None:
        imported = Seeded(tenant="acme", dry=False)

        async def work() -> None:
            nonlocal imported
            await home.clock.sleep(600)
            new = [home.portal.person.create("contacts", {"email": f"p{at}@people.example"}) for at in range(25)]
            for at in range(5):
                revise(home, lead_of[known[at]], f"m-{at}", "phone", f"+351 {at}")
            imported = await seed(home, [*paired(new), Pair(99, "S-other", known[0])])
            await home.clock.sleep(900)

        await live(home, 600)
        known = records(home)
        first = (await live(home, 1)).records
        lead_of = {record: lead for lead, record in first.items()}
        assert not await home.live(lambda _service: asyncio.ensure_future(work()))
        assert (imported.bound, dict(imported.refused)) == (25, {"bindings.record-bound": 1})
        facts = await live(home, 600)
        assert not wrong(facts)
        assert facts.done == {f"m-{at}": 1 for at in range(5)}
        assert facts.kinds["crm_lead_observed"] == len(known)
        (row,) = await home.look(lambda ledger: ledger.connections())
        assert row.state == "ok"

    play(tmp_path, story, leads=30)


def test_an_import_that_has_slept_through_its_lease_writes_nothing(tmp_path: Path) -> None:
    """Somebody else has the account by then: the ledger refuses the late batch whole."""

    async def story(home: World) -> None:
        await made(home)

        async def late(ledger: SqlLedger) -> None:
            conn = await connection(home, ledger)
            held = lease_held(ledger, home.clock, "import", LEASE, TTL_S, 1)
            fence = await held.__aenter__()
            await ledger.leases_drop("import", [LEASE])
            now_us = home.clock.now_us()
            assert LEASE in await ledger.leases_take([LEASE], "worker", now_us, now_us + 10**9)
            with pytest.raises(LeaseLost):
                await seeding.bind(ledger, conn, fence, paired(records(home)), None, Seeded(tenant="acme", dry=False))
            assert await ledger.bindings_bound(conn, "", 9) == []
            await held.__aexit__(None, None, None)

        await home.look(late)

    play(tmp_path, story)


def test_a_lead_whose_write_is_in_doubt_is_bound_to_nothing(tmp_path: Path) -> None:
    """A create was sent and its answer is not known: which record is the lead's is not for a file to say now."""

    async def story(home: World) -> None:
        await live(home, 60)
        lead = contract.Lead(lead_id="L-1", email="one@sales.example")
        home.utter(contract.CreateLeadRequested(lead=lead), tenant="acme", lead_id="L-1", message_id="m-1")
        one = home.portal.person.create("contacts", {"email": "other@people.example"})
        assert await home.live(lambda _service: asyncio.ensure_future(home.clock.sleep(600)), last="… sending")
        await home.clock.sleep(60)
        told = await seed(home, [Pair(2, "L-1", one)])
        assert dict(told.refused) == {"bindings.lead-under-way": 1}
        facts = await live(home, 600)
        assert not wrong(facts)
        assert facts.done == {"m-1": 1}
        assert facts.records["L-1"] != one

    play(tmp_path, story)


def test_leads_that_will_be_the_crms_are_read_before_and_change_hands_by_the_intents_time(tmp_path: Path) -> None:
    """A `from` to come: pulls tell facts already, no intent is taken before it; the first one at it is, without a restart."""

    async def story(home: World) -> None:
        file = Path(home.settings.tenants.folder) / "acme.yaml"
        at_us = EPOCH_US + 1_200_000_000
        text = file.read_text().replace("2026-01-01T00:00:00Z", time_text(at_us))
        file.write_text(text)
        ids = records(home)

        def ask(number: int, occurred_us: int) -> None:
            lead = contract.Lead(lead_id=f"L-{number}", email=f"{number}@sales.example")
            body = contract.CreateLeadRequested(lead=lead)
            home.utter(body, tenant="acme", lead_id=f"L-{number}", message_id=f"m-{number}", occurred_us=occurred_us)

        async def work() -> None:
            await home.clock.sleep(600)
            ask(1, home.clock.now_us())
            await home.clock.sleep(590)
            ask(2, at_us - 1)
            ask(3, at_us)  # a clock that goes a little ahead
            await home.clock.sleep(60)
            ask(4, at_us - 1)
            ask(5, home.clock.now_us())
            await home.clock.sleep(600)

        assert not await home.live(lambda _service: asyncio.ensure_future(work()))
        facts = await live(home, 60)
        assert facts.kinds["crm_lead_observed"] == len(ids)
        assert facts.done == {"m-3": 1, "m-5": 1}

    play(tmp_path, story, leads=20)


async def test_a_draft_has_its_connection_before_it_is_in_force(tmp_path: Path) -> None:
    """The number under which pairs are bound is the one with which the file is accepted later."""
    folder = Path(__file__).parent
    tenant = tenant_of(folder / "acme.yaml", secrets=False)
    ledger = await open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}", migrate=True)
    try:
        assert await ledger.connection_find("acme", "hubspot") == 0
        conn = await ledger.connection_make(row_of(tenant, 0))
        assert await ledger.connection_find("acme", "hubspot") == conn
        assert await ledger.connections() == []
        assert await ledger.tenant_accept(row_of(tenant, 1)) == conn
    finally:
        await ledger.close()
