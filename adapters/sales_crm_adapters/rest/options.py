"""The language in which a tenant's file declares its CRM: everything that may stand under ``connection.options`` of ``rest``.

The classes are the documentation: the JSON Schema for editors is made from them, and every mistake is found against them.
What is common to all of them: requests hold templates (``templates``), answers are read by paths (``paths``), and what an answer
means is told by tests of values (``checks``). Nothing in it is code, and nothing of it is a regular expression.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

from sales_crm_adapters.rest.about_records import Lists, RecordPart
from sales_crm_adapters.rest.about_us import CheckPart, SignIn, WebhookPart
from sales_crm_adapters.rest.notions import (
    AnyTest,
    Aside,
    Common,
    Condition,
    HeaderName,
    Name,
    Part,
    Places,
    Request,
    Size,
    Steps,
    Tests,
    Word,
)


class ReadOne(Request, frozen=True, kw_only=True):
    """One record."""

    record: Annotated[Steps, Meta(description="Where it stands; in a list the one with our `{id}`.")] = ""


class ReadMany(Request, frozen=True, kw_only=True):
    """Many records by their ids."""

    records: Annotated[Steps, Meta(description="Where they stand.")]
    max: Annotated[Size, Meta(description="The most ids in one request.")] = 100
    complete: Annotated[
        bool, Meta(description="A record that is not in the answer is gone; otherwise it is asked for by itself.")
    ] = False


class ReadKey(Request, frozen=True, kw_only=True):
    """The record under our lead id."""

    records: Annotated[
        Places | None, Meta(description="Where the records that were found stand; several paths for several lists.")
    ] = None
    record: Annotated[Steps | None, Meta(description="Where the record stands, if the answer is one record.")] = None


class ReadPart(Part, frozen=True, kw_only=True):
    """How records are read by name, straight from the CRM's records."""

    one: Annotated[ReadOne, Meta(description="One record by its `{id}`.")]
    many: Annotated[ReadMany | None, Meta(description="Many records by their `{ids}`.")] = None
    key: Annotated[ReadKey | None, Meta(description="The record under our `{key}`, without delay.")] = None


class WriteCall(Request, frozen=True, kw_only=True):
    """A request that writes one record."""

    record: Annotated[Steps | None, Meta(description="Where the whole record stands in the answer.")] = None
    id: Annotated[Steps | None, Meta(description="Where the record's id stands, if the record does not.")] = None
    adopted: Annotated[Condition | None, Meta(description="An answer that says: the record was there before.")] = None


class Results(Part, frozen=True, kw_only=True):
    """How a batch answer tells what became of each member."""

    at: Annotated[Steps, Meta(description="Where the list of results stands.")]
    match: Annotated[
        Literal["position", "id", "key", "trace"], Meta(description="What a result names its member by.")
    ] = "position"
    by: Annotated[Steps | None, Meta(description="Where that name stands in a result.")] = None
    status: Annotated[Steps | None, Meta(description="Where a status like HTTP's stands in a result.")] = None
    ok: Annotated[Tests | None, Meta(description="What a good result looks like, where it has no status.")] = None
    body: Annotated[
        Steps, Meta(description="Where the member's own answer stands in a result: failures are told of it.")
    ] = ""
    record: Annotated[Steps | None, Meta(description="Where the whole record stands in a result.")] = None
    id: Annotated[Steps | None, Meta(description="Where the record's id stands in a result.")] = None
    adopted: Annotated[Tests | None, Meta(description="A result that says: the record was there before.")] = None


class BatchCall(Request, frozen=True, kw_only=True):
    """A request that writes many records."""

    item: Annotated[Any, Meta(description="What one member of `{items}` looks like; templates as in a single write.")]
    results: Annotated[Results, Meta(description="How the answer tells what became of each.")]


class Batch(Part, frozen=True, kw_only=True):
    """Writes of many records at once."""

    max: Annotated[Annotated[int, Meta(ge=2, le=1_000)], Meta(description="The most members in one request.")]
    create: Annotated[BatchCall | None, Meta(description="Many new records.")] = None
    upsert: Annotated[BatchCall | None, Meta(description="Many new records, by our key.")] = None
    update: Annotated[BatchCall | None, Meta(description="Many changes.")] = None


class Holder(Request, frozen=True, kw_only=True):
    """Who holds a value that must be unique."""

    records: Annotated[Places, Meta(description="Where the records stand that hold it.")]


class Extra(Part, frozen=True, kw_only=True):
    """A request for what is neither a create nor an update."""

    when: Annotated[dict[str, AnyTest], Meta(description="The write sets these CRM fields to these values.")]
    call: Annotated[Request, Meta(description="The request.")]
    takes: Annotated[list[str], Meta(description="Fields that the ordinary write then leaves to it.")] = msgspec.field(
        default_factory=list
    )
    order: Annotated[Literal["first", "last"], Meta(description="Before or after the ordinary write.")] = "last"


