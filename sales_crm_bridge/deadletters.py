"""Dead letters: what becomes of one that a person puts back to work, and of one that she drops.

A letter is closed in one transaction with what becomes of it, so none is lost between, and none is put back twice.
"""

from __future__ import annotations

import re
from enum import StrEnum
from typing import TYPE_CHECKING, assert_never

import msgspec

from sales_crm_bridge import contract, gate
from sales_crm_bridge.admission import Tenancy, admit
from sales_crm_bridge.errors import TenancyMoved
from sales_crm_bridge.roster import owners
from sales_crm_bridge.state import Closing, CommandState, InboxRow, OutboxRow

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Sequence

    from sales_crm_bridge.ports import Ledger
    from sales_crm_bridge.state import Command, DeadLetter
    from sales_crm_bridge.tenants import Catalogue

PAGE = 200
"""Letters closed in one transaction."""

_COMMAND = re.compile(r"command (\d+)")
_UNPROVEN = frozenset({"create-unproven"})
"""Lost writes that no reading can settle: whoever redrives one has looked in the CRM and found no record."""


class Kind(StrEnum):
    """What a letter keeps."""

    COMMAND = "command"
    INTENT = "intent"
    FACT = "fact"
    RECORD = "record"


class What(StrEnum):
    """What becomes of it."""

    AGAIN = "again"
    READ_BACK = "read-back"
    TAKEN = "taken"
    NOT_OURS = "not-ours"
    PUBLISHED = "published"
    REREAD = "reread"
    OVER = "over"
    STAYS = "stays"
    DROPPED = "dropped"


WORDS = {
    What.AGAIN: "the command is tried again",
    What.READ_BACK: "its record is read back, and the command tried again if the write shows not",
    What.TAKEN: "the intent is taken in",
    What.NOT_OURS: "the intent is passed over: it is not the bridge's",
    What.PUBLISHED: "the fact is published again, under its own id",
    What.REREAD: "the record is read again",
    What.OVER: "its command is over: there is nothing left to do",
    What.STAYS: "nothing can be done yet: it stays",
    What.DROPPED: "it is dropped, and nothing more is done about it",
}


class Fate(msgspec.Struct, frozen=True):
    """What becomes, or would become, of a letter; ``why``: a code, where there is more to say."""

    letter: DeadLetter
    what: What
    why: str = ""


class Order(msgspec.Struct, frozen=True, kw_only=True):
    """Which letters a person means: by ids, or all of a tenant and a code ("" any). ``who`` she is, and ``why``."""

    ids: Sequence[int] = ()
    tenant: str = ""
    code: str = ""
    who: str = ""
    why: str = ""


def kind_of(letter: DeadLetter) -> Kind:
    """By where it came from."""
    if _COMMAND.fullmatch(letter.source):
        return Kind.COMMAND
    if letter.source.startswith(f"{letter.tenant}/record/"):
        return Kind.RECORD
    return Kind.FACT if letter.source.startswith("fact ") else Kind.INTENT


async def redrive(
    ledger: Ledger, catalogue: Catalogue, order: Order, now_us: int, *, framed: bool = False, dry: bool = False
) -> AsyncIterator[Fate]:
    """Put letters back to work, page by page, the oldest first, and tell what becomes of each; ``dry``: what would.

    ``framed``: records of the intent topic carry a schema registry's framing.
    """
    async for page in _pages(ledger, order):
        while True:
            tenancy = await _tenancy(ledger, catalogue)
            fates, closing = await _judge(ledger, page, tenancy, framed=framed)
            closing = msgspec.structs.replace(closing, who=order.who, why=order.why, now_us=now_us)
            try:
                closed = (
                    {letter.id for letter in closing.letters} if dry else set(await ledger.dead_letters_close(closing))
                )
            except TenancyMoved:
                continue  # judged by what is out of force by now
            break
        for fate in fates:
            if fate.what is What.STAYS or fate.letter.id in closed:
                yield fate


async def drop(ledger: Ledger, order: Order, now_us: int, *, dry: bool = False) -> AsyncIterator[Fate]:
    """Close letters for good; a parked command is refused then, and its lead's later commands go on. ``why`` is kept."""
    async for page in _pages(ledger, order):
        parked = await _parked(ledger, page)
        closing = Closing(
            letters=page,
            how="dropped",
            who=order.who,
            why=order.why,
            now_us=now_us,
            commands={number: (command, CommandState.REFUSED) for number, command in parked.items()},
        )
        closed = {letter.id for letter in page} if dry else set(await ledger.dead_letters_close(closing))
        for letter in page:
            if letter.id in closed:
                yield Fate(letter, What.DROPPED)


