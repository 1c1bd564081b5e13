"""The CRMs that the bridge can speak to: an explicit catalogue, nothing registers itself."""

from __future__ import annotations

from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

import msgspec

from sales_crm_adapters import hubspot, memory, rest

if TYPE_CHECKING:
    from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence

    from sales_crm_bridge.ports import CrmAdapter

__all__ = ["CATALOGUE", "CatalogueEntry", "CredentialKind", "OptionProblem"]


@dataclass(frozen=True, slots=True, kw_only=True)
class CredentialKind:
    """One way to sign in: the names of the secrets it needs, and of those it can use."""

    name: str
    title: str
    secrets: tuple[str, ...]
    optional: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class OptionProblem:
    """What is wrong with a connection's options, and where: ``path`` below ``options`` (empty: the whole).

    ``code`` is the finding's; ``key``: it is about the last key of the path, not about its value.
    """

    path: tuple[str | int, ...]
    message: str
    remedy: str
    code: str = "config.bad-value"
    key: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class CatalogueEntry:
    """One CRM.

    ``address``: where it is unless the tenant's file says otherwise ("" it must). ``accounts_unique``: an account's id is that of
    no other one, at whatever address. ``sandbox``: the name under which its local stand-in can be served ("" none). ``forms``:
    titles and options of the forms in which its capabilities differ. ``rights``: what the credentials must allow, and for what.
    ``options``: the model of its settings; ``build`` makes an adapter of them and of the CRM fields that the mapping reads.
    ``lint``: finds what is wrong with options that are more than flat settings, knowing the kind of credentials ("" unknown),
    the names of their secrets, and what the mapping calls the CRM's fields (None unknown).
    ``placed``: the settings, completed by what follows from the connection's address.
    """

    name: str
    title: str
    address: str
    credentials: tuple[CredentialKind, ...]
    sandbox: str
    forms: tuple[tuple[str, Mapping[str, object]], ...]
    rights: tuple[tuple[str, str], ...]
    options: type[msgspec.Struct]
    build: Callable[[Any, Sequence[str]], CrmAdapter]
    placed: Callable[[Any, str], Any] | None = None
    lint: (
        Callable[[Mapping[str, object], str, Collection[str] | None, Collection[str] | None], Iterable[rest.Mistake]]
        | None
    ) = None
    accounts_unique: bool = False

    def schema(self) -> dict[str, Any]:
        """JSON Schema of the options, with nothing outside itself."""
        (whole,), parts = msgspec.json.schema_components([self.options], ref_template="{name}")
        written: dict[str, Any] = _written_out(whole, parts)
        return written

    def definitions(self) -> dict[str, Any]:
        """The same by parts, for a document that keeps them under ``$defs``: ``<CRM>.Options`` is the whole."""
        _, parts = msgspec.json.schema_components([self.options], ref_template=f"#/$defs/{self.name}.{{name}}")
        return {f"{self.name}.{name}": part for name, part in parts.items()} | {
            f"{self.name}.Options": parts[self.options.__name__]
        }

    def problems(
        self,
        options: Mapping[str, object],
        credentials: str = "",
        secrets: Collection[str] | None = None,
        fields: Collection[str] | None = None,
    ) -> list[OptionProblem]:
        """Everything that is wrong with these options; empty when they are good.

        ``credentials``: the kind of them; ``secrets``: their names; ``fields``: the mapping's names of CRM fields; if known.
        """
        if self.lint is not None:
            return [OptionProblem(**one._asdict()) for one in self.lint(options, credentials, secrets, fields)]
        return list(self._problems(options))

    def _problems(self, options: Mapping[str, object]) -> Iterator[OptionProblem]:
        # One by one, since a conversion of the whole ends with its first problem.
        known = {field.encode_name: field for field in msgspec.structs.fields(self.options)}
        for name, value in options.items():
            if name not in known:
                remedy = f"use one of: {', '.join(sorted(known))}"
                yield OptionProblem(path=(str(name),), message=f"unknown option '{name}'", remedy=remedy)
                continue
            try:
                msgspec.convert(value, known[name].type)
            except msgspec.ValidationError as fault:
                schema = self.schema()["properties"][name]
                remedy = f"use one of: {', '.join(schema['enum'])}" if "enum" in schema else _remedy(schema)
                yield OptionProblem(path=(name,), message=str(fault), remedy=remedy)
        for name, field in known.items():
            if field.required and name not in options:
                yield OptionProblem(path=(), message=f"option '{name}' is missing", remedy=f"give '{name}'")

    def make(self, options: Mapping[str, object], crm_fields: Sequence[str], address: str = "") -> CrmAdapter:
        """An adapter for one connection at ``address``. Raises ``msgspec.ValidationError`` for options that have problems."""
        given = msgspec.convert(dict(options), self.options)
        return self.build(given if self.placed is None else self.placed(given, address), crm_fields)

    def makes(self, options: Mapping[str, object], crm_fields: Sequence[str], address: str = "") -> bool:
        """Whether ``make`` gives an adapter."""
        try:
            self.make(options, crm_fields, address)
        except Exception:  # noqa: BLE001 - whatever a declaration's compiler trips over: it makes none
            return False
        return True


