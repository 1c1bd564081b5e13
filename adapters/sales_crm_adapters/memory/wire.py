"""The memory CRM's dialect as values."""

from __future__ import annotations

from typing import Annotated, TypeVar

import msgspec
from msgspec import Meta

from sales_crm_bridge.errors import CrmUnavailable
from sales_crm_bridge.model import HttpReply, Scalar

T = TypeVar("T")

SECOND_US = 1_000_000
LATER_US = 30 * SECOND_US


class Shown(msgspec.Struct, frozen=True):
    """A record as the CRM shows it. ``changed`` and ``made``: epoch seconds; ``merged``: ids that were merged into it."""

    id: str
    etag: str
    made: int
    changed: int
    values: dict[str, Scalar]
    key: str = ""
    removed: bool = False
    merged: tuple[str, ...] = ()


class Leaf(msgspec.Struct, frozen=True):
    """A page: its records undecoded, and the token of the next one ("" none)."""

    records: list[msgspec.Raw]
    next: str = ""


class Trouble(msgspec.Struct, frozen=True):
    """An error: the CRM's word for it, the fields at fault, and the record that stands in the way."""

    error: Annotated[str, Meta(pattern=r"^[a-z-]{1,40}$")] = "unknown"
    fields: tuple[Annotated[str, Meta(pattern=r"^[a-z_]{1,40}$")], ...] = ()
    other: Annotated[str, Meta(pattern=r"^[0-9]{0,20}$")] = ""
    rights: tuple[Annotated[str, Meta(pattern=r"^[a-z:]{1,40}$")], ...] = ()


class Ticket(msgspec.Struct, frozen=True):
    """A sign-in's result: the token, and for how many seconds it is good."""

    token: str
    seconds: int


class Field(msgspec.Struct, frozen=True):
    """A field's definition."""

    name: str
    kind: str
    writable: bool = True
    unique: bool = False
    required: bool = False
    options: tuple[str, ...] = ()


class About(msgspec.Struct, frozen=True):
    """The account."""

    account: str
    name: str
    zone: str
    fields: list[Field]


SHOWN = msgspec.json.Decoder(Shown)
LEAF = msgspec.json.Decoder(Leaf)
TROUBLE = msgspec.json.Decoder(Trouble)
TICKET = msgspec.json.Decoder(Ticket)
ABOUT = msgspec.json.Decoder(About)
encode = msgspec.json.Encoder().encode


def understood(reply: HttpReply, decoder: msgspec.json.Decoder[T]) -> T:
    """The body of a 200; raises ``CrmUnavailable`` for anything else."""
    try:
        if reply.status == 200:  # noqa: PLR2004
            return decoder.decode(reply.body)
        cause = None
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError) as fault:
        cause = fault
    raise CrmUnavailable(
        "memory.unreadable-answer",
        f"the memory CRM answered {reply.status} in a form that cannot be used",
        retry_at_us=reply.answered_us + LATER_US,
        remedy="it is tried again by itself",
    ) from cause


def trouble_of(reply: HttpReply) -> Trouble:
    """What an answer says went wrong, as far as it can be read."""
    try:
        return TROUBLE.decode(reply.body)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return Trouble(error=f"http-{'error' if reply.status < 500 else 'fault'}")  # noqa: PLR2004
