"""What every adapter promises of feeds, pages, records and reads."""

import pytest

from sales_crm_bridge.model import Feed, FeedKind, LeadState, Paging, Raw, Ref
from tests.contract.world import World


def test_feeds_are_one_sweep_and_those_that_are_declared(world: World) -> None:
    """Exactly one SWEEP, which alone may drift; a REMOVED if declared; constant, in a fixed order, names unique."""
    feeds = world.adapter.feeds()
    kinds = [feed.kind for feed in feeds]
    assert tuple(kinds) == world.feeds
    assert kinds.count(FeedKind.SWEEP) == 1
    assert [feed.kind for feed in feeds if feed.drifts] in ([], [FeedKind.SWEEP])
    assert (FeedKind.REMOVED in kinds) == world.adapter.capabilities.removed_feed
    assert list(world.adapter.feeds()) == list(feeds)
    assert len({feed.name for feed in feeds}) == len(feeds)
    assert all(feed.page_max >= 1 for feed in feeds)


def test_a_sweep_shows_every_live_record_exactly_once(world: World) -> None:
    """Pages of any size: each live record in one page, none that is removed, and no page beyond its limit."""
    ids = {world.create(number) for number in range(23)}
    gone = world.create(99)
    world.delete(gone)
    for limit in (1, 7, 23, 100):
        feed = world.feed(FeedKind.SWEEP)
        pages = list(world.pages(feed, world.window(feed, 0, 0), limit))
        assert all(len(page.raws) <= limit for page in pages)
        seen = [raw.id for page in pages for raw in page.raws]
        assert sorted(seen) == sorted(ids)
        assert [page.done for page in pages] == [False] * (len(pages) - 1) + [True]


def test_an_empty_account_is_one_empty_page(world: World) -> None:
    """A sweep, a window and the removed records of an empty account end at once."""
    for feed in world.adapter.feeds():
        (page,) = world.pages(feed, world.window(feed, 0, world.clock.now_us), 10)
        assert page.raws == []


def test_changes_with_one_modified_time_are_seen_once_each(world: World) -> None:
    """1,000 records of one moment, pages of 100: all of them, none twice, no loop; the next window has none of them."""
    if not world.timed:
        pytest.skip("the CRM does not tell what changed since a time")
    ids = {world.create(number) for number in range(1_000)}
    modified_us = world.clock.now_us
    grain_us = world.adapter.capabilities.time_step_us
    feed = world.feed(FeedKind.CHANGES)
    lo_us = modified_us - modified_us % grain_us
    seen: list[str] = []
    for page in world.pages(feed, world.window(feed, lo_us, lo_us + grain_us), 100):
        assert len(page.raws) <= 100
        seen += [raw.id for raw in page.raws]
    assert sorted(seen) == sorted(ids)
    later = list(world.pages(feed, world.window(feed, lo_us + grain_us, lo_us + 60_000_000), 100))
    assert [raw for page in later for raw in page.raws] == []


def test_a_window_holds_its_beginning_and_not_its_end(world: World) -> None:
    """[lo, hi): what was modified at ``lo`` is in, what was modified at ``hi`` is not."""
    if not world.timed:
        pytest.skip("the CRM does not tell what changed since a time")
    grain_us = world.adapter.capabilities.time_step_us
    world.clock.now_s = float(int(world.clock.now_s))
    times: dict[str, int] = {}
    for number in range(3):
        times[world.create(number)] = world.clock.now_us
        world.clock.advance(max(grain_us / 1e6, 0.001))
    first, second, third = times
    feed = world.feed(FeedKind.CHANGES)
    pages = world.pages(feed, world.window(feed, times[first], times[third]), 10)
    assert sorted(raw.id for page in pages for raw in page.raws) == sorted([first, second])


def test_a_position_asked_twice_gives_the_same_records(world: World) -> None:
    """A walk killed after any page goes on from its position: pulling it again changes nothing."""
    for number in range(12):
        world.create(number)
    for kind in (FeedKind.SWEEP, FeedKind.CHANGES)[: 1 + world.timed]:
        feed = world.feed(kind)
        position = world.window(feed, 0, world.clock.now_us + 60_000_000)
        for _ in range(3):
            one = world.converse(world.adapter.pull(feed, position, 4))
            two = world.converse(world.adapter.pull(feed, position, 4))
            assert [raw.data for raw in one.raws] == [raw.data for raw in two.raws]
            assert (one.next, one.done) == (two.next, two.done)
            position = one.next


