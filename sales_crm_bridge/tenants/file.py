"""A tenant's file as models: the JSON Schema and the reference page are generated from them, the loader checks against them.

Kinds are exact: YAML 1.2 tells text from numbers and booleans, so ``"4242"`` is text and ``4242`` is not.
"""

from __future__ import annotations

import math
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    ConfigDict,
    Discriminator,
    Field,
    GetJsonSchemaHandler,
    StringConstraints,
    WithJsonSchema,
    model_validator,
)
from pydantic.json_schema import JsonSchemaValue
from pydantic_core import CoreSchema, PydanticCustomError

from sales_crm_bridge.mapping.scalars import text_of
from sales_crm_bridge.problems import AsPart, AsWord, Instant, Seconds, Strict, part_or_word
from sales_crm_bridge.secret_refs import REFERENCE_PATTERN, is_reference

DAY_S = 86_400.0
ID_PATTERN = r"^[A-Za-z0-9][A-Za-z0-9._-]{0,99}$"


class Exact(Strict):
    """A part of a tenant's file: nothing is converted from one kind to another."""

    model_config = ConfigDict(strict=True)


def _names(value: object) -> object:
    return [value] if isinstance(value, str) else value


def _word(value: object) -> object:
    return text_of(value) if isinstance(value, str | bool | int) else value


def _scalar(value: object) -> object:
    if value is None or isinstance(value, str | bool | int) or (isinstance(value, float) and math.isfinite(value)):
        return value
    raise PydanticCustomError("config.bad-type", "not a single value")


def _reference(value: object) -> object:
    if isinstance(value, str) and is_reference(value):
        return value
    code: Literal["config.bad-reference", "config.plain-secret"] = "config.plain-secret"
    if not isinstance(value, str) or value.startswith(("env:", "file:")):
        code = "config.bad-reference"
    raise PydanticCustomError(code, "not a reference to a secret")


CrmName = Annotated[str, Field(min_length=1, max_length=200)]
CrmNames = Annotated[
    list[CrmName],
    BeforeValidator(_names),
    Field(min_length=1, max_length=8),
    WithJsonSchema(
        {
            "anyOf": [
                {"type": "string", "minLength": 1, "maxLength": 200},
                {
                    "type": "array",
                    "items": {"type": "string", "minLength": 1, "maxLength": 200},
                    "minItems": 1,
                    "maxItems": 8,
                },
            ]
        }
    ),
]
Word = Annotated[
    str, BeforeValidator(_word), Field(max_length=500), WithJsonSchema({"type": ["string", "boolean", "integer"]})
]
CrmValue = Annotated[Any, BeforeValidator(_scalar), WithJsonSchema({"type": ["string", "number", "boolean", "null"]})]
Reference = Annotated[
    str,
    BeforeValidator(_reference),
    WithJsonSchema({"type": "string", "pattern": REFERENCE_PATTERN, "examples": ["env:NAME"]}),
]
ConflictWord = Literal["crm", "domain", "newest", "hold"]


class LeadsEntry(Exact):
    """From a moment on, the tenant's leads belong to one side. The list only grows: an accepted entry never changes."""

    owner: Literal["domain", "crm"]
    """`crm`: the CRM is the leads' system of record and the bridge handles their intents; `domain`: Sales does."""
    from_us: Instant = Field(alias="from")
    """Since when, judged by each intent's own time. RFC 3339 with a zone.

    It may be to come, and a change of owner must be when the file is accepted; the CRM is read from that moment on.
    """


class LimitsPart(Exact):
    """What the bridge may ask of the account. The CRM's own limits hold besides."""

    per_second: float = Field(default=10.0, gt=0, le=1_000)
    """Calls per second, on average over ten seconds."""
    per_day: int | None = Field(default=None, ge=1, le=1_000_000_000)
    """Calls per day of the account's own calendar; without it, what the CRM says."""
    reserve_per_day: int = Field(default=0, ge=0, le=1_000_000_000)
    """Calls of the day that the bridge leaves to the account's other programs: it never uses them, for nothing."""
    in_flight: int = Field(default=4, ge=1, le=64)
    """Calls at the same time."""


