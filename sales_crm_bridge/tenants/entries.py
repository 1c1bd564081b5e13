"""The entries of ``fields:`` as rules of the mapping, with every contradiction between them found."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sales_crm_bridge.findings import did_you_mean, finding
from sales_crm_bridge.mapping import Deed, Kind, Rule, Spec, Step, TimeForm, WriteRule
from sales_crm_bridge.mapping.reading import sales_value
from sales_crm_bridge.mapping.rules import CUSTOM, LEAD_KINDS, REFERENCE_PARTS, STATUSES, kind_of
from sales_crm_bridge.mapping.scalars import Misread, stepped
from sales_crm_bridge.mapping.writing import creation_value, writer

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

    from sales_crm_bridge.errors import Finding, Place
    from sales_crm_bridge.tenants.file import DeedPart, Entry, TenantFile

    Where = Callable[..., Place]

_SUITS: dict[str, frozenset[Kind]] = {
    "join": frozenset({Kind.TEXT}),
    "values": frozenset({Kind.TEXT, Kind.STATUS, Kind.FLAG}),
    "write_values": frozenset({Kind.TEXT, Kind.STATUS, Kind.FLAG}),
    "otherwise": frozenset({Kind.TEXT, Kind.STATUS, Kind.FLAG}),
    "steps": frozenset({Kind.TEXT}),
    "prefix": frozenset({Kind.TEXT}),
    "scale": frozenset({Kind.WHOLE, Kind.MONEY}),
    "time": frozenset({Kind.TIME}),
    "separator": frozenset({Kind.TAGS}),
    "currency": frozenset({Kind.MONEY}),
    "currency_crm": frozenset({Kind.MONEY}),
    "parts": frozenset({Kind.REFERENCE}),
}
_CRM_OWNS = frozenset({"created_at", "updated_at", "last_activity_at"})
"""Times that a CRM keeps by itself: never written unless the file says so."""


def spec_of(parsed: TenantFile, where: Where, dropped: frozenset[str] = frozenset()) -> tuple[Spec, list[Finding]]:
    """The tenant's mapping, and everything that is wrong with it.

    ``where`` gives the place of a route in the file. ``dropped``: fields that the file has and that are too broken to look at;
    nothing is said that hangs on them.
    """
    found: list[Finding] = []
    rules: list[Rule] = []
    left_out = set(dropped)
    for name, entry in parsed.fields.items():
        problems = list(_entry_problems(name, entry, where))
        if not problems:
            rule = _rule(name, entry)
            problems = [*_map_problems(rule, where), *_text_problems(rule, where)]
            problems = problems or list(_default_problems(rule, where))
            rules.append(rule)
        if problems:
            left_out.add(name)
        found += problems
    found += _writer_problems(rules, parsed, where)
    spec = Spec(
        rules=tuple(rules),
        create=tuple(parsed.create.items()),
        qualify=_deed(parsed.qualify),
        disqualify=_deed(parsed.disqualify),
    )
    if "status" not in left_out:
        found += _deed_problems(spec, where)
    return spec, found


def _deed(part: DeedPart | str) -> Deed:
    if isinstance(part, str):
        return Deed(unsupported=True)
    return Deed(set=tuple(part.set.items()), note=part.note or "")


def _rule(name: str, entry: Entry) -> Rule:
    kind = kind_of(name)
    assert kind is not None
    crm = tuple(entry.parts.values()) if entry.parts else tuple(entry.crm or ())
    write = entry.write or ("never" if name in _CRM_OWNS else "always")
    return Rule(
        name=name,
        kind=kind,
        crm=crm,
        read=entry.read,
        write=WriteRule(write),
        join=entry.join or "",
        values=tuple((entry.values or {}).items()),
        write_values=tuple((entry.write_values or {}).items()),
        otherwise=entry.otherwise or "",
        steps=tuple(Step(step) for step in entry.steps or ()),
        prefix=entry.prefix or "",
        scale=f"{entry.scale:.12g}" if entry.scale is not None else "1",
        form=TimeForm(entry.time or "rfc3339"),
        separator=entry.separator or ";",
        parts=tuple(entry.parts) if entry.parts else REFERENCE_PARTS.get(name, ())[:1],
        currency=entry.currency or "",
        currency_crm=entry.currency_crm or "",
        default=entry.default or "",
        create_default=entry.create_default or "",
    )


def _entry_problems(name: str, entry: Entry, where: Where) -> Iterator[Finding]:
    """What is wrong with one entry by itself."""
    here = where("fields", name, key=True)
    kind = kind_of(name)
    if name in ("lead_id", CUSTOM, CUSTOM.rstrip(".")):
        yield finding("mapping.not-mappable", f"{name!r} cannot be mapped as a whole", here)
        return
    if kind is None:
        known = [*LEAD_KINDS, f"{CUSTOM}<name>"]
        yield finding("mapping.unknown-field", f"the lead has no field {name!r}", here, did_you_mean(name, known))
        return
    for key in [key for key, kinds in _SUITS.items() if getattr(entry, key) is not None and kind not in kinds]:
        place = where("fields", name, key)
        yield finding("mapping.wrong-kind", f"{key!r} does not suit {name!r}, which holds a {kind.value}", place)
    if entry.parts is None and entry.crm is None:
        yield finding(
            "config.missing-key", f"{name!r} names no CRM field", here, "add 'crm' (or 'parts' for a reference)"
        )
        return
    if entry.parts is not None:
        yield from _part_problems(name, entry, where)
    yield from _list_problems(name, kind, entry, where)
    if not entry.read and entry.write == "never":
        yield finding("mapping.unused", f"{name!r} is neither read nor written", here)
    if kind is Kind.MONEY and not entry.currency and not entry.currency_crm:
        remedy = "add `currency: EUR`, or `currency_crm:` with the CRM field that holds it"
        yield finding("config.missing-key", f"{name!r} is an amount without a currency", here, remedy)


def _list_problems(name: str, kind: Kind, entry: Entry, where: Where) -> Iterator[Finding]:
    """Several CRM fields where one is wanted, or the other way round."""
    if entry.crm is not None and len(entry.crm) > 1 and (kind is not Kind.TEXT or entry.join is None):
        code = "mapping.needs-join" if kind is Kind.TEXT else "mapping.join-not-text"
        yield finding(code, f"{name!r} names several CRM fields", where("fields", name, "crm"))
    elif entry.crm is not None and len(set(entry.crm)) < len(entry.crm):
        yield finding("mapping.two-writers", "one CRM field stands twice", where("fields", name, "crm"), "name it once")
    elif entry.join is not None and kind is Kind.TEXT and len(entry.crm or ()) == 1:
        remedy = "remove it, or name the other CRM fields in `crm: [a, b]`"
        yield finding("mapping.wrong-kind", "'join' with a single CRM field", where("fields", name, "join"), remedy)


def _part_problems(name: str, entry: Entry, where: Where) -> Iterator[Finding]:
    known = REFERENCE_PARTS.get(name, ())
    if entry.crm is not None:
        yield finding("mapping.wrong-kind", f"{name!r} has both 'crm' and 'parts'", where("fields", name, "crm"))
    for part in entry.parts or {}:
        if part not in known:
            place = where("fields", name, "parts", part, key=True)
            yield finding("mapping.unknown-field", f"{name!r} has no part {part!r}", place, did_you_mean(part, known))


def _map_problems(rule: Rule, where: Where) -> Iterator[Finding]:
    """What is wrong with the value maps of one rule."""
    words: list[tuple[tuple[str, ...], str]] = [(("values", theirs), ours) for theirs, ours in rule.values]
    words += [(("write_values", ours), ours) for ours, _ in rule.write_values]
    words += [(("otherwise",), rule.otherwise)] if rule.otherwise else []
    for route, word in words:
        yield from _word_problems(rule, word, where("fields", rule.name, *route))
    if not rule.values:
        for key, given in (("write_values", rule.write_values), ("otherwise", rule.otherwise)):
            if given:
                said = f"{key!r} without 'values' does nothing"
                yield finding("mapping.wrong-kind", said, where("fields", rule.name, key), "add 'values', or remove it")
    elif rule.write is not WriteRule.NEVER:
        yield from _way_back_problems(rule, where)


def _way_back_problems(rule: Rule, where: Where) -> Iterator[Finding]:
    """Sales values that have no one CRM value, or one that is read as another."""
    chosen = dict(rule.write_values)
    writers: dict[str, list[str]] = {}
    for theirs, ours in rule.values:
        writers.setdefault(ours, []).append(theirs)
    for ours, theirs_all in writers.items():
        if len(theirs_all) > 1 and ours not in chosen:
            said = f"{', '.join(map(repr, theirs_all))} all mean {ours!r}"
            remedy = f"say which one to write: `write_values: {{{ours}: {theirs_all[0]}}}`, or use `write: never`"
            place = where("fields", rule.name, "values", theirs_all[1])
            yield finding("mapping.not-invertible", said, place, remedy)
    back = dict(rule.values)
    for ours, theirs in rule.write_values:
        if back.get(theirs, rule.otherwise) != ours:
            read = back.get(theirs, rule.otherwise)
            said = f"{ours!r} would be written as {theirs!r}, which is {f'read as {read!r}' if read else 'not read at all'}"
            yield finding("mapping.no-way-back", said, where("fields", rule.name, "write_values", ours))


def _word_problems(rule: Rule, word: str, place: Place) -> Iterator[Finding]:
    """A Sales value of a map or a default that is none."""
    if rule.kind is Kind.STATUS and word not in STATUSES:
        yield finding("mapping.bad-status", f"{word!r} is not a status of a lead", place, did_you_mean(word, STATUSES))
    elif rule.kind is Kind.FLAG and word not in ("true", "false"):
        yield finding("config.bad-value", f"{word!r} is neither true nor false", place, "use true or false")
    elif not word:
        yield finding("config.bad-value", "an empty text is no Sales value here", place, "leave the line out")


def _text_problems(rule: Rule, where: Where) -> Iterator[Finding]:
    """Steps, prefixes and maps that get in each other's way, so that a value would be lost or never be met."""
    if len(rule.crm) > 1 and rule.kind is Kind.TEXT and (rule.values or rule.prefix):
        key = "values" if rule.values else "prefix"
        said = f"{key!r} with several CRM fields has no way back"
        yield finding("mapping.wrong-kind", said, where("fields", rule.name, key), "map one CRM field, or remove it")
    if Step.LOWER in rule.steps and Step.UPPER in rule.steps:
        place = where("fields", rule.name, "steps")
        yield finding("config.bad-value", "'lower' and 'upper' contradict each other", place, "keep one of the two")
    elif rule.prefix and not stepped(f"{rule.prefix}x", rule.steps).startswith(rule.prefix):
        place = where("fields", rule.name, "prefix")
        yield finding("config.bad-value", "the steps change the prefix", place, "write it as the steps leave it")
    for theirs, _ in rule.values:
        if stepped(theirs, rule.steps) != theirs:
            place = where("fields", rule.name, "values", theirs)
            said = f"the steps change {theirs!r}, so it is never met"
            yield finding("config.bad-value", said, place, "write it as the steps leave it")


