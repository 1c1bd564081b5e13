"""What every adapter promises of pushes: one outcome for each write, nothing twice, nothing claimed that is not known."""

from collections.abc import Callable

import msgspec
import pytest

from sales_crm_bridge.model import (
    Accepted,
    Category,
    Deferred,
    Effect,
    FeedKind,
    HttpCall,
    HttpReply,
    LeadState,
    Operation,
    Outcome,
    Ref,
    Rejected,
    Unknown,
    Write,
)
from sales_crm_bridge.sandbox import ConnectionCut, Cut, Fault, FaultKind
from tests.contract.world import World, person
from tests.contract.worlds import WORLDS


def push(world: World, *batch: Write) -> list[Outcome]:
    outcomes = world.converse(world.adapter.push(batch))
    assert len(outcomes) == len(batch)
    return outcomes


def accepted(outcome: Outcome) -> Accepted:
    assert isinstance(outcome, Accepted), outcome
    return outcome


def rejected(outcome: Outcome) -> Rejected:
    assert isinstance(outcome, Rejected), outcome
    assert "@" not in outcome.code
    assert " " not in outcome.code
    return outcome


def test_a_create_makes_the_record_under_our_key(world: World) -> None:
    """One record, with our key and our values; the outcome names it and shows nothing that is not so."""
    (outcome,) = push(world, world.write(1))
    done = accepted(outcome)
    assert not done.adopted
    assert world.count() == 1
    (record,) = world.converse(world.adapter.read(world.ref("L-1") or [Ref(id=done.crm_id)]))
    assert record.id == done.crm_id
    assert {name: record.fields[world.fields[name]] for name in person(1)} == person(1)
    if done.record is not None:
        assert done.record.fields.items() <= record.fields.items()
        assert (done.record.version, done.record.modified_us) == (record.version, record.modified_us)


def test_outcomes_are_in_the_order_of_the_writes(world: World) -> None:
    """A full batch of creates and updates, answered in any order: each outcome belongs to its own write."""
    size = world.adapter.capabilities.batch_max
    half = size // 2
    known = [world.create(number) for number in range(half)]
    batch = [world.write(number, Operation.REVISE, known[number], {"phone": f"+1 {number}"}) for number in range(half)]
    batch += [world.write(number) for number in range(half, size)]
    batch = batch[::2] + batch[1::2][::-1]
    done = [accepted(outcome) for outcome in push(world, *batch)]
    for write, one in zip(batch, done, strict=True):
        number = int(write.key.removeprefix("L-"))
        assert world.holds(one.crm_id, "phone") == (f"+1 {number}" if number < half else person(number)["phone"])
        if write.crm_id:
            assert one.crm_id == write.crm_id
    assert world.count() == size


def test_the_largest_batch_is_taken_and_is_what_is_declared(world: World) -> None:
    """A batch of ``batch_max`` writes is carried out whole."""
    size = world.adapter.capabilities.batch_max
    assert all(isinstance(outcome, Accepted) for outcome in push(world, *(world.write(n) for n in range(size))))


def test_a_repeated_create_makes_no_second_record(world: World) -> None:
    """Our key is unique: the second create meets the same record and says that it was there."""
    if not world.adapter.capabilities.unique_key:
        pytest.skip("unique_key is not declared")
    first = accepted(push(world, world.write(1))[0])
    second = accepted(push(world, world.write(1))[0])
    assert second.crm_id == first.crm_id
    assert second.adopted
    assert world.count() == 1


def test_an_update_changes_what_it_names_and_nothing_else(world: World) -> None:
    """Other fields keep their values; None clears."""
    crm_id = world.create(1)
    accepted(push(world, world.write(1, Operation.REVISE, crm_id, {"name": "New name"}))[0])
    assert world.holds(crm_id, "name") == "New name"
    assert world.holds(crm_id, "phone") == person(1)["phone"]
    accepted(push(world, world.write(1, Operation.REVISE, crm_id, {"phone": None}))[0])
    assert world.holds(crm_id, "phone") == ""
    assert world.holds(crm_id, "name") == "New name"


