"""Single records, lists, search, merge and erasure: ``/crm/v3/objects/{type}``."""

from __future__ import annotations

from typing import TYPE_CHECKING
from urllib.parse import urlencode

import msgspec

from sales_crm_bridge.sandbox.hubspot.api import (
    HOST,
    Call,
    RecordInput,
    associations,
    encode,
    kind_in,
    links_of,
    nothing,
    ok,
    raw,
)
from sales_crm_bridge.sandbox.hubspot.kinds import CONTACTS, LEADS, Kind
from sales_crm_bridge.sandbox.hubspot.records import Record, as_dict, history, updated, written
from sales_crm_bridge.sandbox.hubspot.records import encode as encode_record
from sales_crm_bridge.sandbox.hubspot.refusals import Refusal, invalid, not_found
from sales_crm_bridge.sandbox.hubspot.search import BODY_MAX, Query, checked
from sales_crm_bridge.sandbox.hubspot.tokens import need

if TYPE_CHECKING:
    from sales_crm_bridge.sandbox.wire import Answer

LIST_MAX = 100
HISTORY_LIST_MAX = 50
"""Reported by connectors: asking for histories lowers the limit of a page."""


class MergeInput(msgspec.Struct, frozen=True, rename="camel"):
    """The body of a merge."""

    primary_object_id: str | int
    object_id_to_merge: str | int


class GdprInput(msgspec.Struct, frozen=True, rename="camel"):
    """The body of an erasure."""

    object_id: str
    id_property: str = ""


_record = msgspec.json.Decoder(RecordInput)
_query = msgspec.json.Decoder(Query)
_merge = msgspec.json.Decoder(MergeInput)
_gdpr = msgspec.json.Decoder(GdprInput)


def may(call: Call, kind: Kind, right: str) -> Kind:
    """Check the scope for one object type; ``right`` is read or write. Raises ``Refusal``."""
    need(call.grant, f"crm.objects.{kind.name}.{right}")
    return kind


def _missing(call: Call) -> Refusal:
    if call.crm.vices.html_not_found:
        return Refusal(404, None, "Resource not found", html=True, headers=(("x-hubspot-notfound", "true"),))
    return not_found()


def read(call: Call, spelling: str, text: str) -> Answer:
    """``GET …/{id}``: by id (also one that was merged away) or unique property; ``archived=true`` looks in the bin."""
    kind = may(call, kind_in(spelling), "read")
    if call.flag("archived"):
        call.crm.purge()
        book = call.crm.books[kind.name]
        record = book.records.get(int(text)) if text.isdecimal() else None
        record = record if record is not None and record.archived_ms is not None else None
    else:
        record = call.locate(kind, text, call.param("idProperty"), merged=True)
    if record is None:
        raise _missing(call)
    return raw(_told(call, record, call.selected(kind, call.names("properties"))))


def _told(call: Call, record: Record, names: tuple[str, ...]) -> bytes:
    histories, ends = call.names("propertiesWithHistory"), call.names("associations")
    if not histories and not ends:
        return encode_record(record, record.now, names)
    told = as_dict(record, record.now, sorted({*names, *histories}))
    if histories:
        told["propertiesWithHistory"] = history(record, histories)
    if ends and (linked := associations(record, ends)):
        told["associations"] = linked
    return encode(told)


def page(call: Call, spelling: str) -> Answer:
    """``GET …``: by id from ``after`` on, which is one more than the last id shown."""
    kind = may(call, kind_in(spelling), "read")
    most = HISTORY_LIST_MAX if call.param("propertiesWithHistory") else LIST_MAX
    limit, archived = call.number("limit", 10, 1, most), call.flag("archived")
    first = call.number("after", 0, 0, 1 << 62)
    if archived:
        call.crm.purge()
    book = call.crm.books[kind.name]
    ids, more = book.page(first, limit, archived=archived)
    names = call.selected(kind, call.names("properties"))
    body = b'{"results":[' + b",".join([_told(call, book.records[each], names) for each in ids]) + b"]"
    if more:
        after = str(ids[-1] + 1)
        asked = [(name, value) for name, value in call.request.query.items() if name not in {"limit", "after"}]
        query = urlencode([*asked, ("limit", str(limit)), ("after", after)])
        link = f"{HOST}{call.request.path}?{query}"
        body += b',"paging":' + encode({"next": {"after": after, "link": link}})
    return raw(body + b"}")


