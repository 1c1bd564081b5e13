"""Batches of records: ``/crm/v3/objects/{type}/batch/{read,create,update,upsert,archive}``."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import msgspec

from sales_crm_bridge.sandbox.hubspot.api import Call, RecordInput, encode, kind_in, links_of, nothing, raw
from sales_crm_bridge.sandbox.hubspot.crm import Plan
from sales_crm_bridge.sandbox.hubspot.objects import may
from sales_crm_bridge.sandbox.hubspot.records import Record, Source, as_dict, history, updated, written
from sales_crm_bridge.sandbox.hubspot.records import encode as encode_record
from sales_crm_bridge.sandbox.hubspot.refusals import MissingRecords, Refusal, invalid, missing_ids
from sales_crm_bridge.sandbox.hubspot.times import iso

if TYPE_CHECKING:
    from sales_crm_bridge.sandbox.hubspot.kinds import Kind
    from sales_crm_bridge.sandbox.wire import Answer

INPUTS_MAX = 100


class Inputs(msgspec.Struct, frozen=True):
    """The body of a write."""

    inputs: tuple[RecordInput, ...]


class Wanted(msgspec.Struct, frozen=True):
    """One record that is to be read or archived."""

    id: str | int


class ReadInputs(msgspec.Struct, frozen=True, rename="camel"):
    """The body of a read."""

    inputs: tuple[Wanted, ...]
    properties: tuple[str, ...] = ()
    properties_with_history: tuple[str, ...] = ()
    id_property: str | None = None


_inputs = msgspec.json.Decoder(Inputs)
_reads = msgspec.json.Decoder(ReadInputs)

Job = tuple[RecordInput, Record | None, Plan | dict[str, str]]
"""One checked input: the record that it changes, or None for a new one, and what is to be done."""

Check = Callable[[Call, "Kind", RecordInput, dict[tuple[str, str], str] | None], Job]
"""Checks one input of a batch without carrying it out; the last argument is ``plan_create``'s ``claimed``."""

_Outcome = tuple[list[tuple[Job, Record]], list[dict[str, Any]]]


def _capped(count: int) -> None:
    if count > INPUTS_MAX:
        raise invalid(f"At most {INPUTS_MAX} inputs in a batch: {count}")


def _answer(call: Call, results: list[bytes], refused: list[dict[str, Any]], status: int) -> Answer:
    """Put a batch's answer together; the results come in any order."""
    if call.crm.vices.shuffle_batches:
        call.crm.shuffle(results)
    now = iso(call.crm.now_ms)
    body = b'{"status":"COMPLETE","results":[' + b",".join(results) + b"]"
    body += f',"startedAt":"{now}","completedAt":"{now}"'.encode()
    if refused:
        body += b',"numErrors":' + str(len(refused)).encode() + b',"errors":' + encode(refused)
    return raw(body + b"}", 207 if refused else status)


def read(call: Call, spelling: str) -> Answer:
    """``…/batch/read``: what is not there is told in a 207; an id that was merged away is not there."""
    kind = may(call, kind_in(spelling), "read")
    given = call.body(_reads)
    _capped(len(given.inputs))
    names = call.selected(kind, given.properties)
    archived = call.flag("archived")
    if archived:
        call.crm.purge()
    book = call.crm.books[kind.name]
    results: list[bytes] = []
    missing: list[str] = []
    for text in dict.fromkeys(str(each.id) for each in given.inputs):
        if archived:
            record = book.records.get(int(text)) if text.isdecimal() else None
            record = record if record is not None and record.archived_ms is not None else None
        else:
            record = call.locate(kind, text, given.id_property or "", merged=False)
        if record is None:
            missing.append(text)
        elif given.properties_with_history:
            told = as_dict(record, record.now, names)
            told["propertiesWithHistory"] = history(record, given.properties_with_history)
            results.append(encode(told))
        else:
            results.append(encode_record(record, record.now, names))
    return _answer(call, results, [missing_ids(kind.word, missing).as_part(None)] if missing else [], 200)


def create(call: Call, spelling: str) -> Answer:
    """``…/batch/create``."""
    kind = may(call, kind_in(spelling), "write")
    return _write(call, kind, 201, _check_create, lambda _job, record: written(record))


def _check_create(call: Call, kind: Kind, each: RecordInput, claimed: dict[tuple[str, str], str] | None) -> Job:
    links = links_of(kind, each.associations)
    return each, None, call.crm.plan_create(kind, each.texts, links, strict=call.strict, claimed=claimed)


