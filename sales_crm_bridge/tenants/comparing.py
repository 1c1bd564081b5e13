"""A tenant's mapping against the CRM's own description of its fields."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sales_crm_bridge.findings import did_you_mean, finding
from sales_crm_bridge.mapping import WriteRule
from sales_crm_bridge.mapping.scalars import text_of

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sales_crm_bridge.errors import Finding, Place
    from sales_crm_bridge.mapping import Rule
    from sales_crm_bridge.model import FieldDefinition, Scalar
    from sales_crm_bridge.tenants.values import Tenant


def compare(tenant: Tenant, definitions: Mapping[str, FieldDefinition]) -> list[Finding]:
    """What the CRM would not understand: fields it lacks, read-only ones that are written, values it does not offer.

    ``definitions``: the CRM's fields by name, as an adapter's ``check`` tells them.
    """
    found: list[Finding] = []
    spec = tenant.mapping.spec
    for rule in spec.rules:
        found += _rule(tenant, rule, definitions)
    fixed: list[tuple[tuple[str, ...], str, Scalar]] = [(("create", name), name, value) for name, value in spec.create]
    for part, deed in (("qualify", spec.qualify), ("disqualify", spec.disqualify)):
        fixed += [((part, "set", name), name, value) for name, value in deed.set]
        fixed += [((part, "note"), deed.note, None)] if deed.note else []
    for route, name, value in fixed:
        found += _written(tenant.place(*route), name, value, definitions)
    written = {name for rule in spec.rules if rule.write is not WriteRule.NEVER for name in rule.sources}
    written |= {name for name, _ in spec.create}
    for name in sorted(definitions):
        if definitions[name].required and definitions[name].writable and name not in written:
            said = f"nothing writes {name!r}, which the CRM requires"
            found.append(finding("mapping.crm-field-required", said, tenant.place("fields")))
    return found


def _rule(tenant: Tenant, rule: Rule, definitions: Mapping[str, FieldDefinition]) -> Iterator[Finding]:
    route = ("fields", rule.name)
    for name in rule.sources:
        place = tenant.place(*route, "currency_crm" if name == rule.currency_crm else "crm")
        if rule.write is WriteRule.NEVER:
            if name not in definitions:
                yield _unknown(place, name, definitions)
            continue
        yield from _written(place, name, None, definitions)
    only = definitions.get(rule.crm[0])
    if only is None or len(rule.crm) > 1:
        return
    told = [(("values", theirs), theirs) for theirs, _ in rule.values]
    told += [(("write_values", ours), theirs) for ours, theirs in rule.write_values]
    if rule.create_default and not rule.values:
        told.append((("create_default", ""), rule.create_default))
    for where, theirs in told:
        yield from _offered(tenant.place(*route, *where), only, rule.prefix + theirs)


def _written(place: Place, name: str, value: Scalar, definitions: Mapping[str, FieldDefinition]) -> Iterator[Finding]:
    """A field that the bridge would write, with a fixed ``value`` (None: any)."""
    definition = definitions.get(name)
    if definition is None:
        yield _unknown(place, name, definitions)
    elif not definition.writable:
        yield finding("mapping.crm-field-read-only", f"{name!r} is read-only in the CRM", place)
    else:
        yield from _offered(place, definition, value)


def _offered(place: Place, definition: FieldDefinition, value: Scalar) -> Iterator[Finding]:
    text = text_of(value)
    if definition.options and text and text not in definition.options:
        said = f"{definition.name!r} does not offer {text!r}"
        yield finding("mapping.crm-option-unknown", said, place, did_you_mean(text, definition.options))


def _unknown(place: Place, name: str, definitions: Mapping[str, FieldDefinition]) -> Finding:
    near = did_you_mean(name, definitions)
    remedy = near if near.startswith("did you mean") else ""  # a CRM has hundreds of fields: no list of them
    return finding("mapping.crm-field-unknown", f"the CRM has no field {name!r}", place, remedy)
