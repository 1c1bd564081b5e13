"""The words that are known to be harmless: those of the program, and those that a tenant's file uses."""

from __future__ import annotations

import ast
from functools import cache
from importlib.resources import files
from typing import TYPE_CHECKING, Any

from ruamel.yaml import YAML

from sales_crm_bridge import contract, wiring

if TYPE_CHECKING:
    from collections.abc import Iterator
    from importlib.resources.abc import Traversable

    from sales_crm_bridge.tenants import Tenant

ADAPTERS = "sales_crm_adapters"
SECTIONS = ("fields", "create", "tenant")
"""Parts of a tenant's file whose words are names and values of the CRM's fields."""


def words_of(tenant: Tenant) -> frozenset[str]:
    """Whole values that may stay, for a recording of ``tenant``."""
    document = YAML(typ="safe", pure=True).load(tenant.text)
    connection = tenant.connection
    parts = [document.get(name) for name in SECTIONS]
    feeds = [feed.name for feed in wiring.adapter_of(tenant).feeds()]
    names = [connection.name, connection.adapter, connection.account, f"{tenant.tenant}/{connection.name}"]
    parts += [*names, *feeds, *(f"{name}/late" for name in feeds), dict(connection.options)]
    fields = [*tenant.mapping.crm_fields, *(name.rpartition(".")[2] for name in tenant.mapping.crm_fields)]
    return program_words(connection.adapter) | frozenset(_texts(parts)) | frozenset(fields)


DECLARED = frozenset(
    {"id", "key", "version", "modified", "created", "deleted", "removed", "token", "last", "into", "merged"}
)
"""Keys of a declared CRM's options that say where ids, versions and times stand."""


def places_of(tenant: Tenant) -> frozenset[str]:
    """The names under which the tenant's file says that ids, versions and times stand; none where an adapter knows them."""
    return frozenset(_places(dict(tenant.connection.options), known=False))


def _places(value: Any, *, known: bool) -> Iterator[str]:
    match value:
        case dict():
            for key, inner in value.items():
                yield from _places(inner, known=key in DECLARED or (known and key == "at"))
        case list() | tuple():
            for inner in value:
                yield from _places(inner, known=known)
        case str() if known:
            yield value.rpartition(".")[2]
        case _:
            return


def _texts(value: Any) -> Iterator[str]:
    match value:
        case dict():
            for key, inner in value.items():
                yield str(key)
                yield from _texts(inner)
        case list() | tuple() | frozenset():
            for inner in value:
                yield from _texts(inner)
        case str() | int() | float():
            yield str(value)
        case _:
            return


@cache
def program_words(adapter: str) -> frozenset[str]:
    """What the adapter compares with or sends, letter for letter in its own text, and the names of the contract."""
    return frozenset(_literals(files(ADAPTERS).joinpath(adapter))) | frozenset(_contract())


def _literals(place: Traversable, without: tuple[str, ...] = ()) -> Iterator[str]:
    for file in place.iterdir():
        if file.is_dir() and file.name not in without:
            yield from _literals(file)
        elif file.name.endswith(".py"):
            for node in ast.walk(ast.parse(file.read_text(encoding="utf-8"))):
                if isinstance(node, ast.Constant) and isinstance(node.value, str) and " " not in node.value:
                    yield node.value


def _contract() -> Iterator[str]:
    """Names of the fields, of the enumerations' values, and of the schema."""
    yield contract.SCHEMA_VERSION
    for message in (contract.SalesDomainIntent, contract.SalesIntegrationFact):
        for file in (message.DESCRIPTOR.file, *message.DESCRIPTOR.file.dependencies):
            yield from (value.name for kind in file.enum_types_by_name.values() for value in kind.values)
    for name in contract.LEAD_FIELDS:
        yield name
        head, *rest = name.split("_")
        yield head + "".join(word.capitalize() for word in rest)  # as a field mask has it in JSON
    yield from ("Lead", "CrmConnection", contract.PRODUCER)


@cache
def fact_words() -> frozenset[str]:
    """What facts say besides: the names of the feeds and codes that the adapters and the bridge itself use."""
    return frozenset(
        word
        for place in (files(ADAPTERS), files("sales_crm_bridge"))
        for word in _literals(place, ("pb", "sandbox", "demo", "simulate"))
    )
