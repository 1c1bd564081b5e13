"""The ports: what the core asks of a CRM, of Kafka, of the ledger's driver, and of time. The docstrings are the treaty."""

from __future__ import annotations

from collections.abc import Generator
from typing import TYPE_CHECKING, Protocol, TypeVar

from sales_crm_bridge.model import Call, Effect, HttpReply, Reply
from sales_crm_bridge.review import Drifts, Review

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Mapping, Sequence

    from sales_crm_bridge.model import (
        Account,
        Capabilities,
        Credentials,
        Feed,
        FieldDefinition,
        Hook,
        Notice,
        Outcome,
        Page,
        Position,
        Published,
        Raw,
        Record,
        Ref,
        Secrets,
        SignInRefused,
        Taken,
        TopicPartition,
        Verdict,
        Write,
    )
    from sales_crm_bridge.state import (
        Answer,
        Binding,
        Census,
        Command,
        CommandCounts,
        Commit,
        ConnectionRow,
        DeadLetter,
        Fence,
        Gap,
        Glance,
        Inquiry,
        Intake,
        Known,
        Lease,
        Match,
        NoticeRow,
        OutboxRow,
        Refusal,
        Run,
        Standing,
        TenantRow,
    )
    from sales_crm_bridge.tracing import Open, Span

T = TypeVar("T")

Talk = Generator[tuple[Call, ...], tuple[Reply, ...], T]
"""A conversation: it yields calls to be made at the same time, is sent their replies in the same order, returns a value.

A READ or SIGN_IN call that finds no usable answer ends the whole talk (the core closes it and raises ``CrmUnavailable``);
only a WRITE call can be answered with ``NoReply``. A talk may be closed at any yield and must not mind.
"""


def ask(call: Call) -> Generator[tuple[Call, ...], tuple[Reply, ...], HttpReply]:
    """Make one reading call inside a talk: to be used behind ``yield from``."""
    (reply,) = yield (call,)
    assert isinstance(reply, HttpReply)
    return reply


def tell(call: Call) -> Generator[tuple[Call, ...], tuple[Reply, ...], Reply]:
    """Make one writing call inside a talk; the reply may be a ``NoReply``."""
    assert call.effect is Effect.WRITE
    (reply,) = yield (call,)
    return reply


class CrmAdapter(Protocol):
    """One CRM's words. Do no I/O, never retry, never sleep, never log a lead.

    An adapter is made for one connection from its options and the CRM fields that the mapping reads; it keeps no state
    between talks. It never raises for what a CRM answers: an answer it cannot read is ``Unknown`` for a write and
    ``errors.CrmUnavailable`` for a read.
    """

    @property
    def name(self) -> str:
        """The adapter's name in the catalogue."""
        ...

    @property
    def capabilities(self) -> Capabilities:
        """What this CRM can; constant."""
        ...

    def authenticate(self, secrets: Secrets, keep: dict[str, str], now_us: int) -> Talk[Credentials | SignInRefused]:
        """Sign in with the connection's ``secrets`` and what the last sign-in said to ``keep``.

        The core runs one at a time per account, ahead of expiry, and stores ``keep`` before the credentials are used.
        """
        ...

    def check(self) -> Talk[Account]:
        """Ask who we are there, the limits, the field definitions, and which rights the configured work lacks. Changes nothing."""
        ...

    def describe(self) -> Talk[Mapping[str, FieldDefinition]]:
        """The CRM's fields now, by the names that the mapping uses, as ``check`` tells them. Asked again and again, so it is cheap.

        Where ``capabilities.describes`` is False nothing is asked of it: the CRM, or its declaration, cannot say.
        """
        ...

    def feeds(self) -> Sequence[Feed]:
        """The streams of records it has: exactly one SWEEP, and CHANGES or a STREAM if the CRM has any. Constant, in a fixed order.

        Without CHANGES and STREAM the sweep is the only way to what has changed, and is walked as often as they would be.
        """
        ...

    def pull(self, feed: Feed, position: Position, limit: int) -> Talk[Page]:
        """Read the next page after ``position``, at most ``limit`` records (1 … ``feed.page_max``).

        For a window: every record modified in it, in the order of ids, each in exactly one page; ``done`` with the last.
        An empty page with ``done`` False is legal. The same position asked twice gives the records that are there now.
        """
        ...

    def decode(self, raws: Sequence[Raw]) -> list[Record]:
        """The records of ``raws``, in order, one each. Pure. Asked only for raws whose fingerprint is new."""
        ...

    def push(self, batch: Sequence[Write]) -> Talk[list[Outcome]]:
        """Carry out ``batch`` (1 … ``batch_max`` writes, of different leads): one outcome per write, in the same order.

        A create makes a record under our ``key``. If the CRM has a record under that key, an earlier try has made it: it gets the
        values, and the outcome is ``adopted``. Nothing else makes a record ours. One that is in the way for any other value, an
        e-mail address say, is never written to: ``Rejected`` as DUPLICATE, with ``other_id``; the core decides what becomes of it.
        A write that comes with ``crm_id`` and ``claim`` puts our key into that record, beside its values, if an update can.

        A write whose answer is missing from a batch answer, or cannot be matched to it one to one, is ``Unknown``. When the CRM
        rejects a whole batch for one member, the adapter says ``Deferred`` with reason ``"bisect"`` for all: the core halves it.
        """
        ...

    def read(self, refs: Sequence[Ref]) -> Talk[list[Record]]:
        """What the CRM now holds under each ref: one record each, in the same order, straight from its records (no search index).

        A ref that finds nothing gives a record in state GONE; a merged one gives state MERGED and ``into``.
        """
        ...

    def classify(self, reply: HttpReply, effect: Effect) -> Verdict:
        """What the core must do about ``reply`` before the talk sees it: pass it on, wait and repeat, sign in, or stop."""
        ...

    def notices(self, hook: Hook, secrets: Secrets) -> list[Notice]:
        """A delivery's meaning, after its signature and age are verified; raises ``HookRefused``.

        Its code is ``NO_WEBHOOKS`` where none are listened to, ``NO_HOOK_SECRET`` where there is no secret to verify one with,
        ``BAD_FORM`` for a body that is signed well and of no known form, and the adapter's own for a signature that does not hold.
        """
        ...


