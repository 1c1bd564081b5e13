"""Quarantines, kinds of fields and held commands: one transaction with what is told of them, in the order of each lead."""

from __future__ import annotations

import msgspec
import pytest

from sales_crm_bridge.drift import Cause, Drift, Kinds, Quarantine
from sales_crm_bridge.errors import LeaseLost
from sales_crm_bridge.state import CommandChange, CommandState, Commit, Fence, OutboxRow
from tests.ledger.house import House


def row(conn: int, slot: str = "city=town", value: str = "", **more: object) -> Quarantine:
    whole = {
        "cause": Cause.OPTION if value else Cause.GONE,
        "field": "city",
        "crm_field": "town",
        "said": "the CRM has no field 'town'",
        "file": "acme.yaml",
        "line": 7,
        "column": 3,
        "opened_us": 10,
        **more,
    }
    return Quarantine(conn=conn, slot=slot, value=value, **whole)  # type: ignore[arg-type]


async def keep(house: House, conn: int, fence: Fence, *rows: Quarantine) -> None:
    await house.ledger.drift(fence, Drift(commit=Commit(conn=conn), quarantines=rows))


async def test_a_quarantine_is_kept_with_its_fact_and_seen_by_the_census(house: House) -> None:
    """One row for each slot, cause and value, opened and closed again; the census tells of the open ones."""
    conn, fence = await house.connection()
    other, _ = await house.connection("beta")
    fact = OutboxRow(message_id="m", fact=b"f", created_us=1)
    first, second = row(conn), row(conn, "status=state", "Q", opened_us=5)
    commit = Commit(conn=conn, outbox=[fact], facts=4)
    await house.ledger.drift(fence, Drift(commit=commit, quarantines=[first, second]))
    assert await house.ledger.quarantines(conn) == [second, first]
    assert await house.ledger.quarantines(other) == []
    assert [one.message_id for one in await house.ledger.outbox_read(0, 9)] == ["m"]
    assert (await house.ledger.connections(conn))[0].facts == 4
    assert (await house.ledger.census()).quarantines == [second, first]
    closed = msgspec.structs.replace(first, closed_us=20, heir="city=place")
    await keep(house, conn, fence, closed)
    assert (await house.ledger.census()).quarantines == [second]
    assert await house.ledger.quarantines(conn) == [second, closed]
    await keep(house, conn, fence, msgspec.structs.replace(first, opened_us=30))
    assert [one.opened_us for one in (await house.ledger.census()).quarantines] == [5, 30]


async def test_a_past_lease_keeps_nothing(house: House) -> None:
    """Rule 14: every step on the account carries its epoch."""
    conn, fence = await house.connection()
    past = Fence(lease=fence.lease, holder=fence.holder, epoch=fence.epoch - 1)
    with pytest.raises(LeaseLost):
        await keep(house, conn, past, row(conn))
    assert await house.ledger.quarantines(conn) == []


async def test_the_kinds_are_those_of_the_last_mapping(house: House) -> None:
    """One row a connection; nothing is there before the first description."""
    conn, fence = await house.connection()
    assert await house.ledger.field_kinds(conn) is None
    for version in ("one", "two"):
        kinds = Kinds(conn=conn, mapping=version, kinds={"town": "string", "n": version})
        await house.ledger.drift(fence, Drift(commit=Commit(conn=conn), kinds=kinds))
        assert await house.ledger.field_kinds(conn) == kinds


async def held(house: House, *leads: str) -> tuple[int, Fence, list[int]]:
    """The oldest command of each lead is held with a part; gives the numbers of all."""
    conn, fence = await house.connection()
    await house.intents(conn, *leads, *leads)
    seqs = sorted(one.seq for one in await house.ledger.commands_open(conn, leads))
    firsts = seqs[: len(leads)]
    changes = [CommandChange(seq=seq, state=CommandState.HELD, attempt=1, reason="r") for seq in firsts]
    marks = {firsts[0]: "-city"}
    await house.ledger.drift(fence, Drift(commit=Commit(conn=conn, commands=changes), held=marks))
    return conn, fence, seqs


async def test_held_commands_are_passed_by_and_keep_what_they_ask_for(house: House) -> None:
    """The lead's next command is its head; a held one is found by its number and by its lead, and counted apart."""
    conn, _, seqs = await held(house, "L", "K")
    assert [seq for _, seq in await house.ready(conn)] == seqs[2:]
    ledger = house.ledger
    found = await ledger.commands_held(conn, 0, 9)
    assert [(one.seq, one.lead_id, one.held, bool(one.payload)) for one in found] == [
        (seqs[0], "L", "-city", True),
        (seqs[1], "K", "", True),
    ]
    assert [one.seq for one in await ledger.commands_held(conn, seqs[0], 9)] == [seqs[1]]
    assert [one.seq for one in await ledger.commands_held(conn, 0, 1)] == [seqs[0]]
    assert [one.seq for one in await ledger.commands_held_of(conn, ["K", "M"])] == [seqs[1]]
    assert [one.seq for one in await ledger.commands_open(conn, ["K"])] == [seqs[1], seqs[3]]
    census = await ledger.census()
    assert census.held == {conn: 2}
    assert census.commands[conn].open == 2


async def test_a_command_that_goes_on_comes_before_its_leads_later_ones(house: House) -> None:
    """In the place that its number gives it; the later ones wait again."""
    conn, fence, seqs = await held(house, "L", "K")
    changes = [CommandChange(seq=seq, state=CommandState.PENDING) for seq in seqs[:2]]
    await house.ledger.drift(fence, Drift(commit=Commit(conn=conn, commands=changes), held={seqs[0]: "+city"}))
    assert await house.ready(conn) == [("L", seqs[0]), ("K", seqs[1])]
    ready = await house.ledger.commands_ready(conn, 0, 9, behind_parked=False)
    assert [one.held for one in ready] == ["+city", ""]
    assert await house.ledger.commands_held(conn, 0, 9) == []


async def test_held_commands_are_not_forgotten(house: House) -> None:
    """Retention takes what is finished."""
    conn, _, seqs = await held(house, "L")
    await house.ledger.forget(10**15, 10**15, 10**15, 1000)
    assert [one.seq for one in await house.ledger.commands_held(conn, 0, 9)] == seqs[:1]
