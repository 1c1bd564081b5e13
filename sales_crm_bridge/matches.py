"""Matches: what a person decides of them. The deed is done by whoever holds the account's lease: see ``matching``.

Decision, letter and command are one transaction, so one of two persons decides, and the create never waits for what is decided.
"""

from __future__ import annotations

from enum import StrEnum
from typing import TYPE_CHECKING

import msgspec

from sales_crm_bridge.state import Closing, CommandState, MatchState

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from sales_crm_bridge.ports import Ledger
    from sales_crm_bridge.state import Command, DeadLetter, Match

PAGE = 200
"""Matches decided in one transaction."""


class What(StrEnum):
    """What becomes of a match."""

    ACCEPTED = "accepted"
    REFUSED = "refused"
    STAYS = "stays"


WORDS = {
    What.ACCEPTED: "the record is bound to the lead, and the create goes on as an update of it",
    What.REFUSED: "the pair is not proposed again, and the create is refused",
    What.STAYS: "nothing is done: it does not wait any more",
}


class Verdict(msgspec.Struct, frozen=True, kw_only=True):
    """What a person decides of the matches ``ids``: ``accept`` or refuse; ``who`` she is, and ``why``."""

    ids: Sequence[int]
    accept: bool
    who: str
    why: str


class Fate(msgspec.Struct, frozen=True):
    """What becomes, or would become, of a match."""

    match: Match
    what: What


async def decide(ledger: Ledger, verdict: Verdict, now_us: int, *, dry: bool = False) -> AsyncIterator[Fate]:
    """Decide matches that wait, and tell what becomes of each; ``dry``: what would."""
    ids = sorted(set(verdict.ids))
    for at in range(0, len(ids), PAGE):
        found = await ledger.matches_named(ids[at : at + PAGE])
        waiting = [match for match in found if match.state is MatchState.PROPOSED]
        letters = await _letters(ledger, waiting)
        parked = {command.seq: command for command in await ledger.commands_parked([one.seq for one in waiting])}
        chosen = {letters[one.seq].id: one for one in waiting if one.seq in letters and one.seq in parked}
        closed = set(chosen)
        if not dry and chosen:
            closing = _closing(verdict, {one.seq: letters[one.seq] for one in chosen.values()}, parked, now_us)
            closed = set(await ledger.dead_letters_close(closing))
        done = {one.id for number, one in chosen.items() if number in closed}
        for match in found:
            yield Fate(match, (What.ACCEPTED if verdict.accept else What.REFUSED) if match.id in done else What.STAYS)


async def _letters(ledger: Ledger, matches: Sequence[Match]) -> dict[int, DeadLetter]:
    """By command, the letter that it waits with."""
    sources = {f"command {match.seq}": match.seq for match in matches}
    return {sources[letter.source]: letter for letter in await ledger.dead_letters_from(list(sources))}


def _closing(verdict: Verdict, letters: dict[int, DeadLetter], parked: dict[int, Command], now_us: int) -> Closing:
    """The create is pending again with either decision: its fact is told by whoever holds the lease."""
    return Closing(
        letters=list(letters.values()),
        how=(What.ACCEPTED if verdict.accept else What.REFUSED).value,
        who=verdict.who,
        why=verdict.why,
        now_us=now_us,
        commands={letter.id: (parked[seq], CommandState.PENDING) for seq, letter in letters.items()},
        decides=MatchState.ACCEPTED if verdict.accept else MatchState.REFUSED,
    )
