"""Matches: proposed with a parked command, decided once with its letter, refused for ever."""

import asyncio

import msgspec
import pytest

from sales_crm_bridge.matches import Fate, Verdict, What, decide
from sales_crm_bridge.ports import Ledger
from sales_crm_bridge.state import (
    Closing,
    Command,
    CommandChange,
    CommandState,
    Commit,
    Fence,
    Match,
    MatchState,
    Waiting,
)
from tests.ledger.house import House, Opener
from tests.ledger.test_outbox import letter


def match(conn: int, lead_id: str, crm_id: str, seq: int, **more: object) -> Match:
    whole = {"tenant": "acme", "state": MatchState.PROPOSED, "ground": "00", "since_us": 7, **more}
    return Match(conn=conn, lead_id=lead_id, crm_id=crm_id, seq=seq, **whole)  # type: ignore[arg-type]


async def proposed(house: House, *leads: str) -> tuple[int, Fence, list[Match]]:
    """Each of ``leads`` with a command that is parked for a match with record R, and a later one of the same lead."""
    conn, fence = await house.connection()
    await house.intents(conn, *leads, *leads)
    firsts = {one.lead_id: one for one in reversed(await house.ledger.commands_open(conn, leads))}
    made = [match(conn, lead, "R", firsts[lead].seq) for lead in leads]
    changes = [CommandChange(seq=one.seq, state=CommandState.PARKED, attempt=1, reason="r") for one in made]
    dead = [letter(f"command {one.seq}") for one in made]
    await house.ledger.commit(fence, Commit(conn=conn, commands=changes, dead=dead, matches=made))
    return conn, fence, await house.ledger.matches("", 99)


async def say(ledger: Ledger, *ids: int, accept: bool, dry: bool = False, now_us: int = 50) -> list[What]:
    verdict = Verdict(ids=ids, accept=accept, who="ann", why="one person")
    fates: list[Fate] = [one async for one in decide(ledger, verdict, now_us, dry=dry)]
    return [fate.what for fate in fates]


async def command(house: House, conn: int, lead_id: str) -> Command:
    """The lead's oldest command that is not final."""
    return (await house.ledger.commands_open(conn, [lead_id]))[0]


async def test_matches_are_listed_and_counted_while_they_wait(house: House) -> None:
    """The oldest first, by tenant; the census tells how many and since when. A dry run changes nothing."""
    conn, _, (first, second) = await proposed(house, "L", "K")
    assert [(one.lead_id, one.crm_id, one.since_us) for one in (first, second)] == [("L", "R", 7), ("K", "R", 7)]
    ledger = house.ledger
    assert await ledger.matches("acme", 1, after=first.id) == [second]
    assert await ledger.matches("beta", 9) == []
    assert await ledger.matches_named([second.id, 10**6]) == [second]
    assert (await ledger.census()).matches == {conn: Waiting(number=2, since_us=7)}
    assert await say(ledger, first.id, second.id, accept=True, dry=True) == [What.ACCEPTED] * 2
    assert await ledger.matches("", 9) == [first, second]
    assert await house.ready(conn) == []


@pytest.mark.parametrize("accept", [True, False])
async def test_a_decision_puts_the_command_back_before_its_leads_later_ones(house: House, *, accept: bool) -> None:
    """Pending, with what was decided; its letter is gone, and who decided, when and why is remembered. Others wait on."""
    conn, _, (first, second) = await proposed(house, "L", "K")
    what = What.ACCEPTED if accept else What.REFUSED
    assert await say(house.ledger, first.id, accept=accept) == [what]
    assert await house.ready(conn) == [("L", first.seq)]
    back = await command(house, conn, "L")
    assert (back.seq, back.state, back.matched, back.reason, back.attempt) == (
        first.seq,
        CommandState.PENDING,
        what.value,
        "",
        1,
    )
    (seen,) = await house.ledger.matches("", 9, decided=True)
    assert (seen.id, seen.state.value, seen.who, seen.why, seen.decided_us) == (
        first.id,
        what.value,
        "ann",
        "one person",
        50,
    )
    assert await house.ledger.matches_of(conn, ["L", "K"]) == [seen]
    assert [one.how for one in await house.ledger.dead_letters_closed(9)] == [what.value]
    assert await house.ledger.matches("", 9) == [second]
    assert (await command(house, conn, "K")).matched == ""
    assert await say(house.ledger, first.id, accept=not accept) == [What.STAYS]


