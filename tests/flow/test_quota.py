"""A day's calls are used up: the connection says so until its account's midnight, and goes on by itself in any process."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path

import pytest

from sales_crm_bridge import contract
from sales_crm_bridge.ledger.sql_ledger import SqlLedger
from sales_crm_bridge.simulate.loop import VirtualLoop, run
from sales_crm_bridge.simulate.world import World
from sales_crm_bridge.state import Fence, lease_name
from tests.flow.flow_kit import EPOCH_US, View, disagreements, view, world
from tests.flow.test_storms import counted

HOUR_S = 3600
RESET_US = EPOCH_US + (8 * HOUR_S + 26 * 60 + 40) * 1_000_000
"""Midnight in Berlin, where the account is: 22:00 in UTC."""


async def lives(home: World, seconds: float) -> View:
    """A process for so long, another one than before."""
    await home.live(lambda _service: asyncio.ensure_future(home.clock.sleep(seconds)))
    return view(home.topics.facts)


async def spend(ledger: SqlLedger, now_us: int) -> None:
    """Count all calls that the file allows for the account's day."""
    lease = lease_name("acme", "hubspot")
    epochs = await ledger.leases_take([lease], "we", now_us, now_us + 1_000_000)
    await ledger.calls_count(Fence(lease=lease, holder="we", epoch=epochs[lease]), 1, "2026-09-21", 400)
    await ledger.leases_drop("we", [lease])


@pytest.mark.parametrize("ours", [False, True], ids=["the CRM's word", "our own count"])
def test_a_spent_day_ends_at_the_accounts_midnight_in_whichever_process(tmp_path: Path, ours: bool) -> None:
    """Three processes come and go while the day is spent, one of them between the account's midnight and UTC's."""

    async def story(loop: VirtualLoop) -> None:
        home = world(loop, tmp_path, "quota", leads=30)
        file = tmp_path / "tenants" / "acme.yaml"
        if ours:
            file.write_text(
                file.read_text().replace("in_flight: 4}", "in_flight: 4, per_day: 400, reserve_per_day: 50}")
            )
        answered = counted(home.portal, mute=False)
        await lives(home, 600)
        before = answered.total()
        assert before > 10
        if ours:
            await home.look(lambda ledger: spend(ledger, home.clock.now_us()))
        else:
            home.portal.vices = replace(home.portal.vices, per_day=1)
        lead = contract.Lead(lead_id="L-1", email="one@sales.example")
        home.utter(contract.CreateLeadRequested(lead=lead), tenant="acme", lead_id="L-1", message_id="m-1")
        for hours in (2, 3):
            told = await lives(home, hours * HOUR_S)
            assert not told.done
            (row,) = await home.look(lambda ledger: ledger.connections())
            assert (row.state, row.code) == ("quota", "quota.day" if ours else "crm.quota-day")
            assert "it goes on at 2026-09-21T" in row.message
        assert answered.total() - before <= 3 * 6, "a spent day costs a few calls an hour"
        await home.clock.sleep((RESET_US - home.clock.now_us()) / 1e6 + 300)
        home.portal.vices = replace(home.portal.vices, per_day=625_000)
        told = await lives(home, 2 * HOUR_S - 600)
        assert told.done == {"m-1": 1}
        assert not disagreements(told, home.portal)
        (row,) = await home.look(lambda ledger: ledger.connections())
        assert row.state == "ok"

    loop = VirtualLoop()
    run(story(loop), loop)
