"""An envelope and its record on the wire: validation, CloudEvents headers, encoding, decoding.

CloudEvents 1.0, Kafka protocol binding, binary mode: the attributes are record headers, the value is the message's bytes.
The message keeps its ``meta`` too, and the two must agree. A record without headers is valid as long as its ``meta`` is.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING, Generic
from urllib.parse import quote

import msgspec
from google.protobuf.message import DecodeError
from google.protobuf.unknown_fields import UnknownFieldSet

from sales_crm_bridge.contract import times
from sales_crm_bridge.contract.descriptors import E, Envelope, Variant, envelope_of
from sales_crm_bridge.contract.wire import BadFraming, Framing, unframe
from sales_crm_bridge.errors import Bug

if TYPE_CHECKING:
    from collections.abc import Iterable, Sequence

    from google.protobuf.message import Message
    from google.protobuf.timestamp_pb2 import Timestamp

    from sales_crm_bridge.pb.sales_pb2 import SalesMessageMeta

CONTENT_TYPE = "application/protobuf"
SPEC_VERSION = "1.0"
_VARIANTS_FROM = 10
_VERSION = re.compile(r"(0|[1-9]\d*)\.(0|[1-9]\d*)\.(0|[1-9]\d*)(?:[-+][0-9A-Za-z.+-]+)?", re.ASCII)
_VERSION_CHARS_MAX = 64
TEXT_BYTES_MAX = 512
"""Bytes in UTF-8 of a required text. An index of a PostgreSQL ledger takes no key of more than 2,704 bytes, so one id that is
longer would hold up every intent behind it."""

_CHARACTER_BYTES_MAX = 4


def is_usable_id(text: str) -> bool:
    """Whether ``text`` can be an id, an aggregate's say, by the contract and in a ledger: not empty, no NUL, within the limit."""
    try:
        return bool(text) and "\0" not in text and len(text.encode()) <= TEXT_BYTES_MAX
    except UnicodeEncodeError:
        return False  # half of a surrogate pair


Headers = list[tuple[str, bytes]]


@dataclass(frozen=True, slots=True, kw_only=True)
class Violation:
    """One way in which a message breaks the contract. ``path``: the field or header; no text of it holds a value of the message."""

    path: str
    code: str
    message: str
    remedy: str

    def __str__(self) -> str:
        return f"{self.path}: {self.message}" if self.path else self.message


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """What stands in Kafka, but for the topic: ``key``, ``value`` and ``headers`` in a fixed order."""

    key: bytes
    value: bytes
    headers: Headers


class Received(msgspec.Struct, Generic[E], frozen=True, kw_only=True):
    """A valid message. ``variant`` None: a kind of event that a newer minor version added; pass it over.

    ``value``: its bytes without framing. ``occurred_us``: epoch microseconds.
    """

    envelope: E
    variant: Variant | None
    value: bytes
    occurred_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Unreadable:
    """A message that breaks the contract, with every violation found (at least one), and whose it seems to be ("" not known)."""

    violations: tuple[Violation, ...]
    tenant_id: str = ""
    aggregate_id: str = ""

    @property
    def code(self) -> str:
        """The first violation's code."""
        return self.violations[0].code

    @property
    def message(self) -> str:
        """All violations, in one line."""
        return "; ".join(map(str, self.violations))

    @property
    def remedy(self) -> str:
        """What to do about each, in one line."""
        return "; ".join(dict.fromkeys(violation.remedy for violation in self.violations))


def _meta(envelope: Message) -> SalesMessageMeta:
    meta: SalesMessageMeta = envelope.meta  # type: ignore[attr-defined]  # every envelope has one
    return meta


def _subject_id(rules: Envelope[Message], envelope: Message) -> str:
    name: str = getattr(envelope.subject, rules.subject_id)  # type: ignore[attr-defined]  # every envelope has one
    return name


# --- validation -------------------------------------------------------------------------------------------------------


def validate(envelope: Message) -> list[Violation]:
    """Every way in which an envelope breaks the contract, in the order of its fields; empty if it is valid."""
    return _validate(envelope_of(type(envelope)), envelope)


def _validate(rules: Envelope[E], envelope: E) -> list[Violation]:
    found = [] if _complete(rules, envelope) else _incomplete(rules, envelope)
    meta = _meta(envelope)
    if meta.HasField("occurred_at") and not times.is_valid(meta.occurred_at):
        found.append(
            Violation(
                path="meta.occurred_at",
                code="contract.bad-time",
                message="is no instant between the years 1 and 9999",
                remedy="set seconds, and nanos between 0 and 999,999,999",
            )
        )
    if meta.schema_version:
        found += _check_version(meta.schema_version, rules.major)
    if envelope.WhichOneof(rules.oneof) is None and not _newer_variant(envelope):
        found.append(
            Violation(
                path=rules.oneof,
                code="contract.no-variant",
                message="none of the variants is set",
                remedy=f"set one of the variants of {rules.message.DESCRIPTOR.name}",
            )
        )
    return found


