"""What the ledger keeps, and the steps that change it, as values. See ``ports.Ledger`` for the rules."""

from __future__ import annotations

import enum
from typing import TYPE_CHECKING

import msgspec

from sales_crm_bridge.drift import Drifted
from sales_crm_bridge.model import LeadState, Operation, TopicPartition

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence


def lease_name(tenant: str, connection: str) -> str:
    """The lease of one connection, and so of its CRM account, since no two tenants share one: its holder makes all calls."""
    return f"connection/{tenant}/{connection}"


HOLD = "hold/"
"""How the lease begins by which somebody asks for another one: while it lasts, a process that works under that one ends its work
and gives it back."""


class Fence(msgspec.Struct, frozen=True, kw_only=True):
    """Proof of ownership that a step carries: the lease's name, its holder and its epoch."""

    lease: str
    holder: str
    epoch: int


class Lease(msgspec.Struct, frozen=True, kw_only=True):
    """One lease: ``holder`` had it until ``until_us`` (or still has it), in epoch ``epoch``."""

    name: str
    holder: str
    epoch: int
    until_us: int


class CommandState(enum.StrEnum):
    """Where a command stands. PARKED: a person must act. DONE and REFUSED, and only they, are final.

    HELD: it, or the part of it that is not written yet, waits for a quarantined field; the lead's later commands pass it by.
    """

    PENDING = "pending"
    SENDING = "sending"
    UNKNOWN = "unknown"
    PARKED = "parked"
    HELD = "held"
    DONE = "done"
    REFUSED = "refused"


class MatchState(enum.StrEnum):
    """Where a match stands. PROPOSED: a person must decide. ACCEPTED: it is to be bound. REFUSED: for ever.

    BOUND: the record is the lead's. WITHDRAWN: its ground is gone, or its command went another way; it may be proposed again.
    """

    PROPOSED = "proposed"
    ACCEPTED = "accepted"
    REFUSED = "refused"
    BOUND = "bound"
    WITHDRAWN = "withdrawn"


class Command(msgspec.Struct, frozen=True, kw_only=True):
    """One accepted intent on its way to the CRM. ``seq`` orders the commands of a lead; ``payload`` is the intent, whole.

    ``attempt`` counts tries of the write, ``waits`` put-offs or read-backs in a row; ``epoch``: of the lease under which it
    was sent; ``not_before_us``: no try before it; ``reason``: why it waits or how it ended, a code. ``behind_parked``: an
    older command of the lead is PARKED (told by ``commands_ready``). ``matched``: ACCEPTED, REFUSED or BOUND, where it is a create
    that waited for a match ("": it did not). ``held``: which of its fields wait for a quarantined one (see ``policy.holding``).
    """

    seq: int
    conn: int
    tenant: str
    message_id: str
    lead_id: str
    operation: Operation
    payload: bytes
    occurred_us: int
    state: CommandState = CommandState.PENDING
    attempt: int = 0
    waits: int = 0
    epoch: int = 0
    not_before_us: int = 0
    reason: str = ""
    behind_parked: bool = False
    matched: str = ""
    held: str = ""

    @property
    def creates(self) -> bool:
        """Whether it makes a record: one whose match is bound, or whose rest is written, goes on as an update of what is there."""
        return self.operation is Operation.CREATE and self.matched != MatchState.BOUND and self.held[:1] != "+"


class Match(msgspec.Struct, frozen=True, kw_only=True):
    """Record ``crm_id`` may be lead ``lead_id``, whose create (command ``seq``) has met it: proposed ``since_us``.

    ``ground``: a keyed hash of the address that the record had then ("": not known). ``who`` has decided at ``decided_us``, and
    ``why``; ``ended_us``: since when nothing more comes of it.
    """

    conn: int
    tenant: str
    lead_id: str
    crm_id: str
    state: MatchState
    seq: int
    ground: str = ""
    since_us: int = 0
    decided_us: int = 0
    who: str = ""
    why: str = ""
    ended_us: int = 0
    id: int = 0