def test_a_change_shows_in_time_version_and_bytes(world: World) -> None:
    """An edit of any mapped field gives the record another fingerprint and, where the CRM tells times, another version and time."""
    crm_id = world.create(1)
    (before,) = world.raws(FeedKind.SWEEP)
    for field, value in (("name", "Changed"), ("email", "other@corp.example"), ("phone", "+1 555 1")):
        world.clock.advance(5)
        asked_us = world.clock.now_us
        world.edit(crm_id, {field: value})
        world.clock.advance(5)
        after = [
            raw
            for feed in world.adapter.feeds()
            if feed.kind is (FeedKind.CHANGES if world.timed else FeedKind.SWEEP)
            for raw in _changed(world, feed, asked_us)
        ]
        (after_raw,) = {raw.data: raw for raw in after}.values()
        assert after_raw.id == crm_id
        assert after_raw.data != before.data
        assert (after_raw.version != before.version) is world.timed
        assert (after_raw.modified_us > before.modified_us) is world.timed
        assert world.adapter.decode([after_raw])[0].fields[world.fields[field]] == value
        before = after_raw


def _changed(world: World, feed: Feed, asked_us: int) -> list[Raw]:
    start = world.window(feed, asked_us - 1_000_000, world.clock.now_us)
    return [raw for page in world.pages(feed, start, 10) for raw in page.raws]


def test_what_is_unchanged_has_the_same_bytes_in_every_walk(world: World) -> None:
    """A record that a sweep has shown is recognised in a window by its fingerprint, without being decoded."""
    if not world.timed:
        pytest.skip("the CRM does not tell what changed since a time")
    world.create(1)
    (swept,) = world.raws(FeedKind.SWEEP)
    (changed,) = world.raws(FeedKind.CHANGES)
    assert swept == changed


def test_removed_records_are_found(world: World) -> None:
    """The REMOVED feed shows each record of the bin once, as ARCHIVED, with another version than it had alive."""
    if not world.adapter.capabilities.removed_feed:
        pytest.skip("removed_feed is not declared")
    alive = {world.create(number) for number in range(3)}
    doomed = {world.create(number) for number in range(3, 8)}
    versions = {raw.id: raw.version for raw in world.raws(FeedKind.SWEEP)}
    world.clock.advance(5)
    for crm_id in sorted(doomed):
        world.delete(crm_id)
    raws = world.raws(FeedKind.REMOVED, limit=2)
    assert sorted(raw.id for raw in raws) == sorted(doomed)
    assert all(raw.version != versions[raw.id] for raw in raws)
    assert {record.state for record in world.adapter.decode(raws)} == {LeadState.ARCHIVED}
    assert {record.id for record in world.records(FeedKind.SWEEP)} == alive


def test_decode_gives_one_record_for_each_raw_in_order(world: World) -> None:
    """Same length, same order, same ids; every field that the mapping asked for is there, and no other; decoding is pure."""
    numbers = {world.create(number, key=f"L-{number}"): number for number in range(6)}
    raws = world.raws(FeedKind.SWEEP)[::-1]
    records = world.adapter.decode(raws)
    assert [record.id for record in records] == [raw.id for raw in raws]
    assert [(record.version, record.modified_us) for record in records] == [(r.version, r.modified_us) for r in raws]
    assert all(set(record.fields) == set(world.fields.values()) for record in records)
    for record in records:
        number = numbers[record.id]
        assert record.fields[world.fields["name"]] == f"Lead {number}"
        assert record.key == (f"L-{number}" if world.adapter.capabilities.read_by_key else "")
        assert 0 < record.created_us <= record.modified_us or not world.timed
    assert world.adapter.decode(raws) == records
    assert world.adapter.decode([]) == []