def _complete(rules: Envelope[E], envelope: E) -> bool:
    """Whether every required field is there and fit, in one look; False also where only a closer one can tell."""
    texts = rules.texts(envelope)
    if not (all(texts) and all(rules.numbers(envelope))):
        return False
    if "\0" in "".join(texts) or max(map(len, texts), default=0) * _CHARACTER_BYTES_MAX > TEXT_BYTES_MAX:
        return False
    return all(inside(envelope).HasField(name) for inside, name in rules.parts)


def _incomplete(rules: Envelope[E], envelope: E) -> list[Violation]:
    """What is wrong with the required fields, one by one."""
    found = [
        Violation(path=path, code="contract.missing", message="is required and empty", remedy=f"set {path}")
        for path in rules.required_fields
        if not _present(envelope, path)
    ]
    texts = [(path, text) for path in rules.required_fields if isinstance(text := _at(envelope, path), str)]
    found += [
        _bad_text(path, "holds a NUL character", f"leave it out of {path}") for path, text in texts if "\0" in text
    ]
    found += [
        _bad_text(path, f"is longer than {TEXT_BYTES_MAX} bytes", f"shorten {path}")
        for path, text in texts
        if len(text.encode()) > TEXT_BYTES_MAX
    ]
    return found


def _bad_text(path: str, message: str, remedy: str) -> Violation:
    return Violation(path=path, code="contract.bad-text", message=message, remedy=remedy)


def _at(envelope: Message, path: str) -> object:
    value: object = envelope
    for step in path.split("."):
        value = getattr(value, step)
    return value


def _present(envelope: Message, path: str) -> bool:
    """Whether the field at ``path`` is set: a message is there, a text or number is not its default."""
    *parents, last = path.split(".")
    for parent in parents:
        envelope = getattr(envelope, parent)
    if envelope.DESCRIPTOR.fields_by_name[last].message_type is not None:
        return envelope.HasField(last)
    return bool(getattr(envelope, last))


@lru_cache(maxsize=64)
def _check_version(version: str, major: int) -> tuple[Violation, ...]:
    match = _VERSION.fullmatch(version) if len(version) <= _VERSION_CHARS_MAX else None
    if match is None:
        return (
            Violation(
                path="meta.schema_version",
                code="contract.bad-version",
                message="is no version MAJOR.MINOR.PATCH",
                remedy="set the version of the contract set that the producer was built with",
            ),
        )
    if match[1] != str(major):
        return (
            Violation(
                path="meta.schema_version",
                code="contract.wrong-major",
                message=f"is of major version {match[1][:8]}, not {major}",
                remedy=f"send version {major} of the message on this topic; another major has a topic of its own",
            ),
        )
    return ()


def _newer_variant(envelope: Message) -> bool:
    """Whether the message has a field, where variants stand, that this version of the contract does not know."""
    unknown = UnknownFieldSet(envelope)
    return any(unknown[at].field_number >= _VARIANTS_FROM for at in range(len(unknown)))


# --- out --------------------------------------------------------------------------------------------------------------


def record_of(envelope: Message, framing: Framing | None = None) -> Record:
    """An envelope's record, without a topic. Raises ``Bug`` for an envelope that breaks the contract, naming every violation."""
    rules = envelope_of(type(envelope))
    violations = _validate(rules, envelope)
    field = envelope.WhichOneof(rules.oneof)
    if violations or field is None:
        said = "; ".join(map(str, violations)) or "its variant is of a newer version"
        raise Bug("bug.contract", f"a {type(envelope).__name__} that breaks the contract: {said}")
    value = envelope.SerializeToString(deterministic=True)
    return Record(
        key=key_of(envelope),
        value=framing.wrap(rules.index, value) if framing else value,
        headers=headers_of(rules, envelope, rules.variants[field]),
    )


def key_of(envelope: Message) -> bytes:
    """The partition key: the key fields' values, joined with "/"."""
    parts = []
    for path in envelope_of(type(envelope)).partition_key_fields:
        parent, _, last = path.partition(".")
        parts.append(getattr(getattr(envelope, parent), last))
    return "/".join(parts).encode()


def headers_of(rules: Envelope[E], envelope: E, variant: Variant) -> Headers:
    """The record headers of a valid envelope."""
    meta = _meta(envelope)
    return [
        *constant_headers(
            rules,
            event_type=variant.event_type,
            producer=meta.producer,
            tenant_id=meta.tenant_id,
            correlation_id=meta.correlation_id,
            causation_id=meta.causation_id,
            traceparent=meta.traceparent,
            tracestate=meta.tracestate,
        ),
        ("ce_id", meta.message_id.encode()),
        ("ce_time", times.rfc3339(meta.occurred_at.seconds, meta.occurred_at.nanos).encode()),
        ("ce_subject", _subject_id(rules, envelope).encode()),
    ]


