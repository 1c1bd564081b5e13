"""Requests with variables in them, compiled once.

A text that is one ``{variable}`` alone becomes the variable's value as JSON; in a longer text it becomes text (a list: its
members with commas between). ``{{`` and ``}}`` are braces. What holds a variable that has no value now is left out: the parameter,
the header, the member of a mapping; a list that holds it vanishes as a whole. Values are never looked at for variables, so data
cannot become a template.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING, Any
from urllib.parse import quote, urlencode

import msgspec

from sales_crm_bridge.model import Effect, HttpCall

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sales_crm_adapters.rest.notions import Common, Request

_PIECES = re.compile(r"\{\{|\}\}|\{([^{}]*)\}|[{}]")
_VARIABLE = re.compile(r"[a-z_]+(\.[^{}]+)?")
NOTHING: Any = msgspec.UNSET
"""A variable without a value."""

_encode = msgspec.json.Encoder().encode
_PRINTABLE = "".join(chr(code) for code in range(0x20, 0x7F))


class BadTemplate(ValueError):
    """A text that is no template; says why."""


def parts_of(text: str) -> Iterator[tuple[bool, str]]:
    """The parts of a text: (is a variable, its name or the plain text). Raises ``BadTemplate``."""
    at = 0
    for found in _PIECES.finditer(text):
        if found.start() > at:
            yield False, text[at : found.start()]
        at = found.end()
        piece = found[0]
        if piece in ("{{", "}}"):
            yield False, piece[0]
        elif piece in ("{", "}"):
            raise BadTemplate(f"a single {piece!r}; write it twice if it is meant as text")
        elif _VARIABLE.fullmatch(found[1]) is None:
            raise BadTemplate(f"{piece} is no variable")
        else:
            yield True, found[1]
    if at < len(text):
        yield False, text[at:]


def variables(value: Any) -> Iterator[str]:
    """Every variable that a value names, wherever in it. Raises ``BadTemplate``."""
    if isinstance(value, str):
        yield from (name for is_variable, name in parts_of(value) if is_variable)
    elif isinstance(value, dict):
        for member in value.values():
            yield from variables(member)
    elif isinstance(value, list):
        for member in value:
            yield from variables(member)


def named_in_request(request: Request) -> set[str]:
    """Every variable that a request names. Raises ``BadTemplate``."""
    parts = (request.path, request.query, request.headers, request.body, request.form)
    return {name for part in parts for name in variables(part)}


class Template:
    """A value with variables in it."""

    def __init__(self, value: Any) -> None:
        self._value = value
        self._parts: tuple[tuple[bool, str], ...] = tuple(parts_of(value)) if isinstance(value, str) else ()
        self._whole = self._parts[0][1] if len(self._parts) == 1 and self._parts[0][0] else ""
        self._members: dict[str, Template] = {}
        self._items: list[Template] = []
        if isinstance(value, dict):
            self._members = {str(name): Template(member) for name, member in value.items()}
        elif isinstance(value, list):
            self._items = [Template(member) for member in value]
        self._varies = next(variables(value), None) is not None
        if isinstance(value, str) and not self._varies:
            self._value = "".join(text for _, text in self._parts)

    def render(self, given: Mapping[str, Any]) -> Any:
        """The value, or ``NOTHING``."""
        if isinstance(self._value, dict):
            made = {name: member.render(given) for name, member in self._members.items()}
            return {name: member for name, member in made.items() if member is not NOTHING}
        if isinstance(self._value, list):
            items = [member.render(given) for member in self._items]
            return NOTHING if any(item is NOTHING for item in items) else items
        if not self._varies:
            return self._value
        if self._whole:
            return given.get(self._whole, NOTHING)
        return self.text(given)

    def text(self, given: Mapping[str, Any], *, quoted: bool = False) -> Any:
        """The value as text (``quoted``: what comes from variables is percent-encoded), or ``NOTHING``."""
        if not self._parts:
            return self._value if isinstance(self._value, str) else plain(self._value)
        told: list[str] = []
        for is_variable, name in self._parts:
            value: Any = given.get(name, NOTHING) if is_variable else name
            if value is NOTHING or value is None:
                return NOTHING
            text = plain(value)
            told.append(_quoted(text) if quoted and is_variable else text)
        return "".join(told)


def _quoted(text: str) -> str:
    """One step of a path; never one that leads upwards."""
    if text.isascii() and text.isalnum():
        return text
    return quote(text, safe="") if text.strip(".") else text.replace(".", "%2E")


def plain(value: Any) -> str:
    """A JSON value as the text that stands in a query or a header."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ",".join(plain(member) for member in value)
    if isinstance(value, dict):
        return _encode(value).decode()
    return "" if value is None else str(value)


class Calls:
    """One request of a declaration, ready to be filled in: ``common`` is under it."""

    def __init__(self, request: Request, common: Common, effect: Effect) -> None:
        has_body = request.body is not None
        self._effect = effect
        self._path = Template(request.path)
        self._query = [
            (name, Template(value), isinstance(value, list))
            for name, value in {**common.query, **request.query}.items()
        ]
        self._headers = Template({**common.headers, **request.headers})
        body = deep(common.body, request.body) if has_body and isinstance(request.body, dict) else request.body
        self._body = Template(body) if has_body else None
        self._form = [(name, Template(value), isinstance(value, list)) for name, value in (request.form or {}).items()]
        self._has_form = request.form is not None
        self._method = request.method or ("POST" if has_body or request.form is not None else "GET")
        self._budget = request.budget

    def call(self, given: Mapping[str, Any]) -> HttpCall:
        """The call with these values."""
        body, kind = b"", "application/json"
        if self._body is not None:
            value = self._body.render(given)
            body = b"" if value is NOTHING else _encode(value)
        elif self._has_form:
            pairs = _pairs(self._form, given)
            body, kind = urlencode(pairs).encode(), "application/x-www-form-urlencoded"
        headers = self._headers.render(given)
        return HttpCall(
            method=self._method,
            path=self._path.text(given, quoted=True),
            effect=self._effect,
            query=tuple(_pairs(self._query, given)),
            headers=tuple((name, quote(plain(value), safe=_PRINTABLE)) for name, value in headers.items()),
            body=body,
            content_type=kind,
            budget=self._budget,
        )


def _pairs(members: Sequence[tuple[str, Template, bool]], given: Mapping[str, Any]) -> list[tuple[str, str]]:
    """Parameters; one that the declaration writes as a list is repeated for each of its members."""
    pairs: list[tuple[str, str]] = []
    for name, template, repeated in members:
        value = template.render(given)
        if value is NOTHING or value is None:
            continue
        many = [one for part in value for one in (part if isinstance(part, list) else [part])] if repeated else [value]
        pairs += [(name, plain(one)) for one in many]
    return pairs


def deep(under: Mapping[str, Any], over: Mapping[str, Any]) -> dict[str, Any]:
    """``over`` laid upon ``under``, mapping by mapping."""
    merged = dict(under)
    for name, value in over.items():
        below = merged.get(name)
        merged[name] = deep(below, value) if isinstance(below, dict) and isinstance(value, dict) else value
    return merged
