"""Envelopes on the wire: what goes in comes out, and what breaks the contract is refused with every reason."""

from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sales_crm_bridge import contract
from sales_crm_bridge.contract import records
from sales_crm_bridge.contract.descriptors import INTENTS
from sales_crm_bridge.errors import Bug
from tests.wire.strategies import HEADERS, TEXT, VARIANTS, any_envelope, envelopes, name_of

PAIRS = pytest.mark.parametrize("pair", VARIANTS, ids=name_of)
FEW = settings(max_examples=20, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
SOME = settings(max_examples=100, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
CARRIED = ["ce_id", "ce_type", "ce_time", "ce_subject", "ce_tenantid", "ce_correlationid", "ce_causationid"]
CARRIED += ["ce_specversion", "content-type"]


def read(envelope: Any, value: bytes, headers: Any = (), *, framed: bool = False) -> Any:
    """What a consumer of the envelope's topic makes of a record."""
    return contract.read(type(envelope), value, headers, framed=framed)


def codes(result: Any) -> set[tuple[str, str]]:
    """Which path breaks the contract, and how."""
    assert isinstance(result, contract.Unreadable), result
    return {(violation.path, violation.code) for violation in result.violations}


def clear(envelope: Any, path: str) -> None:
    """Empty the field at ``path``."""
    parent, _, name = path.partition(".")
    getattr(envelope, parent).ClearField(name)


@PAIRS
@given(data=st.data())
@FEW
def test_what_is_encoded_is_decoded(pair: Any, data: st.DataObject) -> None:
    """A record of any valid envelope decodes to that envelope, by its headers and without them."""
    rules, variant = pair
    envelope = data.draw(envelopes(rules, variant))
    record = contract.record_of(envelope)
    for headers in (record.headers, ()):
        received = read(envelope, record.value, headers)
        assert isinstance(received, contract.Received)
        assert received.envelope == envelope
        assert received.variant is variant
        assert received.value == record.value
        assert received.envelope.SerializeToString(deterministic=True) == record.value


@PAIRS
@given(data=st.data())
@FEW
def test_the_record_says_what_the_options_say(pair: Any, data: st.DataObject) -> None:
    """Key and headers are those of the descriptor's options and of the message's own meta and subject."""
    rules, variant = pair
    envelope = data.draw(envelopes(rules, variant))
    record = contract.record_of(envelope)
    subject_id = rules.partition_key_fields[1].removeprefix("subject.")
    subject = getattr(envelope.subject, subject_id)
    headers = dict(record.headers)
    assert record.key == f"{envelope.meta.tenant_id}/{subject}".encode()
    assert headers["ce_id"] == envelope.meta.message_id.encode()
    assert headers["ce_type"] == variant.event_type.encode()
    assert headers["ce_subject"] == subject.encode()
    assert headers["ce_specversion"] == b"1.0"
    assert headers["content-type"] == b"application/protobuf"
    assert headers["ce_dataschema"].endswith(rules.full_name.encode())
    assert headers["ce_source"].isascii()
    assert ("ce_traceparent" in headers) == bool(envelope.meta.traceparent)
    assert len(headers) == len(record.headers)


@given(envelope=any_envelope(), data=st.data())
@SOME
def test_every_missing_field_is_named(envelope: Any, data: st.DataObject) -> None:
    """Whichever required fields are empty, exactly those are named, all at once."""
    rules = contract.envelope_of(type(envelope))
    gone = data.draw(st.sets(st.sampled_from(rules.required_fields), min_size=1))
    for path in sorted(gone):
        clear(envelope, path)
    missing = {(path, "contract.missing") for path in gone}
    assert codes(read(envelope, envelope.SerializeToString())) == missing
    assert {violation.path for violation in contract.validate(envelope)} == gone
    with pytest.raises(Bug) as caught:
        contract.record_of(envelope)
    assert all(path in str(caught.value) for path in gone)


@given(envelope=any_envelope())
@SOME
def test_an_envelope_without_a_variant_is_refused(envelope: Any) -> None:
    """An envelope that says nothing is refused, and names its group of variants."""
    oneof = type(envelope).DESCRIPTOR.oneofs[0].name
    envelope.ClearField(oneof)
    assert codes(read(envelope, envelope.SerializeToString())) == {(oneof, "contract.no-variant")}


@pytest.mark.parametrize("name", CARRIED)
@given(envelope=any_envelope(), other=st.none() | st.binary(max_size=20) | TEXT.map(str.encode))
@FEW
def test_headers_and_meta_must_agree(name: str, envelope: Any, other: bytes | None) -> None:
    """A header that says something else than the message, once or beside the right one, is refused by its name."""
    record = contract.record_of(envelope)
    if other == dict(record.headers)[name]:
        other = b"\xff"
    doubled = [*record.headers, (name, other)]
    replaced = [(key, other if key == name else value) for key, value in record.headers]
    for headers in (doubled, replaced):
        assert codes(read(envelope, record.value, headers)) == {(name, "contract.header-mismatch")}


@pytest.mark.parametrize("name", ["ce_traceparent", "ce_tracestate"])
def test_trace_headers_must_agree_too(name: str) -> None:
    """A trace header is compared with meta also where meta has none."""
    envelope = example()
    record = contract.record_of(envelope)
    assert codes(read(envelope, record.value, [*record.headers, (name, b"00-1-2-03")])) == {
        (name, "contract.header-mismatch")
    }


@given(envelope=any_envelope(), extra=HEADERS)
@SOME
def test_headers_that_the_contract_does_not_name_are_passed_over(envelope: Any, extra: Any) -> None:
    """Whatever other software adds to a record does not matter."""
    record = contract.record_of(envelope)
    foreign = [(f"x-{name}", value) for name, value in extra]
    assert isinstance(read(envelope, record.value, [*foreign, *record.headers]), contract.Received)


@pytest.mark.parametrize(
    ("text", "agrees"),
    [
        ("2025-03-01T12:00:00.25Z", True),
        ("2025-03-01t12:00:00.250000000z", True),
        ("2025-03-01T13:00:00.250+01:00", True),
        ("2025-03-01T12:00:00.251Z", False),
        ("2025-03-01T12:00:00Z", False),
        ("2025-03-01 12:00:00.25Z", False),
        ("2025-02-30T12:00:00.25Z", False),
        ("2025-03-01T12:00:00.25", False),
    ],
)
def test_a_time_is_compared_as_an_instant(text: str, agrees: bool) -> None:
    """Two spellings of one RFC 3339 instant agree; another instant, and what is no instant, do not."""
    envelope = example()
    result = read(envelope, envelope.SerializeToString(), [("ce_time", text.encode())])
    assert isinstance(result, contract.Received) is agrees


@pytest.mark.parametrize(
    ("text", "agrees"),
    [("application/protobuf; v=1", True), ("Application/Protobuf", True), ("application/json", False)],
)
def test_a_content_type_may_have_parameters(text: str, agrees: bool) -> None:
    """Media types are compared without case and parameters (RFC 9110, 8.3.1)."""
    envelope = example()
    result = read(envelope, envelope.SerializeToString(), [("content-type", text.encode())])
    assert isinstance(result, contract.Received) is agrees


@given(envelope=any_envelope(), number=st.integers(200, 2**29 - 1), value=st.binary(max_size=30))
@SOME
def test_unknown_fields_survive(envelope: Any, number: int, value: bytes) -> None:
    """What a newer minor version added, anywhere, is kept byte for byte by whoever reads and writes the message on."""
    unknown = _tag(number) + bytes((len(value),)) + value
    rules = contract.envelope_of(type(envelope))
    for path in ("", "meta", "subject", envelope.WhichOneof(rules.oneof)):
        changed = type(envelope).FromString(envelope.SerializeToString())
        part = getattr(changed, path) if path else changed
        part.MergeFromString(unknown)
        record = contract.record_of(changed)
        received = read(changed, record.value, record.headers)
        assert isinstance(received, contract.Received)
        kept = getattr(received.envelope, path) if path else received.envelope
        assert unknown in kept.SerializeToString()
        assert received.envelope.SerializeToString(deterministic=True) == record.value


@given(envelope=any_envelope(), number=st.integers(200, 2**29 - 1))
@SOME
def test_a_variant_of_a_newer_minor_version_is_no_mistake(envelope: Any, number: int) -> None:
    """An envelope whose only variant is one we do not know is valid, and has no variant that we know."""
    envelope.ClearField(type(envelope).DESCRIPTOR.oneofs[0].name)
    value = envelope.SerializeToString() + _tag(number) + b"\x00"
    received = read(envelope, value, [("ce_type", b"io.ameide.sales.fact.something_new.v1")])
    assert isinstance(received, contract.Received)
    assert received.variant is None


@pytest.mark.parametrize(
    ("version", "code"),
    [
        ("2.0.0", "contract.wrong-major"),
        ("0.9.0", "contract.wrong-major"),
        ("10.0.0", "contract.wrong-major"),
        ("1", "contract.bad-version"),
        ("1.0", "contract.bad-version"),
        ("v1.0.0", "contract.bad-version"),
        ("01.0.0", "contract.bad-version"),
        ("1.0.0 ", "contract.bad-version"),
        ("\N{ARABIC-INDIC DIGIT ONE}.0.0", "contract.bad-version"),
        ("1." + "9" * 100 + ".0", "contract.bad-version"),
    ],
)
def test_another_major_version_is_refused(version: str, code: str) -> None:
    """Another major, and what is no version at all, is refused; the code says which."""
    envelope = example()
    envelope.meta.schema_version = version
    assert codes(read(envelope, envelope.SerializeToString())) == {("meta.schema_version", code)}


@pytest.mark.parametrize("version", ["1.0.0", "1.99.0", "1.2.3-rc.1", "1.0.0+build.5"])
def test_the_same_major_version_is_accepted(version: str) -> None:
    """Any minor and patch of our major is read, newer ones too."""
    envelope = example()
    envelope.meta.schema_version = version
    assert isinstance(read(envelope, envelope.SerializeToString()), contract.Received)


@pytest.mark.parametrize(("seconds", "nanos"), [(253_402_300_800, 0), (-62_135_596_801, 0), (0, -1), (0, 10**9)])
def test_a_time_out_of_range_is_refused(seconds: int, nanos: int) -> None:
    """An instant that the type does not allow is refused, not clipped."""
    envelope = example()
    envelope.meta.occurred_at.seconds, envelope.meta.occurred_at.nanos = seconds, nanos
    assert codes(read(envelope, envelope.SerializeToString())) == {("meta.occurred_at", "contract.bad-time")}


def test_every_violation_is_reported_at_once() -> None:
    """One record with many faults is refused once, with all of them, and says whose it seems to be."""
    envelope = example()
    envelope.meta.schema_version = "2.0.0"
    envelope.meta.ClearField("message_id")
    envelope.ClearField("intent")
    result = read(envelope, envelope.SerializeToString(), [("ce_id", b"x"), ("ce_type", b"y"), ("ce_subject", b"z")])
    assert isinstance(result, contract.Unreadable)
    assert [violation.path for violation in result.violations] == [
        "meta.message_id",
        "meta.schema_version",
        "intent",
        "ce_id",
        "ce_subject",
    ]
    assert (result.tenant_id, result.aggregate_id) == ("acme", "lead-1")
    assert result.code == "contract.missing"
    assert all(violation.path in result.message for violation in result.violations)


@pytest.mark.parametrize("message", [rules.message for rules in contract.ENVELOPES])
@given(value=st.binary(max_size=200), headers=HEADERS, framed=st.booleans())
@settings(max_examples=300)
def test_arbitrary_bytes_are_refused_and_never_raise(message: Any, value: bytes, headers: Any, framed: bool) -> None:
    """Whatever bytes and headers come, the answer is a value that says what is wrong."""
    result = contract.read(message, value, headers, framed=framed)
    assert isinstance(result, contract.Unreadable)
    assert all(violation.code.startswith("contract.") and violation.remedy for violation in result.violations)


@given(envelope=any_envelope(), data=st.data(), framed=st.booleans())
@settings(max_examples=300, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
def test_damaged_records_never_raise(envelope: Any, data: st.DataObject, framed: bool) -> None:
    """A record that was cut, or had bytes changed, is read or refused; it is never an exception."""
    record = contract.record_of(envelope, contract.Framing(schema_id=7) if framed else None)
    value = bytearray(record.value)
    for _ in range(data.draw(st.integers(1, 4))):
        value[data.draw(st.integers(0, len(value) - 1))] = data.draw(st.integers(0, 255))
    cut = bytes(value[: data.draw(st.integers(0, len(value)))])
    assert isinstance(read(envelope, cut, record.headers, framed=framed), contract.Received | contract.Unreadable)


@given(envelope=any_envelope(), schema_id=st.integers(0, 2**32 - 1))
@FEW
def test_a_registrys_framing_goes_on_and_comes_off(envelope: Any, schema_id: int) -> None:
    """A framed record is read where framing is on, and refused with the fitting remedy where it is not, and the other way round."""
    plain = contract.record_of(envelope)
    framed = contract.record_of(envelope, contract.Framing(schema_id=schema_id))
    assert framed.value == b"\x00" + schema_id.to_bytes(4, "big") + b"\x00" + plain.value
    assert (framed.key, framed.headers) == (plain.key, plain.headers)
    received = read(envelope, framed.value, framed.headers, framed=True)
    assert isinstance(received, contract.Received)
    assert received.envelope == envelope
    assert received.value == plain.value
    assert codes(read(envelope, plain.value, framed=True)) == {("value", "contract.bad-framing")}
    refused = read(envelope, framed.value)
    assert codes(refused) == {("value", "contract.unreadable")}
    assert "framing" in refused.remedy


def test_framing_that_names_another_message_is_refused() -> None:
    """The message index in the framing must be the envelope's."""
    envelope = example()
    value = contract.record_of(envelope).value
    head = b"\x00\x00\x00\x00\x07"
    assert isinstance(read(envelope, head + b"\x02\x00" + value, framed=True), contract.Received), "[0], written out"
    for place in (b"\x02\x02", b"\x04\x00\x00", b"\x01", b"\xff" * 12):
        assert codes(read(envelope, head + place + value, framed=True)) == {("value", "contract.bad-framing")}


def test_no_violation_tells_a_value() -> None:
    """A message's texts may be a person's data; what is said about a refused message holds none of them."""
    envelope = example()
    secret = "Ada.Lovelace@example.com"
    envelope.meta.schema_version = secret
    envelope.meta.correlation_id = secret
    envelope.create_lead_requested.lead.email = secret
    result = read(envelope, envelope.SerializeToString(), [("ce_id", secret.encode()), ("ce_time", secret.encode())])
    assert isinstance(result, contract.Unreadable)
    assert secret not in result.message + result.remedy + repr(result.violations)


def example() -> contract.SalesDomainIntent:
    """A small valid intent."""
    return contract.intent(
        contract.CreateLeadRequested(lead=contract.Lead(last_name="Lovelace")),
        tenant_id="acme",
        aggregate_id="lead-1",
        message_id="m-1",
        correlation_id="c-1",
        causation_id="c-0",
        occurred_us=1_740_830_400_250_000,
        producer="test",
    )


def test_equal_messages_have_equal_bytes() -> None:
    """Serialisation is deterministic: the order in which a map was filled does not show."""
    there, back = example(), example()
    names = [f"name-{number}" for number in range(50)]
    for envelope, order in ((there, names), (back, names[::-1])):
        for name in order:
            envelope.create_lead_requested.lead.custom_attributes[name] = "x"
    assert contract.record_of(there).value == contract.record_of(back).value


def test_only_envelopes_are_messages_of_a_topic() -> None:
    """A message that is no envelope has no record."""
    with pytest.raises(Bug):
        contract.record_of(contract.Lead())


def test_an_intent_that_nothing_caused_is_valid() -> None:
    """A person's click has no cause; only facts need one."""
    envelope = example()
    envelope.meta.ClearField("causation_id")
    assert "meta.causation_id" not in INTENTS.required_fields
    record = contract.record_of(envelope)
    assert "ce_causationid" not in dict(record.headers)
    assert isinstance(read(envelope, record.value, record.headers), contract.Received)


def _tag(number: int) -> bytes:
    out = bytearray()
    rest = number << 3 | 2
    while rest > 127:
        out.append(rest & 127 | 128)
        rest >>= 7
    out.append(rest)
    return bytes(out)


def test_a_nul_in_an_id_is_refused() -> None:
    """PostgreSQL can keep no NUL in a text, and no id has one: such a record is a dead letter, not a bug."""
    body = contract.QualifyLeadRequested()
    envelope = contract.intent(
        body,
        tenant_id="acme",
        aggregate_id="L-9",
        message_id="m-1",
        correlation_id="c-1",
        occurred_us=1,
        producer="ui",
    )
    envelope.meta.message_id = "m\0"
    (violation,) = contract.validate(envelope)
    assert (violation.path, violation.code) == ("meta.message_id", "contract.bad-text")


@given(data=st.data())
@settings(suppress_health_check=[HealthCheck.too_slow])
def test_the_one_look_at_required_fields_sees_what_the_look_at_each_sees(data: st.DataObject) -> None:
    """Whatever is taken out of an envelope or spoilt: the quick look is never wrong, and the close one says the same."""
    envelope = data.draw(any_envelope())
    rules = contract.envelope_of(type(envelope))
    for path in data.draw(st.lists(st.sampled_from(rules.required_fields), max_size=3)):
        *parents, last = path.split(".")
        holder = envelope
        for name in parents:
            holder = getattr(holder, name)
        spoilt = data.draw(st.sampled_from(["", "\0", "x" * 128, "x" * 129, "ä" * 256, "ä" * 257, "x" * 513]))
        if isinstance(getattr(holder, last), str) and data.draw(st.booleans()):
            setattr(holder, last, spoilt)
        else:
            holder.ClearField(last)
    flaws = records._incomplete(rules, envelope)
    complete = records._complete(rules, envelope)
    assert not (complete and flaws)
    if all(len(text) <= 128 for text in rules.texts(envelope)):
        assert complete == (not flaws)


def differing(envelope: Any, variant: contract.Variant, headers: Any) -> list[str]:
    """The slow twin: the headers that say something else than the message, each read as the text or the time that it is."""
    meta = envelope.meta
    says = {
        "ce_specversion": "1.0",
        "ce_id": meta.message_id,
        "ce_type": variant.event_type,
        "ce_subject": getattr(envelope.subject, contract.envelope_of(type(envelope)).subject_id),
        "ce_tenantid": meta.tenant_id,
        "ce_correlationid": meta.correlation_id,
        "ce_causationid": meta.causation_id,
        "ce_traceparent": meta.traceparent,
        "ce_tracestate": meta.tracestate,
    }
    found = []
    for name, raw in headers:
        try:
            text = None if raw is None else raw.decode()
        except UnicodeDecodeError:
            text = None
        match name:
            case "ce_time":
                same = text is not None and contract.parse_rfc3339(text) == (
                    meta.occurred_at.seconds,
                    meta.occurred_at.nanos,
                )
            case "content-type":
                same = text is not None and text.partition(";")[0].strip().lower() == "application/protobuf"
            case _:
                same = name not in says or text == says[name]
        if not same:
            found.append(name)
    return found


@given(data=st.data())
@SOME
def test_headers_are_compared_as_texts_and_times(data: st.DataObject) -> None:
    """Written as we write them, in another way, or wrong: bytes are compared where that says the same."""
    rules, variant = data.draw(st.sampled_from(VARIANTS))
    envelope = data.draw(envelopes(rules, variant))
    record = contract.record_of(envelope)
    own = [
        (name, data.draw(st.sampled_from([value, value + b" ", value.lower(), value.replace(b"Z", b"+00:00")])))
        for name, value in record.headers
    ]
    headers = [*own, ("content-type", b"Application/Protobuf; charset=x"), *data.draw(HEADERS)]
    result = read(envelope, record.value, headers)
    wrong = differing(envelope, variant, headers)
    told = [one.path for one in result.violations] if isinstance(result, contract.Unreadable) else []
    assert told == wrong