class ConnectionPart(Exact):
    """The tenant's account at one CRM."""

    adapter: str
    """Which CRM: a name from the catalogue; see the page of the CRMs."""
    name: str = Field(default="", pattern=r"^$|" + ID_PATTERN)
    """What facts and logs call the connection; without it, the adapter's name. A new account needs a new name."""
    address: str = ""
    """Where the CRM is, `https://host`; without it, the adapter's own."""
    sign_in_address: str = ""
    """Where one signs in, `https://host`, if not at `address`. No other call goes there."""
    account: Annotated[str, StringConstraints(strip_whitespace=True, min_length=1, max_length=200)]
    """The account that the credentials must belong to; quote a number. A sign-in to another one stops the connection."""
    credentials: dict[str, str]
    """`kind`, and the secrets of that kind as references: `{kind: token, token: env:ACME_TOKEN}`."""
    allow_hosts: list[Annotated[str, Field(min_length=1, max_length=253)]] = Field(default_factory=list, max_length=50)
    """Hosts or addresses in private networks that the bridge may reach for this tenant, each by itself, without scheme, port or
    range; only these may be `http:`."""
    limits: LimitsPart = LimitsPart()
    options: dict[str, Any] = Field(default_factory=dict)
    """The adapter's own settings; see the page of the CRMs."""


class Entry(Exact):
    """Where one field of Sales' lead lives in the CRM. A text alone is short for `{crm: that text}`."""

    crm: CrmNames | None = None
    """The CRM field, by its internal name; for text also a list of fields, with `join`."""
    read: bool = True
    """Whether the CRM's value is read."""
    write: Literal["always", "once", "never"] | None = None
    """`always`; `once`: at creation, or while empty in the CRM; `never`. Default `always` (`never` for times the CRM keeps)."""
    join: str | None = Field(default=None, min_length=1, max_length=20)
    """What stands between the texts of several CRM fields. Writing splits there: a single part goes to the last field."""
    values: dict[str, Word] | None = Field(default=None, min_length=1, max_length=1_000)
    """CRM value: Sales value. For text, status (`new`, `working`, `qualified`, `disqualified`, `converted`) and yes or no."""
    write_values: dict[str, Word] | None = Field(default=None, min_length=1, max_length=1_000)
    """Sales value: CRM value, where several CRM values of `values` mean one Sales value."""
    otherwise: Word | None = None
    """The Sales value of every CRM value that `values` does not list; without it such a value is reported and left out."""
    steps: list[Literal["trim", "lower", "upper"]] | None = Field(default=None, min_length=1, max_length=3)
    """Changes of text, made in both directions."""
    prefix: str | None = Field(default=None, min_length=1, max_length=100)
    """What every CRM value begins with: taken off in reading, put on in writing."""
    scale: float | None = Field(default=None, ge=1e-9, le=1e9)
    """Sales' number is the CRM's times this: `0.01` when the CRM counts cents."""
    time: Literal["rfc3339", "date", "epoch_s", "epoch_ms"] | None = None
    """How the CRM writes the time; without it `rfc3339`."""
    separator: str | None = Field(default=None, min_length=1, max_length=5)
    """What stands between the labels of `tags` in the CRM; without it `;`."""
    currency: str | None = Field(default=None, pattern=r"^[A-Z]{3}$")
    """ISO 4217 code of an amount whose currency the CRM does not hold."""
    currency_crm: CrmName | None = None
    """The CRM field that holds an amount's currency."""
    parts: dict[str, CrmName] | None = Field(default=None, min_length=1)
    """For `owner`, `account` and `contact`: part: CRM field, such as `{user_id: owner_id, display_name: owner_name}`."""
    default: Word | None = None
    """The Sales value when the CRM field is empty."""
    create_default: Word | None = None
    """The Sales value that is written at creation when the command has none."""

    @model_validator(mode="before")
    @classmethod
    def _short_form(cls, value: object) -> object:
        return {"crm": value} if isinstance(value, str | list) else value

    @classmethod
    def __get_pydantic_json_schema__(cls, core_schema: CoreSchema, handler: GetJsonSchemaHandler) -> JsonSchemaValue:
        """The long form, or the short one."""
        long = handler.resolve_ref_schema(handler(core_schema))
        return {
            "anyOf": [{"type": "string", "minLength": 1, "maxLength": 200}, long],
            "description": long.pop("description", ""),
        }


