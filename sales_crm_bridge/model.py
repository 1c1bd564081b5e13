"""The values that cross the house's walls: no behaviour beyond what a value can say of itself.

Time is an ``int`` of microseconds since 1970-01-01 UTC, in names that end in ``_us``; 0 means "not known".
A CRM's field values are JSON scalars (``Scalar``) under the CRM's own names; Sales' values carry Sales' names.
Values on the hot path are frozen msgspec structs (a page makes thousands), the others frozen dataclasses.
"""

from __future__ import annotations

import enum
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeVar

import msgspec

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

Scalar = str | int | float | bool | None

SECOND_US = 1_000_000

T = TypeVar("T")


class Owner(enum.StrEnum):
    """Who handles a tenant's Lead commands."""

    DOMAIN = "domain"
    CRM = "crm"


class Operation(enum.StrEnum):
    """What a Lead command asks for."""

    CREATE = "create"
    QUALIFY = "qualify"
    DISQUALIFY = "disqualify"
    REVISE = "revise"


class LeadState(enum.StrEnum):
    """What is known of a lead's record in the CRM.

    ``UNBOUND``: no record yet (a create is under way or was refused). ``GONE``: erased or deleted for good, found by no id.
    """

    UNBOUND = "unbound"
    LIVE = "live"
    ARCHIVED = "archived"
    MERGED = "merged"
    CONVERTED = "converted"
    GONE = "gone"


class Category(enum.StrEnum):
    """Why a write did not take effect, in one word that every CRM's answers are mapped to."""

    VALIDATION = "validation"
    PERMISSION = "permission"
    AUTH = "auth"
    QUOTA = "quota"
    CONFLICT = "conflict"
    DUPLICATE = "duplicate"
    NOT_FOUND = "not_found"
    REMOVED = "removed"
    MERGED = "merged"
    CONVERTED = "converted"
    UNSUPPORTED = "unsupported"
    UNAVAILABLE = "unavailable"
    UNKNOWN_OUTCOME = "unknown_outcome"
    CONTRACT = "contract"


# --- calls and replies: what an adapter says to the rim, and hears back -----------------------------------------------


class Effect(enum.StrEnum):
    """What a call may change: nothing, the CRM's data, or our sign-in."""

    READ = "read"
    WRITE = "write"
    SIGN_IN = "sign_in"


class HttpCall(msgspec.Struct, frozen=True, kw_only=True):
    """One request, relative to the connection's address; the rim adds credentials, limits and retries.

    ``path`` starts with ``/``. ``body`` is sent as it is, with ``content_type``. ``budget`` names the CRM's limit that the
    call draws on when the CRM counts some calls apart (HubSpot's search); the adapter's capabilities list the names.
    ``shows``: what the right is for that a refusal of this call shows to be missing, in words for people ("" none in particular).
    """

    method: Literal["GET", "POST", "PUT", "PATCH", "DELETE"]
    path: str
    effect: Effect
    query: tuple[tuple[str, str], ...] = ()
    headers: tuple[tuple[str, str], ...] = ()
    body: bytes = b""
    content_type: str = "application/json"
    budget: str = ""
    shows: str = ""


Call = HttpCall  # a closed union: a CRM with a change stream adds StreamCall


class HttpReply(msgspec.Struct, frozen=True, kw_only=True):
    """What the CRM answered: header names are lower-case; ``asked_us`` and ``answered_us`` are our clock."""

    status: int
    headers: dict[str, str]
    body: bytes
    asked_us: int
    answered_us: int


class NoReply(msgspec.Struct, frozen=True, kw_only=True):
    """No usable answer came to a writing call, and the rim's own retries are over.

    ``sent`` False: it certainly took no effect (never sent, or turned away). True: nobody knows. ``retry_at_us``: not before.
    """

    sent: bool
    reason: str
    retry_at_us: int


Reply = HttpReply | NoReply


class Quota(enum.StrEnum):
    """Which budget an answer says is used up."""

    NONE = ""
    BURST = "burst"
    DAY = "day"


