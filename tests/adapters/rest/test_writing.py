"""Writes: what is claimed, what is not known, who is in the way, and what a second call may spoil."""

import json
from typing import Any

import pytest
from sales_crm_adapters.rest import lint
from sales_crm_adapters.rest.batches import together

from sales_crm_bridge.errors import CrmUnavailable
from sales_crm_bridge.model import (
    Accepted,
    Category,
    Deferred,
    Effect,
    HttpCall,
    LeadState,
    Operation,
    Outcome,
    Ref,
    Rejected,
    Reply,
    Unknown,
    Write,
)
from sales_crm_bridge.ports import Talk
from tests.adapters.rest.kit import ANSWERED_US, FIELDS, LOST, TURNED_AWAY, adapter, declared, hold, reply, row, write

TAKEN = {
    "failures": [{"when": {"status": 409}, "means": "duplicate", "code": "code", "other": "holder", "fields": "field"}]
}


def push(trial: Any, *writes: Write, answers: list[Any]) -> tuple[list[Outcome], list[HttpCall]]:
    outcomes, calls = hold(trial.push(writes), *answers)
    return outcomes, calls


# --- what an answer proves --------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        (reply(row(1)), Accepted),
        (reply(b"", 204), Accepted),
        (reply(b'{"id":"r1"', 200), Unknown),
        (reply(b"<html>", 200), Unknown),
        (reply({}), Unknown),
        (reply(row(2)), Unknown),
        (reply(b"", 500), Unknown),
        (reply(b"", 302), Unknown),
        (reply(b"", 401), Deferred),
        (reply(b"", 429), Deferred),
        (reply(b"", 423), Deferred),
        (reply(b"", 400), Rejected),
        (reply(b"", 404), Rejected),
        (LOST, Unknown),
        (TURNED_AWAY, Deferred),
    ],
)
def test_an_update_is_claimed_only_where_the_answer_proves_it(answer: Reply, outcome: type) -> None:
    """A good status over half a body, over another record or over nothing known proves nothing."""
    outcomes, _ = push(adapter(), write(1, {"name": "x"}, "r1"), answers=[answer])
    assert type(outcomes[0]) is outcome


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [(reply({"new": {"id": 7}}), "7"), (reply({"new": {}}), ""), (reply(b"", 204), ""), (reply([]), "")],
)
def test_a_create_that_shows_no_id_is_not_known(answer: Reply, outcome: str) -> None:
    """The id alone is enough: the record is read back by the core."""
    trial = adapter({"write.create": {"path": "/leads", "body": "{fields}", "id": "new.id"}})
    (told,), _ = push(trial, write(1, {"name": "x"}), answers=[answer])
    assert told == (Accepted(crm_id=outcome, record=None) if outcome else Unknown(reason="unreadable-answer"))


def test_waits_are_the_crms_own_but_never_none() -> None:
    """A turned-away write comes again when the CRM says, and never at once."""
    outcomes, _ = push(adapter(), write(1, {"name": "x"}, "r1"), answers=[reply(b"", 429, retry_after="37")])
    assert outcomes == [Deferred(not_before_us=ANSWERED_US + 37_000_000, reason="quota")]
    outcomes, _ = push(adapter(), write(1, {"name": "x"}, "r1"), answers=[reply(b"", 429)])
    assert outcomes == [Deferred(not_before_us=ANSWERED_US + 1_000_000, reason="quota")]


@pytest.mark.parametrize(
    ("means", "category"),
    [
        ("validation", Category.VALIDATION), ("duplicate", Category.DUPLICATE), ("conflict", Category.CONFLICT),
        ("gone", Category.REMOVED), ("archived", Category.REMOVED), ("merged", Category.MERGED),
        ("converted", Category.CONVERTED), ("forbidden", Category.PERMISSION), ("unsupported", Category.UNSUPPORTED),
    ],
)  # fmt: skip
def test_each_meaning_has_its_category(means: str, category: Category) -> None:
    """With the CRM's code, its names of the fields in the mapping's words, and the other record."""
    rule = {"when": {"status": 418}, "means": means, "code": "c", "fields": "at", "named_in": "text", "other": "o"}
    trial = adapter({"failures": [rule], "record.options": {"phone": {"write": "tel"}}})
    body = {"c": "E7", "at": "tel", "text": "see name, and email_address", "o": 5}
    answers: list[Any] = [reply(body, 418)] + ([reply(row(5, id=5))] if means == "duplicate" else [])
    (outcome,), _ = push(trial, write(1, {"name": "x", "email": "y", "phone": "z"}, "r1"), answers=answers)
    assert outcome == Rejected(category=category, code="E7", fields=("phone", "name"), other_id="5")


