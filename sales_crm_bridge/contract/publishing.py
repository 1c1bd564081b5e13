"""Facts: what goes out. A ``SalesIntegrationFact`` of this bridge, on its one topic, and nothing else.

Two doors stand in a row. The first makes a ``Publication`` (``publication``, or ``FactPage`` for many facts of one step); the
second, ``outgoing``, makes the record that the sink may send, and looks at the bytes anew. It lets through only bytes whose
variant is one of ``descriptors.OURS``. Their numbers are used by no other envelope, so the bytes of an intent, a domain fact
or a process fact can never pass. No function takes a topic.

The outbox keeps ``Publication.value``, which is the Kafka record's value byte for byte; key and headers are functions of it.
"""

from __future__ import annotations

from functools import lru_cache
from typing import TYPE_CHECKING

import msgspec
from google.protobuf.message import DecodeError

from sales_crm_bridge.contract import times
from sales_crm_bridge.contract.descriptors import INTEGRATION_FACTS, OURS, SCHEMA_VERSION
from sales_crm_bridge.contract.ids import fact_id
from sales_crm_bridge.contract.records import Headers, Record, constant_headers, joined, validate
from sales_crm_bridge.contract.wire import delimited, tag, text, timestamp, varint
from sales_crm_bridge.errors import Bug
from sales_crm_bridge.pb.integration_facts_pb2 import CrmLeadObserved, SalesIntegrationFact

if TYPE_CHECKING:
    from collections.abc import Sequence

    from google.protobuf.message import Message

    from sales_crm_bridge.contract.descriptors import Variant
    from sales_crm_bridge.contract.wire import Framing
    from sales_crm_bridge.pb.sales_pb2 import SalesMessageMeta

PRODUCER = "sales-crm-bridge"

_BY_MESSAGE: dict[type[Message], Variant] = {variant.message: variant for variant in OURS.values()}


class Publication(msgspec.Struct, frozen=True):
    """One fact on its way out: what the outbox keeps. ``value``: the serialised ``SalesIntegrationFact``."""

    message_id: str
    value: bytes


def publication(fact: SalesIntegrationFact) -> Publication:
    """A fact of this bridge, serialised. Raises ``Bug`` for anything else, and for a fact that breaks the contract."""
    if type(fact) is not SalesIntegrationFact:
        raise Bug(
            "bug.not-a-fact", f"a {type(fact).__name__} never leaves the bridge, only a SalesIntegrationFact does"
        )
    variant = OURS.get(fact.WhichOneof("fact") or "")
    violations = validate(fact)
    if variant is None or violations:
        raise Bug("bug.contract", joined(violations) or "another integration's fact never leaves the bridge")
    if fact.subject.aggregate_type != variant.aggregate_type:
        raise Bug("bug.contract", f"{variant.name} is about a {variant.aggregate_type}")
    return Publication(fact.meta.message_id, fact.SerializeToString(deterministic=True))


