"""Bindings: written by commits, read by record, by lead, by what a sweep missed."""

import msgspec
import pytest

from sales_crm_bridge.errors import Bug
from sales_crm_bridge.ledger import SqlLedger, bindings
from sales_crm_bridge.ledger import house as keeping
from sales_crm_bridge.model import LeadState
from sales_crm_bridge.state import Binding, Commit, Gap, Run
from tests.ledger.house import House


def binding(conn: int, lead_id: str, crm_id: str, **more: object) -> Binding:
    """Make a binding with every field told apart."""
    base = Binding(
        conn=conn,
        lead_id=lead_id,
        crm_id=crm_id,
        state=LeadState.LIVE,
        aggregate_version=3,
        version="v1",
        modified_us=10,
        known_us=11,
        fingerprint=b"\x00\xff",
        layout=2,
        fields=b"\x01\x02",
        sweep=4,
    )
    return msgspec.structs.replace(base, **more)


@pytest.mark.parametrize(
    ("struct", "columns"),
    [
        (Binding, bindings.COLUMNS.names),
        (Run, keeping.RUN.names),
        (Gap, keeping.GAP.names),
    ],
)
def test_columns_stand_in_the_order_of_their_struct(struct: type[msgspec.Struct], columns: tuple[str, ...]) -> None:
    """A row is the struct as a tuple: a field added or moved in one place alone would be written into another's column."""
    assert columns == struct.__struct_fields__


async def test_a_binding_comes_back_as_it_was(house: House) -> None:
    """Every field, by record and by lead, of this connection alone, in the order asked for, absent ones left out."""
    conn, fence = await house.connection()
    other, others = await house.connection("beta")
    one, two = binding(conn, "L1", "C1"), binding(conn, "L2", "C2", state=LeadState.ARCHIVED)
    await house.ledger.commit(fence, Commit(conn=conn, bindings=[one, two]))
    await house.ledger.commit(others, Commit(conn=other, bindings=[binding(other, "L1", "C1")]))
    found = await house.ledger.bindings_by_crm_id(conn, ["C2", "none", "C1", "C2"])
    assert list(found.items()) == [("C2", two), ("C1", one)]
    assert await house.ledger.bindings_by_lead(conn, ["L1", "L9"]) == {"L1": one}
    assert await house.ledger.bindings_by_crm_id(conn, []) == {}


async def test_a_binding_is_replaced_by_its_lead(house: House) -> None:
    """The later row of a commit counts, and replaces all fields."""
    conn, fence = await house.connection()
    await house.ledger.commit(fence, Commit(conn=conn, bindings=[binding(conn, "L", "C")]))
    last = binding(conn, "L", "D", aggregate_version=9, version="", fields=b"")
    await house.ledger.commit(fence, Commit(conn=conn, bindings=[binding(conn, "L", "X"), last]))
    assert await house.ledger.bindings_by_lead(conn, ["L"]) == {"L": last}
    assert await house.ledger.bindings_by_crm_id(conn, ["C", "X", "D"]) == {"D": last}


async def test_unbound_leads_do_not_stand_in_each_others_way(house: House) -> None:
    """Many bindings may have no record; none of them is found by the empty id."""
    conn, fence = await house.connection()
    rows = [binding(conn, f"L{n}", "", state=LeadState.UNBOUND) for n in range(3)]
    await house.ledger.commit(fence, Commit(conn=conn, bindings=rows))
    assert await house.ledger.bindings_by_crm_id(conn, [""]) == {}
    assert len(await house.ledger.bindings_by_lead(conn, ["L0", "L1", "L2"])) == 3


@pytest.mark.parametrize(
    "after", [[("L1", "C2"), ("L2", "")], [("L2", ""), ("L1", "C2")], [("L1", "C2"), ("L2", "C1")]], ids=str
)
async def test_a_merge_moves_an_id_in_one_commit_whatever_the_order(house: House, after: list[tuple[str, str]]) -> None:
    """An id that one row of a commit frees may be bound by another row of it, also in a ring."""
    conn, fence = await house.connection()
    await house.ledger.commit(fence, Commit(conn=conn, bindings=[binding(conn, "L1", "C1"), binding(conn, "L2", "C2")]))
    await house.ledger.commit(fence, Commit(conn=conn, bindings=[binding(conn, *pair) for pair in after]))
    found = await house.ledger.bindings_by_lead(conn, ["L1", "L2"])
    assert {lead_id: row.crm_id for lead_id, row in found.items()} == dict(after)


async def test_a_record_is_never_bound_to_two_leads(house: House) -> None:
    """Binding an id that another lead keeps is a bug, and the whole commit is not taken."""
    conn, fence = await house.connection()
    await house.ledger.commit(fence, Commit(conn=conn, bindings=[binding(conn, "L1", "C1")]))
    with pytest.raises(Bug, match="bound-twice"):
        await house.ledger.commit(
            fence,
            Commit(conn=conn, bindings=[binding(conn, "L2", "C2"), binding(conn, "L3", "C1")], positions={"f": b"x"}),
        )
    assert await house.ledger.bindings_by_crm_id(conn, ["C1", "C2"]) == {"C1": binding(conn, "L1", "C1")}
    assert await house.ledger.positions(conn) == {}


