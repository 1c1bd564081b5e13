"""Commands: from the intent that makes one to the writing call. What becomes of them is written by ``commits``.

Of the open commands of a lead the oldest is its *head*, and only heads are ever tried; a lead with open commands has one. The
mark is kept with every change (see ``heads``), under a lock per connection that ``take`` and ``commit`` share, so that a command
that comes while the one before it is being finished cannot stay without a mark.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from sales_crm_bridge.bells import bell_commands
from sales_crm_bridge.errors import Bug, PlaceMoved, TenancyMoved
from sales_crm_bridge.ledger import house, leases, tenants
from sales_crm_bridge.ledger.steps import Ask, Columns, Many, Ring, Set, Step
from sales_crm_bridge.model import Operation
from sales_crm_bridge.state import Command, CommandCounts, CommandState, Known

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sales_crm_bridge.ledger.steps import Rows, Work
    from sales_crm_bridge.state import Fence, Intake, TenantRow

INBOX = Columns("tenant text, message_id text, taken_us int")
NEW = Columns(
    "conn int, tenant text, message_id text, lead_id text, operation text, payload bytes, occurred_us int, state text,"
    "eldest int"
)
OFFSET = Columns("topic text, part int, next_offset int")
COMMAND = (
    "seq, conn, tenant, message_id, lead_id, operation, payload, occurred_us, state, attempt, waits, epoch,"
    " not_before_us, reason, head, matched, held"
)

LOCK = "SELECT conn FROM connections WHERE conn {in} ORDER BY conn {update}"
TAKE_IN = """
    INSERT INTO inbox ({columns}) {values} ON CONFLICT (tenant, message_id) DO NOTHING RETURNING tenant, message_id
"""
# ``eldest``: the first of its lead in this batch, the only one that may become the head.
MAKE = """
    INSERT INTO commands (conn, tenant, message_id, lead_id, operation, payload, occurred_us, state, head)
    SELECT r.conn, r.tenant, r.message_id, r.lead_id, r.operation, r.payload, r.occurred_us, r.state, CASE
        WHEN r.eldest = 0 THEN 0
        WHEN EXISTS (SELECT 1 FROM commands h WHERE h.conn = r.conn AND h.lead_id = r.lead_id AND h.head > 0) THEN 0
        WHEN EXISTS (SELECT 1 FROM commands p WHERE p.conn = r.conn AND p.lead_id = r.lead_id AND p.state = 'parked')
            THEN 2
        ELSE 1
    END
    FROM {rows}
"""
MOVE_OFFSET = """
    INSERT INTO offsets ({columns}) {values} ON CONFLICT (topic, part) DO UPDATE SET next_offset = excluded.next_offset
    WHERE excluded.next_offset > offsets.next_offset AND offsets.next_offset >= 0
"""
SET_OFFSET = """
    INSERT INTO offsets ({columns}) {values} ON CONFLICT (topic, part) DO UPDATE SET next_offset = excluded.next_offset
    WHERE offsets.next_offset >= 0
"""
PLACE = """
    INSERT INTO offsets (topic, part, next_offset) VALUES (?, ?, ?)
    ON CONFLICT (topic, part) DO UPDATE SET next_offset = excluded.next_offset
    WHERE offsets.next_offset = ? OR (offsets.next_offset >= 0 AND excluded.next_offset > offsets.next_offset)
"""
REWOUND = "SELECT topic, part FROM offsets WHERE next_offset < 0"
REWIND = "UPDATE offsets SET next_offset = ? WHERE topic = ? RETURNING part"
CROWN_NEXT = """
    UPDATE commands SET head = w.head FROM (
        SELECT f.seq, CASE WHEN EXISTS (
            SELECT 1 FROM commands p
            WHERE p.conn = f.conn AND p.lead_id = f.lead_id AND p.state = 'parked' AND p.seq < f.seq
        ) THEN 2 ELSE 1 END AS head
        FROM (SELECT DISTINCT c.conn, c.lead_id FROM commands c WHERE c.seq {in}) AS r JOIN commands f ON f.seq = coalesce((
            SELECT h.seq FROM commands h WHERE h.conn = r.conn AND h.lead_id = r.lead_id AND h.head > 0
        ), (
            SELECT o.seq FROM commands o
            WHERE o.conn = r.conn AND o.lead_id = r.lead_id AND o.open = 1 AND o.head = 0 ORDER BY o.seq LIMIT 1
        ))
    ) AS w WHERE commands.seq = w.seq AND commands.head <> w.head
