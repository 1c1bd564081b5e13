"""What a write may put into a property, and what HubSpot makes of it."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

import msgspec

from sales_crm_bridge.sandbox.hubspot.definitions import (
    LEAD_PIPELINE,
    OWNERS,
    Definition,
    Owner,
    Pipeline,
    Stage,
    definitions,
    group_of,
)
from sales_crm_bridge.sandbox.hubspot.kinds import CONTACTS, KINDS
from sales_crm_bridge.sandbox.hubspot.refusals import BadValue, Refusal, invalid
from sales_crm_bridge.sandbox.hubspot.times import DAY_MS, date_text, iso, moment_ms

if TYPE_CHECKING:
    from collections.abc import Mapping

UNIQUE_MAX = 10
TEXT_MAX = 65_536
NAME_MAX = 100

LIFECYCLE = (
    "subscriber",
    "lead",
    "marketingqualifiedlead",
    "salesqualifiedlead",
    "opportunity",
    "customer",
    "evangelist",
    "other",
)

_EMAIL = re.compile(r"[^\s@\"(),:;<>\[\]\\]+@(?:[a-z0-9](?:[a-z0-9-]*[a-z0-9])?\.)+[a-z]{2,}", re.IGNORECASE)
_NUMBER = re.compile(r"-?(?:\d+(?:\.\d*)?|\.\d+)")
_NAME = re.compile(r"[a-z][a-z0-9_]*")
_TYPES = {
    "string": {"text", "textarea", "file", "phonenumber", "html"},
    "number": {"number", "calculation_equation"},
    "date": {"date"},
    "datetime": {"date"},
    "enumeration": {"select", "radio", "checkbox", "booleancheckbox"},
    "bool": {"booleancheckbox", "calculation_equation"},
}


@dataclass(slots=True)
class Schema:
    """The account's definitions of everything: properties by object type, lead pipelines, owners, required properties.

    ``required``: what the administrator's validation rules demand; they bind API writes from version 2026-09 on.
    """

    portal_id: int
    properties: dict[str, dict[str, Definition]] = field(default_factory=definitions)
    archived: dict[str, dict[str, Definition]] = field(default_factory=lambda: {name: {} for name in KINDS})
    pipelines: dict[str, Pipeline] = field(default_factory=lambda: {LEAD_PIPELINE.id: LEAD_PIPELINE})
    owners: dict[str, Owner] = field(default_factory=lambda: {owner.id: owner for owner in OWNERS})
    required: dict[str, tuple[str, ...]] = field(default_factory=dict)
    edition: int = 0

    def add(self, kind: str, definition: Definition) -> Definition:
        """Create a property; raises ``Refusal`` for a bad name or type, a name that is taken, an eleventh unique one."""
        known = self.properties[kind]
        if not _NAME.fullmatch(definition.name) or len(definition.name) > NAME_MAX:
            raise invalid(
                f"{definition.name} is no name: a letter, then letters, digits and underscores, all lower-case."
            )
        if definition.name in known:
            raise Refusal(409, "OBJECT_ALREADY_EXISTS", f"A property named '{definition.name}' already exists.")
        if definition.field_type not in _TYPES.get(definition.type, ()):
            raise invalid(f"fieldType {definition.field_type} does not go with type {definition.type}.")
        if definition.group_name not in {known[name].group_name for name in sorted(known)}:
            raise invalid(f"Property group {definition.group_name} does not exist.")
        if definition.has_unique_value:
            if definition.type not in {"string", "number"}:
                raise invalid("Only text and number properties can have unique values.")
            if sum(other.has_unique_value for other in known.values()) >= UNIQUE_MAX:
                raise invalid(f"At most {UNIQUE_MAX} properties with unique values per object type.")
        self.archived[kind].pop(definition.name, None)
        known[definition.name] = definition
        self.edition += 1
        return definition

    def replace(self, kind: str, definition: Definition) -> None:
        """Put a changed definition in the place of the one with its name."""
        self.properties[kind][definition.name] = definition
        self.edition += 1

    def archive(self, kind: str, name: str, now_ms: int) -> None:
        """Put one of the account's own properties away; raises ``Refusal`` for HubSpot's."""
        definition = self.properties[kind][name]
        if definition.hubspot_defined:
            raise invalid(f"Property {name} is defined by HubSpot and cannot be archived.")
        del self.properties[kind][name]
        self.archived[kind][name] = msgspec.structs.replace(definition, archived_at=iso(now_ms))
        self.edition += 1

    def unarchive(self, kind: str, name: str) -> None:
        """Bring a property back; raises ``KeyError`` if it was not put away."""
        definition = self.archived[kind].pop(name)
        self.properties[kind][name] = msgspec.structs.replace(definition, archived_at="")
        self.edition += 1

    def plain(self, kind: str, name: str, *, unique: bool, now_ms: int) -> Definition:
        """A text property as a person would define it in the settings."""
        return Definition(
            name=name,
            label=name,
            type="string",
            field_type="text",
            group_name=group_of(kind),
            has_unique_value=unique,
            hubspot_defined=False,
            created_at=iso(now_ms),
            updated_at=iso(now_ms),
        )

    def unique_names(self, kind: str) -> list[str]:
        """The account's own unique properties of one object type."""
        return [name for name, known in self.properties[kind].items() if known.has_unique_value]

    def stage(self, pipeline: str, stage: str) -> Stage | None:
        """Find a stage of a lead pipeline."""
        known = self.pipelines.get(pipeline)
        return next((each for each in known.stages if each.id == stage), None) if known else None

    def clean(
        self, kind: str, raw: Mapping[str, str], current: Mapping[str, str]
    ) -> tuple[dict[str, str], list[BadValue]]:
        """Make what is written into what is stored ("" clears), and name every property that may not be written like this.

        ``current``: what the record holds. A lifecycle stage that would go back is left as it is, without a word.
        """
        known = self.properties[kind]
        good: dict[str, str] = {}
        bad: list[BadValue] = []
        for name, value in raw.items():
            definition = known.get(name)
            found: BadValue | None
            if definition is None:
                found = BadValue(
                    name=name, value=value, code="PROPERTY_DOESNT_EXIST", message=f'Property "{name}" does not exist'
                )
            elif definition.read_only:
                found = BadValue(
                    name=name,
                    value=value,
                    code="READ_ONLY_VALUE",
                    message=f'"{name}" is a read only property; its value cannot be set.',
                )
            else:
                stored, found = self._value(kind, definition, value, current)
                if found is None and stored is not None:
                    good[name] = stored
            if found is not None:
                bad.append(found)
        return good, bad

    def _value(
        self, kind: str, definition: Definition, value: str, current: Mapping[str, str]
    ) -> tuple[str | None, BadValue | None]:
        """Give what is stored, or None to leave the property alone, or what is wrong with the value."""
        name = definition.name

        def wrong(code: str, message: str) -> tuple[None, BadValue]:
            return None, BadValue(name=name, value=value, code=code, message=message)

        if value == "":
            return "", None
        if definition.type == "enumeration":
            return self._choice(definition, value, current, wrong)
        if definition.type == "string" and name == "email" and kind == CONTACTS.name:
            return _email(value, wrong)
        return _PLAIN[definition.type](name, value, wrong)

    def _choice(
        self, definition: Definition, value: str, current: Mapping[str, str], wrong: _Wrong
    ) -> tuple[str | None, BadValue | None]:
        name = definition.name
        inline = [option.value for option in definition.options]
        allowed = inline or self._external(name, current)
        many = definition.field_type == "checkbox"
        parts = [part for part in value.split(";") if part] if many else [value]
        odd = next((part for part in parts if part not in allowed), None)
        if odd is not None:
            return wrong("INVALID_OPTION", f"{odd} was not one of the allowed options: [{', '.join(allowed)}]")
        if many:
            before = [part for part in current.get(name, "").split(";") if part] if value.startswith(";") else []
            return ";".join(dict.fromkeys([*before, *parts])), None
        if name == "lifecyclestage" and (now := current.get(name)) in LIFECYCLE and value in LIFECYCLE:
            return (None, None) if LIFECYCLE.index(value) < LIFECYCLE.index(now) else (value, None)
        return value, None

    def _external(self, name: str, current: Mapping[str, str]) -> list[str]:
        if name == "hubspot_owner_id":
            return [owner.id for owner in self.owners.values() if not owner.archived]
        if name == "hs_pipeline":
            return list(self.pipelines)
        if name == "hs_pipeline_stage":
            pipeline = self.pipelines.get(current.get("hs_pipeline", LEAD_PIPELINE.id))
            return [stage.id for stage in pipeline.stages] if pipeline else []
        return []


