"""The small parts: varints, timestamps, times as text, derived ids. Each is held against the library that defines it."""

import uuid
from datetime import UTC, datetime, timedelta

import pytest
from google.protobuf.timestamp_pb2 import Timestamp
from google.protobuf.wrappers_pb2 import UInt64Value
from hypothesis import example, given
from hypothesis import strategies as st

from sales_crm_bridge import contract
from sales_crm_bridge.contract import wire
from sales_crm_bridge.contract.times import SECONDS_MAX, SECONDS_MIN, parse_rfc3339, rfc3339
from tests.wire.strategies import TEXT

INSTANTS_US = st.integers(SECONDS_MIN * 1_000_000, SECONDS_MAX * 1_000_000 + 999_999)


@given(number=st.integers(1, 2**64 - 1) | st.sampled_from([1, 127, 128, 16383, 16384, 2**32, 2**64 - 1]))
def test_a_varint_is_protobufs(number: int) -> None:
    """Every number is written as protobuf writes it."""
    assert b"\x08" + wire.varint(number) == UInt64Value(value=number).SerializeToString()


@given(us=INSTANTS_US | st.integers(0, 2 * 10**12).map(lambda milli: milli * 1000))
@example(us=0)
@example(us=-1)
@example(us=(1 << 28) * 1_000_000)
@example(us=((1 << 28) - 1) * 1_000_000)
@example(us=(1 << 35) * 1_000_000)
def test_a_timestamp_is_protobufs(us: int) -> None:
    """Every instant is written as protobuf writes it, before 1970 too."""
    there = Timestamp()
    contract.set_time(there, us)
    assert wire.timestamp(us) == there.SerializeToString()
    assert contract.us_of(there) == us
    assert there == Timestamp(seconds=us // 1_000_000, nanos=us % 1_000_000 * 1000)


@given(seconds=st.integers(SECONDS_MIN, SECONDS_MAX), nanos=st.integers(0, 999_999_999))
def test_a_time_as_text_comes_back(seconds: int, nanos: int) -> None:
    """Text and instant are two forms of one thing."""
    assert parse_rfc3339(rfc3339(seconds, nanos)) == (seconds, nanos)


@given(us=INSTANTS_US)
def test_a_time_as_text_is_what_protobuf_says(us: int) -> None:
    """The text is the one that protobuf's own JSON form has."""
    there = Timestamp(seconds=us // 1_000_000, nanos=us % 1_000_000 * 1000)
    assert rfc3339(there.seconds, there.nanos) == there.ToJsonString()


@given(
    text=st.text(max_size=40)
    | st.from_regex(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d{1,12})?(Z|[+-]\d\d:\d\d)", fullmatch=True)
)
def test_any_text_is_an_instant_or_none(text: str) -> None:
    """Parsing a time never raises, and agrees with Python where both can read it."""
    parsed = parse_rfc3339(text)
    if parsed is not None:
        moment = datetime.fromisoformat(text.upper())
        assert parsed[0] == (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)


def test_ids_never_change() -> None:
    """Facts already published carry these ids: another derivation would double every one of them."""
    assert contract.fact_id("acme", "Lead", "lead-1", 7, "io.ameide.sales.fact.crm_lead_observed.v1") == (
        "cb156613b31d9f340c11a33aa7409267"
    )
    assert contract.lead_id_for("acme", "12345", "987") == "74916ffc-6c43-8da2-8ef0-95d93bfb61c4"


FACT_PARTS = st.tuples(TEXT, TEXT, TEXT, st.integers(1, 2**63 - 1), TEXT)


@given(one=FACT_PARTS, other=FACT_PARTS)
@example(one=("a", "bc", "d", 1, "e"), other=("ab", "c", "d", 1, "e"))
@example(one=("a", "b", "1:c", 1, "e"), other=("a", "b", "c", 11, "e"))
@example(one=("a", "b", "c", 1, "d"), other=("a", "bd", "c", 1, ""))
def test_equal_ids_mean_equal_facts(one: tuple[str, str, str, int, str], other: tuple[str, str, str, int, str]) -> None:
    """An id stands for tenant, aggregate, version and type together: no other cut of the same letters gives it."""
    assert (contract.fact_id(*one) == contract.fact_id(*other)) == (one == other)
    assert len(contract.fact_id(*one)) == 32


@given(one=st.tuples(TEXT, TEXT, TEXT), other=st.tuples(TEXT, TEXT, TEXT))
@example(one=("a", "b", "c"), other=("a", "bc", ""))
@example(one=("a", "b", "c"), other=("ab", "", "c"))
def test_equal_lead_ids_mean_equal_records(one: tuple[str, str, str], other: tuple[str, str, str]) -> None:
    """A lead's id stands for tenant, account and record together, and is a UUID that any system takes."""
    assert (contract.lead_id_for(*one) == contract.lead_id_for(*other)) == (one == other)
    made = uuid.UUID(contract.lead_id_for(*one))
    assert str(made) == contract.lead_id_for(*one)
    assert (made.version, made.variant) == (8, uuid.RFC_4122)


@pytest.mark.parametrize("value", [b"", b"\x00", b"\x00\x00\x00\x00\x01", b"\x00\x00\x00\x00\x01\x80" + b"\x80" * 20])
def test_a_framing_cut_short_is_refused(value: bytes) -> None:
    """What ends before its message is no framing."""
    with pytest.raises(wire.BadFraming):
        wire.unframe(0, value)
