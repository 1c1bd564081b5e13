"""Messages of the contract, drawn from their descriptors: every field may be there or not, with any value it can hold."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from google.protobuf.descriptor import FieldDescriptor
from google.protobuf.message_factory import GetMessageClass
from hypothesis import strategies as st

from sales_crm_bridge import contract
from sales_crm_bridge.contract.times import SECONDS_MAX, SECONDS_MIN

if TYPE_CHECKING:
    from google.protobuf.message import Message

TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), max_size=12)
SOME_TEXT = st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1, max_size=12)
INT32 = st.integers(-(2**31), 2**31 - 1)
INT64 = st.integers(-(2**63), 2**63 - 1)
VERSIONS = st.builds("1.{}.{}".format, st.integers(0, 99), st.integers(0, 99))
DEPTH_MAX = 3

VARIANTS = [(rules, variant) for rules in contract.ENVELOPES for variant in rules.variants.values()]
OURS = [(rules, variant) for rules, variant in VARIANTS if contract.OURS.get(variant.field) is variant]
FOREIGN = [pair for pair in VARIANTS if pair not in OURS]


def name_of(pair: object) -> str:
    """The name of a case in the test's report."""
    return pair[1].name if isinstance(pair, tuple) else str(pair)


_SCALARS: dict[int, st.SearchStrategy[Any]] = {
    FieldDescriptor.TYPE_STRING: TEXT,
    FieldDescriptor.TYPE_BOOL: st.booleans(),
    FieldDescriptor.TYPE_INT32: INT32,
    FieldDescriptor.TYPE_INT64: INT64,
}


def _value(field: Any, depth: int) -> st.SearchStrategy[Any]:
    if field.type == FieldDescriptor.TYPE_ENUM:
        known = st.sampled_from(sorted(field.enum_type.values_by_number))
        return st.one_of(known, st.integers(0, 2**31 - 1))  # proto3 enums are open
    if field.type == FieldDescriptor.TYPE_MESSAGE:
        return messages(GetMessageClass(field.message_type), depth + 1)
    return _SCALARS[field.type]


@st.composite
def messages(draw: st.DrawFn, message: type[Message], depth: int = 0) -> Any:
    """Any message of this class (a timestamp: any that the type allows)."""
    made: Any = message()
    field: Any
    for field in message.DESCRIPTOR.fields:
        if depth > DEPTH_MAX or not draw(st.booleans()):
            continue
        if field.message_type is not None and field.message_type.GetOptions().map_entry:
            getattr(made, field.name).update(draw(st.dictionaries(TEXT, TEXT, max_size=3)))
        elif field.is_repeated:
            getattr(made, field.name).extend(draw(st.lists(_value(field, depth), max_size=3)))
        elif field.message_type is not None:
            getattr(made, field.name).CopyFrom(draw(_value(field, depth)))
            getattr(made, field.name).SetInParent()
        else:
            setattr(made, field.name, draw(_value(field, depth)))
    if message.DESCRIPTOR.full_name == "google.protobuf.Timestamp":
        made.seconds = draw(st.integers(SECONDS_MIN, SECONDS_MAX))
        made.nanos = draw(st.integers(0, 999_999_999))
    return made


@st.composite
def envelopes(draw: st.DrawFn, rules: contract.Envelope[Any], variant: contract.Variant) -> Any:
    """Any valid envelope with this variant."""
    made = rules.message()
    for name in ("message_id", "correlation_id", "causation_id", "producer", "tenant_id"):
        setattr(made.meta, name, draw(SOME_TEXT))
    made.meta.traceparent, made.meta.tracestate = draw(TEXT), draw(TEXT)
    made.meta.schema_version = draw(VERSIONS)
    made.meta.occurred_at.seconds = draw(st.integers(SECONDS_MIN, SECONDS_MAX))
    made.meta.occurred_at.nanos = draw(st.integers(0, 999_999_999))
    for field in made.subject.DESCRIPTOR.fields:
        value = draw(SOME_TEXT if field.type == FieldDescriptor.TYPE_STRING else st.integers(1, 2**63 - 1))
        setattr(made.subject, field.name, value)
    if variant.aggregate_type:
        made.subject.aggregate_type = variant.aggregate_type
    place = getattr(made, variant.field)
    place.CopyFrom(draw(messages(variant.message)))
    place.SetInParent()
    return made


@st.composite
def any_envelope(draw: st.DrawFn) -> Any:
    """Any valid envelope of any topic."""
    rules, variant = draw(st.sampled_from(VARIANTS))
    return draw(envelopes(rules, variant))


HEADERS = st.lists(
    st.tuples(
        st.sampled_from(["ce_id", "ce_time", "ce_type", "content-type", "ce_tenantid", "ce_subject", "x"]) | TEXT,
        st.none() | st.binary(max_size=40) | TEXT.map(str.encode),
    ),
    max_size=6,
)
