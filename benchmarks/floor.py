"""The floor: a loop as a good engineer writes it in an afternoon. It reads the same pages and makes the same facts.

What it leaves out, and the bridge does: a place to go on from after a crash, what was known of each lead (so everything is a
change, always), a hash of every field, the outbox, one caller for each account, retries, limits, redaction.

``plain`` is the floor that ratios are taken to. ``best`` is the fastest writing of the same that we know: constants once for all,
records decoded into structs, ids derived. Neither is slowed to please anybody: if you can make one faster, do.
"""

from __future__ import annotations

import hashlib
import uuid
from datetime import datetime
from typing import Any

import httpx
import msgspec
import orjson

from sales_crm_bridge import contract

STATUS = {
    "NEW": contract.LeadStatus.LEAD_STATUS_NEW,
    "OPEN": contract.LeadStatus.LEAD_STATUS_WORKING,
    "IN_PROGRESS": contract.LeadStatus.LEAD_STATUS_WORKING,
    "CONNECTED": contract.LeadStatus.LEAD_STATUS_QUALIFIED,
    "UNQUALIFIED": contract.LeadStatus.LEAD_STATUS_DISQUALIFIED,
}
PATH = "/crm/v3/objects/contacts"
IMPORTED = contract.CrmChangeKind.CRM_CHANGE_KIND_IMPORTED


def told(_how: str, _facts: list[bytes]) -> None:
    """Where a loop would send a page's facts; the tests look at them here."""


def plain(address: str, page: int) -> int:
    """Fetch, parse, map, serialise, fingerprint, envelope; the number of leads."""
    made = 0
    after = ""
    prints: dict[str, bytes] = {}
    with httpx.Client(base_url=address, timeout=60) as client:
        while True:
            query = {"limit": str(page), "after": after} if after else {"limit": str(page)}
            body = orjson.loads(client.get(PATH, params=query).content)
            facts = []
            for row in body["results"]:
                lead = _lead(row)
                snapshot = lead.SerializeToString()
                prints[row["id"]] = hashlib.blake2b(snapshot, digest_size=16).digest()
                facts.append(_fact(row, lead).SerializeToString())
            told("plain", facts)
            made += len(facts)
            after = body.get("paging", {}).get("next", {}).get("after", "")
            if not after:
                return made


def _lead(row: dict[str, Any]) -> contract.Lead:
    told = row["properties"]
    lead = contract.Lead(
        lead_id=row["id"],
        status=STATUS[told["hs_lead_status"]],
        first_name=told["firstname"],
        last_name=told["lastname"],
        email=told["email"],
        phone=told["phone"],
        mobile_phone=told["mobilephone"],
        company_name=told["company"],
        job_title=told["jobtitle"],
        website=told["website"],
        source=told["lead_source"],
        campaign=told["campaign"],
        description=told["message"],
        street=told["address"],
        city=told["city"],
        region=told["state"],
        postal_code=told["zip"],
        country_code=told["country"],
        industry=told["industry"],
    )
    lead.created_at.FromDatetime(datetime.fromisoformat(told["createdate"]))
    lead.last_activity_at.FromDatetime(datetime.fromisoformat(told["notes_last_updated"]))
    return lead


def _fact(row: dict[str, Any], lead: contract.Lead) -> contract.SalesIntegrationFact:
    fact = contract.SalesIntegrationFact()
    fact.meta.message_id = str(uuid.uuid4())
    fact.meta.tenant_id = "acme"
    fact.meta.correlation_id = "run-1"
    fact.meta.causation_id = "run-1"
    fact.meta.producer = "a-loop"
    fact.meta.schema_version = contract.SCHEMA_VERSION
    modified = datetime.fromisoformat(row["updatedAt"])
    fact.meta.occurred_at.FromDatetime(modified)
    fact.subject.aggregate_type = "Lead"
    fact.subject.aggregate_id = row["id"]
    fact.subject.aggregate_version = 1
    seen = fact.crm_lead_observed
    seen.change = IMPORTED
    seen.lead.CopyFrom(lead)
    seen.external.crm = "hubspot"
    seen.external.connection = "main"
    seen.external.account = "4242"
    seen.external.record_type = "contacts"
    seen.external.record_id = row["id"]
    seen.external.url = row["url"]
    seen.external.modified_at.FromDatetime(modified)
    seen.observed_at.FromDatetime(modified)
    return fact


class _Row(msgspec.Struct, rename="camel"):
    id: str
    properties: dict[str, str | None]
    updated_at: str
    url: str


class _Next(msgspec.Struct):
    after: str


class _Paging(msgspec.Struct):
    next: _Next


class _Page(msgspec.Struct):
    results: list[_Row]
    paging: _Paging | None = None


def best(address: str, page: int) -> int:
    """The same, as fast as we know how to write it without leaving anything out."""
    made = 0
    after = ""
    prints: dict[str, bytes] = {}
    decode = msgspec.json.Decoder(_Page).decode
    blake = hashlib.blake2b
    constants = {"tenant_id": "acme", "correlation_id": "run-1", "causation_id": "run-1", "producer": "a-loop"}
    facts_of = contract.FactPage(**constants, traceparent="", tracestate="")
    observed_us = 1_790_000_000_000_000
    press = contract.ObservedPage(
        facts_of,
        crm="hubspot",
        connection="main",
        account="4242",
        record_type="contacts",
        observed_us=observed_us,
    )
    with httpx.Client(base_url=address, timeout=60) as client:
        while True:
            query = {"limit": str(page), "after": after} if after else {"limit": str(page)}
            body = decode(client.get(PATH, params=query).content)
            facts = []
            for row in body.results:
                snapshot = _lead_best(row).SerializeToString()
                prints[row.id] = blake(snapshot, digest_size=16).digest()
                facts.append(
                    press.observed(
                        row.id,
                        1,
                        change=IMPORTED,
                        snapshot=snapshot,
                        changed=(),
                        record_id=row.id,
                        version="",
                        url=row.url,
                        parts=(),
                        modified_us=_time_us(row.updated_at),
                        occurred_us=0,
                    )
                )
            told("best", [fact.value for fact in facts])
            made += len(facts)
            if body.paging is None:
                return made
            after = body.paging.next.after


def _time_us(text: str) -> int:
    return round(datetime.fromisoformat(text).timestamp() * 1e6)


def _lead_best(row: _Row) -> contract.Lead:
    told = row.properties
    get = told.get
    created, active = told["createdate"], told["notes_last_updated"]
    assert created is not None
    assert active is not None
    return contract.Lead(
        lead_id=row.id,
        status=STATUS[told["hs_lead_status"]],  # type: ignore[index]
        first_name=get("firstname"),
        last_name=get("lastname"),
        email=get("email"),
        phone=get("phone"),
        mobile_phone=get("mobilephone"),
        company_name=get("company"),
        job_title=get("jobtitle"),
        website=get("website"),
        source=get("lead_source"),
        campaign=get("campaign"),
        description=get("message"),
        street=get("address"),
        city=get("city"),
        region=get("state"),
        postal_code=get("zip"),
        country_code=get("country"),
        industry=get("industry"),
        created_at=_stamp(created),  # type: ignore[arg-type]
        last_activity_at=_stamp(active),  # type: ignore[arg-type]
    )


def _stamp(text: str) -> dict[str, int]:
    seconds, micros = divmod(_time_us(text), 1_000_000)
    return {"seconds": seconds, "nanos": micros * 1000}
