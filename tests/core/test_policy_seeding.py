"""What a pair comes to, by what the ledger and the CRM know of its two sides."""

from __future__ import annotations

import pytest

from sales_crm_bridge.model import LeadState, Operation, Record
from sales_crm_bridge.policy.seeding import Pair, seed, unlike
from sales_crm_bridge.state import Binding, Command, CommandState

PAIR = Pair(2, "L", "70")


def binding(lead_id: str, crm_id: str, state: LeadState = LeadState.LIVE, version: int = 3) -> Binding:
    return Binding(conn=1, lead_id=lead_id, crm_id=crm_id, state=state, aggregate_version=version)


def command(state: CommandState, attempt: int = 0) -> Command:
    return Command(
        seq=1,
        conn=1,
        tenant="acme",
        message_id="m",
        lead_id="L",
        operation=Operation.CREATE,
        payload=b"",
        occurred_us=1,
        state=state,
        attempt=attempt,
    )


def test_a_new_pair_knows_no_fields_and_no_facts() -> None:
    """So the first look learns them, and the first fact of the lead is its version 1."""
    seeds = seed(1, [PAIR], {}, {}, [])
    assert seeds.bindings == [(PAIR, binding("L", "70", version=0))]
    assert (seeds.known, seeds.misfits) == (0, [])


@pytest.mark.parametrize("state", [LeadState.LIVE, LeadState.GONE, LeadState.CONVERTED])
def test_an_equal_pair_is_known_whatever_became_of_it(state: LeadState) -> None:
    """An import that was cut off is done again; what was told since is not undone."""
    held = binding("L", "70", state)
    seeds = seed(1, [PAIR], {"L": held}, {"70": held}, [command(CommandState.UNKNOWN)])
    assert (seeds.known, seeds.bindings, seeds.misfits) == (1, [], [])


def test_a_lead_that_was_told_of_and_has_no_record_keeps_its_count() -> None:
    """Its create was refused, say: the facts about it go on from there."""
    seeds = seed(1, [PAIR], {"L": binding("L", "", LeadState.UNBOUND, 2)}, {}, [command(CommandState.PARKED, 1)])
    assert seeds.bindings == [(PAIR, binding("L", "70", version=2))]


@pytest.mark.parametrize(
    ("lead", "record", "commands", "code"),
    [
        (binding("L", "71"), None, [], "bindings.lead-bound"),
        (binding("L", "71"), binding("M", "70"), [], "bindings.lead-bound"),
        (binding("L", "", LeadState.MERGED), None, [], "bindings.lead-merged"),
        (None, binding("M", "70"), [], "bindings.record-bound"),
        (None, binding("M", "72"), [], "bindings.record-merged"),
        (None, None, [command(CommandState.SENDING)], "bindings.lead-under-way"),
        (None, None, [command(CommandState.UNKNOWN, 1)], "bindings.lead-under-way"),
        (None, None, [command(CommandState.PENDING, 1)], "bindings.lead-under-way"),
    ],
)
def test_a_pair_moves_no_binding(
    lead: Binding | None, record: Binding | None, commands: list[Command], code: str
) -> None:
    """Where the ledger says something else, somebody has to look; so where a write is under way."""
    by_lead = {} if lead is None else {"L": lead}
    seeds = seed(1, [PAIR], by_lead, {} if record is None else {"70": record}, commands)
    assert ([one.code for one in seeds.misfits], seeds.bindings) == ([code], [])
    assert seeds.misfits[0].remedy


@pytest.mark.parametrize(
    ("record", "code"),
    [
        (Record(id="70", version="", modified_us=0, fields={}), ""),
        (Record(id="70", version="", modified_us=0, fields={}, key="L"), ""),
        (Record(id="70", version="", modified_us=0, fields={}, key="M"), "bindings.key-differs"),
        (Record(id="70", version="", modified_us=0, fields={}, state=LeadState.GONE), "bindings.no-record"),
        (
            Record(id="70", version="", modified_us=0, fields={}, state=LeadState.MERGED, into="71"),
            "bindings.no-record",
        ),
        (Record(id="71", version="", modified_us=0, fields={}), "bindings.no-record"),
        (None, "bindings.no-record"),
    ],
)
def test_the_crms_record_must_be_there_and_be_nobody_elses(record: Record | None, code: str) -> None:
    """With --online: gone, merged away, under another id, or with another lead's key."""
    misfit = unlike(PAIR, record)
    assert (misfit.code if misfit is not None else "") == code
