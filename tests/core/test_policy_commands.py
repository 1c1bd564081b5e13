"""What becomes of a command, row by row."""

from __future__ import annotations

import msgspec
import pytest

from sales_crm_bridge.model import (
    Accepted,
    Category,
    Deferred,
    LeadState,
    Operation,
    Outcome,
    Record,
    Rejected,
    Scalar,
    Unknown,
)
from sales_crm_bridge.policy import commands
from sales_crm_bridge.policy.commands import Done, Evidence, LookUp, Patience, Refuse, Retry, Send, Settle
from sales_crm_bridge.policy.fields import pack_heirs
from sales_crm_bridge.state import Binding, Command, CommandState

NOW = 1_000_000_000
PATIENCE = Patience(attempts_max=5, settle_max=3)


def command(
    operation: Operation = Operation.REVISE, attempt: int = 1, waits: int = 0, reason: str = commands.UNDER_WAY
) -> Command:
    """A command; where it is settled, for the second time, unless another ``reason`` is given."""
    return Command(
        seq=7,
        conn=1,
        tenant="acme",
        message_id="m-1",
        lead_id="L-9",
        operation=operation,
        payload=b"",
        occurred_us=1,
        attempt=attempt,
        waits=waits,
        reason=reason,
    )


def binding(state: LeadState) -> Binding:
    return Binding(
        conn=1, lead_id="L-9", crm_id="512" if state is LeadState.LIVE else "", state=state, aggregate_version=1
    )


@pytest.mark.parametrize(
    ("operation", "attempt", "state", "expected"),
    [
        (Operation.CREATE, 0, None, Send("")),
        (Operation.CREATE, 0, LeadState.UNBOUND, Send("")),
        (Operation.CREATE, 0, LeadState.LIVE, Refuse(category=Category.DUPLICATE, code="lead-exists", other="512")),
        (Operation.CREATE, 1, LeadState.LIVE, Send("512")),
        (Operation.REVISE, 0, None, LookUp()),
        (Operation.QUALIFY, 0, LeadState.UNBOUND, LookUp()),
        (Operation.QUALIFY, 0, LeadState.LIVE, Send("512")),
        (Operation.REVISE, 0, LeadState.ARCHIVED, Refuse(category=Category.REMOVED, code="lead-removed")),
        (Operation.REVISE, 0, LeadState.GONE, Refuse(category=Category.REMOVED, code="lead-removed")),
        (Operation.CREATE, 0, LeadState.MERGED, Refuse(category=Category.MERGED, code="lead-merged")),
        (Operation.DISQUALIFY, 0, LeadState.CONVERTED, Refuse(category=Category.CONVERTED, code="lead-converted")),
    ],
)
def test_before_the_write(operation: Operation, attempt: int, state: LeadState | None, expected: object) -> None:
    """What is known of the lead decides whether a command is written, looked up, or refused once and for all."""
    known = None if state is None else binding(state)
    assert commands.before(command(operation, attempt), known) == expected


@pytest.mark.parametrize(
    ("state", "heirs", "expected"),
    [
        (LeadState.MERGED, [("", "1300")], Refuse(category=Category.MERGED, code="lead-merged", other="1300")),
        (
            LeadState.CONVERTED,
            [("deals", "7"), ("contacts", "9")],
            Refuse(category=Category.CONVERTED, code="lead-converted", successors=(("deals", "7"), ("contacts", "9"))),
        ),
    ],
)
def test_a_refusal_names_what_the_lead_became(state: LeadState, heirs: list[tuple[str, str]], expected: Refuse) -> None:
    """Rule 11: a command on a merged or converted lead is refused once, and says where its matter went."""
    gone = msgspec.structs.replace(binding(state), heirs=pack_heirs(heirs))
    assert commands.before(command(Operation.REVISE, 0), gone) == expected