def _default_problems(rule: Rule, where: Where) -> Iterator[Finding]:
    """Defaults that are no value of the field, or that could not be written."""
    if rule.default:
        place = where("fields", rule.name, "default")
        words = list(_word_problems(rule, rule.default, place))
        yield from words
        if not words:
            try:
                sales_value(rule, rule.default)
            except Misread:
                yield finding("config.bad-value", f"{rule.default!r} is not a {rule.kind.value}", place)
    if not rule.create_default:
        return
    place = where("fields", rule.name, "create_default")
    if rule.write is WriteRule.NEVER:
        remedy = "remove it, or use `write: once`"
        yield finding("mapping.wrong-kind", "'create_default' where nothing is written", place, remedy)
        return
    words = list(_word_problems(rule, rule.create_default, place))
    yield from words
    if not words:
        try:
            writer(rule)(creation_value(rule))
        except Misread:
            yield finding("config.bad-value", f"{rule.create_default!r} cannot be written under this entry", place)


def _writer_problems(rules: list[Rule], parsed: TenantFile, where: Where) -> Iterator[Finding]:
    """Two entries that would write one CRM field; amounts may share the field of their currency."""
    first: dict[str, str] = {}
    for rule in rules:
        if rule.write is WriteRule.NEVER:
            continue
        for crm in rule.crm:
            if crm in first:
                said = f"{rule.name!r} and {first[crm]!r} both write {crm!r}"
                yield finding("mapping.two-writers", said, where("fields", rule.name, key=True))
            first.setdefault(crm, rule.name)
    for crm in parsed.create:
        if crm in first:
            said = f"'create' and {first[crm]!r} both write {crm!r}"
            yield finding("mapping.two-writers", said, where("create", crm, key=True))


def _deed_problems(spec: Spec, where: Where) -> Iterator[Finding]:
    """Qualifying or disqualifying that would change nothing in the CRM."""
    status = spec.rule("status")
    for name, deed, word in (("qualify", spec.qualify, "qualified"), ("disqualify", spec.disqualify, "disqualified")):
        if deed.unsupported or deed.set:
            continue
        written = status is not None and status.write is not WriteRule.NEVER
        if status is None or not written or (status.values and status.written_value(word) is None):
            said = f"{name} would change nothing: no CRM value means {word!r}"
            remedy = f"map `status` with `values` for it, or write `{name}: {{set: …}}`, or `{name}: unsupported`"
            yield finding("mapping.status-missing", said, where(name, key=True), remedy)
