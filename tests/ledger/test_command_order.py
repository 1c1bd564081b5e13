"""The order of commands against a model that keeps no marks: whatever happens to them, the ledger hands out the same ones."""

from dataclasses import dataclass
from itertools import count

import msgspec
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from sales_crm_bridge.errors import Bug, LeaseLost
from sales_crm_bridge.ledger import SqlLedger, open_ledger
from sales_crm_bridge.model import Operation
from sales_crm_bridge.state import Closing, CommandChange, CommandState, Commit, Fence, Intake
from tests.ledger.house import House
from tests.ledger.test_outbox import letter

OPEN = {CommandState.PENDING, CommandState.SENDING, CommandState.UNKNOWN}
FINAL = {CommandState.DONE, CommandState.REFUSED}
LEADS = ("L", "K")
TENANTS = count()
STATES = [*sorted(CommandState), CommandState.PARKED, CommandState.PENDING]  # where the marks move most

take_in = st.tuples(st.just("take"), st.lists(st.sampled_from(LEADS), min_size=1, max_size=4))
change = st.tuples(
    st.just("change"),
    st.lists(
        st.tuples(st.integers(0, 5), st.sampled_from(STATES), st.sampled_from([0, 0, 5, 9])),
        min_size=1,
        max_size=3,
        unique_by=lambda one: one[0],
    ),
)
send = st.tuples(st.just("send"), st.integers(1, 3))
AFTERWARDS = [CommandState.PENDING, CommandState.UNKNOWN, CommandState.REFUSED]
close = st.tuples(st.just("close"), st.lists(st.sampled_from(AFTERWARDS), min_size=1, max_size=2))
carry = st.tuples(st.just("carry"), st.permutations(LEADS))
histories = st.lists(st.one_of(take_in, take_in, change, change, send, close, carry), min_size=20, max_size=40)


@dataclass
class Known:
    """What the model keeps of a command."""

    seq: int
    lead: str
    state: CommandState = CommandState.PENDING
    not_before_us: int = 0


def ready(known: list[Known], now_us: int, *, behind_parked: bool) -> list[tuple[int, bool]]:
    """Say by the words of the port which commands may be tried, and which of them are behind a parked one."""
    found = []
    for lead in LEADS:
        mine = [one for one in known if one.lead == lead and one.state not in FINAL]
        head = next((one for one in mine if one.state in OPEN), None)
        if head is None or head.state is CommandState.SENDING or head.not_before_us > now_us:
            continue
        parked = any(one.state is CommandState.PARKED and one.seq < head.seq for one in mine)
        if behind_parked or not parked:
            found.append((head.seq, parked))
    return sorted(found)


def head(known: list[Known], lead: str) -> CommandState | None:
    """The state of the oldest open command of a lead."""
    return next((one.state for one in known if one.lead == lead and one.state in OPEN), None)


async def check(ledger: SqlLedger, history: list[tuple[str, object]]) -> None:
    """Play ``history`` on the ledger and on the model, and compare after every step."""
    house = House(ledger)
    number = next(TENANTS)
    conn, fence = await house.connection(f"tenant{number}")
    known: list[Known] = []
    for what, details in history:
        match what, details:
            case "take", list(leads):
                rows = [house.intent(conn, lead, f"{number}/{house.count}") for lead in leads]
                await ledger.take(Intake(rows=rows, dead=(), offsets={}, now_us=1))
                seqs = sorted(one.seq for one in await ledger.commands_open(conn, LEADS))
                fresh = [seq for seq in seqs if seq not in {one.seq for one in known}]
                known += [Known(seq, lead) for seq, lead in zip(fresh, leads, strict=True)]
            case "change", list(changes):
                await commit(ledger, fence, conn, known, changes)
            case "send", int(limit):
                heads = ready(known, 7, behind_parked=True)[:limit]
                await ledger.sending(fence, conn, [seq for seq, _ in heads])
                for one in known:
                    if one.seq in {seq for seq, _ in heads}:
                        one.state = CommandState.SENDING
            case "close", list(states):
                await close_letters(ledger, fence, conn, known, states)
            case "carry", [str(loser), str(survivor)]:
                await carry_over(ledger, fence, conn, known, (loser, survivor))
            case _:
                raise AssertionError(what)
        for behind_parked in (False, True):
            found = await ledger.commands_ready(conn, 7, 99, behind_parked=behind_parked)
            assert [(one.seq, one.behind_parked) for one in found] == ready(known, 7, behind_parked=behind_parked)
        assert [one.seq for one in await ledger.commands_open(conn, LEADS)] == [
            one.seq for one in known if one.state not in FINAL
        ]


async def carry_over(ledger: SqlLedger, fence: Fence, conn: int, known: list[Known], leads: tuple[str, str]) -> None:
    """Carry what is pending of the first lead to the second, on both sides, while nothing of either is under way."""
    loser, survivor = leads
    if {None, CommandState.PENDING} >= {head(known, loser), head(known, survivor)}:
        await ledger.carry(fence, conn, {loser: survivor})
        for one in known:
            if one.lead == loser and one.state is CommandState.PENDING:
                one.lead = survivor