def _email(value: str, wrong: _Wrong) -> _Stored:
    lower = value.strip().lower()
    return (lower, None) if _EMAIL.fullmatch(lower) else wrong("INVALID_EMAIL", f"Email address {value} is invalid")


def _string(name: str, value: str, wrong: _Wrong) -> _Stored:
    if len(value) > TEXT_MAX:
        return wrong("VALUE_TOO_LONG", f"{name} holds at most {TEXT_MAX} characters.")
    return value, None


def _number(_name: str, value: str, wrong: _Wrong) -> _Stored:
    return (value, None) if _NUMBER.fullmatch(value) else wrong("INVALID_INTEGER", f"{value} was not a valid number.")


def _bool(_name: str, value: str, wrong: _Wrong) -> _Stored:
    lower = value.lower()
    return (
        (lower, None) if lower in {"true", "false"} else wrong("INVALID_BOOLEAN", f"{value} was not a valid boolean.")
    )


def _datetime(_name: str, value: str, wrong: _Wrong) -> _Stored:
    ms = moment_ms(value)
    return (iso(ms), None) if ms is not None else wrong("INVALID_LONG", f"{value} was not a valid long.")


def _date(_name: str, value: str, wrong: _Wrong) -> _Stored:
    ms = moment_ms(value)
    if ms is None:
        return wrong("INVALID_LONG", f"{value} was not a valid long.")
    return (
        (date_text(ms), None) if ms % DAY_MS == 0 else wrong("INVALID_DATE", f"{value} is {iso(ms)}, not midnight UTC.")
    )


_Stored = tuple[str | None, BadValue | None]
_Wrong = Callable[[str, str], tuple[None, BadValue]]
_PLAIN: dict[str, Callable[[str, str, _Wrong], _Stored]] = {
    "string": _string,
    "number": _number,
    "bool": _bool,
    "datetime": _datetime,
    "date": _date,
}