def _written_out(schema: Any, parts: Mapping[str, Any]) -> Any:
    """A schema with every reference replaced by what it leads to; none of ours leads to itself."""
    if isinstance(schema, list):
        return [_written_out(member, parts) for member in schema]
    if not isinstance(schema, dict):
        return schema
    if "$ref" in schema:
        target = _written_out(parts[schema["$ref"]], parts)
        return {**target, **{name: value for name, value in schema.items() if name != "$ref"}}
    return {name: _written_out(member, parts) for name, member in schema.items()}


def _remedy(schema: Mapping[str, Any]) -> str:
    wanted = schema.get("pattern")
    return f"give {schema.get('type', 'a value')}{f' that fits {wanted}' if wanted else ''}"


_ENTRIES = (
    CatalogueEntry(
        name="hubspot",
        title="HubSpot",
        address="https://api.hubapi.com",
        credentials=(
            CredentialKind(
                name="token",
                title="private app token or service key",
                secrets=("token",),
                optional=("client_secret",),
            ),
            CredentialKind(
                name="oauth",
                title="OAuth app with a refresh token",
                secrets=("client_id", "client_secret", "refresh_token"),
            ),
        ),
        sandbox="hubspot",
        forms=(("contacts", {"object": "contacts"}), ("Lead object", {"object": "leads"})),
        rights=(
            ("crm.objects.contacts.read", "read contacts; their property definitions come with it"),
            ("crm.objects.contacts.write", "write contacts"),
            ("crm.objects.leads.read", "Lead object: read leads, their definitions and pipelines"),
            ("crm.objects.leads.write", "Lead object: write leads"),
        ),
        options=hubspot.Options,
        build=hubspot.HubSpot,
        # "The unique identifier for the HubSpot account", whichever data centre has it (account-info v3, `portalId`, 2026-03-30).
        accounts_unique=True,
    ),
    CatalogueEntry(
        name="memory",
        title="Memory CRM (for learning and tests)",
        address="",
        credentials=(CredentialKind(name="password", title="password", secrets=("password",)),),
        sandbox="",
        forms=(("", {}),),
        rights=(("leads:read", "read"), ("leads:write", "write")),
        options=memory.Options,
        build=memory.Memory,
    ),
    CatalogueEntry(
        name="rest",
        title="Any CRM with a REST API, declared in the tenant's file",
        address="",
        credentials=tuple(
            CredentialKind(name=name, title=title, secrets=secrets, optional=(*optional, "webhook_secret"))
            for name, title, secrets, optional in (
                ("token", "a static token in a header", ("token",), ()),
                (
                    "basic",
                    "HTTP basic; without a password where the CRM takes its key as the user",
                    ("username",),
                    ("password",),
                ),
                ("refresh_token", "OAuth 2 with a refresh token", ("client_id", "client_secret", "refresh_token"), ()),
                ("client_credentials", "OAuth 2 with client credentials", ("client_id", "client_secret"), ()),
                ("login", "a call that yields a token or a session", ("username", "password"), ()),
            )
        ),
        sandbox="",
        forms=(),
        rights=(
            ("as the CRM calls them", "read and write leads, and read their definitions if `check.fields` is declared"),
        ),
        options=rest.Options,
        build=rest.Rest,
        placed=rest.placed,
        lint=rest.lint,
    ),
)

CATALOGUE: Mapping[str, CatalogueEntry] = MappingProxyType({entry.name: entry for entry in _ENTRIES})
"""Every CRM by the name that a tenant's file says under ``adapter``."""
