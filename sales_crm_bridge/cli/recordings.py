"""The verbs about recordings: making one, playing one, looking through one."""

from __future__ import annotations

import asyncio
import json
import secrets as chance
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any, NoReturn

import click

from sales_crm_bridge import collector, console, observe, operate
from sales_crm_bridge.cli.kit import AS_JSON, examples, print_json
from sales_crm_bridge.errors import EXIT_OK, EXIT_RUNTIME
from sales_crm_bridge.replay import bundle as bundles
from sales_crm_bridge.replay import trial
from sales_crm_bridge.replay.comparing import EXAMPLES, compare
from sales_crm_bridge.replay.guard import look_through
from sales_crm_bridge.replay.live import ears_for_run, sync_recorded
from sales_crm_bridge.replay.player import play
from sales_crm_bridge.replay.recorder import facts_of
from sales_crm_bridge.tasks import end

if TYPE_CHECKING:
    from collections.abc import Callable

    from sales_crm_bridge.replay.bundle import Bundle
    from sales_crm_bridge.replay.comparing import Comparison
    from sales_crm_bridge.replay.live import Ears, Heard
    from sales_crm_bridge.settings import Settings

RECORD = click.option(
    "--record",
    "record",
    type=click.Path(path_type=Path),
    metavar="DIR",
    help="Keep what was heard in a bundle, in a folder that is not there yet.",
)
BUNDLE = click.argument("folder", metavar="BUNDLE", type=click.Path(path_type=Path))
SHOWN_MAX = 90


def sync_and_record(settings: Settings, only: frozenset[str], folder: Path, *, as_json: bool) -> NoReturn:
    """Do ``sync --once`` for one tenant, make a bundle of it in ``folder``, and exit as ``sync`` does."""
    bundles.need_room(folder)
    collector.settle()

    async def main() -> Heard:
        with console.Console(as_json=as_json).progress() as progress:
            return await sync_recorded(settings, only, progress)

    heard = asyncio.run(main())
    if not as_json:
        console.Console().sync(heard.outcome)
    told = keep(heard.ears, "once", folder)
    if as_json:
        print_json(heard.outcome.to_json() | {"bundle": told})
    else:
        console.Console().say(recorded_in(told))
    sys.exit(heard.outcome.exit_code)


def run_and_record(settings: Settings, folder: Path, until_told: Callable[[], asyncio.Event]) -> NoReturn:
    """Do ``run`` until it is told to stop, and make a bundle of it in ``folder``; ``until_told`` makes what is set then."""
    bundles.need_room(folder)
    collector.settle()

    async def main() -> Ears:
        ears, stop = await ears_for_run(settings), until_told()

        async def ended() -> None:
            await stop.wait()
            ears.end()

        noting = asyncio.create_task(ended())
        try:
            await operate.run(settings, stop, ears)
        finally:
            ears.end()
            await end((noting,))
        return ears

    click.echo(recorded_in(keep(asyncio.run(main()), "service", folder)), err=True)
    sys.exit(EXIT_OK)


def keep(ears: Ears, mode: str, folder: Path) -> dict[str, Any]:
    """Write what was heard as a bundle into ``folder``; tells where it is, and how many lines its files have."""
    manifest = bundles.write(ears.bundle(mode, chance.token_bytes(32)), folder)
    counts = {name: entry.lines for name, entry in manifest.files.items() if name != bundles.TENANT}
    return {"folder": str(folder), "lines": counts}


def recorded_in(told: dict[str, Any]) -> str:
    """The same for people."""
    folder, lines = told["folder"], told["lines"]
    return (
        f"recorded in {folder}: {lines[bundles.EXCHANGES]} exchanges, {lines[bundles.FACTS]} facts; it was played twice, and told"
        f" the same. Look through it with `sales-crm-bridge bundle check {folder}` before you pass it on."
    )


@click.command(epilog=examples("replay acme-import", "replay acme-import --tenant config/tenants/acme.yaml --json"))
@BUNDLE
@click.option(
    "--tenant",
    "file",
    type=click.Path(path_type=Path, dir_okay=False),
    metavar="FILE",
    help="Play it under this tenant file, and tell what it would have changed.",
)
@AS_JSON
def replay(*, folder: Path, file: Path | None, as_json: bool) -> None:
    """Live through the run of BUNDLE again, without a network and on its own time, and compare the facts.

    They must be the same, byte for byte. With --tenant the facts are those that another tenant file would have made of the same
    answers: what differs is told by field, with examples. Nothing is sent anywhere. Exit code 1 if any fact differs, or a request
    is made that was not recorded.
    """
    observe.log_to_stderr("critical", "text")
    recorded = bundles.read(folder)
    text = trial.text_of(recorded, file) if file is not None else None
    collector.settle()
    found = compare(recorded.facts, facts_of(play(recorded, tenant=text).facts))
    if as_json:
        print_json({"bundle": str(folder), "tenant_file": str(file or ""), **found.to_json()})
    else:
        _tell(console.Console(), recorded, found, file)
    sys.exit(EXIT_OK if found.same else EXIT_RUNTIME)


def _tell(out: console.Console, recorded: Bundle, found: Comparison, file: Path | None) -> None:
    if found.same:
        out.say(f"the same {found.facts} facts, byte for byte", "green")
        return
    whose = f"{file} alters" if file is not None else f"this version alters what {recorded.manifest.bridge} told of"
    out.say(f"{whose} {found.leads} of {len(dict.fromkeys(one.key for one in recorded.facts))} leads", "bold")
    rows = [
        (name, str(len(changes)), _value(one.before), _value(one.after), one.key)
        for name, changes in found.fields().items()
        for one in changes[:EXAMPLES]
    ]
    if rows:
        out.table("values that differ", ("field", "facts", "was", "would be", "for example"), rows)
    for title, facts in (("told no more", found.lost), ("told besides", found.new)):
        if facts:
            counts = found.to_json()["lost" if facts is found.lost else "new"]
            out.table(f"facts that are {title}", ("fact", "how many"), [(name, str(n)) for name, n in counts.items()])
    out.say(f"the first difference: {found.first()}")


def _value(value: Any) -> str:
    text = "" if value is None else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN_MAX else f"{text[: SHOWN_MAX - 1]}…"


@click.group(epilog=examples("bundle check acme-import"))
def bundle() -> None:
    """Look after recordings."""


@bundle.command("check", epilog=examples("bundle check acme-import", "bundle check acme-import --json"))
@BUNDLE
@AS_JSON
def bundle_check(*, folder: Path, as_json: bool) -> None:
    """Look for what must not be in BUNDLE: secrets, by their shape, and personal data in whatever field.

    A recording holds stand-ins for everything that is not known to be harmless; what is neither is told by file and line, and is
    not repeated. Whether the bundle is whole and was not changed is looked at first. Exit code 1 if anything was found.
    """
    observe.log_to_stderr("error", "text")
    recorded, found = look_through(folder)
    if as_json:
        print_json(
            {
                "ok": not found,
                "bundle": str(folder),
                "format": recorded.manifest.format,
                "findings": [
                    {
                        "code": one.code,
                        "file": one.place.file,
                        "line": one.place.line,
                        "message": one.message,
                        "remedy": one.remedy,
                    }
                    for one in found
                ],
            }
        )
    elif found:
        for one in found:
            click.echo(str(one))
    else:
        console.Console().say("nothing was found", "green")
    sys.exit(EXIT_RUNTIME if found else EXIT_OK)
