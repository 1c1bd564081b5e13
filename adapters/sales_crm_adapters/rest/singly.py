"""What is wrong with one mapping of the language by itself: tests that say nothing, places that are many, paths that are none."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sales_crm_adapters.rest import about_records, about_us, options
from sales_crm_adapters.rest.notions import Aside, Common, Condition, Request, Test, Times
from sales_crm_adapters.rest.paths import EVERY, KEYS, BadPath, path_of, paths_of
from sales_crm_adapters.rest.structure import Mistake, Route, contradiction
from sales_crm_adapters.rest.templates import BadTemplate, parts_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    import msgspec

_OF_RECORD = ("id", "modified", "created", "version", "into")
_ONE_PLACE: Mapping[type, Sequence[str]] = {
    about_records.RecordPart: _OF_RECORD,
    about_records.Id: ("at",),
    Times: ("at",),
    about_records.RowShape: ("id", "modified"),
    about_records.PagePart: ("next", "more", "total", "pages"),
    about_records.Listing: ("records",),
    options.ReadOne: ("record",),
    options.ReadMany: ("records",),
    options.ReadKey: ("records", "record"),
    options.WriteCall: ("record",),
    options.Holder: ("records",),
}
"""Keys whose path leads to one place (of each list, where several paths may stand): ``*`` and ``@keys`` would find many."""

_NOT_THE_WHOLE: Mapping[type, Sequence[str]] = {
    about_records.RecordPart: (*_OF_RECORD, "key"),
    about_records.Id: ("at",),
    Times: ("at",),
}
"""Keys whose path leads into a record: the record itself is none of these."""

_OURS = frozenset({"host", "content-length", "transfer-encoding", "connection", "upgrade", "te", "trailer"})
"""Headers that the bridge sets, or that are for the connection alone: written by hand they break the request."""


def single(value: msgspec.Struct, route: Route) -> Iterator[Mistake]:
    """All of these mistakes of one mapping of the language, whatever it is."""
    yield from _places(value, route)
    if isinstance(value, about_us.StaticToken | about_us.Grant | about_us.Login):
        yield from _token_header(value, route)
    if isinstance(value, Request | about_us.Grant):
        yield from _target(value.path, (*route, "path"))
    if isinstance(value, Request | Common):
        yield from _headers(value, route)
    match value:
        case Condition(status=None | [], body=None, header=None):
            yield contradiction(route, "a rule for every answer", "say what the answer is like")
        case options.Wait(header=None, at=None):
            said = "a wait that stands nowhere"
            yield contradiction(route, said, "say `header`, or `at` for a place in the body")
        case _:
            pass


def _places(value: msgspec.Struct, route: Route) -> Iterator[Mistake]:
    """Paths that lead to many places where one is meant, or to the whole; and cookies where none is read."""
    for kind, names in _ONE_PLACE.items():
        for name in names if isinstance(value, kind) else ():
            several = name == "records" and not isinstance(value, options.ReadMany)
            yield from _one_place(getattr(value, name), (*route, name), several=several)
    for kind, names in _NOT_THE_WHOLE.items():
        for name in names if isinstance(value, kind) else ():
            if getattr(value, name) in ("", []):
                said = "the whole record, where a place in it is meant"
                yield Mistake((*route, name), "rest.bad-path", said, "name the place, or remove the key")
    if isinstance(value, about_records.RecordPart):
        for name, held in value.successors.items():
            yield from _one_place(held, (*route, "successors", name))
    for name in value.__struct_fields__:
        held = getattr(value, name)
        if isinstance(held, Aside) and held.cookie is not None and not isinstance(value, about_us.Login):
            said = "cookies are read for the sign-in's token alone"
            yield contradiction((*route, name, "cookie"), said, "name a header, or a place in the body")


def _one_place(held: Any, here: Route, *, several: bool = False) -> Iterator[Mistake]:
    """``several``: several paths may stand there, each leading to one place."""
    if not isinstance(held, str | list):
        return
    try:
        found = paths_of(held) if several else (path_of(held),)
    except BadPath:
        return  # told elsewhere
    for path in found:
        if EVERY in path or KEYS in path:
            said = f"{'.'.join(path)!r} leads to many places, where one is meant"
            yield Mistake(here, "rest.bad-path", said, "name one place; 0 is the first member of a list")


def tests(held: Mapping[str, Any], here: Route, *, empty: bool) -> Iterator[Mistake]:
    """Tests that always hold, or never; ``empty``: whether a mapping without tests is told too."""
    if empty and not held:
        yield contradiction(here, "nothing is tested", "say what must be there, or remove the key")
    for path, test in held.items():
        said = _vain(test)
        if said:
            remedy = "write a value, a list of values, or a mapping with `has`, `present` or `not`"
            yield contradiction((*here, path), said, remedy)


def _vain(test: Any) -> str:
    """Why a test cannot be meant; "" if it can."""
    if test == []:
        return "one of no values: that never holds"
    if not isinstance(test, Test):
        return ""
    if test.has in ("", []) or (isinstance(test.has, list) and "" in test.has):
        return "every text contains this"
    if test.not_ == []:
        return "none of no values: that always holds"
    if test.has is None and test.present is None and test.not_ is None:
        return "a test that says nothing always holds"
    if test.present is False and (test.has is not None or test.not_ is not None):
        return "what is not there has no value to be tested"
    return ""


def _target(text: str, here: Route) -> Iterator[Mistake]:
    """A path of a request that is more or less than a path."""
    try:
        plain = "".join("x" if is_variable else piece for is_variable, piece in parts_of(text))
    except BadTemplate:
        return  # told elsewhere
    said, remedy = "", "write the path alone, as it stands in the request line"
    if "?" in plain or "#" in plain:
        said, remedy = "a query or fragment in a path", "put parameters under `query`; write %3F or %23 if it is meant"
    elif not plain.isascii() or not plain.isprintable() or " " in plain or "\\" in plain:
        said, remedy = "a character that no path can hold", "percent-encode it: %20 for a blank"
    elif plain.startswith("//"):
        said, remedy = "a path that names a host", "write the path alone; the host is `connection.address`"
    elif any(step in (".", "..") for step in plain.split("/")):
        said = "a path that leads upwards"
    if said:
        yield Mistake(here, "config.bad-value", said, remedy)


def _headers(value: Request | Common, route: Route) -> Iterator[Mistake]:
    """Headers that are none, or that are not for a declaration to set."""
    for name, text in value.headers.items():
        here = (*route, "headers", name)
        if not (name.isascii() and name.isprintable() and " " not in name and ":" not in name and text.isprintable()):
            yield Mistake(here, "config.bad-value", "not a header", "write one line of printable text")
        elif name.lower() in _OURS:
            yield Mistake(here, "config.bad-value", "the bridge sets this header itself", "remove it")
        elif name.lower() == "authorization" and not isinstance(value, about_us.Login):
            remedy = "declare it under `sign_in`: `token` for one that does not change"
            yield Mistake(here, "config.bad-value", "the sign-in sets this header", remedy)


def _token_header(value: about_us.StaticToken | about_us.Grant | about_us.Login, route: Route) -> Iterator[Mistake]:
    """Where and how a sign-in's token travels."""
    if value.header.lower() in _OURS:
        said = "the bridge sets this header itself"
        yield Mistake((*route, "header"), "config.bad-value", said, "name the header that the CRM reads the token from")
    try:
        named = [name for is_variable, name in parts_of(value.value) if is_variable]
    except BadTemplate:
        return  # told elsewhere
    if not any(name == "token" or name.startswith("secret.") for name in named):
        meant = "{secret.<name>}" if isinstance(value, about_us.StaticToken) else "{token}"
        yield contradiction((*route, "value"), "a header without a secret in it", f"name {meant} in it")
