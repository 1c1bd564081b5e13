"""The verbs of ``sales-crm-bridge``."""

from __future__ import annotations

import asyncio
import json
import logging
import signal
import sys
import traceback
from importlib.metadata import version as installed_version
from pathlib import Path
from typing import TYPE_CHECKING

import click

from sales_crm_bridge import checkup, collector, console, contract, observe, operate, trying
from sales_crm_bridge.cli.bindings import bindings
from sales_crm_bridge.cli.gaps import gaps
from sales_crm_bridge.cli.kit import (
    AS_JSON,
    CONFIG,
    EXIT_CODES,
    EXIT_INTERRUPTED,
    NO_LEDGERS,
    SECRETS,
    agreed,
    config_of,
    end_if_no_room,
    examples,
    print_json,
    run_to_end,
    settings_of,
)
from sales_crm_bridge.cli.letters import deadletters
from sales_crm_bridge.cli.matches import matches
from sales_crm_bridge.cli.recordings import RECORD, bundle, keep, recorded_in, replay, run_and_record, sync_and_record
from sales_crm_bridge.cli.tenant import tenant
from sales_crm_bridge.errors import EXIT_CONFIG, EXIT_OK, EXIT_RUNTIME, BridgeError
from sales_crm_bridge.gate import gate_json
from sales_crm_bridge.once import sync_once
from sales_crm_bridge.replay.bundle import need_room
from sales_crm_bridge.settings import read as read_settings
from sales_crm_bridge.units import time_us

if TYPE_CHECKING:
    from sales_crm_bridge.replay.live import Ears

log = logging.getLogger(__name__)


@click.group(
    context_settings={"help_option_names": ["-h", "--help"]},
    epilog=examples("demo", "check", "migrate", "check --online", "run", "status --watch") + EXIT_CODES,
)
def cli() -> None:
    """Keep a Sales domain's leads in an external CRM: nothing lost, nothing doubled.

    Start with `demo`, which needs nothing but this program. For a deployment: write `config/bridge.yaml` and one file per tenant
    under `config/tenants/`; then `check` until it finds nothing, `migrate`, `check --online` until it finds nothing, and `run`.
    `status` shows how it goes, from any machine that reaches the ledger.

    Every setting can also come from the environment (SALES_CRM_BRIDGE_LOG__LEVEL=debug), which wins over the file, or from a
    secret file under --secrets.
    """


def _until_told() -> asyncio.Event:
    """Set by SIGTERM or SIGINT."""
    stop = asyncio.Event()
    for name in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(name, stop.set)
    return stop


@cli.command(epilog=examples("demo", "demo --keep", "demo --json", "demo --record acme-demo"))
@click.option("--keep", "stays", is_flag=True, help="Leave everything running afterwards, and say how to play with it.")
@RECORD
@AS_JSON
def demo(*, stays: bool, record: Path | None, as_json: bool) -> None:
    """Show the main job in one go, with nothing but this program.

    500 leads are imported, people work in the CRM, clients of Sales utter intents, facts come of it, and both sides are compared.
    Everything is inside this process: a HubSpot with the vices of the real one, Kafka, and a SQLite ledger in a temporary folder.
    Nothing of a deployment is read or touched. It takes about ten seconds, less than 15 on an idle machine, and says how long it
    took. Exit code 1 if the two sides differ in the end.
    """
    from sales_crm_bridge.demo import story  # noqa: PLC0415 - the demo's parts are not for production

    observe.log_to_stderr("error", "text")

    if record is not None:
        need_room(record)
    collector.settle()

    async def main() -> tuple[int, Ears | None]:
        out = console.Console(as_json=as_json)
        return await story.play(out, keep=stays, stop=_until_told(), record=record is not None)

    code, ears = asyncio.run(main())
    if record is not None and ears is not None:
        click.echo(recorded_in(keep(ears, "service", record)), err=True)
    sys.exit(code)