@pytest.mark.parametrize(
    ("outcome", "expected", "state"),
    [
        (Accepted(crm_id="512", record=None), Done(Accepted(crm_id="512", record=None)), CommandState.DONE),
        (
            Rejected(category=Category.VALIDATION, code="BAD", fields=("email",)),
            Refuse(category=Category.VALIDATION, code="BAD", fields=("email",)),
            CommandState.PARKED,
        ),
        (
            Rejected(category=Category.MERGED, code="X", other_id="1300"),
            Refuse(category=Category.MERGED, code="X", other="1300"),
            CommandState.REFUSED,
        ),
        (
            Deferred(not_before_us=NOW + 9_000_000, reason="429"),
            Retry(not_before_us=NOW + 9_000_000, reason="429", counted=False),
            CommandState.PENDING,
        ),
        (
            Deferred(not_before_us=3, reason="429"),
            Retry(not_before_us=NOW + PATIENCE.retry_first_us, reason="429", counted=False),
            CommandState.PENDING,
        ),
        (
            Unknown(reason="cut"),
            Settle(not_before_us=NOW + PATIENCE.settle_first_us, reason="cut"),
            CommandState.UNKNOWN,
        ),
    ],
)
def test_after_the_write(outcome: Outcome, expected: object, state: CommandState) -> None:
    """Every outcome has one meaning; a lost answer is never a retry."""
    step = commands.after(command(), outcome, PATIENCE, NOW)
    assert step == expected
    assert commands.final_state(step) is state


def record(state: LeadState = LeadState.LIVE, *, created: int = 5, modified: int = 5, **fields: Scalar) -> Record:
    return Record(
        id="512", version="1", modified_us=modified, created_us=created, fields=fields, state=state, into="1300"
    )


def evidence(seen: Record, wanted: dict[str, Scalar], touched: tuple[str, ...] = ()) -> Evidence:
    differing = [name for name, value in wanted.items() if seen.fields.get(name) != value]
    return Evidence(record=seen, wanted=wanted, differing=differing, touched=touched)


def test_a_write_that_shows_took_effect() -> None:
    """The record holds what we wanted: done, however it came there."""
    seen = record(email="a")
    step = commands.settle(command(), evidence(seen, {"email": "a"}), PATIENCE, NOW)
    assert step == Done(Accepted(crm_id="512", record=seen))


@pytest.mark.parametrize("attempt", [1, 5, 500])
def test_a_write_that_does_not_show_is_tried_again(attempt: int) -> None:
    """Values as before: it did not take effect. By itself that is never a reason to give up: it may be an outage of the CRM."""
    again = commands.settle(command(attempt=attempt), evidence(record(email="old"), {"email": "a"}), PATIENCE, NOW)
    assert isinstance(again, Retry)
    assert commands.weigh(again, 0, PATIENCE) == msgspec.structs.replace(again, counted=False)


@pytest.mark.parametrize(
    "seen",
    [record(email="old"), record(email="hers"), record(LeadState.GONE)],
    ids=["as before", "a person's", "not there"],
)
def test_a_call_that_may_be_under_way_is_not_said_to_have_failed(seen: Record) -> None:
    """Nothing shows yet: it is read once more when no call can be at work any more, and only that is believed."""
    operation = Operation.CREATE if seen.state is LeadState.GONE else Operation.REVISE
    proof = evidence(seen, {"email": "a"}, ("email",) if seen.fields.get("email") == "hers" else ())
    step = commands.settle(command(operation, reason="cut"), proof, PATIENCE, NOW)
    rest_us = PATIENCE.under_way_us - PATIENCE.settle_first_us
    assert step == Settle(not_before_us=NOW + rest_us, reason="under-way")
    hasty = msgspec.structs.replace(PATIENCE, under_way_us=PATIENCE.settle_first_us)
    assert commands.settle(command(operation, reason="cut"), proof, hasty, NOW) == commands.settle(
        command(operation), proof, PATIENCE, NOW
    )


