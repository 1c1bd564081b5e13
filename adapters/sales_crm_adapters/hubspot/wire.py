"""HubSpot's answers as values: records, pages, batch answers, errors. Nothing personal leaves an error."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, TypeVar

import msgspec

from sales_crm_bridge.errors import CrmUnavailable

if TYPE_CHECKING:
    from sales_crm_bridge.model import HttpReply, Scalar

T = TypeVar("T")

RETRY_AFTER_US = 60_000_000
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


def time_us(text: str) -> int:
    """Epoch microseconds of an ISO time with zone; raises ``ValueError`` for any other text."""
    moment = datetime.fromisoformat(text)
    if moment.tzinfo is None:
        raise ValueError("a time without a zone")
    since = moment - _EPOCH
    return (since.days * 86_400 + since.seconds) * 1_000_000 + since.microseconds


def text_of(value: Scalar) -> str:
    """A value as HubSpot takes it: all values are text, and ``""`` clears a property."""
    match value:
        case None:
            return ""
        case bool():
            return "true" if value else "false"
        case float() if value.is_integer():
            return str(int(value))
        case _:
            return str(value)


def number(name: str) -> int:
    """An id as HubSpot compares it; -1 for what cannot be one."""
    return int(name) if name.isdecimal() and len(name) < 20 else -1  # noqa: PLR2004


class Head(msgspec.Struct, frozen=True, gc=False, rename="camel"):
    """As much of a record as paging needs."""

    id: str
    updated_at: str
    archived: bool = False
    archived_at: str | None = None


class Row(msgspec.Struct, frozen=True, rename="camel"):
    """A record. A read shows every known property that was asked for (None: empty), a write's answer some of them."""

    id: str
    properties: dict[str, str | None]
    updated_at: str
    created_at: str = ""
    archived: bool = False
    archived_at: str | None = None
    url: str | None = None
    new: bool | None = None
    object_write_trace_id: str | None = None


class Next(msgspec.Struct, frozen=True):
    """Where a list goes on."""

    after: str


class Paging(msgspec.Struct, frozen=True):
    """A list's end has none."""

    next: Next | None = None


class Rows(msgspec.Struct, frozen=True):
    """A page of a list or search, or what a batch read found; the records still undecoded."""

    results: list[msgspec.Raw]
    paging: Paging | None = None
    total: int | None = None


class BatchAnswer(msgspec.Struct, frozen=True):
    """The answer to a batch write; each member is looked at by itself."""

    results: list[msgspec.Raw] = []
    errors: list[dict[str, Any]] = []


class LinkType(msgspec.Struct, frozen=True, rename="camel"):
    """A kind of association."""

    type_id: int


class LinkEnd(msgspec.Struct, frozen=True, rename="camel"):
    """The far end of an association, with all its kinds."""

    to_object_id: int | str
    association_types: list[LinkType] = []


class LinkStart(msgspec.Struct, frozen=True):
    """The near end."""

    id: str


class Links(msgspec.Struct, frozen=True, rename={"start": "from"}):
    """One record's associations."""

    start: LinkStart
    to: list[LinkEnd] = []
    paging: Paging | None = None


class LinksAnswer(msgspec.Struct, frozen=True):
    """Associations of many records; a record without any is missing."""

    results: list[Links]


head_of = msgspec.json.Decoder(Head).decode
row_of = msgspec.json.Decoder(Row).decode
ROWS = msgspec.json.Decoder(Rows)
BATCH = msgspec.json.Decoder(BatchAnswer)
LINKS = msgspec.json.Decoder(LinksAnswer)


def unavailable(reply: HttpReply, code: str = "unreadable-answer") -> CrmUnavailable:
    """What to raise for a reading call whose answer is of no use."""
    return CrmUnavailable(
        f"hubspot.{code}",
        f"HubSpot answered {reply.status} in a form that cannot be used",
        retry_at_us=reply.answered_us + RETRY_AFTER_US,
        remedy="it is tried again by itself; if it goes on, look at HubSpot's status page and at the connection's address",
    )


