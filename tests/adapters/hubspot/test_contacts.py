"""HubSpot's contacts as leads: batches, traces, conflicts, and a life cycle that goes forward only."""

import json
from typing import Any

import pytest

from sales_crm_bridge.errors import CrmUnavailable
from sales_crm_bridge.model import (
    Accepted,
    Category,
    Deferred,
    HttpCall,
    NoReply,
    Operation,
    Outcome,
    Record,
    Ref,
    Rejected,
    Unknown,
    Write,
)
from sales_crm_bridge.sandbox import Answer, Fault, FaultKind
from tests.adapters.hubspot.talks import adapter, hold, reply, row, sent
from tests.contract.world import person
from tests.contract.worlds import HubSpotContacts


def update(number: int, **fields: Any) -> Write:
    return Write(
        trace=f"t-{number}", operation=Operation.REVISE, key=f"L-{number}", fields=fields, crm_id=str(500 + number)
    )


def create(number: int, **fields: Any) -> Write:
    return Write(trace=f"t-{number}", operation=Operation.CREATE, key=f"L-{number}", fields=fields)


def push(world: HubSpotContacts, *batch: Write) -> list[Outcome]:
    return world.converse(world.adapter.push(batch))


# --- what is sent, and whose answer it is -----------------------------------------------------------------------------


def test_creates_are_upserts_by_our_key_and_updates_go_by_id_both_at_once() -> None:
    """One call each, in one step; every input carries its trace; values are text, None clears."""
    writes = [create(1, email="a@corp.example"), update(2, phone=None, company=True, hs_lead_status=7.0)]
    answers = [
        reply({"results": [row("512", trace="t-1") | {"new": True}]}),
        reply({"results": [row("502", trace="t-2")]}),
    ]
    (one, two), (upsert, change) = hold(adapter("email").push(writes), answers)
    assert upsert.path == "/crm/v3/objects/contacts/batch/upsert"
    assert sent(upsert) == {
        "inputs": [
            {
                "objectWriteTraceId": "t-1",
                "id": "L-1",
                "idProperty": "bridge_lead_id",
                "properties": {"email": "a@corp.example", "bridge_lead_id": "L-1"},
            }
        ]
    }
    assert change.path == "/crm/v3/objects/contacts/batch/update"
    (told,) = sent(change)["inputs"]
    assert told == {
        "objectWriteTraceId": "t-2",
        "id": "502",
        "properties": {"phone": "", "company": "true", "hs_lead_status": "7"},
    }
    assert isinstance(one, Accepted)
    assert not one.adopted
    assert isinstance(two, Accepted)


@pytest.mark.parametrize(
    ("results", "errors"),
    [
        ([], []),
        ([row("502", trace="t-9")], []),
        ([row("777")], []),
        ([row("502", trace="t-2"), row("502", trace="t-2")], []),
        ([row("502", trace="t-2")], [{"category": "X", "context": {"objectWriteTraceId": ["t-2"]}}]),
        ([{"id": "502", "objectWriteTraceId": "t-2"}], []),
        ([5, None, "x"], [{"category": "VALIDATION_ERROR", "context": {}}]),
        ([row("502", trace="t-2") | {"updatedAt": "yesterday"}], []),
    ],
    ids=["missing", "another-trace", "another-id", "twice", "result-and-error", "no-properties", "nonsense", "no-time"],
)
def test_what_cannot_be_matched_one_to_one_is_unknown(results: list[Any], errors: list[Any]) -> None:
    """Never by position: a missing, doubled, contradicted or unreadable result leaves its write undecided, and no other."""
    beside = row("503", trace="t-3")
    answer = reply({"status": "COMPLETE", "results": [*results, beside], "errors": errors}, 207)
    outcomes, _ = hold(adapter("phone").push([update(2, phone="1"), update(3, phone="1")]), answer)
    assert isinstance(outcomes[0], Unknown)
    assert isinstance(outcomes[1], Accepted)


def test_results_without_traces_are_matched_by_what_was_asked() -> None:
    """An update by the record's id, an upsert by our key: still one to one."""
    answers = [reply({"results": [row("9", bridge_lead_id="L-1")]}), reply({"results": [row("503"), row("502")]})]
    outcomes, _ = hold(adapter("phone").push([update(2), update(3), create(1)]), answers)
    assert [one.crm_id for one in outcomes if isinstance(one, Accepted)] == ["502", "503", "9"]