async def close_letters(
    ledger: SqlLedger, fence: Fence, conn: int, known: list[Known], states: list[CommandState]
) -> None:
    """A person puts the first parked commands back to work, or drops them, on both sides."""
    chosen = [one for one in known if one.state is CommandState.PARKED][: len(states)]
    letters = [letter(f"command {one.seq}") for one in chosen]
    await ledger.commit(fence, Commit(conn=conn, dead=letters))
    by_source = {one.source: one for one in await ledger.dead_letters("", 99)}
    commands = {one.seq: one for one in await ledger.commands_parked([one.seq for one in chosen])}
    work = {}
    for one, made, state in zip(chosen, letters, states, strict=False):
        work[by_source[made.source].id] = (commands[one.seq], state)
        one.state, one.not_before_us = state, 0
    done = Closing(
        letters=[by_source[made.source] for made in letters], how="redriven", who="", why="", now_us=1, commands=work
    )
    await ledger.dead_letters_close(done)


async def commit(
    ledger: SqlLedger, fence: Fence, conn: int, known: list[Known], changes: list[tuple[int, CommandState, int]]
) -> None:
    """Change commands by their place in the model, on both sides; a final one stays final."""
    rows = []
    for at, state, not_before_us in changes:
        if at < len(known):
            rows.append(CommandChange(seq=known[at].seq, state=state, not_before_us=not_before_us))
            if known[at].state not in FINAL:
                known[at].state, known[at].not_before_us = state, not_before_us
    await ledger.commit(fence, Commit(conn=conn, commands=rows))


@given(histories)
@settings(max_examples=100, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_the_ledger_hands_out_what_the_model_does_on_sqlite(history: list[tuple[str, object]]) -> None:
    """After every step of any history: the ready commands with their flags, and the open ones, are the model's."""
    ledger = await open_ledger("sqlite://:memory:")
    await check(ledger, history)
    await ledger.close()


@given(histories)
@settings(max_examples=15, suppress_health_check=[HealthCheck.function_scoped_fixture])
async def test_the_ledger_hands_out_what_the_model_does_on_postgresql(
    postgres_dsn: str, history: list[tuple[str, object]]
) -> None:
    """The same on PostgreSQL."""
    ledger = await open_ledger(postgres_dsn, migrate=True)
    await check(ledger, history)
    await ledger.close()


@pytest.mark.parametrize("under_way", [CommandState.SENDING, CommandState.UNKNOWN])
async def test_a_survivors_write_under_way_has_its_outcome_before_an_older_command_that_is_carried_to_it(
    ledger: SqlLedger, under_way: CommandState
) -> None:
    """The survivor's write stays first until it is done; then what was carried goes by age, and the loser keeps its creates."""
    house = House(ledger)
    conn, fence = await house.connection("acme")
    rows = [house.intent(conn, lead) for lead in ("loser", "survivor", "loser", "loser")]
    made = msgspec.structs.replace(rows[2].command, operation=Operation.CREATE)
    rows[2] = msgspec.structs.replace(rows[2], command=made)
    await ledger.take(Intake(rows=rows, dead=(), offsets={}, now_us=1))
    first, second, third, fourth = [one.seq for one in await ledger.commands_open(conn, ["loser", "survivor"])]
    await ledger.sending(fence, conn, [second])
    if under_way is CommandState.UNKNOWN:
        await ledger.orphans(fence, conn, 5)
    await ledger.carry(fence, conn, {"loser": "survivor"})
    assert await house.ready(conn, 1) == [("loser", third)]
    with pytest.raises(Bug):
        await ledger.sending(fence, conn, [first])
    done = [CommandChange(seq=seq, state=CommandState.DONE) for seq in (second, third)]
    await ledger.commit(fence, Commit(conn=conn, commands=done[:1]))
    assert await house.ready(conn, 1) == [("survivor", first), ("loser", third)]
    await ledger.commit(fence, Commit(conn=conn, commands=[CommandChange(seq=first, state=CommandState.REFUSED)]))
    assert await house.ready(conn, 1) == [("loser", third), ("survivor", fourth)]
    await ledger.carry(fence, conn, {"loser": "survivor"})
    assert await house.ready(conn, 1) == [("loser", third), ("survivor", fourth)]


async def test_only_the_holder_of_the_lease_carries_commands(ledger: SqlLedger) -> None:
    """A former holder changes nothing."""
    house = House(ledger)
    conn, fence = await house.connection("acme")
    await house.intents(conn, "loser")
    with pytest.raises(LeaseLost):
        await ledger.carry(msgspec.structs.replace(fence, epoch=fence.epoch - 1), conn, {"loser": "survivor"})
    assert [lead for lead, _ in await house.ready(conn)] == ["loser"]
