"""What becomes of a command: before its write, after its outcome, and when nobody knows what happened.

Every function here is pure, so each row of its tables is one test.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, assert_never

import msgspec

from sales_crm_bridge.model import (
    Accepted,
    Category,
    Deferred,
    LeadState,
    Outcome,
    Record,
    Rejected,
    Unknown,
)
from sales_crm_bridge.policy.fields import heirs_of
from sales_crm_bridge.state import CommandState, MatchState

if TYPE_CHECKING:
    from collections.abc import Collection, Sequence

    from sales_crm_bridge.state import Binding, Command, Match


class Patience(msgspec.Struct, frozen=True, kw_only=True):
    """How long and how often (settings ``push.*``): pauses double from their first up to ``pause_max_us``.

    ``attempts_max``: tries of one write that count against it (see ``blame``); ``settle_max``: read-backs of one unknown write that
    a working CRM did not answer; ``under_way_us``: how long a call may still take effect that nobody waits for any more.
    """

    attempts_max: int = 8
    retry_first_us: int = 2_000_000
    settle_first_us: int = 5_000_000
    under_way_us: int = 30_000_000
    settle_max: int = 12
    pause_max_us: int = 900_000_000

    def retry_us(self, times: int) -> int:
        """The pause after the ``times``-th wait (from 0)."""
        return min(self.retry_first_us << min(times, 30), self.pause_max_us)

    def settle_us(self, times: int) -> int:
        """The pause before the next read-back, after ``times`` of them."""
        return min(self.settle_first_us << min(times, 30), self.pause_max_us)


NEEDS_PERSON = frozenset(
    {
        Category.VALIDATION,
        Category.PERMISSION,
        Category.AUTH,
        Category.DUPLICATE,
        Category.NOT_FOUND,
        Category.UNSUPPORTED,
        Category.UNAVAILABLE,
        Category.UNKNOWN_OUTCOME,
        Category.CONTRACT,
    }
)
"""Refusals that a person can cure (a mapping, a right, a double record): the command is parked and kept as a dead letter."""


MATCH_REFUSED = "match-refused"
MATCH_PROPOSED = "match-proposed"
FIELDS_DOUBTED = "fields-doubted"
"""Why a write waits that the CRM has refused for a field: whether it still has the field is found out first."""


class Send(msgspec.Struct, frozen=True):
    """The command may be written to this record ("" creates one)."""

    crm_id: str


class LookUp(msgspec.Struct, frozen=True):
    """First ask the CRM for a record under our external key: the ledger knows none."""


class ReadBack(msgspec.Struct, frozen=True):
    """A create whose record is there already, though this ledger never wrote it: an earlier life of the bridge may have."""


class Refuse(msgspec.Struct, frozen=True, kw_only=True):
    """It will not take effect, and why; ``other``, ``part`` and ``successors`` as in ``model.Rejected``.

    ``match``: the one that is proposed with it, so that a person decides. ``decided``: a person has decided already.
    """

    category: Category
    code: str
    fields: tuple[str, ...] = ()
    other: str = ""
    part: bool = False
    successors: tuple[tuple[str, str], ...] = ()
    match: Match | None = None
    decided: bool = False

    @property
    def needs_person(self) -> bool:
        """Whether a person can cure it."""
        return self.category in NEEDS_PERSON and not self.decided


def before(
    command: Command, binding: Binding | None, *, written_by_us: bool = True
) -> Send | LookUp | ReadBack | Refuse:
    """What to do with a pending command, by what is known of its lead.

    A create whose first try may have reached the CRM (``attempt`` > 0) goes on as a write to the record that was found.
    ``written_by_us``: the ledger remembers a write of ours to the record.
    """
    state = LeadState.UNBOUND if binding is None else binding.state
    creating = command.creates
    match state:
        case LeadState.UNBOUND:
            return Send("") if creating else LookUp()
        case LeadState.LIVE:
            assert binding is not None
            if creating and command.attempt == 0:
                if not written_by_us:
                    return ReadBack()
                return Refuse(category=Category.DUPLICATE, code="lead-exists", other=binding.crm_id)
            return Send(binding.crm_id)
        case LeadState.ARCHIVED | LeadState.GONE:
            return Refuse(category=Category.REMOVED, code="lead-removed")
        case LeadState.MERGED:
            into = heirs_of(binding)
            return Refuse(category=Category.MERGED, code="lead-merged", other=into[0][1] if into else "")
        case LeadState.CONVERTED:
            return Refuse(category=Category.CONVERTED, code="lead-converted", successors=heirs_of(binding))
        case _:
            assert_never(state)


def review(match: Match) -> Refuse | None:
    """What a person's decision makes of the create that waited for it; None: the record is to be bound first."""
    if match.state is MatchState.REFUSED:
        return Refuse(category=Category.DUPLICATE, code=MATCH_REFUSED, other=match.crm_id, decided=True)
    return None