def create(call: Call, spelling: str) -> Answer:
    """``POST …``."""
    kind = may(call, kind_in(spelling), "write")
    given = call.body(_record)
    plan = call.crm.plan_create(kind, given.texts, links_of(kind, given.associations), strict=call.strict)
    record = call.crm.create(plan, call.source)
    answer = ok(written(record), 201)
    answer.headers.append(("location", f"{HOST}{call.request.path.rstrip('/')}/{record.id}"))
    return answer


def update(call: Call, spelling: str, text: str) -> Answer:
    """``PATCH …/{id}``: by id (also one that was merged away) or unique property."""
    kind = may(call, kind_in(spelling), "write")
    given = call.body(_record)
    record = call.locate(kind, text, call.param("idProperty"), merged=True)
    if record is None:
        raise not_found()
    call.crm.guard(record)
    changes = call.crm.plan_update(record, given.texts, strict=call.strict)
    call.crm.update(record, changes, call.source)
    return ok(updated(record, given.properties))


def archive(call: Call, spelling: str, text: str) -> Answer:
    """``DELETE …/{id}``: 204 whether there was something to delete or not."""
    kind = may(call, kind_in(spelling), "write")
    record = call.locate(kind, text, "", merged=False)
    if record is not None:
        call.crm.guard(record)
        call.crm.archive(record, call.source)
    return nothing()


def search(call: Call, spelling: str) -> Answer:
    """``POST …/search``."""
    kind = may(call, kind_in(spelling), "read")
    if len(call.request.body) > BODY_MAX:
        raise invalid(f"The request body may have at most {BODY_MAX} characters.")
    query = checked(call.body(_query))
    index = call.crm.indexes[kind.name]
    index.settle(call.crm.now_ms)
    total, found = index.find(query)
    names = call.selected(kind, query.properties)
    shown = b",".join([encode_record(record, version, names) for record, version in found])
    body = b'{"total":' + str(total).encode() + b',"results":[' + shown + b"]"
    end = query.offset + len(found)
    if end < total:
        body += b',"paging":{"next":{"after":"' + str(end).encode() + b'"}}'
    return raw(body + b"}")


def merge(call: Call, spelling: str) -> Answer:
    """``POST …/merge``."""
    kind = may(call, kind_in(spelling), "write")
    if kind is LEADS:
        raise not_found()
    given = call.body(_merge)
    pair = [
        call.locate(kind, str(each), "", merged=False) for each in (given.primary_object_id, given.object_id_to_merge)
    ]
    if pair[0] is None or pair[1] is None:
        raise invalid("Both records of a merge must exist and not have been merged before.")
    for record in pair:
        if record is not None:
            call.crm.guard(record)
    survivor = call.crm.merge(pair[0], pair[1], call.source)
    names = (*kind.shown, "hs_merged_object_ids", "hs_calculated_merged_vids")
    return ok(as_dict(survivor, survivor.now, sorted(name for name in names if name in survivor.props)))


def gdpr_delete(call: Call, spelling: str) -> Answer:
    """``POST …/contacts/gdpr-delete``: an unknown address is kept from ever coming in."""
    kind = may(call, kind_in(spelling), "write")
    if kind is not CONTACTS:
        raise not_found()
    given = call.body(_gdpr)
    crm, book = call.crm, call.crm.books[kind.name]
    name = call.by_unique(kind, given.id_property)
    if name:
        holder = book.holder(name, given.object_id)
        record = book.records[holder] if holder is not None else None
    else:
        record = book.records.get(int(given.object_id)) if given.object_id.isdecimal() else None
    if record is not None:
        crm.erase(record, call.source)
    elif name == "email":
        crm.blocked.add(given.object_id.strip().lower())
    else:
        raise not_found()
    return nothing()
