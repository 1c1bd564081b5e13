"""Texts that somebody has put where ids are looked for: what is let through, every ledger takes; what is not, it never sees."""

from types import SimpleNamespace
from typing import Any, cast

import pytest

from sales_crm_bridge.clerk import nameable
from sales_crm_bridge.contract import is_usable_id
from sales_crm_bridge.ledger import SqlLedger
from sales_crm_bridge.model import Accepted, Category, LeadState, Raw, Record
from sales_crm_bridge.policy.commands import Done, Refuse
from sales_crm_bridge.reading import Reader
from sales_crm_bridge.state import Binding, Commit
from tests.ledger.house import House

ODD = ["x" * 513, "ä" * 257, "a\0b", "y" * 8000, "half \ud800"]


def reader(shown: Record) -> Reader:
    """Make a reader of an adapter to which every raw record means ``shown``."""
    adapter = SimpleNamespace(name="odd", decode=lambda raws: [shown for _ in raws])
    desk = SimpleNamespace(tenant="acme", adapter=adapter, clock=SimpleNamespace(now_us=lambda: 7))
    return Reader(cast("Any", desk))


def record(**more: Any) -> Record:
    return Record(**{"id": "1", "version": "v1", "modified_us": 5, "fields": {}, **more})


@pytest.mark.parametrize("odd", ODD)
async def test_a_record_with_an_odd_name_is_kept_without_it(ledger: SqlLedger, odd: str) -> None:
    """Key, survivor, merged ids, version: left out where they can be none; an odd key is told once for a version of the record."""
    conn, fence = await House(ledger).connection()
    shown = record(key=odd, into=odd, merged_ids=(odd, "2"), version="v\0")
    letters = []
    for _ in range(2):
        (sound,), dead = reader(shown).decode([Raw("1", "v", 5, b"{}")], {})
        assert sound == record(merged_ids=("2",), version="")
        await ledger.bindings_by_crm_id(conn, [sound.id, *sound.merged_ids])
        await ledger.commit(fence, Commit(conn=conn, dead=dead))
        letters = await ledger.dead_letters("acme", 10)
    assert [(letter.code, letter.payload) for letter in letters] == [("crm.key-unusable", b"{}")]


@pytest.mark.parametrize("odd", [*ODD, ""])
async def test_a_record_that_cannot_be_named_is_left_out_and_kept_as_a_dead_letter(ledger: SqlLedger, odd: str) -> None:
    """Before it is decoded and after: the others of its page go on."""
    conn, fence = await House(ledger).connection()
    good = Raw("1", "v", 5, b"{}")
    raws, dead = reader(record()).named([Raw(odd, odd, 5, b"odd"), good])
    assert raws == [good]
    records, more = reader(record(id=odd)).decode([good], {})
    assert records == []
    await ledger.commit(fence, Commit(conn=conn, dead=[*dead, *more]))
    assert {letter.code for letter in await ledger.dead_letters("acme", 10)} == {"crm.id-unusable"}


@pytest.mark.parametrize("odd", [*ODD, ""])
def test_a_write_to_a_record_that_cannot_be_named_goes_to_a_person(odd: str) -> None:
    """It took effect, and nothing can be bound to such a name: parked, and not written into the ledger."""
    step = nameable(Done(Accepted(crm_id=odd, record=None)))
    assert step == Refuse(category=Category.UNKNOWN_OUTCOME, code="record-id-unusable")
    good = Done(Accepted(crm_id="1", record=None))
    assert nameable(good) is good


@pytest.mark.parametrize("name", ["x" * 512, "ä" * 256, "𝄞" * 128, " ", "a/b"])
async def test_every_name_that_is_usable_is_one_that_a_ledger_takes(ledger: SqlLedger, name: str) -> None:
    """As a lead's id, a record's and an alias, at the limit too."""
    assert is_usable_id(name)
    conn, fence = await House(ledger).connection()
    bound = Binding(conn=conn, lead_id=name, crm_id=name, state=LeadState.LIVE, aggregate_version=1)
    await ledger.commit(fence, Commit(conn=conn, bindings=[bound], aliases=[(name[:-1] + "z", name)]))
    assert await ledger.bindings_by_lead(conn, [name]) == {name: bound}
    assert await ledger.bindings_by_crm_id(conn, [name]) == {name: bound}
