"""The language's words about records and the lists that show them."""

from __future__ import annotations

from typing import Annotated, Literal

import msgspec
from msgspec import Meta

from sales_crm_adapters.rest.notions import Aside, Atom, Filter, Part, Places, Request, Size, Steps, Tests, Text, Times


class Id(Part, frozen=True, kw_only=True):
    """An id or a version, and how requests carry it."""

    at: Annotated[Steps, Meta(description="Where it stands.")]
    type: Annotated[Literal["text", "number"], Meta(description="What requests carry it as.")] = "text"


class States(Part, frozen=True, kw_only=True):
    """What a record looks like that is not simply alive; the first that holds counts."""

    archived: Annotated[Tests | None, Meta(description="It is in the bin, or archived.")] = None
    merged: Annotated[Tests | None, Meta(description="It was merged into another one.")] = None
    converted: Annotated[Tests | None, Meta(description="It was converted.")] = None


class FieldOption(Part, frozen=True, kw_only=True):
    """One CRM field that the general rule does not fit."""

    read: Annotated[Steps | None, Meta(description="Where it stands among the fields; without it, its name.")] = None
    write: Annotated[
        Steps | None, Meta(description="Where it is written among the fields; without it, where it is read.")
    ] = None
    empty: Annotated[list[Atom] | None, Meta(description="Values that mean: no value.")] = None
    clear: Annotated[Atom | msgspec.UnsetType, Meta(description="What is written to empty it.")] = msgspec.UNSET
    separator: Annotated[
        str, Meta(max_length=5, description="It holds a list: what stands between the members in one text.")
    ] = ""
    read_only: Annotated[bool, Meta(description="It cannot be written.")] = False
    required: Annotated[bool, Meta(description="A record must have it.")] = False
    unique: Annotated[bool, Meta(description="No two records have the same.")] = False
    values: Annotated[list[str], Meta(description="The values that it accepts.")] = msgspec.field(default_factory=list)
    kind: Annotated[str, Meta(max_length=40, description="Its kind, for people.")] = ""


class RecordPart(Part, frozen=True, kw_only=True):
    """What a record of the CRM looks like, in whichever answer it stands."""

    id: Annotated[Steps | Id, Meta(description="Where the record's id stands.")]
    modified: Annotated[Steps | Times | None, Meta(description="Where the time of its last change stands.")] = None
    created: Annotated[Steps | Times | None, Meta(description="Where the time of its making stands.")] = None
    version: Annotated[
        Steps | Id | None, Meta(description="Where its version stands; without it, the time of its last change serves.")
    ] = None
    key: Annotated[Steps | None, Meta(description="Where our lead id stands in it; a new record gets it there.")] = None
    fields: Annotated[Steps, Meta(description="Where the object of the mapped fields stands.")] = ""
    url: Annotated[Text, Meta(description="Where a person sees it, with `{id}`.")] = ""
    states: Annotated[States, Meta(description="How a record shows that it is not simply alive.")] = States()
    into: Annotated[Steps | None, Meta(description="Where a merged record names its survivor.")] = None
    merged_ids: Annotated[Steps | None, Meta(description="Where a survivor names what was merged into it.")] = None
    successors: Annotated[
        dict[str, Steps], Meta(description="What a converted lead became: type, and where the id stands.")
    ] = msgspec.field(default_factory=dict)
    empty: Annotated[list[Atom], Meta(description="Values that mean: no value, in any field.")] = msgspec.field(
        default_factory=list
    )
    clear: Annotated[Atom, Meta(description="What is written to empty a field.")] = None
    options: Annotated[
        dict[str, FieldOption], Meta(description="CRM fields that the general rule does not fit, by name.")
    ] = msgspec.field(default_factory=dict)


class PagePart(Part, frozen=True, kw_only=True):
    """How a list is cut into pages."""

    by: Annotated[
        Literal["number", "offset", "cursor", "link", "id", "time", "none"],
        Meta(description="What the next page is asked by; `time` is for changes alone."),
    ]
    size: Annotated[Size, Meta(description="The largest page; `{limit}` never exceeds it.")] = 100
    first: Annotated[int, Meta(ge=0, le=1, description="The number of the first page; for pages by number alone.")] = 1
    next: Annotated[
        Steps | Aside | None, Meta(description="Where the next cursor, link, offset or page number stands.")
    ] = None
    more: Annotated[Steps | None, Meta(description="Where it stands whether there are more pages.")] = None
    total: Annotated[
        Steps | Aside | None, Meta(description="Where the number of all records stands; for pages by number or offset.")
    ] = None
    pages: Annotated[Steps | None, Meta(description="Where the number of pages stands; for pages by number alone.")] = (
        None
    )
    short_ends: Annotated[bool, Meta(description="A page that is not full is the last one.")] = False
    steady: Annotated[bool, Meta(description="The CRM keeps a list still while it is paged by number or offset.")] = (
        False
    )
    strip: Annotated[
        str,
        Meta(
            max_length=200,
            description="What the paths of links begin with that the address has already; without it the path of the address.",
        ),
    ] = ""


class Listing(Request, frozen=True, kw_only=True):
    """A request that lists records."""

    records: Annotated[
        Places, Meta(description="Where the records stand; several paths for several lists in one answer.")
    ]
    page: Annotated[PagePart, Meta(description="How the list is cut into pages.")]


class AllList(Listing, frozen=True, kw_only=True):
    """Every live record."""


class ChangesList(Listing, frozen=True, kw_only=True):
    """Records by the time of their last change, from `{since}` on."""

    time: Annotated[
        Filter | None, Meta(description="How `{since}` and `{until}` are written, where not as the modified time.")
    ] = None
    since_exclusive: Annotated[bool, Meta(description="The filter leaves out records of that very time.")] = False


class RowShape(Part, frozen=True, kw_only=True):
    """What a row of a list of removed records looks like."""

    id: Annotated[Steps, Meta(description="Where the record's id stands.")]
    modified: Annotated[Steps | Times | None, Meta(description="Where the time of the removal stands.")] = None


class RemovedList(ChangesList, frozen=True, kw_only=True):
    """Records that were removed, all of them or from `{since}` on."""

    record: Annotated[RowShape | None, Meta(description="What a row looks like, if it is not a whole record.")] = None
    state: Annotated[Literal["archived", "gone"], Meta(description="Whether they can come back.")] = "archived"


class Lists(Part, frozen=True, kw_only=True):
    """The lists that show what there is and what changed."""

    all: Annotated[AllList, Meta(description="Every live record: the first import, later the audit.")]
    changes: Annotated[
        ChangesList | None, Meta(description="Changes by time; without it, everything is read again and again.")
    ] = None
    removed: Annotated[RemovedList | None, Meta(description="The bin, or the list of deleted records.")] = None
