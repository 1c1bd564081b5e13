"""When a caller is told to come again: by what is known of the account, and never at once."""

from __future__ import annotations

from dataclasses import replace
from datetime import datetime, time, timedelta
from zoneinfo import ZoneInfo

import grpc
import msgspec
import pytest

from sales_crm_bridge import observe
from sales_crm_bridge.rim.quota import MIDNIGHT_MARGIN_S
from sales_crm_bridge.rpc.again import AGAIN_S, Tenure, needs_a_person, open_us, wait_s
from sales_crm_bridge.sandbox import Fault, FaultKind
from sales_crm_bridge.sandbox.hubspot.faults import daily_limit, moving
from sales_crm_bridge.sandbox.hubspot.settings import Account
from sales_crm_bridge.state import ConnectionRow, Glance, Lease, Standing
from tests.core.census_kit import RIM, ago
from tests.core.web_kit import NOW_US
from tests.rpc.shop import No, Shop, refusal, until

TENURE = Tenure(ttl_s=20, renew_s=5)
ROW = ConnectionRow(conn=1, tenant="acme", name="main", adapter="hubspot", account="4242", state="ok")
LIVELY = Lease(name="connection/acme/main", holder="p1", epoch=1, until_us=ago(-19))
CALM = replace(RIM, breaker="closed", breaker_until_us=0, paused_until_us=0, quota_until_us=0)


def standing(lease: Lease | None = LIVELY, **rim: int) -> Standing:
    seen = observe.glance(replace(CALM, **rim))  # type: ignore[arg-type]  # times alone
    return Standing(row=ROW, lease=lease, glance=Glance(conn=1, at_us=ago(3), state=seen))


@pytest.mark.parametrize(
    ("found", "wanted_s"),
    [
        (standing(), 0),
        (standing(quota_until_us=ago(-3600)), 3600),
        (standing(paused_until_us=ago(-40)), 40),
        (standing(breaker_until_us=ago(-90)), 90),
        (standing(breaker_until_us=ago(-90), paused_until_us=ago(-40), quota_until_us=ago(-3600)), 3600),
        (standing(quota_until_us=ago(3600)), 0),
        (Standing(row=ROW, lease=LIVELY, glance=None), 0),
        # Who has missed two renewals is taken for gone; the others look every 5 s.
        (standing(Lease(name="x", holder="p1", epoch=1, until_us=ago(-10))), 0),
        (standing(Lease(name="x", holder="p1", epoch=1, until_us=ago(-9))), 14),
        (standing(Lease(name="x", holder="p1", epoch=1, until_us=ago(60))), 5),
        (standing(None), 5),
        (standing(None, quota_until_us=ago(-3600)), 3600),
    ],
)
def test_an_account_can_be_asked_again_when_all_that_is_known_is_over(found: Standing, wanted_s: float) -> None:
    """The latest of quota, pause, breaker, and the time at which another process will have the lease of one that is gone."""
    known_us = open_us(found, TENURE, NOW_US)
    assert max(0, known_us - NOW_US) == wanted_s * 1e6
    assert wait_s(known_us, now_us=NOW_US) == max(AGAIN_S, wanted_s)


def test_a_caller_is_never_sent_back_at_once() -> None:
    """What is past, or about to be, is a second; of several times the last one counts."""
    assert wait_s(now_us=NOW_US) == AGAIN_S
    assert wait_s(0, ago(5), ago(-0.2), now_us=NOW_US) == AGAIN_S
    assert wait_s(ago(-7.5), ago(-3), now_us=NOW_US) == 7.5


def test_nobody_knows_when_a_person_will_have_acted() -> None:
    """Only of a stopped account."""
    assert not needs_a_person(None)
    assert not needs_a_person(standing())
    stopped = msgspec.structs.replace(ROW, state="stopped")
    assert needs_a_person(Standing(row=stopped, lease=LIVELY, glance=None))
    at_work = msgspec.structs.replace(stopped, code="crm.key-not-kept")
    assert not needs_a_person(Standing(row=at_work, lease=LIVELY, glance=None))


def until_midnight_s(shop: Shop) -> float:
    """Seconds until the account's day begins anew, with the bridge's margin of a minute."""
    zone = ZoneInfo(Account().time_zone)
    now_s = shop.clock.now_us() / 1e6
    today = datetime.fromtimestamp(now_s - MIDNIGHT_MARGIN_S, zone).date()
    begins = datetime.combine(today + timedelta(days=1), time(), zone)
    return begins.timestamp() + MIDNIGHT_MARGIN_S - now_s


