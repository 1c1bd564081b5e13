"""Where a feed goes next: no time is skipped, none is read before it is settled."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from sales_crm_bridge.model import Cursor, Feed, FeedKind, Paging, Window
from sales_crm_bridge.policy import walks
from sales_crm_bridge.policy.walks import Pace, Pass, Standing

S = 1_000_000
PACE = Pace(
    every_us=30 * S,
    horizon_us=60 * S,
    second_pass_us=900 * S,
    removed_every_us=3600 * S,
    audit_every_us=86_400 * S,
    page_size=100,
)
FEEDS = [
    Feed(name="list", kind=FeedKind.SWEEP, paging=Paging.CURSOR, page_max=100),
    Feed(name="search", kind=FeedKind.CHANGES, paging=Paging.WINDOW, page_max=200),
    Feed(name="archived", kind=FeedKind.REMOVED, paging=Paging.CURSOR, page_max=100),
]


def test_a_feed_of_changes_is_walked_twice_and_urgent_things_come_first() -> None:
    """The incremental pass, the second pass behind it, the removed records, the sweep: in this order."""
    found = walks.walks(FEEDS, PACE)
    assert [(walk.name, walk.turn) for walk in found] == [
        ("search", Pass.FRESH),
        ("search/late", Pass.LATE),
        ("archived", Pass.REMOVED),
        ("list", Pass.SWEEP),
    ]
    assert found[0].delay_us == 60 * S
    assert found[1].delay_us == 900 * S


def test_where_the_sweep_is_the_only_feed_it_is_walked_as_often_as_changes_would_be() -> None:
    """Without CHANGES and STREAM the sweep meets what is new, every ``pull.every``; otherwise it is the audit."""
    (sole,) = walks.walks(FEEDS[:1], PACE)
    assert (sole.turn, sole.every_us, sole.news) == (Pass.SWEEP, PACE.every_us, True)
    audit = walks.walks(FEEDS, PACE)[3]
    assert (audit.every_us, audit.news) == (PACE.audit_every_us, False)
    assert [walk.name for walk in walks.walks(FEEDS, PACE) if walk.news] == ["search"]


@given(st.lists(st.integers(0, 4000), min_size=1, max_size=30), st.sampled_from([0, 1]), st.sampled_from([1, 1000, S]))
def test_windows_join_without_a_hole_and_stay_behind_the_clock(gaps_s: list[int], which: int, step_us: int) -> None:
    """Whatever the times of the runs, each window begins where the last one ended, and never reaches past clock − delay."""
    walk = walks.walks(FEEDS, PACE)[which]
    now_us = 1_700_000_000 * S
    standing = walks.first(walk, now_us, PACE, now_us)
    reached_us = standing.begun_us
    assert reached_us <= now_us - PACE.horizon_us
    for gap_s in gaps_s:
        now_us += gap_s * S
        started = walks.begin(walk, standing, now_us, step_us)
        if started is None:
            assert now_us - walk.delay_us - step_us < reached_us
            continue
        window = started.position
        assert isinstance(window, Window)
        assert window.lo_us == reached_us < window.hi_us <= now_us - walk.delay_us
        assert window.hi_us % step_us == 0
        reached_us = window.hi_us
        standing = walks.end(walk, started, now_us)
        assert standing.position is None
        assert standing.run == started.run


def test_a_sweep_begins_with_an_empty_cursor_and_remembers_when() -> None:
    """A sweep's beginning by the CRM's clock is kept, since what it did not see is asked for at its end."""
    sweep = walks.walks(FEEDS, PACE)[3]
    started = walks.begin(sweep, Standing(), 5 * S, S)
    assert started is not None
    assert (started.position, started.begun_us, started.run) == (Cursor(), 5 * S, 1)


def test_a_failing_walk_waits_longer_each_time_and_keeps_its_place() -> None:
    """Pauses double up to a quarter of an hour; the CRM's own wish wins if it is longer; the position is untouched."""
    standing = Standing(run=3, position=Window(lo_us=1, hi_us=2, after="7"))
    pauses = []
    for _ in range(14):
        standing = walks.failed(standing, 0, 0)
        pauses.append(standing.due_us // S)
        assert standing.position == Window(lo_us=1, hi_us=2, after="7")
    assert pauses[:4] == [1, 2, 4, 8]
    assert pauses[-1] == 900
    assert walks.failed(standing, 0, 7200 * S).due_us == 7200 * S
    assert walks.moved(standing, Window(lo_us=1, hi_us=2, after="9")).failures == 0


def test_the_most_urgent_due_walk_goes_first_and_idle_time_is_known() -> None:
    """Incremental before sweep when both are due; otherwise the time of the next one."""
    found = walks.walks(FEEDS, PACE)
    standings = {walk.name: Standing(due_us=10) for walk in found}
    assert walks.most_urgent(found, standings, 10)[0] is found[0]
    assert walks.most_urgent(found, standings, 9) == (None, 10)
    standings["search"] = standings["search/late"] = standings["archived"] = Standing(due_us=99)
    assert walks.most_urgent(found, standings, 10)[0] is found[3]


def test_a_standing_survives_the_ledger() -> None:
    """Every kind of position comes back as it went in."""
    standing = Standing(run=2, begun_us=4, due_us=5, position=Window(lo_us=1, hi_us=2, after="x"), absent="7")
    assert walks.decode(walks.encode(standing)) == standing
    assert walks.decode(None) is None
