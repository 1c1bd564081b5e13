"""Every mistake of a declaration at once: of form, of paths and templates, and what contradicts itself.

A section that has mistakes of form is looked at no further; what hangs on it is then not judged.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from sales_crm_adapters.rest import options as language
from sales_crm_adapters.rest.checks import is_status_word
from sales_crm_adapters.rest.contradictions import contradictions
from sales_crm_adapters.rest.options import Aside, Options, Request
from sales_crm_adapters.rest.paths import BadPath, path_of, paths_of
from sales_crm_adapters.rest.structure import Mistake, Route, mistakes
from sales_crm_adapters.rest.templates import BadTemplate, variables
from sales_crm_adapters.rest.times import known_zone

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

PARTS = ("path", "query", "headers", "body", "form")
_WRITE = ("id", "key", "version", "fields", "operation", "trace", "names")
_PAGING = ("limit", "page", "offset", "cursor", "after", "names")
_VARIABLES: Mapping[type, Sequence[str]] = {
    language.Login: ("secret.",),
    language.AllList: _PAGING,
    language.ChangesList: (*_PAGING, "since", "until"),
    language.RemovedList: (*_PAGING, "since", "until"),
    language.ReadOne: ("id", "names"),
    language.ReadMany: ("ids", "names"),
    language.ReadKey: ("key", "names"),
    language.WriteCall: (*_WRITE, "field."),
    language.Holder: (*_WRITE, "field."),
    language.BatchCall: ("items", "names"),
    language.Request: (*_WRITE, "field."),
    language.AccountCall: ("names",),
    language.FieldsCall: ("names",),
    language.Right: ("names",),
}
"""Which variables each kind of request knows; one that ends with a dot is the beginning of many."""

_ALWAYS = frozenset({"id", "key", "limit", "names", "operation", "trace", "offset", "page"})
"""Variables that always have a value, so that a path can stand on them."""



def lint(options: Mapping[str, object], credentials: str) -> Iterator[Mistake]:
    """What is wrong with the options of a connection whose credentials are of this kind ("" unknown)."""
    found = list(mistakes(Options, dict(options)))
    yield from found
    broken = {one.path[0] for one in found if one.path}
    parts: dict[str, Any] = {}
    for field in msgspec.structs.fields(Options):
        name = field.encode_name
        if name in options and name not in broken:
            parts[name] = msgspec.convert(options[name], field.type)
        elif name not in options and not field.required:
            parts[name] = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    spoilt = False
    for name, part in parts.items():
        for mistake in _walk(part, (name,)):
            spoilt = True
            yield mistake
    if not spoilt:
        yield from contradictions(parts, credentials)


def _walk(value: Any, route: Route) -> Iterator[Mistake]:
    """The mistakes of every path, template and status word below ``value``."""
    if isinstance(value, list):
        for at, member in enumerate(value):
            yield from _walk(member, (*route, at))
    elif isinstance(value, dict):
        for name, member in value.items():
            yield from _walk(member, (*route, name))
    elif isinstance(value, msgspec.Struct):
        yield from _own(value, route)
        for field in msgspec.structs.fields(type(value)):
            if field.name not in PARTS or not isinstance(value, Request | language.Common):
                yield from _walk(getattr(value, field.name), (*route, field.encode_name))


def _own(value: msgspec.Struct, route: Route) -> Iterator[Mistake]:
    """The mistakes of one mapping of the language by itself."""
    for field in msgspec.structs.fields(type(value)):
        here = (*route, field.encode_name)
        held = getattr(value, field.name)
        kinds = _kinds_of(type(value), field.name)
        if "path" in kinds and not isinstance(held, Aside | msgspec.Struct) and held is not None and held is not msgspec.UNSET:
            yield from _paths(held, here, many="paths" in kinds)
        if "tests" in kinds and isinstance(held, dict):
            for path in held:
                yield from _paths(path, (*here, path), many=False)
        if "names" in kinds:
            for name, path in held.items():
                yield from _paths(path, (*here, name), many=False)
        if field.name == "zone" and "path" not in kinds and not known_zone(held):
            yield Mistake(here, "config.bad-value", f"{held!r} is no time zone", "write a name such as UTC or Europe/Berlin")
    match value:
        case Aside():
            if (value.header is None) == (value.cookie is None):
                yield Mistake(route, "rest.contradiction", "not exactly one of header and cookie", "keep one of the two")
        case language.Condition():
            told = value.status if isinstance(value.status, list) else [] if value.status is None else [value.status]
            for word in told:
                if not is_status_word(word):
                    said = f"{word!r} is no HTTP status"
                    yield Mistake((*route, "status"), "config.bad-value", said, "write a number such as 404, or a class such as 4xx")
        case Request():
            yield from _request(value, route)
        case language.Signature():
            yield from _texts(value.signs, (*route, "signs"), ("timestamp", "body", "url", "method"))
        case language.StaticToken():
            yield from _texts(value.value, (*route, "value"), ("secret.",))
        case language.Grant():
            yield from _texts(value.value, (*route, "value"), ("token",))
        case language.RecordPart():
            yield from _texts(value.url, (*route, "url"), ("id",))
    if isinstance(value, language.Login):
        yield from _texts(value.value, (*route, "value"), ("secret.", "token"))
    if isinstance(value, language.BatchCall):
        yield from _texts(value.item, (*route, "item"), (*_WRITE, "field."))


def _kinds_of(owner: type, name: str) -> set[str]:
    """What a field of the language holds, by the names of the types in its annotation: a path, paths, tests by path, paths by name."""
    written = next(kind.__annotations__[name] for kind in owner.__mro__ if name in getattr(kind, "__annotations__", {}))
    kinds: set[str] = set()
    if "dict[str, Steps]" in written:
        kinds.add("names")
    elif "Steps" in written:
        kinds.add("path")
    if "Places" in written:
        kinds |= {"path", "paths"}
    if "Tests" in written and owner is not language.Extra:
        kinds.add("tests")
    return kinds


def _paths(held: Any, here: Route, *, many: bool) -> Iterator[Mistake]:
    try:
        if many:
            paths_of(held)
        else:
            path_of(held)
    except BadPath as fault:
        yield Mistake(here, "rest.bad-path", f"{held!r} is no path: {fault}", "write steps with dots between, or a list of steps")


def _request(request: Request, route: Route) -> Iterator[Mistake]:
    """The templates of a request, and what it carries."""
    known = _VARIABLES[type(request)]
    for name in PARTS:
        value = getattr(request, name)
        if value is not None:
            yield from _texts(value, (*route, name), known)
    try:
        loose = [name for name in variables(request.path) if name not in _ALWAYS]
    except BadTemplate:
        loose = []
    for name in loose:
        said = f"the path needs {{{name}}}, which has no value at times"
        yield Mistake((*route, "path"), "rest.contradiction", said, "put it into the query, a header or the body")
    if request.body is not None and request.form is not None:
        yield Mistake((*route, "form"), "rest.contradiction", "a request has a body or a form, not both", "keep one of the two")
    if request.method == "GET" and (request.body is not None or request.form is not None):
        yield Mistake((*route, "method"), "rest.contradiction", "a GET with a body", "write POST, or remove the body")
    for name, text in request.headers.items():
        if not (name.isascii() and name.isprintable() and " " not in name and ":" not in name and text.isprintable()):
            yield Mistake((*route, "headers", name), "config.bad-value", "not a header", "write one line of printable text")


def _texts(value: Any, here: Route, known: Sequence[str]) -> Iterator[Mistake]:
    """Every text of a template, wherever in it: braces that are none, and variables that are not known there."""
    if isinstance(value, dict):
        for name, member in value.items():
            yield from _texts(member, (*here, name), known)
    elif isinstance(value, list):
        for at, member in enumerate(value):
            yield from _texts(member, (*here, at), known)
    elif isinstance(value, str):
        try:
            named = list(variables(value))
        except BadTemplate as fault:
            yield Mistake(here, "rest.bad-template", str(fault), "write {name} for a variable, {{ and }} for braces")
            return
        for name in named:
            if name not in known and not any(one.endswith(".") and name.startswith(one) for one in known):
                told = ", ".join(f"{{{one}<name>}}" if one.endswith(".") else f"{{{one}}}" for one in known)
                yield Mistake(here, "rest.unknown-variable", f"there is no variable {{{name}}} here", f"use one of: {told}")
