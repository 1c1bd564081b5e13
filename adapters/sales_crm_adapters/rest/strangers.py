"""Names in a declaration that nobody gives: secrets that the credentials lack, CRM fields that no mapping reads or writes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from sales_crm_adapters.rest.paths import path_of
from sales_crm_adapters.rest.records import key_within
from sales_crm_adapters.rest.structure import Mistake, Route, contradiction, members_of
from sales_crm_adapters.rest.templates import variables

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping

    from sales_crm_adapters.rest.about_us import SignIn
    from sales_crm_adapters.rest.options import WritePart


def strangers(
    parts: Mapping[str, Any], secrets: Collection[str] | None, fields: Collection[str] | None
) -> Iterator[Mistake]:
    """Names of secrets and of CRM fields that are not among those given; None: it is not known which there are."""
    for name, part in parts.items():
        for route, variable in _named(part, (name,)):
            kind, _, called = variable.partition(".")
            known = {"secret": secrets, "field": fields}.get(kind)
            if known is not None and called not in known:
                said = f"there is no {kind} {called!r}"
                yield Mistake(route, "rest.unknown-variable", said, _one_of(known, kind))
    if fields is not None and parts.get("record") is not None:
        record = parts["record"]
        ours = {".".join(key_within(record)), ".".join(path_of(record.key or ""))}
        for name in record.options:
            if name not in fields and name not in ours:
                said = f"no field of the mapping is called {name!r} in the CRM"
                yield Mistake(
                    ("record", "options", name), "config.unknown-key", said, _one_of(fields, "field"), key=True
                )
    if fields is not None and "write" in parts:
        yield from _calls(parts["write"], fields)
    if "sign_in" in parts:
        yield from _login(parts["sign_in"])


def _one_of(known: Collection[str], kind: str) -> str:
    if known:
        return f"use one of: {', '.join(sorted(known))}"
    return "map it first" if kind == "field" else "give it under `credentials`"


def _calls(part: WritePart, fields: Collection[str]) -> Iterator[Mistake]:
    for at, extra in enumerate(part.calls):
        here: Route = ("write", "calls", at)
        told = [((*here, "when", name), name, True) for name in extra.when]
        told += [((*here, "takes", number), name, False) for number, name in enumerate(extra.takes)]
        for route, name, is_key in told:
            if name not in fields:
                code = "config.unknown-key" if is_key else "config.bad-value"
                said = f"no field of the mapping is called {name!r} in the CRM"
                yield Mistake(route, code, said, _one_of(fields, "field"), key=is_key)


def _login(part: SignIn) -> Iterator[Mistake]:
    if part.login is not None and not any(name.startswith("secret.") for _, name in _named(part.login, ())):
        yield contradiction(
            ("sign_in", "login"), "a sign-in without a secret", "name {secret.<name>} in its body or form"
        )


def _named(value: Any, route: Route) -> Iterator[tuple[Route, str]]:
    """Every variable of secrets and fields in templates below a part, with where it stands."""
    match value:
        case str():
            yield from ((route, name) for name in _found(value) if name.startswith(("secret.", "field.")))
        case msgspec.Struct():
            for field in members_of(type(value)):
                yield from _named(getattr(value, field.name), (*route, field.encode_name))
        case dict():
            for name, member in value.items():
                yield from _named(member, (*route, name))
        case list():
            for at, member in enumerate(value):
                yield from _named(member, (*route, at))
        case _:
            pass


def _found(text: str) -> list[str]:
    try:
        return list(variables(text))
    except ValueError:
        return []  # a text that is no template, such as a test's value