def understood(reply: HttpReply, decoder: msgspec.json.Decoder[T], *, partial: bool = False) -> T:
    """The body of a good answer (``partial``: 207 is one). Raises ``CrmUnavailable`` for every other answer."""
    if reply.status != 200 and not (partial and reply.status == 207):  # noqa: PLR2004
        raise unavailable(reply)
    try:
        return decoder.decode(reply.body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as fault:
        raise unavailable(reply) from fault


def stamp(head: Head | Row) -> tuple[str, int]:
    """A record's version and modified time; in the bin it is another version, since a restore need not move the time."""
    if head.archived:
        at = head.archived_at or head.updated_at
        return f"archived:{at}", time_us(at)
    return head.updated_at, time_us(head.updated_at)


def merged_ids(row: Row) -> tuple[str, ...]:
    """Every id that was merged into this record; older merges of contacts stand in a property of their own, with times."""
    listed = row.properties.get("hs_merged_object_ids") or ""
    timed = row.properties.get("hs_calculated_merged_vids") or ""
    if not listed and not timed:
        return ()
    ids = [*listed.split(";"), *(part.partition(":")[0] for part in timed.split(";"))]
    return tuple(dict.fromkeys(name for name in ids if name and name != row.id))


def row_in(reply: HttpReply) -> Row:
    """The one record in an answer. Raises ``CrmUnavailable`` for every other answer."""
    if reply.status != 200:  # noqa: PLR2004
        raise unavailable(reply)
    try:
        row = row_of(reply.body)
        stamp(row)
    except (msgspec.MsgspecError, ValueError) as fault:
        raise unavailable(reply) from fault
    return row


# --- errors -----------------------------------------------------------------------------------------------------------

_CODE = re.compile(r"[A-Z][A-Z0-9_]{1,63}(?:\.[A-Z0-9_]{1,63})*")
_NAME = re.compile(r"[a-z][a-z0-9_]{0,99}")
_SCOPE = re.compile(r"[a-z][a-z0-9_.-]{0,99}")
_ABSENT = re.compile(r'Property \\?"?([a-z][a-z0-9_]{0,99})\\?"? does not exist')
_HINT = re.compile(r"Existing ID: ?(\d{1,20})")
CONFLICTING = "CONFLICTING_UNIQUE_VALUE"


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """An error of HubSpot without its words: its codes, the properties it names, the id that its text hints at."""

    status: int
    category: str
    code: str
    fields: tuple[str, ...] = ()
    hint_id: str = ""
    scopes: tuple[str, ...] = ()

    @property
    def conflict(self) -> bool:
        """A unique value is taken: 409 for a contact's email, 400 with a word in its text for an own unique property."""
        return self.status == 409 or self.category == "CONFLICT" or self.code == CONFLICTING  # noqa: PLR2004

    @property
    def absent(self) -> bool:
        """The record is deleted, erased, merged away in a batch, or never was."""
        return self.status == 404 or self.category in ("OBJECT_NOT_FOUND", "NOT_FOUND")  # noqa: PLR2004


def parsed(body: bytes) -> dict[str, Any]:
    """A JSON object, or an empty one for anything else (HubSpot's gateways answer with HTML)."""
    try:
        value = msgspec.json.decode(body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return {}
    return value if isinstance(value, dict) else {}


def word(source: dict[str, Any], *names: str) -> str:
    """The first of these members that looks like one of HubSpot's codes, else ``""``."""
    for name in names:
        value = source.get(name)
        if isinstance(value, str) and _CODE.fullmatch(value):
            return value
    return ""


def failure_of(status: int, error: dict[str, Any]) -> Failure:
    """Read an error body, or one member of a 207's ``errors``; every field of it is optional (HubSpot's error page)."""
    message = error.get("message")
    message = message if isinstance(message, str) else ""
    listed = error.get("errors")
    details = [detail for detail in listed if isinstance(detail, dict)] if isinstance(listed, list) else []
    details += _embedded(message)
    texts = [message, *(str(detail.get("message", "")) for detail in details)]
    words = [word(detail, "code", "error") for detail in details]
    conflicting = CONFLICTING in words or any(CONFLICTING in text for text in texts)
    category = word(error, "category", "status", "errorType")
    code = CONFLICTING if conflicting else next((found for found in words if found), "") or word(error, "subCategory")
    names = [name for detail in details for name in _names(detail)]
    names += [name for text in texts for name in _ABSENT.findall(text)]
    if isinstance(context := error.get("context"), dict):
        names += _strings(context.get("propertyName"))
    hint = _HINT.search(message)
    return Failure(
        status=status,
        category=category,
        code=code or category or f"HTTP_{status}",
        fields=tuple(dict.fromkeys(name for name in names if _NAME.fullmatch(name))),
        hint_id=hint[1] if hint else "",
        scopes=tuple(dict.fromkeys(name for detail in details for name in _scopes(detail))),
    )


def traces_of(error: dict[str, Any]) -> list[str]:
    """The inputs that a member of a 207's ``errors`` is about."""
    context = error.get("context")
    return _strings(context.get("objectWriteTraceId")) if isinstance(context, dict) else []


def _embedded(message: str) -> list[dict[str, Any]]:
    """HubSpot puts the list of invalid values, as JSON, into the message."""
    _, bracket, rest = message.partition("[")
    if not bracket:
        return []
    try:
        value = msgspec.json.decode(f"[{rest}")
    except (msgspec.MsgspecError, UnicodeError, RecursionError):
        return []
    return [member for member in value if isinstance(member, dict)] if isinstance(value, list) else []


def _strings(value: object) -> list[str]:
    if isinstance(value, str):
        return [value]
    return [member for member in value if isinstance(member, str)] if isinstance(value, list) else []


def _names(detail: dict[str, Any]) -> list[str]:
    context = detail.get("context")
    inner = _strings(context.get("propertyName")) if isinstance(context, dict) else []
    return [*inner, *_strings(detail.get("in")), *_strings(detail.get("name"))]


def _scopes(detail: dict[str, Any]) -> list[str]:
    context = detail.get("context")
    if not isinstance(context, dict):
        return []
    found = _strings(context.get("requiredGranularScopes")) or _strings(context.get("requiredScopes"))
    return [name for name in found if _SCOPE.fullmatch(name)]