@pytest.mark.parametrize(
    ("fault", "reason"),
    [(daily_limit(None), "crm.quota-day"), (moving(300, None), "MIGRATION_IN_PROGRESS"), (None, "HTTP_403")],
    ids=["the day's quota", "a wish of the CRM", "a right is missing"],
)
async def test_a_read_that_the_crm_refuses_says_when_to_come_again(
    shop: Shop, fault: Fault | None, reason: str
) -> None:
    """At the reset of the quota, or when the CRM wishes; where a person must act first no time is told."""
    async with shop.open(work=True) as server, shop.client(server) as client:
        await client.create("L-1", "m-1", email="a@b.example")
        await client.get("L-1")
        forbidden = Fault(FaultKind.STATUS, method="POST", path="*/batch/read", status=403, times=None)
        shop.portal.faults.add(fault or forbidden)
        no = await refusal(client.get("L-1"))
        shop.portal.faults.clear()
    assert (no.status, no.reason) == (grpc.StatusCode.UNAVAILABLE, reason)
    wanted = {"crm.quota-day": until_midnight_s(shop), "MIGRATION_IN_PROGRESS": 300}.get(reason)
    assert no.retry_s == (pytest.approx(wanted, abs=20) if wanted else None)


async def test_a_command_that_waits_for_the_quota_holds_a_read_up_for_as_long(shop: Shop) -> None:
    """Its own time is told, not a second."""
    settings = shop.settings(timeout="2s")
    async with shop.open(settings, work=True) as server, shop.client(server) as client:
        await client.create("L-1", "m-1", email="a@b.example")
        await until(lambda: bool(shop.portal.truth().live["contacts"]))
        shop.portal.faults.add(daily_limit(None))
        await client.qualify("L-1", "m-2")
        no = await refusal(client.get("L-1"))
    assert (no.status, no.reason) == (grpc.StatusCode.UNAVAILABLE, "rpc.lead-under-way")
    assert no.retry_s == pytest.approx(until_midnight_s(shop), abs=20)


async def test_an_account_whose_worker_cannot_begin_says_why_and_until_when(shop: Shop) -> None:
    """Nobody answers, since the first word to the CRM meets the quota: the reason and the reset are in the ledger."""
    shop.portal.faults.add(daily_limit(None))
    settings = shop.settings(timeout="1500ms")
    async with shop.open(settings, work=True) as server, shop.client(server) as client, shop.ledger() as ledger:

        async def said() -> bool:
            return [row.state for row in await ledger.connections()] == ["quota"]

        await until(said)
        no = await refusal(client.get("L-1"))
    assert (no.reason, no.facts) == (
        "rpc.no-answer",
        {"connection_state": "quota", "connection_code": "crm.quota-day"},
    )
    # The account's zone was not known yet: the day ends in UTC for all the bridge knows.
    assert no.retry_s is not None
    assert 60 <= no.retry_s <= 86_400 + 60


async def no_answer(shop: Shop, left_s: float, state: str = "ok") -> No:
    """Read while a process that does nothing has the lease for ``left_s`` more."""
    async with (
        shop.open(shop.settings(timeout="500ms")) as server,
        shop.client(server) as client,
        shop.ledger() as ledger,
    ):
        now_us = shop.clock.now_us()
        await ledger.leases_take(["connection/acme/hubspot"], "p9", now_us, now_us + round(left_s * 1e6))
        await ledger.connection_say(1, state, "x", "", "", now_us)
        return await refusal(client.get("L-1"))


async def test_the_lease_of_a_process_that_is_gone_runs_out_first(shop: Shop) -> None:
    """Told is when another one will have taken the account over."""
    no = await no_answer(shop, 8)
    assert no.reason == "rpc.no-answer"
    assert no.retry_s == pytest.approx(8 + 5, abs=4)


async def test_a_holder_that_lives_may_answer_any_moment(shop: Shop) -> None:
    """Nothing is known to stand in the way: a second."""
    assert (await no_answer(shop, 20)).retry_s == AGAIN_S


async def test_a_stopped_account_tells_no_time(shop: Shop) -> None:
    """However its lease stands."""
    no = await no_answer(shop, 20, "stopped")
    assert (no.facts["connection_state"], no.retry_s) == ("stopped", None)