class DeedPart(Exact):
    """What qualifying or disqualifying a lead does in the CRM, besides what the map of `status` says."""

    set: dict[CrmName, CrmValue] = Field(default_factory=dict)
    """CRM field: value to set; null empties it."""
    note: CrmName | None = None
    """The CRM field that takes the command's note."""


def _either(schema: dict[str, Any]) -> None:
    schema["anyOf"] = schema.pop("oneOf")


Deed = Annotated[
    Annotated[DeedPart, AsPart] | Annotated[Literal["unsupported"], AsWord],
    Discriminator(part_or_word),
    Field(json_schema_extra=_either),
]


class PullPart(Exact):
    """How the CRM's changes are read."""

    every_s: Seconds = Field(default=30.0, ge=1.0, le=DAY_S, alias="every")
    """Pause between two looks for changes."""
    page_size: int = Field(default=100, ge=1, le=10_000)
    """Records asked for at a time; the CRM's own limit holds."""
    horizon_s: Seconds = Field(default=60.0, ge=0.0, le=3_600.0, alias="horizon")
    """How far behind the CRM's clock reading stays, since new records show up late in searches."""
    second_pass_s: Seconds = Field(default=900.0, ge=10.0, le=DAY_S, alias="second_pass")
    """How much later the same time is read once more, for what showed up later than `horizon`."""
    removed_every_s: Seconds = Field(default=3_600.0, ge=60.0, le=30 * DAY_S, alias="removed_every")
    """How often the CRM's list of removed records is read."""
    audit_every_s: Seconds = Field(default=DAY_S, ge=300.0, le=90 * DAY_S, alias="audit_every")
    """How often every record is compared."""
    fields_every_s: Seconds = Field(default=900.0, ge=60.0, le=DAY_S, alias="fields_every")
    """How often it is asked which fields the CRM has, where it can say."""


class PushPart(Exact):
    """How commands are carried out."""

    batch: int = Field(default=100, ge=1, le=1_000)
    """Commands in one call; the CRM's own limit holds."""
    attempts_max: int | None = Field(default=None, ge=1, le=100)
    """Tries of one command that fail while others take effect, before a person is asked; without it, the deployment's."""
    after_parked: Literal["wait", "refuse"] = "wait"
    """What becomes of later commands of a lead that waits for a person."""


class ConflictsPart(Exact):
    """Who wins when both sides changed a field. `hold`: the CRM's value stays, and a person is asked."""

    default: ConflictWord = "crm"
    """For every field without a rule of its own."""
    fields: dict[str, ConflictWord] = Field(default_factory=dict)
    """Sales field: rule."""


class TenantFile(Exact):
    """One tenant of the bridge: whose leads, in which CRM, and how its fields map to Sales'."""

    tenant: str = Field(pattern=ID_PATTERN)
    """The tenant's id, as messages carry it in `meta.tenant_id`."""
    leads: list[LeadsEntry] = Field(min_length=1, max_length=1_000)
    """Who owns the tenant's leads, and since when; the domain does before the first entry."""
    connection: ConnectionPart
    fields: dict[str, Entry] = Field(min_length=1, max_length=500)
    """Sales field: where it lives in the CRM. `custom_attributes.<name>` for what the lead has no field for."""
    create: dict[CrmName, CrmValue] = Field(default_factory=dict)
    """CRM fields that get a fixed value when the bridge creates a record."""
    qualify: Deed = DeedPart()
    """What `QualifyLeadRequested` does; `unsupported` refuses it."""
    disqualify: Deed = DeedPart()
    """What `DisqualifyLeadRequested` does, besides writing the reason where `disqualification_reason` lives."""
    pull: PullPart = PullPart()
    push: PushPart = PushPart()
    conflicts: ConflictsPart = ConflictsPart()


Credentials = Annotated[dict[str, Reference], Field()]
