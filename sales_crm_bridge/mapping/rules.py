"""The mapping language as values: what an entry of ``fields:`` says, and what the contract's lead offers to be mapped."""

from __future__ import annotations

import enum
from dataclasses import dataclass, field

from google.protobuf.descriptor import FieldDescriptor

from sales_crm_bridge.model import Scalar
from sales_crm_bridge.pb.opportunity_pb2 import Lead
from sales_crm_bridge.pb.sales_pb2 import LeadStatus

CUSTOM = "custom_attributes."
_STATUS = "LEAD_STATUS_"


class Kind(enum.StrEnum):
    """What a field of the lead holds, and so what an entry may say of it."""

    TEXT = "text"
    WHOLE = "whole number"
    FLAG = "yes or no"
    STATUS = "status"
    TIME = "time"
    MONEY = "money"
    REFERENCE = "reference"
    TAGS = "list of texts"


class WriteRule(enum.StrEnum):
    """When a field goes to the CRM. ONCE: at creation, or while it is empty there."""

    ALWAYS = "always"
    ONCE = "once"
    NEVER = "never"


class Step(enum.StrEnum):
    """A change of text, made in both directions."""

    TRIM = "trim"
    LOWER = "lower"
    UPPER = "upper"


class TimeForm(enum.StrEnum):
    """How the CRM writes a time. DATE: a day, read as its first moment in UTC."""

    RFC3339 = "rfc3339"
    DATE = "date"
    EPOCH_S = "epoch_s"
    EPOCH_MS = "epoch_ms"


def _kind(descriptor: FieldDescriptor) -> Kind:
    if descriptor.message_type is not None:
        named = {"Timestamp": Kind.TIME, "Money": Kind.MONEY}
        return named.get(descriptor.message_type.name, Kind.REFERENCE)
    if descriptor.enum_type is not None:
        return Kind.STATUS
    if descriptor.is_repeated:
        return Kind.TAGS
    return {FieldDescriptor.TYPE_STRING: Kind.TEXT, FieldDescriptor.TYPE_BOOL: Kind.FLAG}.get(
        descriptor.type, Kind.WHOLE
    )


LEAD_KINDS: dict[str, Kind] = {
    one.name: _kind(one) for one in Lead.DESCRIPTOR.fields if one.name not in ("lead_id", CUSTOM.rstrip("."))
}
"""Every field of the lead that can be mapped (custom attributes apart), read from the contract's descriptors."""

STATUSES: dict[str, int] = {
    name.removeprefix(_STATUS).lower(): number for name, number in LeadStatus.items() if number != 0
}
"""The contract's lead statuses as a tenant file writes them (``new``), and their numbers."""

REFERENCE_PARTS: dict[str, tuple[str, ...]] = {
    one.name: tuple(part.name for part in one.message_type.fields)
    for one in Lead.DESCRIPTOR.fields
    if LEAD_KINDS.get(one.name) is Kind.REFERENCE and one.message_type is not None
}
"""The parts of each reference; the first is its id."""


def kind_of(name: str) -> Kind | None:
    """The kind of the Sales field ``name``, a custom attribute included; None: the lead has no such field."""
    if name.startswith(CUSTOM) and len(name) > len(CUSTOM):
        return Kind.TEXT
    return LEAD_KINDS.get(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Rule:
    """One entry: the Sales field ``name`` and the CRM fields ``crm`` it lives in.

    ``join``: between the texts of several CRM fields. ``values``: CRM value → Sales value; ``otherwise``: the Sales value of CRM
    values that are not listed ("" none); ``write_values``: Sales value → CRM value, where ``values`` leaves a choice.
    ``prefix``: what every CRM value begins with. ``scale``: Sales = CRM × scale. ``parts``: the parts
    of a reference, one for each of ``crm``. ``currency``: of money; ``currency_crm``: the CRM field that holds it. ``default``: the
    Sales value of an empty CRM field; ``create_default``: the Sales value written at creation when the command has none.
    """

    name: str
    kind: Kind
    crm: tuple[str, ...]
    read: bool = True
    write: WriteRule = WriteRule.ALWAYS
    join: str = ""
    values: tuple[tuple[str, str], ...] = ()
    write_values: tuple[tuple[str, str], ...] = ()
    otherwise: str = ""
    steps: tuple[Step, ...] = ()
    prefix: str = ""
    scale: str = "1"
    form: TimeForm = TimeForm.RFC3339
    separator: str = ";"
    parts: tuple[str, ...] = ()
    currency: str = ""
    currency_crm: str = ""
    default: str = ""
    create_default: str = ""

    @property
    def sources(self) -> tuple[str, ...]:
        """Every CRM field that the entry is read from."""
        return (*self.crm, self.currency_crm) if self.currency_crm else self.crm

    @property
    def slot(self) -> str:
        """The name under which a binding keeps the hash of the raw values: it changes with the sources alone."""
        return f"{self.name}={'+'.join(self.sources)}"

    def written_value(self, sales: str) -> str | None:
        """The CRM value of a Sales value, by the maps; None: there is none."""
        for ours, theirs in self.write_values:
            if ours == sales:
                return theirs
        return next((theirs for theirs, ours in self.values if ours == sales), None)


@dataclass(frozen=True, slots=True, kw_only=True)
class Deed:
    """What qualifying or disqualifying does in the CRM besides the status map. ``note``: the CRM field that takes the note."""

    set: tuple[tuple[str, Scalar], ...] = ()
    note: str = ""
    unsupported: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Spec:
    """A tenant's whole mapping, as its file says it. ``create``: CRM fields that get a fixed value at creation."""

    rules: tuple[Rule, ...]
    create: tuple[tuple[str, Scalar], ...] = ()
    qualify: Deed = field(default_factory=Deed)
    disqualify: Deed = field(default_factory=Deed)

    def rule(self, name: str) -> Rule | None:
        """The entry of a Sales field."""
        return next((rule for rule in self.rules if rule.name == name), None)
