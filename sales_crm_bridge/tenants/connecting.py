"""A tenant's connection: which CRM, which account, which credentials, and every problem of them."""

from __future__ import annotations

import ipaddress
import re
from collections.abc import Mapping as Mapped
from typing import TYPE_CHECKING, Any, Protocol
from urllib.parse import urlsplit

from sales_crm_bridge.findings import did_you_mean, finding
from sales_crm_bridge.secret_refs import SecretMissing, is_reference, reference
from sales_crm_bridge.tenants.values import Connection, Limits

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Sequence

    from sales_crm_bridge.errors import Finding, Place
    from sales_crm_bridge.secret_refs import SecretRef
    from sales_crm_bridge.tenants.file import ConnectionPart, TenantFile


class CredentialKind(Protocol):
    """One way to sign in, as the catalogue tells it."""

    @property
    def name(self) -> str:
        """What ``credentials.kind`` says."""
        ...

    @property
    def secrets(self) -> tuple[str, ...]:
        """Names that must be given."""
        ...

    @property
    def optional(self) -> tuple[str, ...]:
        """Names that may be given."""
        ...


class OptionProblem(Protocol):
    """What is wrong with a connection's options."""

    @property
    def path(self) -> tuple[str | int, ...]:
        """Where, below ``options``."""
        ...

    @property
    def code(self) -> str:
        """The finding's code."""
        ...

    @property
    def key(self) -> bool:
        """Whether it is about the key at ``path``, not about its value."""
        ...

    @property
    def message(self) -> str:
        """What."""
        ...

    @property
    def remedy(self) -> str:
        """What to do."""
        ...


class Entry(Protocol):
    """What a tenant's file must know of one CRM."""

    @property
    def address(self) -> str:
        """Where the CRM is; "" the file must say."""
        ...

    @property
    def accounts_unique(self) -> bool:
        """Whether an account's id means the same account at whatever address."""
        ...

    @property
    def credentials(self) -> Sequence[CredentialKind]:
        """The ways to sign in."""
        ...

    def problems(
        self,
        options: Mapped[str, object],
        credentials: str = "",
        secrets: Collection[str] | None = None,
        fields: Collection[str] | None = None,
    ) -> Sequence[OptionProblem]:
        """What is wrong with these options of a connection whose ``credentials`` are of this kind ("" unknown).

        ``secrets``: the names of its secrets; ``fields``: the CRM fields that the mapping names; None: they are not known.
        """
        ...

    def makes(self, options: Mapped[str, object], crm_fields: Sequence[str], address: str) -> bool:
        """Whether an adapter can be made of these options, whatever is wrong with them."""
        ...


_LABEL = re.compile(r"(?!-)[\w-]{1,63}(?<!-)")

Catalogue = Mapped[str, Any]
"""Adapter name → ``Entry``, handed in: nothing here imports an adapter."""


def connection_of(
    parsed: TenantFile,
    catalogue: Catalogue,
    where: Any,
    environ: Mapped[str, str] | None,
    *,
    accepted: bool = False,
    fields: Collection[str] | None = None,
) -> tuple[Connection, list[Finding]]:
    """The connection as the file says it, and everything that is wrong with it.

    ``environ``: where ``env:`` references lead; None: no reference is followed, so no secret is missed.
    ``accepted``: the file is in force already, and stays so (rule 17): that a host is none, or what else is wrong with options of
    which an adapter can be made all the same, is found in new files alone.
    ``fields``: the CRM fields that the mapping names; None: it is not whole.
    """
    part = parsed.connection
    entry: Entry | None = catalogue.get(part.adapter)
    found: list[Finding] = []
    if entry is None:
        remedy = f"use one of: {', '.join(sorted(catalogue))}"
        near = did_you_mean(part.adapter, catalogue)
        place = where("connection", "adapter")
        found.append(finding("config.unknown-crm", f"unknown CRM {part.adapter!r}", place, near or remedy))
    address = (part.address or (entry.address if entry is not None else "")).rstrip("/")
    if not address and entry is not None:
        found.append(
            finding("config.missing-key", "this CRM has no address of its own", where("connection"), "add 'address'")
        )
    if not accepted:
        found += _host_problems(part, address, where)
        found += _reserve_problems(part, where)
    refs: tuple[tuple[str, SecretRef], ...] = ()
    if entry is not None:
        refs, problems = _credentials(part.credentials, entry, where, environ)
        found += problems
        kinds = {kind.name: kind for kind in entry.credentials}
        kind = str(part.credentials.get("kind", ""))
        given = {*kinds[kind].secrets, *part.credentials} - {"kind"} if kind in kinds and not accepted else None
        wrong = entry.problems(part.options, kind if kind in kinds else "", given, fields)
        if accepted and wrong and entry.makes(part.options, sorted(fields or ()), address):
            wrong = ()
        for problem in wrong:
            place = where("connection", "options", *problem.path, key=problem.key)
            found.append(finding(problem.code, problem.message, place, problem.remedy))
    limits = part.limits
    connection = Connection(
        name=part.name or part.adapter,
        adapter=part.adapter,
        address=address,
        account=part.account,
        credentials_kind=str(part.credentials.get("kind", "")),
        secrets=refs,
        allow_hosts=tuple(part.allow_hosts),
        limits=Limits(
            per_second=limits.per_second,
            per_day=limits.per_day or 0,
            reserve_per_day=limits.reserve_per_day,
            in_flight=limits.in_flight,
        ),
        options=part.options,
        sign_in_address=part.sign_in_address.rstrip("/"),
    )
    return connection, found


