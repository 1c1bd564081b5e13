"""One CRM field: where it stands in a record, how its value is read, and how it is written."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import msgspec

from sales_crm_adapters.rest.about_records import FieldOption
from sales_crm_adapters.rest.checks import same
from sales_crm_adapters.rest.paths import MISSING, BadPath, Path, is_plain, path_of
from sales_crm_adapters.rest.templates import plain
from sales_crm_bridge.model import FieldDefinition, Scalar

if TYPE_CHECKING:
    from sales_crm_adapters.rest.about_records import RecordPart

LIST_SEPARATOR = ";"
_encode = msgspec.json.Encoder().encode


class Field:
    """One CRM field, by the name that the mapping gives it."""

    def __init__(self, name: str, part: RecordPart) -> None:
        option = part.options.get(name, FieldOption())
        self.name = name
        self.option = option
        self.path = path_of(option.read) if option.read is not None else _named(name)
        self.target = path_of(option.write) if option.write is not None else self.path
        self.writable = not option.read_only and is_plain(self.target)
        self._separator = option.separator
        self._empty = option.empty if option.empty is not None else part.empty
        self.empty_texts = frozenset(value for value in self._empty if isinstance(value, str))
        self._clear = part.clear if option.clear is msgspec.UNSET else option.clear

    def scalar(self, value: Any) -> Scalar:
        """A value of the answer as the mapping takes it: a list is one text, anything deeper its JSON."""
        if value is MISSING or value is None or (self._empty and any(same(value, one) for one in self._empty)):
            return None
        if isinstance(value, list):
            if any(isinstance(member, dict | list) for member in value):
                return _encode(value).decode()
            return (self._separator or LIST_SEPARATOR).join(plain(member) for member in value) or None
        if isinstance(value, dict):
            return _encode(value).decode()
        scalar: Scalar = value
        return scalar

    def wire(self, value: Scalar) -> Any:
        """A value as it is written."""
        if value is None:
            return [] if self._separator else self._clear
        if self._separator:
            return [part for part in plain(value).split(self._separator) if part]
        return value

    def definition(self) -> FieldDefinition:
        """As far as the declaration tells."""
        option = self.option
        return FieldDefinition(
            name=self.name,
            kind=option.kind,
            writable=self.writable,
            unique=option.unique,
            required=option.required,
            options=tuple(option.values),
        )


def _named(name: str) -> Path:
    """The path that a field's name says; a name that says none is a single step."""
    try:
        return path_of(name) or (name,)
    except BadPath:
        return (name,)