def test_qualify_and_disqualify_are_updates_too(world: World) -> None:
    """Whatever the operation's name, the given fields are set, and setting them again is accepted too."""
    crm_id = world.create(1)
    for operation, status in zip((Operation.QUALIFY, Operation.DISQUALIFY), world.statuses[::-1], strict=True):
        for _ in range(2):
            accepted(push(world, world.write(1, operation, crm_id, {"status": status}))[0])
            assert world.holds(crm_id, "status") == status


def test_a_refused_value_names_its_field_and_holds_back_no_other_write(world: World) -> None:
    """VALIDATION with the CRM's name of the field and no value of it; the writes beside it take effect."""
    known = [world.create(number) for number in range(3)]
    batch = [world.write(n, Operation.REVISE, known[n], {"phone": "+1", "status": world.statuses[1]}) for n in range(3)]
    batch[1].fields[world.fields["status"]] = "ada@corp.example"
    outcomes = settle(world, batch)
    bad = rejected(outcomes[1])
    assert bad.category is Category.VALIDATION
    assert bad.fields == (world.fields["status"],)
    assert "corp.example" not in repr(bad)
    for number in (0, 2):
        assert accepted(outcomes[number]).crm_id == known[number]
        assert world.holds(known[number], "status") == world.statuses[1]


def settle(world: World, batch: list[Write]) -> list[Outcome]:
    """Push as the core does: a batch that is rejected whole is halved."""
    outcomes = push(world, *batch)
    if len(batch) > 1 and all(isinstance(one, Deferred) and one.reason == "bisect" for one in outcomes):
        half = len(batch) // 2
        return settle(world, batch[:half]) + settle(world, batch[half:])
    return outcomes


def test_a_refused_create_makes_no_record(world: World) -> None:
    """A create with a value that the CRM refuses is rejected with the field, and a mended one can follow."""
    (outcome,) = push(world, world.write(1, values={**person(1), "status": "no-such-status"}))
    assert rejected(outcome).category is Category.VALIDATION
    assert world.count() == 0
    accepted(push(world, world.write(1))[0])


def test_an_unknown_field_is_named(world: World) -> None:
    """A field that the CRM does not have is VALIDATION, by its name."""
    crm_id = world.create(1)
    write = world.write(1, Operation.REVISE, crm_id, {})
    write.fields["no_such_field"] = "x"
    refused = rejected(push(world, write)[0])
    assert refused.category is Category.VALIDATION
    assert "no_such_field" in refused.fields


def test_a_repeated_create_goes_on_with_the_record_under_our_key(world: World) -> None:
    """Somebody has edited it since: our key says whose it is, so it is adopted and gets the values of the create."""
    if not world.adapter.capabilities.unique_key:
        pytest.skip("unique_key is not declared")
    made = accepted(push(world, world.write(1))[0])
    world.edit(made.crm_id, {"phone": "+1 a person's"})
    again = accepted(push(world, world.write(1))[0])
    assert (again.crm_id, again.adopted) == (made.crm_id, True)
    assert world.holds(made.crm_id, "phone") == person(1)["phone"]
    assert world.count() == 1


@pytest.mark.parametrize("born", ["under another key", "without a key"])
def test_a_create_never_writes_to_a_record_that_has_its_address(world: World, born: str) -> None:
    """An e-mail address decides nothing: DUPLICATE that names the record (or its part), or a record of its own.

    The other one is exactly as it was, whether it carries another lead's key or, made by a person, none.
    """
    there = accepted(push(world, world.write(1))[0]).crm_id if born == "under another key" else world.create(1)
    before = world.converse(world.adapter.read([Ref(id=there)]))
    thief = world.write(2, values={**person(2), "email": person(1)["email"]})
    (outcome,) = push(world, thief)
    if isinstance(outcome, Accepted):
        assert outcome.crm_id != there
        assert not outcome.adopted
    else:
        assert rejected(outcome).category is Category.DUPLICATE
        assert rejected(outcome).other_id in {there, *(part for _, part in before[0].parts)}
        assert world.count() == 1
    assert world.converse(world.adapter.read([Ref(id=there)])) == before


