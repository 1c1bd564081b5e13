"""The verbs of ``sales-crm-bridge``."""

from __future__ import annotations

import asyncio
import json
import signal
import sys
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from sales_crm_bridge import console, contract, observe, operate
from sales_crm_bridge.errors import EXIT_CONFIG, EXIT_OK, EXIT_RUNTIME, BridgeError, ConfigError
from sales_crm_bridge.settings import load as load_settings

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from sales_crm_bridge.settings import Settings

CONFIG = click.option(
    "--config",
    "-c",
    "config",
    type=click.Path(path_type=Path, dir_okay=False),
    envvar="SALES_CRM_BRIDGE_CONFIG",
    help="The deployment's settings [default: config/bridge.yaml, if it is there].",
)
SECRETS = click.option(
    "--secrets",
    type=click.Path(path_type=Path, file_okay=False),
    envvar="SALES_CRM_BRIDGE_SECRETS",
    help="A folder with one secret setting in each file.",
)
AS_JSON = click.option("--json", "as_json", is_flag=True, help="Print JSON, for machines.")
DEFAULT_CONFIG = Path("config/bridge.yaml")


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def cli() -> None:
    """Keep a Sales domain's leads in an external CRM: nothing lost, nothing doubled.

    Start with `demo`, which needs nothing but this program. For a deployment: write `config/bridge.yaml` and one file per tenant
    under `config/tenants/`, then `check`, `check --online`, `migrate`, `run`.

    Exit codes: 0 ok, 1 something failed at run time, 2 the configuration is wrong, 3 Kafka, the ledger or the machine is not
    as needed.
    """


def _settings(config: Path | None, secrets: Path | None) -> Settings:
    if config is None and DEFAULT_CONFIG.is_file():
        config = DEFAULT_CONFIG
    settings = load_settings(config, secrets)
    observe.log_to_stderr(settings.log.level, settings.log.form)
    return settings


def _run(main: Coroutine[Any, Any, int]) -> None:
    sys.exit(asyncio.run(main))


def _print_json(value: object) -> None:
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


@cli.command()
@click.option("--keep", is_flag=True, help="Leave everything running afterwards, and say how to play with it.")
@AS_JSON
def demo(*, keep: bool, as_json: bool) -> None:
    """Show the main job in one go: 500 leads, people's edits, intents, facts, and both sides compared.

    Everything is inside this process: a HubSpot with the vices of the real one, Kafka, and a SQLite ledger in a temporary folder.
    """
    from sales_crm_bridge.demo import story  # noqa: PLC0415 - the demo's parts are not for production

    observe.log_to_stderr("error", "text")
    _run(story.play(console.Console(as_json=as_json), keep=keep))


@cli.command()
@CONFIG
@SECRETS
def run(*, config: Path | None, secrets: Path | None) -> None:
    """Run the bridge until SIGTERM or SIGINT, then drain: finish the steps under way, publish what waits, give back the leases."""
    settings = _settings(config, secrets)

    async def main() -> int:
        stop = asyncio.Event()
        loop = asyncio.get_running_loop()
        for name in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(name, stop.set)
        await operate.run(settings, stop)
        return EXIT_OK

    _run(main())


@cli.command()
@CONFIG
@SECRETS
@click.option("--online", is_flag=True, help="Also ask each CRM, Kafka and the ledger.")
@AS_JSON
def check(*, config: Path | None, secrets: Path | None, online: bool, as_json: bool) -> None:
    """Report every problem of every file at once, with file, line, column, code and remedy.

    With --online it also signs in to each CRM, compares the mapping with the CRM's own field definitions, reports rights, clock
    skew and quota, and whether Kafka's topics and rights and the ledger's schema are as needed. It changes nothing.
    """
    try:
        settings = _settings(config, secrets)
    except ConfigError as error:
        _show_check(operate.CheckReport(findings=error.findings, tenants=()), as_json=as_json)
    report = operate.check_files(settings)
    if online:
        report = asyncio.run(operate.check_online(settings, report))
    _show_check(report, as_json=as_json)


def _show_check(report: operate.CheckReport, *, as_json: bool) -> NoReturn:
    if as_json:
        _print_json(report.to_json())
    else:
        console.Console().check(report)
    sys.exit(EXIT_CONFIG if report.findings else EXIT_OK)


