"""Search: its operators, its limits, and all that it does not tell."""

import random
from datetime import UTC, datetime
from typing import Any

import pytest

from sales_crm_bridge.sandbox.hubspot.seeding import contact as invented
from tests.sandbox.bench import START_S, Bench, ids

NOW_MS = round(START_S * 1000)


@pytest.fixture
def three(bench: Bench) -> Bench:
    """Three contacts, one second apart: Ada (NEW, Leeds, 10 notes …), Ben (OPEN), and Cy with hardly anything."""
    bench.portal.add_property("contacts", "code", unique=True)
    body = {
        "name": "score",
        "label": "Score",
        "type": "number",
        "fieldType": "number",
        "groupName": "contactinformation",
    }
    bench.call("POST", "/crm/v3/properties/contacts", body)
    for properties in (
        {
            "firstname": "Ada",
            "email": "ada@corp.example",
            "hs_lead_status": "NEW",
            "city": "Leeds",
            "score": "9",
            "code": "a-1",
        },
        {"firstname": "Ben", "email": "ben@firm.example", "hs_lead_status": "OPEN", "city": "LEEDS Bay", "score": "10"},
        {"firstname": "Cy"},
    ):
        bench.create(**properties)
        bench.now_s += 1
    bench.now_s += 10
    return bench


def names(bench: Bench, *filters: tuple[Any, ...], **more: Any) -> str:
    """The initials of the contacts that a search finds, in its order."""
    reply = bench.search(*filters, properties=["firstname"], **more)
    assert reply.status == 200, reply
    bench.now_s += 1
    return "".join(each["properties"]["firstname"][0] for each in reply.json["results"])


OPERATORS: list[tuple[tuple[Any, ...], str]] = [
    (("firstname", "EQ", "ada"), "A"),
    (("firstname", "EQ", "Ad"), ""),
    (("firstname", "NEQ", "Ada"), "BC"),
    (("city", "NEQ", "Leeds"), "BC"),
    (("score", "LT", "10"), "A"),
    (("score", "LTE", "10"), "AB"),
    (("score", "GT", "9"), "B"),
    (("score", "GTE", "9"), "AB"),
    (("score", "BETWEEN", "9", "9.5"), "A"),
    (("score", "IN", ("10", "11")), "B"),
    (("score", "NOT_IN", ("10",)), "AC"),
    (("lastmodifieddate", "EQ", str(NOW_MS)), "A"),
    (("lastmodifieddate", "GT", str(NOW_MS)), "BC"),
    (("lastmodifieddate", "GTE", str(NOW_MS + 1000)), "BC"),
    (("lastmodifieddate", "LT", str(NOW_MS + 1000)), "A"),
    (("lastmodifieddate", "LTE", "2026-01-01T00:00:01Z"), "AB"),
    (("lastmodifieddate", "BETWEEN", str(NOW_MS), str(NOW_MS + 1000)), "AB"),
    (("lastmodifieddate", "NEQ", str(NOW_MS)), "BC"),
    (("createdate", "GT", str(NOW_MS)), "BC"),
    (("hs_lead_status", "EQ", "NEW"), "A"),
    (("hs_lead_status", "EQ", "new"), ""),
    (("hs_lead_status", "IN", ("NEW", "OPEN")), "AB"),
    (("city", "IN", ("leeds",)), "A"),
    (("city", "IN", ("Leeds",)), ""),
    (("city", "NOT_IN", ("leeds",)), "BC"),
    (("city", "BETWEEN", "lea", "leeds"), "A"),
    (("city", "HAS_PROPERTY"), "AB"),
    (("city", "NOT_HAS_PROPERTY"), "C"),
    (("city", "CONTAINS_TOKEN", "leeds"), "AB"),
    (("city", "CONTAINS_TOKEN", "lee"), ""),
    (("city", "CONTAINS_TOKEN", "lee*"), "AB"),
    (("city", "CONTAINS_TOKEN", "*ay"), "B"),
    (("city", "NOT_CONTAINS_TOKEN", "bay"), "AC"),
    (("email", "CONTAINS_TOKEN", "corp.example"), "A"),
    (("code", "EQ", "a-1"), "A"),
    (("hs_lastmodifieddate", "GTE", "0"), ""),
    (("misspelt", "NOT_HAS_PROPERTY"), ""),
]