def test_a_field_that_cannot_be_written_is_refused_without_a_call() -> None:
    """Read from a list's member, or read-only: named, and the writes beside it are carried out."""
    trial = adapter({"record.options": {"name": {"read": "people.0.name"}, "status": {"read_only": True}}})
    outcomes, calls = push(
        trial,
        write(1, {"name": "x", "status": "y", "phone": "z"}, "r1"),
        write(2, {"phone": "z"}, "r2"),
        answers=[reply(row(2))],
    )
    assert outcomes[0] == Rejected(
        category=Category.VALIDATION, code="rest.field-not-writable", fields=("name", "status")
    )
    assert isinstance(outcomes[1], Accepted)
    assert len(calls) == 1


# --- somebody is in the way -------------------------------------------------------------------------------------------


def test_a_create_that_was_made_before_is_adopted() -> None:
    """Our key is taken: the record that has it is ours, and gets the values of this create."""
    trial = adapter({**TAKEN, "write.unique_key": True})
    assert trial.capabilities.unique_key
    answers = [reply({"code": "KEY"}, 409), reply({"rows": [row(1)]}), reply(row(1, name="x"))]
    (outcome,), calls = push(trial, write(1, {"name": "x"}), answers=answers)
    assert isinstance(outcome, Accepted)
    assert (outcome.crm_id, outcome.adopted) == ("r1", True)
    assert [call.method for call in calls] == ["POST", "GET", "PATCH"]
    assert json.loads(calls[2].body) == {"name": "x"}


def test_another_leads_record_is_named_and_left_alone() -> None:
    """The refusal names it, and it has another key: DUPLICATE with its id; nothing is written."""
    answers = [reply({"code": "MAIL", "holder": "r2", "field": "email"}, 409), reply(row(2))]
    (outcome,), calls = push(adapter(TAKEN), write(1, {"email": "x"}), answers=answers)
    assert outcome == Rejected(category=Category.DUPLICATE, code="MAIL", fields=("email",), other_id="r2")
    assert [call.effect for call in calls] == [Effect.WRITE, Effect.READ]


HOLDER = {"write.holder": {"path": "/search", "query": {"email": "{field.email}"}, "records": ["open", "closed"]}}


def test_who_holds_a_value_can_be_asked_for() -> None:
    """Ours before another's; without the value nobody is asked, since such a question would find anybody."""
    trial = adapter({**TAKEN, **HOLDER})
    found = {"open": [row(2)], "closed": [row(1, id="r9")]}
    answers = [reply({}, 409), reply(found), reply(row(1, id="r9"))]
    (outcome,), calls = push(trial, write(1, {"email": "x"}), answers=answers)
    assert isinstance(outcome, Accepted)
    assert (outcome.crm_id, outcome.adopted) == ("r9", True)
    assert dict(calls[1].query) == {"email": "x"}
    (outcome,), _ = push(
        trial, write(1, {"email": "x"}), answers=[reply({}, 409), reply({"open": [], "closed": [row(2)]})]
    )
    assert isinstance(outcome, Rejected)
    assert outcome.other_id == "r2"
    (outcome,), calls = push(trial, write(1, {"name": "x"}), answers=[reply({}, 409)])
    assert outcome == Rejected(category=Category.DUPLICATE, code="http-409")


def test_an_update_never_adopts_and_never_names_its_own_record() -> None:
    """Two leads, one address: the other one is named, also where the question finds both."""
    trial = adapter({**TAKEN, **HOLDER})
    answers = [reply({}, 409), reply({"open": [row(1), row(2)], "closed": None})]
    (outcome,), _ = push(trial, write(1, {"email": "x"}, "r1"), answers=answers)
    assert isinstance(outcome, Rejected)
    assert outcome.other_id == "r2"


