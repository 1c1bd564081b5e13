"""When a record may be a create's lead, and what is known and told once a person has said that it is."""

from __future__ import annotations

import msgspec
import pytest

from sales_crm_bridge.model import Accepted, Category, LeadState, Operation, Record
from sales_crm_bridge.policy import commands, matches
from sales_crm_bridge.policy.commands import Done, Evidence, Patience, Refuse, Retry, Send
from sales_crm_bridge.policy.drafts import How, Observed, Removed, Why
from sales_crm_bridge.policy.fields import Keyring, Origin, heirs_of, unpack
from sales_crm_bridge.state import Binding, Command, CommandState, Match, MatchState
from tests.core.test_policy_sight import EYES, World, record


def create(**more: object) -> Command:
    whole = {"attempt": 1, "state": CommandState.PENDING, **more}
    return Command(
        seq=5,
        conn=1,
        tenant="acme",
        message_id="m-1",
        lead_id="L-1",
        operation=Operation.CREATE,
        payload=b"",
        occurred_us=50,
        **whole,  # type: ignore[arg-type]
    )


def taken(**more: object) -> Refuse:
    whole = {"category": Category.DUPLICATE, "code": "CONFLICT", "other": "512", **more}
    return Refuse(**whole)  # type: ignore[arg-type]


def bound(lead_id: str, crm_id: str = "512", state: LeadState = LeadState.LIVE) -> Binding:
    return Binding(conn=1, lead_id=lead_id, crm_id=crm_id, state=state, aggregate_version=4, sweep=3)


def test_only_a_create_of_a_lead_without_a_record_asks() -> None:
    """In whose way a record is that can be a lead's, as a duplicate; a create that goes on as an update asks nobody again."""
    assert matches.asks(create(), None, taken())
    assert matches.asks(create(), bound("L-1", "", LeadState.UNBOUND), taken())
    assert not matches.asks(create(), bound("L-1"), taken())
    assert not matches.asks(create(matched="bound"), None, taken())
    assert not matches.asks(msgspec.structs.replace(create(), operation=Operation.REVISE), None, taken())
    for step in (
        taken(other=""),
        taken(part=True),
        taken(category=Category.CONFLICT),
        Done(Accepted(crm_id="1", record=None)),
    ):
        assert not matches.asks(create(), None, step)


@pytest.mark.parametrize(
    ("found", "holder", "held"),
    [
        (record(), None, True),
        (record(), bound("crm-512"), True),
        (record(key="L-1"), bound("crm-512"), True),
        (record(merged_ids=("7",)), bound("crm-7"), True),
        (record(), bound("crm-7"), False),
        (record(), bound("L-2"), False),
        (record(key="L-2"), None, False),
        (record(state=LeadState.ARCHIVED), None, False),
        (record(state=LeadState.CONVERTED), None, False),
        (record(state=LeadState.MERGED, into="9"), None, False),
        (record("9"), None, False),
    ],
)
def test_a_record_may_be_the_leads_if_it_is_no_other_leads_of_sales(
    found: Record, holder: Binding | None, held: bool
) -> None:
    """It lives, carries no other lead's key, and is bound to nobody or to the lead that was born with it."""
    assert matches.holds(EYES, "L-1", "512", "", found, holder) is held
    told = matches.propose(EYES, create(), taken(), found, holder, 99, refused=False)
    assert (told.match is not None) is held
    assert told.needs_person
    assert (told.category, told.code, told.other) == (Category.DUPLICATE, "CONFLICT", "512")
    if told.match is not None:
        assert (told.match.lead_id, told.match.crm_id, told.match.seq, told.match.since_us) == ("L-1", "512", 5, 99)
        assert "ada" not in told.match.ground


def test_a_match_holds_while_the_record_has_the_address() -> None:
    """Other values may change. By a hash key that is rotated it is known as well; by one that is gone nobody can tell."""
    ground = matches.ground(EYES, record())
    assert matches.holds(EYES, "L-1", "512", ground, record(name="Another"), None)
    assert not matches.holds(EYES, "L-1", "512", ground, record(email="ben@x.example"), None)
    rotated = msgspec.structs.replace(EYES, keyring=Keyring([b"new", b"secret"], "acme"))
    assert matches.holds(rotated, "L-1", "512", ground, record(), None)
    assert not matches.holds(rotated, "L-1", "512", ground, record(email="ben@x.example"), None)
    alone = msgspec.structs.replace(EYES, keyring=Keyring([b"new"], "acme"))
    assert matches.holds(alone, "L-1", "512", ground, record(email="ben@x.example"), None)
    unmapped = msgspec.structs.replace(EYES, slot_fields=("phone", "name"))
    assert matches.ground(unmapped, record()) == ""


