"""The report behind ``status``: machines read it whole, so everything that it says is held against a known census."""

from __future__ import annotations

import json

import pytest

from sales_crm_bridge.gate import Ownership, Span
from sales_crm_bridge.model import Owner
from sales_crm_bridge.observe import GAP_REMEDY, age_s, report
from tests.core.census_kit import Counted, ago
from tests.core.web_kit import NOW_US


def at(second: int, minute: int = 13) -> str:
    """Give a time of the hour in which all of this happens."""
    return f"2026-09-21T14:{minute:02}:{second:02}.000000Z"


async def test_a_connection_is_reported_whole() -> None:
    """State with code and remedy, holder, queues with their ages, the CRM as it was found, and where each feed stands."""
    spans = (Span(owner=Owner.DOMAIN, from_us=1), Span(owner=Owner.CRM, from_us=NOW_US + 60_000_000))
    told = await report(Counted(), NOW_US, {"acme": Ownership(tenant="acme", spans=spans)})
    acme, beta, *out_of_force = told["connections"]
    assert acme == {
        "tenant": "acme",
        "connection": "main",
        "crm": "hubspot",
        "account": "4242",
        "state": "unavailable",
        "since": at(50, 11),
        "code": "crm.busy",
        "message": "it is busy",
        "remedy": "wait",
        "holder": "p1",
        "commands": {"open": 7, "unknown": 2, "parked": 3, "held": 12, "oldest_s": 400},
        "outbox": {"facts": 5, "oldest_s": 30},
        "notices": {"waiting": 0, "oldest_s": 0},
        "matches": {"waiting": 9, "oldest_s": 77},
        "calls": {
            "at": at(17),
            "signed_in": True,
            "breaker": "half-open",
            "breaker_until": "",
            "calls_today": 70,
            "calls_left": 930,
            "quota_until": "",
            "paused_until": at(25),
            "clock_apart_s": -2,
        },
        "feeds": {
            "list": {
                "run": 4,
                "running": True,
                "read_to": "2026-09-21T12:13:20.000000Z",
                "due_in_s": 0,
                "failures": 2,
            },
            "search": {"run": 9, "running": False, "read_to": at(0), "due_in_s": 15, "failures": 0},
        },
        "dead_letters": 2,
        "gaps": 2,
        "quarantines": 3,
        "leads": {"owner": "domain", "next": "crm", "from": "2026-09-21T14:14:20Z"},
    }
    assert {one["state"] for one in out_of_force} == {"out-of-force"}
    assert beta == {
        "tenant": "beta",
        "connection": "side",
        "crm": "rest",
        "account": "7",
        "state": "new",
        "since": "",
        "code": "",
        "message": "",
        "remedy": "",
        "holder": "",
        "commands": {"open": 0, "unknown": 0, "parked": 0, "held": 0, "oldest_s": 0},
        "outbox": {"facts": 1, "oldest_s": 60},
        "notices": {"waiting": 8, "oldest_s": 12},
        "matches": {"waiting": 1, "oldest_s": 33},
        "calls": {},
        "feeds": {},
        "dead_letters": 0,
        "gaps": 0,
        "quarantines": 0,
        "leads": {},
    }


async def test_a_connection_out_of_force_is_reported_while_commands_wait() -> None:
    """Each with its tenant's name, its commands, and what to do; one without any is not."""
    told = (await report(Counted(), NOW_US))["connections"]
    found = [one for one in told if one["state"] == "out-of-force"]
    assert [
        (one["tenant"], one["connection"], one["commands"]["open"], one["commands"]["parked"]) for one in found
    ] == [
        ("gone", "main", 20, 1),
        ("left", "main", 30, 0),
        ("acme", "old", 0, 6),
    ]
    assert {one["code"] for one in found} == {"connection.out-of-force"}
    assert ["bring the tenant back" in one["remedy"] for one in found] == [True, True, False]


async def test_what_needs_a_person_is_reported_with_its_remedy() -> None:
    """Dead letters by tenant and code, open gaps, refused files: each with code, since when, and what to do."""
    told = await report(Counted(), NOW_US)
    assert told["letters"] == [
        {"tenant": tenant, "code": code, "count": count, "since": since, "message": message, "remedy": remedy}
        for tenant, code, count, since, message, remedy in (
            ("", "contract.unreadable", 1, at(0, 5), "no message", "correct the producer"),
            ("acme", "push.auth", 2, at(20, 8), "no right", "grant it"),
            ("gone", "push.auth", 6, "2026-09-21T13:58:20.000000Z", "no right", "grant it"),
            ("stranger@corp.example", "contract.unreadable", 4, at(40, 1), "no message", "correct the producer"),
        )
    ]
    assert [(one["field"], one["code"], one["place"], one["since"]) for one in told["quarantines"]] == [
        ("city", "crm.field-gone", "acme.yaml:7:3", at(20, 3)),
        ("status", "crm.option-gone", "acme.yaml:7:3", at(20, 3)),
        ("status", "crm.option-gone", "acme.yaml:7:3", at(20, 3)),
    ]
    assert told["open_gaps"] == [
        {
            "tenant": tenant,
            "connection": "main",
            "feed": feed,
            "since": since,
            "cause": cause,
            "code": "gap.open",
            "remedy": GAP_REMEDY,
        }
        for tenant, feed, since, cause in (
            ("acme", "intents", at(0, 0), "retention"),
            ("acme", "intents", at(40, 11), "retention"),
            ("done", "list", at(40, 11), "of a tenant that is gone"),
        )
    ], "as many as are counted, those of retired tenants too"
    assert told["refused"] == [
        {
            "process": "p1",
            "code": "yaml.syntax",
            "place": "beta.yaml:1:1",
            "since": at(30, 12),
            "message": "wrong",
            "remedy": "mend it",
        }
    ], "what a dead process has refused is of no interest"


async def test_the_whole_is_counted() -> None:
    """When, which processes live, how much waits in all, and how much needs a person."""
    told = await report(Counted(), NOW_US)
    assert {name: told[name] for name in ("at", "processes", "outbox", "dead_letters", "gaps")} == {
        "at": at(20),
        "processes": ["p1", "p2"],
        "outbox": {"facts": 6, "oldest_s": 60},
        "dead_letters": 13,
        "gaps": 3,
    }
    assert json.loads(json.dumps(told)) == told, "``status --json`` prints it as it is"


@pytest.mark.parametrize(
    ("since_us", "age"), [(0, 0), (ago(0), 0), (ago(-5), 0), (ago(0.04), 0), (ago(0.06), 0.1), (ago(86_400), 86_400)]
)
def test_an_age_is_never_negative_and_nothing_has_none(since_us: int, age: float) -> None:
    """0 for "never", and for what another machine's clock says is still to come."""
    assert age_s(since_us, NOW_US) == age