class FactPage:
    """Facts that share everything but their own id, subject, time and body: those of one page of a pull, or of one command.

    What they share is serialised once. A fact is then put together from parts, in the order in which protobuf writes the
    fields, so its bytes are those of ``publication`` on the same message (a property test holds the two together). Raises
    ``Bug`` for an empty required value.
    """

    def __init__(
        self,
        *,
        tenant_id: str,
        correlation_id: str,
        causation_id: str,
        producer: str = PRODUCER,
        traceparent: str = "",
        tracestate: str = "",
    ) -> None:
        if not (tenant_id and correlation_id and causation_id and producer):
            raise Bug("bug.contract", "a fact needs tenant, correlation, causation and producer")
        self.tenant_id = tenant_id
        self._ids = text(2, correlation_id) + text(3, causation_id)
        self._rest = b"".join(
            (
                text(5, producer),
                text(6, SCHEMA_VERSION),
                text(20, traceparent),
                text(21, tracestate),
                text(50, tenant_id),
            )
        )
        self._meta_size = 2 + _ID_SIZE + len(self._ids) + 2 + len(self._rest)

    def fact(self, aggregate_id: str, aggregate_version: int, occurred_us: int, body: Message) -> Publication:
        """A fact about ``aggregate_id``. ``body``: a message of one of our variants; ``aggregate_version`` ≥ 1."""
        variant = _BY_MESSAGE.get(type(body))
        if variant is None:
            raise Bug("bug.not-a-fact", f"a {type(body).__name__} is no fact of this bridge")
        return self.put(
            variant, aggregate_id, aggregate_version, occurred_us, body.SerializeToString(deterministic=True)
        )

    def put(
        self, variant: Variant, aggregate_id: str, aggregate_version: int, occurred_us: int, body: bytes
    ) -> Publication:
        """The same with the body serialised already, deterministically, as ``variant.message``."""
        return self.assemble(variant, aggregate_id, aggregate_version, timestamp(occurred_us), body)

    def assemble(
        self, variant: Variant, aggregate_id: str, aggregate_version: int, time: bytes, body: bytes
    ) -> Publication:
        """The same with the time serialised too, as ``wire.timestamp`` does."""
        if not aggregate_id or aggregate_version < 1 or variant.message not in _SUBJECTS:
            raise Bug("bug.contract", "a fact needs a variant of ours, an aggregate's id and a version from 1")
        message_id = fact_id(
            self.tenant_id, variant.aggregate_type, aggregate_id, aggregate_version, variant.event_type
        )
        name = aggregate_id.encode()
        kind = _SUBJECTS[variant.message]
        size = varint(len(name))
        version = varint(aggregate_version)
        value = b"".join(
            (
                b"\x0a",
                varint(self._meta_size + len(time)),
                _ID_HEAD,
                message_id.encode(),
                self._ids,
                b"\x22",
                _ONE[len(time)],
                time,
                self._rest,
                b"\x12",
                varint(len(kind) + 2 + len(size) + len(name) + len(version)),
                kind,
                b"\x12",
                size,
                name,
                b"\x18",
                version,
                _TAGS[variant.number],
                varint(len(body)),
                body,
            )
        )
        return Publication(message_id, value)


_ID_SIZE = 32
_ID_HEAD = b"\x0a" + varint(_ID_SIZE)
_ONE = [bytes((number,)) for number in range(32)]
_TAGS = {variant.number: tag(variant.number) for variant in OURS.values()}
_SUBJECTS = {variant.message: text(1, variant.aggregate_type) for variant in OURS.values()}
_OBSERVED = _BY_MESSAGE[CrmLeadObserved]


class ObservedPage:
    """The hot path of a pull: ``CrmLeadObserved`` for the leads of one page of one connection, from serialised snapshots."""

    def __init__(
        self, page: FactPage, *, crm: str, connection: str, account: str, record_type: str, observed_us: int
    ) -> None:
        self._page = page
        self._observed = timestamp(observed_us)
        self._observed_at = delimited(5, self._observed)
        self._changed: Sequence[str] = ()
        self._names = b""
        self._record = text(1, crm) + text(2, connection) + text(3, account) + text(4, record_type)

    def _named(self, changed: Sequence[str]) -> bytes:
        """The names of the changed fields; most leads of a page have the very same ones."""
        if changed is not self._changed:
            self._changed, self._names = changed, _names(tuple(changed))
        return self._names

    def observed(
        self,
        lead_id: str,
        aggregate_version: int,
        *,
        change: int,
        snapshot: bytes,
        changed: Sequence[str],
        record_id: str,
        version: str = "",
        modified_us: int = 0,
        url: str = "",
        parts: Sequence[tuple[str, str]] = (),
        occurred_us: int = 0,
    ) -> Publication:
        """One lead.

        ``change``: a ``CrmChangeKind``, not unspecified; ``record_id``: not empty; ``snapshot``: the ``Lead``, serialised
        deterministically. ``modified_us`` 0: not known. ``occurred_us`` 0: the record's modified time, or else the time of
        observation. Raises ``Bug`` for what a fact cannot lack.
        """
        if not change or not record_id:
            raise Bug("bug.contract", "an observed lead needs a kind of change and a record")
        record = record_id.encode()
        modified = timestamp(modified_us) if modified_us else b""
        external = b"".join(
            (
                self._record,
                b"\x2a",
                varint(len(record)),
                record,
                _short(b"\x32", version) if version else b"",
                b"\x3a" + _ONE[len(modified)] + modified if modified_us else b"",
                _short(b"\x42", url) if url else b"",
                _parts(parts) if parts else b"",
            )
        )
        body = b"".join(
            (
                b"\x08",
                _ONE[change],
                b"\x12",
                varint(len(snapshot)),
                snapshot,
                self._named(changed),
                b"\x22",
                varint(len(external)),
                external,
                self._observed_at,
            )
        )
        time = timestamp(occurred_us) if occurred_us else modified or self._observed
        return self._page.assemble(_OBSERVED, lead_id, aggregate_version, time, body)


