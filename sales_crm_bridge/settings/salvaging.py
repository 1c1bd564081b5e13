"""What can still be used of settings that the models refuse, so that their other mistakes are told in the same breath."""

from __future__ import annotations

import copy
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from sales_crm_bridge.problems import routes_of
from sales_crm_bridge.settings.calls import Rpc, Tokens
from sales_crm_bridge.settings.models import Settings
from sales_crm_bridge.settings.sources import Route

if TYPE_CHECKING:
    from collections.abc import Collection


def salvage(values: dict[str, Any], error: ValidationError) -> tuple[Settings, tuple[Route, ...]]:
    """The settings without what ``error`` says of ``values``, with defaults in its place; and where they are."""
    rest = copy.deepcopy(values)
    gone = [_cut(rest, route) for route in routes_of(error)]
    try:
        settings = Settings(**rest)
    except ValidationError as again:  # what was cut out was needed by what is around it
        gone += [_cut(rest, route[:1]) for route in routes_of(again)]
        settings = Settings(**rest)
    if any(route[:1] == ("rpc",) for route in gone) and isinstance(values["rpc"], dict):
        settings = settings.model_copy(update={"rpc": _naming_files(values["rpc"])})
    return settings, tuple(dict.fromkeys(route for route in gone if route))


def touches(route: Route, others: Collection[Route]) -> bool:
    """Whether ``route`` leads to, into or past one of ``others``."""
    return any(route[: len(other)] == other[: len(route)] for other in others)


def _cut(rest: dict[str, Any], route: Route) -> Route:
    """Take out the value at ``route``, or the smallest entry of a mapping that holds it; gives where that was (``()``: gone)."""
    at: list[Any] = []
    inside: Any = rest
    for step in route:
        if not isinstance(inside, dict) or step not in inside:
            break
        at.append(step)
        inside = inside[step]
    inside = rest
    for step in at[:-1]:
        inside = inside[step]
    if at:
        del inside[at[-1]]
    return tuple(at)


def _naming_files(part: dict[str, Any]) -> Rpc:
    """Settings of calls that are good for nothing but looking at the files that they name."""
    files = {name: part.get(name) for name in ("certificate_file", "key_file", "client_ca_file")}
    named: dict[str, Any] = {name: file for name, file in files.items() if isinstance(file, str)}
    tokens = part.get("tokens")
    if isinstance(tokens, dict) and isinstance(tokens.get("keys_file"), str):
        named["tokens"] = Tokens.model_construct(keys_file=tokens["keys_file"], issuer="", audience="")
    transport = part.get("transport")
    return Rpc.model_construct(**named, transport=transport if transport in ("tls", "insecure") else "off")
