"""From the tenants' files to tenants in force, or to every problem of every file at once."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping as Mapped
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from sales_crm_bridge import yaml_places
from sales_crm_bridge.errors import ConfigError, Finding, Place
from sales_crm_bridge.findings import did_you_mean, finding
from sales_crm_bridge.gate import Ownership, Span
from sales_crm_bridge.mapping import Mapping
from sales_crm_bridge.model import Owner, Secrets
from sales_crm_bridge.problems import findings_of
from sales_crm_bridge.secret_refs import SecretMissing
from sales_crm_bridge.tenants.connecting import Catalogue, connection_of
from sales_crm_bridge.tenants.entries import spec_of
from sales_crm_bridge.tenants.file import TenantFile
from sales_crm_bridge.tenants.values import (
    ConflictRule,
    Conflicts,
    PullRules,
    PushRules,
    Tenant,
)
from sales_crm_bridge.units import time_text

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What a folder holds: the tenants whose files are good, and every finding of the others."""

    tenants: Mapped[str, Tenant]
    findings: tuple[Finding, ...]


def stamp(folder: Path) -> dict[str, str]:
    """A digest of each tenant file's bytes by name: equal stamps, equal files. {} where there is no folder."""
    return {path.name: _digest(_bytes(path)) for path in _files(folder)}


def _files(folder: Path) -> list[Path]:
    if not folder.is_dir():
        return []
    return sorted(path for path in folder.iterdir() if path.suffix in (".yaml", ".yml") and path.is_file())