def _short(head: bytes, value: str) -> bytes:
    """A text field whose tag is ``head``."""
    told = value.encode()
    return head + varint(len(told)) + told


def _parts(parts: Sequence[tuple[str, str]]) -> bytes:
    return b"".join(delimited(9, text(1, kind) + text(2, name)) for kind, name in parts)


@lru_cache(maxsize=4096)
def _names(changed: tuple[str, ...]) -> bytes:
    return b"".join(delimited(3, name.encode()) for name in changed)


# --- the last door ----------------------------------------------------------------------------------------------------


def outgoing(value: bytes, framing: Framing | None = None) -> Record:
    """The record to send for a row of the outbox. Raises ``Bug`` if its bytes are not a fact of this bridge."""
    fact, meta, variant = _fact_of(value)
    when = meta.occurred_at
    aggregate_id = fact.subject.aggregate_id
    headers = _constants(
        variant.event_type,
        meta.producer,
        meta.tenant_id,
        meta.correlation_id,
        meta.causation_id,
        meta.traceparent,
        meta.tracestate,
    )
    return Record(
        key=f"{meta.tenant_id}/{aggregate_id}".encode(),
        value=framing.wrap(INTEGRATION_FACTS.index, value) if framing else value,
        headers=[
            *headers,
            ("ce_id", meta.message_id.encode()),
            ("ce_time", times.rfc3339(when.seconds, when.nanos).encode()),
            ("ce_subject", aggregate_id.encode()),
        ],
    )


def key_of(value: bytes) -> bytes:
    """The record key of a row of the outbox. Raises ``Bug`` if its bytes are not a fact of this bridge."""
    fact, meta, _ = _fact_of(value)
    return f"{meta.tenant_id}/{fact.subject.aggregate_id}".encode()


def _fact_of(value: bytes) -> tuple[SalesIntegrationFact, SalesMessageMeta, Variant]:
    try:
        fact = SalesIntegrationFact.FromString(value)
    except DecodeError:
        raise Bug("bug.not-a-fact", "a row of the outbox is no SalesIntegrationFact") from None
    variant = OURS.get(fact.WhichOneof("fact") or "")
    if variant is None:
        raise Bug("bug.not-a-fact", "a row of the outbox is no fact of this bridge")
    return fact, fact.meta, variant


@lru_cache(maxsize=256)
def _constants(
    event_type: str,
    producer: str,
    tenant_id: str,
    correlation_id: str,
    causation_id: str,
    traceparent: str,
    tracestate: str,
) -> Headers:
    return constant_headers(
        INTEGRATION_FACTS,
        event_type=event_type,
        producer=producer,
        tenant_id=tenant_id,
        correlation_id=correlation_id,
        causation_id=causation_id,
        traceparent=traceparent,
        tracestate=tracestate,
    )