def _host_problems(part: ConnectionPart, address: str, where: Any) -> Iterator[Finding]:
    if address:
        yield from _address_problems(address, part.allow_hosts, where("connection", "address"))
    if part.sign_in_address:
        yield from _address_problems(part.sign_in_address, part.allow_hosts, where("connection", "sign_in_address"))
    for index, host in enumerate(part.allow_hosts):
        if not _is_host(host):
            place = where("connection", "allow_hosts", index)
            yield finding("config.bad-host", f"{host!r} is not the name or the address of one host", place)


def _reserve_problems(part: ConnectionPart, where: Any) -> Iterator[Finding]:
    """A day of which nothing is ours: every call would wait for a midnight that brings nothing."""
    limits = part.limits
    if limits.per_day and limits.reserve_per_day >= limits.per_day:
        place = where("connection", "limits", "reserve_per_day")
        message = f"a reserve of {limits.reserve_per_day} leaves the bridge none of {limits.per_day} calls a day"
        yield finding("config.bad-value", message, place, "leave the others less than `per_day`")


def secrets_referred_to(credentials: object) -> tuple[SecretRef, ...]:
    """The references in a file's ``credentials``, whatever these are."""
    given = credentials.values() if isinstance(credentials, dict) else ()
    return tuple(reference(text) for text in given if isinstance(text, str) and is_reference(text))


def _address_problems(address: str, allowed: Sequence[str], place: Place) -> list[Finding]:
    try:
        parts = urlsplit(address)
        host, port = parts.hostname, parts.port
    except ValueError:
        return [finding("config.bad-address", "not an address", place)]
    if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment or parts.username:
        return [finding("config.bad-address", "not a plain https address", place)]
    if not _is_host(host) or port == 0 or any(sign.isspace() for sign in address):
        return [finding("config.bad-address", f"there can be no host at {address!r}", place)]
    if parts.scheme == "http" and _bare(host) not in map(_bare, allowed):
        remedy = f"use https, or name {host!r} under `allow_hosts` if it is a host of your own"
        return [finding("config.bad-address", "http: sends credentials in the clear", place, remedy)]
    return []


def _is_host(text: str) -> bool:
    """Whether ``text`` can be the name (in any script) or the address of one host."""
    host = _bare(text)
    try:
        ipaddress.ip_address(host)
    except ValueError:
        labels = host.split(".")
        return all(map(_LABEL.fullmatch, labels)) and not labels[-1].isdigit()  # numbers alone would be an address
    return True


def _bare(host: str) -> str:
    """``host`` as hosts are compared: see ``rim.hosts``."""
    return host.strip("[]").rstrip(".").lower()


def _credentials(
    given: Mapped[str, str],
    entry: Entry,
    where: Any,
    environ: Mapped[str, str] | None,
) -> tuple[tuple[tuple[str, SecretRef], ...], list[Finding]]:
    found: list[Finding] = []
    kinds = {kind.name: kind for kind in entry.credentials}
    kind = kinds.get(given.get("kind", ""))
    if kind is None:
        place = where("connection", "credentials", "kind")
        remedy = f"use one of: {', '.join(sorted(kinds))}"
        return (), [finding("config.bad-value", "not a kind of credentials of this CRM", place, remedy)]
    refs: list[tuple[str, SecretRef]] = []
    for name in kind.secrets:
        if name not in given:
            place = where("connection", "credentials")
            found.append(finding("config.missing-key", f"the secret {name!r} is missing", place, f"add {name!r}"))
    for name, text in given.items():
        place = where("connection", "credentials", name)
        if name == "kind":
            continue
        if name not in (*kind.secrets, *kind.optional):
            key = where("connection", "credentials", name, key=True)
            near = did_you_mean(name, (*kind.secrets, *kind.optional))
            found.append(finding("config.unknown-key", f"unknown secret {name!r}", key, near))
        elif not is_reference(text):
            code = "config.bad-reference" if text.startswith(("env:", "file:")) else "config.plain-secret"
            found.append(finding(code, f"{name!r} is not a reference", place))
        else:
            ref = reference(text)
            refs.append((name, ref))
            if environ is not None:
                try:
                    ref.read(environ)
                except SecretMissing as why:
                    found.append(finding("config.unresolvable-secret", str(why), place))
    return tuple(refs), found
