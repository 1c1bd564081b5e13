"""A tenant's mapping against the CRM's own description of its fields."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sales_crm_bridge.findings import did_you_mean, finding
from sales_crm_bridge.mapping import WriteRule

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping

    from sales_crm_bridge.errors import Finding
    from sales_crm_bridge.mapping import Rule
    from sales_crm_bridge.model import FieldDefinition
    from sales_crm_bridge.tenants.values import Tenant


def compare(tenant: Tenant, definitions: Mapping[str, FieldDefinition]) -> list[Finding]:
    """What the CRM would not understand: fields it lacks, read-only ones that are written, values it does not offer.

    ``definitions``: the CRM's fields by name, as an adapter's ``check`` tells them.
    """
    found: list[Finding] = []
    spec = tenant.mapping.spec
    for rule in spec.rules:
        found += _rule(tenant, rule, definitions)
    fixed = [("create", name, value) for name, value in spec.create]
    fixed += [("qualify", name, value) for name, value in spec.qualify.set]
    fixed += [("disqualify", name, value) for name, value in spec.disqualify.set]
    for part, name, value in fixed:
        place = tenant.place(part, name)
        definition = definitions.get(name)
        if definition is None:
            found.append(
                finding("mapping.crm-field-unknown", f"no field {name!r}", place, did_you_mean(name, definitions))
            )
        elif definition.options and value not in (None, "", *definition.options):
            said = f"{name!r} does not offer {value!r}"
            found.append(
                finding("mapping.crm-option-unknown", said, place, did_you_mean(str(value), definition.options))
            )
    written = {name for rule in spec.rules if rule.write is not WriteRule.NEVER for name in rule.sources}
    written |= {name for name, _ in spec.create}
    for name in sorted(definitions):
        if definitions[name].required and definitions[name].writable and name not in written:
            said = f"nothing writes {name!r}, which the CRM requires"
            found.append(finding("mapping.crm-field-required", said, tenant.place("fields")))
    return found


def _rule(tenant: Tenant, rule: Rule, definitions: Mapping[str, FieldDefinition]) -> Iterator[Finding]:
    place = tenant.place("fields", rule.name)
    for name in rule.sources:
        definition = definitions.get(name)
        if definition is None:
            yield finding("mapping.crm-field-unknown", f"no field {name!r}", place, did_you_mean(name, definitions))
            continue
        if rule.write is WriteRule.NEVER:
            continue
        if not definition.writable:
            yield finding("mapping.crm-field-read-only", f"{name!r} is read-only in the CRM", place)
        elif definition.options:
            wanted = [theirs for theirs, _ in rule.values] + [theirs for _, theirs in rule.write_values]
            for value in dict.fromkeys(wanted):
                if value not in definition.options:
                    said = f"{name!r} does not offer {value!r}"
                    near = did_you_mean(value, definition.options)
                    yield finding("mapping.crm-option-unknown", said, place, near)
