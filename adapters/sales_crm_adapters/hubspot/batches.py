"""Batch writes: what is sent, and which answer belongs to which write."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, NamedTuple

import msgspec

from sales_crm_adapters.hubspot.wire import (
    BATCH,
    BatchAnswer,
    Failure,
    Row,
    failure_of,
    parsed,
    row_of,
    text_of,
    time_us,
    traces_of,
)
from sales_crm_bridge.model import (
    Category,
    Deferred,
    Effect,
    HttpCall,
    HttpReply,
    NoReply,
    Outcome,
    Rejected,
    Reply,
    Scalar,
    Unknown,
)
from sales_crm_bridge.ports import Talk

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sales_crm_adapters.hubspot.options import Paths

BATCH_MAX = 100
BISECT = "bisect"
AGAIN_AFTER_US = 2_000_000
DRIFTED = frozenset({"PROPERTY_DOESNT_EXIST", "INVALID_OPTION"})
"""Codes that speak of the property, not of the value (recorded, October 2024)."""

_encode = msgspec.json.Encoder().encode


class Shown(NamedTuple):
    """A record as an answer shows it: its bytes, its row, and whether the write made it."""

    data: bytes
    row: Row
    new: bool


Told = Shown | Failure | Deferred | Unknown
"""What an answer says of one input."""


class Input(NamedTuple):
    """One member of a batch. ``name``: the record's id, or its value of the property ``by``; ``links``: for a create."""

    trace: str
    name: str
    properties: Mapping[str, Scalar]
    by: str = ""
    links: Sequence[Mapping[str, Any]] = ()

    def wire(self) -> dict[str, Any]:
        """As HubSpot takes it."""
        told: dict[str, Any] = {
            "objectWriteTraceId": self.trace,
            "properties": {name: text_of(value) for name, value in self.properties.items()},
        }
        if self.name:
            told["id"] = self.name
        if self.by:
            told["idProperty"] = self.by
        if self.links:
            told["associations"] = list(self.links)
        return told


def batch_call(paths: Paths, kind: str, verb: str, inputs: Sequence[Input]) -> HttpCall:
    """One batch write; a trace id in every input makes HubSpot answer per input (207), not for the whole."""
    return HttpCall(
        method="POST",
        path=paths.objects(kind, f"/batch/{verb}"),
        effect=Effect.WRITE,
        body=_encode({"inputs": [one.wire() for one in inputs]}),
    )


def send(paths: Paths, kind: str, verb: str, inputs: Sequence[Input]) -> Talk[dict[str, Told]]:
    """Write a batch and tell of every input, by trace; no inputs make no call."""
    if not inputs:
        return {}
    (reply,) = yield (batch_call(paths, kind, verb, inputs),)
    return told_of(reply, inputs)


def told_of(reply: Reply, inputs: Sequence[Input]) -> dict[str, Told]:
    """What an answer says of every input. Never by position: HubSpot promises no order."""
    match reply:
        case NoReply(sent=False, reason=reason, retry_at_us=when):
            return {one.trace: Deferred(not_before_us=when, reason=reason) for one in inputs}
        case NoReply(reason=reason):
            return {one.trace: Unknown(reason=reason) for one in inputs}
        case HttpReply(status=(401 | 423 | 429 | 477) as status):
            later = Deferred(not_before_us=reply.answered_us + AGAIN_AFTER_US, reason=f"http-{status}")
            return {one.trace: later for one in inputs}
        case HttpReply(status=status) if 400 <= status < 500 and status != 408:  # noqa: PLR2004
            if len(inputs) > 1:
                return {one.trace: Deferred(not_before_us=0, reason=BISECT) for one in inputs}
            return {inputs[0].trace: failure_of(status, parsed(reply.body))}
        case HttpReply(status=(200 | 201 | 207)):
            return _by_trace(reply, inputs)
        case _:
            return {one.trace: Unknown(reason=f"http-{reply.status}") for one in inputs}


def _by_trace(reply: HttpReply, inputs: Sequence[Input]) -> dict[str, Told]:
    """Match results and errors to inputs one to one; what is missing, or told twice, is ``Unknown``."""
    try:
        answer = BATCH.decode(reply.body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        answer = BatchAnswer()
    told: dict[str, list[Told]] = {one.trace: [] for one in inputs}
    named = _named(inputs)
    for raw in answer.results:
        shown = _shown(bytes(raw))
        if shown is not None:
            for trace in _answered(shown.row, named):
                if trace in told:
                    told[trace].append(shown)
    for error in answer.errors:
        for trace in traces_of(error):
            if trace in told:
                told[trace].append(_failed(reply, error))
    return {trace: found[0] if len(found) == 1 else Unknown(reason="not-in-answer") for trace, found in told.items()}


def _failed(reply: HttpReply, error: dict[str, Any]) -> Told:
    """One of a 207's errors; what a whole answer says with its status, a member says with its category alone."""
    failure = failure_of(reply.status, error)
    if failure.category in ("LOCKED", "RATE_LIMIT", "RATE_LIMITS"):
        return Deferred(not_before_us=reply.answered_us + AGAIN_AFTER_US, reason=failure.category.lower())
    if failure.category in ("INTERNAL_ERROR", "SERVER_ERROR", "SERVICE_UNAVAILABLE", "TIMEOUT"):
        return Unknown(reason=failure.category.lower())
    return failure


def _shown(data: bytes) -> Shown | None:
    try:
        row = row_of(data)
        time_us(row.updated_at)
        if row.created_at:
            time_us(row.created_at)
    except (msgspec.MsgspecError, ValueError):
        return None
    return Shown(data, row, row.new is True)


def _named(inputs: Sequence[Input]) -> dict[str, dict[str, list[str]]]:
    """Of inputs that name a record: the property by which they do ("" its id) → its value → the inputs' traces."""
    found: dict[str, dict[str, list[str]]] = {}
    for one in inputs:
        if one.name:
            found.setdefault(one.by, {}).setdefault(one.name, []).append(one.trace)
    return found


def _answered(row: Row, named: Mapping[str, Mapping[str, Sequence[str]]]) -> list[str]:
    """The inputs whose result it is: by its trace id or, where it has none, by what the inputs named."""
    if row.object_write_trace_id is not None:
        return [row.object_write_trace_id]
    return [
        trace
        for by, traces in named.items()
        for trace in traces.get((row.properties.get(by) if by else row.id) or "", ())
    ]


def refused(failure: Failure, prefix: str = "", *, other_id: str = "") -> Rejected:
    """A failure as an outcome; ``prefix`` is put before the names of its fields."""
    match failure.status:
        case _ if failure.conflict:
            category = Category.DUPLICATE
        case _ if failure.absent:
            category = Category.REMOVED
        case 403:
            category = Category.PERMISSION
        case _:
            category = Category.PERMISSION if failure.category == "MISSING_SCOPES" else Category.VALIDATION
    return Rejected(
        category=category,
        code=failure.code,
        fields=tuple(prefix + name for name in failure.fields),
        other_id=other_id,
        drift=failure.code in DRIFTED,
    )


def outcome_of(told: Deferred | Unknown | Failure, prefix: str = "") -> Outcome:
    """What an answer that shows no record means for the write."""
    return refused(told, prefix) if isinstance(told, Failure) else told