def test_a_write_that_claims_a_record_puts_our_key_into_it(world: World) -> None:
    """Beside its values, where the CRM can hold our key: then the record is found by it. No second record is made."""
    crm_id = world.create(1)
    write = world.write(1, crm_id=crm_id, values={"phone": "+1 written"})
    (outcome,) = push(world, msgspec.structs.replace(write, claim=True))
    assert accepted(outcome).crm_id == crm_id
    assert world.holds(crm_id, "phone") == "+1 written"
    assert world.count() == 1
    for ref in world.ref("L-1") if world.claims else []:
        (record,) = world.converse(world.adapter.read([ref]))
        assert (record.id, record.key) == (crm_id, "L-1")


@pytest.mark.parametrize(
    ("end", "state", "category"),
    [
        (World.delete, LeadState.ARCHIVED, Category.REMOVED),
        (World.erase, LeadState.GONE, Category.REMOVED),
    ],
)
def test_a_write_to_a_record_that_has_ended_is_rejected_once(
    world: World, end: Callable[[World, str], None], state: LeadState, category: Category
) -> None:
    """Archived and erased records: REMOVED, and the writes beside it take effect.

    A CRM that lets one write to what is archived may do so: the record stays archived all the same.
    """
    if not world.adapter.capabilities.restores:
        state = LeadState.GONE
    doomed, other = world.create(1), world.create(2)
    type(world).delete(world, doomed)
    getattr(world, end.__name__)(doomed) if end is World.erase else None
    assert world.converse(world.adapter.read([Ref(id=doomed)]))[0].state is state
    batch = [world.write(n, Operation.REVISE, crm_id, {"phone": "+1"}) for n, crm_id in ((1, doomed), (2, other))]
    outcomes = settle(world, batch)
    if state is LeadState.ARCHIVED and world.archived_are_writable:
        assert accepted(outcomes[0]).crm_id == doomed
        assert world.converse(world.adapter.read([Ref(id=doomed)]))[0].state is state
    else:
        assert rejected(outcomes[0]).category is category
    assert accepted(outcomes[1]).crm_id == other


def test_a_write_to_a_merged_record_names_the_survivor(world: World) -> None:
    """MERGED with the survivor's id; nothing is written to the survivor."""
    if not world.adapter.capabilities.merges:
        pytest.skip("merges is not declared")
    one, two = world.create(1), world.create(2)
    survivor = world.merge(one, two)
    before = world.holds(survivor, "phone")
    (outcome,) = push(world, world.write(2, Operation.REVISE, two, {"phone": "+1 written"}))
    assert rejected(outcome).category is Category.MERGED
    assert rejected(outcome).other_id == survivor
    assert world.holds(survivor, "phone") == before


@pytest.mark.parametrize("create", [True, False])
@pytest.mark.parametrize("kind", [FaultKind.CUT_AFTER, FaultKind.TIMEOUT_AFTER, FaultKind.STATUS_AFTER])
def test_a_lost_answer_is_unknown_and_a_read_settles_it(world: World, kind: FaultKind, create: bool) -> None:
    """Committed, and nobody heard of it: Unknown, never Accepted or Deferred; the CRM shows what became of it."""
    crm_id = "" if create else world.create(1)
    write = world.write(1) if create else world.write(1, Operation.REVISE, crm_id, {"status": world.statuses[1]})
    world.crm.faults.add(on(world, write, kind, status=502))
    (outcome,) = push(world, write)
    assert isinstance(outcome, Unknown)
    assert world.count() == 1
    if create and not world.adapter.capabilities.read_by_key:
        (record,) = world.records(FeedKind.SWEEP)
    else:
        (record,) = world.converse(world.adapter.read(world.ref("L-1") if create else [Ref(id=crm_id)]))
    assert record.state is LeadState.LIVE
    assert all(record.fields[name] == value for name, value in write.fields.items())


