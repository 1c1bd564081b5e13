"""Associations v4: ``/crm/v4/objects/{type}/{id}/associations/…`` and ``/crm/v4/associations/{from}/{to}/batch/…``."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from sales_crm_bridge.sandbox.hubspot.api import HOST, AssociationSpec, Call, To, kind_in, nothing, ok
from sales_crm_bridge.sandbox.hubspot.links import LINK_TYPES, Link, plain
from sales_crm_bridge.sandbox.hubspot.objects import may
from sales_crm_bridge.sandbox.hubspot.refusals import Refusal, invalid, not_found
from sales_crm_bridge.sandbox.hubspot.times import iso

if TYPE_CHECKING:
    from collections.abc import Iterable

    from sales_crm_bridge.sandbox.hubspot.kinds import Kind
    from sales_crm_bridge.sandbox.hubspot.records import Record
    from sales_crm_bridge.sandbox.wire import Answer

READ_MAX = 1000
CREATE_MAX = 2000
PAGE_MAX = 500


class Pair(msgspec.Struct, frozen=True, rename={"of": "from"}):
    """Two records and how they are to be associated; without types the plain association."""

    of: To
    to: To
    types: tuple[AssociationSpec, ...] = ()


class Pairs(msgspec.Struct, frozen=True):
    """A batch of associations."""

    inputs: tuple[Pair, ...]


class Cut(msgspec.Struct, frozen=True, rename={"of": "from"}):
    """One record, and those that it is no longer to be associated with."""

    of: To
    to: tuple[To, ...]


class Cuts(msgspec.Struct, frozen=True):
    """A batch of removals."""

    inputs: tuple[Cut, ...]


class Ends(msgspec.Struct, frozen=True):
    """A batch of records whose associations are asked for."""

    inputs: tuple[To, ...]


_specs = msgspec.json.Decoder(tuple[AssociationSpec, ...])
_pairs = msgspec.json.Decoder(Pairs)
_cuts = msgspec.json.Decoder(Cuts)
_ends = msgspec.json.Decoder(Ends)


def _live(call: Call, kind: Kind, text: str | int) -> Record:
    record = call.locate(kind, str(text), "", merged=True)
    if record is None:
        raise not_found()
    return record


def _told(record: Record, to: Kind) -> list[dict[str, Any]]:
    return [
        {
            "toObjectId": str(end[1]),
            "associationTypes": [
                {"category": "HUBSPOT_DEFINED", "typeId": each, "label": LINK_TYPES[each].label}
                for each in sorted(types)
            ],
        }
        for end, types in sorted(record.links.items())
        if end[0] == to.name
    ]


def page(call: Call, spelling: str, text: str, to_spelling: str) -> Answer:
    """``GET /crm/v4/objects/{type}/{id}/associations/{to}``."""
    kind, to = may(call, kind_in(spelling), "read"), kind_in(to_spelling)
    limit, first = call.number("limit", PAGE_MAX, 1, PAGE_MAX), call.number("after", 0, 0, 1 << 62)
    found = [each for each in _told(_live(call, kind, text), to) if int(each["toObjectId"]) >= first]
    told: dict[str, Any] = {"results": found[:limit]}
    if len(found) > limit:
        after = found[limit]["toObjectId"]
        told["paging"] = {"next": {"after": after, "link": f"{HOST}{call.request.path}?limit={limit}&after={after}"}}
    return ok(told)


def put(call: Call, spelling: str, text: str, to_spelling: str, to_text: str) -> Answer:
    """``PUT /crm/v4/objects/{type}/{id}/associations/{to}/{toId}``: sets labels between two records."""
    kind, to = may(call, kind_in(spelling), "write"), kind_in(to_spelling)
    given = call.body(_specs)
    told = _associate(call, kind, to, text, to_text, given)
    return ok(told, 201)


def put_default(call: Call, spelling: str, text: str, to_spelling: str, to_text: str) -> Answer:
    """``PUT /crm/v4/objects/{type}/{id}/associations/default/{to}/{toId}``: the association without a label."""
    kind, to = may(call, kind_in(spelling), "write"), kind_in(to_spelling)
    _associate(call, kind, to, text, to_text, ())
    now = iso(call.crm.now_ms)
    results = []
    for one, two, one_text, two_text in ((kind, to, text, to_text), (to, kind, to_text, text)):
        known = plain(one, two)
        if known is not None:
            spec = {"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": known.id}
            results.append({"from": {"id": one_text}, "to": {"id": two_text}, "associationSpec": spec})
    return ok({"status": "COMPLETE", "results": results, "startedAt": now, "completedAt": now})


def _associate(
    call: Call, kind: Kind, to: Kind, text: str | int, to_text: str | int, specs: Iterable[AssociationSpec]
) -> dict[str, Any]:
    record, other = _live(call, kind, text), _live(call, to, to_text)
    types = tuple(spec.association_type_id for spec in specs)
    if plain(kind, to) is None:
        raise invalid(f"There are no associations from {kind.name} to {to.name}.")
    link = Link(to=to, id=other.id, types=types)
    call.crm.links.check(kind, [link])
    call.crm.links.add(record, link)
    labels = [LINK_TYPES[each].label for each in sorted(record.links[to.name, other.id]) if LINK_TYPES[each].label]
    return {
        "fromObjectTypeId": kind.type_id,
        "fromObjectId": str(record.id),
        "toObjectTypeId": to.type_id,
        "toObjectId": str(other.id),
        "labels": labels,
    }


def delete(call: Call, spelling: str, text: str, to_spelling: str, to_text: str) -> Answer:
    """``DELETE /crm/v4/objects/{type}/{id}/associations/{to}/{toId}``: takes every association of the two away."""
    kind, to = may(call, kind_in(spelling), "write"), kind_in(to_spelling)
    record = _live(call, kind, text)
    if to_text.isdecimal():
        call.crm.unlink(record, Link(to=to, id=int(to_text)), call.source)
    return nothing()


def batch_read(call: Call, spelling: str, to_spelling: str) -> Answer:
    """``POST /crm/v4/associations/{from}/{to}/batch/read``: records without any are told of in a 207."""
    kind, to = may(call, kind_in(spelling), "read"), kind_in(to_spelling)
    given = call.body(_ends)
    _capped(len(given.inputs), READ_MAX)
    results: list[dict[str, Any]] = []
    missing: list[str] = []
    for each in given.inputs:
        record = call.locate(kind, str(each.id), "", merged=False)
        ends = _told(record, to) if record is not None else []
        if ends:
            results.append({"from": {"id": str(each.id)}, "to": ends})
        else:
            missing.append(str(each.id))
    if call.crm.vices.shuffle_batches:
        call.crm.shuffle(results)
    refused = [_no_association(kind, to, each) for each in missing]
    return _batch(call, results, refused, 200)


def _no_association(kind: Kind, to: Kind, text: str) -> dict[str, Any]:
    # Category and words: general knowledge.
    refusal = Refusal(
        404,
        "OBJECT_NOT_FOUND",
        f"No {to.word} is associated with {kind.word} {text}.",
        context={"fromObjectId": [text]},
    )
    return {**refusal.as_part(None), "subCategory": "crm.associations.NO_ASSOCIATIONS_FOUND"}


def batch_create(call: Call, spelling: str, to_spelling: str) -> Answer:
    """``POST /crm/v4/associations/{from}/{to}/batch/create``."""
    kind, to = may(call, kind_in(spelling), "write"), kind_in(to_spelling)
    given = call.body(_pairs)
    _capped(len(given.inputs), CREATE_MAX)
    results: list[dict[str, Any]] = []
    refused: list[dict[str, Any]] = []
    for each in given.inputs:
        try:
            results.append(_associate(call, kind, to, each.of.id, each.to.id, each.types))
        except Refusal as refusal:
            refused.append(refusal.as_part(None))
    return _batch(call, results, refused, 201)


def batch_archive(call: Call, spelling: str, to_spelling: str) -> Answer:
    """``POST /crm/v4/associations/{from}/{to}/batch/archive``."""
    kind, to = may(call, kind_in(spelling), "write"), kind_in(to_spelling)
    given = call.body(_cuts)
    _capped(len(given.inputs), CREATE_MAX)
    for each in given.inputs:
        record = call.locate(kind, str(each.of.id), "", merged=False)
        for end in each.to if record is not None else ():
            if record is not None and str(end.id).isdecimal():
                call.crm.unlink(record, Link(to=to, id=int(end.id)), call.source)
    return nothing()


def _capped(count: int, most: int) -> None:
    if count > most:
        raise invalid(f"At most {most} inputs: {count}")


def _batch(call: Call, results: list[dict[str, Any]], refused: list[dict[str, Any]], status: int) -> Answer:
    now = iso(call.crm.now_ms)
    told: dict[str, Any] = {"status": "COMPLETE", "results": results, "startedAt": now, "completedAt": now}
    if refused:
        told |= {"numErrors": len(refused), "errors": refused}
    return ok(told, 207 if refused else status)