def test_what_shows_at_once_is_believed_at_once() -> None:
    """The write is there, or its lead is not: no call that is under way can change what it means."""
    shown = commands.settle(command(reason="cut"), evidence(record(email="a"), {"email": "a"}), PATIENCE, NOW)
    assert isinstance(shown, Done)
    gone = commands.settle(command(reason="cut"), evidence(record(LeadState.GONE), {"email": "a"}), PATIENCE, NOW)
    assert isinstance(gone, Refuse)


def test_tries_that_failed_while_others_took_effect_are_limited() -> None:
    """Each of them counts; after the last one a person must look."""
    again = Retry(not_before_us=NOW, reason="not-applied", counted=False)
    assert commands.weigh(again, 4, PATIENCE) == Retry(not_before_us=NOW, reason="not-applied", counted=True)
    given_up = commands.weigh(again, 5, PATIENCE)
    assert isinstance(given_up, Refuse)
    assert (given_up.category, given_up.needs_person) == (Category.UNKNOWN_OUTCOME, True)


def test_a_create_whose_key_is_not_there_is_tried_again() -> None:
    """Nothing under our key: the create did not take effect."""
    step = commands.settle(command(Operation.CREATE), evidence(record(LeadState.GONE), {"email": "a"}), PATIENCE, NOW)
    assert isinstance(step, Retry)


def test_a_create_whose_key_is_there_took_effect_and_later_edits_are_left_for_the_pull() -> None:
    """Only we write our key. What a person has changed since is not taken as ours."""
    seen = record(created=5, modified=9, email="edited", phone="1", city="Rome")
    step = commands.settle(command(Operation.CREATE), evidence(seen, {"email": "a", "phone": "1"}), PATIENCE, NOW)
    assert isinstance(step, Done)
    assert step.accepted.record is not None
    assert step.accepted.record.fields == {"phone": "1"}
    untouched = record(created=5, modified=5, phone="1", city="Rome")
    step = commands.settle(command(Operation.CREATE), evidence(untouched, {"phone": "1"}), PATIENCE, NOW)
    assert isinstance(step, Done)
    assert step.accepted.record == untouched


def test_a_field_that_somebody_else_wrote_meanwhile_is_not_written_over() -> None:
    """Neither ours nor as before: a person's value stays, and the command ends as a conflict."""
    step = commands.settle(command(), evidence(record(email="hers"), {"email": "a"}, ("email",)), PATIENCE, NOW)
    assert step == Refuse(category=Category.CONFLICT, code="changed-in-crm", fields=("email",))


@pytest.mark.parametrize(
    ("state", "category"),
    [
        (LeadState.ARCHIVED, Category.REMOVED),
        (LeadState.GONE, Category.REMOVED),
        (LeadState.MERGED, Category.MERGED),
        (LeadState.CONVERTED, Category.CONVERTED),
    ],
)
def test_a_lead_that_is_no_longer_there_refuses_the_command_once(state: LeadState, category: Category) -> None:
    """Removed, merged, converted: final, never retried."""
    step = commands.settle(command(), evidence(record(state), {"email": "a"}), PATIENCE, NOW)
    assert isinstance(step, Refuse)
    assert step.category is category


def test_a_read_back_that_finds_no_answer_is_put_off() -> None:
    """While the CRM is away altogether nothing is given up; a record that alone gives no answer goes to a person in the end."""
    later = commands.settle_later(command(waits=9), "away", NOW + 9_000_000_000, PATIENCE, NOW, alive=False)
    assert later == Settle(not_before_us=NOW + 9_000_000_000, reason="away", counted=False)
    once_more = commands.settle_later(command(waits=2), "broken", 0, PATIENCE, NOW, alive=True)
    assert once_more == Settle(not_before_us=NOW + PATIENCE.settle_us(2), reason="broken", counted=True)
    spent = commands.settle_later(command(waits=3), "broken", 0, PATIENCE, NOW, alive=True)
    assert isinstance(spent, Refuse)
    assert spent.needs_person


def test_a_command_that_is_turned_away_waits_longer_each_time() -> None:
    """A CRM that names no time, or a past one, is not asked again at once, however often it turns us away."""
    waits = [
        commands.after(command(waits=times), Deferred(not_before_us=0, reason="locked"), PATIENCE, NOW)
        for times in range(4)
    ]
    assert [wait.not_before_us - NOW for wait in waits if isinstance(wait, Retry)] == [
        PATIENCE.retry_us(times) for times in range(4)
    ]


