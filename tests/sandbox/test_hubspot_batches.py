"""Batches: partial results only with trace ids, in any order, whole failures otherwise."""

from typing import Any

import pytest

from tests.sandbox.bench import Bench, ids, primary


def traced(*inputs: dict[str, Any]) -> list[dict[str, Any]]:
    """Give each input a trace id, from op-0 on."""
    return [{**each, "objectWriteTraceId": f"op-{number}"} for number, each in enumerate(inputs)]


def outcome(reply: Any) -> dict[str, str]:
    """What became of each trace id: the record's id, or the category of the refusal."""
    told = {each["objectWriteTraceId"]: str(each["id"]) for each in reply.json["results"]}
    for each in reply.json.get("errors", ()):
        (trace,) = each["context"]["objectWriteTraceId"]
        told[trace] = each["category"]
    return told


@pytest.fixture
def keyed(bench: Bench) -> Bench:
    """An account whose contacts and leads have the unique property ``bridge_lead_id``."""
    bench.portal.add_property("contacts", "bridge_lead_id", unique=True)
    bench.portal.add_property("leads", "bridge_lead_id", unique=True)
    return bench


BAD = [
    ("bad value", {"properties": {"hs_lead_status": "BOGUS"}}, 400, "VALIDATION_ERROR"),
    ("address taken", {"properties": {"email": "taken@corp.example"}}, 409, "CONFLICT"),
    ("unique value taken", {"properties": {"firstname": "X", "bridge_lead_id": "taken"}}, 400, "VALIDATION_ERROR"),
]


@pytest.mark.parametrize(("bad", "status", "category"), [each[1:] for each in BAD], ids=[each[0] for each in BAD])
def test_a_bad_create_fails_alone_with_trace_ids_and_all_without(
    bad: dict[str, Any], status: int, category: str, keyed: Bench
) -> None:
    """With a trace id on every input: 207, the good ones are there. Without: the refusal of the bad one, and nothing is there."""
    taken = keyed.create(email="taken@corp.example", bridge_lead_id="taken")
    good = {"properties": {"firstname": "Good"}}
    whole = keyed.batch("create", [good, bad, good])
    assert (whole.status, whole.json["category"]) == (status, category)
    assert list(keyed.portal.truth().live["contacts"]) == [taken]
    half = keyed.batch("create", [*traced(good, bad), good])
    assert half.status == status
    reply = keyed.batch("create", traced(good, bad, good))
    assert (reply.status, reply.json["numErrors"]) == (207, 1)
    told = outcome(reply)
    assert told["op-1"] == category
    assert {told["op-0"], told["op-2"], taken} == set(keyed.portal.truth().live["contacts"])


def test_a_conflict_inside_a_batch(keyed: Bench) -> None:
    """The same address twice: a batch without trace ids fails whole, with them the second one meets the first."""
    pair = [{"properties": {"email": "twin@corp.example"}}, {"properties": {"email": "twin@corp.example"}}]
    assert keyed.batch("create", pair).status == 400
    assert not keyed.portal.truth().live["contacts"]
    told = outcome(keyed.batch("create", traced(*pair)))
    assert told["op-1"] == "CONFLICT"
    assert told["op-0"] in keyed.portal.truth().live["contacts"]


def test_trace_ids_that_are_not_unique_count_as_none(bench: Bench) -> None:
    """Two inputs with one trace id get no partial results."""
    inputs = [
        {"properties": {"firstname": "A"}, "objectWriteTraceId": "op"},
        {"properties": {"nope": "A"}, "objectWriteTraceId": "op"},
    ]
    assert bench.batch("create", inputs).status == 400


def test_results_come_in_any_order() -> None:
    """Order is not promised: match by trace id or id. An account may be told to keep it."""

    def order(bench: Bench) -> list[str]:
        reply = bench.batch("create", traced(*({"properties": {"firstname": str(number)}} for number in range(20))))
        return [each["objectWriteTraceId"] for each in reply.json["results"]]

    straight = [f"op-{number}" for number in range(20)]
    assert sorted(order(Bench())) == sorted(straight)
    assert order(Bench()) != straight
    assert order(Bench(shuffle_batches=False)) == straight


@pytest.mark.parametrize("verb", ["create", "update", "upsert", "archive", "read"])
def test_a_batch_has_at_most_100_inputs(verb: str, bench: Bench) -> None:
    """101 are refused, all of them."""
    inputs = [{"id": str(number), "properties": {"firstname": "A"}} for number in range(101)]
    assert bench.batch(verb, inputs).status == 400
    assert not bench.portal.truth().log


@pytest.mark.parametrize("verb", ["update", "upsert"])
def test_no_id_twice_in_a_batch(verb: str, keyed: Bench) -> None:
    """Refused whole, trace ids or not."""
    each = {"id": "L-1", "idProperty": "bridge_lead_id", "properties": {"firstname": "A"}}
    reply = keyed.batch(verb, traced(each, each))
    assert reply.status == 400
    assert "Duplicate IDs" in reply.json["message"]
    assert not keyed.portal.truth().log


def test_an_upsert_creates_once_and_updates_ever_after(keyed: Bench) -> None:
    """Repeated after a lost answer it gives the same record and ``new: false``; the key is written even if it is not sent."""
    inputs = [{"id": "L-1", "idProperty": "bridge_lead_id", "properties": {"firstname": "A"}}]
    first, again = keyed.batch("upsert", inputs), keyed.batch("upsert", inputs)
    assert (first.json["results"][0]["new"], again.json["results"][0]["new"]) == (True, False)
    assert ids(first) == ids(again)
    assert keyed.read(ids(first)[0], "bridge_lead_id")["bridge_lead_id"] == "L-1"


