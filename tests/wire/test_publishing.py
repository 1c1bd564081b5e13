"""Only this bridge's integration facts leave, on one topic; and the fast way of making them is the plain way."""

import ast
import inspect
import types
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, get_type_hints

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

import sales_crm_bridge
from sales_crm_bridge import contract
from sales_crm_bridge.contract import publishing
from sales_crm_bridge.errors import Bug
from tests.wire.strategies import FOREIGN, OURS, SOME_TEXT, TEXT, any_envelope, envelopes, messages, name_of

FEW = settings(max_examples=25, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
SOME = settings(max_examples=150, suppress_health_check=[HealthCheck.too_slow, HealthCheck.data_too_large])
TIMES = st.integers(-62_135_596_800_000_000, 253_402_300_799_999_999) | st.integers(0, 2_000_000_000).map(
    lambda milli: milli * 1000
)
PACKAGE = Path(sales_crm_bridge.__file__).parent


def plain(
    page: dict[str, str], variant: contract.Variant, aggregate_id: str, version: int, occurred_us: int, body: Any
) -> contract.SalesIntegrationFact:
    """A fact as anyone would build it, field by field."""
    fact = contract.SalesIntegrationFact()
    for name, value in page.items():
        setattr(fact.meta, name, value)
    fact.meta.message_id = contract.fact_id(
        page["tenant_id"], variant.aggregate_type, aggregate_id, version, variant.event_type
    )
    fact.meta.schema_version = contract.SCHEMA_VERSION
    contract.set_time(fact.meta.occurred_at, occurred_us)
    fact.meta.occurred_at.SetInParent()
    fact.subject.aggregate_type = variant.aggregate_type
    fact.subject.aggregate_id = aggregate_id
    fact.subject.aggregate_version = version
    place = getattr(fact, variant.field)
    place.CopyFrom(body)
    place.SetInParent()
    return fact


PAGES = st.fixed_dictionaries(
    {
        "tenant_id": SOME_TEXT,
        "correlation_id": SOME_TEXT,
        "causation_id": SOME_TEXT,
        "producer": SOME_TEXT,
        "traceparent": TEXT,
        "tracestate": TEXT,
    }
)


@pytest.mark.parametrize("pair", OURS, ids=name_of)
@given(data=st.data(), page=PAGES, aggregate_id=SOME_TEXT, version=st.integers(1, 2**63 - 1), occurred_us=TIMES)
@FEW
def test_an_assembled_fact_is_the_plain_one(
    pair: Any, data: st.DataObject, page: Any, aggregate_id: str, version: int, occurred_us: int
) -> None:
    """Byte for byte, a fact put together from constants is what protobuf writes of the same message."""
    _, variant = pair
    body = data.draw(messages(variant.message))
    fast = contract.FactPage(**page).fact(aggregate_id, version, occurred_us, body)
    slow = contract.publication(plain(page, variant, aggregate_id, version, occurred_us, body))
    assert fast == slow


@st.composite
def sightings(draw: st.DrawFn) -> tuple[dict[str, str], dict[str, Any]]:
    """What is known of one observed lead: constants of its connection, and everything else."""
    constants = {name: draw(TEXT) for name in ("crm", "connection", "account", "record_type")}
    return constants, {
        "change": draw(st.integers(1, 4)),
        "snapshot": draw(messages(contract.Lead)),
        "changed": draw(st.lists(TEXT, max_size=4)),
        "record_id": draw(SOME_TEXT),
        "version": draw(TEXT),
        "url": draw(TEXT),
        "parts": draw(st.lists(st.tuples(TEXT, TEXT), max_size=3)),
        "modified_us": draw(st.just(0) | TIMES),
        "occurred_us": draw(st.just(0) | TIMES),
    }


@given(page=PAGES, sighting=sightings(), version=st.integers(1, 2**40), observed_us=TIMES)
@SOME
def test_an_assembled_observation_is_the_plain_one(
    page: Any, sighting: tuple[dict[str, str], dict[str, Any]], version: int, observed_us: int
) -> None:
    """The hot path of a pull writes the bytes that the plain message has, whatever is known of the record."""
    constants, seen = sighting
    press = contract.ObservedPage(contract.FactPage(**page), **constants, observed_us=observed_us)
    bytes_of_lead = seen["snapshot"].SerializeToString(deterministic=True)
    fast = press.observed("lead-1", version, **(seen | {"snapshot": bytes_of_lead}))
    body = contract.CrmLeadObserved(change=seen["change"], changed_fields=seen["changed"])
    body.lead.CopyFrom(seen["snapshot"])
    body.lead.SetInParent()
    for name, value in (constants | {name: seen[name] for name in ("record_id", "version", "url")}).items():
        setattr(body.external, name, value)
    if seen["modified_us"]:
        contract.set_time(body.external.modified_at, seen["modified_us"])
        body.external.modified_at.SetInParent()
    for kind, name in seen["parts"]:
        body.external.parts.add(record_type=kind, record_id=name)
    contract.set_time(body.observed_at, observed_us)
    body.observed_at.SetInParent()
    when_us = seen["occurred_us"] or seen["modified_us"] or observed_us
    variant = contract.OURS["crm_lead_observed"]
    assert fast == contract.publication(plain(page, variant, "lead-1", version, when_us, body))


@pytest.mark.parametrize("pair", OURS, ids=name_of)
@given(data=st.data())
@FEW
def test_what_goes_out_is_the_plain_record(pair: Any, data: st.DataObject) -> None:
    """Key, value and headers made of an outbox row are those of the fact itself, with and without a registry's framing."""
    fact = data.draw(envelopes(*pair))
    value = contract.publication(fact).value
    for framing in (None, contract.Framing(schema_id=7)):
        record = contract.record_of(fact, framing)
        assert contract.outgoing(value, framing) == record
        assert isinstance(
            contract.read(contract.SalesIntegrationFact, record.value, record.headers, framed=framing is not None),
            contract.Received,
        )
        assert contract.key_of(value) == record.key


@pytest.mark.parametrize("pair", FOREIGN, ids=name_of)
@given(data=st.data())
@FEW
def test_nothing_else_passes_either_door(pair: Any, data: st.DataObject) -> None:
    """No intent, domain fact, process fact or other integration's fact becomes a publication; nor do its bytes go out."""
    envelope = data.draw(envelopes(*pair))
    with pytest.raises(Bug):
        contract.publication(envelope)
    with pytest.raises(Bug):
        contract.outgoing(envelope.SerializeToString(deterministic=True))
    with pytest.raises(Bug):
        contract.key_of(envelope.SerializeToString(deterministic=True))
    body = getattr(envelope, pair[1].field)
    with pytest.raises(Bug):
        contract.FactPage(tenant_id="t", correlation_id="c", causation_id="c").fact("a", 1, 1, body)


@given(value=st.binary(max_size=300) | any_envelope().map(lambda envelope: envelope.SerializeToString()))
@SOME
def test_whatever_comes_only_our_facts_leave(value: bytes) -> None:
    """Of any bytes, what goes out decodes as one of this bridge's integration facts; everything else is a bug, said so."""
    try:
        record = contract.outgoing(value)
    except Bug:
        return
    fact = contract.SalesIntegrationFact.FromString(record.value)
    assert fact.WhichOneof("fact") in contract.OURS
    assert dict(record.headers)["ce_type"].startswith(b"io.ameide.sales.fact.crm_")


@given(fact=st.sampled_from(OURS).flatmap(lambda pair: envelopes(*pair)), data=st.data())
@FEW
def test_an_incomplete_fact_is_a_bug(fact: Any, data: st.DataObject) -> None:
    """A fact that breaks the contract never leaves, and the bug says what it lacks."""
    path = data.draw(st.sampled_from(contract.envelope_of(contract.SalesIntegrationFact).required_fields))
    parent, _, name = path.partition(".")
    getattr(fact, parent).ClearField(name)
    with pytest.raises(Bug, match=path):
        contract.publication(fact)


def test_a_fact_about_the_wrong_aggregate_is_a_bug() -> None:
    """The subject's type is the one that the variant's options name."""
    page = {"tenant_id": "t", "correlation_id": "c", "causation_id": "c", "producer": "p"}
    fact = plain(page, contract.OURS["crm_lead_removed"], "a", 1, 1, contract.CrmLeadRemoved())
    contract.publication(fact)
    fact.subject.aggregate_type = "Quote"
    with pytest.raises(Bug, match="about a Lead"):
        contract.publication(fact)


@pytest.mark.parametrize("lacking", ["tenant_id", "correlation_id", "causation_id", "producer"])
def test_a_page_lacks_nothing(lacking: str) -> None:
    """The fast way refuses what the plain way would."""
    given_ = {"tenant_id": "t", "correlation_id": "c", "causation_id": "c", "producer": "p"} | {lacking: ""}
    with pytest.raises(Bug):
        contract.FactPage(**given_)


@pytest.mark.parametrize(("aggregate_id", "version"), [("", 1), ("a", 0), ("a", -1)])
def test_a_fact_of_a_page_lacks_nothing(aggregate_id: str, version: int) -> None:
    """No subject, or no version of it, is a bug."""
    page = contract.FactPage(tenant_id="t", correlation_id="c", causation_id="c")
    with pytest.raises(Bug):
        page.fact(aggregate_id, version, 1, contract.CrmLeadRemoved())


@pytest.mark.parametrize(("change", "record_id"), [(0, "r"), (1, "")])
def test_an_observation_lacks_nothing(change: int, record_id: str) -> None:
    """No kind of change, or no record, is a bug."""
    page = contract.FactPage(tenant_id="t", correlation_id="c", causation_id="c")
    press = contract.ObservedPage(page, crm="x", connection="y", account="z", record_type="w", observed_us=1)
    with pytest.raises(Bug):
        press.observed("a", 1, change=change, snapshot=b"", changed=(), record_id=record_id)


# --- the surface ------------------------------------------------------------------------------------------------------


def functions() -> Iterator[tuple[str, Callable[..., Any]]]:
    """Everything public that can be called in the contract's package, methods too."""
    for name in contract.__all__:
        thing = getattr(contract, name)
        if isinstance(thing, types.FunctionType):
            yield name, thing
        elif inspect.isclass(thing) and thing.__module__.startswith("sales_crm_bridge.contract"):
            yield from (
                (f"{name}.{method}", call)
                for method, call in inspect.getmembers(thing, inspect.isfunction)
                if not method.startswith("_") or method == "__init__"
            )


def test_no_function_takes_a_topic() -> None:
    """Nothing in the contract's public face can be told where to send (``Envelope`` is what the options say, and sends nothing)."""
    called = dict(functions())
    assert {"outgoing", "publication", "FactPage.fact", "record_of"} <= called.keys()
    takers = {name for name, call in called.items() if "topic" in inspect.signature(call).parameters}
    assert takers == {"Envelope.__init__"}
    assert isinstance(contract.FACT_TOPIC, str)


def test_only_facts_become_publications_by_type() -> None:
    """The type checker holds it too: the only function of a whole message takes ``SalesIntegrationFact``."""
    makers = [name for name, call in functions() if _returns(call) is contract.Publication]
    assert sorted(makers) == [
        "FactPage.assemble",
        "FactPage.fact",
        "FactPage.put",
        "ObservedPage.observed",
        "publication",
    ]
    hints = get_type_hints(publishing.publication)
    assert hints == {"fact": contract.SalesIntegrationFact, "return": contract.Publication}


def _returns(call: Callable[..., Any]) -> object:
    name = call.__annotations__.get("return")
    return contract.Publication if name == "Publication" else name


def trees() -> Iterator[tuple[str, ast.Module]]:
    """Every module of the bridge that is written by hand."""
    for path in sorted(PACKAGE.rglob("*.py")):
        name = path.relative_to(PACKAGE).as_posix()
        if not name.startswith("pb/"):
            yield name, ast.parse(path.read_text())


def test_topics_are_written_in_the_descriptors_alone() -> None:
    """No module holds a topic's name as text, but for the lint's own table of what was published."""
    topics = {rules.topic for rules in contract.ENVELOPES}
    found = {
        name
        for name, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Constant) and node.value in topics
    }
    assert found == {"contract/frozen.py"}


def test_whoever_produces_names_the_fact_topic() -> None:
    """Every call that hands a record to Kafka names ``FACT_TOPIC``; only the embedded cluster, a stand-in, may differ."""
    calls = {
        (name, ast.unparse(node.args[0]) if node.args else "")
        for name, tree in trees()
        for node in ast.walk(tree)
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Attribute) and node.func.attr.startswith("produce")
    }
    assert {call for call in calls if call[0] != "kafka/embedded.py"} == {("kafka/facts.py", "FACT_TOPIC")}
