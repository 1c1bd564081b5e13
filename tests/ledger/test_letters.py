"""Dead letters: listed by what they are, closed once, in one transaction with what becomes of what they keep."""

import asyncio

import msgspec
import pytest

from sales_crm_bridge.errors import TenancyMoved
from sales_crm_bridge.state import Closing, CommandChange, CommandState, Commit, DeadLetter, Fence, OutboxRow
from tests.ledger.house import House, Opener
from tests.ledger.test_outbox import letter


def closing(*letters: DeadLetter, **more: object) -> Closing:
    return Closing(letters=letters, how="redriven", who="ann", why="mended", now_us=50, **more)  # type: ignore[arg-type]


async def bury(house: House, conn: int, fence: Fence, *letters: DeadLetter) -> list[DeadLetter]:
    """Keep these letters; as they are listed then."""
    await house.ledger.commit(fence, Commit(conn=conn, dead=letters))
    return await house.ledger.dead_letters("", 99)


async def test_letters_are_listed_by_tenant_and_code_from_any_one_on(house: House) -> None:
    """The oldest first, at most as many as asked for, each whole."""
    conn, fence = await house.connection()
    made = [letter(f"s{n}", tenant=("acme", "beta")[n % 2], code=("a", "b")[n // 2]) for n in range(4)]
    kept = await bury(house, conn, fence, *made)
    assert [msgspec.structs.replace(one, id=0) for one in kept] == made
    ledger = house.ledger
    assert await ledger.dead_letters("acme", 99) == [kept[0], kept[2]]
    assert await ledger.dead_letters("", 99, code="b") == kept[2:]
    assert await ledger.dead_letters("beta", 99, code="a") == [kept[1]]
    assert await ledger.dead_letters("", 2, after=kept[0].id) == kept[1:3]
    assert await ledger.dead_letters_named([kept[3].id, kept[1].id, 10**6]) == [kept[1], kept[3]]
    assert await ledger.dead_letters_named([]) == []


async def parked(house: House) -> tuple[int, Fence, dict[str, int]]:
    """Lead L: a parked command with a later one behind it; lead K: a parked one alone; the commands' numbers."""
    conn, fence = await house.connection()
    await house.intents(conn, "L", "L", "K")
    seqs = [one.seq for one in await house.ledger.commands_open(conn, ["L", "K"])]
    numbers = dict(zip(("first", "second", "other"), seqs, strict=True))
    changes = [
        CommandChange(seq=numbers[name], state=CommandState.PARKED, attempt=3, reason="bad")
        for name in ("first", "other")
    ]
    await house.ledger.commit(fence, Commit(conn=conn, commands=changes))
    return conn, fence, numbers


async def test_a_command_that_is_put_back_is_tried_before_its_leads_later_ones(house: House) -> None:
    """Pending again, or to be read back; who did it, when and why is remembered, and the message is gone with the letter."""
    conn, fence, numbers = await parked(house)
    first, other = await bury(
        house, conn, fence, letter(f"command {numbers['first']}"), letter(f"command {numbers['other']}", code="d")
    )
    commands = {one.seq: one for one in await house.ledger.commands_parked([*numbers.values()])}
    assert sorted(commands) == [numbers["first"], numbers["other"]]
    assert await house.ready(conn) == []
    work = {
        first.id: (commands[numbers["first"]], CommandState.PENDING),
        other.id: (commands[numbers["other"]], CommandState.UNKNOWN),
    }
    assert await house.ledger.dead_letters_close(closing(first, other, commands=work)) == [first.id, other.id]
    assert await house.ready(conn) == [("L", numbers["first"]), ("K", numbers["other"])]
    again = {one.seq: one for one in await house.ledger.commands_open(conn, ["L", "K"])}
    assert [again[numbers[name]].state for name in numbers] == [
        CommandState.PENDING,
        CommandState.PENDING,
        CommandState.UNKNOWN,
    ]
    assert (again[numbers["first"]].attempt, again[numbers["first"]].reason) == (3, "")
    assert await house.ledger.dead_letters("", 9) == []
    seen = await house.ledger.dead_letters_closed(9)
    assert [(one.id, one.code, one.how, one.who, one.why, one.closed_us) for one in seen] == [
        (other.id, "d", "redriven", "ann", "mended", 50),
        (first.id, "c", "redriven", "ann", "mended", 50),
    ]
    # Parked anew, it has a letter anew: the source is free.
    parked_anew = CommandChange(seq=numbers["first"], state=CommandState.PARKED, reason="still bad")
    await house.ledger.commit(fence, Commit(conn=conn, commands=[parked_anew], dead=[letter(first.source)]))
    assert [one.source for one in await house.ledger.dead_letters("", 9)] == [first.source]


async def test_a_command_that_is_dropped_is_over_and_lets_the_later_ones_go_on(house: House) -> None:
    """Refused, its payload emptied; it comes back by nothing."""
    conn, fence, numbers = await parked(house)
    (first,) = await bury(house, conn, fence, letter(f"command {numbers['first']}"))
    (command,) = await house.ledger.commands_parked([numbers["first"]])
    work = {first.id: (command, CommandState.REFUSED)}
    assert await house.ledger.dead_letters_close(closing(first, commands=work)) == [first.id]
    assert await house.ready(conn) == [("L", numbers["second"])]
    found = await house.ledger.known("acme", command.message_id)
    assert found is not None
    assert found.command is not None
    assert (found.command.state, found.command.reason, found.command.payload) == (CommandState.REFUSED, "dropped", b"")


async def test_a_letter_is_closed_once_whoever_does_it(house: House, opened: Opener) -> None:
    """Two persons at once: one of them does it, and nothing is published, read or taken twice."""
    conn, fence = await house.connection()
    made = await bury(house, conn, fence, letter("fact f-1"), letter("acme/record/7@1"), letter("t[0]@5"))
    work = closing(
        *made,
        facts={made[0].id: (conn, OutboxRow(message_id="f-1", fact=b"fact", created_us=1))},
        records={made[1].id: (conn, "7")},
        intents={made[2].id: house.intent(conn, "L", "m-1")},
    )
    other = await opened()
    done = await asyncio.gather(house.ledger.dead_letters_close(work), other.dead_letters_close(work))
    assert sorted(map(len, done)) == [0, 3]
    assert [row.message_id for row in await house.ledger.outbox_read(0, 9)] == ["f-1"]
    assert [(one.crm_id, one.times) for one in await house.ledger.notices(conn, 9)] == [("7", 1)]
    assert [lead for lead, _ in await house.ready(conn)] == ["L"]


async def test_an_intent_that_was_judged_by_what_is_out_of_force_stays_a_letter(house: House) -> None:
    """Nothing of the closing is done, and all of it can be done again."""
    conn, fence = await house.connection()
    made = await bury(house, conn, fence, letter("t[0]@5"), letter("fact f-1"))
    number = await house.ledger.tenancy()
    work = closing(
        *made,
        intents={made[0].id: house.intent(conn, "L", "m-1")},
        facts={made[1].id: (conn, OutboxRow(message_id="f-1", fact=b"fact", created_us=1))},
        tenancy=number - 1,
    )
    with pytest.raises(TenancyMoved):
        await house.ledger.dead_letters_close(work)
    assert await house.ledger.dead_letters("", 9) == made
    assert await house.ledger.outbox_read(0, 9) == []
    again = msgspec.structs.replace(work, tenancy=number)
    assert await house.ledger.dead_letters_close(again) == [one.id for one in made]


async def test_what_is_remembered_of_closed_letters_is_forgotten_with_the_commands(house: House) -> None:
    """By the same retention."""
    conn, fence = await house.connection()
    (made,) = await bury(house, conn, fence, letter("fact f-1"))
    await house.ledger.dead_letters_close(closing(made))
    await house.ledger.forget(50, 0, 0, 9)
    assert [one.id for one in await house.ledger.dead_letters_closed(9)] == [made.id]
    await house.ledger.forget(51, 0, 0, 9)
    assert await house.ledger.dead_letters_closed(9) == []
