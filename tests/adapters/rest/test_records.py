"""Records and lists: values from answers and back, and walks whose pages lie about their order, their end or their size."""

import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sales_crm_bridge.errors import Bug, CrmUnavailable
from sales_crm_bridge.model import Cursor, FeedKind, HttpCall, Keyset, LeadState, Page, Paging, Position, Ref, Window
from tests.adapters.rest.kit import adapter, hold, reply, row, write


def decoded(
    record: dict[str, object], changes: dict[str, Any] | None = None, fields: tuple[str, ...] = ("name",)
) -> Any:
    """The record as the adapter reads it from a page."""
    trial = adapter(changes, fields)
    page, _ = hold(trial.pull(trial.feeds()[0], Cursor(), 10), reply({"rows": [record]}))
    (one,) = trial.decode(page.raws)
    return one


# --- records ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("value", "option", "read"),
    [
        ("x", {}, "x"),
        (5, {}, 5),
        (1.5, {}, 1.5),
        (False, {}, False),
        (None, {}, None),
        ("", {}, ""),
        ("", {"empty": [""]}, None),
        (False, {"empty": [False]}, None),
        (0, {"empty": [False]}, 0),
        (["a", "b"], {}, "a;b"),
        (["a", "b"], {"separator": ","}, "a,b"),
        ([], {}, None),
        ([{"x": 1}], {}, '[{"x":1}]'),
        ({"x": 1}, {}, '{"x":1}'),
        ([7, "Ada"], {"read": "name.1"}, "Ada"),
        ([{"n": "a"}, {"n": "b"}], {"read": "name.*.n"}, "a;b"),
        (False, {"read": "name.0"}, None),
    ],
)
def test_values_are_read_as_the_mapping_takes_them(value: object, option: dict[str, object], read: object) -> None:
    """A single value as it is, a list as one text, what means nothing as nothing; anything deeper is not lost but is its text."""
    changes = {"record.options": {"name": option}} if option else None
    assert decoded(row(1, name=value), changes).fields == {"name": read}


@pytest.mark.parametrize(
    ("value", "option", "written"),
    [
        ("x", {}, {"name": "x"}),
        (None, {}, {"name": None}),
        (None, {"clear": False}, {"name": False}),
        (None, {"clear": ""}, {"name": ""}),
        ("a;b", {"separator": ";"}, {"name": ["a", "b"]}),
        (None, {"separator": ";"}, {"name": []}),
        (7, {"read": "name.0", "write": "name_id"}, {"name_id": 7}),
        ("x", {"write": "deep.er"}, {"deep": {"er": "x"}}),
    ],
)
def test_values_are_written_as_the_crm_takes_them(
    value: Any, option: dict[str, object], written: dict[str, object]
) -> None:
    """Where they are written, in the CRM's word for nothing, a list as a list."""
    trial = adapter({"record.options": {"name": option}} if option else None, ("name",))
    _, (call,) = hold(trial.push([write(1, {"name": value}, "r1")]), reply(row(1)))
    assert json.loads(call.body) == written


def test_fields_in_an_object_of_their_own() -> None:
    """Read from it and written as it; our key stands among them or beside them, and is written only where it stands among them."""
    within = {"record.fields": "data.attributes", "record.key": "data.attributes.ours"}
    record = {**row(1), "data": {"attributes": {"name": "Ada", "ours": "L-9", "a": {"b": 1}}}}
    one = decoded(record, within, ("name", "a.b"))
    assert (one.fields, one.key) == ({"name": "Ada", "a.b": 1}, "L-9")
    trial = adapter(within, ("name", "a.b"))
    _, (call,) = hold(trial.push([write(1, {"name": "x", "a.b": 2})]), reply(row(1)))
    assert json.loads(call.body) == {"name": "x", "a": {"b": 2}, "ours": "L-1"}
    beside = adapter({"record.fields": "data.attributes"}, ("name",))
    _, (call,) = hold(beside.push([write(1, {"name": "x"})]), reply(row(1)))
    assert json.loads(call.body) == {"name": "x"}


