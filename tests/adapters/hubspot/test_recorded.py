"""Recorded answers of the real service, read by the adapter: each as its ``expect`` says."""

import json
from datetime import datetime
from pathlib import Path
from typing import Any

import msgspec
import pytest
from sales_crm_adapters import CATALOGUE
from sales_crm_adapters.hubspot.account import PROPERTIES

from sales_crm_bridge.model import (
    Accepted,
    Answered,
    Category,
    Cursor,
    Effect,
    FeedKind,
    HttpReply,
    LeadState,
    Operation,
    Page,
    Record,
    Ref,
    Stop,
    Window,
    Write,
)
from tests.adapters.hubspot.talks import adapter, hold, reply

RECORDED = Path(__file__).parent / "recorded"
NAMES = {
    "first_name": "firstname",
    "last_name": "lastname",
    "email": "email",
    "status_raw": "lifecyclestage",
    "website": "website",
}
"""The recordings' neutral names → HubSpot's properties."""

EXCHANGES = [
    (file.stem, number, each)
    for file in sorted(RECORDED.glob("*.json"))
    for number, each in enumerate(json.loads(file.read_text(encoding="utf-8"))["exchanges"])
]
NOT_OURS = {
    "archive": "the adapter never deletes: 204 is passed on as an answer, and nothing reads it",
    "company": "companies are no leads; their records have the same shape and are read like the others",
}


def answer_of(exchange: dict[str, Any]) -> HttpReply:
    """The recorded answer as the rim would hand it over."""
    told = exchange["response"]
    body = told["body"]
    raw = body.encode() if isinstance(body, str) else json.dumps(body).encode()
    return HttpReply(status=told["status"], headers=told["headers"], body=raw, asked_us=1, answered_us=2)


def time_us(text: str) -> int:
    """Microseconds of a recorded time, by another reader than the adapter's."""
    moment = msgspec.convert(text, datetime)
    return round(moment.timestamp() * 1e6)


def assert_is(record: Record, lead: dict[str, Any]) -> None:
    """A record says what was expected of the lead; what ``expect`` lacks is empty."""
    assert record.id == lead["external_id"]
    for name, property_ in NAMES.items():
        assert record.fields.get(property_) == lead.get(name), name
    assert record.modified_us == time_us(lead["updated_at"])
    assert record.created_us == time_us(lead["created_at"])
    assert (record.state is LeadState.ARCHIVED) == lead["is_deleted"]


def read_as(exchange: dict[str, Any], adapter_: Any) -> list[Record]:
    """The leads of an answer, by the talk that would get such an answer."""
    body = exchange["response"]["body"]
    told = answer_of(exchange)
    feeds = {feed.kind: feed for feed in adapter_.feeds()}
    page: Page
    if told.status == 201 or "results" not in body:
        # A created or single record has the shape of a listed one; that its answer is a write's is tested below.
        listing = reply({"results": body.get("results", [body])})
        page, _ = hold(adapter_.pull(feeds[FeedKind.SWEEP], Cursor(), 100), listing)
    elif "total" in body:
        window = Window(lo_us=0, hi_us=1 << 60)
        page, _ = hold(adapter_.pull(feeds[FeedKind.CHANGES], window, 200), told)
    else:
        page, _ = hold(adapter_.pull(feeds[FeedKind.SWEEP], Cursor(), 100), told)
    records: list[Record] = adapter_.decode(page.raws)
    return records


@pytest.mark.parametrize(
    ("file", "number", "exchange"), EXCHANGES, ids=[f"{file}-{number}" for file, number, _ in EXCHANGES]
)
def test_a_recorded_answer_is_read_as_expected(file: str, number: int, exchange: dict[str, Any]) -> None:
    """Leads, cursors, not-found and permission: what was recorded means what a careful reader said it means."""
    expect = exchange["expect"]
    told = answer_of(exchange)
    ours = adapter(*NAMES.values())
    verdict = ours.classify(told, Effect.READ)
    if expect["outcome"] == "permission":
        assert isinstance(verdict, Stop)
        assert verdict.category is Category.PERMISSION
        assert verdict.code == (expect["category"] or "HTTP_403")
        return
    assert isinstance(verdict, Answered)
    if expect["outcome"] == "not_found":
        crm_id = "73133404393"
        empty = reply({"results": []})
        (record,), calls = hold(ours.read([Ref(id=crm_id)]), empty, empty, told)
        assert record.state is LeadState.GONE
        assert calls[-1].path.endswith(f"/{crm_id}")
        return
    if told.status == 204:
        assert told.body == b"", NOT_OURS["archive"]
        return
    if file == "contact-properties-metadata":
        definitions = [each.definition() for each in PROPERTIES.decode(told.body).results]
        assert len(definitions) == expect["count"]
        assert sorted(one.name for one in definitions if one.unique) == expect["unique"]
        writable = {one.name for one in definitions if one.writable}
        assert not writable & set(expect["must_not_write"])
        assert len(definitions) - len(writable) >= expect["read_only_count"]
        return
    records = read_as(exchange, ours)
    wanted = expect.get("leads") or [expect["lead"]]
    assert len(records) == len(wanted)
    for record, lead in zip(records, wanted, strict=True):
        assert_is(record, lead)
    if expect.get("next_after") and "total" not in exchange["response"]["body"]:
        feed = next(feed for feed in ours.feeds() if feed.kind is FeedKind.SWEEP)
        page, _ = hold(ours.pull(feed, Cursor(), 1), told)
        assert page.next == Cursor(token=expect["next_after"])
        assert not page.done


WRITES = [(number, each) for file, number, each in EXCHANGES if file == "batch-writes" and each["response"]["body"]]


@pytest.mark.parametrize(("number", "exchange"), WRITES, ids=[str(number) for number, _ in WRITES])
def test_a_recorded_batch_answer_is_matched_without_trace_ids(number: int, exchange: dict[str, Any]) -> None:
    """Old answers carry no trace id: an update is matched by its id; the answer of a create by nothing, so it is Unknown.

    What the answer does not show is not taken for empty (a PATCH answer carries only some properties).
    """
    ours = adapter(*NAMES.values(), "phone")
    body = exchange["response"]["body"]
    (wanted,) = exchange["request"]["body"]["inputs"]
    updating = exchange["request"]["path"].endswith("update")
    write = Write(
        trace="t-1",
        operation=Operation.REVISE if updating else Operation.CREATE,
        key="L-1",
        fields=dict(wanted["properties"]),
        crm_id=wanted["id"] if updating else "",
    )
    (outcome,), _ = hold(ours.push([write]), answer_of(exchange))
    if not updating:
        assert type(outcome).__name__ == "Unknown"
        return
    assert isinstance(outcome, Accepted)
    assert outcome.crm_id == body["results"][0]["id"]
    assert outcome.record is not None
    assert "phone" not in outcome.record.fields
    assert outcome.record.fields["lastname"] == (wanted["properties"]["lastname"] or None)


def test_every_recorded_file_is_used() -> None:
    """No recording lies about unread, and HubSpot is in the catalogue."""
    assert {file for file, _, _ in EXCHANGES} == {path.stem for path in RECORDED.glob("*.json")}
    assert "hubspot" in CATALOGUE