def _bytes(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError:
        return b""


def _digest(raw: bytes) -> str:
    return hashlib.blake2b(raw, digest_size=16).hexdigest()


def load(
    folder: Path,
    catalogue: Catalogue,
    *,
    previous: Mapped[str, Tenant] | None = None,
    passed_us: Mapped[str, int] | None = None,
    environ: Mapped[str, str] | None = None,
) -> Loaded:
    """Every ``*.yaml`` of ``folder``, each the file of the tenant it is named after.

    ``previous``: the accepted tenants, against which an append-only list and a moved account show. ``passed_us``: up to which time
    intake has judged a tenant's intents. ``environ``: where ``env:`` references lead (default: the process's environment).
    """
    found: list[Finding] = []
    if not folder.is_dir():
        found.append(finding("tenant.no-folder", "the folder is not there", Place(file=str(folder))))
    tenants: dict[str, Tenant] = {}
    for path in _files(folder):
        tenant, problems = parse(path.read_bytes(), str(path), catalogue, environ=environ)
        if tenant is not None:
            if path.stem != tenant.tenant:
                place = tenant.place("tenant")
                remedy = f"name the file {tenant.tenant}{path.suffix}"
                problems.append(finding("tenant.wrong-file", f"the file is for {tenant.tenant!r}", place, remedy))
            if tenant.tenant in tenants:
                said = f"{tenants[tenant.tenant].file} is for {tenant.tenant!r} too"
                problems.append(finding("tenant.duplicate", said, tenant.place("tenant")))
            before = (previous or {}).get(tenant.tenant)
            if before is not None:
                problems += _changes(tenant, before, (passed_us or {}).get(tenant.tenant, 0))
        if tenant is not None and not problems:
            tenants[tenant.tenant] = tenant
        found += problems
    for shared in _shared(tenants, previous or {}):
        found.append(shared[1])
        tenants.pop(shared[0], None)
    return Loaded(tenants=tenants, findings=tuple(found))


def parse(
    raw: bytes, file: str, catalogue: Catalogue, *, environ: Mapped[str, str] | None = None, secrets: bool = True
) -> tuple[Tenant | None, list[Finding]]:
    """One file. None with findings when it is too broken to be a tenant; ``secrets`` False: references are not followed."""
    document = yaml_places.parse(raw, file)
    found = list(document.findings)
    if not isinstance(document.value, dict):
        if not found:
            found.append(finding("config.bad-type", "the file is not a mapping", document.place(())))
        return None, found

    def locate(route: Sequence[str | int], key: bool) -> Place:  # noqa: FBT001 - the shape of problems.Locate
        return document.place(route, key=key)

    def where(*route: str | int, key: bool = False) -> Place:
        return document.place(route, key=key)

    try:
        parsed = TenantFile.model_validate(document.value)
    except ValidationError as error:
        return None, found + findings_of(error, TenantFile, locate)
    ownership, problems = _ownership(parsed, where)
    found += problems
    connection, problems = connection_of(
        parsed, catalogue, where, os.environ if environ is None else environ, follow=secrets
    )
    found += problems
    spec, problems = spec_of(parsed, where)
    found += problems
    found += _conflict_problems(parsed, where)
    if found:
        return None, found
    pull, push, conflicts = parsed.pull, parsed.push, parsed.conflicts
    tenant = Tenant(
        tenant=parsed.tenant,
        file=file,
        text=raw.decode("utf-8-sig"),
        digest=_digest(raw),
        ownership=ownership,
        connection=connection,
        mapping=Mapping(spec),
        pull=PullRules(
            every_s=pull.every_s,
            page_size=pull.page_size,
            horizon_s=pull.horizon_s,
            second_pass_s=pull.second_pass_s,
            removed_every_s=pull.removed_every_s,
            audit_every_s=pull.audit_every_s,
        ),
        push=PushRules(
            batch=push.batch, attempts_max=push.attempts_max or 0, refuse_behind=push.after_parked == "refuse"
        ),
        conflicts=Conflicts(
            default=ConflictRule(conflicts.default),
            fields={name: ConflictRule(rule) for name, rule in conflicts.fields.items()},
        ),
        places=_places(document, parsed),
    )
    return tenant, found


def reaccept(text: str, name: str, catalogue: Catalogue) -> Tenant:
    """A tenant from its accepted text, as the ledger keeps it; its secrets are followed when they are needed.

    Raises ``ConfigError`` when this version of the program cannot read what an earlier one accepted: then it must not start, or
    intents of the tenant would be passed over.
    """
    tenant, found = parse(text.encode(), f"{name} (accepted)", catalogue, secrets=False)
    if tenant is None:
        raise ConfigError(found)
    return tenant


def secrets_of(tenant: Tenant, environ: Mapped[str, str] | None = None) -> Secrets:
    """The connection's secrets, read anew. Raises ``ConfigError`` naming every one that is not there."""
    values: dict[str, str] = {}
    found: list[Finding] = []
    for name, ref in tenant.connection.secrets:
        try:
            values[name] = ref.read(os.environ if environ is None else environ)
        except SecretMissing as why:
            place = tenant.place("connection", "credentials", name)
            found.append(finding("config.unresolvable-secret", str(why), place))
    if found:
        raise ConfigError(found)
    return Secrets(values=values)


# --- parts of a file --------------------------------------------------------------------------------------------------


def _ownership(parsed: TenantFile, where: Any) -> tuple[Ownership, list[Finding]]:
    found = []
    spans = tuple(Span(owner=Owner(entry.owner), from_us=entry.from_us) for entry in parsed.leads)
    for index in range(1, len(spans)):
        if spans[index].from_us <= spans[index - 1].from_us:
            said = "the entry does not begin after the one before it"
            found.append(finding("tenant.leads-order", said, where("leads", index, "from")))
        elif spans[index].owner is spans[index - 1].owner:
            said = f"the leads belong to {spans[index].owner} already"
            found.append(finding("tenant.leads-repeated", said, where("leads", index, "owner")))
    return Ownership(tenant=parsed.tenant, spans=spans), found


def _conflict_problems(parsed: TenantFile, where: Any) -> list[Finding]:
    return [
        finding(
            "mapping.unknown-field",
            f"{name!r} is not mapped",
            where("conflicts", "fields", name, key=True),
            did_you_mean(name, parsed.fields),
        )
        for name in parsed.conflicts.fields
        if name not in parsed.fields
    ]


def _places(document: yaml_places.Document, parsed: TenantFile) -> dict[tuple[str, ...], Place]:
    """Where the things stand that later findings may point at."""
    routes: list[tuple[str, ...]] = [(), ("tenant",), ("leads",), ("connection",), ("connection", "account")]
    routes += [
        ("connection", "credentials"),
        *(("connection", "credentials", name) for name in parsed.connection.credentials),
    ]
    routes += [("fields",), *(("fields", name) for name in parsed.fields)]
    routes += [("create",), *(("create", name) for name in parsed.create), ("qualify",), ("disqualify",)]
    return {route: document.place(route) for route in routes}


# --- between files, and between yesterday and today -------------------------------------------------------------------


def _changes(tenant: Tenant, before: Tenant, passed_us: int) -> list[Finding]:
    """What an accepted file may not change."""
    found: list[Finding] = []
    was, now = before.ownership.spans, tenant.ownership.spans
    if now[: len(was)] != was:
        said = "the accepted entries were: " + ", ".join(f"{span.owner} from {time_text(span.from_us)}" for span in was)
        found.append(finding("tenant.leads-changed", said, tenant.place("leads")))
    else:
        for span in now[len(was) :]:
            if span.from_us <= passed_us:
                said = f"{time_text(span.from_us)} is past: intake has gone by to {time_text(passed_us)}"
                found.append(finding("tenant.leads-past", said, tenant.place("leads")))
    if (
        before.connection.name == tenant.connection.name
        and before.connection.account_key != tenant.connection.account_key
    ):
        said = f"connection {tenant.connection.name!r} was account {before.connection.account!r}"
        found.append(finding("tenant.account-moved", said, tenant.place("connection", "account")))
    return found


def _shared(tenants: Mapped[str, Tenant], previous: Mapped[str, Tenant]) -> list[tuple[str, Finding]]:
    """Tenants on an account that another tenant has, by name; of two, the one that is not accepted yet is at fault."""
    found = []
    first: dict[tuple[str, str, str], str] = {
        tenant.connection.account_key: name for name, tenant in previous.items() if name not in tenants
    }
    for name in sorted(tenants, key=lambda name: (name not in previous, name)):
        tenant = tenants[name]
        other = first.setdefault(tenant.connection.account_key, name)
        if other != name:
            said = f"{other!r} uses account {tenant.connection.account!r} of {tenant.connection.adapter} already"
            found.append((name, finding("tenant.shared-account", said, tenant.place("connection", "account"))))
    return found
