"""What a step costs does not grow with the history, nor with the length of a queue.

Cost is counted, never timed: the instructions of SQLite's virtual machine, the pages that PostgreSQL touches.
"""

from collections.abc import Awaitable, Callable
from pathlib import Path

import psycopg
import pytest

from sales_crm_bridge.ledger import SqlLedger, bindings, commands, commits, drifts, open_ledger, outbox
from sales_crm_bridge.ledger import house as keeping
from sales_crm_bridge.ledger.arrays import array, speak
from sales_crm_bridge.ledger.postgres import _sql
from sales_crm_bridge.ledger.sqlite import SqliteDriver
from sales_crm_bridge.model import LeadState
from sales_crm_bridge.state import Binding, CommandChange, CommandState, Commit, Fence, Intake, OutboxRow
from tests.ledger.house import House

PAGE = 100

Step = Callable[[SqlLedger], Awaitable[object]]


async def fill(ledger: SqlLedger, finished: int, queue: int, put_off: int) -> tuple[int, Fence]:
    """Make a history: finished commands, a lead with a long queue, leads put off, leads behind a parked one, bindings."""
    house = House(ledger)
    conn, fence = await house.connection()
    done = [house.intent(conn, f"done{n}") for n in range(finished)]
    later = [house.intent(conn, f"late{n}") for n in range(put_off)]
    stuck = [house.intent(conn, f"stuck{n % put_off}") for n in range(2 * put_off)]
    long = [house.intent(conn, "long") for _ in range(queue)]
    others = [house.intent(conn, f"lead{n}") for n in range(20)]
    await ledger.take(Intake(rows=[*done, *later, *stuck, *long, *others], dead=(), offsets={}, now_us=1))
    seqs = [one.seq for one in await ledger.commands_ready(conn, 0, 10**6, behind_parked=False)]
    assert len(seqs) == finished + 2 * put_off + 21
    changes = [CommandChange(seq=seq, state=CommandState.DONE, finished_us=1) for seq in seqs[:finished]]
    changes += [
        CommandChange(seq=seq, state=CommandState.PENDING, not_before_us=10**9)
        for seq in seqs[finished : finished + put_off]
    ]
    changes += [
        CommandChange(seq=seq, state=CommandState.PARKED) for seq in seqs[finished + put_off : finished + 2 * put_off]
    ]
    rows = [
        Binding(conn=conn, lead_id=f"b{n}", crm_id=f"c{n}", state=LeadState.LIVE, aggregate_version=1)
        for n in range(finished)
    ]
    aliases = [(f"a{n}", f"b{n}") for n in range(finished)]
    await ledger.commit(fence, Commit(conn=conn, commands=changes, bindings=rows, aliases=aliases))
    return conn, fence


