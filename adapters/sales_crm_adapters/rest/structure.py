"""Whether a declaration has the form that ``options`` says: every mistake, each with its place and what to do."""

from __future__ import annotations

import re
from functools import cache
from typing import TYPE_CHECKING, Any, NamedTuple

from msgspec import inspect, structs

if TYPE_CHECKING:
    from collections.abc import Iterator

Route = tuple[str | int, ...]


class Mistake(NamedTuple):
    """One mistake: where below ``options``, the finding's code, what is wrong, what to do. ``key``: it is about the key itself."""

    path: Route
    code: str
    message: str
    remedy: str
    key: bool = False


def contradiction(route: Route, message: str, remedy: str) -> Mistake:
    """Parts that do not go together, or that lack what they stand on."""
    return Mistake(route, "rest.contradiction", message, remedy)


_WORDS = {
    inspect.StrType: "text", inspect.IntType: "a whole number", inspect.FloatType: "a number", inspect.BoolType: "true or false",
    inspect.NoneType: "null", inspect.ListType: "a list", inspect.DictType: "a mapping", inspect.StructType: "a mapping",
    inspect.LiteralType: "one of a few words",
}  # fmt: skip


form_of = cache(inspect.type_info)
"""What a type of the language is made of: looked up once, since that takes longer than to judge a file."""
members_of = cache(structs.fields)
"""The keys of a mapping of the language, looked up once for the same reason."""


def mistakes(kind: type, value: Any, path: Route = ()) -> Iterator[Mistake]:
    """Every mistake of form in ``value``, which should be a ``kind``."""
    yield from _check(form_of(kind), value, path)


def _check(info: inspect.Type, value: Any, path: Route) -> Iterator[Mistake]:
    if isinstance(info, inspect.Metadata):
        info = info.type
    match info:
        case inspect.AnyType():
            return
        case inspect.UnionType():
            yield from _union(info, value, path)
        case inspect.StructType():
            yield from _struct(info, value, path)
        case inspect.ListType() | inspect.DictType() if _suits(info, value):
            inner = info.item_type if isinstance(info, inspect.ListType) else info.value_type
            for name, member in enumerate(value) if isinstance(value, list) else value.items():
                yield from _check(inner, member, (*path, name))
        case inspect.LiteralType():
            if value not in info.values or isinstance(value, bool):
                said = f"{_shown(value)} is not a word that is known here"
                yield Mistake(
                    path, "config.bad-value", said, f"use one of: {', '.join(str(one) for one in info.values)}"
                )
        case _:
            yield from _leaf(info, value, path)


def _union(info: inspect.UnionType, value: Any, path: Route) -> Iterator[Mistake]:
    """A choice: what is a mapping, a list or a single value is held against the member of that kind."""
    members = [one.type if isinstance(one, inspect.Metadata) else one for one in info.types]
    suiting = [one for one in members if _suits(one, value)]
    if not suiting:
        words = list(
            dict.fromkeys(
                _WORDS.get(type(one), "something else") for one in members if not isinstance(one, inspect.NoneType)
            )
        )
        yield _wrong(path, value, " or ".join(words))
        return
    found = [list(_check(one, value, path)) for one in suiting]
    if all(found):
        yield from found[0]


def _suits(info: inspect.Type, value: Any) -> bool:
    match info:
        case inspect.StructType() | inspect.DictType():
            return isinstance(value, dict)
        case inspect.ListType():
            return isinstance(value, list)
        case inspect.NoneType():
            return value is None
        case inspect.BoolType():
            return isinstance(value, bool)
        case inspect.IntType():
            return isinstance(value, int) and not isinstance(value, bool)
        case inspect.FloatType():
            return isinstance(value, int | float) and not isinstance(value, bool)
        case inspect.StrType() | inspect.LiteralType():
            return isinstance(value, str)
        case _:
            return isinstance(info, inspect.AnyType)


def _struct(info: inspect.StructType, value: Any, path: Route) -> Iterator[Mistake]:
    if not isinstance(value, dict):
        yield _wrong(path, value, "a mapping")
        return
    known = {field.encode_name: field for field in info.fields}
    for name, member in value.items():
        if name in known:
            yield from _check(known[name].type, member, (*path, name))
        else:
            said = f"unknown key {name!r}"
            remedy = f"use one of: {', '.join(sorted(known))}" if known else "remove it: there are no keys here"
            yield Mistake((*path, name), "config.unknown-key", said, remedy, key=True)
    for name, field in known.items():
        if field.required and name not in value:
            yield Mistake(path, "config.missing-key", f"{name!r} is missing", f"add {name!r}")


def _leaf(info: inspect.Type, value: Any, path: Route) -> Iterator[Mistake]:
    if not _suits(info, value):
        yield _wrong(path, value, _WORDS.get(type(info), "something else"))
        return
    if isinstance(info, inspect.StrType):
        yield from _text(info, value, path)
    elif isinstance(info, inspect.IntType | inspect.FloatType):
        low = info.ge if info.ge is not None else info.gt
        under = low is not None and (value < low or (info.gt is not None and value == low))
        if under or (info.le is not None and value > info.le):
            least = f"more than {low:g}" if info.gt is not None else f"{low or 0:g}"
            most = f" to {info.le:g}" if info.le is not None else ""
            yield Mistake(path, "config.out-of-range", f"{value:g} is outside the limits", f"choose {least}{most}")


def _text(info: inspect.StrType, value: str, path: Route) -> Iterator[Mistake]:
    least, most = info.min_length or 0, info.max_length
    if info.pattern is not None and re.search(info.pattern, value) is None:
        said = f"{_shown(value)} does not have the form {info.pattern}"
        yield Mistake(path, "config.bad-value", said, _form(info.pattern, value, path))
    elif len(value) < least or (most is not None and len(value) > most):
        said = f"text of {len(value)} characters"
        yield Mistake(
            path, "config.out-of-range", said, f"write {least} to {most if most is not None else 'more'} characters"
        )


def _form(pattern: str, value: str, path: Route) -> str:
    """What to write where a text has not the form that it must have."""
    if pattern == "^/" and value.startswith(("http:", "https:")):
        host = "sign_in_address" if path[:1] == ("sign_in",) else "address"
        return f"write the path alone, and the rest of it as `connection.{host}`"
    return "begin it with a /" if pattern == "^/" else f"write text that fits {pattern}"


def _wrong(path: Route, value: Any, wanted: str) -> Mistake:
    return Mistake(path, "config.bad-type", f"{_shown(value)} is not {wanted}", f"write {wanted}")


def _shown(value: Any) -> str:
    if isinstance(value, dict | list):
        return "a mapping" if isinstance(value, dict) else "a list"
    return repr(value)[:60]