def test_states_successors_survivors_and_what_was_merged() -> None:
    """The first state that holds; a survivor is named only by a merged record, successors only by a converted one."""
    changes = {
        "record.states": {
            "archived": {"deleted": True},
            "merged": {"into": {"present": True}},
            "converted": {"status": ["converted", "won"]},
        },
        "record.into": "into",
        "record.merged_ids": "merged.*.id",
        "record.successors": {"deal": "deal.id", "account": "account"},
        "record.url": "https://crm.example/{id}",
    }
    live = decoded(row(1, merged=[{"id": 4}, {"id": "5"}, {"id": 4}, {"id": None}], deal={"id": 9}), changes)
    assert (live.state, live.merged_ids, live.successors, live.into) == (LeadState.LIVE, ("4", "5"), (), "")
    assert live.url == "https://crm.example/r1"
    assert decoded(row(1, deleted=True, into=7), changes).state is LeadState.ARCHIVED
    merged = decoded(row(1, into=7, status="won"), changes)
    assert (merged.state, merged.into) == (LeadState.MERGED, "7")
    converted = decoded(row(1, status="won", deal={"id": 9}, account=None), changes)
    assert (converted.state, converted.successors) == (LeadState.CONVERTED, (("deal", "9"),))


def test_a_version_is_what_is_declared_or_the_time_of_the_last_change() -> None:
    """As text, whatever the CRM counts in; carried as a number where that is declared."""
    assert decoded(row(1)).version == "e1"
    assert decoded(row(1), {"record.version": None}).version == "2026-01-01T00:00:00.000000Z"
    assert decoded(row(1, etag=None)).version == ""
    counted = {
        "record.version": {"at": "etag", "type": "number"},
        "write.update.body": {"v": "{version}", "f": "{fields}"},
    }
    assert decoded(row(1, etag=41), counted).version == "41"
    _, (call,) = hold(adapter(counted).push([write(1, {"name": "x"}, "r1", version="41")]), reply(row(1)))
    assert json.loads(call.body) == {"v": 41, "f": {"name": "x"}}
    _, (call,) = hold(adapter(counted).push([write(1, {"name": "x"}, "r1")]), reply(row(1)))
    assert json.loads(call.body) == {"f": {"name": "x"}}


def test_ids_are_numbers_where_requests_must_carry_them_so() -> None:
    """In bodies and lists of ids; one that cannot be a number is not there, and nobody is asked."""
    changes = {"record.id": {"at": "id", "type": "number"}, "read.one": {"path": "/r", "body": {"id": "{id}"}}}
    trial = adapter(changes)
    (one, other), (call,) = hold(trial.read([Ref(id="7"), Ref(id="r1")]), reply(row(1, id=7)))
    assert json.loads(call.body) == {"id": 7}
    assert (one.id, one.state) == ("7", LeadState.LIVE)
    assert (other.id, other.state) == ("r1", LeadState.GONE)
    (outcome,), _ = hold(trial.push([write(1, {"name": "x"}, "r1")]))
    assert outcome.code == "rest.no-such-id"  # type: ignore[union-attr]


# --- lists ------------------------------------------------------------------------------------------------------------


class Shelf:
    """A list of numbered rows that is cut as it is asked, with a limit of its own."""

    def __init__(self, count: int, cap: int = 1_000) -> None:
        self.rows = [row(number) for number in range(count)]
        self.cap = cap
        self.asked: list[dict[str, str]] = []

    def __call__(self, call: HttpCall) -> Any:
        query = dict(call.query)
        self.asked.append(query)
        size = min(int(query.get("limit", 10)), self.cap)
        start = int(query["offset"]) if "offset" in query else (int(query["page"]) - 1) * size
        return reply(
            {"rows": self.rows[start : start + size], "count": len(self.rows), "more": start + size < len(self.rows)}
        )


def walk(trial: Any, shelf: Any, limits: list[int], position: Any = None) -> list[Page]:
    """Walk the sweep to its end, with these limits in turn."""
    feed = trial.feeds()[0]
    pages: list[Page] = []
    position = position or Cursor()
    for turn in range(100):
        page, _ = hold(trial.pull(feed, position, limits[turn % len(limits)]), shelf)
        pages.append(page)
        if page.done:
            return pages
        position = page.next
    raise AssertionError("a walk without an end")


PAGED: dict[str, dict[str, Any]] = {
    "offset": {
        "lists.all.query": {"offset": "{offset}", "limit": "{limit}"},
        "lists.all.page": {"by": "offset", "size": 50},
    },
    "number": {
        "lists.all.query": {"page": "{page}", "limit": "{limit}"},
        "lists.all.page": {"by": "number", "size": 50},
    },
}