@pytest.mark.parametrize("status", [400, 404, 409, 414])
def test_a_whole_batch_that_is_refused_is_bisected(status: int) -> None:
    """One answer for many inputs says nothing of any: all are deferred for halving."""
    outcomes, _ = hold(adapter("phone").push([update(1), update(2)]), reply({"category": "VALIDATION_ERROR"}, status))
    assert outcomes == [Deferred(not_before_us=0, reason="bisect")] * 2


@pytest.mark.parametrize(
    ("category", "kind"), [("LOCKED", Deferred), ("RATE_LIMITS", Deferred), ("INTERNAL_ERROR", Unknown)]
)
def test_a_members_trouble_of_the_moment_is_no_refusal(category: str, kind: type[Outcome]) -> None:
    """423 and 5xx of one member come as a category in a 207: to be tried again, or settled, never given up."""
    error = {"status": "error", "category": category, "context": {"objectWriteTraceId": ["t-2"]}}
    (outcome,), _ = hold(adapter("phone").push([update(2)]), reply({"results": [], "errors": [error]}, 207))
    assert isinstance(outcome, kind)


@pytest.mark.parametrize("status", [199, 302, 500, 503])
def test_an_answer_of_no_known_kind_is_unknown(status: int) -> None:
    """Nothing can be concluded from it about the write."""
    (outcome,), _ = hold(adapter("phone").push([update(2)]), reply({}, status))
    assert isinstance(outcome, Unknown)


def test_no_name_stands_twice_in_a_batch() -> None:
    """HubSpot refuses such a batch whole, so the second write of one record waits."""
    answer = reply({"results": [row("502", trace="t-2")]})
    second = Write(trace="t-x", operation=Operation.REVISE, key="L-x", fields={}, crm_id="502")
    outcomes, (call,) = hold(adapter("phone").push([update(2), second]), answer)
    assert len(sent(call)["inputs"]) == 1
    assert isinstance(outcomes[1], Deferred)


def test_a_locked_record_waits_and_is_not_given_up() -> None:
    """A record held by bulk work: Deferred for its write alone."""
    world = HubSpotContacts()
    one, two = world.create(1), world.create(2)
    world.portal.person.lock([one], 60)
    batch = [world.write(n, Operation.REVISE, crm_id, {"phone": "+1"}) for n, crm_id in ((1, one), (2, two))]
    locked, free = push(world, *batch)
    assert isinstance(locked, Deferred)
    assert isinstance(free, Accepted)


# --- conflicts --------------------------------------------------------------------------------------------------------


def test_a_contact_with_the_address_and_no_key_is_named_and_left_alone() -> None:
    """An e-mail address proves nothing: DUPLICATE with the contact that has it, which keeps its values and gets no key."""
    world = HubSpotContacts()
    there = world.create(1)
    before = world.portal.truth().live["contacts"][there]
    (outcome,) = push(world, world.write(1, values={**person(1), "phone": "+1 ours"}))
    assert outcome == Rejected(category=Category.DUPLICATE, code="CONFLICT", other_id=there)
    assert world.portal.truth().live["contacts"] == {there: before}


def test_a_contact_with_the_address_among_its_further_ones_is_named() -> None:
    """A merged contact keeps the other's address as an additional one; the id in the refusal's text leads to it."""
    world = HubSpotContacts()
    survivor = world.merge(world.create(1), world.create(2))
    before = world.portal.truth().live["contacts"][survivor]
    (outcome,) = push(world, world.write(2))
    assert outcome == Rejected(category=Category.DUPLICATE, code="CONFLICT", other_id=survivor)
    assert world.portal.truth().live["contacts"] == {survivor: before}


def test_a_contact_that_carries_the_leads_own_key_is_adopted() -> None:
    """An earlier try of the same create was carried out between our call and the look at the holder: it is ours to write to."""
    refused = reply({"results": [], "errors": [conflict("7", "t-1")]}, 207)
    held = reply({"results": [row("7", email="a@corp.example", bridge_lead_id="L-1")]})
    done = reply({"results": [row("7", trace="t-1")]})
    (outcome,), calls = hold(adapter("email").push([create(1, email="a@corp.example")]), refused, held, done)
    assert isinstance(outcome, Accepted)
    assert (outcome.crm_id, outcome.adopted) == ("7", True)
    assert sent(calls[2])["inputs"] == [
        {"objectWriteTraceId": "t-1", "id": "7", "properties": {"email": "a@corp.example"}}
    ]


def conflict(hint: str, trace: str) -> dict[str, Any]:
    text = f"Contact already exists. Existing ID: {hint}"
    return {"status": "error", "category": "CONFLICT", "message": text, "context": {"objectWriteTraceId": [trace]}}