def test_upserts_by_own_property_are_partial_and_by_address_are_not(keyed: Bench) -> None:
    """By e-mail a bad input fails the batch even where every input has a trace id."""
    own = [
        {"id": f"L-{n}", "idProperty": "bridge_lead_id", "properties": {name: "A"}}
        for n, name in enumerate(("city", "nope", "firstname"))
    ]
    reply = keyed.batch("upsert", traced(*own))
    assert reply.status == 207
    told = outcome(reply)
    # The first has no name and no address, so it is no contact.
    assert (told["op-0"], told["op-1"]) == ("VALIDATION_ERROR", "VALIDATION_ERROR")
    assert told["op-2"] in keyed.portal.truth().live["contacts"]
    mail = [
        {"id": f"{n}@corp.example", "idProperty": "email", "properties": {name: "A"}}
        for n, name in enumerate(("firstname", "nope"))
    ]
    assert keyed.batch("upsert", traced(*mail)).status == 400
    assert keyed.batch("upsert", traced(mail[0])).status == 200


@pytest.mark.parametrize("name", [None, "city", "nope"])
def test_an_upsert_needs_a_unique_property(name: str | None, bench: Bench) -> None:
    """The record's id or a property that may repeat is refused."""
    each: dict[str, Any] = {"id": "1", "properties": {"firstname": "A"}}
    assert bench.batch("upsert", [each if name is None else {**each, "idProperty": name}]).status == 400


def test_a_lead_cannot_begin_as_an_upsert(keyed: Bench) -> None:
    """Upserts carry no associations, so the first write must be a create; after that an upsert finds the lead."""
    inputs = [{"id": "L-1", "idProperty": "bridge_lead_id", "properties": {"hs_lead_name": "A"}}]
    assert keyed.batch("upsert", inputs, kind="leads").status == 400
    contact = keyed.create(email="ada@corp.example")
    body = {"properties": {"hs_lead_name": "A", "bridge_lead_id": "L-1"}, "associations": [primary(contact)]}
    (lead,) = ids(keyed.batch("create", [body], kind="leads"))
    reply = keyed.batch("upsert", inputs, kind="leads")
    assert (ids(reply), reply.json["results"][0]["new"]) == ([lead], False)


def test_a_batch_update_of_what_is_not_there(keyed: Bench) -> None:
    """Without trace ids 404 and nothing is written, or, as other accounts do, a 207; with them a partial result."""
    record = keyed.create(firstname="A")
    inputs = [{"id": record, "properties": {"city": "Leeds"}}, {"id": "1", "properties": {"city": "Leeds"}}]
    reply = keyed.batch("update", inputs)
    assert (reply.status, reply.json["category"], reply.json["context"]) == (404, "OBJECT_NOT_FOUND", {"ids": ["1"]})
    assert keyed.read(record, "city")["city"] is None
    assert outcome(keyed.batch("update", traced(*inputs))) == {"op-0": record, "op-1": "OBJECT_NOT_FOUND"}
    kinder = Bench(partial_missing=True)
    record = kinder.create(firstname="A")
    inputs[0]["id"] = record
    reply = kinder.batch("update", inputs)
    assert (reply.status, ids(reply), reply.json["errors"][0]["context"]) == (207, [record], {"ids": ["1"]})


def test_a_batch_read_tells_what_is_missing(keyed: Bench) -> None:
    """207 with the ids that are not there; by unique property, from the bin, and with the properties asked for."""
    record = keyed.create(email="ada@corp.example", bridge_lead_id="L-1")
    reply = keyed.batch("read", [{"id": record}, {"id": "1"}, {"id": "x"}], properties=["email", "nope"])
    assert (reply.status, reply.json["numErrors"], reply.json["errors"][0]["context"]) == (207, 1, {"ids": ["1", "x"]})
    assert reply.json["results"][0]["properties"]["email"] == "ada@corp.example"
    assert "nope" not in reply.json["results"][0]["properties"]
    for name, value in (("email", "ada@corp.example"), ("bridge_lead_id", "L-1")):
        assert ids(keyed.batch("read", [{"id": value}], idProperty=name)) == [record]
    keyed.call("DELETE", f"/crm/v3/objects/contacts/{record}")
    assert ids(keyed.batch("read", [{"id": record}])) == []
    binned = keyed.call("POST", "/crm/v3/objects/contacts/batch/read?archived=true", {"inputs": [{"id": record}]})
    assert [(each["id"], each["archived"]) for each in binned.json["results"]] == [(record, True)]


def test_a_batch_archive_passes_over_what_is_not_there(bench: Bench) -> None:
    """204, and the rest is in the bin."""
    record = bench.create(firstname="A")
    assert bench.batch("archive", [{"id": record}, {"id": "1"}, {"id": record}]).status == 204
    assert list(bench.portal.truth().archived["contacts"]) == [record]


def test_a_locked_record_refuses_writes_for_a_while(bench: Bench) -> None:
    """423 for update, batch and deletion; a person and a later call come through."""
    record = bench.create(firstname="A")
    bench.portal.person.lock([record], 2)
    path, body = f"/crm/v3/objects/contacts/{record}", {"properties": {"city": "Leeds"}}
    assert bench.call("PATCH", path, body).status == 423
    assert bench.call("DELETE", path).status == 423
    assert bench.batch("update", [{"id": record, **body}]).status == 423
    assert bench.batch("archive", [{"id": record}]).status == 423
    assert bench.call("GET", path).status == 200
    bench.portal.person.edit(record, {"city": "York"})
    bench.now_s += 2
    assert bench.call("PATCH", path, body).status == 200
