"""The verbs about tenants: which there are, what is under way for one, and its end."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sales_crm_bridge import console, handover, operate
from sales_crm_bridge.cli.kit import (
    AS_JSON,
    CONFIG,
    DURATION,
    NO_LEDGERS,
    SECRETS,
    agreed,
    examples,
    print_json,
    run_to_end,
    settings_of,
)
from sales_crm_bridge.errors import EXIT_OK

if TYPE_CHECKING:
    from sales_crm_bridge.handover import UnderWay


@click.group(epilog=examples("tenant list", "tenant under-way acme --wait", "tenant retire acme"))
def tenant() -> None:
    """Look at the tenants in force, see what is under way for one, or put one out of force."""


@tenant.command("list", epilog=examples("tenant list", "tenant list --json"))
@CONFIG
@SECRETS
@AS_JSON
def tenant_list(*, config: Path | None, secrets: Path | None, as_json: bool) -> None:
    """List the tenants that the ledger has accepted, retired ones too, whether or not their file is still there."""
    settings = settings_of(config, secrets, NO_LEDGERS)

    async def main() -> int:
        rows = await operate.tenant_rows(settings)
        if as_json:
            print_json(rows)
        else:
            console.Console().tenants(rows)
        return EXIT_OK

    run_to_end(main())


def _stays(left: UnderWay) -> str:
    """What a retirement leaves in the ledger."""
    number = left.open + left.parked
    then = "They, and those that come later, stay in the ledger, are not carried out, and are shown by `status`."
    return f"Open commands: {number}. {then}"


@tenant.command("retire", epilog=examples("tenant retire acme", "tenant retire acme --yes --json"))
@CONFIG
@SECRETS
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
@AS_JSON
def tenant_retire(*, config: Path | None, secrets: Path | None, name: str, yes: bool, as_json: bool) -> None:
    """Put tenant NAME out of force: from the next second on the domain handles its Lead intents.

    Intents that were uttered before and come later are still the bridge's: with the open commands they wait in the ledger, `status`
    shows them, and they are carried out if the tenant comes back. Remove its file as well; unchanged it changes nothing. To bring
    the tenant back, append to `leads` in its file the time since which the domain has had them, and then a coming entry.
    """
    settings = settings_of(config, secrets, NO_LEDGERS)
    asyncio.run(operate.look_up(settings, name))
    left = asyncio.run(handover.under_way(settings, name, 0, lambda _: None))
    if not yes:
        agreed(f"Retire {name}? {_stays(left)}")
    done = asyncio.run(operate.retire(settings, name))
    if as_json:
        commands = {"open": left.open, "unknown": left.unknown, "parked": left.parked}
        print_json({"tenant": done.tenant, "retired": done.retired, "files": list(done.files), "commands": commands})
        return
    click.echo(_stays(left))
    click.echo(f"{name} is retired: the leads are the domain's since {done.retired}.")
    click.echo("The domain must know: give it the new `gate --in-force --json`.")
    for file in done.files:
        click.echo(f"Remove {file} as well: it changes nothing now.")


@tenant.command(
    "under-way",
    epilog=examples("tenant under-way acme", "tenant under-way acme --wait", "tenant under-way acme --json"),
)
@CONFIG
@SECRETS
@click.argument("name")
@click.option("--wait", is_flag=True, help="Wait until nothing is left that goes on by itself.")
@click.option(
    "--timeout", "timeout_s", type=DURATION, default="10m", show_default=True, help="How long to wait at most."
)
@AS_JSON
def under_way(
    *, config: Path | None, secrets: Path | None, name: str, wait: bool, timeout_s: float, as_json: bool
) -> None:
    """Tell what is still under way for tenant NAME, whose leads go back to the domain.

    Its commands that wait, are in doubt or parked, and its facts that Kafka has not taken. Exit code 0 when the leads are the
    domain's and nothing is left; 1 while something is. Waiting ends early where only a person can go on. An intent that was uttered
    before the leads changed hands and comes later is still the bridge's: ask again before the tenant is retired.
    """
    settings = settings_of(config, secrets, NO_LEDGERS, log="error")
    out = console.Console(as_json=as_json)

    async def main() -> int:
        seen = await handover.under_way(settings, name, timeout_s if wait else 0, lambda _: None)
        if as_json:
            print_json(seen.to_json())
            return seen.exit_code
        rows = [
            ("open commands", seen.open),
            ("of unknown outcome", seen.unknown),
            ("parked", seen.parked),
            ("facts", seen.facts),
        ]
        out.table(f"under way for {name}", ("what", "number"), rows)
        if seen.why is None:
            out.say("nothing is under way: the domain has the leads", "green")
        else:
            out.fault(seen.why.code, seen.why.place, seen.why.message, seen.why.remedy)
        return seen.exit_code

    run_to_end(main())
