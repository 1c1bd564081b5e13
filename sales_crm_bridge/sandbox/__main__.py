"""``python -m sales_crm_bridge.sandbox hubspot``: a sandbox for people, on a port, until Ctrl-C."""

from __future__ import annotations

import asyncio
import contextlib
import json
import random
import time
from typing import TYPE_CHECKING

import click

from sales_crm_bridge.sandbox.asgi import SandboxApp
from sales_crm_bridge.sandbox.dialects import Cloud, Harbour, Miserly, Plain, Rpc, fill, harbour, miserly, rpc
from sales_crm_bridge.sandbox.dialects.seeding import Dialect
from sales_crm_bridge.sandbox.hubspot import Account, Portal, Vices
from sales_crm_bridge.sandbox.serving import serve

if TYPE_CHECKING:
    from sales_crm_bridge.sandbox.wire import Sandbox

_SIGN_IN = {"database": "main", "login": rpc.LOGIN, "password": rpc.SECRET}
_OPEN = {"jsonrpc": "2.0", "id": 1, "method": "session.open", "params": _SIGN_IN}
_SESSION = {"user": harbour.USER, "password": harbour.SECRET}
DIALECTS: dict[str, tuple[type[Dialect], str]] = {
    "plain": (Plain, "curl -H 'X-Api-Key: plain-key' 'URL/api/v1/people?limit=2'"),
    "cloud": (Cloud, "curl -u cloud-client:cloud-secret -d grant_type=client_credentials URL/oauth/token"),
    "rpc": (Rpc, f"curl -d '{json.dumps(_OPEN)}' URL/jsonrpc"),
    "harbour": (Harbour, f"curl -d '{json.dumps(_SESSION)}' URL/v3/session"),
    "miserly": (Miserly, f"curl -u {miserly.USER}:{miserly.SECRET} 'URL/crm/leads?page=1&size=2'"),
}
"""Each dialect, and a call to begin with; its module's docstring is its reference."""


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
        title = f"HubSpot account {account.portal_id}, token {account.token}, at"
        example = f"curl -H 'Authorization: Bearer {account.token}' 'URL/crm/v3/objects/contacts?limit=2'"
        asyncio.run(_serve(portal, title, example, host, port))


@main.command()
@click.argument("name", type=click.Choice(sorted(DIALECTS)))
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", default=8700, show_default=True, help="Port to listen on; 0 takes a free one.")
@click.option("--leads", default=500, show_default=True, help="How many records it begins with.")
@click.option("--seed", default=1, show_default=True, help="The same seed gives the same draws.")
def dialect(*, name: str, host: str, port: int, leads: int, seed: int) -> None:
    """Serve one of the CRMs that no adapter was written for: something to declare."""
    make, example = DIALECTS[name]
    crm = make(clock=time.time, rng=random.Random(seed))  # noqa: S311 - a game's dice
    fill(crm, leads)
    with contextlib.suppress(KeyboardInterrupt):
        asyncio.run(_serve(crm, f"The {name} CRM at", example, host, port))


async def _serve(crm: Sandbox, title: str, example: str, host: str, port: int) -> None:
    async with serve(SandboxApp(crm, asyncio.sleep), host, port) as url:
        click.echo(f"{title} {url}. Try:")
        click.echo(f"  {example.replace('URL', url)}")
        click.echo("Ctrl-C ends it, and everything in it.")
        await asyncio.Event().wait()


if __name__ == "__main__":
    main()