class WritePart(Part, frozen=True, kw_only=True):
    """How commands are carried out."""

    create: Annotated[WriteCall | None, Meta(description="A new record.")] = None
    upsert: Annotated[
        WriteCall | None, Meta(description="A new record by our `{key}`: a repeat makes no second one.")
    ] = None
    update: Annotated[WriteCall, Meta(description="A change of some fields of one record.")]
    conditional: Annotated[
        bool,
        Meta(
            description="The update names the `{version}` it stands on, and is refused (`conflict`) when that is past."
        ),
    ] = False
    unique_key: Annotated[bool, Meta(description="The CRM refuses a second record with our key (`duplicate`).")] = False
    holder: Annotated[Holder | None, Meta(description="After `duplicate`: who holds the value.")] = None
    calls: Annotated[list[Extra], Meta(description="Requests for what is neither, such as a conversion.")] = (
        msgspec.field(default_factory=list)
    )
    batch: Annotated[Batch | None, Meta(description="Writes of many records at once.")] = None
    parallel: Annotated[int, Meta(ge=1, le=100, description="Single writes that are handed over together.")] = 10


Means = Literal[
    "ok", "sign_in", "permission", "forbidden", "quota", "quota_day", "busy", "turned_away", "validation", "duplicate",
    "conflict", "gone", "archived", "merged", "converted", "expired", "unsupported", "bisect", "unknown",
]  # fmt: skip


class Wait(Part, frozen=True, kw_only=True):
    """Where the CRM says how long to wait."""

    header: Annotated[HeaderName | None, Meta(description="In this header.")] = None
    at: Annotated[Steps | None, Meta(description="At this place of the body.")] = None
    unit: Annotated[
        Literal["s", "ms", "epoch_s", "epoch_ms"], Meta(description="A duration, or a moment to wait for.")
    ] = "s"


class Failure(Part, frozen=True, kw_only=True):
    """One rule of what an answer means; the first that holds counts."""

    when: Annotated[Condition, Meta(description="What the answer is like.")]
    means: Annotated[Means, Meta(description="What it means.")]
    code: Annotated[Steps | None, Meta(description="Where the CRM's own code stands.")] = None
    say: Annotated[Word | None, Meta(description="The code that is told where the CRM has none.")] = None
    fields: Annotated[
        Places | None,
        Meta(description="Where the names of the fields at fault stand; `@keys` for the names of a mapping."),
    ] = None
    named_in: Annotated[Steps | None, Meta(description="Where a text stands that names the fields at fault.")] = None
    other: Annotated[
        Steps | None, Meta(description="Where the id stands of the record in the way, or of the survivor.")
    ] = None
    wait: Annotated[Wait | None, Meta(description="Where the CRM says how long to wait.")] = None


class LimitsPart(Part, frozen=True, kw_only=True):
    """What the CRM says about its limits."""

    budgets: Annotated[
        dict[str, Annotated[float, Meta(gt=0, le=10_000)]],
        Meta(description="Limits counted apart: name, calls per second."),
    ] = msgspec.field(default_factory=dict)
    wait: Annotated[Wait, Meta(description="Where it says how long to wait.")] = Wait(header="retry-after")
    day_left: Annotated[Aside | None, Meta(description="Where it says how many calls are left of the day.")] = None
    per_day: Annotated[Annotated[int, Meta(ge=1)] | None, Meta(description="Calls per day.")] = None


class Options(Part, frozen=True, kw_only=True):
    """A CRM, declared."""

    crm: Annotated[Name, Meta(description="The CRM's name, in codes and messages.")]
    sign_in: Annotated[SignIn, Meta(description="How the bridge signs in.")]
    common: Annotated[Common, Meta(description="What is put under every request.")] = Common()
    record: Annotated[RecordPart, Meta(description="What a record looks like.")]
    lists: Annotated[Lists, Meta(description="The lists that show what there is and what changed.")]
    read: Annotated[ReadPart, Meta(description="How records are read by name.")]
    write: Annotated[WritePart, Meta(description="How commands are carried out.")]
    failures: Annotated[list[Failure], Meta(description="What answers mean, before the defaults by status.")] = (
        msgspec.field(default_factory=list)
    )
    limits: Annotated[LimitsPart, Meta(description="What the CRM says about its limits.")] = LimitsPart()
    check: Annotated[CheckPart, Meta(description="Who we are, what there is, what we may.")] = CheckPart()
    webhook: Annotated[WebhookPart | None, Meta(description="What deliveries look like.")] = None
