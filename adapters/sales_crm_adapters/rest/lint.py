"""Every mistake of a declaration at once: of form, of paths and templates, and what contradicts itself.

A section that has mistakes of form is looked at no further; what hangs on it is then not judged.
"""

from __future__ import annotations

from functools import cache
from typing import TYPE_CHECKING, Any

import msgspec

from sales_crm_adapters.rest import about_records, about_us, notions, options, singly
from sales_crm_adapters.rest.checks import is_status_word
from sales_crm_adapters.rest.contradictions import contradictions
from sales_crm_adapters.rest.notions import Aside, Request
from sales_crm_adapters.rest.paths import BadPath, path_of, paths_of
from sales_crm_adapters.rest.strangers import strangers
from sales_crm_adapters.rest.structure import Mistake, Route, contradiction, members_of, mistakes
from sales_crm_adapters.rest.templates import BadTemplate, variables
from sales_crm_adapters.rest.times import known_zone

if TYPE_CHECKING:
    from collections.abc import Collection, Iterator, Mapping, Sequence

PARTS = ("path", "query", "headers", "body", "form")
_WRITE = ("id", "key", "version", "fields", "operation", "trace", "names")
_PAGING = ("limit", "page", "offset", "cursor", "after", "names")
VARIABLES: Mapping[type, Sequence[str]] = {
    about_us.Login: ("secret.",),
    about_records.AllList: _PAGING,
    about_records.ChangesList: (*_PAGING, "since", "until"),
    about_records.RemovedList: (*_PAGING, "since", "until"),
    options.ReadOne: ("id", "names"),
    options.ReadMany: ("ids", "names"),
    options.ReadKey: ("key", "names"),
    options.WriteCall: (*_WRITE, "field."),
    options.Holder: (*_WRITE, "field."),
    options.BatchCall: ("items", "names"),
    notions.Request: (*_WRITE, "field."),
    about_us.AccountCall: ("names",),
    about_us.FieldsCall: ("names",),
    about_us.Right: ("names",),
}
"""Which variables each kind of request knows; one that ends with a dot is the beginning of many."""

_ANYWHERE = tuple(dict.fromkeys(name for known in VARIABLES.values() for name in known if name != "secret."))
"""Variables that what is common to all requests may name: it holds them where the request knows them."""

TEXTS: Sequence[tuple[type, str, Sequence[str]]] = (
    (about_us.Signature, "signs", ("timestamp", "body", "url", "method")),
    (about_us.StaticToken, "value", ("secret.",)),
    (about_us.Grant, "value", ("token",)),
    (about_us.Login, "value", ("secret.", "token")),
    (about_records.RecordPart, "url", ("id",)),
    (options.BatchCall, "item", (*_WRITE, "field.")),
)
"""Templates that are no requests, and the variables that they know."""

_ALWAYS = frozenset({"id", "key", "limit", "names", "operation", "trace", "offset", "page"})
"""Variables that always have a value, so that a path can stand on them."""


def lint(
    given: Mapping[str, object],
    credentials: str,
    secrets: Collection[str] | None = None,
    fields: Collection[str] | None = None,
) -> Iterator[Mistake]:
    """What is wrong with the options ``given`` to a connection whose credentials are of this kind ("" unknown).

    ``secrets``: their names; ``fields``: what the mapping calls the CRM's fields; None: they are not known.
    """
    found = list(mistakes(options.Options, dict(given)))
    yield from found
    broken = {one.path[0] for one in found if one.path}
    parts: dict[str, Any] = {}
    for field in members_of(options.Options):
        name = field.encode_name
        if name in given and name not in broken:
            parts[name] = msgspec.convert(given[name], field.type)
        elif name not in given and not field.required:
            parts[name] = field.default if field.default is not msgspec.NODEFAULT else field.default_factory()
    spoilt: set[str] = set()
    for name, part in parts.items():
        for mistake in (*_walk(part, (name,)), *(_common(part) if name == "common" else ())):
            spoilt.add(name)
            yield mistake
    whole = {name: part for name, part in parts.items() if name not in spoilt}
    yield from contradictions(whole, credentials, secrets)
    yield from strangers(whole, secrets, fields)