def test_a_question_without_an_answer_leaves_the_create_for_later() -> None:
    """It certainly made nothing."""
    trial = adapter({**TAKEN, **HOLDER})
    (outcome,), _ = push(trial, write(1, {"email": "x"}), answers=[reply({}, 409), reply({"open": 5})])
    assert isinstance(outcome, Deferred)


def test_a_conflict_of_a_new_record_is_a_duplicate_unless_a_rule_says_otherwise() -> None:
    """409 by its status alone: of a create there is nothing to be out of date."""
    (outcome,), _ = push(adapter(), write(1, {"name": "x"}), answers=[reply(b"", 409)])
    assert isinstance(outcome, Rejected)
    assert outcome.category is Category.DUPLICATE
    (outcome,), _ = push(adapter(), write(1, {"name": "x"}, "r1"), answers=[reply(b"", 409)])
    assert isinstance(outcome, Rejected)
    assert outcome.category is Category.CONFLICT


# --- further requests -------------------------------------------------------------------------------------------------


def convert(order: str = "last", takes: tuple[str, ...] = ("status",)) -> dict[str, Any]:
    call = {"path": "/leads/{id}/convert", "body": {"note": "{field.phone}"}}
    return {
        "write.calls": [{"when": {"status": ["won", "converted"]}, "takes": list(takes), "call": call, "order": order}]
    }


QUALIFY = {"status": "won", "phone": "+1"}


def test_a_further_request_takes_its_field_from_the_ordinary_one() -> None:
    """The rest is written as ever, then the request; a write of other values, or of that one alone, is one call."""
    trial = adapter(convert())
    (outcome,), calls = push(trial, write(1, QUALIFY, "r1"), answers=[reply(row(1)), reply({"done": True})])
    assert outcome == Accepted(crm_id="r1", record=None)
    assert [(call.method, call.path) for call in calls] == [("PATCH", "/leads/r1"), ("POST", "/leads/r1/convert")]
    assert [json.loads(call.body) for call in calls] == [{"phone": "+1"}, {"note": "+1"}]
    _, calls = push(trial, write(1, {"status": "open"}, "r1"), answers=[reply(row(1))])
    assert [call.path for call in calls] == ["/leads/r1"]
    _, calls = push(trial, write(1, {"status": "won"}, "r1"), answers=[reply(b"")])
    assert [(call.path, json.loads(call.body)) for call in calls] == [("/leads/r1/convert", {})]


@pytest.mark.parametrize(
    ("order", "answers", "outcome"),
    [
        ("last", [reply(row(1)), reply(b"", 422)], Rejected),
        ("last", [reply(row(1)), LOST], Unknown),
        ("last", [reply(row(1)), TURNED_AWAY], Unknown),
        ("last", [reply(b"", 422)], Rejected),
        ("last", [LOST], Unknown),
        ("first", [reply(b"", 422)], Rejected),
        ("first", [reply({}), reply(b"", 422)], Rejected),
        ("first", [reply({}), LOST], Unknown),
        ("first", [reply({}), reply(row(1))], Accepted),
        ("first", [TURNED_AWAY], Deferred),
        ("last", [reply(row(1)), reply(b'{"cut')], Unknown),
    ],
)
def test_two_calls_of_which_one_fails(order: str, answers: list[Any], outcome: type) -> None:
    """Once the first took effect, what is neither told nor refused of the second is not known; nothing half-done is claimed."""
    (told,), calls = push(adapter(convert(order)), write(1, QUALIFY, "r1"), answers=answers)
    assert type(told) is outcome
    assert len(calls) == len(answers)


@pytest.mark.parametrize("second", [reply(b"", 422), LOST, TURNED_AWAY, reply({})])
def test_a_new_record_is_there_whatever_became_of_the_rest(second: Reply) -> None:
    """It is read back, so the binding is made and nobody creates it again."""
    (outcome,), calls = push(adapter(convert()), write(1, QUALIFY), answers=[reply(row(1)), second])
    assert outcome == Accepted(crm_id="r1", record=None)
    assert calls[1].path == "/leads/r1/convert"


# --- batches ----------------------------------------------------------------------------------------------------------


