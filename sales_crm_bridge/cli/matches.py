"""The verbs about matches."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sales_crm_bridge import console, operate
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
from sales_crm_bridge.errors import EXIT_OK, EXIT_RUNTIME
from sales_crm_bridge.matches import WORDS, Verdict, What, decide
from sales_crm_bridge.units import time_text
from sales_crm_bridge.world import WallClock

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sales_crm_bridge.ports import Ledger
    from sales_crm_bridge.settings import Settings
    from sales_crm_bridge.state import Match

IDS = click.argument("ids", nargs=-1, required=True, type=click.IntRange(min=1))


@click.group(
    epilog=examples("matches list", "matches accept 7 --why 'one person'", "matches refuse 8 --why 'a shared mailbox'")
)
def matches() -> None:
    """Decide whether a record of the CRM is the lead that a create asks for, where it has the lead's e-mail address."""


@matches.command("list", epilog=examples("matches list", "matches list --tenant acme --json", "matches list --decided"))
@CONFIG
@SECRETS
@TENANT
@click.option("--limit", default=50, show_default=True, type=click.IntRange(1, 10_000), help="How many at most.")
@click.option("--after", default=0, type=click.IntRange(min=0), help="Those with a higher id than this one.")
@click.option("--decided", is_flag=True, help="Those that were decided or withdrawn last: by whom, when and why.")
@AS_JSON
def matches_list(
    *,
    config: Path | None,
    secrets: Path | None,
    tenant: str,
    limit: int,
    after: int,
    decided: bool,
    as_json: bool,
) -> None:
    """List matches that wait for a decision, the oldest first: the lead that is to be created, and the CRM's record.

    Nothing personal is shown: look at the record in the CRM, and at the intent with `deadletters show`. `told as` is the lead as
    which the record was told of so far, if it was.
    """
    settings = settings_of(config, secrets, NO_LEDGERS)

    async def main() -> int:
        async with operate.ledger_of(settings) as ledger:
            found = await ledger.matches(tenant, limit, after=after, decided=decided)
            holders = await _holders(ledger, found)
        rows = [_told(match, holders) for match in found]
        if as_json:
            print_json(rows)
            return EXIT_OK
        columns: tuple[str, ...] = ("id", "tenant", "lead", "record", "told as", "since")
        if decided:
            columns = ("id", "tenant", "lead", "record", "state", "who", "decided", "why")
        title = "decided matches" if decided else "matches"
        cells = [[row[name.replace(" ", "_")] for name in columns] for row in rows]
        console.Console().table(title, columns, cells)
        if len(rows) == limit and not decided:
            console.Console().say(f"there may be more: --after {rows[-1]['id']}")
        return EXIT_OK

    run_to_end(main())


@matches.command("accept", epilog=examples("matches accept 7 --dry-run", "matches accept 7 8 --why 'one person'"))
@CONFIG
@SECRETS
@IDS
@DRY
@BY
@click.option("--why", default="", help="Why, for the record.")
@AS_JSON
def matches_accept(
    *,
    config: Path | None,
    secrets: Path | None,
    ids: tuple[int, ...],
    dry: bool,
    who: str,
    why: str,
    as_json: bool,
) -> None:
    """Say that the record of match IDS is the lead: it is bound to it, and the create goes on as an update of it.

    The process that holds the account's lease does it, at once if it runs. It reads the record first: where that is gone by then,
    has another address or belongs to another lead, the match is withdrawn and the create tried again. A lead as which the record
    was told of so far ends: `CrmLeadRemoved` says that it was merged into this one. What a person has changed in the CRM since the
    intent was uttered goes by the tenant's rules for conflicts. Exit code 1: some did not wait any more.
    """
    settings = settings_of(config, secrets, NO_LEDGERS)
    verdict = Verdict(ids=ids, accept=True, who=who or user(), why=why)
    run_to_end(_carry_out(settings, verdict, dry=dry, as_json=as_json, question=None))


@matches.command("refuse", epilog=examples("matches refuse 8 --why 'a shared mailbox'"))
@CONFIG
@SECRETS
@IDS
@DRY
@YES
@BY
@click.option("--why", required=True, help="Why, for the record.")
@AS_JSON
def matches_refuse(
    *,
    config: Path | None,
    secrets: Path | None,
    ids: tuple[int, ...],
    dry: bool,
    yes: bool,
    who: str,
    why: str,
    as_json: bool,
) -> None:
    """Say that the record of match IDS is not the lead: the pair is never proposed again, and the create is refused for good.

    `CrmLeadPushFailed` says so, with code `match-refused`. If the lead is to be created all the same, give one of the two another
    address, and have the domain utter the create anew. Exit code 1: some did not wait any more.
    """
    settings = settings_of(config, secrets, NO_LEDGERS)
    verdict = Verdict(ids=ids, accept=False, who=who or user(), why=why)
    question = None if yes else "Refuse these for good?"
    run_to_end(_carry_out(settings, verdict, dry=dry, as_json=as_json, question=question))


async def _carry_out(settings: Settings, verdict: Verdict, *, dry: bool, as_json: bool, question: str | None) -> int:
    """Ask where that is asked for, decide, and tell what becomes of each."""
    async with operate.ledger_of(settings) as ledger:
        await _named(ledger, verdict.ids)
        if question and not dry:
            agreed(question)
        fates = [fate async for fate in decide(ledger, verdict, WallClock().now_us(), dry=dry)]
    stayed = sum(fate.what is What.STAYS for fate in fates)
    told = [(one.match.id, one.match.tenant, one.match.lead_id, one.match.crm_id, one.what) for one in fates]
    if as_json:
        names = ("id", "tenant", "lead", "record", "what")
        rows = [dict(zip(names, row, strict=True)) for row in told]
        print_json({"dry_run": dry, "decided": 0 if dry else len(fates) - stayed, "stayed": stayed, "matches": rows})
    else:
        columns = ("id", "tenant", "lead", "record", "what would become of it" if dry else "what becomes of it")
        console.Console().table("matches", columns, [(*row[:-1], WORDS[row[-1]]) for row in told])
    return EXIT_RUNTIME if stayed else EXIT_OK


async def _named(ledger: Ledger, ids: Sequence[int]) -> None:
    """Raise ``ConfigError`` for ids that no match has."""
    missing = sorted(set(ids) - {match.id for match in await ledger.matches_named(sorted(set(ids)))})
    if missing:
        said = f"there is no match {', '.join(map(str, missing))}"
        remedy = "see `matches list`, and `matches list --decided` for those that were decided"
        raise not_there("config.no-match", said, remedy)


async def _holders(ledger: Ledger, found: Sequence[Match]) -> dict[tuple[int, str], str]:
    """By connection and record, the lead that the record is bound to."""
    holders: dict[tuple[int, str], str] = {}
    for conn in sorted({match.conn for match in found}):
        records = [match.crm_id for match in found if match.conn == conn]
        bound = await ledger.bindings_by_crm_id(conn, records)
        holders |= {(conn, record): binding.lead_id for record, binding in bound.items()}
    return holders


def _told(match: Match, holders: dict[tuple[int, str], str]) -> dict[str, Any]:
    return {
        "id": match.id,
        "tenant": match.tenant,
        "lead": match.lead_id,
        "record": match.crm_id,
        "told_as": holders.get((match.conn, match.crm_id), ""),
        "state": match.state.value,
        "since": time_text(match.since_us),
        "decided": time_text(match.decided_us) if match.decided_us else "",
        "ended": time_text(match.ended_us) if match.ended_us else "",
        "who": match.who,
        "why": match.why,
    }
