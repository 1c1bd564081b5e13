"""Whose intent is it: the tenant's leads belong to the CRM (this bridge) or to the Sales domain, by the time of the intent.

A pure function, free for a domain team to import. A team that does not run Python writes the other half of the gate from
``gate_json``, whose schema is::

    {
      "version": 1,
      "intents": ["CreateLeadRequested", ...],     names of the messages in SalesDomainIntent.intent that the gate is about
      "otherwise": "domain",                       who handles whatever no rule below speaks of
      "tenants": {
        "<meta.tenant_id>": [                      rising, without holes between them
          {"from": "<RFC 3339>", "until": "<RFC 3339>" | null, "owner": "domain" | "crm"}
        ]
      }
    }

An intent is judged by its own ``meta.occurred_at`` and by nothing else, so a late one is judged by the owner of its time, also
where its tenant has been retired meanwhile. It
belongs to ``owner`` of the interval with ``from`` <= occurred_at < ``until`` (null: no end). An intent of another kind, of
another tenant, or of a time in no interval belongs to ``otherwise``. The domain handles what belongs to ``domain`` and passes
over the rest; the bridge does the opposite.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass
from typing import TYPE_CHECKING

from sales_crm_bridge.model import Owner
from sales_crm_bridge.units import time_text

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

LEAD_INTENTS = frozenset(
    {"CreateLeadRequested", "QualifyLeadRequested", "DisqualifyLeadRequested", "ReviseLeadRequested"}
)
"""The intents that the gate is about; every other one is the domain's."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Span:
    """From ``from_us`` until the next span's, the tenant's leads belong to ``owner``."""

    owner: Owner
    from_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Ownership:
    """Who owns a tenant's leads, and since when: at least one span, times strictly rising.

    ``retired_us`` > 0: from then on the domain owns them, whatever the spans say.
    """

    tenant: str
    spans: tuple[Span, ...]
    retired_us: int = 0

    @property
    def history(self) -> tuple[Span, ...]:
        """The same without ``retired_us``: what a retired tenant's list has to begin with if it comes back. May be empty."""
        if self.retired_us <= 0:
            return self.spans
        kept = tuple(span for span in self.spans if span.from_us < self.retired_us)
        if not kept or kept[-1].owner is Owner.DOMAIN:
            return kept
        return (*kept, Span(owner=Owner.DOMAIN, from_us=self.retired_us))


class Reason(enum.StrEnum):
    """Why an intent is not ours; what passing over is counted by."""

    NOT_A_LEAD_INTENT = "not-a-lead-intent"
    UNKNOWN_TENANT = "unknown-tenant"
    BEFORE_FIRST = "before-first-entry"
    DOMAIN_OWNS = "domain-owns"
    RETIRED = "retired"


@dataclass(frozen=True, slots=True)
class Ours:
    """The bridge handles it; nobody else may."""


@dataclass(frozen=True, slots=True)
class NotOurs:
    """The domain handles it."""

    reason: Reason


OURS = Ours()
_NOT_OURS = {reason: NotOurs(reason) for reason in Reason}


def decide(tenants: Mapping[str, Ownership], tenant: str, intent: str, occurred_us: int) -> Ours | NotOurs:
    """Whose it is: an ``intent`` (the name of its message) about a lead of ``tenant`` that was uttered at ``occurred_us``."""
    if intent not in LEAD_INTENTS:
        return _NOT_OURS[Reason.NOT_A_LEAD_INTENT]
    ownership = tenants.get(tenant)
    if ownership is None:
        return _NOT_OURS[Reason.UNKNOWN_TENANT]
    if 0 < ownership.retired_us <= occurred_us:
        return _NOT_OURS[Reason.RETIRED]
    for span in reversed(ownership.spans):
        if span.from_us <= occurred_us:
            return OURS if span.owner is Owner.CRM else _NOT_OURS[Reason.DOMAIN_OWNS]
    return _NOT_OURS[Reason.BEFORE_FIRST]


def standing(ownership: Ownership, now_us: int) -> tuple[Owner, Span | None]:
    """Who owns the leads at ``now_us``, and what comes next (None: nothing does)."""
    owner = Owner.DOMAIN
    for span in ownership.history:
        if span.from_us > now_us:
            return owner, span
        owner = span.owner
    return owner, None


@dataclass(frozen=True, slots=True, kw_only=True)
class Row:
    """One line of the decision table: intents with ``from_us`` <= occurred_at < ``until_us`` (None: no bound) go to ``owner``."""

    from_us: int | None
    until_us: int | None
    owner: Owner
    why: str


def decision_table(ownership: Ownership) -> list[Row]:
    """What happens to the tenant's lead intents, from the beginning of time to its end, without holes."""
    rows = [Row(from_us=None, until_us=ownership.spans[0].from_us, owner=Owner.DOMAIN, why="before the first entry")]
    ends = [span.from_us for span in ownership.spans[1:]]
    for span, end in zip(ownership.spans, [*ends, None], strict=True):
        rows.append(Row(from_us=span.from_us, until_us=end, owner=span.owner, why="the tenant's `leads` list"))
    retired_us = ownership.retired_us
    if retired_us <= 0:
        return rows
    kept = [row for row in rows if row.from_us is None or row.from_us < retired_us]
    last = kept[-1]
    end_us = retired_us if last.until_us is None else min(last.until_us, retired_us)
    kept[-1] = Row(from_us=last.from_us, until_us=end_us, owner=last.owner, why=last.why)
    if end_us < retired_us:  # retired before the first entry could begin
        kept.append(Row(from_us=end_us, until_us=retired_us, owner=Owner.DOMAIN, why="before the first entry"))
    return [*kept, Row(from_us=retired_us, until_us=None, owner=Owner.DOMAIN, why="the tenant is retired")]


def gate_json(tenants: Iterable[Ownership]) -> dict[str, object]:
    """What the domain must do, as JSON (its schema stands at the top of this module)."""
    return {
        "version": 1,
        "intents": sorted(LEAD_INTENTS),
        "otherwise": Owner.DOMAIN.value,
        "tenants": {
            ownership.tenant: [
                {
                    "from": time_text(row.from_us),
                    "until": None if row.until_us is None else time_text(row.until_us),
                    "owner": row.owner.value,
                }
                for row in decision_table(ownership)
                if row.from_us is not None
            ]
            for ownership in sorted(tenants, key=lambda one: one.tenant)
        },
    }
