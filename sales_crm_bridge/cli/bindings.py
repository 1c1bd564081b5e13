"""The verbs about bindings."""

from __future__ import annotations

import csv
import sys
from pathlib import Path
from typing import IO, TYPE_CHECKING

import click
import msgspec

from sales_crm_bridge import console, seeding
from sales_crm_bridge.cli.kit import (
    AS_JSON,
    CONFIG,
    DURATION,
    NO_LEDGERS,
    SECRETS,
    examples,
    print_json,
    run_to_end,
    settings_of,
)
from sales_crm_bridge.errors import EXIT_OK

if TYPE_CHECKING:
    from sales_crm_bridge.seeding import Seeded

TENANT = click.option("--tenant", required=True, help="Whose bindings.")
SHOWN = 50
"""So many misfits are shown to people; machines are told more."""


@click.group(epilog=examples("bindings import pairs.csv --tenant acme --dry-run", "bindings export --tenant acme"))
def bindings() -> None:
    """Bring the pairs of lead and record that a tenant has already, or take them away. See docs/cut-over.md."""


@bindings.command(
    "import",
    epilog=examples(
        "bindings import pairs.csv --tenant acme --draft cut-over/acme.yaml --dry-run --online",
        "bindings import pairs.csv --tenant acme --draft cut-over/acme.yaml",
        "bindings import more.jsonl --tenant acme --json",
    ),
)
@CONFIG
@SECRETS
@click.argument("file", type=click.File("rb"))
@TENANT
@click.option(
    "--draft",
    type=click.Path(path_type=Path, dir_okay=False),
    help="The tenant's file, where it is not in the tenants' folder yet.",
)
@click.option("--dry-run", "dry", is_flag=True, help="Say what would be bound, and write nothing.")
@click.option("--online", is_flag=True, help="Ask the CRM for every record that is to be bound.")
@click.option(
    "--wait",
    "wait_s",
    type=DURATION,
    default="1m",
    show_default=True,
    help="How long a running process may take to give the account back.",
)
@AS_JSON
def bindings_import(
    *,
    config: Path | None,
    secrets: Path | None,
    file: IO[bytes],
    tenant: str,
    draft: Path | None,
    dry: bool,
    online: bool,
    wait_s: float,
    as_json: bool,
) -> None:
    """Bind the leads and records that FILE pairs ("-": standard input), before the first pull would take them for new ones.

    CSV with the columns lead_id and crm_id, or JSON Lines with these names. Pairs that are bound already are counted as known, so
    an import that was cut off is done again. What does not match is told line by line, and binds nothing; exit code 1. It may run
    beside the bridge: the work on this account pauses meanwhile. The first pull learns the fields of what is bound, and tells
    nothing of it.
    """
    settings = settings_of(config, secrets, () if online else NO_LEDGERS, log="error")

    async def main() -> int:
        done = await seeding.import_pairs(settings, tenant, file, draft=draft, dry=dry, online=online, wait_s=wait_s)
        if as_json:
            print_json(done.to_json())
        else:
            _show(done)
        return done.exit_code

    run_to_end(main())


def _show(done: Seeded) -> None:
    out = console.Console()
    lines = (("lines", done.lines), ("bound", done.bound), ("known", done.known), ("repeated", done.repeated))
    title = f"{done.tenant}: what would become of the pairs" if done.dry else f"{done.tenant}: what became of the pairs"
    out.table(title, ("what", "pairs"), [*lines, *sorted(done.refused.items())])
    for one in sorted(done.misfits, key=lambda one: one.line)[:SHOWN]:
        out.fault(one.code, f"line {one.line}", one.message, one.remedy)
    left = done.refused.total() - SHOWN
    if left > 0:
        out.say(f"and {left} more: --json tells them")


@bindings.command("export", epilog=examples("bindings export --tenant acme", "bindings export --tenant acme --json"))
@CONFIG
@SECRETS
@TENANT
@AS_JSON
def bindings_export(*, config: Path | None, secrets: Path | None, tenant: str, as_json: bool) -> None:
    """Print the pairs of a tenant on standard output, in the form that `import` reads: CSV, or JSON Lines with --json.

    Also of a tenant that is retired. The third column is the record's state as the bridge knows it: live, archived, gone or
    converted.
    """
    settings = settings_of(config, secrets, NO_LEDGERS, log="error")

    async def main() -> int:
        rows = csv.writer(sys.stdout, lineterminator="\n")
        names = ("lead_id", "crm_id", "state")
        if not as_json:
            rows.writerow(names)
        async for pair in seeding.bound_pairs(settings, tenant):
            if as_json:
                click.echo(msgspec.json.encode(dict(zip(names, pair, strict=True))))
            else:
                rows.writerow(pair)
        return EXIT_OK

    run_to_end(main())