def test_the_id_in_a_refusals_text_is_a_hint_alone() -> None:
    """A hinted contact that does not hold the address is not named: the create is a duplicate of nobody we know."""
    refused = reply({"results": [], "errors": [conflict("777", "t-1")]}, 207)
    nobody = reply({"results": []})
    stranger = reply({"results": [row("777", email="other@corp.example", hs_additional_emails="more@corp.example")]})
    (outcome,), calls = hold(adapter("email").push([create(1, email="A@corp.example ")]), refused, nobody, stranger)
    assert outcome == Rejected(category=Category.DUPLICATE, code="CONFLICT")
    assert all("update" not in call.path for call in calls)
    holder = reply({"results": [row("777", email="other@corp.example", hs_additional_emails="a@corp.example")]})
    (named,), calls = hold(adapter("email").push([create(1, email="A@corp.example ")]), refused, nobody, holder)
    assert named == Rejected(category=Category.DUPLICATE, code="CONFLICT", other_id="777")
    assert sent(calls[1]) | {"properties": []} == {
        "inputs": [{"id": "a@corp.example"}], "properties": [], "propertiesWithHistory": [], "idProperty": "email",
    }  # fmt: skip


def test_two_new_leads_never_share_one_contact() -> None:
    """Of two creates with one address, the second is a duplicate of the contact that the first made."""
    world = HubSpotContacts()
    twin = world.write(2, values={**person(2), "email": person(1)["email"]})
    first, second = push(world, world.write(1), twin)
    assert isinstance(first, Accepted)
    assert second == Rejected(category=Category.DUPLICATE, code="CONFLICT", other_id=first.crm_id)
    assert world.holds(first.crm_id, "name") == person(1)["name"]


def test_an_update_to_a_taken_address_names_the_holder() -> None:
    """DUPLICATE with the contact that holds it; neither is changed."""
    world = HubSpotContacts()
    one, two = world.create(1), world.create(2)
    (outcome,) = push(world, world.write(2, Operation.REVISE, two, {"email": person(1)["email"]}))
    assert outcome == Rejected(category=Category.DUPLICATE, code="CONFLICT", other_id=one)
    assert world.holds(two, "email") == person(2)["email"]


def test_another_unique_property_that_is_taken_is_a_duplicate() -> None:
    """400 with CONFLICTING_UNIQUE_VALUE in its text: the same as 409, with the property's name and not its value."""
    world = HubSpotContacts()
    world.portal.add_property("contacts", "customer_number", unique=True)
    world.portal.person.create("contacts", {"lastname": "x", "customer_number": "4711"})
    write = create(1, lastname="Y", customer_number="4711")
    (outcome,) = push(world, write)
    assert outcome == Rejected(
        category=Category.DUPLICATE, code="CONFLICTING_UNIQUE_VALUE", fields=("customer_number",)
    )


@pytest.mark.parametrize("body", ["<html>", {}, {"status": "error", "message": "Contact already exists."}])
def test_a_409_is_a_conflict_whatever_it_says(body: Any) -> None:
    """The status alone decides: the holder of the address is looked for, and named."""
    held = reply({"results": [row("7", email="a@corp.example")]})
    (outcome,), _ = hold(adapter("email").push([create(1, email="a@corp.example")]), reply(body, 409), held)
    assert isinstance(outcome, Rejected)
    assert (outcome.category, outcome.other_id) == (Category.DUPLICATE, "7")


def test_a_conflict_that_cannot_be_looked_into_now_waits() -> None:
    """The create certainly took no effect, so it is deferred; the writes beside it keep their outcomes."""
    refused = reply({"results": [row("9", trace="t-2")], "errors": [conflict("7", "t-1")]}, 207)
    writes = [create(1, email="a@corp.example"), create(2, email="b@corp.example")]
    outcomes, _ = hold(adapter("email").push(writes), refused, reply("<html>"))
    assert isinstance(outcomes[0], Deferred)
    assert isinstance(outcomes[1], Accepted)


def test_an_adoption_whose_answer_is_lost_is_unknown() -> None:
    """The second call of a create is a write too: no answer to it, no verdict."""
    refused = reply({"results": [], "errors": [conflict("7", "t-1")]}, 207)
    held = reply({"results": [row("7", email="a@corp.example", bridge_lead_id="L-1")]})
    for is_sent, kind in ((True, Unknown), (False, Deferred)):
        lost = NoReply(sent=is_sent, reason="cut", retry_at_us=5)
        (outcome,), _ = hold(adapter("email").push([create(1, email="a@corp.example")]), refused, held, lost)
        assert isinstance(outcome, kind)


