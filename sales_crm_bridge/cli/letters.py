"""The verbs about dead letters."""

from __future__ import annotations

import base64
from functools import wraps
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click
import msgspec

from sales_crm_bridge import console, contract, operate, wiring
from sales_crm_bridge.cli.kit import (
    AS_JSON,
    BY,
    CONFIG,
    DRY,
    NO_LEDGERS,
    SECRETS,
    TENANT,
    YES,
    agreed,
    examples,
    not_there,
    print_json,
    run_to_end,
    settings_of,
    user,
)
from sales_crm_bridge.deadletters import WORDS, Kind, Order, What, drop, kind_of, redrive
from sales_crm_bridge.errors import EXIT_OK, EXIT_RUNTIME
from sales_crm_bridge.units import time_text
from sales_crm_bridge.world import WallClock

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Sequence

    from sales_crm_bridge.deadletters import Fate
    from sales_crm_bridge.ports import Ledger
    from sales_crm_bridge.settings import Settings
    from sales_crm_bridge.state import DeadLetter

CODE = click.option("--code", default="", help="With this code alone, such as push.validation.")
EVERY = click.option(
    "--all", "every", is_flag=True, help="All that there are, of --tenant and --code where they are given."
)
IDS = click.argument("ids", nargs=-1, type=click.IntRange(min=1))


@click.group(
    epilog=examples(
        "deadletters list",
        "deadletters show 7",
        "deadletters redrive --code push.validation --dry-run",
        "deadletters drop 7 --why 'a test'",
    )
)
def deadletters() -> None:
    """Look at the messages and commands that need a person, put them back to work, or drop them."""


@deadletters.command("list", epilog=examples("deadletters list", "deadletters list --tenant acme --json"))
@CONFIG
@SECRETS
@TENANT
@CODE
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000), help="How many at most.")
@click.option("--after", default=0, type=click.IntRange(min=0), help="Those with a higher id than this one.")
@click.option("--closed", is_flag=True, help="Those that were put back or dropped last: by whom, when and why.")
@AS_JSON
def letters_list(
    *,
    config: Path | None,
    secrets: Path | None,
    tenant: str,
    code: str,
    limit: int,
    after: int,
    closed: bool,
    as_json: bool,
) -> None:
    """List dead letters, the oldest first: where each came from, and what is wrong with it.

    Nothing personal is shown. What to do about each code stands in docs/operations.md.
    """
    settings = settings_of(config, secrets, NO_LEDGERS)

    async def main() -> int:
        async with operate.ledger_of(settings) as ledger:
            if closed:
                title, columns = "closed dead letters", _CLOSED
                rows = [_closed(one) for one in await ledger.dead_letters_closed(limit)]
            else:
                title, columns = "dead letters", _COLUMNS
                rows = [_told(one) for one in await ledger.dead_letters(tenant, limit, code=code, after=after)]
        if as_json:
            print_json(rows)
            return EXIT_OK
        console.Console().table(title, columns, [[row[name] for name in columns] for row in rows])
        if len(rows) == limit and not closed:
            console.Console().say(f"there may be more: --after {rows[-1]['id']}")
        return EXIT_OK

    run_to_end(main())


@deadletters.command("show", epilog=examples("deadletters show 7", "deadletters show 7 --json"))
@CONFIG
@SECRETS
@click.argument("number", metavar="ID", type=click.IntRange(min=1))
@AS_JSON
def letters_show(*, config: Path | None, secrets: Path | None, number: int, as_json: bool) -> None:
    """Show dead letter ID whole: the message, its key and headers, and what is wrong with it.

    The message may hold a person's data: it is shown here and nowhere else.
    """
    settings = settings_of(config, secrets, NO_LEDGERS)

    async def main() -> int:
        async with operate.ledger_of(settings) as ledger:
            (letter,) = await _named(ledger, [number])
        whole = _whole(letter)
        if as_json:
            print_json(whole)
            return EXIT_OK
        out = console.Console()
        for name in ("id", "tenant", "lead", "kind", "source", "since", "code", "message", "remedy", "key"):
            out.say(f"{name}: {whole[name]}")
        for name, value in whole["headers"]:
            out.say(f"header {name}: {value}")
        print_json(whole["content"])
        return EXIT_OK

    run_to_end(main())


