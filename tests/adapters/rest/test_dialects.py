"""What each dialect has that the contract suite does not ask for: its vices, through its declaration."""

import pytest

from sales_crm_bridge.errors import CrmUnavailable
from sales_crm_bridge.model import (
    Accepted,
    Answered,
    Category,
    Deferred,
    Effect,
    FeedKind,
    Hook,
    HookRefused,
    HttpReply,
    LeadState,
    Notice,
    Operation,
    Page,
    Quota,
    Ref,
    Rejected,
    Secrets,
    SignInAgain,
    Stop,
    TryAgain,
)
from sales_crm_bridge.sandbox import Fault, FaultKind
from tests.contract.declared_worlds import CloudWorld, MiserlyWorld, PlainWorld, RpcWorld

HOOK = Secrets(values={"webhook_secret": "hook-secret"})


def reply(status: int, body: bytes = b"", **headers: str) -> HttpReply:
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    return HttpReply(status=status, headers=told, body=body, asked_us=0, answered_us=1)


# --- cloud ------------------------------------------------------------------------------------------------------------


def test_a_walk_survives_tokens_that_die_in_its_middle() -> None:
    """A token that is good for three calls: the walk signs in again and again, and shows every record once."""
    world = CloudWorld()
    ids = {world.create(number) for number in range(40)}
    world.cloud.token_calls = 3
    seen = [raw.id for raw in world.raws(FeedKind.SWEEP, limit=5)]
    assert sorted(seen) == sorted(ids)
    assert sum(call.path == "/oauth/token" for call in world.calls) == 3


def test_a_walk_by_cursor_misses_nothing_while_others_write() -> None:
    """Records that change between two pages come again at the end; none is left out, none is invented."""
    world = CloudWorld()
    ids = [world.create(number) for number in range(20)]
    feed = world.feed(FeedKind.SWEEP)
    seen: list[str] = []
    for page in world.pages(feed, world.window(feed, 0, 0), 4):
        seen += [raw.id for raw in page.raws]
        world.clock.advance(1)
        world.edit(seen[0], {"phone": f"+1 {len(seen)}"}) if len(seen) < 20 else None
    assert set(seen) == set(ids)


@pytest.mark.parametrize("kind", [FeedKind.SWEEP, FeedKind.CHANGES, FeedKind.REMOVED])
def test_a_walk_whose_cursor_has_expired_begins_anew(kind: FeedKind) -> None:
    """The bridge was down for an hour in the middle of a walk: every record is shown, none is passed over, and the walk ends."""
    world = CloudWorld()
    ids = {world.create(number) for number in range(9)}
    if kind is FeedKind.REMOVED:
        for crm_id in sorted(ids):
            world.delete(crm_id)
    feed = world.feed(kind)
    start = world.window(feed, 0, world.clock.now_us + 60_000_000)
    first = world.converse(world.adapter.pull(feed, start, 4))
    world.clock.advance(3_600)
    rest = [raw.id for page in world.pages(feed, first.next, 4) for raw in page.raws]
    assert sorted(rest) == sorted(ids)


def test_a_cursor_that_expires_at_once_is_no_reason_to_walk_in_circles() -> None:
    """Walking anew would never end: the read fails, is told, and is tried again after a pause."""
    world = CloudWorld()
    for number in range(9):
        world.create(number)
    feed = world.feed(FeedKind.SWEEP)
    first = world.converse(world.adapter.pull(feed, world.window(feed, 0, 0), 4))
    body = b'{"error":{"code":"cursor_expired"}}'
    world.crm.faults.add(Fault(FaultKind.STATUS, path="/v2/leads", status=410, reply=body, times=None))
    with pytest.raises(CrmUnavailable, match="stands-still"):
        world.converse(world.adapter.pull(feed, first.next, 4))


def test_webhooks_are_hints_about_records_and_doubles_are_told_apart() -> None:
    """Signed and young: one notice for each record and event, with the same ``dedupe`` for the same event told twice."""
    world = CloudWorld()
    crm_id = world.create(1)
    world.clock.advance(1)
    world.edit(crm_id, {"phone": "+1"})
    world.clock.advance(1)
    world.delete(crm_id)
    delivery = world.cloud.delivery("hook-secret")
    assert delivery is not None
    headers, body = delivery

    def notices(body: bytes, late_s: float = 0.0) -> list[Notice]:
        received_us = world.clock.now_us + round(late_s * 1e6)
        hook = Hook(method="POST", url="https://b.example/h", headers=headers, body=body, received_us=received_us)
        return world.adapter.notices(hook, HOOK)

    told = {(notice.id, notice.what) for notice in notices(body)}
    assert told == {(crm_id, "created"), (crm_id, "changed"), (crm_id, "removed")}
    assert len({notice.dedupe for notice in notices(body)}) == 3
    with pytest.raises(HookRefused, match="bad-signature"):
        notices(body.replace(b"updated", b"created"))
    with pytest.raises(HookRefused, match="too-old"):
        notices(body, late_s=301)