class Known(msgspec.Struct, frozen=True, kw_only=True):
    """What is known of an intent that the inbox has seen: its command (None: it ended, and is forgotten)."""

    command: Command | None


class Inquiry(msgspec.Struct, frozen=True, kw_only=True):
    """A lead of connection ``conn`` is to be read in the CRM, by the holder of its lease, before ``until_us``.

    ``id``: given by the asker, unique for ever; ``asker``: the process that waits, and whose bell is rung.
    """

    id: str
    conn: int
    lead_id: str
    asker: str
    until_us: int


class Answer(msgspec.Struct, frozen=True, kw_only=True):
    """The answer to inquiry ``id`` of ``asker``.

    ``code`` "": ``lead`` holds what was read, sealed (rule 15). Otherwise why there is none, a code, with a text without personal
    data in ``said``; ``retry_at_us``: from when on it makes sense to ask again (0: nobody knows).
    """

    id: str
    asker: str
    code: str = ""
    said: str = ""
    lead: bytes = b""
    retry_at_us: int = 0


class CommandChange(msgspec.Struct, frozen=True, kw_only=True):
    """What becomes of command ``seq``; a final state empties its payload (rule 15: nothing personal at rest)."""

    seq: int
    state: CommandState
    attempt: int = 0
    not_before_us: int = 0
    waits: int = 0
    reason: str = ""
    finished_us: int = 0


class NewCommand(msgspec.Struct, frozen=True, kw_only=True):
    """A command to be made of an intent, its ``seq`` given by the ledger."""

    conn: int
    lead_id: str
    operation: Operation
    payload: bytes
    occurred_us: int


class InboxRow(msgspec.Struct, frozen=True, kw_only=True):
    """One of our intents, told apart by (tenant, message id), with the command it makes when it is new."""

    tenant: str
    message_id: str
    command: NewCommand


class DeadLetter(msgspec.Struct, frozen=True, kw_only=True):
    """A message or command that needs a person: kept whole, with the reason, until redriven or dropped.

    ``source``: where it came from (``topic[partition]@offset``, ``command N``, ``fact ID``), unique: a second one replaces nothing.
    ``code``, ``message``, ``remedy``: as in errors, nothing personal; ``key``, ``payload``, ``headers``: the message, whole.
    """

    source: str
    tenant: str
    lead_id: str
    code: str
    message: str
    remedy: str
    key: bytes
    payload: bytes
    headers: bytes
    created_us: int
    id: int = 0


class ClosedLetter(msgspec.Struct, frozen=True):
    """What became of dead letter ``id``: ``how`` (``redriven``, ``dropped``), by ``who``, ``why``; the message is gone with it."""

    id: int
    source: str
    tenant: str
    lead_id: str
    code: str
    how: str
    who: str
    why: str
    created_us: int
    closed_us: int


class Closing(msgspec.Struct, frozen=True, kw_only=True):
    """A person closes ``letters``: by letter id, what becomes of what they keep, where anything does.

    ``commands``: the parked command and the state it takes (REFUSED: it is over); ``intents``: what is to be taken in, judged under
    ``tenancy``; ``facts``: the connection and the fact to publish; ``records``: the connection and the CRM's id of the record to
    read again. ``decides``: what becomes of the proposed matches that the commands wait for.
    """

    letters: Sequence[DeadLetter]
    how: str
    who: str
    why: str
    now_us: int
    commands: Mapping[int, tuple[Command, CommandState]] = {}
    intents: Mapping[int, InboxRow] = {}
    facts: Mapping[int, tuple[int, OutboxRow]] = {}
    records: Mapping[int, tuple[int, str]] = {}
    decides: MatchState = MatchState.WITHDRAWN
    tenancy: int | None = None

    def intake(self, rows: Sequence[InboxRow]) -> Intake:
        """Some of its intents, to be taken in now."""
        return Intake(rows=rows, dead=(), offsets={}, now_us=self.now_us, tenancy=self.tenancy)