def steps(conn: int, fence: Fence) -> dict[str, Step]:
    """List what a working bridge does all day long."""
    ids = [f"c{n}" for n in range(0, 2 * PAGE, 2)]
    leads = [f"b{n}" for n in range(0, 2 * PAGE, 2)]
    fresh = [
        Binding(conn=conn, lead_id=f"new{n}", crm_id=f"newc{n}", state=LeadState.LIVE, aggregate_version=1)
        for n in range(PAGE)
    ]
    facts = [OutboxRow(message_id=f"m{n}", fact=b"f", created_us=1) for n in range(PAGE)]

    async def one_round(ledger: SqlLedger) -> None:
        found = await ledger.commands_ready(conn, 0, 10, behind_parked=False)
        assert {one.lead_id for one in found} == {"long", *(f"lead{n}" for n in range(9))}
        await ledger.sending(fence, conn, [one.seq for one in found])
        changes = [CommandChange(seq=one.seq, state=CommandState.DONE, finished_us=1) for one in found]
        await ledger.commit(fence, Commit(conn=conn, commands=changes))

    async def take(ledger: SqlLedger) -> None:
        house = House(ledger)
        rows = [house.intent(conn, "long", f"x{n}") for n in range(10)]
        await ledger.take(Intake(rows=rows, dead=(), offsets={("t", 0): 1}, now_us=1))

    async def relay(ledger: SqlLedger) -> None:
        rows = await ledger.outbox_read(0, PAGE)
        await ledger.outbox_done(fence, [row.seq for row in rows], [])

    return {
        "one round of push": one_round,
        "ready, refusing behind parked": lambda it: it.commands_ready(conn, 0, 10, behind_parked=True),
        "when next": lambda it: it.commands_next_us(conn),
        "take": take,
        "orphans": lambda it: it.orphans(fence, conn, 0),
        "read a page": lambda it: it.bindings_by_crm_id(conn, ids),
        "read leads": lambda it: it.bindings_by_lead(conn, leads),
        "commit a page": lambda it: it.commit(fence, Commit(conn=conn, bindings=fresh, outbox=facts, seen=(1, ids))),
        "relay": relay,
        "unseen": lambda it: it.bindings_unseen(conn, 1, "c5", 10),
        "renew": lambda it: it.leases_renew("p1", 1, 10**16),
        "what became of an intent": lambda it: it.known("acme", "m7"),
        "forget": lambda it: it.forget(5, 0, 0, 10),
    }


async def instructions(tmp_path: Path, finished: int, queue: int, put_off: int) -> dict[str, int]:
    """Count SQLite's instructions of each step after such a history."""
    ledger = await open_ledger(f"sqlite:///{tmp_path / f'{finished}.db'}", migrate=True)
    conn, fence = await fill(ledger, finished, queue, put_off)
    driver = ledger._driver
    assert isinstance(driver, SqliteDriver)
    counted = 0

    def count() -> None:
        nonlocal counted
        counted += 1

    costs = {}
    for name, step in steps(conn, fence).items():
        counted = 0
        driver._db.set_progress_handler(count, 1)
        await step(ledger)
        driver._db.set_progress_handler(None, 1)
        costs[name] = counted
    await ledger.close()
    return costs


async def test_no_step_costs_more_after_a_long_history(tmp_path: Path) -> None:
    """With thirty times the history, the queue of one lead, and the leads put off or parked, each step costs the same."""
    small = await instructions(tmp_path, finished=300, queue=100, put_off=50)
    large = await instructions(tmp_path, finished=9000, queue=3000, put_off=1500)
    grown = {name: (small[name], large[name]) for name in small if large[name] > 1.3 * small[name] + 50}
    assert not grown


async def test_a_large_ledger_takes_no_more_memory(tmp_path: Path) -> None:
    """SQLite keeps pages of the file up to a limit of ours: a quarter of what a process may take in all."""
    ledger = await open_ledger(f"sqlite:///{tmp_path / 'ledger.db'}", migrate=True)
    driver = ledger._driver
    assert isinstance(driver, SqliteDriver)
    (kib,) = driver._db.execute("PRAGMA cache_size").fetchone()
    assert 0 < -kib * 1024 <= 150e6 / 4
    await ledger.close()