"""
UNSEAT = """
    UPDATE commands SET head = 0 WHERE seq IN (
        SELECT h.seq FROM commands c JOIN commands h ON h.conn = c.conn AND h.lead_id = c.lead_id AND h.head > 0
        WHERE c.seq {in} AND EXISTS (
            SELECT 1 FROM commands o
            WHERE o.conn = h.conn AND o.lead_id = h.lead_id AND o.open = 1 AND o.head = 0 AND o.seq < h.seq
        )
    )
"""

# Two arms for each mark: what was never put off, oldest first, and what is due again. Each is a walk along one index that ends
# after ``limit`` rows, however long the queue is.
_ARM = f"""
    SELECT * FROM (
        SELECT {COMMAND} FROM commands
        WHERE conn = ? AND head = %d AND not_before_us = 0 AND state IN ('pending', 'unknown')
        ORDER BY seq LIMIT ?
    ) AS fresh%d
    UNION ALL SELECT * FROM (
        SELECT {COMMAND} FROM commands
        WHERE conn = ? AND head = %d AND not_before_us > 0 AND not_before_us <= ?
            AND state IN ('pending', 'unknown')
        ORDER BY not_before_us, seq LIMIT ?
    ) AS again%d
"""  # noqa: S608 - constants
_FREE, _BEHIND = (_ARM % (head, head, head, head) for head in (1, 2))
READY = f"{_FREE} ORDER BY seq LIMIT ?"
READY_BEHIND = f"{_FREE} UNION ALL {_BEHIND} ORDER BY seq LIMIT ?"
OPEN = f"""
    SELECT {COMMAND} FROM commands WHERE conn = ? AND lead_id {{in}} AND head > 0
    UNION ALL SELECT {COMMAND} FROM commands WHERE conn = ? AND lead_id {{in}} AND open = 1 AND head = 0
    UNION ALL SELECT {COMMAND} FROM commands WHERE conn = ? AND lead_id {{in}} AND state = 'parked'
    UNION ALL SELECT {COMMAND} FROM commands WHERE conn = ? AND lead_id {{in}} AND state = 'held'
    ORDER BY seq
"""  # noqa: S608 - constants
SEEN = "SELECT taken_us FROM inbox WHERE tenant = ? AND message_id = ?"
OF_MESSAGE = f"""
    SELECT {COMMAND} FROM commands WHERE tenant = ? AND message_id = ? ORDER BY seq DESC LIMIT 1
"""  # noqa: S608 - constants
NEXT_US = """
    SELECT not_before_us FROM commands
    WHERE conn = ? AND head = 1 AND not_before_us > 0 AND state IN ('pending', 'unknown')
    ORDER BY not_before_us LIMIT 1
"""
SENDING = """
    UPDATE commands SET state = 'sending', epoch = ?, attempt = attempt + 1
    WHERE conn = ? AND seq {in} AND head IN (1, 2) RETURNING seq
"""
ORPHANED = """
    UPDATE commands SET state = 'unknown', waits = 0, not_before_us = ?
    WHERE conn = ? AND state IN ('sending', 'unknown') AND state = 'sending'
"""
UNKNOWN = """
    SELECT lead_id FROM commands
    WHERE conn = ? AND state IN ('sending', 'unknown') AND state = 'unknown' ORDER BY seq