@cli.command(epilog=examples("run", "run -c /etc/bridge/bridge.yaml --secrets /run/secrets", "run --record acme-day"))
@CONFIG
@SECRETS
@RECORD
def run(*, config: Path | None, secrets: Path | None, record: Path | None) -> None:
    """Run the bridge until SIGTERM or SIGINT.

    Then it drains within `service.drain` (25 s): finishes the steps under way, publishes the facts that wait, and gives back
    its leases. After a crash the next process goes on where this one stopped. Any number of replicas may share one PostgreSQL.
    With --record what was heard is kept in memory until the end, and then in a bundle for `replay`, in stand-ins: for a while.
    """
    settings = settings_of(config, secrets)
    if record is not None:
        run_and_record(settings, record, _until_told)

    async def main() -> int:
        await operate.run(settings, _until_told())
        return EXIT_OK

    run_to_end(main())


@cli.command(epilog=examples("check", "check --online", "check -c staging/bridge.yaml --json"))
@CONFIG
@SECRETS
@click.option("--online", is_flag=True, help="Also ask each CRM, Kafka and the ledger.")
@AS_JSON
def check(*, config: Path | None, secrets: Path | None, online: bool, as_json: bool) -> None:
    """Report every problem of every file at once, and whatever else `run` would refuse.

    Each comes with file, line, column, code and remedy. Nothing leaves the machine. With --online it also signs in to each CRM,
    compares the mapping with the CRM's own field definitions, reports rights, clock skew and quota, and whether Kafka's topics and
    rights and the ledger's schema are as needed. It changes nothing. Exit code 2 if anything is to be mended in the files or at a
    CRM, 3 if only Kafka or the ledger is not as needed, 1 if only a CRM does not answer.
    """
    reading = read_settings(config_of(config), secrets)
    observe.log_to_stderr("error", reading.settings.log.form)
    report = checkup.check_files(reading)
    if online and not reading.findings:
        report = asyncio.run(checkup.check_online(reading.settings, report))
    if as_json:
        print_json(report.to_json())
    else:
        console.Console().check(report)
    sys.exit(report.exit_code)


@cli.command(epilog=examples("sync --once", "sync --once --tenant acme --json", "sync --once --record acme-import"))
@CONFIG
@SECRETS
@click.option("--once", is_flag=True, required=True, help="Read every feed to its present end, then stop.")
@click.option("--tenant", "only", multiple=True, help="Only this tenant (may be repeated).")
@RECORD
@AS_JSON
def sync(
    *,
    config: Path | None,
    secrets: Path | None,
    once: bool,  # noqa: ARG001
    only: tuple[str, ...],
    record: Path | None,
    as_json: bool,
) -> None:
    """Pull every tenant's CRM once, publish, and stop.

    Open commands are carried out as well. It resumes where the last run or sync stopped. Another process that holds an account's
    lease keeps it: that is reported. Exit code 1 if a tenant was not read to its end, or another process publishes; 3 if Kafka does
    not take the facts, which stay in the ledger. With --record what was heard is kept in a bundle for `replay`, in stand-ins.
    """
    settings = settings_of(config, secrets, log="error")
    if record is not None:
        sync_and_record(settings, frozenset(only), record, as_json=as_json)

    async def main() -> int:
        with console.Console(as_json=as_json).progress() as progress:
            outcome = await sync_once(settings, frozenset(only), progress)
        if as_json:
            print_json(outcome.to_json())
        else:
            console.Console().sync(outcome)
        return outcome.exit_code

    run_to_end(main())