def test_the_quota_of_a_day_is_told_from_a_burst() -> None:
    """Both are 429: the body tells them apart, ``Retry-After`` is heard, and every answer says what is left of the day."""
    world = CloudWorld()
    world.sign_in()
    world.cloud.calls_per_day = 5
    left = []
    for _ in range(7):
        answer = world.cloud.handle("GET", "/v2/me", dict(world.sign_in().headers), b"")
        heard = reply(answer.status, answer.body, **dict(answer.headers))
        left.append(world.adapter.classify(heard, Effect.READ))
    assert left[0] == Answered(calls_left_day=4)
    last = left[-1]
    assert isinstance(last, TryAgain)
    assert (last.quota, last.executed) == (Quota.DAY, False)
    assert last.wait_s is not None
    assert last.wait_s > 60
    world.cloud.calls_per_day, world.cloud.calls_per_window = 100, 0
    answer = world.cloud.handle("GET", "/v2/me", dict(world.sign_in().headers), b"")
    burst = world.adapter.classify(reply(answer.status, answer.body, **dict(answer.headers)), Effect.READ)
    assert isinstance(burst, TryAgain)
    assert burst.quota is Quota.BURST


def test_one_batch_carries_every_kind_of_end() -> None:
    """A new lead, an old one, one whose address is taken, one that is in the bin, one that has moved: each to its own write."""
    world = CloudWorld()
    old, binned, moved = world.create(1, "L-1"), world.create(2), world.create(3)
    (seen,) = world.converse(world.adapter.read([Ref(id=moved)]))
    world.delete(binned)
    world.edit(moved, {"phone": "+1 person"})
    batch = [
        world.write(7),
        world.write(1),
        world.write(8, values={"name": "x", "email": "lead1@corp.example"}),
        world.write(2, Operation.REVISE, binned, {"phone": "+1"}),
        world.write(3, Operation.REVISE, moved, {"phone": "+1 ours"}, version=seen.version),
    ]
    made, adopted, taken, gone, late = world.converse(world.adapter.push(batch))
    assert isinstance(made, Accepted)
    assert not made.adopted
    assert isinstance(adopted, Accepted)
    assert (adopted.crm_id, adopted.adopted) == (old, True)
    for outcome, category in ((taken, Category.DUPLICATE), (gone, Category.REMOVED), (late, Category.CONFLICT)):
        assert isinstance(outcome, Rejected)
        assert outcome.category is category
    assert isinstance(taken, Rejected)
    assert taken.other_id == old
    assert world.holds(moved, "phone") == "+1 person"


# --- plain ------------------------------------------------------------------------------------------------------------


def test_a_list_by_time_goes_on_by_the_number_of_ties() -> None:
    """The CRM knows no id to go on after: within one second the offset counts what was read of it, and nothing is left out."""
    world = PlainWorld()
    ids = {world.create(number) for number in range(30)}
    world.clock.advance(1)
    ids |= {world.create(number) for number in range(30, 35)}
    seen = [raw.id for raw in world.raws(FeedKind.CHANGES, limit=7)]
    assert sorted(seen) == sorted(ids)
    asked = [dict(call.query) for call in world.calls if "updatedSince" in dict(call.query)]
    assert [one["offset"] for one in asked][:4] == ["0", "7", "14", "21"]


def test_a_key_that_is_taken_is_adopted_by_reading() -> None:
    """409 ``external-id-taken``: the record with our key is read and written to; the outcome says that it was there."""
    world = PlainWorld()
    there = world.create(1, "L-1")
    world.edit(there, {"phone": "+1 before"})
    (outcome,) = world.converse(world.adapter.push([world.write(1)]))
    assert isinstance(outcome, Accepted)
    assert (outcome.crm_id, outcome.adopted) == (there, True)
    assert world.holds(there, "phone") == "+49 30 000001"
    assert world.count() == 1


def test_the_days_end_is_read_from_a_problem() -> None:
    """``policy: day`` in the problem's details is the day's quota; any other 429 is a burst."""
    world = PlainWorld()
    world.plain.day_left = 0
    answer = world.plain.handle("GET", "/api/v1/people", {"x-api-key": "plain-key"}, b"")
    verdict = world.adapter.classify(reply(answer.status, answer.body, **dict(answer.headers)), Effect.READ)
    assert verdict == TryAgain(wait_s=3600.0, quota=Quota.DAY, executed=False, code="too-many-calls")


# --- rpc --------------------------------------------------------------------------------------------------------------


