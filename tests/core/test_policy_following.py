"""What becomes of a command of a merged lead, row by row."""

from __future__ import annotations

import msgspec
import pytest

from sales_crm_bridge.model import Accepted, Category, LeadState, Operation
from sales_crm_bridge.policy import following
from sales_crm_bridge.policy.commands import Done, Next, Patience, Refuse, Retry, Settle
from sales_crm_bridge.policy.fields import pack_heirs
from sales_crm_bridge.policy.following import Carry
from sales_crm_bridge.state import Binding, Command

NOW = 1_000_000_000
PATIENCE = Patience()
MERGED = Refuse(category=Category.MERGED, code="lead-merged", other="1300", other_lead="L-1")


def command(operation: Operation = Operation.REVISE, *, reason: str = "", waits: int = 0) -> Command:
    return Command(
        seq=7,
        conn=1,
        tenant="acme",
        message_id="m-1",
        lead_id="L-9",
        operation=operation,
        payload=b"",
        occurred_us=1,
        attempt=1,
        waits=waits,
        reason=reason,
    )


def merged(into: str = "777") -> Binding:
    """The loser's binding, whose record went into ``into`` at first."""
    return Binding(
        conn=1,
        lead_id="L-9",
        crm_id="",
        state=LeadState.MERGED,
        aggregate_version=3,
        heirs=pack_heirs([("", into)]) if into else b"",
    )


def survivor(state: LeadState = LeadState.LIVE, crm_id: str = "1300") -> Binding:
    heirs = pack_heirs([("deals", "7")]) if state is LeadState.CONVERTED else b""
    return Binding(conn=1, lead_id="L-1", crm_id=crm_id, state=state, aggregate_version=1, heirs=heirs)


@pytest.mark.parametrize("operation", [Operation.REVISE, Operation.QUALIFY, Operation.DISQUALIFY])
def test_a_command_follows_where_the_tenant_says_so_and_is_refused_with_the_survivors_names_where_not(
    operation: Operation,
) -> None:
    """Record and lead at the end of the chain are named, not those that the merge named at first."""
    assert following.judge(command(operation), merged(), survivor(), follow=True) == Carry("L-1")
    assert following.judge(command(operation), merged(), survivor(), follow=False) == MERGED


def test_a_create_never_follows() -> None:
    """Its record is there and was merged away: there is nothing left to make."""
    assert following.judge(command(Operation.CREATE), merged(), survivor(), follow=True) == MERGED


@pytest.mark.parametrize(
    ("state", "expected"),
    [
        (LeadState.ARCHIVED, Refuse(category=Category.REMOVED, code="lead-removed", other="1300", other_lead="L-1")),
        (LeadState.GONE, Refuse(category=Category.REMOVED, code="lead-removed", other="1300", other_lead="L-1")),
        (
            LeadState.CONVERTED,
            Refuse(
                category=Category.CONVERTED,
                code="lead-converted",
                other="1300",
                other_lead="L-1",
                successors=(("deals", "7"),),
            ),
        ),
    ],
)
def test_a_survivor_with_an_end_of_its_own_gives_the_command_that_end(state: LeadState, expected: Refuse) -> None:
    """Removed or converted since, with the successors; who does not follow hears of the merge alone."""
    assert following.judge(command(), merged(), survivor(state), follow=True) == expected
    assert following.judge(command(), merged(), survivor(state), follow=False) == MERGED


@pytest.mark.parametrize("follow", [True, False])
@pytest.mark.parametrize("into", ["777", ""])
def test_a_chain_that_ends_nowhere_ends_the_command(into: str, *, follow: bool) -> None:
    """A cycle, or a survivor that is nobody's lead: refused, with the record that the merge named if it named one."""
    expected = Refuse(category=Category.MERGED, code="lead-merged", other=into)
    assert following.judge(command(), merged(into), None, follow=follow) == expected


def test_a_merge_that_the_crm_tells_of_first_waits_for_the_pull() -> None:
    """Only the pull knows which lead lives on; the pauses grow, count as nobody's fault, and come to an end."""
    told = Refuse(category=Category.MERGED, code="gone", other="1300")
    assert following.heed(command(waits=9), told, PATIENCE, NOW, bound=True) == Retry(
        not_before_us=NOW + PATIENCE.retry_us(0), reason="lead-merged", counted=False
    )
    waiting = command(reason="lead-merged", waits=following.WAITS_MAX - 1)
    again = following.heed(waiting, told, PATIENCE, NOW, bound=True)
    assert isinstance(again, Retry)
    assert again.not_before_us == NOW + PATIENCE.retry_us(following.WAITS_MAX - 1)
    assert (
        following.heed(msgspec.structs.replace(waiting, waits=following.WAITS_MAX), told, PATIENCE, NOW, bound=True)
        == told
    )


def test_a_conversion_that_the_crm_tells_of_without_successors_waits_for_the_pull_too() -> None:
    """A refusal of a write seldom names them, and the record does; a wait for a merge before it does not count."""
    told = Refuse(category=Category.CONVERTED, code="launched")
    again = Retry(not_before_us=NOW + PATIENCE.retry_us(0), reason="lead-converted", counted=False)
    assert (
        following.heed(command(reason="lead-merged", waits=following.WAITS_MAX), told, PATIENCE, NOW, bound=True)
        == again
    )
    assert (
        following.heed(command(reason="lead-converted", waits=following.WAITS_MAX), told, PATIENCE, NOW, bound=True)
        == told
    )


def test_a_create_without_a_record_of_its_own_ends_at_once() -> None:
    """A read by our key says that what it made was merged away: tried again, it would be made a second time."""
    told = Refuse(category=Category.MERGED, code="lead-merged", other="1300")
    assert following.heed(command(Operation.CREATE), told, PATIENCE, NOW, bound=False) == told


@pytest.mark.parametrize(
    "step",
    [
        Done(Accepted(crm_id="512", record=None)),
        Refuse(category=Category.MERGED, code="lead-merged"),
        Refuse(category=Category.CONVERTED, code="lead-converted", successors=(("deals", "7"),)),
        Refuse(category=Category.DUPLICATE, code="CONFLICT", other="512"),
        Retry(not_before_us=5, reason="busy", counted=False),
        Settle(not_before_us=5, reason="cut"),
    ],
)
def test_any_other_step_is_left_as_it_is(step: Next) -> None:
    """A merge into a record without a name, or a conversion with all its successors: there is nothing to wait for."""
    assert following.ahead(step) == ""
    assert following.heed(command(), step, PATIENCE, NOW, bound=True) is step