class _How(msgspec.Struct, frozen=True, kw_only=True):
    """How a verb about chosen letters is to go about it."""

    dry: bool
    yes: bool
    as_json: bool


def _choosing(verb: Callable[[Settings, Order, _How], None]) -> Callable[..., None]:
    """The options by which letters are chosen, read for ``verb``; ``--why`` is its own."""

    @CONFIG
    @SECRETS
    @IDS
    @TENANT
    @CODE
    @EVERY
    @DRY
    @YES
    @BY
    @AS_JSON
    @wraps(verb)
    def read(
        *,
        config: Path | None,
        secrets: Path | None,
        ids: tuple[int, ...],
        tenant: str,
        code: str,
        every: bool,
        who: str,
        why: str,
        **how: bool,
    ) -> None:
        settings = settings_of(config, secrets, NO_LEDGERS)
        verb(settings, _order(ids, tenant, code, every=every, who=who, why=why), _How(**how))

    return read


@deadletters.command(
    "redrive",
    epilog=examples(
        "deadletters redrive 7 8",
        "deadletters redrive --code push.validation --dry-run",
        "deadletters redrive --all --yes",
    ),
)
@click.option("--why", default="", help="Why, for the record.")
@_choosing
def letters_redrive(settings: Settings, order: Order, how: _How) -> None:
    """Put dead letters back to work, by IDS, by --tenant and --code, or --all; running processes take them up at once.

    First mend what was wrong: a mapping, a right, a record, the contract. A parked command is tried again, before its lead's later
    ones; where nobody knows whether it took effect, its record is read first. An intent that could not be read is taken in if it
    can be now, behind what its lead has been asked for since. A refused fact is published under its own id, a CRM's record read
    again. What cannot go on yet stays a dead letter: exit code 1. What comes back as a dead letter has a new id.
    """

    def work(ledger: Ledger, *, dry: bool) -> AsyncIterator[Fate]:
        return redrive(
            ledger, wiring.catalogue(), order, WallClock().now_us(), framed=settings.schema_registry.framed, dry=dry
        )

    question = None if how.yes or order.ids else "Put all of these back to work?"
    run_to_end(_carry_out(settings, order, work, how, question))


@deadletters.command(
    "drop",
    epilog=examples("deadletters drop 7 --why 'a test'", "deadletters drop --code contract.unreadable --why noise"),
)
@click.option("--why", required=True, help="Why, for the record.")
@_choosing
def letters_drop(settings: Settings, order: Order, how: _How) -> None:
    """Drop dead letters, by IDS, by --tenant and --code, or --all: the messages are deleted, and nothing more is done about them.

    A parked command is refused for good, and its lead's later commands go on. Who dropped a letter, when and why is remembered for
    `retention.commands` and shown by `deadletters list --closed`.
    """

    def work(ledger: Ledger, *, dry: bool) -> AsyncIterator[Fate]:
        return drop(ledger, order, WallClock().now_us(), dry=dry)

    question = None if how.yes else "Drop these for good?"
    run_to_end(_carry_out(settings, order, work, how, question))


# --- what they have in common ------------------------------------------------------------------------------------------


def _order(ids: Sequence[int], tenant: str, code: str, *, every: bool, who: str, why: str) -> Order:
    """Which letters are meant; a filter that was forgotten must not mean all of them."""
    if ids and (tenant or code or every):
        raise click.UsageError("give ids, or --tenant and --code, not both")
    if not (ids or tenant or code or every):
        raise click.UsageError("which dead letters? give ids, --tenant, --code, or --all")
    return Order(ids=ids, tenant=tenant, code=code, who=who or user(), why=why)


