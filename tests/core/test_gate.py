"""Each Lead intent is handled by exactly one side, however often the leads change hands."""

from __future__ import annotations

import itertools
import json
import random
import re
from datetime import datetime
from pathlib import Path
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sales_crm_bridge import gate
from sales_crm_bridge.gate import NotOurs, Ours, Ownership, Reason, Span
from sales_crm_bridge.model import Owner
from sales_crm_bridge.units import time_text

DAY_US = 86_400_000_000
START_US = 1_767_225_600_000_000
KINDS = [*sorted(gate.LEAD_INTENTS), "CreateOpportunityRequested", "CreateQuoteRequested"]


def owned(tenant: str, *owners: Owner, retired_us: int = 0) -> Ownership:
    spans = tuple(Span(owner=owner, from_us=START_US + day * DAY_US) for day, owner in enumerate(owners))
    return Ownership(tenant=tenant, spans=spans, retired_us=retired_us)


class DomainGate:
    """The Sales domain's half, written from the JSON alone (its schema stands in the docs), not from our code."""

    def __init__(self, printed: str) -> None:
        self._told = json.loads(printed)

    def handles(self, tenant: str, intent: str, occurred: datetime) -> bool:
        owner = self._told["otherwise"]
        if intent in self._told["intents"]:
            for span in self._told["tenants"].get(tenant, []):
                begins = datetime.fromisoformat(span["from"])
                ends = None if span["until"] is None else datetime.fromisoformat(span["until"])
                if begins <= occurred and (ends is None or occurred < ends):
                    owner = span["owner"]
        return bool(owner == "domain")


def test_ten_thousand_intents_under_toggling_are_each_handled_by_one_side() -> None:
    """Leads move to the CRM and back, twice; late intents too are judged by the owner of their own time."""
    toggled = (Owner.DOMAIN, Owner.CRM, Owner.DOMAIN, Owner.CRM, Owner.DOMAIN)
    tenants = {
        "acme": owned("acme", *toggled),
        "umbrella": owned("umbrella", Owner.CRM),
        "retired": owned("retired", Owner.CRM, retired_us=START_US + 2 * DAY_US),
    }
    domain = DomainGate(json.dumps(gate.gate_json(tenants.values())))
    rng = random.Random(7)
    ours = 0
    for _ in range(10_000):
        tenant = rng.choice([*tenants, "unknown"])
        kind = rng.choice(KINDS)
        edge_us = START_US + rng.randrange(-1, 6) * DAY_US
        occurred_us = rng.choice([edge_us, edge_us - 1, edge_us + 1, edge_us + rng.randrange(DAY_US)])
        bridge = isinstance(gate.decide(tenants, tenant, kind, occurred_us), Ours)
        occurred = datetime.fromisoformat(time_text(occurred_us))
        assert bridge is not domain.handles(tenant, kind, occurred)
        ours += bridge
    assert 1_000 < ours < 9_000


@pytest.mark.parametrize(
    ("tenant", "kind", "day", "reason"),
    [
        ("acme", "CreateLeadRequested", 1, None),
        ("acme", "CreateQuoteRequested", 1, Reason.NOT_A_LEAD_INTENT),
        ("acme", "CreateLeadRequested", 0, Reason.DOMAIN_OWNS),
        ("acme", "CreateLeadRequested", -1, Reason.BEFORE_FIRST),
        ("nobody", "CreateLeadRequested", 1, Reason.UNKNOWN_TENANT),
        ("gone", "CreateLeadRequested", 5, Reason.RETIRED),
    ],
)
def test_why_an_intent_is_passed_over(tenant: str, kind: str, day: int, reason: Reason | None) -> None:
    """Every way of not being ours has a reason of its own, which is counted."""
    tenants = {
        "acme": owned("acme", Owner.DOMAIN, Owner.CRM),
        "gone": owned("gone", Owner.CRM, retired_us=START_US + DAY_US),
    }
    decision = gate.decide(tenants, tenant, kind, START_US + day * DAY_US)
    assert decision == (Ours() if reason is None else NotOurs(reason))


