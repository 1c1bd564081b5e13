"""From the tenants' files to tenants in force, or to every problem of every file at once."""

from __future__ import annotations

import codecs
import hashlib
import os
from collections.abc import Mapping as Mapped
from dataclasses import dataclass, replace
from pathlib import PurePath
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from sales_crm_bridge import yaml_places
from sales_crm_bridge.errors import ConfigError, EnvironmentFault, Finding, Place
from sales_crm_bridge.findings import did_you_mean, finding
from sales_crm_bridge.gate import Ownership, Span
from sales_crm_bridge.mapping import Mapping
from sales_crm_bridge.model import Owner, Secrets
from sales_crm_bridge.problems import findings_of
from sales_crm_bridge.secret_refs import SecretMissing
from sales_crm_bridge.tenants import judging
from sales_crm_bridge.tenants.connecting import Catalogue, connection_of, secrets_referred_to
from sales_crm_bridge.tenants.entries import spec_of
from sales_crm_bridge.tenants.file import TenantFile
from sales_crm_bridge.tenants.outlining import outline_of
from sales_crm_bridge.tenants.salvaging import salvage
from sales_crm_bridge.tenants.values import (
    ConflictRule,
    Conflicts,
    Outline,
    PullRules,
    PushRules,
    Tenant,
)

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence
    from pathlib import Path

    from sales_crm_bridge.secret_refs import SecretRef
    from sales_crm_bridge.tenants.shelf import Shelf
    from sales_crm_bridge.yaml_places import Document

UNRESOLVABLE = "config.unresolvable-secret"


@dataclass(frozen=True, slots=True, kw_only=True)
class Loaded:
    """What a folder holds: the tenants whose files are good, and every finding of the others.

    ``asleep``: files with which their tenants were retired; they rule nothing and break nothing. ``lost``: the secrets that
    were not there, for which files are refused.
    """

    tenants: Mapped[str, Tenant]
    findings: tuple[Finding, ...]
    asleep: tuple[Outline, ...] = ()
    lost: tuple[SecretRef, ...] = ()

    def found_again(self, environ: Mapped[str, str] | None = None) -> bool:
        """Whether a secret that was lost is there now, so that the same files may be good; costs a look at these alone."""
        return any(ref.there(os.environ if environ is None else environ) for ref in self.lost)


def stamp(folder: Path) -> dict[str, str]:
    """A digest of each tenant file's bytes by name: equal stamps, equal files. {} where there is no folder.

    Raises ``EnvironmentFault`` when the folder cannot be read.
    """
    return {path.name: _digest(raw_of(path) or b"") for path in paths(folder) or ()}


def paths(folder: Path) -> list[Path] | None:
    """The tenants' files; None where there is no folder. One that is there and cannot be read is no empty one."""
    try:
        if not folder.is_dir():
            return None
        return sorted(path for path in folder.iterdir() if path.suffix in judging.SUFFIXES and _meant(path))
    except OSError as error:
        raise EnvironmentFault(
            "tenant.folder-unreadable",
            f"the tenants' files cannot be listed: {error.strerror or type(error).__name__}",
            place=str(folder),
            remedy="let this process read the folder; where too many files are open, raise the limit of them",
        ) from error


def _meant(path: Path) -> bool:
    """Whether it is a tenant's file, or what was to be one: a link that leads nowhere, say.

    Editors leave such links while a file is open; their names begin with a dot.
    """
    return path.is_file() or not path.name.startswith(".")


def raw_of(path: Path) -> bytes | None:
    """The file's bytes, at most one more than a file may have; None if it cannot be read."""
    try:
        with path.open("rb") as stream:
            return stream.read(yaml_places.BYTES_MAX + 1)
    except OSError:
        return None


def _digest(raw: bytes) -> str:
    return hashlib.blake2b(raw, digest_size=16).hexdigest()