class Retry(msgspec.Struct, frozen=True, kw_only=True):
    """Pending again, not before ``not_before_us``. ``counted``: this try counts towards ``attempts_max``.

    ``half``: the record, where a part of the write has taken effect; ``ours``: the CRM's names of the fields that show it.
    """

    not_before_us: int
    reason: str
    counted: bool
    half: Record | None = None
    ours: tuple[str, ...] = ()


class Settle(msgspec.Struct, frozen=True, kw_only=True):
    """Unknown: read back, not before ``not_before_us``. ``counted``: this read-back counts towards ``settle_max``."""

    not_before_us: int
    reason: str
    counted: bool = False


class Done(msgspec.Struct, frozen=True):
    """It took effect."""

    accepted: Accepted


Next = Done | Refuse | Retry | Settle


def after(command: Command, outcome: Outcome, patience: Patience, now_us: int) -> Next:
    """What becomes of a command that was being sent in try ``command.attempt`` (from 1)."""
    match outcome:
        case Accepted():
            return Done(outcome)
        case Rejected(drift=True) if command.reason != FIELDS_DOUBTED:
            # Once: if the field is gone it is held by then, and if it is there the CRM says again what is wrong.
            return Retry(not_before_us=now_us + patience.retry_us(0), reason=FIELDS_DOUBTED, counted=False)
        case Rejected(category=category, code=code, fields=fields, other_id=other, part=part, successors=successors):
            return Refuse(category=category, code=code, fields=fields, other=other, part=part, successors=successors)
        case Deferred(not_before_us=when, reason=reason):
            # Turned away before it could take effect: the account's trouble, not this command's, so it is never given up; but
            # it waits longer each time, whatever the CRM said.
            return Retry(
                not_before_us=max(when, now_us + patience.retry_us(command.waits)), reason=reason, counted=False
            )
        case Unknown(reason=reason):
            return Settle(not_before_us=now_us + patience.settle_us(0), reason=reason)
        case _:
            assert_never(outcome)


class Evidence(msgspec.Struct, frozen=True, kw_only=True):
    """What a read-back shows of a write nobody knows the outcome of.

    ``wanted``: the CRM's names of the fields that were written; ``differing``: those of them whose value is not the wanted one;
    ``touched``: those of the differing ones that are not as the ledger last knew them either, so somebody else has written them;
    ``applied``: those that are as wanted and were not so before; ``passing``: those of the differing ones that hold what a write of
    ours leaves there on its way. ``keyed``: the CRM finds a record by our key at once. ``atomic``: its updates take effect whole
    or not at all.
    """

    record: Record
    wanted: Collection[str]
    differing: Sequence[str]
    touched: Sequence[str] = ()
    applied: Sequence[str] = ()
    passing: Sequence[str] = ()
    keyed: bool = True
    atomic: bool = True


UNDER_WAY = "under-way"
CHANGED = "changed-in-crm"


def settle(command: Command, evidence: Evidence, patience: Patience, now_us: int) -> Next:
    """What became of a write whose answer was lost, from what the CRM now holds.

    That it took effect is believed at once. That it did not, only when it is read back a second time, after ``under_way_us``: the
    line or the process is dead, but the call may still be at work in the CRM, and would come behind whatever we write next.
    """
    step = _shown(command, evidence, patience, now_us)
    rest_us = patience.under_way_us - patience.settle_us(0)
    negative = isinstance(step, Retry) or (isinstance(step, Refuse) and step.code == CHANGED)
    if negative and command.reason != UNDER_WAY and rest_us > 0:
        return Settle(not_before_us=now_us + rest_us, reason=UNDER_WAY)
    return step