@pytest.mark.parametrize(("condition", "found"), OPERATORS, ids=[" ".join(map(str, each[0])) for each in OPERATORS])
def test_an_operator_finds_what_it_should(condition: tuple[Any, ...], found: str, three: Bench) -> None:
    """Each operator on text, numbers, times and options; text without case except in IN, the wrong name finds nothing."""
    assert names(three, condition) == found


def test_filters_of_a_group_all_hold_and_groups_are_alternatives(three: Bench) -> None:
    """AND inside, OR between, nobody twice."""
    assert names(three, ("city", "HAS_PROPERTY"), ("score", "GT", "9")) == "B"

    def group(*filters: tuple[str, str, str]) -> dict[str, Any]:
        return {"filters": [{"propertyName": name, "operator": how, "value": value} for name, how, value in filters]}

    either = [group(("firstname", "EQ", "Cy")), group(("score", "GTE", "9")), group(("score", "GTE", "10"))]
    assert sorted(names(three, filterGroups=either)) == list("ABC")


@pytest.mark.parametrize(
    ("sort", "found"),
    [
        (None, "ABC"),
        ({"propertyName": "createdate", "direction": "DESCENDING"}, "CBA"),
        ({"propertyName": "lastmodifieddate", "direction": "DESCENDING"}, "CBA"),
        ({"propertyName": "score", "direction": "ASCENDING"}, "ABC"),
        ({"propertyName": "score", "direction": "DESCENDING"}, "BAC"),
        ({"propertyName": "firstname", "direction": "DESCENDING"}, "CBA"),
        ("-firstname", "CBA"),
        ("firstname", "ABC"),
    ],
)
def test_one_sort_and_by_age_without(sort: Any, found: str, three: Bench) -> None:
    """Numbers as numbers, empty ones last; unsorted results come oldest first."""
    assert names(three, **({"sorts": [sort]} if sort else {})) == found


def test_sorting_by_id_is_numeric(bench: Bench) -> None:
    """Both ways; the list of one query is the same for all its pages."""
    made = sorted((int(bench.create(firstname=str(number))) for number in range(30)), key=int)
    for direction, expected in (("ASCENDING", made), ("DESCENDING", made[::-1])):
        sorts = [{"propertyName": "hs_object_id", "direction": direction}]
        assert [int(each) for each in bench.found(sorts=sorts, limit=200)] == expected
    assert [
        int(each)
        for each in bench.found(("hs_object_id", "GT", str(made[9])), sorts=[{"propertyName": "hs_object_id"}])
    ] == made[10:20]
    both = ("hs_object_id", "GT", str(made[9])), ("hs_object_id", "GT", str(made[19]))
    assert [int(each) for each in bench.found(*both, sorts=[{"propertyName": "hs_object_id"}])] == made[20:]


def test_after_is_an_offset(three: Bench) -> None:
    """A record that leaves the result moves the rest up, and a page is missed; ``total`` counts all."""
    sorts = [{"propertyName": "createdate", "direction": "ASCENDING"}]
    first = three.search(("firstname", "HAS_PROPERTY"), sorts=sorts, limit=1)
    assert (first.json["total"], first.json["paging"]) == (3, {"next": {"after": "1"}})
    three.call("DELETE", f"/crm/v3/objects/contacts/{ids(first)[0]}")
    assert names(three, ("firstname", "HAS_PROPERTY"), sorts=sorts, limit=1, after="1") == "C"