@given(count=st.integers(0, 60), cap=st.integers(1, 20), limits=st.lists(st.integers(1, 30), min_size=1, max_size=4))
@pytest.mark.parametrize("end", [{}, {"more": "more"}, {"total": "count"}])
def test_offsets_pass_over_nothing_whatever_the_crm_gives(
    end: dict[str, str], count: int, cap: int, limits: list[int]
) -> None:
    """A CRM that gives fewer than it is asked for, limits that change between pages: every record once."""
    changes = {**PAGED["offset"], "lists.all.page": {**PAGED["offset"]["lists.all.page"], **end}}
    trial = adapter(changes)
    assert trial.feeds()[0].drifts
    seen = [raw.id for page in walk(trial, Shelf(count, cap), limits) for raw in page.raws]
    assert seen == [f"r{number}" for number in range(count)]


@given(count=st.integers(0, 60), limits=st.lists(st.integers(1, 30), min_size=1, max_size=4))
@pytest.mark.parametrize("end", [{}, {"more": "more"}, {"total": "count"}])
def test_numbered_pages_keep_their_size_along_a_walk(end: dict[str, str], count: int, limits: list[int]) -> None:
    """Page 2 of another size is another page: the size of the first page is kept, whatever is asked later."""
    changes = {**PAGED["number"], "lists.all.page": {**PAGED["number"]["lists.all.page"], **end}}
    shelf = Shelf(count)
    seen = [raw.id for page in walk(adapter(changes), shelf, limits) for raw in page.raws]
    assert seen == [f"r{number}" for number in range(count)]
    assert len({query["limit"] for query in shelf.asked}) == 1


def test_two_lists_in_one_answer_are_read_to_the_end_of_the_longer_one() -> None:
    """Cut by the same offset, each its share of the limit; a record that stands in both counts once."""
    changes = {**PAGED["offset"], "lists.all.records": ["open.rows", "closed.rows"]}
    changes["lists.all.page"] = {"by": "offset", "size": 50, "short_ends": True}
    books = {"open": [row(n) for n in range(7)], "closed": [row(n) for n in range(6, 9)]}

    def answer(call: HttpCall) -> Any:
        query = {name: int(value) for name, value in call.query}
        cut = slice(query["offset"], query["offset"] + query["limit"])
        return reply({name: {"rows": rows[cut]} for name, rows in books.items()})

    pages = walk(adapter(changes), answer, [5])
    assert all(len(page.raws) <= 5 for page in pages)
    assert len(pages) == 4
    assert {raw.id for page in pages for raw in page.raws} == {f"r{number}" for number in range(9)}


@pytest.mark.parametrize(
    ("answer", "code"),
    [
        ({"rows": {"a": 1}}, "rest.no-list"),
        ({"records": []}, "rest.no-list"),
        ({}, "rest.no-list"),
        ([], "rest.no-list"),
        ({"rows": [{"name": "no id"}]}, "rest.unreadable"),
        ({"rows": [{"id": "r1", "changed": "yesterday"}]}, "rest.unreadable"),
        ({"rows": [5]}, "rest.unreadable"),
        (b'{"rows":[{"id":"r1"', "rest.unreadable"),
    ],
)
def test_what_is_no_page_is_never_an_empty_one(answer: object, code: str) -> None:
    """An answer of another shape: the walk stays where it is, since an empty page would mean that nothing is there."""
    trial = adapter()
    with pytest.raises(CrmUnavailable) as fault:
        hold(trial.pull(trial.feeds()[0], Cursor(), 10), reply(answer))
    assert fault.value.code == code


def test_no_content_and_a_null_are_an_empty_page() -> None:
    """204 and 304 have no body; a null where the list should stand is no list of anything."""
    trial = adapter()
    for answer in (reply(b"", 204), reply(b"", 304), reply({"rows": None, "next": None})):
        page, _ = hold(trial.pull(trial.feeds()[0], Cursor(), 10), answer)
        assert (page.raws, page.done) == ([], True)


def test_a_cursor_that_leads_to_itself_is_a_fault() -> None:
    """Going on would never end."""
    trial = adapter()
    page, _ = hold(trial.pull(trial.feeds()[0], Cursor(), 10), reply({"rows": [row(1)], "next": "c"}))
    assert not page.done
    with pytest.raises(CrmUnavailable, match="stands-still"):
        hold(trial.pull(trial.feeds()[0], page.next, 10), reply({"rows": [row(1)], "next": "c"}))


BY_ID = {"lists.all.query": {"after": "{after}", "limit": "{limit}"}, "lists.all.page": {"by": "id", "size": 50}}