def test_what_was_refused_is_refused_at_once() -> None:
    """Also where the record would do: a person has decided, and nobody is asked again."""
    told = matches.propose(EYES, create(), taken(), record(), None, 99, refused=True)
    assert (told.code, told.match, told.needs_person, told.other) == ("match-refused", None, False, "512")
    assert commands.final_state(told) is CommandState.REFUSED
    decided = Match(conn=1, tenant="acme", lead_id="L-1", crm_id="512", state=MatchState.REFUSED, seq=5)
    assert commands.review(decided) == told
    assert commands.review(msgspec.structs.replace(decided, state=MatchState.ACCEPTED)) is None


def test_a_bound_record_is_known_as_it_is_and_told_whole() -> None:
    """The lead that was born with it has been merged into ours; what a person has changed keeps the time of her change."""
    world = World()
    world.read(record())
    world.read(record(at=101, name="Ada King"), asked=2000)
    born = world.bindings["crm-512"]
    held = bound("L-1", "", LeadState.UNBOUND)
    done = matches.bind(EYES, "L-1", held, record(at=102, name="Ada King"), born, 3000)
    gone, mine = done.bindings
    assert (gone.state, gone.crm_id, gone.aggregate_version, heirs_of(gone)) == (
        LeadState.MERGED,
        "",
        3,
        (("", "512"),),
    )
    assert (mine.state, mine.crm_id, mine.aggregate_version, mine.known_us) == (LeadState.LIVE, "512", 5, 3000)
    removed, observed = done.drafts
    assert isinstance(removed, Removed)
    assert (removed.lead_id, removed.version, removed.how, removed.into) == ("crm-512", 3, How.MERGED, ("512", "L-1"))
    assert isinstance(observed, Observed)
    assert (observed.lead_id, observed.version, observed.why, observed.changed) == (
        "L-1",
        5,
        Why.MERGED,
        ("email", "name"),
    )
    states = unpack(mine.fields)
    email, name = states.stamp(0), states.stamp(1)
    assert email is not None
    assert name is not None
    assert (email.origin, name.origin, name.time_us) == (Origin.LEARNT, Origin.CRM, 101)
    assert {email.version, name.version} == {5}
    world.bindings |= {"L-1": mine, "crm-512": gone}
    assert world.read(record(at=102, name="Ada King"), asked=4000).drafts == []


def test_a_record_that_nobody_has_seen_is_bound_and_told() -> None:
    """No other lead ends; one that was told as removed before ends silently."""
    done = matches.bind(EYES, "L-1", None, record(), None, 3000)
    (observed,) = done.drafts
    assert isinstance(observed, Observed)
    assert (observed.version, observed.why) == (1, Why.IMPORTED)
    away = msgspec.structs.replace(bound("crm-512"), state=LeadState.ARCHIVED)
    done = matches.bind(EYES, "L-1", None, record(), away, 3000)
    assert [type(draft) for draft in done.drafts] == [Observed]
    assert [(one.lead_id, one.state, one.aggregate_version) for one in done.bindings] == [
        ("crm-512", LeadState.MERGED, 4),
        ("L-1", LeadState.LIVE, 1),
    ]


def test_a_create_whose_match_is_bound_is_an_update() -> None:
    """It is written to the record; when its answer is lost, the values prove it, and not that the record is there."""
    command = create(matched="bound")
    assert not command.creates
    assert commands.before(command, bound("L-1")) == Send("512")
    assert commands.before(command, bound("L-1", state=LeadState.GONE)) == Refuse(
        category=Category.REMOVED, code="lead-removed"
    )
    unlike = Evidence(record=record(), wanted=("name",), differing=("name",))
    late = msgspec.structs.replace(command, reason=commands.UNDER_WAY, state=CommandState.UNKNOWN)
    assert isinstance(commands.settle(late, unlike, Patience(), 9), Retry)
    assert isinstance(commands.settle(create(reason=commands.UNDER_WAY), unlike, Patience(), 9), Done)
