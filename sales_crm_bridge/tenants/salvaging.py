"""What can still be checked of a file that breaks the models, so that its other mistakes are told in the same breath."""

from __future__ import annotations

import copy
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from sales_crm_bridge.tenants.file import TenantFile

if TYPE_CHECKING:
    from collections.abc import Sequence

_ROUNDS = 8
_STAND_INS: dict[str, Any] = {
    "tenant": "unnamed",
    "leads": [{"owner": "domain", "from": "1970-01-01T00:00:00Z"}],
    "connection": {"adapter": "", "account": "unknown", "credentials": {}},
    "fields": {"email": "email"},
}
"""What takes the place of a required part that is broken; it is not checked further."""

_OWN_DEFAULT = frozenset({"limits", "allow_hosts", "name", "address", "sign_in_address"})


@dataclass(frozen=True, slots=True, kw_only=True)
class Salvage:
    """``parsed``: the file without its broken parts. ``broken``: sections that stand in; ``dropped``: fields that are missing."""

    parsed: TenantFile
    broken: frozenset[str]
    dropped: frozenset[str]


def salvage(value: dict[str, Any], error: ValidationError) -> Salvage | None:
    """The good parts of a file that did not validate; None when not even they can be told apart."""
    rest = copy.deepcopy(value)
    broken: set[str] = set()
    dropped: set[str] = set()
    for _ in range(_ROUNDS):
        for detail in error.errors(include_url=False, include_input=False):
            _prune(rest, detail["loc"], detail["type"], broken, dropped)
        try:
            parsed = TenantFile.model_validate(rest)
        except ValidationError as again:
            error = again
            continue
        return Salvage(parsed=parsed, broken=frozenset(broken), dropped=frozenset(dropped))
    return None


def _prune(rest: dict[str, Any], route: Sequence[str | int], kind: str, broken: set[str], dropped: set[str]) -> None:
    """Take out the smallest part that holds the mistake and can be missing."""
    section = str(route[0]) if route else ""
    inside = rest.get(section)
    if len(route) > 1 and isinstance(inside, dict):
        name = str(route[1])
        if section == "fields":
            entry = inside.get(name)
            if kind == "extra_forbidden" and isinstance(entry, dict):
                entry.pop(str(route[-1]), None)
                return
            inside.pop(name, None)
            dropped.add(name)
            if inside:
                return
        elif section == "connection" and (kind == "extra_forbidden" or name in _OWN_DEFAULT):
            inside.pop(name, None)
            return
        elif section == "conflicts" and name == "fields" and len(route) > 2 and isinstance(inside.get(name), dict):  # noqa: PLR2004 - a route of three goes to one field
            inside[name].pop(route[2], None)
            return
        elif section in ("conflicts", "create"):
            inside.pop(name, None)
            return
        elif section == "connection" and name == "account":
            inside[name] = _STAND_INS["connection"]["account"]
            return
    broken.add(section)
    if section in _STAND_INS:
        rest[section] = copy.deepcopy(_STAND_INS[section])
    else:
        rest.pop(section, None)