@dataclass(frozen=True, slots=True, kw_only=True)
class Answered:
    """The reply is the adapter's to interpret, whatever its status.

    ``calls_left_day``: what the CRM says is left of the account's day (None: it does not say).
    """

    calls_left_day: int | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class TryAgain:
    """The CRM could not or would not serve the call now.

    ``wait_s`` is the CRM's own wish (None: it has none); ``executed`` False when the call certainly took no effect.
    ``code`` is the CRM's own word for it, safe to log.
    """

    wait_s: float | None = None
    quota: Quota = Quota.NONE
    executed: bool = True
    code: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class SignInAgain:
    """The token is not accepted; the call took no effect. Once: a second one in a row stops the connection."""

    code: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Stop:
    """No retry helps until a person acts (missing rights, consent withdrawn). ``message`` and ``code`` hold nothing personal."""

    category: Category
    code: str
    message: str
    remedy: str


Verdict = Answered | TryAgain | SignInAgain | Stop


# --- sign-in ----------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Secrets:
    """A connection's resolved secrets, for the adapter's sign-in talk alone. ``repr`` shows the names, never the values."""

    values: Mapping[str, str] = field(repr=False)

    def __getitem__(self, name: str) -> str:
        return self.values[name]

    def get(self, name: str) -> str | None:
        """The secret under ``name``, or None."""
        return self.values.get(name)


@dataclass(frozen=True, slots=True, kw_only=True)
class Credentials:
    """What a sign-in yields: headers for every call, and until when.

    ``expires_us`` 0: they do not expire. ``keep`` is what must survive a restart (a rotated refresh token); the core stores it
    encrypted and hands it to the next sign-in.
    """

    headers: tuple[tuple[str, str], ...] = field(repr=False)
    expires_us: int = 0
    keep: Mapping[str, str] = field(default_factory=dict, repr=False)


@dataclass(frozen=True, slots=True, kw_only=True)
class SignInRefused:
    """The CRM will not sign us in with what we have; ``code`` is its own word."""

    code: str
    remedy: str


# --- what a CRM is ----------------------------------------------------------------------------------------------------


class Paging(enum.StrEnum):
    """How a feed is walked; the arithmetic of each stands once, in ``policy``."""

    CURSOR = "cursor"
    WINDOW = "window"
    KEYSET = "keyset"
    STREAM = "stream"


class FeedKind(enum.StrEnum):
    """What a feed shows.

    ``SWEEP`` every live record, in no order of time: the first import, later the audit. ``CHANGES`` records by modified time.
    ``REMOVED`` archived or deleted records. ``STREAM`` events after a position.
    """

    SWEEP = "sweep"
    CHANGES = "changes"
    REMOVED = "removed"
    STREAM = "stream"


@dataclass(frozen=True, slots=True, kw_only=True)
class Feed:
    """One stream of records that an adapter names. ``page_max``: the largest page the CRM allows.

    ``drifts``, of a sweep: its pages can leave out a record while others are written (offsets into a list that moves). Such a
    sweep goes over the list again until a pass agrees with the one before it.
    """

    name: str
    kind: FeedKind
    paging: Paging
    page_max: int
    drifts: bool = False


class Window(msgspec.Struct, frozen=True, kw_only=True, tag="window"):
    """Records modified in [``lo_us``, ``hi_us``), read in the order of their ids; ``after`` is the last id read ("" none)."""

    lo_us: int
    hi_us: int
    after: str = ""


class Keyset(msgspec.Struct, frozen=True, kw_only=True, tag="keyset"):
    """Records after (``modified_us``, ``after``) in that order, up to but not including ``hi_us``."""

    modified_us: int
    after: str = ""
    hi_us: int = 0


class Cursor(msgspec.Struct, frozen=True, kw_only=True, tag="cursor"):
    """The CRM's own opaque place in a walk; "" is its beginning."""

    token: str = ""


class Stream(msgspec.Struct, frozen=True, kw_only=True, tag="stream"):
    """A replay id or delta token; "" means none yet."""

    token: str = ""


Position = Window | Keyset | Cursor | Stream