async def test_an_alias_leads_to_the_binding(house: House) -> None:
    """A merged-away id or a part finds its lead; it may move on; a record's own binding counts first."""
    conn, fence = await house.connection()
    one, two = binding(conn, "L1", "C1"), binding(conn, "L2", "C2")
    await house.ledger.commit(
        fence, Commit(conn=conn, bindings=[one, two], aliases=[("old", "L1"), ("C2", "L1"), ("lost", "L9")])
    )
    assert await house.ledger.bindings_by_crm_id(conn, ["old", "C2", "lost"]) == {"old": one, "C2": two}
    await house.ledger.commit(fence, Commit(conn=conn, aliases=[("old", "L1"), ("old", "L2")]))
    assert await house.ledger.bindings_by_crm_id(conn, ["old"]) == {"old": two}


async def test_a_sweep_finds_whom_it_did_not_see(house: House) -> None:
    """Live, bound, last seen by an earlier sweep; in the order of record ids; seen ones drop out, and never go back."""
    conn, fence = await house.connection()
    rows = [binding(conn, f"L{n}", f"C{n}", sweep=1) for n in range(6)]
    rows += [
        binding(conn, "L7", "C7", state=LeadState.ARCHIVED, sweep=1),
        binding(conn, "L8", "", state=LeadState.UNBOUND, sweep=1),
        binding(conn, "L9", "C9", sweep=5),
    ]
    await house.ledger.commit(fence, Commit(conn=conn, bindings=rows, seen=(2, ["C1", "C3", "unknown"])))
    await house.ledger.commit(fence, Commit(conn=conn, seen=(2, ["C9"])))

    async def unseen(sweep: int, after: str, limit: int) -> list[str]:
        return [row.crm_id for row in await house.ledger.bindings_unseen(conn, sweep, after, limit)]

    assert await unseen(2, "", 3) == ["C0", "C2", "C4"]
    assert await unseen(2, "C4", 3) == ["C5"]
    assert await unseen(6, "C5", 3) == ["C9"]
    assert await unseen(1, "", 9) == []


async def test_ids_are_ordered_by_their_bytes(house: House) -> None:
    """The order of ids is that of their UTF-8 bytes on every database, whatever its locale."""
    conn, fence = await house.connection()
    ids = ["a-b", "B", "a", "ä", "Z", "a b", "10", "9", "aB", "𝄞", "\uffee"]
    rows = [binding(conn, f"L{at}", crm_id) for at, crm_id in enumerate(ids)]
    await house.ledger.commit(fence, Commit(conn=conn, bindings=rows))
    expected = sorted(ids, key=str.encode)
    seen = [row.crm_id for row in await house.ledger.bindings_unseen(conn, 9, "", 99)]
    assert seen == expected
    for at, crm_id in enumerate(expected):
        rest = await house.ledger.bindings_unseen(conn, 9, crm_id, 99)
        assert [row.crm_id for row in rest] == expected[at + 1 :]


async def test_a_commit_of_a_large_page_is_whole(house: House) -> None:
    """2,000 new leads in one commit are all there, field by field."""
    conn, fence = await house.connection()
    rows = [
        binding(conn, f"L{n}", f"C{n}", modified_us=n * 10**12, fields=bytes([n % 256]) * (n % 7)) for n in range(2000)
    ]
    await house.ledger.commit(fence, Commit(conn=conn, bindings=rows))
    assert list((await house.ledger.bindings_by_crm_id(conn, [row.crm_id for row in rows])).values()) == rows


async def test_positions_and_layouts_are_kept(house: House, ledger: SqlLedger) -> None:
    """The newest state of each feed of a connection; a layout has one number for ever."""
    conn, fence = await house.connection()
    await ledger.commit(fence, Commit(conn=conn, positions={"b": b"1", "a": b"2"}))
    await ledger.commit(fence, Commit(conn=conn, positions={"b": b"3"}))
    assert list((await ledger.positions(conn)).items()) == [("a", b"2"), ("b", b"3")]
    first, second = await ledger.layout(("email", "größe")), await ledger.layout(())
    assert await ledger.layout(("email", "größe")) == first
    assert await ledger.layouts() == {first: ("email", "größe"), second: ()}


async def test_pairs_are_listed_by_lead_a_page_at_a_time(house: House) -> None:
    """Those with a record, in the order of bytes, of this connection alone."""
    conn, fence = await house.connection()
    other, others = await house.connection("beta")
    leads = ["b", "B", "ä", "a", "10"]
    rows = [binding(conn, lead, f"C-{lead}", state=LeadState.ARCHIVED) for lead in leads]
    rows.append(binding(conn, "c", "", state=LeadState.UNBOUND))
    await house.ledger.commit(fence, Commit(conn=conn, bindings=rows))
    await house.ledger.commit(others, Commit(conn=other, bindings=[binding(other, "z", "C-z")]))
    found, after = [], ""
    while page := await house.ledger.bindings_bound(conn, after, 2):
        found += page
        after = page[-1][0]
    assert found == [(lead, f"C-{lead}", LeadState.ARCHIVED) for lead in sorted(leads, key=str.encode)]


async def test_a_connection_is_found_before_its_file_is_accepted(house: House, ledger: SqlLedger) -> None:
    """By tenant and name; 0 where there is none."""
    conn, _ = await house.connection()
    assert await ledger.connection_find("acme", "main") == conn
    assert await ledger.connection_find("acme", "side") == 0
    (row,) = await ledger.tenants()
    drafted = await ledger.connection_make(msgspec.structs.replace(row, tenant="beta"))
    assert await ledger.connection_find("beta", "main") == drafted != conn
