"""What the contract says of itself: topics, keys, ids, required fields and event types, read from the messages' options.

Nothing of this is written a second time in Python. ``GetOptions()`` answers in a class of protobuf's default pool, which
knows none of our extensions; so its bytes are read once more with the private pool's class.
"""

from __future__ import annotations

from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any, Generic, TypeVar, cast

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message_factory import GetMessageClass

from sales_crm_bridge.errors import Bug
from sales_crm_bridge.pb import (
    POOL,
    eventing_pb2,
    facts_pb2,
    integration_facts_pb2,
    intents_pb2,
    opportunity_pb2,
    process_facts_pb2,
    sales_pb2,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Iterable

    from google.protobuf.descriptor import Descriptor, FileDescriptor
    from google.protobuf.descriptor_pb2 import FileOptions, MessageOptions
    from google.protobuf.message import Message

E = TypeVar("E", bound="Message")
E_co = TypeVar("E_co", bound="Message", covariant=True)

FIRST_OF_OURS = 100
"""Variants of integration facts from this number on are this bridge's; those below belong to other integrations."""

_MessageOptions = GetMessageClass(POOL.FindMessageTypeByName("google.protobuf.MessageOptions"))
_FileOptions = GetMessageClass(POOL.FindMessageTypeByName("google.protobuf.FileOptions"))


def _message_options(descriptor: Descriptor) -> MessageOptions:
    # Of the same shape as the public class, which alone has a stub.
    return cast("MessageOptions", _MessageOptions.FromString(descriptor.GetOptions().SerializeToString()))


def eventing_of(descriptor: Descriptor) -> eventing_pb2.EventingOptions:
    """The eventing options of an envelope's descriptor; empty if it has none."""
    return _message_options(descriptor).Extensions[eventing_pb2.eventing]


def event_of(descriptor: Descriptor) -> eventing_pb2.EventOptions:
    """The event options of a variant's descriptor; empty if it has none."""
    return _message_options(descriptor).Extensions[eventing_pb2.event]


def version_of(file: FileDescriptor) -> str:
    """The version of the contract set that a file declares; empty if it declares none."""
    options = cast("FileOptions", _FileOptions.FromString(file.GetOptions().SerializeToString()))
    return options.Extensions[eventing_pb2.contract_version]


@dataclass(frozen=True, slots=True, kw_only=True)
class Variant:
    """One kind of event in an envelope.

    ``name``: the message's name (``CrmLeadObserved``); ``field``: its place in the envelope (``crm_lead_observed``), of that
    ``number``; ``aggregate_type`` "" where the subject is a process.
    """

    name: str
    field: str
    number: int
    event_type: str
    aggregate_type: str
    message: type[Message]


@dataclass(frozen=True, slots=True, kw_only=True)
class Envelope(Generic[E_co]):
    """One envelope message and what its options say. ``variants``: by field name, in the order of their numbers.

    ``oneof``: the name of the group of variants; ``index``: the message's place in its file (a schema registry's framing names
    it); ``subject_id``: the subject's field that identifies it; ``data_schema``: the CloudEvents ``dataschema``.

    Of the required fields: ``texts`` and ``numbers`` read them at once, ``parts`` are the messages among them, each as what it is
    in and its name.
    """

    message: type[E_co]
    topic: str
    schema_subject: str
    partition_key_fields: tuple[str, ...]
    idempotency_key_field: str
    required_fields: tuple[str, ...]
    oneof: str
    variants: dict[str, Variant]
    index: int
    subject_id: str
    data_schema: str
    major: int
    texts: Callable[[Message], tuple[str, ...]]
    numbers: Callable[[Message], tuple[int, ...]]
    parts: tuple[tuple[Callable[[Message], Message], str], ...]

    @property
    def full_name(self) -> str:
        """The message's name with its package."""
        name: str = self.message.DESCRIPTOR.full_name
        return name


def _envelope(message: type[E]) -> Envelope[E]:
    descriptor = cast("Descriptor", message.DESCRIPTOR)
    options = eventing_of(descriptor)
    (oneof,) = descriptor.oneofs
    required = [(path, _field_at(descriptor, path)) for path in options.required_fields]
    variants = {}
    for field in sorted(cast("list[FieldDescriptor]", oneof.fields), key=lambda field: field.number):
        kind = cast("Descriptor", field.message_type)
        event = event_of(kind)
        variants[field.name] = Variant(
            name=kind.name,
            field=field.name,
            number=field.number,
            event_type=event.type,
            aggregate_type=event.aggregate_type,
            message=GetMessageClass(kind),
        )
    return Envelope(
        message=message,
        topic=options.topic,
        schema_subject=options.schema_subject,
        partition_key_fields=tuple(options.partition_key_fields),
        idempotency_key_field=options.idempotency_key_field,
        required_fields=tuple(options.required_fields),
        oneof=oneof.name,
        variants=variants,
        index=list(descriptor.file.message_types_by_name).index(descriptor.name),
        subject_id=options.partition_key_fields[-1].removeprefix("subject."),
        data_schema=f"urn:ameide:proto:{descriptor.full_name}",
        major=int(descriptor.file.package.rpartition(".v")[2]),
        texts=_together(path for path, field in required if field.type == FieldDescriptor.TYPE_STRING),
        numbers=_together(
            path
            for path, field in required
            if field.type not in (FieldDescriptor.TYPE_STRING, FieldDescriptor.TYPE_MESSAGE)
        ),
        parts=tuple(
            (_inside(path), field.name) for path, field in required if field.type == FieldDescriptor.TYPE_MESSAGE
        ),
    )


def _field_at(descriptor: Descriptor, path: str) -> FieldDescriptor:
    field: FieldDescriptor | None = None
    for name in path.split("."):
        field = descriptor.fields_by_name[name]
        descriptor = cast("Descriptor", field.message_type)
    assert field is not None
    return field


def _together(paths: Iterable[str]) -> Callable[[Message], tuple[Any, ...]]:
    """The values at these paths, read at once."""
    names = tuple(paths)
    if not names:
        return lambda _: ()
    get = attrgetter(*names)
    return get if len(names) > 1 else lambda message: (get(message),)


def _inside(path: str) -> Callable[[Message], Message]:
    """The message that the field at ``path`` is in."""
    parent = path.rpartition(".")[0]
    return attrgetter(parent) if parent else lambda message: message


INTENTS = _envelope(intents_pb2.SalesDomainIntent)
DOMAIN_FACTS = _envelope(facts_pb2.SalesDomainFact)
PROCESS_FACTS = _envelope(process_facts_pb2.SalesProcessFact)
INTEGRATION_FACTS = _envelope(integration_facts_pb2.SalesIntegrationFact)

ENVELOPES: tuple[Envelope[Message], ...] = (INTENTS, DOMAIN_FACTS, PROCESS_FACTS, INTEGRATION_FACTS)

INTENT_TOPIC = INTENTS.topic
FACT_TOPIC = INTEGRATION_FACTS.topic
SCHEMA_VERSION = version_of(sales_pb2.DESCRIPTOR)

OURS: dict[str, Variant] = {
    field: variant for field, variant in INTEGRATION_FACTS.variants.items() if variant.number >= FIRST_OF_OURS
}
"""The only variants that ever leave the bridge, by field name."""

LEAD_FIELDS: tuple[str, ...] = tuple(opportunity_pb2.Lead.DESCRIPTOR.fields_by_name)
"""The names of a lead's fields, in the order of their text."""

REVISABLE: frozenset[str] = frozenset(LEAD_FIELDS) - {"lead_id", "status"}
"""What a ReviseLeadRequested may name; a single custom attribute is named ``custom_attributes.<name>``."""


def envelope_of(message: type[E]) -> Envelope[E]:
    """What the options of this envelope's class say. Raises ``Bug`` for a class that is none of the four envelopes."""
    for envelope in ENVELOPES:
        if envelope.message is message:
            return envelope  # type: ignore[return-value]  # the identity above is the proof
    raise Bug("bug.no-envelope", f"{message.__name__} is no envelope of the contract")