def halfway(
    *differing: str, touched: tuple[str, ...] = (), passing: tuple[str, ...] = (), atomic: bool = False
) -> Evidence:
    """Of ``email``, ``phone`` and ``stage``, those that are not ``differing`` have become what we wanted."""
    wanted = ("email", "phone", "stage")
    shown: dict[str, Scalar] = {name: "hers" if name in touched else "ours" for name in wanted if name not in passing}
    return Evidence(
        record=msgspec.structs.replace(record(), fields=shown),
        wanted=wanted,
        differing=differing,
        touched=touched,
        applied=tuple(name for name in wanted if name not in differing),
        passing=passing,
        atomic=atomic,
    )


@pytest.mark.parametrize("atomic", [True, False])
def test_an_edit_of_one_field_after_our_write_is_left_for_the_pull(atomic: bool) -> None:
    """The write took effect and a person then edited another field of it: done, and her edit is neither ours nor lost."""
    step = commands.settle(command(), halfway("phone", touched=("phone",), atomic=atomic), PATIENCE, NOW)
    assert isinstance(step, Done)
    assert step.accepted.record is not None
    assert step.accepted.record.fields == {"email": "ours", "stage": "ours"}


def test_one_field_proves_an_atomic_write_alone() -> None:
    """Where a write is one call the rest was undone since; where it is several, the rest may never have been written."""
    assert isinstance(commands.settle(command(), halfway("phone", atomic=True), PATIENCE, NOW), Done)
    again = commands.settle(command(), halfway("phone"), PATIENCE, NOW)
    assert isinstance(again, Retry)
    assert (again.reason, again.ours) == ("not-applied", ("email", "stage"))


def test_what_we_leave_on_our_way_is_tried_again() -> None:
    """A stage that a write of ours empties before it sets it, found empty: nobody else's change, be it alone or not."""
    again = commands.settle(command(), halfway("stage", passing=("stage",)), PATIENCE, NOW)
    assert isinstance(again, Retry)
    assert again.ours == ("email", "phone", "stage")
    more = commands.settle(command(), halfway("phone", "stage", passing=("stage",)), PATIENCE, NOW)
    assert isinstance(more, Retry)
    assert more.ours == ("email", "stage")


def test_a_rest_beside_a_persons_edit_is_not_written() -> None:
    """A part is ours, a part hers, a part as before: to write the rest would be to write over hers. Refused, and told."""
    step = commands.settle(command(), halfway("phone", "stage", touched=("phone",)), PATIENCE, NOW)
    assert step == Refuse(category=Category.CONFLICT, code="changed-in-crm", fields=("phone",))


def test_a_create_that_cannot_be_proven_is_not_repeated() -> None:
    """Where the CRM finds no record by our key, absence proves nothing: a person must look, a second record is worse."""
    proof = Evidence(record=record(LeadState.GONE), wanted=("email",), differing=("email",), keyed=False)
    step = commands.settle(command(Operation.CREATE), proof, PATIENCE, NOW)
    assert isinstance(step, Refuse)
    assert (step.code, step.needs_person) == ("create-unproven", True)


def test_a_create_of_a_lead_that_we_never_wrote_is_read_back() -> None:
    """A restored ledger meets its own earlier create: the record under our key is looked at, not refused."""
    step = commands.before(command(Operation.CREATE, 0), binding(LeadState.LIVE), written_by_us=False)
    assert step == commands.ReadBack()


def test_pauses_double_up_to_their_limit() -> None:
    """A pause never shrinks and never grows past its limit."""
    pauses = [PATIENCE.retry_us(times) for times in range(60)]
    assert pauses == sorted(pauses)
    assert (pauses[0], pauses[1], pauses[-1]) == (2_000_000, 4_000_000, PATIENCE.pause_max_us)
