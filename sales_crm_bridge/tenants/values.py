"""A tenant in force, as frozen values."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from sales_crm_bridge.errors import Place
from sales_crm_bridge.gate import Ownership, Span
from sales_crm_bridge.model import Owner

if TYPE_CHECKING:
    from collections.abc import Mapping as Mapped

    from sales_crm_bridge.mapping import Mapping
    from sales_crm_bridge.secret_refs import SecretRef


_PORTS = {"http": 80, "https": 443}


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """What the bridge may ask of the account; ``per_day`` 0: the CRM says."""

    per_second: float
    per_day: int
    reserve_per_day: int
    in_flight: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Connection:
    """A tenant's account at one CRM.

    ``secrets``: name → where it is; ``options``: checked by the adapter. ``sign_in_address`` "": as ``address``.
    """

    name: str
    adapter: str
    address: str
    account: str
    credentials_kind: str
    secrets: tuple[tuple[str, SecretRef], ...]
    allow_hosts: tuple[str, ...]
    limits: Limits
    options: Mapped[str, object]
    sign_in_address: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class UsedAccount:
    """The account that a file's connection uses; ``anywhere``: its id means it at whatever address."""

    connection: str
    adapter: str
    address: str
    account: str
    anywhere: bool = False

    @property
    def key(self) -> tuple[str, str, str]:
        """What no two tenants may share, however they write it: all calls to one account come from one holder of one lease."""
        return (self.adapter, "" if self.anywhere else _one_way(self.address), self.account)


def _one_way(address: str) -> str:
    """Host, port and path of an address, written in one way: one CRM has one, with or without a default port or a last dot."""
    try:
        parts = urlsplit(address.strip())
        host = (parts.hostname or "").rstrip(".").encode("idna").decode()
        port = "" if parts.port in (None, _PORTS.get(parts.scheme)) else f":{parts.port}"
    except ValueError:
        return address
    return f"{host}{port}{parts.path.rstrip('/').lower()}"


@dataclass(frozen=True, slots=True, kw_only=True)
class PullRules:
    """How the CRM's changes are read; see the file's ``pull``."""

    every_s: float
    page_size: int
    horizon_s: float
    second_pass_s: float
    removed_every_s: float
    audit_every_s: float
    fields_every_s: float


@dataclass(frozen=True, slots=True, kw_only=True)
class PushRules:
    """How commands are carried out; ``attempts_max`` 0: the deployment's."""

    batch: int
    attempts_max: int
    refuse_behind: bool


class ConflictRule(enum.StrEnum):
    """Who wins when both sides changed a field. HOLD: the CRM's value stays, and a person is asked."""

    CRM = "crm"
    DOMAIN = "domain"
    NEWEST = "newest"
    HOLD = "hold"


@dataclass(frozen=True, slots=True, kw_only=True)
class Conflicts:
    """The conflict rules, by Sales field."""

    default: ConflictRule
    fields: Mapped[str, ConflictRule]

    def rule(self, name: str) -> ConflictRule:
        """The rule of a Sales field."""
        return self.fields.get(name, self.default)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outline:
    """What a file is compared by, with the other files and with what was accepted; known of a file with mistakes, too.

    ``tenant`` "", ``spans`` None and ``account`` None: it cannot be told. ``digest``: of its text. ``retired_us`` > 0: since when
    its tenant is out of force.
    """

    tenant: str
    file: str
    digest: str
    spans: tuple[Span, ...] | None
    account: UsedAccount | None
    places: Mapped[tuple[str, ...], Place] = field(repr=False)
    retired_us: int = 0

    @property
    def ownership(self) -> Ownership:
        """Who owns the tenant's leads. Where that cannot be told of a retired tenant, they are the domain's."""
        spans = self.spans or (Span(owner=Owner.DOMAIN, from_us=self.retired_us),)
        return Ownership(tenant=self.tenant, spans=spans, retired_us=self.retired_us)

    def place(self, *route: str) -> Place:
        """Where the value at ``route`` stands, or the nearest that encloses it."""
        while route and route not in self.places:
            route = route[:-1]
        return self.places.get(route) or Place(file=self.file)


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenant:
    """One tenant's file, accepted: ``text`` is the whole of it, ``digest`` of it."""

    tenant: str
    file: str
    text: str
    digest: str
    ownership: Ownership
    connection: Connection
    mapping: Mapping
    pull: PullRules
    push: PushRules
    conflicts: Conflicts
    outline: Outline

    def place(self, *route: str) -> Place:
        """Where the value at ``route`` stands, or the nearest that encloses it."""
        return self.outline.place(*route)