class Clock(Protocol):
    """Time, handed in: the wall's, or a simulation's."""

    def now_us(self) -> int:
        """Now, in epoch microseconds UTC. Never runs backwards within a process."""
        ...

    async def sleep(self, seconds: float) -> None:
        """Come back after ``seconds`` (≤ 0: after other ready work had its turn)."""
        ...


class Dice(Protocol):
    """Randomness, handed in: for jitter and for names of processes, never for the identity of a fact."""

    def fraction(self) -> float:
        """A number in [0, 1)."""
        ...

    def name(self) -> str:
        """A text that no other process has, 16 characters of [0-9a-f]."""
        ...


class Transport(Protocol):
    """The far side of the rim: sends one prepared HTTP request. Real: httpx over sockets. Tests: an ASGI app in the process."""

    async def send(
        self, method: str, url: str, headers: Sequence[tuple[str, str]], body: bytes, timeout_s: float
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        """Status, headers and body. Raises ``NotSent`` or ``AnswerLost`` of ``crm_http``, nothing else."""
        ...


class Speaker(Protocol):
    """Runs an adapter's talks against one account: the rim (``crm_http``) behind one method."""

    async def converse(self, talk: Talk[T], *, purpose: str, causes: Sequence[Open] = ()) -> T:
        """Run ``talk`` to its end and return its value.

        ``purpose`` is the budget class: ``push``, ``pull``, ``audit``, ``backfill``, ``check``. ``causes``: the work that the calls
        are made for, whose trace they carry on. Raises ``CrmUnavailable``, ``QuotaExhausted``, ``ConnectionStopped``.
        """
        ...

    def crm_now_us(self) -> int:
        """The CRM's clock now, by the newest answer's ``Date`` header (our own clock until there was one)."""
        ...


class IntentSource(Protocol):
    """The intent topic as a stream of batches. Holds no decisions, commits nothing by itself.

    The caller says where each newly assigned partition starts. Assignment and revocation come as values, in the order in
    which they happened relative to the records.
    """

    def batches(self) -> AsyncIterator[Taken]:
        """Records and changes of assignment, as they come; ends after ``close``."""
        ...

    async def start_at(self, places: dict[TopicPartition, int]) -> None:
        """Seek assigned partitions to these offsets (or by time where an offset is negative: ``-timestamp_ms``).

        What a time was found to mean comes as ``Placed``, before the first record.
        """
        ...

    async def mark(self, places: dict[TopicPartition, int]) -> None:
        """Tell the group, for lag monitors alone, that everything below these offsets is in the ledger. Never raises."""
        ...

    async def close(self) -> None:
        """Leave the group."""
        ...


class FactSink(Protocol):
    """The integration facts' topic, and no other."""

    async def publish(self, rows: Sequence[OutboxRow]) -> Published:
        """Publish packed facts in order, and say which of them Kafka acknowledged. Never raises for what a broker does.

        A row that is neither acknowledged nor refused may be published again with the same ``message_id``. Order holds per key
        among the rows handed in. A refused row (too large, say) is refused for good and does not hold back the others.
        """
        ...

    async def close(self) -> None:
        """Wait for what is in flight, within the named limit, and disconnect."""
        ...


class SpanSink(Protocol):
    """Where spans go that have ended."""

    def ended(self, span: Span) -> None:
        """Take it, and come back at once; never raises. What cannot be taken is dropped: no work ever waits for a trace."""
        ...


class Ledger(Review, Drifts, Protocol):
    """All state there is. Each method is one transaction: taken whole or not at all, safe to repeat after a crash.

    A method that carries a ``Fence`` raises ``LeaseLost``, and writes nothing, when the epoch is past; a lease that is over but
    that nobody has taken still holds. ``LedgerBusy``: not taken, try again. ``EnvironmentFault``: the ledger is not there or its
    schema is not ours (only with code ``ledger.outcome-unknown`` may the step have been taken). Times are handed in.
    """

    # --- leases: one caller per account -------------------------------------------------------------------------------

    async def leases_take(self, names: Sequence[str], holder: str, now_us: int, until_us: int) -> dict[str, int]:
        """Take those of ``names`` that are free or expired; gives name → new epoch (above every earlier one) for those taken."""
        ...

    async def leases_renew(self, holder: str, now_us: int, until_us: int) -> dict[str, int]:
        """Renew all unexpired leases of ``holder`` with one statement; gives name → epoch of those still held.

        Raises ``EnvironmentFault`` when a migration has outgrown this program since it was started.
        """
        ...

    async def leases_drop(self, holder: str, names: Sequence[str]) -> None:
        """Give these back at once (the epoch stays, so that the next holder's is higher)."""
        ...

    async def leases(self) -> list[Lease]:
        """Every lease, expired ones too, by name."""
        ...

    # --- tenants and connections --------------------------------------------------------------------------------------

    async def tenants(self) -> list[TenantRow]:
        """Every accepted tenant file, retired ones too, by tenant."""
        ...

    async def tenancy(self) -> int:
        """The number of the tenants in force: it grows with every file accepted and every tenant retired."""
        ...

    async def tenant_accept(self, row: TenantRow) -> int:
        """Keep an accepted file (insert or replace) and its connection; gives its number (stable per tenant and name)."""
        ...

    async def connection_make(self, row: TenantRow) -> int:
        """Give the number of a file's connection without accepting the file: under it a sign-in can keep what it must."""
        ...

    async def connection_find(self, tenant: str, name: str) -> int:
        """The number of a tenant's connection, also of a file that is not accepted yet; 0: the ledger knows none of that name."""
        ...

    async def tenant_retire(self, tenant: str, retired_us: int) -> bool:
        """Put a tenant out of force, its leads the domain's from ``retired_us`` on; False if there is no such tenant in force."""
        ...

    async def connections(self, conn: int = 0) -> list[ConnectionRow]:
        """Every connection of a tenant in force (or that one), with its fact counter and how it was last said to be."""
        ...

    async def keep_load(self, conn: int) -> bytes:
        """What the last sign-in asked to keep, sealed (b"" none)."""
        ...

    async def keep_save(self, fence: Fence, conn: int, sealed: bytes) -> None:
        """Replace it."""
        ...

    async def calls_count(self, fence: Fence, conn: int, day: str, more: int) -> int:
        """Add ``more`` (≥ 0) calls to the account's count of ``day`` (its own calendar's date); gives the new count."""
        ...

    async def connection_say(self, conn: int, state: str, code: str, message: str, remedy: str, now_us: int) -> None:
        """Write down how a connection is (``ok``, ``quota``, ``stopped`` …), for people."""
        ...

    # --- intents in ---------------------------------------------------------------------------------------------------

    async def places(self, topic: str) -> dict[TopicPartition, int]:
        """The next offset to read of every partition of ``topic`` we have ever read.

        Below zero: a time to begin at, as in ``start_at``.
        """
        ...

    async def take(self, intake: Intake) -> Sequence[bool]:
        """Write inbox rows, their commands, dead letters and offsets; says for each inbox row whether it was new.

        A command is written only with a new inbox row. An offset never moves back. Raises ``PlaceMoved``, and writes nothing, when
        a partition of it has been rewound and not been placed since; ``TenancyMoved`` when the tenants in force are others than
        those by which it was decided.
        """
        ...

    async def known(self, tenant: str, message_id: str) -> Known | None:
        """What became of an intent of ours; None: it was never taken (or so long ago that the inbox has forgotten it)."""
        ...

    async def rewind(self, topic: str, to_us: int, rows: Sequence[TenantRow]) -> int:
        """Have every partition of ``topic`` read again from ``to_us`` (epoch microseconds) on, with these tenants' files in force.

        One transaction. Gives how many partitions had been read before; those that had not begin as ever.
        """
        ...

    # --- reading ------------------------------------------------------------------------------------------------------

    async def bindings_by_crm_id(self, conn: int, crm_ids: Sequence[str]) -> dict[str, Binding]:
        """Bindings by their record's id or by an alias of it (a merged-away id, a part); absent ids are left out."""
        ...

    async def bindings_by_lead(self, conn: int, lead_ids: Sequence[str]) -> dict[str, Binding]:
        """Bindings by lead id; absent ones are left out."""
        ...

    async def bindings_unseen(self, conn: int, sweep: int, after: str, limit: int) -> list[Binding]:
        """LIVE bindings made before sweep ``sweep`` that it has not seen, by crm_id, after ``after``."""
        ...

    async def commands_ready(self, conn: int, now_us: int, limit: int, *, behind_parked: bool) -> list[Command]:
        """The oldest open command of each lead that may be tried now (PENDING or UNKNOWN, not before its time), by seq.

        A lead whose oldest open command is SENDING, UNKNOWN or PENDING and not yet due gives none. PARKED commands are passed over:
        with ``behind_parked`` False a lead that has an older one gives none, with True its next command comes with that flag set.
        When more were put off and are due again than ``limit``, those that have been due longest come first.
        """
        ...

    async def commands_open(self, conn: int, lead_ids: Sequence[str]) -> list[Command]:
        """Every command of these leads that is not final, by seq."""
        ...

    async def commands_next_us(self, conn: int) -> int:
        """When the next command that was put off is due (not one behind a parked one); 0: there is none."""
        ...

    async def layouts(self) -> dict[int, tuple[str, ...]]:
        """Every field layout by number."""
        ...

    async def layout(self, names: tuple[str, ...]) -> int:
        """The number of this layout, made if new."""
        ...

    async def positions(self, conn: int) -> dict[str, bytes]:
        """Where each feed stands: feed name → state as ``pull`` encoded it."""
        ...

    # --- writing ------------------------------------------------------------------------------------------------------

    async def sending(self, fence: Fence, conn: int, seqs: Sequence[int]) -> None:
        """Mark commands SENDING with this epoch and count the attempt: the step before a writing call."""
        ...

    async def orphans(self, fence: Fence, conn: int, not_before_us: int) -> list[str]:
        """Turn every SENDING command into UNKNOWN: the first thing of a session, when nothing of ours is in flight.

        They are not read back before ``not_before_us``, since the CRM may still be at them. Gives the leads of every UNKNOWN
        command there now is.
        """
        ...

    async def commit(self, fence: Fence, commit: Commit) -> None:
        """Everything one step decided, at once."""
        ...

    # --- leads read for somebody else ---------------------------------------------------------------------------------

    async def inquire(self, inquiry: Inquiry, now_us: int) -> None:
        """Ask the holder of the account's lease to read a lead, and wake it; asked again with the same id: nothing."""
        ...

    async def inquiries(self, conn: int, now_us: int, limit: int) -> list[Inquiry]:
        """What somebody waits for and nobody has answered, the most urgent first."""
        ...

    async def answer(self, fence: Fence, answers: Sequence[Answer], now_us: int) -> None:
        """Answer inquiries, and wake the askers; one that is no longer there stays unanswered."""
        ...

    async def answers_take(self, ids: Sequence[str]) -> dict[str, Answer]:
        """The answers that have come, by inquiry; they are gone from the ledger then."""
        ...

    async def inquiry_drop(self, name: str) -> None:
        """Nobody waits for it any more."""
        ...

    # --- facts out ----------------------------------------------------------------------------------------------------

    async def outbox_read(self, after_seq: int, limit: int) -> list[OutboxRow]:
        """Facts still to be acknowledged with ``seq`` > ``after_seq``, by seq."""
        ...

    async def outbox_lanes(self, after_conn: int, limit: int) -> list[int]:
        """Connections above ``after_conn`` with facts to be acknowledged, in their order, at most ``limit``."""
        ...

    async def outbox_read_lanes(self, conns: Sequence[int], limit: int) -> list[OutboxRow]:
        """The oldest facts of each of these connections, at most ``limit`` of each, by seq."""
        ...

    async def outbox_done(self, fence: Fence, acked: Sequence[int], dead: Sequence[tuple[int, DeadLetter]]) -> None:
        """Remove acknowledged rows; move refused ones to the dead letters."""
        ...

    async def outbox_depth(self, conn: int = 0) -> tuple[int, int]:
        """How many facts wait, and since when the oldest does (epoch microseconds, 0 none); ``conn`` 0: of all connections."""
        ...

    # --- keeping house ------------------------------------------------------------------------------------------------

    async def runs(self, conn: int, limit: int, *, running: bool = False) -> list[Run]:
        """The newest sync runs of a connection, newest first; with ``running`` those that have not ended."""
        ...

    async def gaps(self, conn: int) -> list[Gap]:
        """Open gaps, oldest first (``conn`` 0: of all connections)."""
        ...

    async def gaps_untold(self, conn: int) -> list[Gap]:
        """Gaps of a connection that were opened or closed while no fact says so yet, oldest first."""
        ...

    async def matches_of(self, conn: int, lead_ids: Sequence[str]) -> list[Match]:
        """The matches of these leads that were accepted and are not bound yet, or refused; what was decided last comes last."""
        ...

    async def command_counts(self) -> list[CommandCounts]:
        """Open and parked commands per connection."""
        ...

    async def forget(
        self, finished_before_us: int, inbox_before_us: int, runs_before_us: int, limit: int, *, now_us: int = 0
    ) -> int:
        """Retention: delete at most ``limit`` finished commands, inbox rows and runs older than these times; how many went.

        Closed gaps and leases that are over go with the runs; the newest run of a feed stays. Inquiries that were to be answered
        before ``now_us`` go too, and are not counted.
        """
        ...

    # --- what CRMs hint at --------------------------------------------------------------------------------------------

    async def hear(self, conn: int, crm_ids: Sequence[str], now_us: int, rows_max: int) -> bool:
        """Keep notices about these records ("": about any), one for each record; rings ``bell_notices``.

        Beyond ``rows_max`` of a connection they collapse into one about any record: True. Any process may hear.
        """
        ...

    async def notices(self, conn: int, limit: int) -> list[NoticeRow]:
        """The notices that have waited longest; a commit forgets those that it names as ``noticed``."""
        ...

    # --- what is seen from outside ------------------------------------------------------------------------------------

    async def census(self) -> Census:
        """How everything stands, in one look; reads no message and no lead."""
        ...

    async def standing(self, conn: int) -> Standing | None:
        """How one connection of a tenant in force stands; None: there is no such connection."""
        ...

    async def glance(self, fence: Fence, seen: Glance) -> None:
        """Write down how the holder of the lease finds its CRM, for people and metrics alone."""
        ...

    async def refuse(self, holder: str, refusals: Sequence[Refusal]) -> None:
        """Write down which findings process ``holder`` now has of the tenants' files, instead of those before (none: well)."""
        ...

    # --- bells --------------------------------------------------------------------------------------------------------

    async def ring(self, bell: str) -> None:
        """Wake whoever waits for ``bell``, in every process. A hint: may be lost."""
        ...

    async def wait(self, bells: Sequence[str], seconds: float) -> None:
        """Come back when one of ``bells`` rings (also if it rang since the last wait for it here), or after ``seconds``."""
        ...

    async def close(self) -> None:
        """Let go of the database."""
        ...