@pytest.mark.parametrize("ids", [["5", "3"], ["10", "9"]])
def test_ids_out_of_order_are_a_fault(ids: list[str]) -> None:
    """What lies between would be passed over; numbers are compared as numbers."""
    trial = adapter(BY_ID)
    with pytest.raises(CrmUnavailable, match="unsorted"):
        hold(trial.pull(trial.feeds()[0], Cursor(), 10), reply({"rows": [row(1, id=one) for one in ids]}))


def test_paging_by_id_goes_on_after_the_last_one() -> None:
    """The first page names none; the walk ends at an empty page; a page that begins before its place is a fault."""
    trial = adapter(BY_ID)
    feed = trial.feeds()[0]
    assert not feed.drifts
    page, (call,) = hold(trial.pull(feed, Cursor(), 2), reply({"rows": [row(1, id="9"), row(2, id="10")]}))
    assert call.query == (("limit", "2"),)
    page, (call,) = hold(trial.pull(feed, page.next, 2), reply({"rows": []}))
    assert ("after", "10") in call.query
    assert page.done
    with pytest.raises(CrmUnavailable, match="unsorted"):
        hold(trial.pull(feed, Cursor(token="10"), 2), reply({"rows": [row(1, id="10")]}))


# --- changes ----------------------------------------------------------------------------------------------------------

CHANGES = {
    "record.modified": {"at": "changed", "format": "epoch_s"},
    "record.created": None,
    "lists.changes": {
        "path": "/changes",
        "query": {"since": "{since}", "offset": "{offset}", "limit": "{limit}"},
        "records": "rows",
        "page": {"by": "time", "size": 100},
    },
}
SECOND_US = 1_000_000


def change(number: int, at_s: int) -> dict[str, object]:
    return row(number, changed=at_s)


@given(
    times=st.lists(st.integers(100, 108), max_size=40).map(sorted),
    limit=st.integers(1, 7),
    lo=st.integers(98, 104),
    length=st.integers(1, 8),
)
def test_ties_of_one_moment_are_passed_over_by_number(times: list[int], limit: int, lo: int, length: int) -> None:
    """However many records share a moment and however small the pages: each of the window once, none of another."""
    trial = adapter(CHANGES)
    feed = next(feed for feed in trial.feeds() if feed.kind is FeedKind.CHANGES)
    assert feed.paging is Paging.KEYSET
    book = [change(number, at_s) for number, at_s in enumerate(times)]

    def answer(call: HttpCall) -> Any:
        query = {name: int(value) for name, value in call.query}
        found = [one for one in book if one["changed"] >= query["since"]]  # type: ignore[operator]
        return reply({"rows": found[query["offset"] : query["offset"] + query["limit"]]})

    hi = lo + length
    position: Any = Keyset(modified_us=lo * SECOND_US, hi_us=hi * SECOND_US)
    seen: list[str] = []
    for _ in range(200):
        page, _ = hold(trial.pull(feed, position, limit), answer)
        seen += [raw.id for raw in page.raws]
        if page.done:
            break
        position = page.next
    else:
        raise AssertionError("a walk without an end")
    assert seen == [f"r{number}" for number, at_s in enumerate(times) if lo <= at_s < hi]


def test_times_out_of_order_are_a_fault() -> None:
    """Going on from the last time would pass over what lies before it."""
    trial = adapter(CHANGES)
    position = Keyset(modified_us=100 * SECOND_US, hi_us=200 * SECOND_US)
    with pytest.raises(CrmUnavailable, match="unsorted"):
        hold(trial.pull(trial.feeds()[1], position, 10), reply({"rows": [change(1, 120), change(2, 110)]}))


def test_a_window_is_asked_for_outwards_and_read_exactly() -> None:
    """A filter that is coarser, or leaves out its own moment: asked from before, and what is outside is passed over."""
    changes = {
        **CHANGES,
        "lists.changes": {
            "path": "/changes",
            "query": {"since": "{since}", "until": "{until}", "offset": "{offset}"},
            "records": "rows",
            "page": {"by": "offset", "size": 100},
            "since_exclusive": True,
            "time": {"format": "datetime", "step": "m"},
        },
    }
    trial = adapter(changes)
    feed = trial.feeds()[1]
    assert feed.paging is Paging.WINDOW
    window = Window(lo_us=130 * SECOND_US, hi_us=190 * SECOND_US)
    page, (call,) = hold(
        trial.pull(feed, window, 10),
        reply({"rows": [change(number, at_s) for number, at_s in enumerate((60, 129, 130, 189, 190))]}),
    )
    assert dict(call.query) == {"since": "1970-01-01 00:01:00", "until": "1970-01-01 00:04:00", "offset": "0"}
    assert [raw.id for raw in page.raws] == ["r2", "r3"]
    assert isinstance(page.next, Window)
    assert (page.next.after, page.done) == ("5", False)


