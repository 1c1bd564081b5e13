"""The language in which a tenant's file declares its CRM: everything that may stand under ``connection.options`` of ``rest``.

The classes are the documentation: the JSON Schema for editors is made from them, and every mistake is found against them.
What is common to all of them: requests hold templates (``templates``), answers are read by paths (``paths``), and what an answer
means is told by tests of values (``tests``). Nothing in it is code, and nothing of it is a regular expression.
"""

from __future__ import annotations

from typing import Annotated, Any, Literal

import msgspec
from msgspec import Meta

Atom = str | int | float | bool | None
"""A single JSON value."""

Steps = str | list[str | int]
"""A path into an answer: steps with dots between, or a list of steps where a name holds a dot."""

Places = str | list[str | list[str | int]]
"""One path, or a list of paths (each a text or a list of steps)."""

Name = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9-]{0,39}$")]
Method = Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
Target = Annotated[str, Meta(min_length=1, max_length=2_000, pattern="^/")]
HeaderName = Annotated[str, Meta(pattern=r"^[A-Za-z0-9!#$%&'*+.^_`|~-]{1,100}$")]
Text = Annotated[str, Meta(max_length=2_000)]
Size = Annotated[int, Meta(ge=1, le=10_000)]


class _Part(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    """A mapping of the language: unknown keys are mistakes."""


# --- small notions ----------------------------------------------------------------------------------------------------


class Aside(_Part, kw_only=True):
    """A value that does not stand in the answer's body: exactly one of these."""

    header: Annotated[HeaderName | None, Meta(description="It stands in this header; case does not count.")] = None
    cookie: Annotated[HeaderName | None, Meta(description="It stands in this cookie that the answer sets.")] = None


class Test(_Part, kw_only=True, rename={"not_": "not"}):
    """What a value must be like; everything that is given must hold."""

    has: Annotated[
        str | list[str] | None,
        Meta(description="The text contains this, or one of these; case does not count. At most 2,000 characters are looked at."),
    ] = None
    present: Annotated[bool | None, Meta(description="Whether there is a value that is not null.")] = None
    not_: Annotated[str | int | float | bool | list[Atom] | None, Meta(description="It is none of these values.")] = None


AnyTest = str | int | float | bool | None | list[Atom] | Test
"""A test of one value: the value itself, a list of which it must be one, or more words."""

Tests = dict[str, AnyTest]
"""Path → test; all must hold."""


class Condition(_Part, kw_only=True):
    """What an answer must be like; everything that is given must hold."""

    status: Annotated[
        int | str | list[int | str] | None, Meta(description="The HTTP status: 404, 4xx, or a list of such.")
    ] = None
    body: Annotated[Tests | None, Meta(description="Path in the body: test.")] = None
    header: Annotated[Tests | None, Meta(description="Header: test.")] = None


class Times(_Part, kw_only=True):
    """A moment, and how the CRM writes it."""

    at: Annotated[Steps, Meta(description="Where it stands.")]
    format: Annotated[
        Literal["rfc3339", "datetime", "date", "epoch_s", "epoch_ms", "http_date"],
        Meta(description="How it is written; datetime is `YYYY-MM-DD HH:MM:SS`."),
    ] = "rfc3339"
    zone: Annotated[str, Meta(max_length=60, description="The time zone of times that name none.")] = "UTC"
    step: Annotated[
        Literal["us", "ms", "s", "m", "d"] | None,
        Meta(description="The grain of these times; without it, as fine as the format can tell."),
    ] = None


class Filter(_Part, kw_only=True):
    """How `{since}` and `{until}` are written, where not as the modified time is."""

    format: Annotated[
        Literal["rfc3339", "datetime", "date", "epoch_s", "epoch_ms", "http_date"], Meta(description="As for times.")
    ] = "rfc3339"
    zone: Annotated[str, Meta(max_length=60, description="The time zone of formats that name none.")] = "UTC"
    step: Annotated[Literal["us", "ms", "s", "m", "d"] | None, Meta(description="The grain.")] = None


class Request(_Part, kw_only=True):
    """One request. Texts may hold `{variables}`; a member whose variable has no value is left out."""

    path: Annotated[Target, Meta(description="Below the connection's address.")]
    method: Annotated[Method | None, Meta(description="Without it GET, or POST where there is a body or form.")] = None
    query: Annotated[dict[str, Any], Meta(description="Query parameters; a list repeats the parameter.")] = {}
    headers: Annotated[dict[str, str], Meta(description="Headers.")] = {}
    body: Annotated[Any, Meta(description="The body, sent as JSON.")] = None
    form: Annotated[dict[str, Any] | None, Meta(description="The body, sent as a form.")] = None
    budget: Annotated[str, Meta(max_length=40, description="A limit of `limits.budgets` that the call counts on.")] = ""


class Common(_Part, kw_only=True):
    """What is put under every request but those of the sign-in; the request's own words win."""

    query: Annotated[dict[str, Any], Meta(description="Query parameters.")] = {}
    headers: Annotated[dict[str, str], Meta(description="Headers.")] = {}
    body: Annotated[dict[str, Any], Meta(description="Members of every body that is a mapping, merged deep.")] = {}


# --- sign-in ----------------------------------------------------------------------------------------------------------


class StaticToken(_Part, kw_only=True):
    """A token that does not change. Credentials: `{kind: token, token: …}`."""

    header: Annotated[HeaderName, Meta(description="The header that carries it.")] = "Authorization"
    value: Annotated[Text, Meta(description="Its value.")] = "Bearer {secret.token}"


class Basic(_Part, kw_only=True):
    """HTTP's basic sign-in. Credentials: `{kind: basic, username: …, password: …}`."""


class Grant(_Part, kw_only=True):
    """An OAuth 2 token endpoint (RFC 6749)."""

    path: Annotated[Target, Meta(description="The token endpoint, below the connection's address.")]
    client: Annotated[
        Literal["body", "basic"], Meta(description="Whether client id and secret go into the form or into a basic sign-in.")
    ] = "body"
    scope: Annotated[str, Meta(max_length=1_000, description="The scopes asked for.")] = ""
    more: Annotated[dict[str, str], Meta(description="Further members of the form.")] = {}
    token: Annotated[Steps, Meta(description="Where the token stands in the answer.")] = "access_token"
    expires_in: Annotated[Steps, Meta(description="Where the seconds stand that it is good for.")] = "expires_in"
    refresh_token: Annotated[Steps, Meta(description="Where a new refresh token stands.")] = "refresh_token"
    header: Annotated[HeaderName, Meta(description="The header that carries the token.")] = "Authorization"
    value: Annotated[Text, Meta(description="Its value.")] = "Bearer {token}"


class Login(Request, kw_only=True):
    """A call that signs in and yields a token. Credentials: `{kind: login, username: …, password: …}`."""

    token: Annotated[Steps | Aside, Meta(description="Where the token stands in the answer.")]
    expires_in: Annotated[Steps | None, Meta(description="Where the seconds stand that it is good for.")] = None
    lasts_s: Annotated[
        int, Meta(ge=0, le=31_536_000, description="The seconds that it is good for, if the answer does not say; 0: no end.")
    ] = 0
    header: Annotated[HeaderName, Meta(description="The header that carries the token.")] = "Authorization"
    value: Annotated[Text, Meta(description="Its value.")] = "Bearer {token}"


class SignIn(_Part, kw_only=True):
    """How the bridge signs in: exactly one of these, of the same name as `credentials.kind`."""

    token: Annotated[StaticToken | None, Meta(description="A static header.")] = None
    basic: Annotated[Basic | None, Meta(description="HTTP basic.")] = None
    refresh_token: Annotated[Grant | None, Meta(description="OAuth 2 with a refresh token, which the CRM may rotate.")] = None
    client_credentials: Annotated[Grant | None, Meta(description="OAuth 2 with client credentials.")] = None
    login: Annotated[Login | None, Meta(description="A call that yields a token or a session.")] = None


# --- records ----------------------------------------------------------------------------------------------------------


class Id(_Part, kw_only=True):
    """The record's id."""

    at: Annotated[Steps, Meta(description="Where it stands.")]
    type: Annotated[Literal["text", "number"], Meta(description="What requests carry it as.")] = "text"


class States(_Part, kw_only=True):
    """What a record looks like that is not simply alive; the first that holds counts."""

    archived: Annotated[Tests | None, Meta(description="It is in the bin, or archived.")] = None
    merged: Annotated[Tests | None, Meta(description="It was merged into another one.")] = None
    converted: Annotated[Tests | None, Meta(description="It was converted.")] = None


class FieldOption(_Part, kw_only=True):
    """One CRM field that the general rule does not fit."""

    read: Annotated[Steps | None, Meta(description="Where it stands among the fields; without it, its name.")] = None
    write: Annotated[Steps | None, Meta(description="Where it is written among the fields; without it, where it is read.")] = None
    empty: Annotated[list[Atom] | None, Meta(description="Values that mean: no value.")] = None
    clear: Annotated[Atom | msgspec.UnsetType, Meta(description="What is written to empty it.")] = msgspec.UNSET
    separator: Annotated[
        str, Meta(max_length=5, description="It holds a list: what stands between the members in one text.")
    ] = ""
    read_only: Annotated[bool, Meta(description="It cannot be written.")] = False
    required: Annotated[bool, Meta(description="A record must have it.")] = False
    unique: Annotated[bool, Meta(description="No two records have the same.")] = False
    values: Annotated[list[str], Meta(description="The values that it accepts.")] = []
    kind: Annotated[str, Meta(max_length=40, description="Its kind, for people.")] = ""


class RecordPart(_Part, kw_only=True):
    """What a record of the CRM looks like, in whichever answer it stands."""

    id: Annotated[Steps | Id, Meta(description="Where the record's id stands.")]
    modified: Annotated[Steps | Times | None, Meta(description="Where the time of its last change stands.")] = None
    created: Annotated[Steps | Times | None, Meta(description="Where the time of its making stands.")] = None
    version: Annotated[
        Steps | None, Meta(description="Where its version stands; without it, the time of its last change serves.")
    ] = None
    key: Annotated[
        Steps | None, Meta(description="Where our lead id stands in it; a new record gets it there.")
    ] = None
    fields: Annotated[Steps, Meta(description="Where the object of the mapped fields stands.")] = ""
    url: Annotated[Text, Meta(description="Where a person sees it, with `{id}`.")] = ""
    states: Annotated[States, Meta(description="How a record shows that it is not simply alive.")] = States()
    into: Annotated[Steps | None, Meta(description="Where a merged record names its survivor.")] = None
    merged_ids: Annotated[Steps | None, Meta(description="Where a survivor names what was merged into it.")] = None
    successors: Annotated[dict[str, Steps], Meta(description="What a converted lead became: type, and where the id stands.")] = {}
    empty: Annotated[list[Atom], Meta(description="Values that mean: no value, in any field.")] = []
    clear: Annotated[Atom, Meta(description="What is written to empty a field.")] = None
    options: Annotated[dict[str, FieldOption], Meta(description="CRM fields that the general rule does not fit, by name.")] = {}


# --- lists ------------------------------------------------------------------------------------------------------------


class PagePart(_Part, kw_only=True):
    """How a list is cut into pages."""

    by: Annotated[
        Literal["number", "offset", "cursor", "link", "id", "time", "none"],
        Meta(description="What the next page is asked by; `time` is for changes alone."),
    ]
    size: Annotated[Size, Meta(description="The largest page; `{limit}` never exceeds it.")] = 100
    first: Annotated[int, Meta(ge=0, le=1, description="The number of the first page.")] = 1
    next: Annotated[Steps | Aside | None, Meta(description="Where the next cursor, link, offset or page number stands.")] = None
    more: Annotated[Steps | None, Meta(description="Where it stands whether there are more pages.")] = None
    total: Annotated[Steps | Aside | None, Meta(description="Where the number of all records stands.")] = None
    short_ends: Annotated[bool, Meta(description="A page that is not full is the last one.")] = False
    steady: Annotated[bool, Meta(description="The CRM keeps a list still while it is paged by number or offset.")] = False
    strip: Annotated[str, Meta(max_length=200, description="What the paths of links begin with that the address has already.")] = ""


class Listing(Request, kw_only=True):
    """A request that lists records."""

    records: Annotated[
        Places, Meta(description="Where the records stand; several paths for several lists in one answer.")
    ]
    page: Annotated[PagePart, Meta(description="How the list is cut into pages.")]


class AllList(Listing, kw_only=True):
    """Every live record."""


class ChangesList(Listing, kw_only=True):
    """Records by the time of their last change, from `{since}` on."""

    time: Annotated[Filter | None, Meta(description="How `{since}` and `{until}` are written, where not as the modified time.")] = None
    since_exclusive: Annotated[bool, Meta(description="The filter leaves out records of that very time.")] = False


class RowShape(_Part, kw_only=True):
    """What a row of a list of removed records looks like."""

    id: Annotated[Steps, Meta(description="Where the record's id stands.")]
    modified: Annotated[Steps | Times | None, Meta(description="Where the time of the removal stands.")] = None


class RemovedList(ChangesList, kw_only=True):
    """Records that were removed, all of them or from `{since}` on."""

    record: Annotated[RowShape | None, Meta(description="What a row looks like, if it is not a whole record.")] = None
    state: Annotated[
        Literal["archived", "gone"], Meta(description="Whether they can come back.")
    ] = "archived"


class Lists(_Part, kw_only=True):
    """The lists that show what there is and what changed."""

    all: Annotated[AllList, Meta(description="Every live record: the first import, later the audit.")]
    changes: Annotated[
        ChangesList | None, Meta(description="Changes by time; without it, everything is read again and again.")
    ] = None
    removed: Annotated[RemovedList | None, Meta(description="The bin, or the list of deleted records.")] = None


# --- reading and writing ----------------------------------------------------------------------------------------------


class ReadOne(Request, kw_only=True):
    """One record."""

    record: Annotated[Steps, Meta(description="Where it stands; the first one if a list stands there.")] = ""


class ReadMany(Request, kw_only=True):
    """Many records by their ids."""

    records: Annotated[Steps, Meta(description="Where they stand.")]
    max: Annotated[Size, Meta(description="The most ids in one request.")] = 100
    complete: Annotated[
        bool, Meta(description="A record that is not in the answer is gone; otherwise it is asked for by itself.")
    ] = False


class ReadKey(Request, kw_only=True):
    """The record under our lead id."""

    records: Annotated[Steps | None, Meta(description="Where the records that were found stand.")] = None
    record: Annotated[Steps | None, Meta(description="Where the record stands, if the answer is one record.")] = None


class ReadPart(_Part, kw_only=True):
    """How records are read by name, straight from the CRM's records."""

    one: Annotated[ReadOne, Meta(description="One record by its `{id}`.")]
    many: Annotated[ReadMany | None, Meta(description="Many records by their `{ids}`.")] = None
    key: Annotated[ReadKey | None, Meta(description="The record under our `{key}`, without delay.")] = None


class WriteCall(Request, kw_only=True):
    """A request that writes one record."""

    record: Annotated[Steps | None, Meta(description="Where the whole record stands in the answer.")] = None
    id: Annotated[Steps | None, Meta(description="Where the record's id stands, if the record does not.")] = None
    adopted: Annotated[Condition | None, Meta(description="An answer that says: the record was there before.")] = None


class Results(_Part, kw_only=True):
    """How a batch answer tells what became of each member."""

    at: Annotated[Steps, Meta(description="Where the list of results stands.")]
    match: Annotated[
        Literal["position", "id", "key", "trace"], Meta(description="What a result names its member by.")
    ] = "position"
    by: Annotated[Steps | None, Meta(description="Where that name stands in a result.")] = None
    status: Annotated[Steps | None, Meta(description="Where a status like HTTP's stands in a result.")] = None
    ok: Annotated[Tests | None, Meta(description="What a good result looks like, where it has no status.")] = None
    body: Annotated[Steps, Meta(description="Where the member's own answer stands in a result: failures are told of it.")] = ""
    record: Annotated[Steps | None, Meta(description="Where the whole record stands in a result.")] = None
    id: Annotated[Steps | None, Meta(description="Where the record's id stands in a result.")] = None
    adopted: Annotated[Tests | None, Meta(description="A result that says: the record was there before.")] = None


class BatchCall(Request, kw_only=True):
    """A request that writes many records."""

    item: Annotated[Any, Meta(description="What one member of `{items}` looks like; templates as in a single write.")]
    results: Annotated[Results, Meta(description="How the answer tells what became of each.")]


class Batch(_Part, kw_only=True):
    """Writes of many records at once."""

    max: Annotated[Annotated[int, Meta(ge=2, le=1_000)], Meta(description="The most members in one request.")]
    create: Annotated[BatchCall | None, Meta(description="Many new records.")] = None
    upsert: Annotated[BatchCall | None, Meta(description="Many new records, by our key.")] = None
    update: Annotated[BatchCall | None, Meta(description="Many changes.")] = None


class Holder(Request, kw_only=True):
    """Who holds a value that must be unique."""

    records: Annotated[Steps, Meta(description="Where the records stand that hold it.")]


class Extra(_Part, kw_only=True):
    """A request for what is neither a create nor an update."""

    when: Annotated[dict[str, AnyTest], Meta(description="The write sets these CRM fields to these values.")]
    call: Annotated[Request, Meta(description="The request.")]
    takes: Annotated[list[str], Meta(description="Fields that the ordinary write then leaves to it.")] = []
    order: Annotated[Literal["first", "last"], Meta(description="Before or after the ordinary write.")] = "last"


class WritePart(_Part, kw_only=True):
    """How commands are carried out."""

    create: Annotated[WriteCall | None, Meta(description="A new record.")] = None
    upsert: Annotated[
        WriteCall | None, Meta(description="A new record by our `{key}`: a repeat makes no second one.")
    ] = None
    update: Annotated[WriteCall, Meta(description="A change of some fields of one record.")]
    conditional: Annotated[
        bool, Meta(description="The update names the `{version}` it stands on, and is refused (`conflict`) when that is past.")
    ] = False
    unique_key: Annotated[
        bool, Meta(description="The CRM refuses a second record with our key (`duplicate`).")
    ] = False
    holder: Annotated[Holder | None, Meta(description="After `duplicate`: who holds the value.")] = None
    calls: Annotated[list[Extra], Meta(description="Requests for what is neither, such as a conversion.")] = []
    batch: Annotated[Batch | None, Meta(description="Writes of many records at once.")] = None
    parallel: Annotated[
        int, Meta(ge=1, le=100, description="Single writes that are handed over together.")
    ] = 10


# --- what answers mean ------------------------------------------------------------------------------------------------

Means = Literal[
    "ok", "sign_in", "permission", "forbidden", "quota", "quota_day", "busy", "turned_away", "validation", "duplicate",
    "conflict", "gone", "archived", "merged", "converted", "unsupported", "bisect", "unknown",
]  # fmt: skip


class Wait(_Part, kw_only=True):
    """Where the CRM says how long to wait."""

    header: Annotated[HeaderName | None, Meta(description="In this header.")] = None
    at: Annotated[Steps | None, Meta(description="At this place of the body.")] = None
    unit: Annotated[
        Literal["s", "ms", "epoch_s", "epoch_ms"], Meta(description="A duration, or a moment to wait for.")
    ] = "s"


class Failure(_Part, kw_only=True):
    """One rule of what an answer means; the first that holds counts."""

    when: Annotated[Condition, Meta(description="What the answer is like.")]
    means: Annotated[Means, Meta(description="What it means.")]
    code: Annotated[Steps | None, Meta(description="Where the CRM's own code stands.")] = None
    fields: Annotated[
        Places | None,
        Meta(description="Where the names of the fields at fault stand; `@keys` for the names of a mapping."),
    ] = None
    named_in: Annotated[Steps | None, Meta(description="Where a text stands that names the fields at fault.")] = None
    other: Annotated[Steps | None, Meta(description="Where the id stands of the record in the way, or of the survivor.")] = None
    wait: Annotated[Wait | None, Meta(description="Where the CRM says how long to wait.")] = None


class LimitsPart(_Part, kw_only=True):
    """What the CRM says about its limits."""

    budgets: Annotated[
        dict[str, Annotated[float, Meta(gt=0, le=10_000)]], Meta(description="Limits counted apart: name, calls per second.")
    ] = {}
    wait: Annotated[Wait, Meta(description="Where it says how long to wait.")] = Wait(header="retry-after")
    day_left: Annotated[Aside | None, Meta(description="Where it says how many calls are left of the day.")] = None
    per_day: Annotated[Annotated[int, Meta(ge=1)] | None, Meta(description="Calls per day.")] = None


# --- who we are, and webhooks -----------------------------------------------------------------------------------------


class AccountCall(Request, kw_only=True):
    """A request that tells who we are."""

    id: Annotated[Steps, Meta(description="Where the account's id stands.")]
    name: Annotated[Steps | None, Meta(description="Where its name stands.")] = None
    zone: Annotated[Steps | None, Meta(description="Where its time zone stands.")] = None


class FieldsCall(Request, kw_only=True):
    """A request that lists the CRM's fields."""

    records: Annotated[Steps, Meta(description="Where the definitions stand: a list, or a mapping by name.")]
    name: Annotated[Steps, Meta(description="Where a field's name stands in its definition; `\"\"` with a mapping by name.")]
    prefix: Annotated[str, Meta(max_length=100, description="What the mapping puts before these names.")] = ""
    kind: Annotated[Steps | None, Meta(description="Where its kind stands.")] = None
    writable: Annotated[Tests | None, Meta(description="What a writable field looks like.")] = None
    unique: Annotated[Tests | None, Meta(description="What a unique field looks like.")] = None
    required: Annotated[Tests | None, Meta(description="What a required field looks like.")] = None
    values: Annotated[Steps | None, Meta(description="Where the values stand that it accepts.")] = None


class Right(Request, kw_only=True, rename={"for_": "for"}):
    """A reading request that only works with a right."""

    for_: Annotated[str, Meta(min_length=1, max_length=100, description="What the right is needed for.")]


class CheckPart(_Part, kw_only=True):
    """How the bridge finds out who it is, what there is, and what it may."""

    account: Annotated[AccountCall | None, Meta(description="Who we are.")] = None
    fields: Annotated[FieldsCall | None, Meta(description="The CRM's fields.")] = None
    rights: Annotated[list[Right], Meta(description="Requests that show a right.")] = []


class Signature(_Part, kw_only=True):
    """How a delivery is signed."""

    header: Annotated[HeaderName, Meta(description="The header that holds the signature.")]
    scheme: Annotated[
        Literal["hmac-sha256", "hmac-sha1", "hmac-sha512", "token"],
        Meta(description="A keyed hash, or the secret itself (`token`)."),
    ] = "hmac-sha256"
    encoding: Annotated[Literal["hex", "base64"], Meta(description="How it is written.")] = "hex"
    prefix: Annotated[str, Meta(max_length=40, description="What stands before it.")] = ""
    part: Annotated[str, Meta(max_length=20, description="Its name in a header like `t=…,v1=…`.")] = ""
    signs: Annotated[Text, Meta(description="What is signed, with `{timestamp}`, `{body}`, `{url}`, `{method}`.")] = "{body}"


class Timestamp(_Part, kw_only=True):
    """When a delivery was sent."""

    header: Annotated[HeaderName, Meta(description="The header that holds it.")]
    part: Annotated[str, Meta(max_length=20, description="Its name in a header like `t=…,v1=…`.")] = ""
    unit: Annotated[Literal["s", "ms"], Meta(description="Epoch seconds or milliseconds.")] = "s"
    max_age_s: Annotated[int, Meta(ge=1, le=86_400, description="Older (or newer) deliveries are refused.")] = 300


class WebhookPart(_Part, kw_only=True):
    """What deliveries of the CRM look like. Secret: `credentials.webhook_secret`."""

    signature: Annotated[Signature, Meta(description="How a delivery is signed.")]
    timestamp: Annotated[Timestamp | None, Meta(description="When it was sent.")] = None
    events: Annotated[Steps, Meta(description="Where the events stand; without it the body is the event, or a list of them.")] = ""
    id: Annotated[
        Places, Meta(description="Where the ids of the records stand in an event.")
    ]
    event: Annotated[Steps | Aside, Meta(description="Where the event's name stands.")]
    meanings: Annotated[
        dict[str, Literal["created", "changed", "removed", "erased", "merged", "restored", "converted"]],
        Meta(description="Event: what it means; other events mean nothing."),
    ]
    dedupe: Annotated[
        Steps | Aside | None, Meta(description="Where the delivery's or event's own id stands.")
    ] = None


class Options(_Part, kw_only=True):
    """A CRM, declared."""

    crm: Annotated[Name, Meta(description="The CRM's name, in codes and messages.")]
    sign_in: Annotated[SignIn, Meta(description="How the bridge signs in.")]
    common: Annotated[Common, Meta(description="What is put under every request.")] = Common()
    record: Annotated[RecordPart, Meta(description="What a record looks like.")]
    lists: Annotated[Lists, Meta(description="The lists that show what there is and what changed.")]
    read: Annotated[ReadPart, Meta(description="How records are read by name.")]
    write: Annotated[WritePart, Meta(description="How commands are carried out.")]
    failures: Annotated[
        list[Failure], Meta(description="What answers mean, before the defaults by status.")
    ] = []
    limits: Annotated[LimitsPart, Meta(description="What the CRM says about its limits.")] = LimitsPart()
    check: Annotated[CheckPart, Meta(description="Who we are, what there is, what we may.")] = CheckPart()
    webhook: Annotated[WebhookPart | None, Meta(description="What deliveries look like.")] = None
