"""What the verbs have in common: options, settings, and how they speak."""

from __future__ import annotations

import asyncio
import errno
import getpass
import json
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sales_crm_bridge import collector, observe
from sales_crm_bridge.errors import (
    EXIT_CONFIG,
    EXIT_ENVIRONMENT,
    EXIT_OK,
    EXIT_RUNTIME,
    ConfigError,
    EnvironmentFault,
    Finding,
    Place,
)
from sales_crm_bridge.settings import load as load_settings
from sales_crm_bridge.units import seconds

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
BY = click.option("--by", "who", default="", help="Who does it, for the record [default: the user of this machine].")
TENANT = click.option("--tenant", default="", help="Of this tenant alone.")
DRY = click.option("--dry-run", "dry", is_flag=True, help="Say what would become of each, and do nothing.")
YES = click.option("--yes", is_flag=True, help="Do not ask.")


class _Duration(click.ParamType[float]):
    name = "duration"

    def convert(self, value: str | float, param: click.Parameter | None, ctx: click.Context | None) -> float:
        if not isinstance(value, str):
            return value
        try:
            return seconds(value)
        except ValueError:
            self.fail(f"{value!r} is no duration such as 30s or 10m", param, ctx)


DURATION = _Duration()

EXIT_INTERRUPTED = 130
"""What a shell calls the end by SIGINT."""

DEFAULT_CONFIG = Path("config/bridge.yaml")


EXIT_CODES = f"""

\b
Exit codes:
  {EXIT_OK:>3}  ok
  {EXIT_RUNTIME:>3}  something failed at run time
  {EXIT_CONFIG:>3}  the configuration, or the command line, is wrong
  {EXIT_ENVIRONMENT:>3}  Kafka, the ledger or the machine is not as needed
  {EXIT_INTERRUPTED:>3}  interrupted, by Ctrl-C"""


def examples(*lines: str) -> str:
    """The end of a verb's help."""
    return "\n".join(("\b", "Examples:", *(f"  sales-crm-bridge {line}" for line in lines)))


def config_of(config: Path | None) -> Path | None:
    """The settings' file: the one that was named, or the usual one, if it is there."""
    try:
        return DEFAULT_CONFIG if config is None and DEFAULT_CONFIG.is_file() else config
    except OSError:  # nobody may look: who reads it says so
        return DEFAULT_CONFIG


NO_LEDGERS = ("hash_keys", "kafka", "seal_key", "telemetry")
"""Settings with secrets that nobody needs who looks into the ledger alone: they may be missing on the machine where one looks."""


def settings_of(config: Path | None, secrets: Path | None, without: tuple[str, ...] = (), *, log: str = "") -> Settings:
    """The deployment's settings. ``log``: the log's level for a verb whose report says what happened ("": as they say)."""
    settings = load_settings(config_of(config), secrets, without=without)
    observe.log_to_stderr(log or settings.log.level, settings.log.form)
    return settings


def run_to_end(main: Coroutine[Any, Any, int]) -> None:
    """Run it, and exit with its code."""
    collector.settle()
    sys.exit(asyncio.run(main))


def print_json(value: object) -> None:
    """For machines, and readable all the same."""
    click.echo(json.dumps(value, indent=2, ensure_ascii=False))


def not_there(code: str, said: str, remedy: str) -> ConfigError:
    """For a verb that was given an id which nothing in the ledger has."""
    return ConfigError([Finding(code=code, message=said, place=Place(file="the ledger"), remedy=remedy)])


def agreed(question: str) -> None:
    """Go on if a person says yes; otherwise nothing was done."""
    nobody = click.UsageError("nobody answers on standard input; say --yes to do it without being asked")
    if sys.stdin is None:  # closed by who started us
        raise nobody
    try:
        agreed = click.confirm(question, err=True)
    except click.Abort as abort:
        if isinstance(abort.__context__, EOFError):
            raise nobody from None
        raise
    if not agreed:
        click.echo("nothing was done", err=True)
        sys.exit(EXIT_RUNTIME)


def user() -> str:
    """Who is at this machine, for the record."""
    try:
        return getpass.getuser()
    except (OSError, KeyError):  # a user without a name, as in many containers
        return "unnamed"


_NO_ROOM = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def end_if_no_room(fault: Exception) -> None:
    """End the process if ``fault`` says that what was to be written did not fit; what standard output still holds is given up."""
    if not isinstance(fault, OSError) or fault.errno not in _NO_ROOM:
        return
    said = EnvironmentFault(
        "process.no-room",
        "there is no room for what is written",
        place=str(fault.filename or "standard output"),
        remedy="make room there, or write elsewhere; then again",
    )
    click.echo(str(said), err=True)
    os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # or the interpreter fails once more, at its end
    sys.exit(said.exit_code)