def test_a_position_of_another_kind_is_a_bug() -> None:
    """The core never asks so; if it does, it must be told."""
    trial = adapter(CHANGES)
    wrong: list[Position] = [Window(lo_us=0, hi_us=1), Cursor()]
    for feed, position in zip(trial.feeds(), wrong, strict=True):
        with pytest.raises(Bug):
            hold(trial.pull(feed, position, 10))


# --- removed records --------------------------------------------------------------------------------------------------

REMOVED: dict[str, Any] = {
    "lists.removed": {
        "path": "/deleted",
        "query": {"cursor": "{cursor}"},
        "records": "rows",
        "page": {"by": "cursor", "next": "next", "size": 100},
    }
}


@pytest.mark.parametrize(("state", "told"), [("archived", LeadState.ARCHIVED), ("gone", LeadState.GONE)])
def test_rows_of_a_list_of_removed_records_need_be_no_records(state: str, told: LeadState) -> None:
    """Ids and times of removal: a removed record of another version than it had alive."""
    shape = {"record": {"id": "lead", "modified": "at"}, "state": state}
    trial = adapter({"lists.removed": {**REMOVED["lists.removed"], **shape}})
    page, _ = hold(
        trial.pull(trial.feeds()[1], Cursor(), 10),
        reply({"rows": [{"lead": 7, "at": "2026-01-02T00:00:00Z", "by": "x"}]}),
    )
    (record,) = trial.decode(page.raws)
    assert (record.id, record.state, record.fields) == ("7", told, {})
    assert record.version == "removed:2026-01-02T00:00:00Z"
    assert record.modified_us == 1_767_312_000_000_000


def test_whole_records_of_a_bin_are_removed_even_if_they_do_not_say_so() -> None:
    """They come with their values, and with another version."""
    trial = adapter(REMOVED)
    page, _ = hold(trial.pull(trial.feeds()[1], Cursor(), 10), reply({"rows": [row(1)]}))
    (record,) = trial.decode(page.raws)
    assert (record.state, record.version, record.fields["name"]) == (LeadState.ARCHIVED, "removed:e1", "Lead 1")


# --- what check says of our key ---------------------------------------------------------------------------------------

DESCRIBED = {"path": "/fields", "records": "", "name": "name"}


@pytest.mark.parametrize(
    ("changes", "names", "told"),
    [
        ({}, ("name", "ours"), []),
        ({}, ("name",), ["rest.key-field-missing"]),
        ({"record.key": "custom.ours"}, ("name",), ["rest.key-field-missing"]),
        ({"record.key": "custom.ours"}, ("name", "custom.ours"), []),
        ({"record.key": "custom.ours"}, ("name", "custom"), []),
        ({"record.fields": "data"}, ("name",), []),
        ({"record.options": {"ours": {}}}, ("name",), []),
    ],
)
def test_a_field_for_our_key_that_the_crm_does_not_have_is_a_problem(
    changes: dict[str, Any], names: Sequence[str], told: list[str]
) -> None:
    """It is told before any write; a key that stands apart from the fields, or is declared by itself, need not be listed."""
    trial = adapter({"check": {"fields": DESCRIBED}, **changes}, ["name"])
    account, _ = hold(trial.check(), reply([{"name": name} for name in names]))
    assert [code for code, _, _ in account.problems] == told
    assert all("`record.key`" in said and remedy for _, said, remedy in account.problems)


def test_a_right_that_is_missing_is_named() -> None:
    """By what the declaration says that it is for: refused for this call alone, by a stop of the connection, or in another way."""
    rights = [{"path": "/a", "for": "read leads"}, {"path": "/b", "for": "read notes"}]
    changes = {"check": {"rights": rights}, "failures": [{"when": {"status": 403}, "means": "forbidden"}]}
    account, calls = hold(adapter(changes).check(), reply({}), reply({}, 403))
    assert account.missing == ("read notes",)
    assert [call.shows for call in calls] == ["read leads", "read notes"]
    with pytest.raises(CrmUnavailable, match="read leads") as fault:
        hold(adapter({"check": {"rights": rights}}).check(), reply({}, 400), reply({}))
    assert fault.value.code == "rest.check-refused"