async def _pages(ledger: Ledger, order: Order) -> AsyncIterator[list[DeadLetter]]:
    """The letters that are meant, the oldest first."""
    if order.ids:
        ids = sorted(set(order.ids))
        for at in range(0, len(ids), PAGE):
            found = await ledger.dead_letters_named(ids[at : at + PAGE])
            if found:
                yield found
        return
    # One that comes back while the others are put back is not put back again and again.
    after, last = 0, await ledger.dead_letters_last()
    while page := await ledger.dead_letters(order.tenant, PAGE, code=order.code, after=after):
        page = [letter for letter in page if letter.id <= last]
        if not page:
            return
        after = page[-1].id
        yield page


async def _tenancy(ledger: Ledger, catalogue: Catalogue) -> Tenancy:
    number = await ledger.tenancy()
    rows = await ledger.tenants()
    return Tenancy(
        ownership={one.tenant: one for one in owners(rows, catalogue)},
        conns={row.tenant: row.conn for row in rows},
        earliest_us=0,
        number=number,
    )


async def _parked(ledger: Ledger, letters: Sequence[DeadLetter]) -> dict[int, Command]:
    """By letter, its command, if that is still parked."""
    seqs = {int(found[1]): letter.id for letter in letters if (found := _COMMAND.fullmatch(letter.source))}
    return {seqs[command.seq]: command for command in await ledger.commands_parked(sorted(seqs))} if seqs else {}


async def _judge(
    ledger: Ledger, letters: Sequence[DeadLetter], tenancy: Tenancy, *, framed: bool
) -> tuple[list[Fate], Closing]:
    """What becomes of each, and the closing of those that do not stay."""
    parked = await _parked(ledger, letters)
    fates: list[Fate] = []
    commands: dict[int, tuple[Command, CommandState]] = {}
    intents: dict[int, InboxRow] = {}
    facts: dict[int, tuple[int, OutboxRow]] = {}
    records: dict[int, tuple[int, str]] = {}
    for letter in letters:
        match kind_of(letter):
            case Kind.COMMAND:
                fate, state = _of_command(letter, parked.get(letter.id))
                if state is not None:
                    commands[letter.id] = (parked[letter.id], state)
            case Kind.INTENT:
                fate, row = _of_intent(letter, tenancy, framed=framed)
                if row is not None:
                    intents[letter.id] = row
            case Kind.FACT:
                conn = tenancy.conns.get(letter.tenant)
                fate = Fate(letter, What.PUBLISHED) if conn else Fate(letter, What.STAYS, "tenant-unknown")
                if conn:
                    name = letter.source.removeprefix("fact ")
                    facts[letter.id] = (
                        conn,
                        OutboxRow(message_id=name, fact=letter.payload, created_us=letter.created_us),
                    )
            case Kind.RECORD:
                fate, conn = _of_record(letter, tenancy)
                if conn:
                    records[letter.id] = (conn, letter.key.decode())
            case kind:
                assert_never(kind)
        fates.append(fate)
    closing = Closing(
        letters=[fate.letter for fate in fates if fate.what is not What.STAYS],
        how="redriven",
        who="",
        why="",
        now_us=0,
        commands=commands,
        intents=intents,
        facts=facts,
        records=records,
        tenancy=tenancy.number,
    )
    return fates, closing


def _of_command(letter: DeadLetter, command: Command | None) -> tuple[Fate, CommandState | None]:
    """A write whose outcome nobody knows is read back before it is made again, where anything can be read."""
    if command is None:
        return Fate(letter, What.OVER), None
    doubtful = letter.code == "push.unknown-outcome" and command.reason not in _UNPROVEN
    if doubtful:
        return Fate(letter, What.READ_BACK, command.reason), CommandState.UNKNOWN
    return Fate(letter, What.AGAIN, command.reason), CommandState.PENDING


def _of_intent(letter: DeadLetter, tenancy: Tenancy, *, framed: bool) -> tuple[Fate, InboxRow | None]:
    """Read and judged as if it came from its topic now; it goes behind what its lead has been asked for since."""
    headers = msgspec.msgpack.decode(letter.headers, type=list[tuple[str, bytes | None]]) if letter.headers else []
    intent = contract.read_intent(letter.payload, headers, framed=framed)
    if isinstance(intent, contract.Unreadable):
        return Fate(letter, What.STAYS, intent.code), None
    row = admit(tenancy, intent)
    if isinstance(row, gate.NotOurs):
        return Fate(letter, What.NOT_OURS, row.reason.value), None
    return Fate(letter, What.TAKEN), row


def _of_record(letter: DeadLetter, tenancy: Tenancy) -> tuple[Fate, int]:
    ownership = tenancy.ownership.get(letter.tenant)
    if ownership is None or ownership.retired_us:
        return Fate(letter, What.STAYS, "tenant-out-of-force"), 0
    try:
        usable = contract.is_usable_id(letter.key.decode())
    except UnicodeDecodeError:
        usable = False
    if not letter.key or not usable:
        return Fate(letter, What.STAYS, letter.code), 0
    return Fate(letter, What.REREAD), tenancy.conns[letter.tenant]