@cli.command()
@CONFIG
@SECRETS
@click.option("--once", is_flag=True, required=True, help="Read every feed to its present end, then stop.")
@click.option("--tenant", "only", multiple=True, help="Only this tenant (may be repeated).")
@AS_JSON
def sync(*, config: Path | None, secrets: Path | None, once: bool, only: tuple[str, ...], as_json: bool) -> None:  # noqa: ARG001
    """Pull every tenant's CRM once, publish what was found, and stop; open commands are carried out as well.

    It resumes where the last run or sync stopped. Another process that holds an account's lease keeps it: that is reported.
    """
    settings = _settings(config, secrets)

    async def main() -> int:
        with console.Console(as_json=as_json).progress() as progress:
            outcome = await operate.sync_once(settings, frozenset(only), progress)
        if as_json:
            _print_json(outcome.to_json())
        else:
            console.Console().sync(outcome)
        return EXIT_OK if outcome.ok else EXIT_RUNTIME

    _run(main())


@cli.command()
@CONFIG
@SECRETS
@AS_JSON
@click.option("--watch", is_flag=True, help="Show it again every two seconds.")
@click.option(
    "--live",
    is_flag=True,
    help="Only say whether a process is alive, by its exit code (for a container's health check).",
)
def status(*, config: Path | None, secrets: Path | None, as_json: bool, watch: bool, live: bool) -> None:
    """Show how every connection stands: state, lag, open commands, dead letters, gaps, outbox; from the ledger alone."""
    settings = _settings(config, secrets)

    async def main() -> int:
        while True:
            report = await operate.status(settings)
            if live:
                return EXIT_OK if report["processes"] else EXIT_RUNTIME
            if as_json:
                _print_json(report)
            else:
                console.Console().status(report, clear=watch)
            if not watch:
                return EXIT_OK
            await asyncio.sleep(2)

    _run(main())


@cli.command()
@CONFIG
@SECRETS
@click.option("--tenant", "only", help="This tenant alone.")
@AS_JSON
def gate(*, config: Path | None, secrets: Path | None, only: str | None, as_json: bool) -> None:
    """Print who handles a tenant's Lead intents, and since when; --json prints what the Sales domain must do."""
    tenants = operate.tenants_of(_settings(config, secrets), only)
    if as_json:
        _print_json(operate.gate_json(tenants))
    else:
        console.Console().gate(tenants)


@cli.command()
@CONFIG
@SECRETS
def migrate(*, config: Path | None, secrets: Path | None) -> None:
    """Bring the ledger's schema up to date. The previous version of the program may be at work meanwhile."""
    settings = _settings(config, secrets)

    async def main() -> int:
        applied = await operate.migrate(settings)
        click.echo("\n".join(f"applied {name}" for name in applied) or "the schema is up to date")
        return EXIT_OK

    _run(main())


@cli.group()
def tenant() -> None:
    """Look at the tenants in force, or put one out of force."""


@tenant.command("list")
@CONFIG
@SECRETS
@AS_JSON
def tenant_list(*, config: Path | None, secrets: Path | None, as_json: bool) -> None:
    """List the tenants that the ledger has in force, whether or not their file is still there."""
    settings = _settings(config, secrets)

    async def main() -> int:
        rows = await operate.tenant_rows(settings)
        if as_json:
            _print_json(rows)
        else:
            console.Console().tenants(rows)
        return EXIT_OK

    _run(main())


@tenant.command("retire")
@CONFIG
@SECRETS
@click.argument("name")
@click.option("--yes", is_flag=True, help="Do not ask.")
def tenant_retire(*, config: Path | None, secrets: Path | None, name: str, yes: bool) -> None:
    """Put tenant NAME out of force: from now on the domain handles its Lead intents. Remove its file first."""
    settings = _settings(config, secrets)
    if not yes:
        click.confirm(f"Retire {name}? Its open commands stay in the ledger and are not carried out.", abort=True)

    async def main() -> int:
        if await operate.retire(settings, name):
            click.echo(f"{name} is retired")
            return EXIT_OK
        click.echo(f"there is no tenant {name} in force", err=True)
        return EXIT_RUNTIME

    _run(main())


@cli.command()
@AS_JSON
def version(*, as_json: bool) -> None:
    """Print the versions of the program and of the contract it speaks."""
    parts = {"sales-crm-bridge": installed_version("sales-crm-bridge"), "contract": contract.SCHEMA_VERSION}
    if as_json:
        _print_json(parts)
    else:
        click.echo("\n".join(f"{name} {value}" for name, value in parts.items()))


def main(args: list[str] | None = None) -> None:
    """Entry point: runs a verb, prints an error as code, place and remedy, and exits with the house's codes."""
    try:
        cli.main(args=args, prog_name="sales-crm-bridge", standalone_mode=False)
    except click.exceptions.Abort:
        sys.exit(130)
    except click.ClickException as error:
        error.show()
        sys.exit(EXIT_CONFIG)
    except BridgeError as error:
        click.echo(str(error), err=True)
        sys.exit(error.exit_code)
