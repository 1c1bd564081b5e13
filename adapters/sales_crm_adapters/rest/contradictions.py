"""What in a declaration cannot be meant: parts that do not go together, or that lack what they stand on."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from sales_crm_adapters.rest.hooks import SECRET
from sales_crm_adapters.rest.list_faults import list_faults
from sales_crm_adapters.rest.notions import Request
from sales_crm_adapters.rest.paths import is_plain, path_of
from sales_crm_adapters.rest.structure import Mistake, Route, contradiction, members_of
from sales_crm_adapters.rest.templates import variables
from sales_crm_adapters.rest.write_faults import read_faults, write_faults

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from sales_crm_adapters.rest.about_records import RecordPart
    from sales_crm_adapters.rest.about_us import SignIn, WebhookPart
    from sales_crm_adapters.rest.options import Failure

SIGN_INS = ("token", "basic", "refresh_token", "client_credentials", "login")


def contradictions(parts: Mapping[str, Any], credentials: str, secrets: Collection[str] | None) -> Iterator[Mistake]:
    """The contradictions between those sections that are whole; ``credentials``: their kind ("" unknown).

    ``secrets``: the names of those that the connection has (None: not known).
    """
    if "sign_in" in parts:
        yield from _sign_in(parts["sign_in"], credentials)
    record = parts.get("record")
    if record is not None:
        yield from _record(record)
    if "lists" in parts:
        yield from list_faults(parts["lists"], record)
    if "read" in parts and record is not None:
        yield from read_faults(parts["read"], record)
    if "write" in parts:
        yield from write_faults(parts["write"], record, parts.get("read"))
    if "failures" in parts:
        yield from _failures(parts["failures"], record)
        yield from _meaningless(parts)
    if "limits" in parts:
        for name, section in parts.items():
            yield from _budgets(section, (name,), parts["limits"].budgets)
    if parts.get("webhook") is not None:
        yield from _webhook(parts["webhook"], secrets)


def _sign_in(part: SignIn, credentials: str) -> Iterator[Mistake]:
    given = [name for name in SIGN_INS if getattr(part, name) is not None]
    if len(given) != 1:
        said = "no way to sign in" if not given else f"{len(given)} ways to sign in"
        yield contradiction(("sign_in",), said, f"name exactly one of: {', '.join(SIGN_INS)}")
    elif credentials and credentials != given[0]:
        said = f"the credentials are of kind {credentials!r}, the sign-in is {given[0]!r}"
        yield contradiction(
            ("sign_in", given[0]), said, f"write `credentials: {{kind: {given[0]}, …}}`, or declare `{credentials}`"
        )


def _record(part: RecordPart) -> Iterator[Mistake]:
    if part.states.merged is not None and part.into is None:
        yield contradiction(
            ("record", "states", "merged"), "a merged record without `into`", "say where it names its survivor"
        )
    if part.key is not None and not is_plain(path_of(part.key)):
        yield contradiction(
            ("record", "key"), "our lead id cannot be written there", "name a place made of names alone"
        )
    prefix = path_of(part.fields)
    if not is_plain(prefix):
        yield contradiction(("record", "fields"), "fields cannot be written there", "name a place made of names alone")
    for name, option in part.options.items():
        if option.write is not None and not is_plain(path_of(option.write)):
            yield contradiction(
                ("record", "options", name, "write"), "nothing can be written there", "name a place made of names alone"
            )
        if option.write is not None and option.read_only:
            yield contradiction(
                ("record", "options", name, "write"), "a read-only field that is written", "remove one of the two"
            )


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
        elif any(other.when == when for other in failures[:at]):
            yield Mistake(
                here, "rest.unreachable", "an earlier rule is for the very same answers", "keep one of the two"
            )
        if not when.body and not when.header:
            if words and words <= {"200", "2xx"} and failure.means != "ok":
                said = "every good answer would be a failure"
                yield contradiction((*here, "when"), said, "say what its body or a header is like")
            whole |= words
        if failure.means == "merged" and failure.other is None:
            yield contradiction(here, "`merged` without `other`", "say where the survivor's id stands")
    if record is not None and record.states.merged is None and record.merged_ids is not None:  # noqa: SIM102
        if not any(failure.means == "merged" for failure in failures):
            yield contradiction(
                ("record", "merged_ids"),
                "nothing tells of a merged record",
                "declare `states.merged`, or a failure that means it",
            )


def _meaningless(parts: Mapping[str, Any]) -> Iterator[Mistake]:
    """Meanings of answers that can never come."""
    lists, write = parts.get("lists"), parts.get("write")
    listings = [lists.all, lists.changes, lists.removed] if lists is not None else []
    by = {listing.page.by for listing in listings if listing is not None}
    for at, failure in enumerate(parts["failures"]):
        here: Route = ("failures", at, "means")
        if failure.means == "expired" and by and not by & {"cursor", "link"}:
            said = "`expired` is for lists that are paged by cursor or link"
            yield contradiction(here, said, "say another meaning, or remove the rule")
        if failure.means == "bisect" and write is not None and write.batch is None:
            yield contradiction(here, "`bisect` is for batches", "say another meaning, or declare `write.batch`")


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
        for field in members_of(type(value)):
            yield from requests(getattr(value, field.name), (*route, field.encode_name))
    elif isinstance(value, list):
        for at, member in enumerate(value):
            yield from requests(member, (*route, at))


def _webhook(part: WebhookPart, secrets: Collection[str] | None) -> Iterator[Mistake]:
    if secrets is not None and SECRET not in secrets:
        said = f"deliveries that nobody can verify: the credentials have no {SECRET!r}"
        yield contradiction(("webhook",), said, f"add {SECRET!r} to the credentials, or remove the section")
    signature, here = part.signature, ("webhook", "signature")
    signed = set(variables(signature.signs))
    if signature.scheme != "token" and "body" not in signed:
        yield contradiction((*here, "signs"), "a signature that does not cover the {body}", "name {body} in it")
    if "timestamp" in signed and part.timestamp is None:
        yield contradiction((*here, "signs"), "a {timestamp} that stands nowhere", "declare `webhook.timestamp`")
    if part.timestamp is not None and signature.scheme != "token" and "timestamp" not in signed:
        yield contradiction(
            ("webhook", "timestamp"),
            "a time that is not signed proves nothing",
            "name {timestamp} in `signs`, or remove it",
        )
    if not part.meanings:
        yield contradiction(("webhook", "meanings"), "no event means anything", "name the events")
