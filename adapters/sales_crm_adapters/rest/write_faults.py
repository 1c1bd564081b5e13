"""What cannot be meant of reads by name and of writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sales_crm_adapters.rest.paths import is_plain, path_of
from sales_crm_adapters.rest.records import key_within
from sales_crm_adapters.rest.structure import Mistake, Route, contradiction
from sales_crm_adapters.rest.templates import named_in_request, variables

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sales_crm_adapters.rest.about_records import RecordPart
    from sales_crm_adapters.rest.notions import Request
    from sales_crm_adapters.rest.options import Batch, BatchCall, WritePart


def read_faults(part: Any, record: RecordPart) -> Iterator[Mistake]:
    """Reads that do not say what to read, or cannot show it."""
    if "id" not in named_in_request(part.one):
        yield contradiction(("read", "one"), "reads one record, but does not name {id}", "name {id} in the request")
    if part.many is not None and "ids" not in named_in_request(part.many):
        yield contradiction(
            ("read", "many"), "reads many records, but does not name {ids}", "name {ids} in the request"
        )
    if part.key is None:
        return
    if "key" not in named_in_request(part.key):
        yield contradiction(
            ("read", "key"), "reads by our lead id, but does not name {key}", "name {key} in the request"
        )
    if (part.key.records is None) == (part.key.record is None):
        yield contradiction(("read", "key"), "not exactly one of `records` and `record`", "keep one of the two")
    if record.key is None:
        yield contradiction(
            ("read", "key"), "reads by our lead id, which no record shows", "say where it stands: `record.key`"
        )


def write_faults(part: WritePart, record: RecordPart | None, read: Any) -> Iterator[Mistake]:
    """Writes that write nothing, or not what they should."""
    if (part.create is None) == (part.upsert is None):
        said = "neither `create` nor `upsert`" if part.create is None else "both `create` and `upsert`"
        yield contradiction(("write",), said, "declare one of the two: `upsert` where the CRM has it by a key of ours")
    for name in ("create", "upsert"):
        made = getattr(part, name)
        if made is not None:
            yield from _made(made, named_in_request(made), ("write", name))
            if made.record is None and made.id is None:
                yield contradiction(
                    ("write", name), "the answer shows no id", "say where `record` or `id` stands in it"
                )
    yield from _update(part, record)
    if record is not None:
        yield from _keys(part, record, read)
    yield from _calls(part)
    if part.batch is not None:
        yield from _batch(part.batch, part)


def _made(call: Request, named: set[str], here: Route) -> Iterator[Mistake]:
    """A new record: its values in the request, and nothing of a record that is there already."""
    yield from _method(call, here)
    if not _sets(named):
        yield contradiction(here, "a new record without values", NAME_FIELDS)
    for name in ("id", "version"):
        if name in named:
            yield contradiction(here, f"a new record has no {{{name}}} yet", "remove it, and what hangs on it")


def _method(call: Request, here: Route) -> Iterator[Mistake]:
    if (call.method or ("GET" if call.body is None and call.form is None else "POST")) == "GET":
        said = "a write by GET, which nothing on the way takes for one"
        yield contradiction(here, said, "say the `method`, or give it a body or form")


NAME_FIELDS = "name {fields} in it, or {field.<name>} for single values"


def _sets(named: set[str]) -> bool:
    """Whether a request carries values."""
    return "fields" in named or any(name.startswith("field.") for name in named)


def _calls(part: WritePart) -> Iterator[Mistake]:
    for at, extra in enumerate(part.calls):
        here: Route = ("write", "calls", at)
        if not extra.when:
            yield contradiction((*here, "when"), "a further request for every write", "say which values it is for")
        if not {"id", "key"} & named_in_request(extra.call):
            said = "a further request that does not name the record"
            yield contradiction((*here, "call"), said, "name {id} in it")
        yield from _method(extra.call, (*here, "call"))
    if part.holder is not None and not named_in_request(part.holder) - {"names", "operation", "trace"}:
        remedy = "name what must be unique, such as {field.<name>} or {key}"
        yield contradiction(("write", "holder"), "asks for nobody in particular, so anybody would be found", remedy)


def _update(part: WritePart, record: RecordPart | None) -> Iterator[Mistake]:
    named = named_in_request(part.update)
    yield from _method(part.update, ("write", "update"))
    if "id" not in named:
        yield contradiction(("write", "update"), "changes a record, but does not name {id}", "name {id} in the request")
    if not _sets(named):
        yield contradiction(("write", "update"), "changes a record, but carries no values", NAME_FIELDS)
    if part.conditional and record is not None and record.version is None and record.modified is None:
        yield contradiction(
            ("write", "conditional"), "a record shows no version", "declare `record.version` or `record.modified`"
        )
    if part.conditional and "version" not in named_in_request(part.update):
        yield contradiction(
            ("write", "conditional"),
            "the update does not name {version}",
            "name {version} in it, such as in `If-Match`",
        )


def _keys(part: WritePart, record: RecordPart, read: Any) -> Iterator[Mistake]:
    # A record that does not get our key cannot be found by it, so a create whose answer was lost would be made again.
    placed = is_plain(path_of(record.key or "")) and is_plain(path_of(record.fields))
    found_by_key = placed and record.key is not None and read is not None and read.key is not None
    batch = part.batch
    made: list[tuple[str, Route, set[str]]] = [
        (name, ("write", name), named_in_request(call))
        for name in ("create", "upsert")
        if (call := getattr(part, name)) is not None
    ]
    made += [
        (name, ("write", "batch", name, "item"), set(variables(call.item)))
        for name in ("create", "upsert")
        if batch is not None and (call := getattr(batch, name)) is not None
    ]
    for name, route, named in made:
        if (found_by_key or name == "upsert") and "key" not in named and not ("fields" in named and key_within(record)):
            remedy = "name {key} in it, or {fields} where `record.key` stands among the fields"
            yield contradiction(route, "a new record does not get our key", remedy)
    if part.unique_key and record.key is None:
        yield contradiction(("write", "unique_key"), "our lead id is nowhere in a record", "declare `record.key`")
    if part.unique_key and read is not None and read.key is None:
        yield contradiction(("write", "unique_key"), "who holds our lead id cannot be found", "declare `read.key`")


def _batch(batch: Batch, write: WritePart) -> Iterator[Mistake]:
    here: Route = ("write", "batch")
    given = {name: getattr(batch, name) for name in ("create", "upsert", "update") if getattr(batch, name) is not None}
    if not given:
        yield contradiction(here, "a batch of nothing", "declare create, upsert or update, or remove it")
    for name in ("create", "upsert"):
        if name in given and getattr(write, name) is None:
            yield contradiction((*here, name), f"`{name}` in batches, but not by itself", f"declare `write.{name}` too")
    for name, call in given.items():
        yield from _bulk(name, call, here)


def _bulk(name: str, call: BatchCall, here: Route) -> Iterator[Mistake]:
    results, route = call.results, (*here, name, "results")
    if "items" not in named_in_request(call):
        yield contradiction((*here, name), "a batch that does not name {items}", "name {items} in the body")
    yield from _method(call, (*here, name))
    named = set(variables(call.item))
    if not _sets(named):
        yield contradiction((*here, name, "item"), "a member carries no values", NAME_FIELDS)
    elif name == "update" and "id" not in named:
        yield contradiction((*here, name, "item"), "changes a record, but does not name {id}", "name {id} in it")
    if name != "update" and named & {"id", "version"}:
        said = "a new record has no {id} and no {version} yet"
        yield contradiction((*here, name, "item"), said, "remove them, and what hangs on them")
    if (results.match == "position") != (results.by is None):
        said = (
            "`by` is for results that are matched by a name"
            if results.by is not None
            else "results are matched by a name"
        )
        yield contradiction((*route, "match"), said, "say `by` where that name stands, or match by position")
    if results.match == "id" and name != "update":
        yield contradiction(
            (*route, "match"), "a new record has no id to be matched by", "match by position, key or trace"
        )
    if results.status is not None and results.ok is not None:
        yield contradiction((*route, "ok"), "both `status` and `ok`", "keep one of the two")
    if name != "update" and results.record is None and results.id is None:
        yield contradiction(route, "a result shows no id", "say where `record` or `id` stands in it")