@cli.command(epilog=examples("status", "status --watch", "status --json"))
@CONFIG
@SECRETS
@AS_JSON
@click.option("--watch", is_flag=True, help="Show it again every two seconds; with --json, one line each time.")
def status(*, config: Path | None, secrets: Path | None, as_json: bool, watch: bool) -> None:
    """Show how every connection stands.

    State, lag, open commands, dead letters, gaps, outbox: all of it is read from the ledger, so it can be asked on any machine
    that reaches that, also while nothing runs. Beneath the tables stands what is wrong, with its code and remedy.
    """
    settings = settings_of(config, secrets, NO_LEDGERS)

    async def main() -> int:
        while True:
            report = await operate.status(settings)
            if not as_json:
                console.Console().status(report, clear=watch)
            elif watch:
                click.echo(json.dumps(report, ensure_ascii=False))
            else:
                print_json(report)
            if not watch:
                return EXIT_OK
            await asyncio.sleep(2)

    run_to_end(main())


@cli.command(epilog=examples("gate", "gate --tenant acme --json", "gate --in-force --json"))
@CONFIG
@SECRETS
@click.option("--tenant", "only", help="This tenant alone.")
@click.option("--in-force", is_flag=True, help="From the ledger: what running processes go by, whatever the files say.")
@AS_JSON
def gate(*, config: Path | None, secrets: Path | None, only: str | None, in_force: bool, as_json: bool) -> None:
    """Print who handles a tenant's Lead intents, and since when.

    It is read from the tenants' files, without their secrets. --json prints what the Sales domain must do: the other half of the
    gate, so that every intent is handled by exactly one of the two. Where the bridge runs already, give the domain what is
    --in-force, in the ledger: a file can be refused, and a retired tenant's leads are the domain's since it was retired.
    """
    needless = NO_LEDGERS if in_force else (*NO_LEDGERS, "ledger", "ledger_password")
    settings = settings_of(config, secrets, needless, log="error")
    if in_force:
        owners = asyncio.run(operate.owners_in_force(settings, only))
    else:
        owners = [tenant.ownership for tenant in operate.tenants_of(settings, only)]
    if as_json:
        print_json(gate_json(owners))
    else:
        console.Console().gate(owners)


@cli.command(epilog=examples("migrate", "migrate -c /etc/bridge/bridge.yaml", "migrate --json"))
@CONFIG
@SECRETS
@AS_JSON
def migrate(*, config: Path | None, secrets: Path | None, as_json: bool) -> None:
    """Bring the ledger's schema up to date.

    The previous version of the program may be at work meanwhile. Applied steps are named; again: nothing. An embedded SQLite
    ledger is made here; `run` and `sync` make it too, and bring it up to date. Verbs that only look never do.
    """
    settings = settings_of(config, secrets, NO_LEDGERS)

    async def main() -> int:
        applied = await operate.migrate(settings)
        if as_json:
            print_json({"applied": applied})
        else:
            click.echo("\n".join(f"applied {name}" for name in applied) or "the schema is up to date")
        return EXIT_OK

    run_to_end(main())


@cli.command(epilog=examples("rewind --to 2026-11-01T00:00:00Z", "rewind --to 2026-11-01T00:00:00Z --yes --json"))
@CONFIG
@SECRETS
@click.option("--to", "to", required=True, metavar="TIME", help="Since when, as RFC 3339: 2026-11-01T00:00:00Z.")
@click.option("--yes", is_flag=True, help="Do not ask.")
@AS_JSON
def rewind(*, config: Path | None, secrets: Path | None, to: str, yes: bool, as_json: bool) -> None:
    """Read the intent topic again from a time on.

    For a tenant whose leads should have been the CRM's since a time that intake has already gone by: append the entry to its file
    first. The changed files are accepted with the rewind. Nothing is carried out twice: an intent that was taken before is known by
    its message id. Running processes follow by themselves, within `tenants.poll`.
    """
    settings = settings_of(config, secrets)
    try:
        to_us = time_us(to)
    except ValueError:
        said = f"{to!r} is no RFC 3339 time with a zone, such as 2026-11-01T00:00:00Z"
        raise click.BadParameter(said, param_hint="--to") from None
    if not yes:
        agreed(f"Read every intent since {to} again?")

    async def main() -> int:
        done = await operate.rewind(settings, to_us)
        if as_json:
            print_json({"to": done.to, "partitions": done.partitions, "accepted": list(done.accepted)})
        else:
            begun = (
                f"{done.partitions} partitions are read again" if done.partitions else "no partition was read before"
            )
            said = f"; now in force: {', '.join(done.accepted)}" if done.accepted else ""
            console.Console().say(f"from {done.to} on: {begun}{said}")
        return EXIT_OK

    run_to_end(main())


