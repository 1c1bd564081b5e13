"""One census with a known number in every place, for the metrics and for ``status``: what is made of it can be read off."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

from sales_crm_bridge import observe
from sales_crm_bridge.drift import Cause, Quarantine
from sales_crm_bridge.errors import Finding, Place
from sales_crm_bridge.model import Cursor
from sales_crm_bridge.policy import walks
from sales_crm_bridge.rim.terms import RimState
from sales_crm_bridge.state import (
    Census,
    CommandCounts,
    ConnectionRow,
    Gap,
    Glance,
    Lease,
    LetterCount,
    Refusal,
    Waiting,
)
from tests.core.web_kit import NOW_US


def ago(seconds: float) -> int:
    """Give the instant so many seconds before now."""
    return NOW_US - round(seconds * 1e6)


RIM = RimState(
    signed_in=True,
    signed_in_until_us=ago(-3600),
    breaker="half-open",
    breaker_until_us=0,
    paused_until_us=ago(-5),
    pace=1.0,
    window=8,
    in_flight=3,
    waiting=4,
    calls=41,
    repeats=6,
    calls_today=70,
    calls_left_day=930,
    quota_until_us=0,
    skew_us=-1_500_000,
)
RIMS = {
    ("acme", "main"): RIM,
    ("beta", "side"): replace(RIM, signed_in=False, breaker="closed", paused_until_us=ago(5), calls_left_day=None),
}

FINDINGS = tuple(
    Finding(code=code, message="wrong", place=Place(file="beta.yaml", line=line), remedy="mend it")
    for code, line in (("yaml.syntax", 1), ("config.bad-value", 2), ("config.bad-value", 3))
)

ACME = ConnectionRow(
    conn=1,
    tenant="acme",
    name="main",
    adapter="hubspot",
    account="4242",
    state="unavailable",
    code="crm.busy",
    message="it is busy",
    remedy="wait",
    since_us=ago(90),
)
BETA = ConnectionRow(conn=2, tenant="beta", name="side", adapter="rest", account="7")

CENSUS = Census(
    connections=[ACME, BETA],
    left=[
        ConnectionRow(conn=11, tenant="gone", name="main", adapter="rest", account="8", since_us=ago(9000)),
        ConnectionRow(conn=12, tenant="left", name="main", adapter="rest", account="9", since_us=ago(9500)),
        ConnectionRow(conn=13, tenant="done", name="main", adapter="rest", account="10", since_us=ago(9600)),
        ConnectionRow(conn=14, tenant="acme", name="old", adapter="rest", account="11"),
    ],
    tenants=["acme", "beta", "gone"],
    leases=[
        Lease(name="connection/acme/main", holder="p1", epoch=1, until_us=ago(-10)),
        Lease(name="connection/beta/side", holder="p0", epoch=1, until_us=ago(1)),
        Lease(name="process/p1", holder="p1", epoch=1, until_us=ago(-10)),
        Lease(name="process/p2", holder="p2", epoch=1, until_us=ago(-10)),
        Lease(name="process/p0", holder="p0", epoch=1, until_us=ago(1)),
        Lease(name="relay", holder="p2", epoch=1, until_us=ago(-10)),
        Lease(name="house", holder="p0", epoch=1, until_us=ago(1)),
    ],
    commands={
        1: CommandCounts(conn=1, open=7, unknown=2, parked=3, oldest_us=ago(400)),
        11: CommandCounts(conn=11, open=20, unknown=4, parked=1, oldest_us=ago(9100)),
        12: CommandCounts(conn=12, open=30, unknown=5, parked=0, oldest_us=ago(9700)),
        14: CommandCounts(conn=14, open=0, unknown=0, parked=6, oldest_us=0),
    },
    outbox={1: Waiting(number=5, since_us=ago(30)), 2: Waiting(number=1, since_us=ago(60))},
    notices={2: Waiting(number=8, since_us=ago(12))},
    matches={1: Waiting(number=9, since_us=ago(77)), 2: Waiting(number=1, since_us=ago(33))},
    positions={
        1: {
            "list": walks.encode(
                walks.Standing(run=4, begun_us=ago(7200), due_us=ago(45), failures=2, position=Cursor(token="t"))
            ),
            "search": walks.encode(walks.Standing(run=9, begun_us=ago(20), due_us=ago(-15))),
        }
    },
    letters=[
        LetterCount("", "contract.unreadable", 1, ago(500), "no message", "correct the producer"),
        LetterCount("acme", "push.auth", 2, ago(300), "no right", "grant it"),
        LetterCount("gone", "push.auth", 6, ago(900), "no right", "grant it"),
        LetterCount("stranger@corp.example", "contract.unreadable", 4, ago(700), "no message", "correct the producer"),
    ],
    gaps=[
        Gap(id="g1", conn=1, feed="intents", from_us=1, to_us=2, cause="retention", opened_us=ago(800)),
        Gap(id="g2", conn=1, feed="intents", from_us=3, to_us=4, cause="retention", opened_us=ago(100)),
        Gap(id="g3", conn=13, feed="list", from_us=3, to_us=4, cause="of a tenant that is gone", opened_us=ago(100)),
    ],
    quarantines=[
        Quarantine(
            conn=conn,
            slot=f"{field}=town",
            cause=Cause.OPTION if value else Cause.GONE,
            value=value,
            field=field,
            crm_field="town",
            said=f"no {field}",
            file="acme.yaml",
            line=7,
            column=3,
            opened_us=ago(600),
        )
        for conn, field, value in ((1, "city", ""), (1, "status", "N"), (1, "status", "Q"), (13, "city", ""))
    ],
    held={1: 12},
    glances={1: Glance(conn=1, at_us=ago(3), state=observe.glance(RIM))},
    refusals=[
        Refusal(
            holder="p1",
            number=0,
            since_us=ago(50),
            code="yaml.syntax",
            place="beta.yaml:1:1",
            message="wrong",
            remedy="mend it",
        ),
        Refusal(
            holder="p0", number=0, since_us=ago(99), code="yaml.syntax", place="x.yaml", message="old", remedy="none"
        ),
    ],
)
"""p1 and p2 live, p0 does not any more. Nothing is equal to anything by chance."""


class Counted:
    """A ledger that answers the census above, and is asked for nothing else."""

    def __getattr__(self, name: str) -> Any:
        raise AssertionError(f"{name} was asked for")

    async def census(self) -> Census:
        return CENSUS