def update(call: Call, spelling: str) -> Answer:
    """``…/batch/update``: an id that was merged away is not there."""
    kind = may(call, kind_in(spelling), "write")
    return _write(call, kind, 200, _check_update, lambda job, record: updated(record, job[0].properties))


def _check_update(call: Call, kind: Kind, each: RecordInput, claimed: dict[tuple[str, str], str] | None) -> Job:
    record = call.locate(kind, str(each.id), each.id_property or "", merged=False)
    if record is None:
        raise missing_ids(kind.word, [str(each.id)])
    call.crm.guard(record)
    return each, record, call.crm.plan_update(record, each.texts, strict=call.strict, claimed=claimed)


def upsert(call: Call, spelling: str) -> Answer:
    """``…/batch/upsert``: by e-mail there are no partial results (contacts guide), by an own unique property there are."""
    kind = may(call, kind_in(spelling), "write")
    return _write(
        call,
        kind,
        200,
        _check_upsert,
        lambda job, record: {
            **(written(record) if job[1] is None else updated(record, job[0].properties)),
            "new": job[1] is None,
        },
    )


def _check_upsert(call: Call, kind: Kind, each: RecordInput, claimed: dict[tuple[str, str], str] | None) -> Job:
    name = call.by_unique(kind, each.id_property or "")
    if not name:
        raise invalid("An upsert needs idProperty: email or a property with unique values.")
    record = call.locate(kind, str(each.id), name, merged=False)
    if record is None:
        texts = {name: str(each.id), **each.texts}
        return each, None, call.crm.plan_create(kind, texts, (), strict=call.strict, claimed=claimed)
    call.crm.guard(record)
    return each, record, call.crm.plan_update(record, each.texts, strict=call.strict, claimed=claimed)


def _write(call: Call, kind: Kind, status: int, check: Check, tell: Callable[[Job, Record], dict[str, Any]]) -> Answer:
    """Carry a batch out: input by input where every one has its own trace id, otherwise all or nothing."""
    inputs = call.body(_inputs).inputs
    _capped(len(inputs))
    ids = [str(each.id) for each in inputs if each.id != ""]
    if len(set(ids)) < len(ids):
        twice = sorted({each for each in ids if ids.count(each) > 1})
        raise invalid(f"Duplicate IDs found in batch input: [{', '.join(twice)}]. IDs must be unique")
    traces = [each.trace for each in inputs]
    by_email = any(each.id_property == "email" for each in inputs)
    traced = all(traces) and len(set(traces)) == len(traces) and not by_email
    done, refused = (_one_by_one if traced else _all_or_nothing)(call, kind, inputs, check)
    results = []
    for job, record in done:
        told = tell(job, record)
        if job[0].trace:
            told["objectWriteTraceId"] = job[0].trace
        results.append(encode(told))
    return _answer(call, results, refused, status)


def _one_by_one(call: Call, kind: Kind, inputs: tuple[RecordInput, ...], check: Check) -> _Outcome:
    done: list[tuple[Job, Record]] = []
    refused: list[dict[str, Any]] = []
    for each in inputs:
        try:
            job = check(call, kind, each, None)
        except Refusal as refusal:
            refused.append(refusal.as_part(each.trace))
        else:
            done.append((job, _carry_out(call, job)))
    return done, refused


def _all_or_nothing(call: Call, kind: Kind, inputs: tuple[RecordInput, ...], check: Check) -> _Outcome:
    claimed: dict[tuple[str, str], str] = {}
    jobs: list[Job] = []
    missing: list[str] = []
    for each in inputs:
        try:
            jobs.append(check(call, kind, each, claimed))
        except MissingRecords:
            if not call.crm.vices.partial_missing:
                raise
            missing.append(str(each.id))
    refused = [missing_ids(kind.word, missing).as_part(None)] if missing else []
    return [(job, _carry_out(call, job)) for job in jobs], refused


def _carry_out(call: Call, job: Job) -> Record:
    each, record, what = job
    source = Source(call.source.kind, call.source.id, call.source.request, each.trace) if each.trace else call.source
    if isinstance(what, Plan):
        return call.crm.create(what, source)
    if record is None:
        raise AssertionError("an update has a record")
    call.crm.update(record, what, source)
    return record


def archive(call: Call, spelling: str) -> Answer:
    """``…/batch/archive``: 204; ids that are not there are passed over."""
    kind = may(call, kind_in(spelling), "write")
    given = call.body(_reads)
    _capped(len(given.inputs))
    found = [call.locate(kind, str(each.id), "", merged=False) for each in given.inputs]
    for record in found:
        if record is not None:
            call.crm.guard(record)
    for record in found:
        if record is not None and record.archived_ms is None:
            call.crm.archive(record, call.source)
    return nothing()