def batch(match: str = "position", **results: object) -> dict[str, Any]:
    told = {"at": "results", "match": match, "record": "lead", "status": "status", "body": "error", **results}
    call = {
        "path": "/batch",
        "body": {"all": "{items}"},
        "item": {"id": "{id}", "k": "{key}", "t": "{trace}", "f": "{fields}"},
    }
    return {"write.batch": {"max": 3, "update": {**call, "results": told}, "create": {**call, "results": told}}}


def updates(count: int) -> list[Write]:
    return [write(number, {"name": f"n{number}"}, f"r{number}") for number in range(count)]


def good(number: int, **more: object) -> dict[str, object]:
    return {"status": 200, "lead": row(number), **more}


def test_results_by_position_are_as_many_as_the_members() -> None:
    """One missing: nobody can say whose it is, so nothing is known of any."""
    trial = adapter(batch())
    assert trial.capabilities.batch_max == 3
    answer = {"results": [good(0), {"status": 422, "error": {}}, good(2)]}
    outcomes, (call,) = push(trial, *updates(3), answers=[reply(answer)])
    assert [type(one) for one in outcomes] == [Accepted, Rejected, Accepted]
    assert json.loads(call.body)["all"][1] == {"id": "r1", "k": "L-1", "t": "t-1", "f": {"name": "n1"}}
    outcomes, _ = push(trial, *updates(3), answers=[reply({"results": [good(0), good(2)]})])
    assert outcomes == [Unknown(reason="answers-missing")] * 3


@pytest.mark.parametrize(("match", "by"), [("id", "ref"), ("key", "ref"), ("trace", "ref")])
def test_results_by_name_come_in_any_order(match: str, by: str) -> None:
    """Each belongs to the member that it names; one named twice or not at all is not known."""
    names = {"id": "r{}", "key": "L-{}", "trace": "t-{}"}[match]
    results = [good(number, ref=names.format(number)) for number in (2, 0, 0, 7)]
    outcomes, _ = push(adapter(batch(match, by=by)), *updates(3), answers=[reply({"results": results})])
    assert [type(one) for one in outcomes] == [Unknown, Unknown, Accepted]


@pytest.mark.parametrize(
    "result",
    [
        {"status": True, "lead": row(0)},
        {"status": "ok", "lead": row(0)},
        {"lead": row(0)},
        {"status": 200},
        {"status": 200, "lead": row(5)},
        {"status": 200, "lead": {"name": "no id"}},
        {"status": 503},
        [],
        None,
    ],
)
def test_a_result_that_proves_nothing_is_not_known(result: object) -> None:
    """No status, no record, another record, a fault of the server: read back."""
    outcomes, _ = push(adapter(batch()), *updates(1), answers=[reply({"results": [result]})])
    assert isinstance(outcomes[0], Unknown)


@pytest.mark.parametrize("answer", [reply({"results": {}}), reply({}), reply(b'{"results":['), reply(b"", 500), LOST])
def test_a_batch_without_a_whole_answer_is_not_known(answer: Reply) -> None:
    """All of it may have taken effect."""
    outcomes, _ = push(adapter(batch()), *updates(2), answers=[answer])
    assert all(isinstance(one, Unknown) for one in outcomes)


def test_a_batch_that_is_refused_whole_is_halved_down_to_the_one_at_fault() -> None:
    """One member's fault must not refuse the others; alone, it is refused by itself."""
    outcomes, _ = push(adapter(batch()), *updates(3), answers=[reply(b"", 422)])
    assert {one.reason for one in outcomes if isinstance(one, Deferred)} == {"bisect"}
    assert len(outcomes) == 3
    (outcome,), _ = push(adapter(batch()), *updates(1), answers=[reply(b"", 422)])
    assert isinstance(outcome, Rejected)
    outcomes, _ = push(adapter(batch()), *updates(2), answers=[reply(b"", 429, retry_after="5")])
    assert outcomes == [Deferred(not_before_us=ANSWERED_US + 5_000_000, reason="quota")] * 2


def test_a_result_can_say_that_it_is_good_without_a_status() -> None:
    """By what it looks like; the failure of one member is read from its own part."""
    changes = {
        **batch(status=None, ok={"success": True}),
        "failures": [{"when": {"body": {"code": "X"}}, "means": "conflict"}],
    }
    results = [{"success": True, "lead": row(0)}, {"success": False, "error": {"code": "X"}}]
    outcomes, _ = push(adapter(changes), *updates(2), answers=[reply({"results": results})])
    assert isinstance(outcomes[0], Accepted)
    assert isinstance(outcomes[1], Rejected)
    assert outcomes[1].category is Category.CONFLICT


