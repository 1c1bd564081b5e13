"""From the CRM's fields to the values of a lead: one small function for each entry, built once."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sales_crm_bridge.mapping.rules import STATUSES, Kind, Rule
from sales_crm_bridge.mapping.scalars import Misread, is_empty, money, number, stepped, text_of, time_of

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

    from sales_crm_bridge.model import Scalar

    Fields = Mapping[str, Scalar]
    Reader = Callable[[Fields], object]

INT32 = 2**31


def is_plain(rule: Rule) -> bool:
    """Whether the entry takes a text as it is: the common case, which needs no function."""
    bare = not (rule.values or rule.steps or rule.prefix or rule.default)
    return rule.kind is Kind.TEXT and len(rule.crm) == 1 and bare


def reader(rule: Rule) -> Reader:
    """What the entry reads from a record's fields, as the lead's constructor takes it; None: nothing is known of it.

    The function raises ``Misread`` for a value that does not convert.
    """
    default = _default(rule)
    convert = _parts(rule) if rule.kind is Kind.REFERENCE else _joined(rule) if len(rule.crm) > 1 else _single(rule)

    def read(fields: Fields) -> object:
        value = convert(fields)
        return default if default is not None and (value is None or value == "") and _shown(rule, fields) else value

    return read if default is not None else convert


def _shown(rule: Rule, fields: Fields) -> bool:
    return any(name in fields for name in rule.crm)


def _default(rule: Rule) -> object:
    return sales_value(rule, rule.default) if rule.default else None


def sales_value(rule: Rule, text: str) -> object:
    """A value of the entry's Sales field from its text in a tenant file. Raises ``Misread``."""
    match rule.kind:
        case Kind.TEXT:
            return text
        case Kind.STATUS:
            return _status(text)
        case Kind.FLAG:
            return _flag(text)
        case Kind.WHOLE:
            return _whole(text, "1")
        case Kind.TAGS:
            return _tags(text, rule.separator)
        case Kind.TIME:
            seconds, nanos = time_of(text, rule.form)
            return {"seconds": seconds, "nanos": nanos}
        case Kind.MONEY:
            units, nanos = money(number(text))
            return {"currency": rule.currency, "units": units, "nanos": nanos}
        case Kind.REFERENCE:
            return {rule.parts[0]: text}


def _single(rule: Rule) -> Reader:
    (name,) = rule.crm
    if rule.kind is Kind.MONEY:
        return _money(rule)
    if rule.kind is Kind.TEXT:
        text = _text(rule)
        return lambda fields: text(text_of(fields[name])) if name in fields else None
    if rule.kind is Kind.TIME:
        return _time(rule)
    convert = _converter(rule)

    def read(fields: Fields) -> object:
        value = fields.get(name)
        return None if is_empty(value) else convert(text_of(value))

    return read


def _converter(rule: Rule) -> Callable[[str], object]:
    match rule.kind:
        case Kind.STATUS:
            mapped = _mapped(rule)
            known = {theirs: STATUSES[ours] for theirs, ours in rule.values if ours in STATUSES}
            return lambda text: known.get(text) or _status(mapped(text))
        case Kind.FLAG:
            mapped = _mapped(rule)
            return lambda text: _flag(mapped(text))
        case Kind.WHOLE:
            return lambda text: _whole(text, rule.scale)
        case _:
            return lambda text: _tags(text, rule.separator)


def _mapped(rule: Rule) -> Callable[[str], str]:
    """The CRM's value by the map; without a map as it is."""
    values, otherwise = dict(rule.values), rule.otherwise
    if not values:
        return lambda text: text

    def mapped(text: str) -> str:
        found = values.get(text, otherwise)
        if not found:
            raise Misread("unknown-value")
        return found

    return mapped


def _text(rule: Rule) -> Callable[[str], str]:
    """A text after prefix, steps and map; an empty one stays empty."""
    mapped, prefix, steps = _mapped(rule), rule.prefix, rule.steps

    def text(value: str) -> str:
        value = stepped(value, steps)
        if not value:
            return value
        if not value.startswith(prefix):
            raise Misread("no-prefix")
        return mapped(value[len(prefix) :])

    return text


def _joined(rule: Rule) -> Reader:
    text, join, names = _text(rule), rule.join, rule.crm

    def read(fields: Fields) -> object:
        if not any(name in fields for name in names):
            return None
        parts = [text_of(fields.get(name)) for name in names]
        return text(join.join([part for part in parts if part]))

    return read


def _parts(rule: Rule) -> Reader:
    pairs = tuple(zip(rule.parts, rule.crm, strict=True))

    def read(fields: Fields) -> object:
        found = {part: text_of(fields[name]) for part, name in pairs if not is_empty(fields.get(name))}
        return found or None

    return read


def _money(rule: Rule) -> Reader:
    (name,), fixed, source, scale = rule.crm, rule.currency, rule.currency_crm, number(rule.scale)

    def read(fields: Fields) -> object:
        value = fields.get(name)
        if is_empty(value):
            return None
        units, nanos = money(number(text_of(value)) * scale)
        currency = (text_of(fields.get(source)) if source else "") or fixed
        if not currency:
            raise Misread("no-currency")
        return {"currency": currency.upper(), "units": units, "nanos": nanos}

    return read


def _time(rule: Rule) -> Reader:
    (name,), form = rule.crm, rule.form

    def read(fields: Fields) -> object:
        value = fields.get(name)
        if is_empty(value):
            return None
        seconds, nanos = time_of(value, form)
        return {"seconds": seconds, "nanos": nanos}

    return read


def _status(text: str) -> int:
    found = STATUSES.get(text.strip().lower())
    if found is None:
        raise Misread("unknown-value")
    return found


def _flag(text: str) -> bool:
    match text.strip().lower():
        case "true" | "1":
            return True
        case "false" | "0":
            return False
        case _:
            raise Misread("bad-flag")


def _whole(text: str, scale: str) -> int:
    value = number(text) * number(scale)
    if value != value.to_integral_value() or not -INT32 <= value < INT32:
        raise Misread("bad-number")
    return int(value)


def _tags(text: str, separator: str) -> list[str]:
    return [tag for tag in (part.strip() for part in text.split(separator)) if tag]