async def _carry_out(
    settings: Settings, order: Order, work: Callable[..., AsyncIterator[Fate]], how: _How, question: str | None
) -> int:
    """Show what would become of the letters, ask where that is asked for, and do it."""
    async with operate.ledger_of(settings) as ledger:
        if order.ids:
            await _named(ledger, order.ids)
        if question and not how.dry:
            planned = [fate async for fate in work(ledger, dry=True)]
            _summary(planned)
            if planned:
                agreed(question)
        fates = [fate async for fate in work(ledger, dry=how.dry)]
    stayed = [fate for fate in fates if fate.what is What.STAYS]
    if how.as_json:
        print_json(
            {
                "dry_run": how.dry,
                "closed": 0 if how.dry else len(fates) - len(stayed),
                "stayed": len(stayed),
                "letters": [
                    {
                        "id": fate.letter.id,
                        "tenant": fate.letter.tenant,
                        "code": fate.letter.code,
                        "what": fate.what.value,
                        "why": fate.why,
                    }
                    for fate in fates
                ],
            }
        )
    else:
        rows = [
            (
                fate.letter.id,
                fate.letter.tenant,
                fate.letter.code,
                WORDS[fate.what] + (f" ({fate.why})" if fate.why else ""),
            )
            for fate in fates
        ]
        columns = ("id", "tenant", "code", "what would become of it" if how.dry else "what becomes of it")
        console.Console().table("dead letters", columns, rows)
    return EXIT_RUNTIME if stayed else EXIT_OK


def _summary(fates: Sequence[Fate]) -> None:
    """How many of each, before it is asked."""
    for what in What:
        number = sum(fate.what is what for fate in fates)
        if number:
            click.echo(f"{number}: {WORDS[what]}", err=True)


async def _named(ledger: Ledger, ids: Sequence[int]) -> list[DeadLetter]:
    """The letters of these ids. Raises ``ConfigError`` for ids that no letter has."""
    found = await ledger.dead_letters_named(sorted(set(ids)))
    missing = sorted(set(ids) - {letter.id for letter in found})
    if missing:
        said = f"there is no dead letter {', '.join(map(str, missing))}"
        remedy = "see `deadletters list`, and `deadletters list --closed` for those that were put back or dropped"
        raise not_there("config.no-dead-letter", said, remedy)
    return found


_CLOSED: tuple[str, ...] = ("id", "tenant", "code", "how", "who", "closed", "why")
_COLUMNS: tuple[str, ...] = ("id", "tenant", "code", "lead", "since", "message")


def _told(letter: DeadLetter) -> dict[str, Any]:
    """What is told of a letter without its message."""
    return {
        "id": letter.id,
        "tenant": letter.tenant,
        "lead": letter.lead_id,
        "kind": kind_of(letter).value,
        "source": letter.source,
        "since": time_text(letter.created_us),
        "code": letter.code,
        "message": letter.message,
        "remedy": letter.remedy,
    }


def _closed(letter: Any) -> dict[str, Any]:
    told: dict[str, Any] = msgspec.structs.asdict(letter)
    told["lead"] = told.pop("lead_id")
    told["since"], told["closed"] = time_text(told.pop("created_us")), time_text(told.pop("closed_us"))
    return told


def _whole(letter: DeadLetter) -> dict[str, Any]:
    """A letter with its message: as JSON where it can be read, as base64 where not."""
    kind = kind_of(letter)
    headers = msgspec.msgpack.decode(letter.headers) if letter.headers else []
    content: object = None
    if kind is Kind.RECORD:
        try:
            content = msgspec.json.decode(letter.payload)
        except msgspec.DecodeError:
            content = None
    else:
        content = contract.shown(letter.payload, fact=kind is Kind.FACT)
    if content is None:
        content = {"base64": base64.b64encode(letter.payload).decode()}
    shown = [(name, "" if value is None else value.decode("utf-8", "backslashreplace")) for name, value in headers]
    key = letter.key.decode("utf-8", "backslashreplace")
    return {**_told(letter), "key": key, "headers": shown, "content": content}
