"""Tenants and connections, and what belongs to a connection as a whole."""

import msgspec
import pytest

from sales_crm_bridge.errors import TenancyMoved
from sales_crm_bridge.ledger import SqlLedger
from sales_crm_bridge.state import Commit, ConnectionRow, Intake, TenantRow
from tests.ledger.house import House

ROW = TenantRow(
    tenant="acme", text="leads: []", digest="d", accepted_us=5, connection="main", adapter="hubspot", account="77"
)


async def test_an_accepted_file_is_kept_whole(ledger: SqlLedger) -> None:
    """What was accepted comes back as it was, with its connection's number; a later version replaces it."""
    conn = await ledger.tenant_accept(ROW)
    assert await ledger.tenants() == [msgspec.structs.replace(ROW, conn=conn)]
    newer = msgspec.structs.replace(ROW, text="leads: [x]", digest="e", account="78")
    assert await ledger.tenant_accept(newer) == conn
    assert await ledger.tenants() == [msgspec.structs.replace(newer, conn=conn)]
    assert await ledger.connections() == [
        ConnectionRow(conn=conn, tenant="acme", name="main", adapter="hubspot", account="78")
    ]


async def test_a_connection_has_one_number_for_ever(ledger: SqlLedger) -> None:
    """The number belongs to (tenant, name): another connection gets another one, and coming back gives the first again."""
    first = await ledger.tenant_accept(ROW)
    other = await ledger.tenant_accept(msgspec.structs.replace(ROW, connection="second"))
    foreign = await ledger.tenant_accept(msgspec.structs.replace(ROW, tenant="beta"))
    assert len({first, other, foreign}) == 3
    assert [row.conn for row in await ledger.connections()] == [other, foreign]
    assert await ledger.tenant_accept(ROW) == first


async def test_a_retired_tenant_is_out_of_force_and_still_known(ledger: SqlLedger) -> None:
    """Its connection is no longer listed; retiring twice says so; accepting it again brings it back."""
    conn = await ledger.tenant_accept(ROW)
    assert await ledger.tenant_retire("acme", 9) is True
    assert await ledger.tenant_retire("acme", 10) is False
    assert await ledger.tenant_retire("nobody", 10) is False
    assert await ledger.connections() == []
    assert [row.retired_us for row in await ledger.tenants()] == [9]
    assert await ledger.tenant_accept(ROW) == conn
    assert [row.conn for row in await ledger.connections()] == [conn]


async def test_how_a_connection_is_has_the_time_since_when(house: House) -> None:
    """The same state and code again do not move the time; another code does. Its fact counter is moved by commits."""
    conn, fence = await house.connection()
    ledger = house.ledger
    await ledger.connection_say(conn, "stopped", "auth", "no consent", "ask", 10)
    await ledger.connection_say(conn, "stopped", "auth", "still none", "ask", 20)
    await ledger.commit(fence, Commit(conn=conn, facts=7))
    (row,) = await ledger.connections()
    assert (row.state, row.code, row.message, row.since_us, row.facts) == ("stopped", "auth", "still none", 10, 7)
    await ledger.connection_say(conn, "ok", "", "", "", 30)
    (row,) = await ledger.connections()
    assert (row.state, row.since_us) == ("ok", 30)


async def test_the_newest_keep_is_what_is_loaded(house: House) -> None:
    """The sealed bytes of the last sign-in, of this connection alone; none at first."""
    conn, fence = await house.connection()
    other, _ = await house.connection("beta")
    assert await house.ledger.keep_load(conn) == b""
    await house.ledger.keep_save(fence, conn, b"\x00one")
    await house.ledger.keep_save(fence, conn, b"two\xff")
    assert await house.ledger.keep_load(conn) == b"two\xff"
    assert await house.ledger.keep_load(other) == b""


async def test_calls_are_counted_by_day_and_account(house: House) -> None:
    """The count goes on from what is stored, begins anew with the day, and is told apart by connection."""
    conn, fence = await house.connection()
    other, others = await house.connection("beta")
    count = house.ledger.calls_count
    assert [await count(fence, conn, "2026-01-31", n) for n in (3, 0, 4)] == [3, 3, 7]
    assert await count(others, other, "2026-01-31", 1) == 1
    assert await count(fence, conn, "2026-02-01", 2) == 2
    # Who does not know yet that the account is in Los Angeles counts for the next day; the account's own day goes on.
    assert await count(fence, conn, "2026-01-31", 1) == 8
    assert await count(fence, conn, "2026-02-03", 1) == 1
    assert await count(fence, conn, "2026-02-01", 1) == 3
    assert await count(fence, conn, "2026-01-31", 1) == 1, "what is long over is forgotten"


async def test_what_was_judged_by_what_is_no_longer_in_force_is_not_written(house: House) -> None:
    """Every file that is accepted and every tenant that is retired makes a new tenancy; a batch of an older one writes nothing."""
    ledger = house.ledger
    conn, _ = await house.connection()
    numbers = [await ledger.tenancy()]
    batch = Intake(
        rows=[house.intent(conn, "L", "m1")], dead=(), offsets={("t", 0): 5}, now_us=1, tenancy=await ledger.tenancy()
    )
    await ledger.tenant_accept(ROW)
    numbers.append(await ledger.tenancy())
    await ledger.tenant_retire("acme", 9)
    numbers.append(await ledger.tenancy())
    await ledger.rewind("t", 7_000_000, [ROW])
    numbers.append(await ledger.tenancy())
    assert numbers == sorted(set(numbers))
    for number in numbers[:-1]:
        with pytest.raises(TenancyMoved):
            await ledger.take(msgspec.structs.replace(batch, tenancy=number))
    assert await ledger.places("t") == {}
    assert await ledger.known("acme", "m1") is None
    assert list(await ledger.take(msgspec.structs.replace(batch, tenancy=numbers[-1]))) == [True]
    assert await ledger.places("t") == {("t", 0): 5}