def test_a_refusal_without_a_field_is_looked_into() -> None:
    """A batch update words a merged-away id as any refusal: the record is read before the refusal is believed."""
    error = {"category": "VALIDATION_ERROR", "message": "502 is not valid", "context": {"objectWriteTraceId": ["t-2"]}}
    refused = reply({"results": [], "errors": [error]}, 207)
    empty = reply({"results": []})
    moved = reply(row("1300"))
    (outcome,), _ = hold(adapter("phone").push([update(2, phone="1")]), refused, empty, empty, moved)
    assert outcome == Rejected(category=Category.MERGED, code="VALIDATION_ERROR", other_id="1300")
    alive = reply({"results": [row("502")]})
    (believed,), _ = hold(adapter("phone").push([update(2, phone="1")]), refused, alive)
    assert believed == Rejected(category=Category.VALIDATION, code="VALIDATION_ERROR")


# --- the life cycle ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("operation", [Operation.DISQUALIFY, Operation.REVISE])
def test_a_stage_that_is_asked_for_is_set_back(operation: Operation) -> None:
    """HubSpot passes over a move back in silence; it is cleared first, and the outcome shows the wanted stage."""
    world = HubSpotContacts()
    crm_id = world.create(1)
    world.edit(crm_id, {"stage": "opportunity"})
    (outcome,) = push(world, world.write(1, operation, crm_id, {"stage": "lead", "phone": "+1"}))
    assert isinstance(outcome, Accepted)
    assert outcome.record is not None
    assert outcome.record.fields["lifecyclestage"] == "lead"
    assert world.holds(crm_id, "stage") == "lead"


def test_a_qualification_never_sets_a_customer_back() -> None:
    """The contact has got further than the stage that a qualification or create would set: the later one stands and is shown."""
    world = HubSpotContacts()
    crm_id = world.create(1, "L-1")
    world.edit(crm_id, {"stage": "customer"})
    for write in (
        world.write(1, Operation.QUALIFY, crm_id, {"stage": "salesqualifiedlead"}),
        world.write(1, values={**person(1), "stage": "lead"}),
    ):
        (outcome,) = push(world, write)
        assert isinstance(outcome, Accepted)
        assert outcome.record is not None
        assert outcome.record.fields["lifecyclestage"] == "customer"
    assert world.holds(crm_id, "stage") == "customer"


@pytest.mark.parametrize("skip", [1, 2])
def test_a_stage_that_could_not_be_set_back_is_not_claimed(skip: int) -> None:
    """The first write took effect and the next did not: Unknown, since neither yes nor no is true."""
    world = HubSpotContacts()
    crm_id = world.create(1)
    world.edit(crm_id, {"stage": "opportunity"})
    world.sign_in()
    world.portal.faults.add(Fault(FaultKind.REFUSED, path="*/batch/update", skip=skip, times=None))
    (outcome,) = push(world, world.write(1, Operation.REVISE, crm_id, {"stage": "lead"}))
    assert isinstance(outcome, Unknown)


# --- errors hold nothing personal -------------------------------------------------------------------------------------


def detail(**more: Any) -> dict[str, Any]:
    return {"category": "VALIDATION_ERROR", "errors": [{"message": "ada@corp.example was refused", **more}]}


EMBEDDED = '[{"isValid":false,"message":"ada@corp.example","error":"INVALID_OPTION","name":"hs_lead_status"}]'


