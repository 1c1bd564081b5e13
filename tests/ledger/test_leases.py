"""Leases and fences: one owner per account, and nothing written by a former one."""

import pytest

from sales_crm_bridge.errors import LeaseLost
from sales_crm_bridge.ledger import SqlLedger
from sales_crm_bridge.model import LeadState
from sales_crm_bridge.state import Binding, Commit, Fence, Lease, OutboxRow


async def test_a_lease_has_one_holder_until_it_is_over(ledger: SqlLedger) -> None:
    """A held lease is given to nobody, not even to its holder again; an expired one is, with the next epoch."""
    assert await ledger.leases_take(["b", "a"], "p1", 0, 100) == {"a": 1, "b": 1}
    assert await ledger.leases_take(["a", "c"], "p2", 99, 200) == {"c": 1}
    assert await ledger.leases_take(["a"], "p1", 99, 200) == {}
    assert await ledger.leases_take(["a"], "p2", 100, 200) == {"a": 2}
    assert await ledger.leases() == [
        Lease(name="a", holder="p2", epoch=2, until_us=200),
        Lease(name="b", holder="p1", epoch=1, until_us=100),
        Lease(name="c", holder="p2", epoch=1, until_us=200),
    ]


async def test_renewing_renews_what_is_held_and_nothing_else(ledger: SqlLedger) -> None:
    """All unexpired leases of the holder are renewed at once; one that is over or taken is not among them."""
    await ledger.leases_take(["short"], "p1", 0, 50)
    await ledger.leases_take(["a", "b"], "p1", 0, 100)
    await ledger.leases_take(["c"], "p2", 0, 100)
    assert await ledger.leases_renew("p1", 60, 500) == {"a": 1, "b": 1}
    until = {lease.name: lease.until_us for lease in await ledger.leases()}
    assert until == {"a": 500, "b": 500, "c": 100, "short": 50}


async def test_a_lease_given_back_is_free_at_once_and_its_epoch_goes_on(ledger: SqlLedger) -> None:
    """Only the holder can give back; the next holder's epoch is higher."""
    await ledger.leases_take(["a"], "p1", 0, 100)
    await ledger.leases_drop("p2", ["a"])
    assert await ledger.leases_take(["a"], "p2", 1, 100) == {}
    await ledger.leases_drop("p1", ["a"])
    assert await ledger.leases_take(["a"], "p2", 1, 100) == {"a": 2}


async def test_a_forgotten_lease_never_repeats_an_epoch(ledger: SqlLedger) -> None:
    """Dead processes' leases are forgotten; if such a name comes again, its epoch is above all that were forgotten."""
    await ledger.leases_take(["a"], "p1", 0, 100)
    await ledger.leases_take(["a"], "p2", 100, 200)
    await ledger.leases_take(["live"], "p2", 100, 900)
    await ledger.forget(0, 0, 500, 10)
    assert [lease.name for lease in await ledger.leases()] == ["live"]
    assert await ledger.leases_take(["a", "live"], "p3", 600, 900) == {"a": 3}


async def test_an_expired_lease_that_nobody_took_still_writes(ledger: SqlLedger) -> None:
    """Only the epoch counts, so a slow step is not lost for nothing."""
    epochs = await ledger.leases_take(["a"], "p1", 0, 1)
    await ledger.commit(Fence(lease="a", holder="p1", epoch=epochs["a"]), Commit(conn=1, positions={"f": b"x"}))
    assert await ledger.positions(1) == {"f": b"x"}


@pytest.mark.parametrize(
    "fence",
    [
        Fence(lease="a", holder="p1", epoch=1),
        Fence(lease="a", holder="p1", epoch=2),
        Fence(lease="a", holder="p2", epoch=1),
        Fence(lease="b", holder="p2", epoch=2),
    ],
)
async def test_a_former_owner_writes_nothing(ledger: SqlLedger, fence: Fence) -> None:
    """Every fenced method raises LeaseLost under a past epoch, another's holder or another lease, and leaves no trace."""
    await ledger.leases_take(["a"], "p1", 0, 1)
    assert await ledger.leases_take(["a"], "p2", 1, 100) == {"a": 2}
    binding = Binding(conn=1, lead_id="L", crm_id="C", state=LeadState.LIVE, aggregate_version=1)
    row = OutboxRow(message_id="m", fact=b"f", created_us=1)
    attempts = (
        lambda: ledger.commit(fence, Commit(conn=1, bindings=[binding], outbox=[row], positions={"f": b"x"})),
        lambda: ledger.sending(fence, 1, [1]),
        lambda: ledger.orphans(fence, 1, 0),
        lambda: ledger.outbox_done(fence, [1], []),
        lambda: ledger.keep_save(fence, 1, b"x"),
        lambda: ledger.calls_count(fence, 1, "2026-01-01", 1),
    )
    for attempt in attempts:
        with pytest.raises(LeaseLost):
            await attempt()
    assert await ledger.bindings_by_lead(1, ["L"]) == {}
    assert await ledger.outbox_read(0, 10) == []
    assert await ledger.positions(1) == {}
    assert await ledger.keep_load(1) == b""