async def test_two_persons_at_once_decide_once(house: House, opened: Opener) -> None:
    """One accepts, one refuses, one redrives the letter, in the same moment: one of them has done it, whole."""
    conn, _, (first,) = await proposed(house, "L")
    other = await opened()
    (kept,) = await house.ledger.dead_letters_from([f"command {first.seq}"])
    (parked,) = await house.ledger.commands_parked([first.seq])
    work = {kept.id: (parked, CommandState.PENDING)}
    redriven = Closing(letters=[kept], how="redriven", who="ben", why="", now_us=60, commands=work)
    accepted, refused, again = await asyncio.gather(
        say(house.ledger, first.id, accept=True),
        say(other, first.id, accept=False),
        house.ledger.dead_letters_close(redriven),
    )
    assert (accepted == [What.ACCEPTED]) + (refused == [What.REFUSED]) + bool(again) == 1
    (seen,) = await house.ledger.matches("", 9, decided=True)
    expected = (
        MatchState.WITHDRAWN if again else MatchState.ACCEPTED if What.ACCEPTED in accepted else MatchState.REFUSED
    )
    assert seen.state is expected
    assert (await command(house, conn, "L")).matched == ("" if again else expected.value)


async def test_what_was_refused_is_refused_for_ever(house: House) -> None:
    """No commit proposes or binds the pair again, and no retention forgets it; another record may be proposed."""
    conn, fence, (first,) = await proposed(house, "L")
    await say(house.ledger, first.id, accept=False)
    assert await house.ledger.matches_of(conn, ["L", "K"]) == await house.ledger.matches("", 9, decided=True)
    change = CommandChange(seq=first.seq, state=CommandState.PARKED)
    again = [match(conn, "L", "R", first.seq, since_us=99), match(conn, "L", "S", first.seq)]
    await house.ledger.commit(fence, Commit(conn=conn, commands=[change], matches=again))
    assert [one.crm_id for one in await house.ledger.matches("", 9)] == ["S"]
    await house.ledger.forget(10**15, 0, 0, 99)
    assert [one.crm_id for one in await house.ledger.matches_of(conn, ["L"])] == ["R"]


async def test_a_bound_match_marks_its_command_and_is_forgotten_in_time(house: House) -> None:
    """The command goes on as an update whatever becomes of it meanwhile; a withdrawn one is a create again."""
    conn, fence, matches = await proposed(house, "L", "K")
    await say(house.ledger, *(one.id for one in matches), accept=True)
    bound, withdrawn = [
        msgspec.structs.replace(one, state=state, ended_us=60, decided_us=50)
        for one, state in zip(matches, (MatchState.BOUND, MatchState.WITHDRAWN), strict=True)
    ]
    changes = [CommandChange(seq=one.seq, state=CommandState.PENDING, attempt=1) for one in matches]
    await house.ledger.commit(fence, Commit(conn=conn, commands=changes, matches=[bound, withdrawn]))
    assert ((await command(house, conn, "L")).matched, (await command(house, conn, "K")).matched) == ("bound", "")
    parked = CommandChange(seq=bound.seq, state=CommandState.PARKED, reason="bad")
    await house.ledger.commit(fence, Commit(conn=conn, commands=[parked], dead=[letter(f"command {bound.seq}")]))
    (kept,) = await house.ledger.dead_letters_from([f"command {bound.seq}"])
    work = {kept.id: (await command(house, conn, "L"), CommandState.PENDING)}
    await house.ledger.dead_letters_close(
        Closing(letters=[kept], how="redriven", who="ann", why="", now_us=70, commands=work)
    )
    assert (await command(house, conn, "L")).matched == "bound"
    await house.ledger.forget(60, 0, 0, 99)
    assert len(await house.ledger.matches("", 9, decided=True)) == 2
    await house.ledger.forget(61, 0, 0, 99)
    assert await house.ledger.matches("", 9, decided=True) == []


async def test_a_dropped_command_takes_its_match_along(house: House) -> None:
    """One that waits, and one that was accepted and then met another obstacle: nothing is left to be bound."""
    conn, fence, matches = await proposed(house, "L", "K")
    await say(house.ledger, matches[1].id, accept=True)
    parked = CommandChange(seq=matches[1].seq, state=CommandState.PARKED, reason="bad")
    dead = [letter(f"command {matches[1].seq}")]
    await house.ledger.commit(fence, Commit(conn=conn, commands=[parked], dead=dead))
    letters = await house.ledger.dead_letters_from([f"command {one.seq}" for one in matches])
    commands = {one.seq: one for one in await house.ledger.commands_parked([one.seq for one in matches])}
    by_source = {f"command {seq}": one for seq, one in commands.items()}
    work = {one.id: (by_source[one.source], CommandState.REFUSED) for one in letters}
    done = await house.ledger.dead_letters_close(
        Closing(letters=letters, how="dropped", who="ann", why="a test", now_us=90, commands=work)
    )
    assert len(done) == 2
    assert {one.state for one in await house.ledger.matches("", 9, decided=True)} == {MatchState.WITHDRAWN}
    assert await house.ledger.matches_of(conn, ["L", "K"]) == []
