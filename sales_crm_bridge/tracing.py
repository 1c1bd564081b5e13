"""Traces: which work was caused by which, from the intent over the calls to the CRM to the fact. W3C Trace Context.

A span is a value that is handed to a ``ports.SpanSink`` when it has ended. Its ids are drawn from the dice and its times from the
clock that are handed in, so an equal run makes equal spans. Where there is no sink, or the intent's own trace is not sampled,
nothing is recorded and the intent's context passes through unchanged.

What a span holds is in ``ATTRIBUTES``: ids and codes. No value of a lead, no address with a path, no secret ever stands in one.
"""

from __future__ import annotations

import enum
import hashlib
import re
from typing import TYPE_CHECKING

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    from sales_crm_bridge.ports import Clock, Dice, SpanSink

STATE_CHARS_MAX = 512
STATE_MEMBERS_MAX = 32
SAMPLED = 1

ATTRIBUTES: dict[str, str] = {
    "error.type": "the code of what went wrong",
    "http.request.method": "of a call",
    "http.request.resend_count": "which repetition of the call this request is",
    "http.response.status_code": "what the CRM answered",
    "messaging.message.conversation_id": "the intent's correlation id",
    "messaging.message.id": "the intent's message id",
    "sales.account": "tenant and connection",
    "sales.attempt": "which try of the write",
    "sales.crm": "the adapter's name",
    "sales.feed": "the walk that a page belongs to",
    "sales.operation": "what the command asks for",
    "sales.outcome": "done, refused, parked, pending or unknown",
    "sales.purpose": "the budget class of a call",
    "sales.read": "records of a page",
    "sales.tenant": "the tenant",
    "server.address": "the CRM's host",
}
"""Every attribute that a span can have, and what it says."""

_PARENT = re.compile(r"([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?", re.ASCII | re.DOTALL)
_MEMBER = re.compile(
    r"(?:[a-z][a-z0-9_*/-]{0,255}|[a-z0-9][a-z0-9_*/-]{0,240}@[a-z][a-z0-9_*/-]{0,13})"
    r"=[\x20-\x2b\x2d-\x3c\x3e-\x7e]{0,255}[\x21-\x2b\x2d-\x3c\x3e-\x7e]",
    re.ASCII,
)


class Context(msgspec.Struct, frozen=True, kw_only=True):
    """A place in a trace: 32 and 16 hexadecimal digits, W3C flags, and the other vendors' ``tracestate``."""

    trace_id: str
    span_id: str
    flags: int
    state: str = ""

    @property
    def sampled(self) -> bool:
        """Whether whoever began the trace records it."""
        return bool(self.flags & SAMPLED)

    @property
    def parent(self) -> str:
        """The value of ``traceparent``."""
        return f"00-{self.trace_id}-{self.span_id}-{self.flags:02x}"

    @property
    def headers(self) -> tuple[tuple[str, str], ...]:
        """The headers of a request that is made here."""
        return (("traceparent", self.parent), *((("tracestate", self.state),) if self.state else ()))


def parse(traceparent: str, tracestate: str = "") -> Context | None:
    """The context in the two texts; None if the first is none (https://www.w3.org/TR/trace-context-1/, 2026-10).

    A later version than 00 is read as far as 00 goes. A ``tracestate`` that breaks a rule is left out.
    """
    match = _PARENT.fullmatch(traceparent)
    if match is None or match[1] == "ff" or (match[1] == "00" and match[5] is not None):
        return None
    if not int(match[2], 16) or not int(match[3], 16):
        return None
    return Context(trace_id=match[2], span_id=match[3], flags=int(match[4], 16) & 0x03, state=_state(tracestate))


def _state(text: str) -> str:
    if not text or len(text) > STATE_CHARS_MAX:
        return ""
    members = [member for part in text.split(",") if (member := part.strip(" \t"))]
    names = {member.partition("=")[0] for member in members}
    if len(members) > STATE_MEMBERS_MAX or len(names) < len(members):
        return ""
    return ",".join(members) if all(_MEMBER.fullmatch(member) for member in members) else ""


class Kind(enum.StrEnum):
    """Which side of an exchange a span shows."""

    INTERNAL = "internal"
    CLIENT = "client"
    CONSUMER = "consumer"


class Span(msgspec.Struct, frozen=True, kw_only=True):
    """One piece of work that has ended. ``parent``: a span's id, "" for a root; ``fault``: a code, "" if all went well."""

    name: str
    kind: Kind
    context: Context
    parent: str
    begun_us: int
    ended_us: int
    attributes: dict[str, str | int]
    links: tuple[Context, ...]
    fault: str = ""