def _shown(command: Command, evidence: Evidence, patience: Patience, now_us: int) -> Next:
    """What the CRM's record shows, as if nothing were under way any more.

    Everything as wanted: it took effect (or somebody did the same). A record under our key is proof enough for a create, since
    only we write that key. Nothing there, or values as before: it did not take effect, and may be tried again.

    One field that became what we wanted proves an update that is atomic; what differs then is a person's later work, and the next
    pull reports it. Of an update that is several calls it proves that call alone. If the others are as before, or as we leave
    them on our way, it is tried again as a whole, which does no harm to what has taken effect. If a person has written the others,
    she has written after us, or as good as after us: it took effect, and her work stands.

    Fields that are neither as wanted nor as before, and no proof of ours, or a rest that we should have to write beside them: a
    person wrote them; we do not write over what we have not seen, and the command is refused as a conflict.
    """
    record = evidence.record
    creating = command.creates
    again = Retry(not_before_us=now_us + patience.retry_us(command.attempt - 1), reason="not-applied", counted=False)
    match record.state:
        case LeadState.GONE:
            if creating and not evidence.keyed:
                return Refuse(category=Category.UNKNOWN_OUTCOME, code="create-unproven")
            return again if creating else Refuse(category=Category.REMOVED, code="lead-removed")
        case LeadState.ARCHIVED:
            return Refuse(category=Category.REMOVED, code="lead-removed")
        case LeadState.MERGED:
            return Refuse(category=Category.MERGED, code="lead-merged", other=record.into)
        case LeadState.CONVERTED:
            return Refuse(category=Category.CONVERTED, code="lead-converted", successors=record.successors)
        case LeadState.LIVE | LeadState.UNBOUND:
            rest = len(evidence.differing) > len(evidence.touched)
            proven = bool(evidence.applied) and (evidence.atomic or not rest)
            if not evidence.differing or creating or proven:
                return Done(Accepted(crm_id=record.id, record=ours_alone(command, evidence)))
            if evidence.touched:
                return Refuse(category=Category.CONFLICT, code=CHANGED, fields=tuple(evidence.touched))
            if evidence.applied or evidence.passing:
                return msgspec.structs.replace(again, half=record, ours=(*evidence.applied, *evidence.passing))
            return again
        case _:
            assert_never(record.state)


def weigh(again: Retry, failures: int, patience: Patience) -> Retry | Refuse:
    """Whether a write that did not take effect is tried ``again``, or a person must look.

    ``failures``: the tries of it that count (0: this one does not), as ``blame.Blame.failed`` gives them. While no write of the
    account takes effect, nothing is counted and nothing given up.
    """
    if failures >= patience.attempts_max:
        return Refuse(category=Category.UNKNOWN_OUTCOME, code="attempts-exhausted")
    return msgspec.structs.replace(again, counted=failures > 0)


def settle_later(
    command: Command, reason: str, retry_at_us: int, patience: Patience, now_us: int, *, alive: bool
) -> Next:
    """An unknown write that could not even be read back: later.

    ``alive``: the CRM has answered other calls meanwhile, so it is this record's trouble, and after ``settle_max`` such tries a
    person must look. While the CRM is away altogether, nothing is counted and nothing given up.
    """
    if alive and command.waits >= patience.settle_max:
        return Refuse(category=Category.UNKNOWN_OUTCOME, code="settle-exhausted")
    not_before_us = max(now_us + patience.settle_us(command.waits), retry_at_us)
    return Settle(not_before_us=not_before_us, reason=reason, counted=alive)


def ours_alone(command: Command, evidence: Evidence) -> Record:
    """The record as far as it shows our own write: a person may have edited it between our lost answer and the read-back.

    Fields that differ from what we wrote are left out, and of a new record that was modified after it was made every field that
    we did not write, so the next pull reports them.
    """
    record = evidence.record
    later = command.creates and record.modified_us > record.created_us
    fields = {
        name: value
        for name, value in record.fields.items()
        if name not in evidence.differing and not (later and name not in evidence.wanted)
    }
    return msgspec.structs.replace(record, fields=fields)


def final_state(next_step: Next) -> CommandState:
    """The state in which a command stands after ``next_step``."""
    match next_step:
        case Done():
            return CommandState.DONE
        case Refuse():
            return CommandState.PARKED if next_step.needs_person else CommandState.REFUSED
        case Retry():
            return CommandState.PENDING
        case Settle():
            return CommandState.UNKNOWN
        case _:
            assert_never(next_step)
