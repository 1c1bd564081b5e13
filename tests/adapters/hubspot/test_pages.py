"""HubSpot's feeds: what is asked of list and search, and what an answer may not do to a walk."""

import json
from typing import Any

import pytest

from sales_crm_bridge.errors import CrmUnavailable
from sales_crm_bridge.model import Cursor, Feed, FeedKind, HttpCall, LeadState, Raw, Window
from sales_crm_bridge.ports import CrmAdapter
from tests.adapters.hubspot.talks import adapter, hold, reply, row, sent
from tests.contract.world import World
from tests.contract.worlds import HubSpotContacts

WINDOW = Window(lo_us=1_767_225_600_000_000, hi_us=1_767_229_200_000_000)


def feed(ours: CrmAdapter, name: str) -> Feed:
    return next(each for each in ours.feeds() if each.name == name)


def search(window: Window, *rows: Any, limit: int = 200, total: int | None = None, kind: str = "contacts") -> Any:
    ours = adapter("email", object=kind)
    told = {"results": list(rows)} | ({} if total is None else {"total": total})
    return hold(ours.pull(feed(ours, "search"), window, limit), reply(told))


@pytest.mark.parametrize(("kind", "modified"), [("contacts", "lastmodifieddate"), ("leads", "hs_lastmodifieddate")])
def test_a_search_is_a_closed_window_paged_by_id(kind: str, modified: str) -> None:
    """The object's own modified property (the wrong one gives an empty answer), ids after the last, ascending; own budget."""
    _, (call,) = search(after(WINDOW, "512"), limit=50, kind=kind)
    body = sent(call)
    assert call.path == f"/crm/v3/objects/{kind}/search"
    assert call.budget == "search"
    assert body["filterGroups"] == [
        {
            "filters": [
                {"propertyName": modified, "operator": "GTE", "value": "1767225600000"},
                {"propertyName": modified, "operator": "LT", "value": "1767229200000"},
                {"propertyName": "hs_object_id", "operator": "GT", "value": "512"},
            ]
        }
    ]
    assert body["sorts"] == [{"propertyName": "hs_object_id", "direction": "ASCENDING"}]
    assert body["limit"] == 50
    assert {"email", "bridge_lead_id", "hs_merged_object_ids", modified} <= set(body["properties"])
    _, (first,) = search(WINDOW)
    assert len(sent(first)["filterGroups"][0]["filters"]) == 2


def after(window: Window, last: str) -> Window:
    return Window(lo_us=window.lo_us, hi_us=window.hi_us, after=last)


@pytest.mark.parametrize(("lo", "hi"), [(0, 1), (1, 1000), (999, 1001), (1000, 2000)])
def test_a_window_between_milliseconds_stays_exact(lo: int, hi: int) -> None:
    """HubSpot keeps milliseconds: both ends are rounded up, so a time is in the window there exactly when it is here."""
    _, (call,) = search(Window(lo_us=lo, hi_us=hi))
    low, high = (int(one["value"]) for one in sent(call)["filterGroups"][0]["filters"])
    for time_ms in range(4):
        assert (low <= time_ms < high) == (lo <= time_ms * 1000 < hi)


@pytest.mark.parametrize(
    ("ids", "limit", "total", "done"),
    [
        ([], 2, None, True),
        ([], 2, 7, True),
        (["7"], 2, 1, True),
        (["7"], 2, None, False),
        (["7"], 2, 5, False),
        (["7", "8"], 2, 2, False),
        (["7", "8"], 2, 9, False),
    ],
)
def test_a_window_ends_with_an_empty_page_or_one_that_holds_all(
    ids: list[str], limit: int, total: int | None, done: bool
) -> None:
    """A short page ends it only if the index counted no more for this very query; a full one never does."""
    page, _ = search(WINDOW, *(row(name) for name in ids), limit=limit, total=total)
    assert page.done is done
    assert page.next.after == (ids[-1] if ids else "")


@pytest.mark.parametrize("ids", [["8", "7"], ["7", "7"], ["512"], ["100"], ["x"], ["9" * 30]])
def test_a_page_out_of_order_is_not_taken(ids: list[str]) -> None:
    """Ids that do not rise, or do not come after the last: to go on from them could skip records, so nothing is taken."""
    with pytest.raises(CrmUnavailable, match="search-unsorted"):
        search(after(WINDOW, "512" if ids in (["512"], ["100"]) else ""), *(row(name) for name in ids))


def test_ids_are_compared_as_numbers() -> None:
    """Record 9 comes before record 10, though its text does not."""
    page, _ = search(WINDOW, row("9"), row("10"), total=2)
    assert [raw.id for raw in page.raws] == ["9", "10"]
    assert page.next.after == "10"