REFUSED: list[tuple[str, dict[str, Any]]] = [
    ("limit", {"limit": 201}),
    ("limit 0", {"limit": 0}),
    ("after", {"after": "x"}),
    ("beyond the cap", {"after": "10000", "limit": 1}),
    ("across the cap", {"after": "9999", "limit": 2}),
    ("two sorts", {"sorts": [{"propertyName": "a"}, {"propertyName": "b"}]}),
    ("six groups", {"filterGroups": [{"filters": []}] * 6}),
    ("seven filters", {"filterGroups": [{"filters": [{"propertyName": "city", "operator": "HAS_PROPERTY"}] * 7}]}),
    (
        "nineteen filters",
        {
            "filterGroups": [
                {"filters": [{"propertyName": "city", "operator": "HAS_PROPERTY"}] * n} for n in (6, 6, 6, 1)
            ]
        },
    ),
    ("operator", {"filterGroups": [{"filters": [{"propertyName": "city", "operator": "SINCE", "value": "1"}]}]}),
    ("no value", {"filterGroups": [{"filters": [{"propertyName": "city", "operator": "EQ"}]}]}),
    ("no high value", {"filterGroups": [{"filters": [{"propertyName": "city", "operator": "BETWEEN", "value": "1"}]}]}),
    (
        "no time",
        {"filterGroups": [{"filters": [{"propertyName": "lastmodifieddate", "operator": "GT", "value": "now"}]}]},
    ),
    ("no number", {"filterGroups": [{"filters": [{"propertyName": "hs_object_id", "operator": "GT", "value": "x"}]}]}),
    ("3,000 characters", {"query": "x" * 3000}),
]


@pytest.mark.parametrize("body", [each[1] for each in REFUSED], ids=[each[0] for each in REFUSED])
def test_search_refuses(body: dict[str, Any], bench: Bench) -> None:
    """Everything beyond the limits of the search guide is a 400."""
    reply = bench.call("POST", "/crm/v3/objects/contacts/search", body)
    assert (reply.status, reply.json["category"]) == (400, "VALIDATION_ERROR")


@pytest.mark.parametrize(
    "body",
    [
        {"after": "9999", "limit": 1},
        {"filterGroups": [{"filters": [{"propertyName": "city", "operator": "HAS_PROPERTY"}] * 6}] * 3},
    ],
)
def test_search_allows(body: dict[str, Any], bench: Bench) -> None:
    """The limits themselves are still good."""
    assert bench.call("POST", "/crm/v3/objects/contacts/search", body).status == 200


def test_search_hears_of_a_write_when_its_lag_is_over() -> None:
    """A new record is not there at first; a changed one is shown as it was, in its old place, with its old time."""
    bench = Bench(search_lag_s=(5.0, 5.0))
    record = bench.create(firstname="Ada", city="Leeds")
    assert bench.search().json["total"] == 0
    assert bench.read(record, "city")["city"] == "Leeds"
    bench.now_s += 4.999
    assert bench.found() == []
    bench.now_s += 0.001
    assert bench.found() == [record]
    changed_s = bench.now_s
    bench.call("PATCH", f"/crm/v3/objects/contacts/{record}", {"properties": {"city": "York"}})
    (old,) = bench.search(("city", "EQ", "leeds"), properties=["city"]).json["results"]
    assert (old["properties"]["city"], old["updatedAt"]) == ("Leeds", "2026-01-01T00:00:00.000Z")
    assert bench.found(("city", "EQ", "york")) == []
    assert bench.found(("lastmodifieddate", "GTE", str(round(changed_s * 1000)))) == []
    bench.now_s = changed_s + 5
    assert bench.found(("city", "EQ", "york")) == [record]
    assert bench.found(("city", "EQ", "leeds")) == []
    assert bench.found(("lastmodifieddate", "GTE", str(round(changed_s * 1000)))) == [record]


def test_a_lag_can_be_one_record_s_own() -> None:
    """Two writes may become visible the other way round, and an older version never hides a newer one."""
    bench = Bench()
    slow, quick = bench.create(firstname="Slow"), bench.create(firstname="Quick")
    bench.portal.search_lag(slow, 60)
    for record in (slow, quick):
        bench.call("PATCH", f"/crm/v3/objects/contacts/{record}", {"properties": {"city": "York"}})
        bench.now_s += 1
    assert bench.found(("city", "EQ", "york")) == [quick]
    bench.portal.search_lag(slow, None)
    bench.call("PATCH", f"/crm/v3/objects/contacts/{slow}", {"properties": {"city": "Leeds"}})
    assert bench.found(("city", "EQ", "leeds")) == [slow]
    bench.now_s += 120
    assert bench.found(("city", "EQ", "leeds")) == [slow]
    assert bench.found(("city", "EQ", "york")) == [quick]
    with pytest.raises(LookupError):
        bench.portal.search_lag("1", 1)