def test_read_shows_every_state_in_the_order_asked(world: World) -> None:
    """Live, archived, gone and unknown refs, by id and by key, mixed: one record each, in order."""
    live = world.create(1, key="L-1")
    bin_ = world.create(2)
    world.delete(bin_)
    erased = world.create(3)
    world.delete(erased)
    world.erase(erased)
    keyed = world.adapter.capabilities.read_by_key
    binned = LeadState.ARCHIVED if world.adapter.capabilities.restores else LeadState.GONE
    asked = [
        (Ref(id=bin_), binned, bin_),
        (Ref(id="999999999999"), LeadState.GONE, "999999999999"),
        (Ref(key="L-1"), LeadState.LIVE, live),
        (Ref(id=live), LeadState.LIVE, live),
        (Ref(id=erased), LeadState.GONE, erased),
        (Ref(key="L-none"), LeadState.GONE, ""),
        (Ref(id=live), LeadState.LIVE, live),
    ]
    asked = [one for one in asked if keyed or one[0].id]
    records = world.converse(world.adapter.read([ref for ref, _, _ in asked]))
    assert [(record.state, record.id) for record in records] == [(state, name) for _, state, name in asked]
    alive = [record for record in records if record.state is LeadState.LIVE]
    assert alive == [alive[0]] * len(alive)
    assert alive[0].key == ("L-1" if keyed else "")
    assert set(alive[0].fields) == set(world.fields.values())
    assert world.converse(world.adapter.read([])) == []


def test_read_takes_many_refs(world: World) -> None:
    """More refs than the CRM takes in one call are read all the same, each with its own record."""
    ids = [world.create(number) for number in range(130)]
    records = world.converse(world.adapter.read([Ref(id=name) for name in reversed(ids)]))
    assert [record.id for record in records] == ids[::-1]


def test_read_needs_no_search_index(world: World) -> None:
    """A read shows a write at once, also where search lags."""
    crm_id = world.create(1, key="L-1")
    world.calls.clear()
    world.converse(world.adapter.read([Ref(id=crm_id), *world.ref("L-1")]))
    assert world.calls
    assert all(not call.budget for call in world.calls)


def test_a_sweep_record_is_what_a_read_shows(world: World) -> None:
    """Decoding a page and reading the same records give the same values, versions and keys."""
    for number in range(4):
        world.create(number, key=f"L-{number}" if number % 2 else "")
    swept = world.records(FeedKind.SWEEP)
    assert swept == world.converse(world.adapter.read([Ref(id=record.id) for record in swept]))


def test_a_restored_record_is_live_again_under_another_version(world: World) -> None:
    """Archived and back: read says so each time, and no two of the three versions are equal."""
    if not world.adapter.capabilities.restores:
        pytest.skip("restores is not declared")
    crm_id = world.create(1)
    told = [*world.converse(world.adapter.read([Ref(id=crm_id)]))]
    world.clock.advance(5)
    world.delete(crm_id)
    told += world.converse(world.adapter.read([Ref(id=crm_id)]))
    world.clock.advance(5)
    world.restore(crm_id)
    told += world.converse(world.adapter.read([Ref(id=crm_id)]))
    assert [record.state for record in told] == [LeadState.LIVE, LeadState.ARCHIVED, LeadState.LIVE]
    assert len({record.version for record in told}) == 3


def test_a_merge_shows_at_both_ends(world: World) -> None:
    """The old id reads as MERGED into the survivor, the survivor names what was merged into it, in reads and in pages."""
    if not world.adapter.capabilities.merges:
        pytest.skip("merges is not declared")
    one, two, three = (world.create(number) for number in range(3))
    survivor = world.merge(one, two)
    last = world.merge(survivor, three)
    lost = {one, two, three, survivor} - {last}
    records = world.converse(world.adapter.read([Ref(id=name) for name in sorted(lost)]))
    assert {record.state for record in records} == {LeadState.MERGED}
    assert {record.into for record in records} == {last}
    (record,) = world.converse(world.adapter.read([Ref(id=last)]))
    assert set(record.merged_ids) == lost
    (swept,) = world.records(FeedKind.SWEEP)
    assert set(swept.merged_ids) == lost


def test_paging_is_what_the_feed_says(world: World) -> None:
    """The position that comes back is of the same kind as the one that was asked from."""
    world.create(1)
    kinds = {Paging.CURSOR: "Cursor", Paging.WINDOW: "Window", Paging.KEYSET: "Keyset", Paging.STREAM: "Stream"}
    for feed in world.adapter.feeds():
        page = world.converse(world.adapter.pull(feed, world.window(feed, 0, world.clock.now_us), 5))
        assert type(page.next).__name__ == kinds[feed.paging]