@dataclass(frozen=True, slots=True, kw_only=True)
class Capabilities:
    """What a CRM can do. Each one is a promise that the contract suite holds the adapter to.

    ``batch_max`` writes in one call. ``unique_key``: our key is unique in the CRM, so a repeated create makes no second
    record. ``conditional_write``: a write can be tied to a version. ``read_by_key``: our key finds a record at once (no
    search lag). ``budgets``: limits counted apart, name → calls per second. ``removed_feed``, ``merges``, ``restores``,
    ``field_times``, ``webhooks``: the CRM shows these. ``time_step_us``: the grain of its modified times. ``atomic_write``: an
    update of one lead takes effect whole or not at all; False where it is several calls, each of which can get lost.
    ``emptied_first``: fields that an update may empty before it sets them. ``describes``: the CRM tells which fields it has; a
    mapped field that it leaves out is not there.
    """

    batch_max: int
    unique_key: bool
    read_by_key: bool
    conditional_write: bool = False
    removed_feed: bool = False
    merges: bool = False
    restores: bool = False
    field_times: bool = False
    webhooks: bool = False
    time_step_us: int = SECOND_US
    budgets: Mapping[str, float] = field(default_factory=dict)
    atomic_write: bool = False
    emptied_first: tuple[str, ...] = ()
    describes: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class FieldDefinition:
    """A CRM field as the CRM itself describes it. ``options``: the internal values it accepts (empty: free)."""

    name: str
    kind: str
    writable: bool
    unique: bool = False
    required: bool = False
    options: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True, kw_only=True)
class Account:
    """Who we are at the CRM, and what we may: the answer of an adapter's ``check``.

    ``account_id`` "": the CRM cannot say (a declared one without ``check.account``); then nobody can tell a wrong account.
    ``missing`` names rights that the configured work needs and the credentials lack. ``problems`` are findings in words, each
    (code, message, remedy): our key's property is absent, say. ``calls_left_day`` None: the CRM does not say.
    """

    account_id: str
    name: str
    time_zone: str
    fields: Mapping[str, FieldDefinition]
    missing: tuple[str, ...] = ()
    problems: tuple[tuple[str, str, str], ...] = ()
    calls_per_day: int | None = None
    calls_left_day: int | None = None


# --- records ----------------------------------------------------------------------------------------------------------


class Raw(msgspec.Struct, frozen=True):
    """One record of a page, undecoded: ``data`` is its text in the answer, good enough to fingerprint.

    ``version`` is the CRM's version of it ("" none), ``modified_us`` its modified time.
    """

    id: str
    version: str
    modified_us: int
    data: bytes


class Page(msgspec.Struct, frozen=True, kw_only=True):
    """One page of a feed. ``next`` is the position after it; ``done``: the walk or window has ended with this page."""

    raws: list[Raw]
    next: Position
    done: bool


class Record(msgspec.Struct, frozen=True, kw_only=True):
    """One lead as the CRM shows it.

    ``fields``: the CRM's names → values, as asked for by the mapping; one that is missing was not shown, None is empty.
    ``key``: our external key in it ("" none).
    ``merged_ids``: records that were merged into this one. ``state`` MERGED: ``into`` is the survivor's id.
    ``successors``: (type, id) of what a converted lead became. ``parts``: (type, id) of its further records.
    ``url``: where a person sees it.
    """

    id: str
    version: str
    modified_us: int
    fields: dict[str, Scalar]
    state: LeadState = LeadState.LIVE
    key: str = ""
    created_us: int = 0
    into: str = ""
    merged_ids: tuple[str, ...] = ()
    successors: tuple[tuple[str, str], ...] = ()
    parts: tuple[tuple[str, str], ...] = ()
    url: str = ""


class Ref(msgspec.Struct, frozen=True, kw_only=True):
    """A record to read: by its ``id``, or, where that is "", by our external ``key``."""

    id: str = ""
    key: str = ""


# --- writes and outcomes ----------------------------------------------------------------------------------------------


class Write(msgspec.Struct, frozen=True, kw_only=True):
    """One command in the CRM's words.

    ``trace`` is unique in the batch (and per attempt). ``crm_id`` "" only for CREATE. ``key``: our external key.
    ``fields``: the CRM's names → values to set (None clears). ``version``: the version our knowledge stands on ("" none).
    ``claim``: the record becomes this lead's with this write, so our key is written into it too.
    """

    trace: str
    operation: Operation
    key: str
    fields: dict[str, Scalar]
    crm_id: str = ""
    version: str = ""
    claim: bool = False


class Accepted(msgspec.Struct, frozen=True, kw_only=True):
    """The write took effect.

    ``record`` is what the CRM says it now holds (None: read it back); ``adopted``: a create met it under our own key.
    """

    crm_id: str
    record: Record | None
    adopted: bool = False


