"""``python -m sales_crm_bridge.sandbox hubspot``: a sandbox for people, on a port, until Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import time

import click

from sales_crm_bridge.sandbox.asgi import SandboxApp
from sales_crm_bridge.sandbox.hubspot import Account, Portal, Vices
from sales_crm_bridge.sandbox.serving import serve


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
def main() -> None:
    """Faithful local CRMs to play with: they forget everything when they stop."""


@main.command()
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8700, show_default=True, help="Port to listen on; 0 takes a free one.")
@click.option("--leads", default=500, show_default=True, help="How many contacts it begins with.")
@click.option(
    "--lead-objects",
    default=0,
    show_default=True,
    help="How many records of the Lead object, linked to those contacts.",
)
@click.option("--seed", default=1, show_default=True, help="The same seed gives the same people and the same draws.")
@click.option("--search-lag", default=0.0, show_default=True, help="Seconds until search shows a write, at most.")
@click.option(
    "--unique-property",
    default="bridge_lead_id",
    show_default=True,
    help="A unique property of contacts and leads; '' for none.",
)
def hubspot(
    *, host: str, port: int, leads: int, lead_objects: int, seed: int, search_lag: float, unique_property: str
) -> None:
    """Serve a HubSpot account; the token is printed."""
    account = Account()
    portal = Portal.seeded(
        seed,
        clock=time.time,
        leads=leads,
        lead_objects=lead_objects,
        vices=Vices(search_lag_s=(0.0, search_lag)),
        account=account,
    )
    for object_type in ("contacts", "leads") if unique_property else ():
        portal.add_property(object_type, unique_property, unique=True)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(portal, account, host, port))


async def _serve(portal: Portal, account: Account, host: str, port: int) -> None:
    async with serve(SandboxApp(portal, asyncio.sleep), host, port) as url:
        click.echo(f"HubSpot account {account.portal_id} at {url}, token {account.token}. Try:")
        click.echo(f"  curl -H 'Authorization: Bearer {account.token}' '{url}/crm/v3/objects/contacts?limit=2'")
        click.echo("Ctrl-C ends it, and everything in it.")
        await asyncio.Event().wait()


if __name__ == "__main__":
    main()
