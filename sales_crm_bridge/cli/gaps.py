"""The verbs about gaps."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sales_crm_bridge import console, operate
from sales_crm_bridge.cli.kit import (
    AS_JSON,
    BY,
    CONFIG,
    NO_LEDGERS,
    SECRETS,
    examples,
    not_there,
    print_json,
    run_to_end,
    settings_of,
    user,
)
from sales_crm_bridge.errors import EXIT_OK
from sales_crm_bridge.units import time_text
from sales_crm_bridge.world import WallClock

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sales_crm_bridge.state import ConnectionRow, Gap


@click.group(epilog=examples("gaps list", "gaps close 4f2a9c01d3e5b677 --why 'uttered again'"))
def gaps() -> None:
    """Look at the parts of a history that are not proven read, and close them."""


@gaps.command("list", epilog=examples("gaps list", "gaps list --closed --json"))
@CONFIG
@SECRETS
@click.option("--closed", is_flag=True, help="Those that were closed last: by whom, when and why.")
@click.option(
    "--limit", default=50, show_default=True, type=click.IntRange(1, 10_000), help="How many closed ones at most."
)
@AS_JSON
def gaps_list(*, config: Path | None, secrets: Path | None, closed: bool, limit: int, as_json: bool) -> None:
    """List open gaps, the oldest first: of which feed, from when until when, and why."""
    settings = settings_of(config, secrets, NO_LEDGERS)

    async def main() -> int:
        async with operate.ledger_of(settings) as ledger:
            found = await (ledger.gaps_closed(limit) if closed else ledger.gaps(0))
            census = await ledger.census()
        names = {row.conn: row for row in (*census.connections, *census.left)}
        rows = [_told(gap, names) for gap in found]
        if as_json:
            print_json(rows)
            return EXIT_OK
        columns: tuple[str, ...] = ("id", "tenant", "feed", "from", "until", "opened", "cause")
        if closed:
            columns = ("id", "tenant", "feed", "cause", "closed", "who", "why")
        title = "closed gaps" if closed else "open gaps"
        console.Console().table(title, columns, [[row[name] for name in columns] for row in rows])
        return EXIT_OK

    run_to_end(main())


@gaps.command("close", epilog=examples("gaps close 4f2a9c01d3e5b677 --why 'uttered again on 2 December'"))
@CONFIG
@SECRETS
@click.argument("name", metavar="ID")
@BY
@click.option("--why", required=True, help="How you know that nothing is missing, for the record.")
@AS_JSON
def gaps_close(*, config: Path | None, secrets: Path | None, name: str, who: str, why: str, as_json: bool) -> None:
    """Close gap ID: nothing of it is missing any more.

    Of the intents that the topic no longer had, only the domain knows: have it utter them again first. Those that had been taken in
    take no second effect. `CrmGapClosed` is told with the connection's next run. Who has closed it, when and why is remembered for
    `retention.runs`.
    """
    settings = settings_of(config, secrets, NO_LEDGERS)

    async def main() -> int:
        async with operate.ledger_of(settings) as ledger:
            done = await ledger.gap_close(name, who or user(), why, WallClock().now_us())
        if not done:
            remedy = "see `gaps list`, and `gaps list --closed`"
            said = f"there is no open gap {name!r}"
            raise not_there("config.no-gap", said, remedy)
        if as_json:
            print_json({"id": name, "closed": True})
        else:
            console.Console().say(f"{name} is closed")
        return EXIT_OK

    run_to_end(main())


def _told(gap: Gap, names: Mapping[int, ConnectionRow]) -> dict[str, Any]:
    row = names.get(gap.conn)
    return {
        "id": gap.id,
        "tenant": row.tenant if row is not None else "",
        "connection": row.name if row is not None else "",
        "feed": gap.feed,
        "from": time_text(gap.from_us) if gap.from_us else "",
        "until": time_text(gap.to_us),
        "opened": time_text(gap.opened_us),
        "cause": gap.cause,
        "told": bool(gap.told_us),
        "closed": time_text(gap.closed_us) if gap.closed_us else "",
        "who": gap.closed_by,
        "why": gap.closed_why,
    }