def test_every_error_with_a_good_status_has_its_meaning() -> None:
    """A lock, a missing record, a missing right, an ended session: all 200, and each is what it is."""
    world = RpcWorld()
    crm_id = world.create(1)
    write = world.write(1, Operation.REVISE, crm_id, {"phone": "+1"})
    world.rpc.locked = {int(crm_id)}
    (locked,) = world.converse(world.adapter.push([write]))
    assert isinstance(locked, Deferred)
    world.rpc.locked = set()
    (gone,) = world.converse(world.adapter.push([world.write(9, Operation.REVISE, "99", {"phone": "+1"})]))
    assert isinstance(gone, Rejected)
    assert (gone.category, gone.code) == (Category.REMOVED, "MissingError")
    for name, kind in (("SessionExpired", SignInAgain), ("AccessError", Stop), ("LockNotAvailable", TryAgain)):
        body = b'{"jsonrpc":"2.0","id":1,"error":{"code":200,"data":{"name":"%s"}}}' % name.encode()
        assert isinstance(world.adapter.classify(reply(200, body), Effect.WRITE), kind)
    (fine,) = world.converse(world.adapter.push([write]))
    assert isinstance(fine, Accepted)


def test_archived_records_are_found_and_come_back() -> None:
    """``active: false`` is archived: in the list of removed, among the changes, and in a read; and live again afterwards."""
    world = RpcWorld()
    crm_id, other = world.create(1), world.create(2)
    world.clock.advance(5)
    world.delete(crm_id)
    assert [record.id for record in world.records(FeedKind.SWEEP)] == [other]
    for kind in (FeedKind.CHANGES, FeedKind.REMOVED):
        states = {record.id: record.state for record in world.records(kind)}
        assert states[crm_id] is LeadState.ARCHIVED
    world.restore(crm_id)
    assert {record.state for record in world.records(FeedKind.SWEEP)} == {LeadState.LIVE}


# --- miserly ----------------------------------------------------------------------------------------------------------


def pages(world: MiserlyWorld, limit: int) -> list[Page]:
    feed = world.feed(FeedKind.SWEEP)
    return list(world.pages(feed, world.window(feed, 0, 0), limit))


@pytest.mark.parametrize("count", [0, 1, 4, 5, 10, 11])
def test_a_walk_by_page_numbers_ends_without_asking_too_far(count: int) -> None:
    """Full last pages included: no page beyond the last is asked for, since the CRM answers that with an error."""
    world = MiserlyWorld()
    ids = [world.create(number) for number in range(count)]
    assert [raw.id for page in pages(world, 5) for raw in page.raws] == ids
    assert len(world.calls) == max(1, -(-count // 5))


def test_a_list_without_order_says_that_it_drifts() -> None:
    """A row that changes under way makes the walk miss its neighbour: so the feed drifts, and the core walks it again."""
    world = MiserlyWorld()
    ids = [world.create(number) for number in range(10)]
    feed = world.feed(FeedKind.SWEEP)
    assert feed.drifts
    seen: list[str] = []
    for page in world.pages(feed, world.window(feed, 0, 0), 5):
        seen += [raw.id for raw in page.raws]
        world.edit(ids[0], {"phone": "+1"}) if len(seen) == 5 else None
    assert set(ids) - set(seen) == {ids[5]}


def test_403_is_a_sign_in_or_a_right_by_its_words() -> None:
    """The same status for a wrong password and for a missing right; a 200 that says *busy* is certainly not done."""
    world = MiserlyWorld()
    world.secrets_now = {"username": "bridge", "password": "wrong"}
    with pytest.raises(AssertionError, match="signed in anew"):
        world.raws(FeedKind.SWEEP)
    world = MiserlyWorld()
    world.miserly.busy = 1
    (busy,) = world.converse(world.adapter.push([world.write(1)]))
    assert isinstance(busy, Deferred)
    assert world.count() == 0


def test_four_shapes_of_error_name_the_field_or_the_end() -> None:
    """A mapping of lists, a flag with a column, a page of HTML for what is not there: fields named, and gone is gone."""
    world = MiserlyWorld()
    crm_id = world.create(1)
    bad = world.write(1, Operation.REVISE, crm_id, {"status": "Z"})
    odd = world.write(2, Operation.REVISE, crm_id, {})
    odd.fields["Colour"] = "red"
    lost = world.write(3, Operation.REVISE, "99", {"phone": "+1"})
    told = world.converse(world.adapter.push([bad, odd, lost]))
    assert [(one.category, one.fields) for one in told if isinstance(one, Rejected)] == [
        (Category.VALIDATION, ("State",)),
        (Category.VALIDATION, ("Colour",)),
        (Category.REMOVED, ()),
    ]


def test_a_page_from_the_edge_is_no_answer_to_a_read() -> None:
    """HTML with 502 is asked again; HTML with 404 for a record is its end."""
    world = MiserlyWorld()
    crm_id = world.create(1)
    page = b"<html>bad gateway</html>"
    assert isinstance(world.adapter.classify(reply(502, page), Effect.READ), TryAgain)
    world.delete(crm_id)
    (record,) = world.converse(world.adapter.read([Ref(id=crm_id)]))
    assert record.state is LeadState.GONE
    world.crm.faults.add(Fault(FaultKind.STATUS, status=404, times=None))
    assert world.converse(world.adapter.read([Ref(id="7")]))[0].state is LeadState.GONE
