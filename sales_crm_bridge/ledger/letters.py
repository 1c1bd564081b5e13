"""Dead letters: listed, and closed by a person, in one transaction with what then becomes of what they keep."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sales_crm_bridge.bells import BELL_OUTBOX, bell_commands, bell_notices
from sales_crm_bridge.ledger import commands, house, matches, notices, outbox
from sales_crm_bridge.ledger.steps import Ask, Columns, Many, Ring, Set, Step
from sales_crm_bridge.state import ClosedLetter, CommandState, DeadLetter, MatchState

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sales_crm_bridge.ledger.steps import Work
    from sales_crm_bridge.state import Closing, Command

CLOSED = Columns(
    "id int, source text, tenant text, lead_id text, code text, how text, who text, why text, created_us int, closed_us int"
)
REVIVED = Columns("conn int, seq int, state text, matched text")

LIST = f"""
    SELECT {house.DEAD.listed}, id FROM dead_letters
    WHERE id > ? AND (? = '' OR tenant = ?) AND (? = '' OR code = ?) ORDER BY id LIMIT ?
"""  # noqa: S608 - constants
NAMED = f"SELECT {house.DEAD.listed}, id FROM dead_letters WHERE id {{in}} ORDER BY id"  # noqa: S608 - constants
FROM = f"SELECT {house.DEAD.listed}, id FROM dead_letters WHERE source {{in}} ORDER BY id"  # noqa: S608 - constants
LAST = f"SELECT {CLOSED.listed} FROM letters_closed ORDER BY closed_us DESC, id DESC LIMIT ?"  # noqa: S608 - constants
NEWEST = "SELECT max(id) FROM dead_letters"
PARKED = f"SELECT {commands.COMMAND} FROM commands WHERE seq {{in}} AND state = 'parked' ORDER BY seq"  # noqa: S608 - constants
OPENED = "DELETE FROM dead_letters WHERE id {in} RETURNING id"
CLOSE = "INSERT INTO letters_closed ({columns}) {values}"
REVIVE = """
    UPDATE commands SET state = r.state, waits = 0, not_before_us = 0, reason = '', open = 1,
        matched = CASE WHEN r.matched <> '' THEN r.matched ELSE commands.matched END
    FROM {rows} WHERE commands.seq = r.seq AND commands.conn = r.conn AND commands.state = 'parked'
"""
# As with every final state: nothing personal stays.
DISMISS = """
    UPDATE commands SET state = 'refused', reason = 'dropped', finished_us = ?, payload = substr(payload, 1, 0)
    WHERE seq {in} AND state = 'parked'
"""


def listed(tenant: str, code: str, after: int, limit: int) -> Step[list[DeadLetter]]:
    """The oldest first."""
    (rows,) = yield (Ask(LIST, (after, tenant, tenant, code, code, limit)),)
    return [_letter(row) for row in rows]


def named(ids: Sequence[int]) -> Step[list[DeadLetter]]:
    """Those that are still there."""
    (rows,) = yield (Ask(NAMED, (Set("int", ids),)),)
    return [_letter(row) for row in rows]


def of_sources(sources: Sequence[str]) -> Step[list[DeadLetter]]:
    """Those that came from there."""
    (rows,) = yield (Ask(FROM, (Set("text", sources),)),)
    return [_letter(row) for row in rows]


def _letter(row: tuple[object, ...]) -> DeadLetter:
    return DeadLetter(**dict(zip((*house.DEAD.names, "id"), row, strict=True)))  # type: ignore[arg-type]  # the columns are its fields


def newest() -> Step[int]:
    """The id of the newest one; 0: there is none."""
    (((number,),),) = yield (Ask(NEWEST),)
    return int(number or 0)


def closed(limit: int) -> Step[list[ClosedLetter]]:
    """The newest first."""
    (rows,) = yield (Ask(LAST, (limit,)),)
    return [ClosedLetter(*row) for row in rows]


def parked(seqs: Sequence[int]) -> Step[list[Command]]:
    """Those of these commands that are parked."""
    (rows,) = yield (Ask(PARKED, (Set("int", seqs),)),)
    return commands.listed(rows)


def close(closing: Closing) -> Step[list[int]]:
    """Close letters that are still there, each with its part of the work; gives their ids. Raises as ``commands.take``."""
    by_id = {letter.id: letter for letter in closing.letters}
    conns = sorted(
        {
            *(command.conn for command, _ in closing.commands.values()),
            *(row.command.conn for row in closing.intents.values()),
            *(conn for conn, _ in closing.facts.values()),
            *(conn for conn, _ in closing.records.values()),
        }
    )
    # The connections first, as everybody else does who writes to their commands, so that nobody waits for one who waits for him.
    _, opened = yield (commands.lock(conns), Ask(OPENED, (Set("int", sorted(by_id)),)))
    ids = sorted(number for (number,) in opened)
    rows = []
    for one in (by_id[number] for number in ids):
        what = (one.id, one.source, one.tenant, one.lead_id, one.code)
        rows.append((*what, closing.how, closing.who, closing.why, one.created_us, closing.now_us))
    work: list[Work] = [Many(CLOSE, CLOSED, rows), *_to_commands(closing, ids)]
    for conn, row in (closing.facts[number] for number in ids if number in closing.facts):
        work.append(outbox.put(conn, [row]))
    if any(number in closing.facts for number in ids):
        work.append(Ring(BELL_OUTBOX))
    hints = sorted({closing.records[number] for number in ids if number in closing.records})
    work.append(notices.keep([(conn, crm_id, 1, closing.now_us) for conn, crm_id in hints]))
    work += [Ring(bell_notices(conn)) for conn in sorted({conn for conn, _ in hints})]
    yield tuple(work)
    intents = [closing.intents[number] for number in ids if number in closing.intents]
    if intents:
        yield from commands.take(closing.intake(intents))
    return ids


def _to_commands(closing: Closing, ids: Sequence[int]) -> list[Work]:
    """Parked commands that are pending or unknown again, or refused for good; and then who is the head of each lead.

    With them goes what is decided of the matches that they wait for.
    """
    chosen = [closing.commands[number] for number in ids if number in closing.commands]
    if not chosen:
        return []
    seqs = Set("int", sorted(command.seq for command, _ in chosen))
    mark = "" if closing.decides is MatchState.WITHDRAWN else closing.decides.value
    revived = [
        (command.conn, command.seq, state.value, mark) for command, state in chosen if state is not CommandState.REFUSED
    ]
    work: list[Work] = [Many(REVIVE, REVIVED, revived)]
    work.append(matches.decide(closing.decides, closing.who, closing.why, closing.now_us, seqs.values))
    dismissed = sorted(command.seq for command, state in chosen if state is CommandState.REFUSED)
    if dismissed:
        work.append(Ask(DISMISS, (closing.now_us, Set("int", dismissed))))
        work.append(matches.give_up(closing.now_us, dismissed))
    work += [Ask(commands.UNSEAT, (seqs,)), Ask(commands.CROWN_NEXT, (seqs,))]
    return work + [Ring(bell_commands(conn)) for conn in sorted({command.conn for command, _ in chosen})]