class Intake(msgspec.Struct, frozen=True, kw_only=True):
    """One batch of the intent topic, decided: our rows, what could not be read, and where the partitions now stand.

    ``offsets`` never move back; ``reset`` sets a place whatever it was, after the broker has lost what was there. A place below
    zero is a time to begin at (minus milliseconds): ``placed`` says at which offset that turned out to be, as (time asked for,
    offset), and nothing else moves such a place. ``tenancy``: the number of the tenancy by which all of it was decided (None:
    nothing was).
    """

    rows: Sequence[InboxRow]
    dead: Sequence[DeadLetter]
    offsets: Mapping[TopicPartition, int]
    now_us: int
    gaps: Sequence[Gap] = ()
    reset: Mapping[TopicPartition, int] = msgspec.field(default_factory=dict)
    placed: Mapping[TopicPartition, tuple[int, int]] = msgspec.field(default_factory=dict)
    tenancy: int | None = None


class Binding(msgspec.Struct, frozen=True, kw_only=True):
    """The stored pair of a lead in Sales and its record in the CRM ("" while there is none).

    ``aggregate_version`` counts the facts about the lead. ``version``, ``modified_us``: the CRM's, of the newest record we
    know; ``known_us``: our clock when the call that told us was made. ``fingerprint``: of that record's bytes.
    ``fields``: packed field states (``policy.FieldStates``) in the order of field layout ``layout``. ``sweep``: the last
    sweep that saw it. ``heirs``: (type, id) of the CRM's records that a merged or converted one became, as msgpack (b"" none).
    """

    conn: int
    lead_id: str
    crm_id: str
    state: LeadState
    aggregate_version: int
    version: str = ""
    modified_us: int = 0
    known_us: int = 0
    fingerprint: bytes = b""
    layout: int = 0
    fields: bytes = b""
    sweep: int = 0
    heirs: bytes = b""


class OutboxRow(msgspec.Struct, frozen=True, kw_only=True):
    """One fact on its way to Kafka, as ``contract`` packed it; ``seq`` 0 until the ledger gives one."""

    message_id: str
    fact: bytes
    created_us: int
    seq: int = 0


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """One sync run of one feed: ``number`` counts per (conn, feed) from 1; ``state``: running, completed, failed."""

    conn: int
    feed: str
    number: int
    state: str
    started_us: int
    finished_us: int = 0
    read: int = 0
    changed: int = 0
    unchanged: int = 0
    removed: int = 0
    stale: int = 0
    code: str = ""


class Gap(msgspec.Struct, frozen=True, kw_only=True):
    """An interval of a feed that is not proven read: opened, caught up, closed (``closed_us`` > 0).

    ``told_us``, ``close_told_us``: since when a fact says that it is open, and closed; 0: none does yet. ``closed_by``,
    ``closed_why``: the person who has closed it, and why.
    """

    id: str
    conn: int
    feed: str
    from_us: int
    to_us: int
    cause: str
    opened_us: int
    closed_us: int = 0
    told_us: int = 0
    close_told_us: int = 0
    closed_by: str = ""
    closed_why: str = ""


class TenantRow(msgspec.Struct, frozen=True, kw_only=True):
    """An accepted tenant file, whole (``text``), with its connection; ``conn`` 0 until the ledger gives one."""

    tenant: str
    text: str
    digest: str
    accepted_us: int
    connection: str
    adapter: str
    account: str
    retired_us: int = 0
    conn: int = 0


class ConnectionRow(msgspec.Struct, frozen=True, kw_only=True):
    """A connection as the ledger knows it. ``facts`` counts the facts about the connection itself (its aggregate version).

    ``state`` ``ok`` | ``quota`` | ``paused`` | ``stopped`` | ``unavailable`` | ``new`` since ``since_us``, with a text for people.
    """

    conn: int
    tenant: str
    name: str
    adapter: str
    account: str
    facts: int = 0
    state: str = "new"
    code: str = ""
    message: str = ""
    remedy: str = ""
    since_us: int = 0