@pytest.mark.parametrize(
    ("body", "code", "fields"),
    [
        (detail(code="PROPERTY_DOESNT_EXIST", **{"in": "nope"}), "PROPERTY_DOESNT_EXIST", ("nope",)),
        ({"category": "VALIDATION_ERROR", "message": 'Property "nope" does not exist'}, "VALIDATION_ERROR", ("nope",)),
        ({"message": f"Property values were not valid: {EMBEDDED}"}, "INVALID_OPTION", ("hs_lead_status",)),
        (detail(context={"propertyName": ["a", "b"]}), "VALIDATION_ERROR", ("a", "b")),
        (detail(code="MISSING_REQUIRED_PROPERTY", context={"propertyName": "c"}), "MISSING_REQUIRED_PROPERTY", ("c",)),
        (detail(code="ada@x", context={"propertyName": ["Ada Lovelace"]}), "VALIDATION_ERROR", ()),
        ({"category": "Ada Lovelace", "context": {"propertyName": "ada@corp"}}, "HTTP_400", ()),
        ({"message": "broken [ {", "errors": "no", "context": []}, "HTTP_400", ()),
        ("<html>", "HTTP_400", ()),
    ],
)
def test_a_refusal_is_told_by_codes_and_names(body: Any, code: str, fields: tuple[str, ...]) -> None:
    """HubSpot's words repeat personal data: only what looks like a code or a property's name leaves the adapter."""
    alive = reply({"results": [row("502")]})
    answers = [reply(body, 400), *([] if fields else [alive])]
    (outcome,), _ = hold(adapter("phone").push([update(2, phone="1")]), *answers)
    drift = code in ("PROPERTY_DOESNT_EXIST", "INVALID_OPTION")  # of the property itself, not of its value
    assert outcome == Rejected(category=Category.VALIDATION, code=code, fields=fields, drift=drift)


def test_validation_rules_of_the_newest_version_are_told() -> None:
    """From 2026-09 administrators' rules bind API writes: the missing property is named."""
    world = HubSpotContacts()
    world.adapter = world.entry.make({"api_version": "2026-09"}, ("email", "company"))
    world.portal.require("contacts", "company")
    (outcome,) = push(world, create(1, email="a@corp.example"))
    assert outcome == Rejected(category=Category.VALIDATION, code="MISSING_REQUIRED_PROPERTY", fields=("company",))


# --- reading ----------------------------------------------------------------------------------------------------------


def test_one_bad_id_hides_no_other() -> None:
    """A batch read that is refused whole is halved until the id at fault stands alone; that one is gone."""
    ids = ["501", "502", "bad id", "504"]

    def answer(call: HttpCall) -> Any:
        names = [one["id"] for one in sent(call)["inputs"]] if call.body else []
        if "bad id" in names:
            return reply({"category": "VALIDATION_ERROR"}, 400)
        archived = ("archived", "true") in call.query
        return reply({"results": [] if archived else [row(name) for name in names]})

    talk = adapter("email").read([Ref(id=name) for name in ids])
    records: list[Record] = []
    calls = next(talk)
    try:
        while True:
            replies = tuple(reply("<html>", 404) if call.method == "GET" else answer(call) for call in calls)
            assert all("bad id" not in call.path for call in calls)
            calls = talk.send(replies)
    except StopIteration as end:
        records = end.value
    assert [record.state.value for record in records] == ["live", "live", "gone", "live"]


def test_a_record_that_comes_back_between_two_calls_is_read_again() -> None:
    """Missing in both lists and there when asked for alone: no state is invented."""
    empty = reply({"results": []})
    with pytest.raises(CrmUnavailable):
        hold(adapter("email").read([Ref(id="502")]), empty, empty, reply(row("502")))


def test_an_answer_cut_short_ends_a_read() -> None:
    """Half a page is no page."""
    world = HubSpotContacts()
    world.create(1)
    world.spoil = lambda _, answer: Answer(answer.status, answer.headers, answer.body[:-20])
    world.secrets_now = {"token": "pat-na1-sandbox"}
    with pytest.raises(CrmUnavailable):
        world.converse(world.adapter.read([Ref(id="1")]))


def test_links_to_records_need_the_hub_id() -> None:
    """With a Hub ID every record has the address where a person sees it; what HubSpot itself says of it wins."""
    told = reply({"results": [row("502"), row("503") | {"url": "https://app-eu1.hubspot.com/x"}]})
    refs = [Ref(id="502"), Ref(id="503")]
    (one, two), _ = hold(adapter("email", portal_id="4242").read(refs), told)
    assert one.url == "https://app.hubspot.com/contacts/4242/record/0-1/502"
    assert two.url == "https://app-eu1.hubspot.com/x"
    unlinked, _ = hold(adapter("email").read(refs), told)
    assert unlinked[0].url == ""


def test_values_that_are_no_text_are_sent_as_hubspot_takes_them() -> None:
    """All values are strings: true and false in lower case, whole numbers without a point, None as an empty one."""
    write = update(1, a=True, b=False, c=3, d=3.0, e=2.5, f=None, g="x")
    _, (call,) = hold(adapter().push([write]), reply({"results": []}))
    assert json.loads(call.body)["inputs"][0]["properties"] == {
        "a": "true", "b": "false", "c": "3", "d": "3", "e": "2.5", "f": "", "g": "x",
    }  # fmt: skip