"""
COUNT_OPEN = """
    SELECT g.conn, g.waiting, c.occurred_us FROM (
        SELECT p.conn, CAST(sum(p.waiting) AS bigint) AS waiting, min(p.oldest) AS oldest FROM (
            SELECT conn, count(*) AS waiting, min(seq) AS oldest FROM commands WHERE head = 1 GROUP BY conn
            UNION ALL SELECT conn, count(*), min(seq) FROM commands WHERE head = 2 GROUP BY conn
            UNION ALL SELECT conn, count(*), min(seq) FROM commands WHERE open = 1 AND head = 0 GROUP BY conn
        ) AS p GROUP BY p.conn
    ) AS g JOIN commands c ON c.seq = g.oldest ORDER BY g.conn
"""
COUNT_UNKNOWN = """
    SELECT conn, count(*) FROM commands WHERE state IN ('sending', 'unknown') AND state = 'unknown' GROUP BY conn
"""
COUNT_PARKED = "SELECT conn, count(*) FROM commands WHERE state = 'parked' GROUP BY conn ORDER BY conn"

_OPERATIONS = {operation.value: operation for operation in Operation}
_STATES = {state.value: state for state in CommandState}


def lock(conns: Sequence[int]) -> Ask:
    """The work that keeps the heads of these connections to ourselves until the transaction ends."""
    return Ask(LOCK, (Set("int", conns),))


def places(topic: str) -> Step[dict[tuple[str, int], int]]:
    """Next offsets by partition."""
    (rows,) = yield (Ask("SELECT part, next_offset FROM offsets WHERE topic = ? ORDER BY part", (topic,)),)
    return {(topic, part): offset for part, offset in rows}


def take(intake: Intake) -> Step[Sequence[bool]]:
    """Take a batch of intents in; a repeated one, also one repeated in the same batch, is not new."""
    ids = sorted({(row.tenant, row.message_id) for row in intake.rows})
    conns = sorted({row.command.conn for row in intake.rows})
    inbox = [(tenant, message_id, intake.now_us) for tenant, message_id in ids]
    ((number,),), _, taken = yield (Ask(tenants.NUMBER), lock(conns), Many(TAKE_IN, INBOX, inbox, returning=True))
    if intake.tenancy is not None and intake.tenancy != number:
        raise TenancyMoved(
            "intake.tenancy-moved", "the tenants in force have changed meanwhile", remedy="nothing: it is judged again"
        )
    left = set(taken)
    fresh = []
    made = []
    for row in intake.rows:
        new = (row.tenant, row.message_id) in left
        fresh.append(new)
        if new:
            left.remove((row.tenant, row.message_id))
            made.append((row.tenant, row.message_id, row.command))
    rows, leads = [], set[tuple[int, str]]()
    for tenant, message_id, c in made:
        lead = (c.conn, c.lead_id)
        eldest = int(lead not in leads)
        leads.add(lead)
        rows.append(
            (c.conn, tenant, message_id, c.lead_id, c.operation.value, c.payload, c.occurred_us, "pending", eldest)
        )
    offsets = [(topic, part, offset) for (topic, part), offset in sorted(intake.offsets.items())]
    work: list[Work] = [
        *(Ask(PLACE, (*place, offset, asked)) for place, (asked, offset) in sorted(intake.placed.items())),
        Many(MOVE_OFFSET, OFFSET, offsets),
        Many(SET_OFFSET, OFFSET, [(topic, part, offset) for (topic, part), offset in sorted(intake.reset.items())]),
        # After the writes: they have locked the rows, so what a rewind has done is seen, and what it will do comes after us.
        Ask(REWOUND),
        Many(MAKE, NEW, rows),
        house.bury(intake.dead),
        house.open_gaps(intake.gaps),
    ]
    work += [Ring(bell_commands(conn)) for conn in sorted({conn for conn, _ in leads})]
    answers = yield tuple(work)
    rewound = {(topic, part) for topic, part in answers[len(intake.placed) + 2]}
    if not rewound.isdisjoint({*intake.offsets, *intake.reset, *intake.placed}):
        raise PlaceMoved(
            "intake.rewound", "intake was rewound while a batch was under way", remedy="nothing: it is read again"
        )
    return fresh


def rewind(topic: str, to_us: int, rows: Sequence[TenantRow]) -> Step[int]:
    """Places by time, with the tenants' files that the intents since are to be judged by."""
    for row in rows:
        yield from tenants.accept(row)
    (moved,) = yield (Ask(REWIND, (-max(1, to_us // 1000), topic)),)
    return len(moved)


def ready(conn: int, now_us: int, limit: int, *, behind_parked: bool) -> Step[list[Command]]:
    """What may be tried now, the oldest first."""
    arm = (conn, limit, conn, now_us, limit)
    if behind_parked:
        (rows,) = yield (Ask(READY_BEHIND, (*arm, *arm, limit)),)
    else:
        (rows,) = yield (Ask(READY, (*arm, limit)),)
    return listed(rows)


def open_of(conn: int, lead_ids: Sequence[str]) -> Step[list[Command]]:
    """Everything of these leads that is not final."""
    some = Set("text", lead_ids)
    (rows,) = yield (Ask(OPEN, (conn, some) * 4),)
    return listed(rows)


def known(tenant: str, message_id: str) -> Step[Known | None]:
    """What became of an intent; None: it was never taken."""
    rows, seen = yield (Ask(OF_MESSAGE, (tenant, message_id)), Ask(SEEN, (tenant, message_id)))
    if rows:
        return Known(command=listed(rows)[0])
    return Known(command=None) if seen else None


def next_us(conn: int) -> Step[int]:
    """When the next one that was put off is due."""
    (rows,) = yield (Ask(NEXT_US, (conn,)),)
    return int(rows[0][0]) if rows else 0


def sending(fence: Fence, conn: int, seqs: Sequence[int]) -> Step[None]:
    """Mark them; each must be the head of its lead, or somebody broke the order of a lead."""
    fenced, marked = yield (leases.check(fence), Ask(SENDING, (fence.epoch, conn, Set("int", seqs))))
    leases.proven(fence, fenced)
    missing = sorted(set(seqs).difference(seq for (seq,) in marked))
    if missing:
        raise Bug("bug.not-a-head", f"commands {missing[:5]} are not the oldest open ones of their leads")


def orphans(fence: Fence, conn: int, not_before_us: int) -> Step[list[str]]:
    """Doubt whatever was being sent."""
    fenced, _, rows = yield (leases.check(fence), Ask(ORPHANED, (not_before_us, conn)), Ask(UNKNOWN, (conn,)))
    leases.proven(fence, fenced)
    return [lead_id for (lead_id,) in rows]


def counts() -> Step[list[CommandCounts]]:
    """Per connection, of what is not final."""
    waiting, unknown, parked = yield (Ask(COUNT_OPEN), Ask(COUNT_UNKNOWN), Ask(COUNT_PARKED))
    return counted(waiting, unknown, parked)


def counted(waiting: Rows, unknown: Rows, parked: Rows) -> list[CommandCounts]:
    """The three counts as one, by connection."""
    open_, oldest = {row[0]: row[1] for row in waiting}, {row[0]: row[2] for row in waiting}
    in_doubt: dict[int, int] = dict(unknown)
    stuck: dict[int, int] = dict(parked)
    return [
        CommandCounts(
            conn=conn,
            open=open_.get(conn, 0),
            unknown=in_doubt.get(conn, 0),
            parked=stuck.get(conn, 0),
            oldest_us=oldest.get(conn, 0),
        )
        for conn in sorted(open_ | stuck)
    ]


def listed(rows: Rows) -> list[Command]:
    """The rows of ``COMMAND``."""
    return [
        Command(
            seq=row[0],
            conn=row[1],
            tenant=row[2],
            message_id=row[3],
            lead_id=row[4],
            operation=_OPERATIONS[row[5]],
            payload=row[6],
            occurred_us=row[7],
            state=_STATES[row[8]],
            attempt=row[9],
            waits=row[10],
            epoch=row[11],
            not_before_us=row[12],
            reason=row[13],
            behind_parked=row[14] == 2,  # noqa: PLR2004 - see the schema
            matched=row[15],
            held=row[16],
        )
        for row in rows
    ]
