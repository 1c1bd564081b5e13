"""What in a declaration cannot be meant: parts that do not go together, or that lack what they stand on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from sales_crm_adapters.rest.about_records import ChangesList, RemovedList
from sales_crm_adapters.rest.notions import Request
from sales_crm_adapters.rest.paths import is_plain, path_of
from sales_crm_adapters.rest.structure import Mistake, Route
from sales_crm_adapters.rest.templates import named_in_request, variables

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sales_crm_adapters.rest.about_records import Listing, Lists, RecordPart
    from sales_crm_adapters.rest.about_us import SignIn, WebhookPart
    from sales_crm_adapters.rest.options import Batch, BatchCall, Failure, WritePart

SIGN_INS = ("token", "basic", "refresh_token", "client_credentials", "login")


def contradictions(parts: Mapping[str, Any], credentials: str) -> Iterator[Mistake]:
    """The contradictions between those sections that are whole; ``credentials``: their kind ("" unknown)."""
    if "sign_in" in parts:
        yield from _sign_in(parts["sign_in"], credentials)
    record = parts.get("record")
    if record is not None:
        yield from _record(record)
    if "lists" in parts:
        yield from _lists(parts["lists"], record)
    if "read" in parts and record is not None:
        yield from _read(parts["read"], record)
    if "write" in parts:
        yield from _write(parts["write"], record, parts.get("read"))
    if "failures" in parts:
        yield from _failures(parts["failures"], record)
    if "limits" in parts:
        for name, section in parts.items():
            yield from _budgets(section, (name,), parts["limits"].budgets)
    if parts.get("webhook") is not None:
        yield from _webhook(parts["webhook"])


def _no(route: Route, message: str, remedy: str) -> Mistake:
    return Mistake(route, "rest.contradiction", message, remedy)


def _sign_in(part: SignIn, credentials: str) -> Iterator[Mistake]:
    given = [name for name in SIGN_INS if getattr(part, name) is not None]
    if len(given) != 1:
        said = "no way to sign in" if not given else f"{len(given)} ways to sign in"
        yield _no(("sign_in",), said, f"name exactly one of: {', '.join(SIGN_INS)}")
    elif credentials and credentials != given[0]:
        said = f"the credentials are of kind {credentials!r}, the sign-in is {given[0]!r}"
        yield _no(
            ("sign_in", given[0]), said, f"write `credentials: {{kind: {given[0]}, …}}`, or declare `{credentials}`"
        )


def _record(part: RecordPart) -> Iterator[Mistake]:
    if part.states.merged is not None and part.into is None:
        yield _no(("record", "states", "merged"), "a merged record without `into`", "say where it names its survivor")
    if part.key is not None and not is_plain(path_of(part.key)):
        yield _no(("record", "key"), "our lead id cannot be written there", "name a place made of names alone")
    prefix = path_of(part.fields)
    if not is_plain(prefix):
        yield _no(("record", "fields"), "fields cannot be written there", "name a place made of names alone")
    for name, option in part.options.items():
        if option.write is not None and not is_plain(path_of(option.write)):
            yield _no(
                ("record", "options", name, "write"), "nothing can be written there", "name a place made of names alone"
            )
        if option.write is not None and option.read_only:
            yield _no(
                ("record", "options", name, "write"), "a read-only field that is written", "remove one of the two"
            )


def _lists(lists: Lists, record: RecordPart | None) -> Iterator[Mistake]:
    if lists.all is not None:
        yield from _listing(lists.all, ("lists", "all"))
    for name, listing in (("changes", lists.changes), ("removed", lists.removed)):
        if listing is not None:
            yield from _listing(listing, ("lists", name))
            if listing.time is not None and not {"since", "until"} & named_in_request(listing):
                yield _no(
                    ("lists", name, "time"), "`time` without {since}", "name {since} in the request, or remove `time`"
                )
    if lists.changes is None:
        return
    if "since" not in named_in_request(lists.changes):
        remedy = "name {since} in the query, a header or the body; without such a filter leave `changes` out"
        yield _no(("lists", "changes"), "changes that do not ask for {since}", remedy)
    if record is not None and record.modified is None:
        yield _no(
            ("lists", "changes"), "changes by time, of records without `record.modified`", "declare `record.modified`"
        )


_NEEDS = {
    "number": ("page", "offset"),
    "offset": ("offset",),
    "cursor": ("cursor",),
    "id": ("after",),
    "time": ("after", "offset"),
}


def _listing(listing: Listing, route: Route) -> Iterator[Mistake]:
    page, here = listing.page, (*route, "page")
    named = named_in_request(listing)
    needs = _NEEDS.get(page.by, ())
    if page.by == "time" and not isinstance(listing, ChangesList):
        yield _no((*here, "by"), "only changes are paged by time", "use number, offset, cursor, link, id or none")
    elif needs and not named & set(needs):
        told = " or ".join(f"{{{name}}}" for name in needs)
        yield _no(
            (*here, "by"), f"paged by {page.by}, but the request does not name {told}", f"name {told} in the request"
        )
    if page.by == "time" and "since" not in named and isinstance(listing, RemovedList):
        yield _no((*here, "by"), "paged by time, but the request does not name {since}", "name {since} in the request")
    yield from _page(listing, here)


def _page(listing: Listing, here: Route) -> Iterator[Mistake]:
    """Words about pages that do nothing, or lack what they stand on."""
    page, named = listing.page, named_in_request(listing)
    if page.by in ("cursor", "link") and page.next is None:
        yield _no(here, f"paged by {page.by} without `next`", "say where the next one stands")
    if page.steady and page.by not in ("number", "offset"):
        yield _no((*here, "steady"), f"`steady` does nothing where pages go by {page.by}", "remove it")
    if page.strip and page.by != "link":
        yield _no((*here, "strip"), "`strip` is for links alone", "remove it")
    if page.pages is not None and page.by != "number":
        yield _no((*here, "pages"), "`pages` is for pages by number alone", "remove it")
    if page.by == "time" and page.total is not None:
        yield _no((*here, "total"), "`total` does nothing where pages go by time", "remove it")
    for name, one in (("cursor", "cursor"), ("page", "number")):
        if name in named and page.by != one:
            yield _no(here, f"the request names {{{name}}}, but is not paged by {one}", f"page by {one}, or remove it")
    if page.short_ends and "limit" not in named:
        yield _no(
            (*here, "short_ends"),
            "a page cannot be short of a {limit} that is not asked for",
            "name {limit} in the request",
        )


def _read(part: Any, record: RecordPart) -> Iterator[Mistake]:
    if "id" not in named_in_request(part.one):
        yield _no(("read", "one"), "reads one record, but does not name {id}", "name {id} in the request")
    if part.many is not None and "ids" not in named_in_request(part.many):
        yield _no(("read", "many"), "reads many records, but does not name {ids}", "name {ids} in the request")
    if part.key is None:
        return
    if "key" not in named_in_request(part.key):
        yield _no(("read", "key"), "reads by our lead id, but does not name {key}", "name {key} in the request")
    if (part.key.records is None) == (part.key.record is None):
        yield _no(("read", "key"), "not exactly one of `records` and `record`", "keep one of the two")
    if record.key is None:
        yield _no(("read", "key"), "reads by our lead id, which no record shows", "say where it stands: `record.key`")


def _write(part: WritePart, record: RecordPart | None, read: Any) -> Iterator[Mistake]:
    if (part.create is None) == (part.upsert is None):
        said = "neither `create` nor `upsert`" if part.create is None else "both `create` and `upsert`"
        yield _no(("write",), said, "declare one of the two: `upsert` where the CRM has it by a key of ours")
    for name in ("create", "upsert"):
        made = getattr(part, name)
        if made is not None and made.record is None and made.id is None:
            yield _no(("write", name), "the answer shows no id", "say where `record` or `id` stands in it")
    yield from _update(part, record)
    if record is not None:
        yield from _keys(part, record, read)
    for at, extra in enumerate(part.calls):
        if not extra.when:
            yield _no(("write", "calls", at, "when"), "a further request for every write", "say which values it is for")
    if part.batch is not None:
        yield from _batch(part.batch, part)


def _update(part: WritePart, record: RecordPart | None) -> Iterator[Mistake]:
    if "id" not in named_in_request(part.update):
        yield _no(("write", "update"), "changes a record, but does not name {id}", "name {id} in the request")
    if part.conditional and record is not None and record.version is None and record.modified is None:
        yield _no(
            ("write", "conditional"), "a record shows no version", "declare `record.version` or `record.modified`"
        )
    if part.conditional and "version" not in named_in_request(part.update):
        yield _no(
            ("write", "conditional"),
            "the update does not name {version}",
            "name {version} in it, such as in `If-Match`",
        )


def _keys(part: WritePart, record: RecordPart, read: Any) -> Iterator[Mistake]:
    if part.upsert is not None and record.key is None and "key" not in named_in_request(part.upsert):
        yield _no(("write", "upsert"), "an upsert without our {key}", "name {key} in it, or declare `record.key`")
    if part.unique_key and record.key is None:
        yield _no(("write", "unique_key"), "our lead id is nowhere in a record", "declare `record.key`")
    if part.unique_key and read is not None and read.key is None:
        yield _no(("write", "unique_key"), "who holds our lead id cannot be found", "declare `read.key`")


def _batch(batch: Batch, write: WritePart) -> Iterator[Mistake]:
    here: Route = ("write", "batch")
    given = {name: getattr(batch, name) for name in ("create", "upsert", "update") if getattr(batch, name) is not None}
    if not given:
        yield _no(here, "a batch of nothing", "declare create, upsert or update, or remove it")
    for name in ("create", "upsert"):
        if name in given and getattr(write, name) is None:
            yield _no((*here, name), f"`{name}` in batches, but not by itself", f"declare `write.{name}` too")
    for name, call in given.items():
        yield from _bulk(name, call, here)


def _bulk(name: str, call: BatchCall, here: Route) -> Iterator[Mistake]:
    results, route = call.results, (*here, name, "results")
    if "items" not in named_in_request(call):
        yield _no((*here, name), "a batch that does not name {items}", "name {items} in the body")
    if not set(variables(call.item)) & {"id", "key", "fields"}:
        yield _no((*here, name, "item"), "every member is the same", "name {fields}, {id} or {key} in it")
    if (results.match == "position") != (results.by is None):
        said = (
            "`by` is for results that are matched by a name"
            if results.by is not None
            else "results are matched by a name"
        )
        yield _no((*route, "match"), said, "say `by` where that name stands, or match by position")
    if results.match == "id" and name != "update":
        yield _no((*route, "match"), "a new record has no id to be matched by", "match by position, key or trace")
    if results.status is not None and results.ok is not None:
        yield _no((*route, "ok"), "both `status` and `ok`", "keep one of the two")
    if name != "update" and results.record is None and results.id is None:
        yield _no(route, "a result shows no id", "say where `record` or `id` stands in it")


def _failures(failures: list[Failure], record: RecordPart | None) -> Iterator[Mistake]:
    whole: set[str] = set()
    for at, failure in enumerate(failures):
        when, here = failure.when, ("failures", at)
        told = when.status if isinstance(when.status, list) else [] if when.status is None else [when.status]
        words = {str(word).lower() for word in told}
        if words and all(word in whole or f"{word[0]}xx" in whole for word in words):
            yield Mistake(
                here, "rest.unreachable", "an earlier rule takes all of these answers", "put this rule before it"
            )
        if not words and not when.body and not when.header:
            yield _no((*here, "when"), "a rule for every answer", "say what the answer is like")
        if not when.body and not when.header:
            whole |= words
        if failure.means == "merged" and failure.other is None:
            yield _no(here, "`merged` without `other`", "say where the survivor's id stands")
    if record is not None and record.states.merged is None and record.merged_ids is not None:  # noqa: SIM102
        if not any(failure.means == "merged" for failure in failures):
            yield _no(
                ("record", "merged_ids"),
                "nothing tells of a merged record",
                "declare `states.merged`, or a failure that means it",
            )


def _budgets(value: Any, route: Route, known: Mapping[str, float]) -> Iterator[Mistake]:
    for here, request in requests(value, route):
        if request.budget and request.budget not in known:
            remedy = f"use one of: {', '.join(known)}" if known else "declare it under `limits.budgets`"
            yield Mistake((*here, "budget"), "config.bad-value", f"no budget is called {request.budget!r}", remedy)


def requests(value: Any, route: Route) -> Iterator[tuple[Route, Request]]:
    """Every request below a part of a declaration, with where it stands."""
    if isinstance(value, Request):
        yield route, value
    if isinstance(value, msgspec.Struct):
        for field in msgspec.structs.fields(type(value)):
            yield from requests(getattr(value, field.name), (*route, field.encode_name))
    elif isinstance(value, list):
        for at, member in enumerate(value):
            yield from requests(member, (*route, at))


def _webhook(part: WebhookPart) -> Iterator[Mistake]:
    signature, here = part.signature, ("webhook", "signature")
    signed = set(variables(signature.signs))
    if signature.scheme != "token" and "body" not in signed:
        yield _no((*here, "signs"), "a signature that does not cover the {body}", "name {body} in it")
    if "timestamp" in signed and part.timestamp is None:
        yield _no((*here, "signs"), "a {timestamp} that stands nowhere", "declare `webhook.timestamp`")
    if part.timestamp is not None and signature.scheme != "token" and "timestamp" not in signed:
        yield _no(
            ("webhook", "timestamp"),
            "a time that is not signed proves nothing",
            "name {timestamp} in `signs`, or remove it",
        )
    if not part.meanings:
        yield _no(("webhook", "meanings"), "no event means anything", "name the events")