def test_a_record_named_twice_waits() -> None:
    """The answer could not tell which of the two is meant."""
    twice = [*updates(2), write(5, {"name": "again"}, "r1")]
    outcomes, (call,) = push(adapter(batch()), *twice, answers=[reply({"results": [good(0), good(1)]})])
    assert [type(one) for one in outcomes] == [Accepted, Accepted, Deferred]
    assert len(json.loads(call.body)["all"]) == 2


def test_creates_updates_and_further_requests_in_one_push() -> None:
    """Each in its own way, at the same time; a duplicate in a batch is settled afterwards; outcomes in the order of the writes."""
    changes = {**TAKEN, **batch(), **convert(), "write.unique_key": True, "failures": TAKEN["failures"]}
    writes = [
        write(4, {"name": "a"}),
        *updates(2),
        write(3, {"status": "won"}, "r3", operation=Operation.QUALIFY),
        write(5, {"name": "b"}),
    ]

    def answer(call: HttpCall) -> Reply:
        if call.path.endswith("/convert"):
            return reply({})
        if call.path == "/batch":
            items = json.loads(call.body)["all"]
            if "id" in items[0]:
                return reply({"results": [good(0), good(1)]})
            return reply({"results": [good(4), {"status": 409, "error": {"code": "KEY"}}]})
        return reply({"rows": [row(5)]}) if call.method == "GET" else reply(row(5))

    outcomes, calls = push(adapter(changes), *writes, answers=[answer] * 5)
    assert [one.crm_id for one in outcomes if isinstance(one, Accepted)] == ["r4", "r0", "r1", "r3", "r5"]
    assert [call.path for call in calls][-2:] == ["/leads", "/leads/r5"]


# --- talks side by side -----------------------------------------------------------------------------------------------


def talk(*effects: Effect, value: str) -> Talk[str]:
    for effect in effects:
        yield (HttpCall(method="GET", path=f"/{value}/{effect}", effect=effect),)
    return value


def test_writes_go_before_reads_and_never_beside_them() -> None:
    """A read without an answer ends the whole talk: it must not take along what was written in the same breath."""
    rounds: list[list[str]] = []

    def heard() -> Talk[list[str]]:
        whole = together([talk(Effect.READ, value="a"), talk(Effect.WRITE, Effect.READ, value="b"), talk(value="c")])
        calls = next(whole)
        while True:
            rounds.append([call.path for call in calls])
            replies = yield calls
            try:
                calls = whole.send(replies)
            except StopIteration as end:
                told: list[str] = end.value
                return told

    told, _ = hold(heard(), reply({}), reply({}), reply({}))
    assert told == ["a", "b", "c"]
    assert rounds == [["/b/write"], ["/a/read", "/b/read"]]


def test_a_talk_that_fails_ends_all() -> None:
    """A fault that no talk expects is the core's to hear."""

    def failing() -> Talk[str]:
        yield (HttpCall(method="GET", path="/x", effect=Effect.READ),)
        raise CrmUnavailable("rest.unreadable", "x", retry_at_us=0)

    with pytest.raises(CrmUnavailable):
        hold(together([failing(), talk(Effect.READ, value="b")]), reply({}), reply({}))


# --- reading by name --------------------------------------------------------------------------------------------------


def test_a_key_counts_only_where_it_is_exactly_ours() -> None:
    """A search finds what is like it; of several with our key the one that is alive, and of those the first that was made."""
    trial = adapter({"record.states": {"archived": {"dead": True}}})
    rows = [
        row(1, ours="L-11"),
        row(2, ours="L-1", dead=True),
        row(3, ours="L-1", made="2025-12-01T00:00:00Z"),
        row(4, ours="L-1"),
    ]
    records, _ = hold(trial.read([Ref(key="L-1")]), reply({"rows": rows}))
    assert [record.id for record in records] == ["r3"]
    records, _ = hold(trial.read([Ref(key="L-1")]), reply({"rows": [rows[0]]}))
    assert [(record.id, record.state, record.key) for record in records] == [("", LeadState.GONE, "L-1")]