def load(
    folder: Path,
    catalogue: Catalogue,
    *,
    previous: Mapped[str, Outline] | None = None,
    passed_us: int = 0,
    strangers_us: int = 0,
    rewound_us: int | None = None,
    environ: Mapped[str, str] | None = None,
    secrets: bool = True,
    shelf: Shelf | None = None,
) -> Loaded:
    """Every ``*.yaml`` of ``folder``, each the file of the tenant it is named after.

    ``previous``: what was accepted of each tenant, retired ones too: against it an append-only list and a moved account show.
    ``passed_us``: up to which time intake has judged these tenants' intents; ``strangers_us``: and has passed over those of tenants
    that it did not know; 0: none.
    ``rewound_us``: from when on it will judge them again, so that what it has passed over since can become the CRM's (what it has
    taken since is done, and cannot become the domain's).
    ``environ``: where ``env:`` references lead (default: the process's environment); ``secrets`` False: they are not followed.
    ``shelf``: gives what was read before. Raises ``EnvironmentFault`` when the folder cannot be read.
    """
    follow = _environ(environ, follow=secrets)

    def reader(raw: bytes, file: str) -> Read:
        return read_one(raw, file, catalogue, follow) if shelf is None else shelf.file(raw, file, follow)

    read, loose = _read_all(folder, reader)
    accepted = previous or {}
    outlines = [one.outline for one in read]
    there = {PurePath(name).name for name in (*(one.file for one in outlines), *(one.place.file for one in loose))}
    files_for: dict[str, list[str]] = {}
    for one in outlines:
        files_for.setdefault(one.tenant, []).append(one.file)
    asleep = [one for one in outlines if _unchanged(one, accepted.get(one.tenant))]
    resting = {one.file for one in asleep}
    found: dict[str, list[Finding]] = {}
    for one in outlines:
        before = accepted.get(one.tenant)
        passed = strangers_us if before is None else passed_us
        if one.file not in resting:
            found[one.file] = [
                *judging.misplaced(one, files_for[one.tenant], there),
                *judging.changes(one, before, passed, rewound_us),
            ]
    awake = [one for one in read if one.outline.file not in resting]
    good = {one.outline.file for one in awake if not one.findings and not found[one.outline.file]}
    in_force = {name: one for name, one in accepted.items() if not one.retired_us}
    for file, shared in judging.sharing([one.outline for one in awake], good, in_force):
        found[file].append(shared)
    tenants = {one.tenant.tenant: one.tenant for one in awake if one.tenant is not None and not found[one.tenant.file]}
    told = [*loose, *(problem for one in awake for problem in (*one.findings, *found[one.outline.file]))]
    lost = tuple(ref for one in awake for ref in one.lost)
    return Loaded(tenants=tenants, findings=tuple(_ordered(told)), asleep=tuple(asleep), lost=lost)


def _read_all(folder: Path, reader: Callable[[bytes, str], Read]) -> tuple[list[Read], list[Finding]]:
    """The folder's files, and a finding for each that cannot be read, or for a folder that is not there."""
    loose: list[Finding] = []
    files = paths(folder)
    if files is None:
        loose.append(finding("tenant.no-folder", "the folder is not there", Place(file=str(folder))))
    read: list[Read] = []
    for path in files or ():
        raw = raw_of(path)
        if raw is None:
            loose.append(finding("yaml.unreadable", "cannot read the file", Place(file=str(path))))
        else:
            read.append(reader(raw, str(path)))
    return read, loose


def _unchanged(one: Outline, before: Outline | None) -> bool:
    """Whether the file is the one with which its tenant was retired."""
    return before is not None and before.retired_us > 0 and before.digest == one.digest


@dataclass(frozen=True, slots=True, kw_only=True)
class Read:
    """One file: a tenant, or findings; and its outline in any case.

    ``refs``: the secrets that it refers to; ``lost``: those that it is refused for, since they are not there.
    """

    tenant: Tenant | None
    findings: list[Finding]
    outline: Outline
    refs: tuple[SecretRef, ...]
    lost: tuple[SecretRef, ...]


def parse(
    raw: bytes,
    file: str,
    catalogue: Catalogue,
    *,
    environ: Mapped[str, str] | None = None,
    secrets: bool = True,
    accepted: bool = False,
) -> tuple[Tenant | None, list[Finding]]:
    """One file by itself: a tenant, or None with findings. ``secrets`` False: references are not followed.

    ``accepted``: it is in force already.
    """
    read = read_one(raw, file, catalogue, _environ(environ, follow=secrets), accepted=accepted)
    return read.tenant, read.findings


def _environ(given: Mapped[str, str] | None, *, follow: bool) -> Mapped[str, str] | None:
    """Where references lead; None: they are not followed."""
    return (os.environ if given is None else given) if follow else None


def read_one(
    raw: bytes,
    file: str,
    catalogue: Catalogue,
    environ: Mapped[str, str] | None,
    *,
    accepted: bool = False,
) -> Read:
    """One file by itself; ``environ`` None: references are not followed. ``accepted``: it is in force already."""
    document = yaml_places.parse(raw, file)
    outline = outline_of(document, _digest(raw.removeprefix(codecs.BOM_UTF8)), catalogue)
    tenant, found = _tenant(raw, document, outline, catalogue, environ, accepted=accepted)
    part = document.value.get("connection") if isinstance(document.value, dict) else None
    refs = secrets_referred_to(part.get("credentials") if isinstance(part, dict) else None)
    lost: tuple[SecretRef, ...] = ()
    if environ is not None and any(one.code == UNRESOLVABLE for one in found):
        lost = tuple(ref for ref in refs if not ref.there(environ))
    return Read(tenant=tenant, findings=found, outline=outline, refs=refs, lost=lost)


