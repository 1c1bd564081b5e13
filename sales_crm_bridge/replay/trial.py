"""Another tenant file played over a recording: what a change of the mapping would have told."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

from sales_crm_bridge import tenants, wiring, yaml_places
from sales_crm_bridge.errors import ConfigError, Finding, Place
from sales_crm_bridge.replay.player import SECRET

if TYPE_CHECKING:
    from pathlib import Path

    from sales_crm_bridge.replay.bundle import Bundle
    from sales_crm_bridge.tenants import Tenant


def text_of(bundle: Bundle, file: Path) -> str:
    """The text of the tenant's ``file``, as a replay of ``bundle`` takes it; its secrets are not looked at.

    Raises ``ConfigError`` with every finding of the file, or when it is about another tenant, CRM or account than the bundle.
    """
    try:
        raw = file.read_bytes()
    except OSError as error:
        said, remedy = f"cannot be read: {error.strerror}", "name the tenant's file that is to be tried"
        raise ConfigError(
            [Finding(code="replay.no-tenant-file", message=said, place=_place(file), remedy=remedy)]
        ) from None
    tenant, found = tenants.parse(raw, str(file), wiring.catalogue(), secrets=False)
    if tenant is None:
        raise ConfigError(found)
    _same_account(bundle, tenant, file)
    return hidden(tenant)


def hidden(tenant: Tenant) -> str:
    """A tenant file's text without its comments, which can say anything, and without the places of its secrets."""
    text = uncommented(tenant.text)
    for name, ref in tenant.connection.secrets:
        text = text.replace(str(ref), f"{SECRET}{name.upper()}")
    return text


def uncommented(text: str) -> str:
    """A YAML text without comments, that means the same; where a sign is in doubt, as JSON, which is YAML too."""
    lines = [line[: _comment(line)].rstrip() for line in text.splitlines()]
    bare = "\n".join(line for line in lines if line) + "\n"
    meant = yaml_places.parse(text.encode(), "").value
    return bare if yaml_places.parse(bare.encode(), "").value == meant else json.dumps(meant, indent=2) + "\n"


def _comment(line: str) -> int:
    """Where a line's comment begins: at a ``#`` at its start or behind a blank, outside quotes; else its length."""
    quote = ""
    for place, sign in enumerate(line):
        if quote:
            quote = "" if sign == quote else quote
        elif sign in "'\"" and (not place or line[place - 1] in " [{,:"):
            quote = sign
        elif sign == "#" and (not place or line[place - 1] in " \t"):
            return place
    return len(line)


def _same_account(bundle: Bundle, tenant: Tenant, file: Path) -> None:
    recorded, _ = tenants.parse(bundle.tenant.encode(), "", wiring.catalogue(), secrets=False)
    if recorded is None:
        return  # the file was good for the version that recorded it; this one has a say about ``file`` alone
    pairs = {
        "tenant": (recorded.tenant, tenant.tenant),
        "adapter": (recorded.connection.adapter, tenant.connection.adapter),
        "account": (recorded.connection.account, tenant.connection.account),
        "connection": (recorded.connection.name, tenant.connection.name),
        "kind of credentials": (recorded.connection.credentials_kind, tenant.connection.credentials_kind),
    }
    for what, (before, now) in pairs.items():
        if before != now:
            said = f"the recording has {what} {before!r}, the file {now!r}"
            remedy = "try a file of the recorded tenant; what another account would have answered is not in the bundle"
            raise ConfigError([Finding(code="replay.other-tenant", message=said, place=_place(file), remedy=remedy)])


def _place(file: Path) -> Place:
    return Place(file=str(file))