class CommandCounts(msgspec.Struct, frozen=True, kw_only=True):
    """A connection's commands that are not final."""

    conn: int
    open: int
    unknown: int
    parked: int
    oldest_us: int


class NoticeRow(msgspec.Struct, frozen=True, kw_only=True):
    """A hint that a record may have changed (``crm_id`` "": any record): heard ``times`` times since ``since_us``."""

    crm_id: str
    times: int
    since_us: int


class Waiting(msgspec.Struct, frozen=True, kw_only=True):
    """So many things of a connection wait, the oldest since ``since_us``."""

    number: int
    since_us: int


class LetterCount(msgspec.Struct, frozen=True):
    """Dead letters of one tenant ("" none that could be read) and code; ``message`` and ``remedy`` are the newest one's."""

    tenant: str
    code: str
    number: int
    since_us: int
    message: str
    remedy: str


class Glance(msgspec.Struct, frozen=True, kw_only=True):
    """How the holder of a connection's lease found its CRM at ``at_us``; ``state`` as ``observe`` encodes it."""

    conn: int
    at_us: int
    state: bytes


class Standing(msgspec.Struct, frozen=True, kw_only=True):
    """One connection, its lease (None: nobody ever had it), and how its holder found the CRM last (None: it has not said so)."""

    row: ConnectionRow
    lease: Lease | None
    glance: Glance | None


class Refusal(msgspec.Struct, frozen=True, kw_only=True):
    """One finding for which process ``holder`` refuses a tenant's file, since ``since_us``; ``number`` orders them."""

    holder: str
    number: int
    since_us: int
    code: str
    place: str
    message: str
    remedy: str


class Census(Drifted, frozen=True, kw_only=True):
    """How everything stands, by connection number where that is the key.

    ``connections``: of tenants in force; ``left``: those out of force, retired with their tenant at ``since_us`` (0: its file has
    another connection now). ``tenants``: the names of all that were ever accepted. ``positions``: feed → encoded state. ``gaps``:
    open ones, the oldest first.
    """

    connections: Sequence[ConnectionRow]
    left: Sequence[ConnectionRow]
    tenants: Sequence[str]
    leases: Sequence[Lease]
    commands: Mapping[int, CommandCounts]
    outbox: Mapping[int, Waiting]
    notices: Mapping[int, Waiting]
    matches: Mapping[int, Waiting]
    positions: Mapping[int, Mapping[str, bytes]]
    letters: Sequence[LetterCount]
    gaps: Sequence[Gap]
    glances: Mapping[int, Glance]
    refusals: Sequence[Refusal]


class Commit(msgspec.Struct, frozen=True, kw_only=True):
    """Everything that one step of push or pull decided; empty parts cost nothing.

    ``bindings`` are inserted or replaced by (conn, lead_id); a ``crm_id`` taken from another binding must be freed by a row of
    the same commit. ``aliases``: (crm id, lead id) of merged-away records and further parts. ``seen``: (sweep, crm ids) of
    records that a sweep saw unchanged. ``positions``: feed → encoded state. ``runs`` and ``gaps`` are inserted or replaced by
    (conn, feed, number) and by id. ``matches`` are inserted or replaced by (conn, lead, record), but for refused ones; they come
    with changes of their commands. ``noticed``: notices that were read, forgotten unless they came again.
    ``facts`` is the connection's own fact counter after this step (None: not moved).
    """

    conn: int
    bindings: Sequence[Binding] = ()
    aliases: Sequence[tuple[str, str]] = ()
    seen: tuple[int, Sequence[str]] = (0, ())
    commands: Sequence[CommandChange] = ()
    outbox: Sequence[OutboxRow] = ()
    dead: Sequence[DeadLetter] = ()
    positions: Mapping[str, bytes] = msgspec.field(default_factory=dict)
    runs: Sequence[Run] = ()
    gaps: Sequence[Gap] = ()
    matches: Sequence[Match] = ()
    noticed: Sequence[NoticeRow] = ()
    facts: int | None = None