def _tenant(
    raw: bytes,
    document: Document,
    outline: Outline,
    catalogue: Catalogue,
    environ: Mapped[str, str] | None,
    *,
    accepted: bool,
) -> tuple[Tenant | None, list[Finding]]:
    """The tenant, or everything that is wrong with the file; ``environ`` None: references are not followed."""
    found = list(document.findings)
    if not isinstance(document.value, dict):
        if not found:
            found.append(finding("config.bad-type", "the file is not a mapping", document.place(())))
        return None, found

    def locate(route: Sequence[str | int], key: bool) -> Place:  # noqa: FBT001 - the shape of problems.Locate
        return document.place(route, key=key)

    def where(*route: str | int, key: bool = False) -> Place:
        return document.place(route, key=key)

    broken: frozenset[str] = frozenset()
    dropped: frozenset[str] = frozenset()
    try:
        parsed = TenantFile.model_validate(document.value)
    except ValidationError as error:
        found += findings_of(error, TenantFile, locate)
        rest = salvage(document.value, error)
        if rest is None:
            return None, _ordered(found)
        parsed, broken, dropped = rest.parsed, rest.broken, rest.dropped
    ownership, problems = _ownership(parsed, where)
    found += problems
    spec, problems = spec_of(parsed, where, dropped | ({"status"} if "fields" in broken else frozenset()))
    found += problems
    whole = not problems and not dropped and not broken
    connection = None
    if "connection" not in broken:
        fields = Mapping(spec).crm_fields if whole else None
        connection, problems = connection_of(parsed, catalogue, where, environ, accepted=accepted, fields=fields)
        found += problems
    if "fields" not in broken:
        found += _conflict_problems(parsed, dropped, where)
    if found or connection is None:
        return None, _ordered(found)
    tenant = Tenant(
        tenant=parsed.tenant,
        file=outline.file,
        text=raw.decode("utf-8-sig"),
        digest=outline.digest,
        ownership=ownership,
        connection=connection,
        mapping=Mapping(spec),
        pull=_pull_rules(parsed),
        push=_push_rules(parsed),
        conflicts=_conflicts(parsed),
        outline=outline,
    )
    return tenant, []


def reaccept(text: str, name: str, catalogue: Catalogue) -> Tenant:
    """A tenant from its accepted text, as the ledger keeps it; its secrets are followed when they are needed.

    Raises ``ConfigError`` when this version of the program cannot read what an earlier one accepted: then it must not start, or
    intents of the tenant would be passed over.
    """
    tenant, found = parse(text.encode(), f"{name} (accepted)", catalogue, secrets=False, accepted=True)
    if tenant is None:
        raise ConfigError(found)
    return tenant


def recall(text: str, name: str, retired_us: int, catalogue: Catalogue) -> Outline:
    """What is left of a retired tenant, from the text that the ledger keeps: who owned its leads, and which account it used."""
    raw = text.encode()
    outline = outline_of(yaml_places.parse(raw, f"{name} (retired)"), _digest(raw), catalogue)
    return replace(outline, tenant=name, retired_us=retired_us)


def secrets_of(tenant: Tenant, environ: Mapped[str, str] | None = None) -> Secrets:
    """The connection's secrets, read anew. Raises ``ConfigError`` naming every one that is not there."""
    values: dict[str, str] = {}
    found: list[Finding] = []
    for name, ref in tenant.connection.secrets:
        try:
            values[name] = ref.read(os.environ if environ is None else environ)
        except SecretMissing as why:
            place = tenant.place("connection", "credentials", name)
            found.append(finding(UNRESOLVABLE, str(why), place))
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


def _pull_rules(parsed: TenantFile) -> PullRules:
    part = parsed.pull
    return PullRules(
        every_s=part.every_s,
        page_size=part.page_size,
        horizon_s=part.horizon_s,
        second_pass_s=part.second_pass_s,
        removed_every_s=part.removed_every_s,
        audit_every_s=part.audit_every_s,
        fields_every_s=part.fields_every_s,
    )


def _push_rules(parsed: TenantFile) -> PushRules:
    part = parsed.push
    return PushRules(batch=part.batch, attempts_max=part.attempts_max or 0, refuse_behind=part.after_parked == "refuse")


def _conflicts(parsed: TenantFile) -> Conflicts:
    part = parsed.conflicts
    fields = {name: ConflictRule(rule) for name, rule in part.fields.items()}
    return Conflicts(default=ConflictRule(part.default), fields=fields)


def _conflict_problems(parsed: TenantFile, dropped: frozenset[str], where: Any) -> list[Finding]:
    known = {*parsed.fields, *dropped}
    return [
        finding(
            "mapping.unknown-field",
            f"{name!r} is not mapped",
            where("conflicts", "fields", name, key=True),
            did_you_mean(name, known),
        )
        for name in parsed.conflicts.fields
        if name not in known
    ]


def _ordered(found: list[Finding]) -> list[Finding]:
    return sorted(found, key=lambda one: (one.place, one.code))
