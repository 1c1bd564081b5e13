"""What the handlers share: the call at hand, bodies in, answers out."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from sales_crm_bridge.sandbox.hubspot.kinds import KINDS, Kind, kind_of
from sales_crm_bridge.sandbox.hubspot.links import LINK_TYPES, Link
from sales_crm_bridge.sandbox.hubspot.refusals import Refusal, invalid
from sales_crm_bridge.sandbox.wire import Answer

if TYPE_CHECKING:
    from collections.abc import Iterable, Mapping

    from sales_crm_bridge.sandbox.hubspot.crm import Crm
    from sales_crm_bridge.sandbox.hubspot.records import Record, Source
    from sales_crm_bridge.sandbox.hubspot.tokens import Grant, Tokens
    from sales_crm_bridge.sandbox.wire import Request

T = TypeVar("T")

JSON_HEADER = ("content-type", "application/json;charset=utf-8")
HOST = "https://api.hubapi.com"

encode = msgspec.json.Encoder().encode


class Call(msgspec.Struct, frozen=True, kw_only=True):
    """One admitted request and what it works on. ``strict``: the version in the path is one that obeys validation rules."""

    crm: Crm
    tokens: Tokens
    request: Request
    segments: list[str]
    grant: Grant
    source: Source
    strict: bool
    used_today: int
    per_day: int
    day_ends_ms: int

    def param(self, name: str) -> str:
        """A query parameter, "" if it is not there."""
        return self.request.query.get(name, "")

    def flag(self, name: str) -> bool:
        """A boolean query parameter; raises ``Refusal`` if it is something else."""
        value = self.param(name).lower()
        if value not in {"", "true", "false"}:
            raise invalid(f"{name} must be true or false: {value}")
        return value == "true"

    def number(self, name: str, default: int, low: int, high: int) -> int:
        """A numeric query parameter; raises ``Refusal`` if it is out of its range."""
        text = self.param(name)
        try:
            value = int(text) if text else default
        except ValueError:
            raise invalid(f"{name} must be a number: {text}") from None
        if not low <= value <= high:
            raise invalid(f"{name} must be between {low} and {high}: {value}")
        return value

    def names(self, name: str) -> tuple[str, ...]:
        """A query parameter that lists names."""
        return tuple(part.strip() for part in self.param(name).split(",") if part.strip())

    def selected(self, kind: Kind, names: Iterable[str]) -> tuple[str, ...]:
        """The properties that an answer shows: those asked for that are defined (no word of others), and three that always are."""
        known = self.crm.schema.properties[kind.name]
        wanted = {name for name in names if name in known}
        return tuple(sorted(wanted | set(kind.always))) if wanted else kind.shown

    def body(self, decoder: msgspec.json.Decoder[T]) -> T:
        """Read the body; raises ``Refusal`` for another media type (415) or another shape (400)."""
        if not self.request.headers.get("content-type", "").lower().startswith("application/json"):
            raise Refusal(415, None, "HTTP 415 Unsupported Media Type")
        try:
            return decoder.decode(self.request.body)
        except msgspec.DecodeError as error:
            raise Refusal(400, None, f"Invalid input JSON on line 1, column 1: {error}") from None

    def by_unique(self, kind: Kind, name: str) -> str:
        """Check that a property identifies records; raises ``Refusal``. "" and ``hs_object_id`` mean the record's own id."""
        if name in {"", "hs_object_id"}:
            return ""
        known = self.crm.schema.properties[kind.name].get(name)
        if (known is None or not known.has_unique_value) and not (name == "email" and kind.name == "contacts"):
            raise invalid(f"Property {name} does not have unique values, or does not exist.")
        return name

    def locate(self, kind: Kind, text: str, id_property: str, *, merged: bool) -> Record | None:
        """Find a living record by id or unique value; ``merged``: ids that were merged away lead to the survivor."""
        book = self.crm.books[kind.name]
        name = self.by_unique(kind, id_property)
        if name:
            holder = book.holder(name, text)
            return book.get(holder) if holder is not None else None
        if not text.isdecimal():
            return None
        return book.resolve(int(text)) if merged else book.get(int(text))


def ok(payload: Any, status: int = 200) -> Answer:
    """An answer in JSON."""
    return Answer(status, [JSON_HEADER], encode(payload))


def raw(body: bytes, status: int = 200) -> Answer:
    """An answer that is JSON already."""
    return Answer(status, [JSON_HEADER], body)


def nothing() -> Answer:
    """204."""
    return Answer(204, [], b"")


def kind_in(spelling: str) -> Kind:
    """The object type that a path names; raises ``Refusal``."""
    kind = kind_of(spelling)
    if kind is None:
        raise Refusal(400, "VALIDATION_ERROR", f"Unable to infer object type from: {spelling}")
    return kind


Value = str | int | float | bool
"""What a property may be sent as; it is text from there on."""


class AssociationSpec(msgspec.Struct, frozen=True, rename="camel"):
    """One association type."""

    association_category: str
    association_type_id: int


class To(msgspec.Struct, frozen=True):
    """The other end."""

    id: str | int


class AssociationInput(msgspec.Struct, frozen=True):
    """An association of a record that is to be created."""

    to: To
    types: tuple[AssociationSpec, ...]


class RecordInput(msgspec.Struct, frozen=True, rename="camel"):
    """The body of a create or update, and one input of a batch."""

    properties: dict[str, Value] = msgspec.field(default_factory=dict)
    associations: tuple[AssociationInput, ...] = ()
    id: str | int = ""
    id_property: str | None = None
    object_write_trace_id: str | None = None

    @property
    def texts(self) -> dict[str, str]:
        """The properties as text."""
        return {name: value if isinstance(value, str) else _text(value) for name, value in self.properties.items()}

    @property
    def trace(self) -> str:
        """The trace id, "" if there is none."""
        return self.object_write_trace_id or ""


def _text(value: Value) -> str:
    return ("true" if value else "false") if isinstance(value, bool) else str(value)


def links_of(kind: Kind, wanted: Iterable[AssociationInput]) -> tuple[Link, ...]:
    """Read a create's associations; the object type of the other end follows from the association types. Raises ``Refusal``."""
    links = []
    for each in wanted:
        types = tuple(spec.association_type_id for spec in each.types)
        known = [LINK_TYPES[number] for number in types if number in LINK_TYPES and LINK_TYPES[number].of is kind]
        if not types or len(known) != len(types) or len({link_type.to.name for link_type in known}) != 1:
            raise invalid(f"Association types {list(types)} do not fit {kind.name}.")
        text = str(each.to.id)
        if not text.isdecimal():
            raise invalid(f"{text} is not a record id.")
        links.append(Link(to=known[0].to, id=int(text), types=types))
    return tuple(links)


def associations(record: Record, names: Iterable[str]) -> Mapping[str, Any]:
    """A record's associations as a read shows them, for the object types asked for that have any."""
    told: dict[str, Any] = {}
    for name in names:
        kind = kind_in(name)
        results = [
            {"id": str(end[1]), "type": LINK_TYPES[each].name}
            for end, types in sorted(record.links.items())
            if end[0] == kind.name
            for each in sorted(types)
        ]
        if results:
            told[KINDS[kind.name].name] = {"results": results}
    return told