@given(st.lists(st.sampled_from(list(Owner)), min_size=1, max_size=6), st.integers(-1, 15))
def test_a_retired_tenants_history_says_the_same_as_its_retirement(owners: list[Owner], retired_day: int) -> None:
    """What its file has to begin with, if it comes back, changes nothing that was judged while it was retired; nor after that."""
    retired_us = START_US + retired_day * DAY_US // 2
    retired = owned("acme", *owners, retired_us=retired_us)
    back = Ownership(tenant="acme", spans=retired.history)
    again = Ownership(tenant="acme", spans=retired.history, retired_us=retired_us + DAY_US)
    assert again.history == back.history == back.spans
    for edge_us in (START_US + day * DAY_US // 2 for day in range(-1, 16)):
        for at_us in (edge_us - 1, edge_us, edge_us + 1):
            asked = ("acme", "CreateLeadRequested", at_us)
            ours = isinstance(gate.decide({"acme": retired}, *asked), Ours)
            assert ours is isinstance(gate.decide({"acme": back}, *asked), Ours)
            assert not (ours and at_us >= retired_us)


@given(st.lists(st.sampled_from(list(Owner)), min_size=1, max_size=6), st.integers(0, 7))
def test_the_decision_table_has_no_holes_and_says_what_the_gate_does(owners: list[Owner], retired_day: int) -> None:
    """Rows join from the beginning of time to its end, and at each edge the gate decides as the row says."""
    ownership = owned("acme", *owners, retired_us=START_US + retired_day * DAY_US if retired_day else 0)
    rows = gate.decision_table(ownership)
    assert rows[0].from_us is None
    assert rows[-1].until_us is None
    for before, after in itertools.pairwise(rows):
        assert before.until_us == after.from_us
    for row in rows:
        at_us = row.from_us if row.from_us is not None else (row.until_us or 1) - 1
        ours = isinstance(gate.decide({"acme": ownership}, "acme", "CreateLeadRequested", at_us), Ours)
        assert ours is (row.owner is Owner.CRM)


def test_what_the_contracts_page_tells_domain_teams_is_so() -> None:
    """The snippet runs and decides, and the JSON has the form of what `gate --json` prints."""
    page = (Path(__file__).parents[2] / "docs" / "contract.md").read_text(encoding="utf-8")
    section = page.partition("## The other half of the gate")[2].partition("\n## ")[0]
    shown, snippet = re.findall(r"```(?:json|python)\n(.*?)```", section, re.DOTALL)
    names: dict[str, Any] = {}
    exec(snippet, names)  # noqa: S102 - our own page
    assert names["handled_by_the_domain"] is False
    printed = gate.gate_json(names["tenants"].values())
    told = json.loads(shown)
    assert set(told["intents"]) - {"…"} <= set(cast("list[str]", printed["intents"]))
    assert told | {"intents": printed["intents"]} == printed


def test_what_comes_next_is_told_beside_what_is() -> None:
    """Before the first entry the domain has the leads; an entry holds from its own time on; a retirement is one too."""
    spans = (Span(owner=Owner.CRM, from_us=10), Span(owner=Owner.DOMAIN, from_us=20))
    ownership = gate.Ownership(tenant="acme", spans=spans)
    assert gate.standing(ownership, 9) == (Owner.DOMAIN, spans[0])
    assert gate.standing(ownership, 10) == (Owner.CRM, spans[1])
    assert gate.standing(ownership, 20) == (Owner.DOMAIN, None)
    retired = gate.Ownership(tenant="acme", spans=spans[:1], retired_us=15)
    assert gate.standing(retired, 14) == (Owner.CRM, Span(owner=Owner.DOMAIN, from_us=15))
    assert gate.standing(retired, 15) == (Owner.DOMAIN, None)