@cli.group(epilog=examples("adapter try config/tenants/acme.yaml"))
def adapter() -> None:
    """Try what a tenant's file says of its CRM."""


@adapter.command(
    "try",
    epilog=examples("adapter try acme.yaml", "adapter try acme.yaml --list 10 --raw", "adapter try acme.yaml --json"),
)
@CONFIG
@SECRETS
@click.argument("file", type=click.Path(path_type=Path, dir_okay=False))
@click.option(
    "--list", "count", default=3, show_default=True, type=click.IntRange(1, 1000), help="How many records of each list."
)
@click.option("--raw", is_flag=True, help="Show each record also as the CRM sent it.")
@AS_JSON
def adapter_try(*, file: Path, config: Path | None, secrets: Path | None, count: int, raw: bool, as_json: bool) -> None:
    """Try the connection of the tenant's FILE, wherever it lies.

    Signs in, asks who we are, reads a few records of each list (of changes: the last day's) and one of them again by its id and by
    our key, and shows every call with its answer, and what was understood of each record: ids, times, versions, the mapped fields,
    and what did not fit. The calls that would write are shown and never made. Secrets are masked; the records' values are not.
    Exit code 1 if the CRM did not answer as hoped, 2 if anything is to be mended in the file or at the CRM.
    """
    settings = settings_of(config, secrets, log="error")
    tenant = trying.tenant_of(file)

    async def main() -> int:
        trial = await trying.attempt(settings, tenant, count, raw=raw)
        if as_json:
            print_json(trial.to_json())
        else:
            console.Console().trial(trial)
        return EXIT_RUNTIME if trial.faults else EXIT_CONFIG if trial.findings else EXIT_OK

    run_to_end(main())


@cli.command(epilog=examples("version", "version --json"))
@AS_JSON
def version(*, as_json: bool) -> None:
    """Print the versions of program and contract."""
    parts = {"sales-crm-bridge": installed_version("sales-crm-bridge"), "contract": contract.SCHEMA_VERSION}
    if as_json:
        print_json(parts)
    else:
        click.echo("\n".join(f"{name} {value}" for name, value in parts.items()))


cli.add_command(bindings)
cli.add_command(tenant)
cli.add_command(deadletters)
cli.add_command(matches)
cli.add_command(gaps)
cli.add_command(replay)
cli.add_command(bundle)


def main(args: list[str] | None = None) -> None:
    """Entry point: runs a verb, prints an error as code, place and remedy, and exits with the house's codes.

    What nobody has foreseen is a line of the log like any other, in the log's own form: a traceback in between could not be read by
    what reads the others, and its values may be a person's.
    """
    observe.log_to_stderr("warning", "auto")  # until the settings say which
    try:
        cli.main(args=args, prog_name="sales-crm-bridge", standalone_mode=False)
    except click.exceptions.Abort:
        click.echo("interrupted", err=True)
        sys.exit(EXIT_INTERRUPTED)
    except click.ClickException as error:
        error.show()
        sys.exit(EXIT_CONFIG)
    except BridgeError as error:
        click.echo(str(error), err=True)
        sys.exit(error.exit_code)
    except Exception as fault:  # noqa: BLE001 - the outermost place: said here, or by the interpreter with all its values
        end_if_no_room(fault)
        where = "".join(traceback.format_tb(fault.__traceback__))
        bug = {"event": "process.bug", "code": "bug.unforeseen", "traceback": where}
        log.error("a bug ended the process: %s", type(fault).__name__, extra=bug)  # noqa: TRY400 - as said
        sys.exit(EXIT_RUNTIME)