def _common(part: notions.Common) -> Iterator[Mistake]:
    for name in ("query", "headers", "body"):
        yield from _texts(getattr(part, name), ("common", name), _ANYWHERE)


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
        for field in members_of(type(value)):
            if field.name not in PARTS or not isinstance(value, Request | notions.Common):
                yield from _walk(getattr(value, field.name), (*route, field.encode_name))


def _own(value: msgspec.Struct, route: Route) -> Iterator[Mistake]:
    """The mistakes of one mapping of the language by itself."""
    for field in members_of(type(value)):
        yield from _held(_kinds_of(type(value), field.name), getattr(value, field.name), (*route, field.encode_name))
    for kind, name, known in TEXTS:
        if isinstance(value, kind):
            yield from _texts(getattr(value, name), (*route, name), known)
    yield from singly.single(value, route)
    match value:
        case Aside() if (value.header is None) == (value.cookie is None):
            said = "not exactly one of header and cookie"
            yield Mistake(route, "rest.contradiction", said, "keep one of the two")
        case notions.Condition():
            told = value.status if isinstance(value.status, list) else [] if value.status is None else [value.status]
            for word in (word for word in told if not is_status_word(word)):
                remedy = "write a number such as 404, or a class such as 4xx"
                yield Mistake((*route, "status"), "config.bad-value", f"{word!r} is no HTTP status", remedy)
        case Request():
            yield from _request(value, route)
        case notions.Times() | notions.Filter() if not known_zone(value.zone):
            remedy = "write a name such as UTC or Europe/Berlin"
            yield Mistake((*route, "zone"), "config.bad-value", f"{value.zone!r} is no time zone", remedy)
        case _:
            pass


def _held(kinds: frozenset[str], held: Any, here: Route) -> Iterator[Mistake]:
    """The mistakes of the paths that one key holds."""
    if "path" in kinds and isinstance(held, str | list):
        yield from _paths(held, here, many="paths" in kinds)
    if "paths" in kinds and held == []:
        yield contradiction(here, "a list of no places", "name where it stands")
    if kinds & {"tests", "checks"} and isinstance(held, dict):
        yield from singly.tests(held, here, empty="tests" in kinds)
    if "tests" in kinds and isinstance(held, dict):
        for path in held:
            yield from _paths(path, (*here, path), many=False)
    if "names" in kinds:
        for name, path in held.items():
            yield from _paths(path, (*here, name), many=False)


@cache
def _kinds_of(owner: type, name: str) -> frozenset[str]:
    """What a key of the language holds, by the names in its annotation: a path, paths, tests by path, paths by name."""
    written = next(kind.__annotations__[name] for kind in owner.__mro__ if name in getattr(kind, "__annotations__", {}))
    kinds: set[str] = set()
    if "dict[str, Steps]" in written:
        kinds.add("names")
    elif "Steps" in written:
        kinds.add("path")
    if "Places" in written:
        kinds |= {"path", "paths"}
    if "Tests" in written and owner is not options.Extra:
        kinds.add("tests")
    if "AnyTest" in written:
        kinds.add("checks")
    return frozenset(kinds)


def _paths(held: Any, here: Route, *, many: bool) -> Iterator[Mistake]:
    try:
        if many:
            paths_of(held)
        else:
            path_of(held)
    except BadPath as fault:
        yield Mistake(
            here, "rest.bad-path", f"{held!r} is no path: {fault}", "write steps with dots between, or a list of steps"
        )


def _request(request: Request, route: Route) -> Iterator[Mistake]:
    """The templates of a request, and what it carries."""
    known = VARIABLES[type(request)]
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
        yield Mistake(
            (*route, "form"), "rest.contradiction", "a request has a body or a form, not both", "keep one of the two"
        )
    if request.method == "GET" and (request.body is not None or request.form is not None):
        yield Mistake((*route, "method"), "rest.contradiction", "a GET with a body", "write POST, or remove the body")


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
                remedy = f"use one of: {told}" if told else "write text without variables here"
                yield Mistake(here, "rest.unknown-variable", f"there is no variable {{{name}}} here", remedy)