def test_an_atomic_write_is_one_call(world: World) -> None:
    """Whatever an update sets, also a stage further back: one writing call, so that a part of it never takes effect alone."""
    if not world.adapter.capabilities.atomic_write:
        pytest.skip("atomic_write is not declared")
    crm_id, write = all_of_it(world)
    world.calls.clear()
    accepted(push(world, write)[0])
    assert len([call for call in world.calls if call.effect is Effect.WRITE]) == 1
    assert not lacking(world, crm_id, write)


@pytest.mark.parametrize("after", [False, True])
@pytest.mark.parametrize("at", range(3))
def test_a_write_that_is_cut_short_anywhere_is_not_known_and_can_be_repeated(
    world: World, at: int, after: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The line dies before or after the work of any of its calls: neither done nor certainly not, and the same write ends it.

    On the way nothing is lost but in the fields that are declared to be emptied first.
    """
    crm_id, write = all_of_it(world)
    (before,) = world.converse(world.adapter.read([Ref(id=crm_id)]))
    send, written = world._send, 0

    def cut(call: HttpCall) -> HttpReply:
        nonlocal written
        if call.effect is not Effect.WRITE:
            return send(call)
        written += 1
        if written != at + 1:
            return send(call)
        if after:
            send(call)
        raise ConnectionCut(Cut.CLOSED, committed=after)

    monkeypatch.setattr(world, "_send", cut)
    (outcome,) = push(world, write)
    if written <= at:
        accepted(outcome)
        return
    assert isinstance(outcome, Unknown)
    for name in lacking(world, crm_id, write):
        (shown,) = world.converse(world.adapter.read([Ref(id=crm_id)]))
        passing = ("", None) if name in world.adapter.capabilities.emptied_first else ()
        assert shown.fields[name] in (before.fields[name], *passing)
    accepted(push(world, write)[0])
    assert not lacking(world, crm_id, write)


def all_of_it(world: World) -> tuple[str, Write]:
    """A record, and an update of every field that can be written, in every part of it; a stage is set back."""
    crm_id = world.create(1)
    values = {"name": "New name", "phone": "+1 new", "status": world.statuses[1]}
    if "stage" in world.fields:
        world.edit(crm_id, {"stage": "opportunity"})
        values["stage"] = "lead"
    return crm_id, world.write(1, Operation.REVISE, crm_id, dict(values))


def lacking(world: World, crm_id: str, write: Write) -> list[str]:
    """The CRM's names of the fields that are not as wanted."""
    (record,) = world.converse(world.adapter.read([Ref(id=crm_id)]))
    return [name for name, value in write.fields.items() if record.fields[name] != value]


@pytest.mark.parametrize("kind", [FaultKind.CUT_BEFORE, FaultKind.TIMEOUT_BEFORE])
def test_a_line_that_died_before_is_unknown_too(world: World, kind: FaultKind) -> None:
    """From here nobody can tell a request that was lost from an answer that was."""
    write = world.write(1)
    world.crm.faults.add(on(world, write, kind))
    assert isinstance(push(world, write)[0], Unknown)
    assert world.count() == 0
    accepted(push(world, write)[0])
    assert world.count() == 1


@pytest.mark.parametrize("status", [0, 429])
def test_what_was_certainly_not_sent_is_deferred(world: World, status: int) -> None:
    """A refused connection or a turned-away call took no effect: Deferred, all of the batch, and nothing is in the CRM."""
    kind = FaultKind.STATUS if status else FaultKind.REFUSED
    batch = [world.write(1), world.write(2)]
    world.crm.faults.add(on(world, batch[0], kind, status=status, times=None))
    outcomes = push(world, *batch)
    assert all(isinstance(outcome, Deferred) and outcome.not_before_us > 0 for outcome in outcomes)
    assert world.count() == 0


def on(world: World, write: Write, kind: FaultKind, *, status: int = 500, times: int | None = 1) -> Fault:
    """A fault of the call that decides about ``write``."""
    method, path, body = world.writing(write)
    return Fault(kind, method=method, path=path, body=body, status=status, times=times)


def test_an_answer_that_is_cut_off_is_unknown(world: World) -> None:
    """Half a body of a good answer: the write was carried out, and nothing can be said of it."""
    write = world.write(1)
    world.crm.faults.add(on(world, write, FaultKind.TRUNCATED))
    assert isinstance(push(world, write)[0], Unknown)


def test_a_conditional_write_does_not_overwrite_what_it_has_not_seen(world: World) -> None:
    """Tied to an older version: CONFLICT, and the person's value stays; tied to the present one: accepted."""
    if not world.adapter.capabilities.conditional_write:
        pytest.skip("conditional_write is not declared")
    crm_id = world.create(1)
    (seen,) = world.converse(world.adapter.read([Ref(id=crm_id)]))
    world.edit(crm_id, {"phone": "+1 person"})
    write = world.write(1, Operation.REVISE, crm_id, {"phone": "+1 ours"}, version=seen.version)
    assert rejected(push(world, write)[0]).category is Category.CONFLICT
    assert world.holds(crm_id, "phone") == "+1 person"
    (seen,) = world.converse(world.adapter.read([Ref(id=crm_id)]))
    accepted(push(world, world.write(1, Operation.REVISE, crm_id, {"phone": "+1 ours"}, version=seen.version))[0])
    assert world.holds(crm_id, "phone") == "+1 ours"


def test_the_answers_values_are_the_crms_own(world: World) -> None:
    """What an outcome shows of a record is what a read shows, so a normalised value is known in the CRM's form."""
    write = world.write(1, values={**person(1), "email": "Lead1@Corp.Example"})
    done = accepted(push(world, write)[0])
    (record,) = world.converse(world.adapter.read([Ref(id=done.crm_id)]))
    if done.record is not None:
        assert done.record.fields.items() <= record.fields.items()
        assert done.record.key in ("", "L-1")


@pytest.mark.parametrize("at", range(3))
def test_a_talk_may_be_closed_at_any_yield(world: World, at: int) -> None:
    """Whatever talk, wherever it is: closing it raises nothing and leaves the adapter fit for the next."""
    crm_id = world.create(1)
    feeds = world.adapter.feeds()
    talks = [
        world.adapter.check(),
        world.adapter.push([world.write(2), world.write(1, Operation.REVISE, crm_id, {"phone": "+1"})]),
        world.adapter.read([Ref(id=crm_id), *world.ref("L-9")]),
        *(world.adapter.pull(feed, world.window(feed, 0, world.clock.now_us), 5) for feed in feeds),
    ]
    for talk in talks:
        try:
            calls = next(talk)
            for _ in range(at):
                calls = talk.send(tuple(world._reply(call) for call in calls))
        except StopIteration:
            continue
        talk.close()
    accepted(push(world, world.write(3))[0])


def test_a_conversation_is_the_same_every_time() -> None:
    """Two equal accounts, the same talks: the same calls, byte for byte; the simulation stands on it."""
    for make in WORLDS.values():
        told: list[list[HttpCall]] = []
        for _ in range(2):
            world = make()
            push(world, *(world.write(number) for number in range(5)))
            world.raws(next(iter(world.adapter.feeds())).kind)
            told.append(world.calls)
        assert told[0] == told[1]