def test_a_list_is_walked_by_its_cursor() -> None:
    """100 at most, live ones; the cursor is HubSpot's own; no paging is the end."""
    ours = adapter("email")
    more = reply({"results": [row("512")], "paging": {"next": {"after": "513", "link": "https://x"}}})
    page, (call,) = hold(ours.pull(feed(ours, "list"), Cursor(), 500), more)
    assert (page.next, page.done) == (Cursor(token="513"), False)
    assert dict(call.query) | {"properties": ""} == {"limit": "100", "archived": "false", "properties": ""}
    page, (call,) = hold(ours.pull(feed(ours, "list"), Cursor(token="513"), 500), reply({"results": []}))
    assert page.done
    assert dict(call.query)["after"] == "513"


def test_a_cursor_that_stands_still_is_no_walk() -> None:
    """The same cursor again would be a loop without end."""
    ours = adapter("email")
    same = reply({"results": [], "paging": {"next": {"after": "513"}}})
    with pytest.raises(CrmUnavailable, match="stands-still"):
        hold(ours.pull(feed(ours, "list"), Cursor(token="513"), 100), same)


def test_the_archive_shows_when_each_went() -> None:
    """``archivedAt`` is the version and the time of a record in the bin, so a deletion is a change and a return another."""
    ours = adapter("email")
    binned = row("512") | {"archived": True, "archivedAt": "2026-02-01T00:00:00.000Z"}
    page, (call,) = hold(ours.pull(feed(ours, "archived"), Cursor(), 100), reply({"results": [binned]}))
    (raw,) = page.raws
    assert ("archived", "true") in call.query
    assert raw.version == "archived:2026-02-01T00:00:00.000Z"
    assert raw.modified_us == 1_769_904_000_000_000
    (record,) = ours.decode(page.raws)
    assert (record.state, record.version, record.modified_us) == (LeadState.ARCHIVED, raw.version, raw.modified_us)


def decoded(**properties: str | None) -> Any:
    ours = adapter("email", "phone", "city")
    data = json.dumps(row("512", **properties)).encode()
    (record,) = ours.decode([Raw("512", "v", 1, data)])
    return record


def test_null_and_blank_are_empty_and_absent_is_not_shown() -> None:
    """A defined property without a value is null, a cleared one may be blank; one that is not defined is left out, and no value."""
    assert decoded(email=None, phone="").fields == {"email": None, "phone": None}
    assert decoded(email="0", phone="false").fields == {"email": "0", "phone": "false"}


def test_a_survivor_names_all_that_was_merged_into_it() -> None:
    """Both properties count, the older one with its times, and the record's own id does not."""
    record = decoded(hs_merged_object_ids="512;777", hs_calculated_merged_vids="777:1767225600000;9:1;512:4")
    assert record.merged_ids == ("777", "9")
    assert decoded().merged_ids == ()


# --- mappings with very many properties -------------------------------------------------------------------------------


class Wide(HubSpotContacts):
    """A mapping of 150 properties with long names: too much for a search's body."""

    def __init__(self) -> None:
        super().__init__()
        self.names = [f"a_property_with_a_rather_long_name_{number}" for number in range(150)]
        for name in self.names:
            self.portal.add_property("contacts", name)
        self.adapter = self.entry.make({}, (*self.fields.values(), *self.names))


def test_a_wide_mapping_is_read_whole() -> None:
    """A search's body holds 3,000 characters, an address 8,192: pages come without properties and are completed by batch reads."""
    world = Wide()
    ids = [world.create(number) for number in range(120)]
    for crm_id in ids:
        world.portal.person.edit(crm_id, {world.names[-1]: f"value of {crm_id}"})
    gone = ids.pop()
    for kind in (FeedKind.SWEEP, FeedKind.CHANGES):
        records = world.records(kind)
        assert {record.id: record.fields[world.names[-1]] for record in records if record.id != gone} == {
            crm_id: f"value of {crm_id}" for crm_id in ids
        }
    world.delete(gone)
    (record,) = world.records(FeedKind.REMOVED)
    assert (record.id, record.state, record.fields[world.names[-1]]) == (gone, LeadState.ARCHIVED, f"value of {gone}")
    assert all(len(call.body) <= 3000 for call in searches(world))
    assert all(len(str(call.query)) < 8000 for call in world.calls)


def searches(world: World) -> list[HttpCall]:
    found = [call for call in world.calls if call.path.endswith("/search")]
    assert found
    return found


def test_a_search_of_a_usual_mapping_needs_one_call_a_page() -> None:
    """No second call where the properties fit, and the budget of searches is named in every one of them."""
    world = HubSpotContacts()
    world.create(1)
    world.calls.clear()
    world.raws(FeedKind.CHANGES)
    assert [call.path.rpartition("/")[2] for call in world.calls if call.effect.value == "read"] == ["search"]
    assert all(call.budget == "search" and len(call.body) <= 3000 for call in searches(world))