def test_what_is_deleted_is_out_at_once_and_what_was_on_its_way_never_comes() -> None:
    """Archived records never appear, whatever the lag; a restored one comes back with it."""
    bench = Bench(search_lag_s=(5.0, 5.0))
    record = bench.create(firstname="Ada")
    bench.now_s += 5
    assert bench.found() == [record]
    bench.call("PATCH", f"/crm/v3/objects/contacts/{record}", {"properties": {"city": "York"}})
    bench.call("DELETE", f"/crm/v3/objects/contacts/{record}")
    assert bench.found() == []
    bench.now_s += 10
    assert bench.found() == []
    bench.portal.person.restore(record)
    assert bench.found() == []
    bench.now_s += 5
    assert bench.found(("city", "EQ", "york")) == [record]


def test_a_walk_by_id_through_one_moment_finds_all_of_25000() -> None:
    """25,000 records share one modified time: by key they are all found once; by offset the cap stops at 10,000."""
    bench = Bench({"seed": 1, "leads": 25_000, "same_modified_ms": NOW_MS - 1000})
    bench.checked = False
    window = ("lastmodifieddate", "GTE", str(NOW_MS - 1000)), ("lastmodifieddate", "LT", str(NOW_MS))
    seen: list[str] = []
    last = "0"
    while True:
        page = bench.found(*window, ("hs_object_id", "GT", last), sorts=[{"propertyName": "hs_object_id"}], limit=200)
        if not page:
            break
        seen += page
        last = page[-1]
    assert (len(seen), len(set(seen))) == (25_000, 25_000)
    assert seen == sorted(seen, key=int)
    assert bench.search(*window, limit=200, after="9800").json["paging"] == {"next": {"after": "10000"}}
    bench.now_s += 1
    assert bench.search(*window, limit=200, after="10000").status == 400


def test_the_index_agrees_with_a_plain_look_at_everything() -> None:
    """Over random changes, deletions and returns, every indexed query gives what a comparison of all live records gives."""
    rng = random.Random(3)
    bench = Bench({"seed": 3, "leads": 60}, search_per_s=1000, burst_per_10_s=10_000)
    person, truth = bench.portal.person, bench.portal.truth
    for _ in range(150):
        bench.now_s += rng.choice((0, 0, 1))
        live, binned = sorted(truth().live["contacts"]), sorted(truth().archived["contacts"])
        what = rng.random()
        if what < 0.5:
            person.edit(rng.choice(live), {"city": rng.choice(("Leeds", "York", ""))})
        elif what < 0.7:
            person.delete(rng.choice(live))
        elif what < 0.8 and binned:
            person.restore(rng.choice(binned))
        elif what < 0.9:
            person.create("contacts", invented(rng, 1000 + rng.randrange(10**9)))
        else:
            person.merge(*rng.sample(live, 2))
        low = round((bench.now_s - 2) * 1000)
        expected = {
            record
            for record, properties in truth().live["contacts"].items()
            if properties["lastmodifieddate"] >= iso_of(low) and properties.get("city", "").lower() in {"leeds", "york"}
        }
        found = bench.search(
            ("lastmodifieddate", "GTE", str(low)),
            ("city", "IN", ("leeds", "york")),
            sorts=[{"propertyName": "hs_object_id"}],
            limit=200,
        )
        assert ids(found) == sorted(expected, key=int)
        assert found.json["total"] == len(expected)


def iso_of(ms: int) -> str:
    """The time as a property holds it."""
    return datetime.fromtimestamp(ms / 1000, UTC).isoformat(timespec="milliseconds").replace("+00:00", "Z")