def test_what_is_missing_among_many_is_asked_for_by_itself() -> None:
    """Absence from a list is no proof, unless the declaration says that the answer is complete."""
    many = {"path": "/many", "query": {"ids": "{ids}"}, "records": "rows", "max": 2}
    refs = [Ref(id=f"r{number}") for number in range(3)]
    answers = [reply({"rows": [row(0), row(9)]}), reply({"rows": [row(2)]}), reply(b"", 404)]
    records, calls = hold(adapter({"read.many": many}).read(refs), *answers)
    assert [record.state for record in records] == [LeadState.LIVE, LeadState.GONE, LeadState.LIVE]
    assert [call.path for call in calls] == ["/many", "/many", "/leads/r1"]
    records, calls = hold(adapter({"read.many": {**many, "complete": True}}).read(refs), *answers[:2])
    assert [record.state for record in records] == [LeadState.LIVE, LeadState.GONE, LeadState.LIVE]


def test_another_record_under_an_id_is_the_survivor_of_a_merge() -> None:
    """The CRM answers with the record that the old id leads to now."""
    (record,), _ = hold(adapter().read([Ref(id="r1")]), reply(row(2)))
    assert (record.id, record.state, record.into) == ("r1", LeadState.MERGED, "r2")


@pytest.mark.parametrize(
    "answer", [reply({"rows": []}), reply({"rows": None}), reply(b"", 204), reply(b"", 404), reply(b"", 410)]
)
def test_a_record_that_is_not_there(answer: Reply) -> None:
    """An empty list, nothing, no content, not found, gone."""
    (record,), _ = hold(adapter({"read.one": {"path": "/x/{id}", "record": "rows"}}).read([Ref(id="r1")]), answer)
    assert (record.id, record.state) == ("r1", LeadState.GONE)


def test_a_read_by_id_believes_no_answer_about_somebody_else() -> None:
    """A CRM that does not heed the id shows its list: our row counts; without it nothing is proven, least of all a merge."""
    trial = adapter({"read.one": {"path": "/leads", "query": {"id": "{id}"}, "record": "rows"}})
    records, _ = hold(trial.read([Ref(id="r2")]), reply({"rows": [row(1), row(2)]}))
    assert [(record.id, record.state) for record in records] == [("r2", LeadState.LIVE)]
    records, _ = hold(trial.read([Ref(id="r2")]), reply({"rows": []}))
    assert [record.state for record in records] == [LeadState.GONE]
    for rows in ([row(1), row(3)], [row(1)]):
        with pytest.raises(CrmUnavailable) as fault:
            hold(trial.read([Ref(id="r2")]), reply({"rows": rows}))
        assert fault.value.code == "rest.unreadable"


def test_a_write_believes_no_answer_about_somebody_else() -> None:
    """A new record is the only one in its answer; a changed one is the one with our id, wherever it stands in it."""
    trial = adapter({"write.create.record": "rows", "write.update.record": "rows"})
    several = {"rows": [row(1), row(2)]}
    outcomes, _ = hold(trial.push([write(3, {"name": "A"})]), reply(several))
    assert isinstance(outcomes[0], Unknown)
    outcomes, _ = hold(trial.push([write(2, {"name": "A"}, "r2")]), reply(several))
    assert isinstance(outcomes[0], Accepted)
    assert outcomes[0].crm_id == "r2"


def test_what_means_deleting_is_declared_as_a_further_request() -> None:
    """No command deletes; where a tenant's mapping says that a status is a deletion, DELETE carries it out, and nothing else."""
    gone_away = {
        "when": {"status": "lost"},
        "takes": ["status"],
        "call": {"method": "DELETE", "path": "/leads/{id}"},
    }
    trial = adapter({"write.calls": [gone_away]})
    outcomes, calls = hold(trial.push([write(1, {"status": "lost"}, "r1")]), reply(b"", 204))
    assert [(call.method, call.path, call.body) for call in calls] == [("DELETE", "/leads/r1", b"")]
    assert isinstance(outcomes[0], Accepted)
    assert not list(lint(declared({"write.calls": [gone_away]}), "token", None, FIELDS))
