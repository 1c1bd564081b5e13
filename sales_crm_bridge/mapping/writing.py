"""From a lead to the CRM fields that say it: one small function for each entry, built once."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sales_crm_bridge.mapping.reading import sales_value
from sales_crm_bridge.mapping.rules import CUSTOM, STATUSES, Kind, Rule
from sales_crm_bridge.mapping.scalars import Misread, amount, json_number, number, stepped, written_time

if TYPE_CHECKING:
    from collections.abc import Callable

    from sales_crm_bridge.model import Scalar
    from sales_crm_bridge.pb.opportunity_pb2 import Lead

    Wire = dict[str, Scalar]
    Writer = Callable[[Any], Wire]

STATUS_WORDS = {code: name for name, code in STATUSES.items()}


def value_of(rule: Rule, lead: Lead) -> object:
    """The lead's value for the entry, in the form that ``reading.reader`` gives; None: the lead does not have it."""
    if rule.name.startswith(CUSTOM):
        name = rule.name.removeprefix(CUSTOM)
        return lead.custom_attributes.get(name)
    value: Any = getattr(lead, rule.name)
    if rule.kind is Kind.TAGS:
        return list(value) or None
    if rule.kind is Kind.STATUS:
        return value or None
    if not lead.HasField(rule.name):  # type: ignore[arg-type]  # the stub wants the literal names; LEAD_KINDS holds no others
        return None
    match rule.kind:
        case Kind.MONEY:
            return {"currency": value.currency, "units": value.units, "nanos": value.nanos}
        case Kind.TIME:
            return {"seconds": value.seconds, "nanos": value.nanos}
        case Kind.REFERENCE:
            return {part: getattr(value, part) for part in rule.parts}
        case _:
            return value


def creation_value(rule: Rule) -> object:
    """What ``create_default`` says, in the same form; None: nothing. Raises ``Misread``."""
    return sales_value(rule, rule.create_default) if rule.create_default else None


def cleared(rule: Rule) -> Wire:
    """The CRM fields of an entry, emptied (a currency stays: CRMs want one)."""
    return dict.fromkeys(rule.crm)


def writer(rule: Rule) -> Writer:
    """What the entry writes for a value that the lead has. The function raises ``Misread`` for one that the CRM cannot hold."""
    match rule.kind:
        case Kind.TEXT:
            return _joined(rule) if len(rule.crm) > 1 else _text(rule)
        case Kind.STATUS:
            return _status(rule)
        case Kind.FLAG:
            return _flag(rule)
        case Kind.WHOLE:
            return _whole(rule)
        case Kind.MONEY:
            return _money(rule)
        case Kind.TIME:
            return _time(rule)
        case Kind.TAGS:
            return _tags(rule)
        case Kind.REFERENCE:
            pairs = tuple(zip(rule.parts, rule.crm, strict=True))
            return lambda value: {name: value.get(part) or None for part, name in pairs}


def is_copied(rule: Rule) -> bool:
    """Whether a create writes the lead's text as it is, or nothing: of the hot path, the most."""
    return (
        rule.kind is Kind.TEXT
        and len(rule.crm) == 1
        and not (rule.name.startswith(CUSTOM) or rule.values or rule.prefix or rule.steps or rule.create_default)
    )


def _mapped(rule: Rule, sales: str) -> str:
    if not rule.values:
        return sales
    found = rule.written_value(sales)
    if found is None:
        raise Misread("not-writable-value")
    return found


def _form(rule: Rule) -> Callable[[str], str]:
    """A text as the CRM holds it: map, prefix and steps, the opposite order of reading."""

    def form(value: str) -> str:
        return stepped(rule.prefix + _mapped(rule, value), rule.steps) if value else ""

    return form


def _text(rule: Rule) -> Writer:
    form, (name,) = _form(rule), rule.crm
    return lambda value: {name: form(value) or None}


def _joined(rule: Rule) -> Writer:
    """The parts in order; what is left over goes into the last field, which is also the one that a single part takes."""
    form, names, join = _form(rule), rule.crm, rule.join

    def write(value: str) -> Wire:
        parts = form(value).split(join, len(names) - 1)
        wire: Wire = dict.fromkeys(names)
        wire[names[-1]] = parts[-1] or None
        wire.update(zip(names, (part or None for part in parts[:-1]), strict=False))
        return wire

    return write


def _status(rule: Rule) -> Writer:
    (name,) = rule.crm
    return lambda value: {name: _mapped(rule, STATUS_WORDS.get(value, ""))}


def _flag(rule: Rule) -> Writer:
    (name,) = rule.crm
    if not rule.values:
        return lambda value: {name: bool(value)}
    return lambda value: {name: _mapped(rule, "true" if value else "false")}


def _whole(rule: Rule) -> Writer:
    (name,), scale = rule.crm, number(rule.scale)
    return lambda value: {name: json_number(value / scale)}


def _money(rule: Rule) -> Writer:
    (name,), source, scale = rule.crm, rule.currency_crm, number(rule.scale)

    def write(value: dict[str, Any]) -> Wire:
        if not source and value["currency"].upper() != rule.currency:
            raise Misread("not-writable-value")
        wire: Wire = {name: json_number(amount(value["units"], value["nanos"]) / scale)}
        if source:
            wire[source] = value["currency"] or None
        return wire

    return write


def _time(rule: Rule) -> Writer:
    (name,), form = rule.crm, rule.form
    return lambda value: {name: written_time(value["seconds"], value["nanos"], form)}


def _tags(rule: Rule) -> Writer:
    (name,), separator = rule.crm, rule.separator

    def write(value: list[str]) -> Wire:
        if any(separator in tag or tag != tag.strip() or not tag for tag in value):
            raise Misread("not-writable-value")
        return {name: separator.join(value) or None}

    return write