SCANS = {
    "ready": (commands.READY, (1, 10, 1, 5, 10, 10)),
    "ready behind": (commands.READY_BEHIND, (1, 10, 1, 5, 10, 1, 10, 1, 5, 10, 10)),
    "next": (commands.NEXT_US, (1,)),
    "unknown": (commands.UNKNOWN, (1,)),
    "orphaned": (commands.ORPHANED, (1, 1)),
    "of message": (commands.OF_MESSAGE, ("acme", "m7")),
    "in the inbox": (commands.SEEN, ("acme", "m7")),
    "open": (commands.OPEN, (1, array("text", ["late1"])) * 4),
    "held": (drifts.HELD, (1, 0, 10)),
    "held of leads": (drifts.HELD_OF, (1, array("text", ["late1"]))),
    "sending": (commands.SENDING, (1, 1, array("int", [1, 2, 3]))),
    "crown": (commands.CROWN_NEXT, (array("int", [1, 2, 3]),)),
    "unseat": (commands.UNSEAT, (array("int", [1, 2, 3]),)),
    "by id": (bindings.BY_CRM_ID, (1, array("text", ["c1", "x"]), 1, array("text", ["c1", "x"]))),
    "by lead": (bindings.BY_LEAD, (1, array("text", ["b1", "x"]))),
    "unseen": (bindings.UNSEEN, (1, "c5", 1, 10)),
    "seen": (commits.SEEN, (1, 1, array("text", ["c1", "c2"]), 1)),
    "outbox": (outbox.READ, (0, 10)),
    "outbox lanes": (outbox.LANES, (0, 64)),
    "outbox lane": (outbox.LANE, (1, 10)),
    "outbox done": (outbox.DONE, (array("int", [1, 2]),)),
    "forget commands": (keeping.FORGET_COMMANDS, (0, 10)),
    "forget inbox": (keeping.FORGET_INBOX, (0, 10)),
}


async def test_what_the_relay_reads_costs_the_same_beside_a_long_queue(tmp_path: Path) -> None:
    """Which connections wait, and the oldest facts of each: thirty times the facts of one of them cost nothing more."""
    costs = []
    for queue in (300, 9000):
        ledger = await open_ledger(f"sqlite:///{tmp_path / f'queue{queue}.db'}", migrate=True)
        house = House(ledger)
        held = [await house.connection(name) for name in ("long", "calm", "other")]
        for (conn, fence), many in zip(held, (queue, 3, 3), strict=True):
            facts = [OutboxRow(message_id=f"{conn}-{n}", fact=b"f" * 500, created_us=1) for n in range(many)]
            await ledger.commit(fence, Commit(conn=conn, outbox=facts))
        driver = ledger._driver
        assert isinstance(driver, SqliteDriver)
        counted = 0

        def count() -> None:
            nonlocal counted
            counted += 1

        driver._db.set_progress_handler(count, 1)
        lanes = await ledger.outbox_lanes(0, 64)
        rows = await ledger.outbox_read_lanes(lanes, 50)
        driver._db.set_progress_handler(None, 1)
        assert (len(lanes), len(rows)) == (3, 56)
        costs.append(counted)
        await ledger.close()
    assert costs[1] <= 1.1 * costs[0] + 20


@pytest.fixture
async def history(postgres_dsn: str) -> str:
    """Give a PostgreSQL ledger with a history and fresh statistics."""
    ledger = await open_ledger(postgres_dsn, migrate=True)
    conn, fence = await fill(ledger, finished=9000, queue=3000, put_off=1500)
    facts = [OutboxRow(message_id=f"m{n}", fact=b"f" * 500, created_us=1) for n in range(5000)]
    await ledger.commit(fence, Commit(conn=conn, outbox=facts))
    await ledger.close()
    async with await psycopg.AsyncConnection.connect(postgres_dsn, autocommit=True) as db:
        await db.execute("VACUUM ANALYZE")
    return postgres_dsn


async def test_postgresql_reads_no_table_from_end_to_end(history: str) -> None:
    """Each hot statement goes by an index, touches few pages, and sorts no queue."""
    found = {}
    async with await psycopg.AsyncConnection.connect(history, autocommit=False) as db:
        speak(db)
        await db.execute("SET plan_cache_mode = force_custom_plan")
        for name, (sql, args) in SCANS.items():
            answer = await db.execute("EXPLAIN (ANALYZE, BUFFERS, FORMAT JSON) " + _sql(sql, None), args)
            ((plan,),) = await answer.fetchall()
            found[name] = plan[0]["Plan"]
    seq_scans = {name: plan for name, plan in found.items() if '"Seq Scan"' in str(plan).replace("'", '"')}
    assert not seq_scans
    pages = {name: plan["Shared Hit Blocks"] + plan["Shared Read Blocks"] for name, plan in found.items()}
    assert {name: count for name, count in pages.items() if count > 120} == {}