def constant_headers(
    rules: Envelope[E],
    *,
    event_type: str,
    producer: str,
    tenant_id: str,
    correlation_id: str,
    causation_id: str,
    traceparent: str,
    tracestate: str,
) -> Headers:
    """The headers that many messages of one step share; those of empty attributes are left out."""
    attributes = {
        "content-type": CONTENT_TYPE,
        "ce_specversion": SPEC_VERSION,
        "ce_source": f"/{quote(producer, safe='')}",
        "ce_type": event_type,
        "ce_dataschema": rules.data_schema,
        "ce_tenantid": tenant_id,
        "ce_correlationid": correlation_id,
        "ce_causationid": causation_id,
        "ce_traceparent": traceparent,
        "ce_tracestate": tracestate,
    }
    return [(name, value.encode()) for name, value in attributes.items() if value]


# --- in ---------------------------------------------------------------------------------------------------------------


def read(
    message: type[E], value: bytes, headers: Iterable[tuple[str, bytes | None]] = (), *, framed: bool = False
) -> Received[E] | Unreadable:
    """The message in a record, or every way in which the record breaks the contract. Raises nothing, whatever the bytes.

    ``message``: the class of the topic's envelope. ``framed``: records carry a schema registry's framing.
    """
    rules = envelope_of(message)
    if framed:
        try:
            value = unframe(rules.index, value)
        except BadFraming as fault:
            return Unreadable(violations=(_bad_framing(str(fault)),))
    try:
        envelope = message.FromString(value)
    except DecodeError:
        return Unreadable(violations=(_undecodable(rules, value),))
    violations = _validate(rules, envelope)
    field = envelope.WhichOneof(rules.oneof)
    variant = rules.variants[field] if field is not None else None
    violations += _compare(rules, envelope, variant, headers)
    meta = _meta(envelope)
    if violations:
        aggregate_id = _subject_id(rules, envelope)
        return Unreadable(violations=tuple(violations), tenant_id=meta.tenant_id, aggregate_id=aggregate_id)
    return Received(envelope=envelope, variant=variant, value=value, occurred_us=times.us_of(meta.occurred_at))


def _bad_framing(said: str) -> Violation:
    return Violation(
        path="value",
        code="contract.bad-framing",
        message=said,
        remedy="set the framing of this deployment as the producers write it, or mend the producer",
    )


def _undecodable(rules: Envelope[E], value: bytes) -> Violation:
    framed = value[:1] == b"\x00"
    return Violation(
        path="value",
        code="contract.unreadable",
        message=f"is no {rules.full_name}" + (" (it looks framed by a schema registry)" if framed else ""),
        remedy="switch the registry's framing on for this deployment" if framed else "mend the producer of this record",
    )


def _compare(
    rules: Envelope[E], envelope: E, variant: Variant | None, headers: Iterable[tuple[str, bytes | None]]
) -> list[Violation]:
    """The headers that say something else than the message; those that the contract does not name are passed over."""
    meta = _meta(envelope)
    wanted = {
        "ce_specversion": _SPEC_VERSION,
        "content-type": _CONTENT_TYPE,
        "ce_id": meta.message_id.encode(),
        "ce_subject": _subject_id(rules, envelope).encode(),
        "ce_tenantid": meta.tenant_id.encode(),
        "ce_correlationid": meta.correlation_id.encode(),
        "ce_causationid": meta.causation_id.encode(),
        "ce_traceparent": meta.traceparent.encode(),
        "ce_tracestate": meta.tracestate.encode(),
        "ce_time": _written(meta.occurred_at),
    }
    if variant is not None:
        wanted["ce_type"] = _encoded(variant.event_type)
    return [
        _disagreement(name)
        for name, raw in headers
        if name in wanted and raw != wanted[name] and not _means(name, raw, meta)
    ]


def _means(name: str, raw: bytes | None, meta: SalesMessageMeta) -> bool:
    """Whether a header that is not written as we write it says the same."""
    if name == "ce_time":
        text = _text(raw)
        stamp = meta.occurred_at
        return text is not None and times.parse_rfc3339(text) == (stamp.seconds, stamp.nanos)
    return name == "content-type" and _is_content_type(raw)


def _written(stamp: Timestamp) -> bytes:
    return times.rfc3339(stamp.seconds, stamp.nanos).encode() if times.is_valid(stamp) else b""


_encoded = lru_cache(maxsize=256)(str.encode)
_SPEC_VERSION = SPEC_VERSION.encode()
_CONTENT_TYPE = CONTENT_TYPE.encode()


def _is_content_type(raw: bytes | None) -> bool:
    text = _text(raw)
    return text is not None and text.partition(";")[0].strip().lower() == CONTENT_TYPE


def _text(raw: bytes | None) -> str | None:
    try:
        return raw.decode() if raw is not None else None
    except UnicodeDecodeError:
        return None


def _disagreement(name: str) -> Violation:
    said = {"content-type": f"is not {CONTENT_TYPE}", "ce_specversion": f"is not {SPEC_VERSION}"}
    return Violation(
        path=name,
        code="contract.header-mismatch",
        message=said.get(name, "says something else than the message"),
        remedy="make the producer take the headers from the message's meta and subject",
    )


def joined(violations: Sequence[Violation]) -> str:
    """The violations in one line."""
    return "; ".join(map(str, violations))