class Open:
    """A span under way; where nothing is recorded, just the context that passes through (None: there is none)."""

    __slots__ = ("_attributes", "_begun_us", "_kind", "_links", "_name", "_parent", "_tracer", "context")

    def __init__(
        self,
        context: Context | None,
        tracer: Tracer | None = None,
        name: str = "",
        kind: Kind = Kind.INTERNAL,
        parent: str = "",
        attributes: dict[str, str | int] | None = None,
        links: Sequence[Context] = (),
    ) -> None:
        self.context = context
        self._tracer = tracer
        self._name = name
        self._kind = kind
        self._parent = parent
        self._attributes = attributes or {}
        self._links = list(links)
        self._begun_us = tracer.now_us() if tracer is not None else 0

    @property
    def recorded(self) -> bool:
        """Whether the span will be handed on when it ends."""
        return self._tracer is not None

    @property
    def trace_id(self) -> str:
        """The trace's id, "" if there is none."""
        return self.context.trace_id if self.context is not None else ""

    def link(self, other: Context) -> None:
        """Say that this span belongs together with one of another trace."""
        self._links.append(other)

    def end(self, fault: str = "", attributes: Mapping[str, str | int] | None = None) -> None:
        """Hand the span on with what was found out meanwhile. A second call does nothing."""
        tracer, self._tracer = self._tracer, None
        if tracer is None:
            return
        assert self.context is not None
        tracer.ended(
            Span(
                name=self._name,
                kind=self._kind,
                context=self.context,
                parent=self._parent,
                begun_us=self._begun_us,
                ended_us=tracer.now_us(),
                attributes=self._attributes | dict(attributes or {}),
                links=tuple(self._links),
                fault=fault,
            )
        )


NOTHING = Open(None)
"""No span and no context."""


class Tracer:
    """Begins spans. ``sink`` None: nothing is recorded. ``ratio``: the share of the traces begun here that is recorded."""

    def __init__(self, clock: Clock, dice: Dice, sink: SpanSink | None = None, ratio: float = 1.0) -> None:
        self._clock = clock
        self._dice = dice
        self._sink = sink
        self._limit = round(ratio * 2**56)

    def now_us(self) -> int:
        """The clock's time."""
        return self._clock.now_us()

    def ended(self, span: Span) -> None:
        """Hand a span on."""
        if self._sink is not None:
            self._sink.ended(span)

    def root(self, name: str, attributes: dict[str, str | int], kind: Kind = Kind.INTERNAL) -> Open:
        """A span that nothing caused, in a trace of its own."""
        if self._sink is None:
            return NOTHING
        return self._begin(f"{self._dice.name()}{self._dice.name()}", name, kind, attributes)

    def of_intent(
        self, cause: Context | None, seed: str, name: str, attributes: dict[str, str | int], kind: Kind = Kind.CONSUMER
    ) -> Open:
        """A span that an intent caused. An intent without a trace gets one by ``seed``: the same for every try, in any process."""
        if self._sink is None or (cause is not None and not cause.sampled):
            return Open(cause)
        if cause is None:
            return self._begin(hashlib.blake2b(seed.encode(), digest_size=16).hexdigest(), name, kind, attributes)
        return self._child(cause, name, kind, attributes)

    def of(
        self, causes: Sequence[Open], name: str, attributes: dict[str, str | int], kind: Kind = Kind.INTERNAL
    ) -> Open:
        """A span for ``causes``: a child of one; of several, a trace of its own that is linked with each; of none, a root."""
        if not causes:
            return self.root(name, attributes, kind)
        recorded = [cause for cause in causes if cause.recorded]
        if self._sink is None or not recorded:
            return Open(causes[0].context if len(causes) == 1 else None)
        contexts = [cause.context for cause in recorded if cause.context is not None]
        if len(causes) == 1:
            return self._child(contexts[0], name, kind, attributes)
        context = self._place(f"{self._dice.name()}{self._dice.name()}")
        for cause in recorded:
            cause.link(context)
        return Open(context, self, name, kind, "", attributes, contexts)

    def _begin(self, trace_id: str, name: str, kind: Kind, attributes: dict[str, str | int]) -> Open:
        # The low 56 bits decide, as in OpenTelemetry's own sampling by ratio, so that every process decides the same way.
        if int(trace_id[-14:], 16) >= self._limit:
            return NOTHING
        return Open(self._place(trace_id), self, name, kind, "", attributes)

    def _child(self, cause: Context, name: str, kind: Kind, attributes: dict[str, str | int]) -> Open:
        context = msgspec.structs.replace(cause, span_id=self._dice.name())
        return Open(context, self, name, kind, cause.span_id, attributes)

    def _place(self, trace_id: str) -> Context:
        return Context(trace_id=trace_id, span_id=self._dice.name(), flags=SAMPLED)