class Rejected(msgspec.Struct, frozen=True, kw_only=True):
    """The CRM refuses it, and would again. ``code`` is its own word, ``fields`` its names of the fields at fault; nothing personal.

    ``other_id``: the record that stands in the way, or the survivor of a merge. ``part``: that record is none of a lead, but one of
    the further records of one. ``successors`` as in Record. ``drift``: it is the field or the option that the CRM does not know,
    not the value that it minds.
    """

    category: Category
    code: str
    fields: tuple[str, ...] = ()
    other_id: str = ""
    part: bool = False
    successors: tuple[tuple[str, str], ...] = ()
    drift: bool = False


class Deferred(msgspec.Struct, frozen=True, kw_only=True):
    """It certainly took no effect; it may be tried from ``not_before_us`` on."""

    not_before_us: int
    reason: str


class Unknown(msgspec.Struct, frozen=True, kw_only=True):
    """Nobody knows whether it took effect: settled by reading back, never by blind retry."""

    reason: str


Outcome = Accepted | Rejected | Deferred | Unknown


# --- webhooks ---------------------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True, kw_only=True)
class Hook:
    """One inbound delivery: ``url`` is the public address it was sent to, header names are lower-case."""

    method: str
    url: str
    headers: Mapping[str, str]
    body: bytes
    received_us: int


@dataclass(frozen=True, slots=True, kw_only=True)
class Notice:
    """A hint that a record may have changed; what it says is read back before it becomes a fact. ``id`` names the record."""

    id: str
    what: str
    dedupe: str


NO_WEBHOOKS = "no-webhooks"
"""Why a connection refuses every delivery: its CRM sends none, or none are declared."""

NO_HOOK_SECRET = "no-secret"  # noqa: S105 - a code
"""Why a connection refuses every delivery: it has no secret to verify one with."""

BAD_FORM = "bad-form"
"""Why a delivery is refused that is signed well: its body is not of the form that the adapter knows."""


class HookRefused(Exception):
    """A delivery whose signature, age or form does not hold; ``code`` says which: one of the above, or the adapter's own."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


# --- the intent topic -------------------------------------------------------------------------------------------------

TopicPartition = tuple[str, int]


class IntentRecord(msgspec.Struct, frozen=True, kw_only=True):
    """One record of the intent topic, whole, before anything is known of it."""

    topic: str
    partition: int
    offset: int
    key: bytes
    value: bytes
    headers: tuple[tuple[str, bytes], ...]
    timestamp_us: int


class Assigned(msgspec.Struct, frozen=True):
    """These partitions are ours from here on; nothing is read of them before ``IntentSource.start_at`` names a place."""

    partitions: tuple[TopicPartition, ...]


class Revoked(msgspec.Struct, frozen=True):
    """These partitions are no longer ours; no record of them follows."""

    partitions: tuple[TopicPartition, ...]


class Batch(msgspec.Struct, frozen=True):
    """Records in the order of their offsets per partition; at least one."""

    records: list[IntentRecord]


class OutOfRange(msgspec.Struct, frozen=True):
    """The broker no longer has ``wanted``; it keeps offsets from ``low`` to ``high`` (exclusive)."""

    partition: TopicPartition
    wanted: int
    low: int
    high: int


class Placed(msgspec.Struct, frozen=True):
    """A place that ``start_at`` named by time has been found: reading of ``partition`` begins at ``offset``."""

    partition: TopicPartition
    offset: int


class SourceFault(msgspec.Struct, frozen=True):
    """The broker is away or refuses; ``fatal``: no waiting helps (rights, a topic that is not there)."""

    code: str
    message: str
    fatal: bool


Taken = Assigned | Placed | Revoked | Batch | OutOfRange | SourceFault


# --- what the relay hears ---------------------------------------------------------------------------------------------


class Published(msgspec.Struct, frozen=True):
    """What became of the rows handed to ``FactSink.publish``: ``acked`` and ``refused`` (row, code) by ``seq``; the rest: again."""

    acked: list[int]
    refused: list[tuple[int, str]]
    reason: str = ""


def chunks(items: Sequence[T], size: int) -> list[Sequence[T]]:
    """``items`` in slices of at most ``size`` (≥ 1), in order."""
    return [items[at : at + size] for at in range(0, len(items), size)]
