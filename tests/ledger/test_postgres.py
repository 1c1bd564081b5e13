"""What only PostgreSQL can do to us: broken connections, lost answers, locks, restarts, steps that clash."""

import asyncio
import base64
import random
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Self
from urllib.parse import urlsplit, urlunsplit

import psycopg
import pytest

from sales_crm_bridge.errors import Bug, EnvironmentFault, LeaseLost, LedgerBusy
from sales_crm_bridge.ledger import SqlLedger, migrate, open_ledger
from sales_crm_bridge.ledger.arrays import array, speak
from sales_crm_bridge.ledger.steps import Kind
from sales_crm_bridge.model import LeadState
from sales_crm_bridge.state import Binding, CommandChange, CommandState, Commit, OutboxRow
from tests.ledger.house import House

BLOCKED = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() AND wait_event_type = 'Lock'"
BREAK = "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE datname = current_database() AND pid <> %s"


@asynccontextmanager
async def straight(dsn: str) -> AsyncIterator[psycopg.AsyncConnection[tuple[Any, ...]]]:
    """Give a connection that goes round the ledger."""
    conn = await psycopg.AsyncConnection.connect(dsn)
    async with conn:
        yield conn


@pytest.fixture
async def ledger(postgres_dsn: str) -> AsyncIterator[SqlLedger]:
    """Give an open ledger on PostgreSQL."""
    opened = await open_ledger(postgres_dsn, migrate=True)
    yield opened
    await opened.close()


async def break_all(dsn: str) -> None:
    """Break every connection to the database, as a restart of the server does."""
    async with straight(dsn) as db:
        await db.set_autocommit(True)
        await db.execute(BREAK, (db.info.backend_pid,))


async def until_blocked(dsn: str, sessions: int) -> None:
    """Come back when so many sessions wait for a lock."""
    async with straight(dsn) as db, asyncio.timeout(30):
        await db.set_autocommit(True)
        while (await (await db.execute(BLOCKED)).fetchone()) != (sessions,):
            pass


@pytest.mark.parametrize(
    ("kind", "oid", "values"),
    [
        ("int", "bigint[]", [0, -1, 2**63 - 1, -(2**63)]),
        ("text", "text[]", ["", "a,b", '"{}\\', "größe 𝄞", "NULL"]),
        ("bytes", "bytea[]", [b"", b"\x00\xff", b"\\x41"]),
        ("int", "bigint[]", []),
        ("text", "text[]", []),
    ],
)
async def test_a_column_arrives_as_it_was_sent(postgres_dsn: str, kind: Kind, oid: str, values: list[object]) -> None:
    """Our binary arrays are PostgreSQL's, for every awkward value."""
    async with straight(postgres_dsn) as db:
        speak(db)
        answer = await db.execute("SELECT pg_typeof(%s)::text, %s", (array(kind, values), array(kind, values)))
        assert await answer.fetchone() == (oid, values)


async def test_broken_connections_are_replaced_unnoticed(ledger: SqlLedger, postgres_dsn: str) -> None:
    """A restart between two steps costs nothing: reading and writing steps are taken on a new connection."""
    house = House(ledger)
    conn, fence = await house.connection()
    for n in range(3):
        await break_all(postgres_dsn)
        await ledger.commit(fence, Commit(conn=conn, positions={"f": str(n).encode()}))
        await break_all(postgres_dsn)
        assert await ledger.positions(conn) == {"f": str(n).encode()}


async def test_bells_are_heard_again_after_a_break(ledger: SqlLedger, postgres_dsn: str) -> None:
    """The listener comes back by itself, and whoever waits meanwhile is woken, since a bell may have been missed."""
    other = await open_ledger(postgres_dsn)
    await ledger.wait(["x"], 0.0)
    waiting = asyncio.create_task(ledger.wait(["x"], 1000.0))
    await asyncio.wait([waiting], timeout=0)
    await break_all(postgres_dsn)
    await asyncio.wait_for(waiting, 30)
    waiting = asyncio.create_task(ledger.wait(["y"], 1000.0))
    await asyncio.wait([waiting], timeout=0)
    await other.ring("y")
    await asyncio.wait_for(waiting, 30)
    await other.close()


async def test_a_wait_is_not_stuck_in_a_listener_that_never_began(postgres_dsn: str) -> None:
    """Closed while it still waits for the listener's first connection, a ledger lets every waiter go on by time."""
    await migrate(postgres_dsn)
    async with asyncio.timeout(30):
        ledger = await open_ledger(postgres_dsn)
        waiting = [asyncio.create_task(ledger.wait(["x"], 0.01)) for _ in range(2)]
        await asyncio.wait(waiting, timeout=0)
        await ledger.close()
        await asyncio.gather(*waiting)


async def test_a_server_that_stays_away_is_an_environment_fault() -> None:
    """After the named time, with a remedy, and without the password."""
    with pytest.raises(EnvironmentFault) as fault:
        await open_ledger("postgresql://bridge:s3cret@127.0.0.1:1/none", away_s=0.0)
    assert fault.value.code == "ledger.unreachable"
    assert fault.value.remedy
    assert "s3cret" not in f"{fault.value!s} {fault.value!r} {fault.value.__cause__!r}"


async def test_a_server_that_answers_and_refuses_is_not_said_to_be_silent(postgres_dsn: str) -> None:
    """A database that there is not: the operator is told to look for it, too."""
    address = urlsplit(postgres_dsn)._replace(path="/no_such_database", query="").geturl()
    with pytest.raises(EnvironmentFault) as fault:
        await open_ledger(address, away_s=0.0)
    assert fault.value.code == "ledger.unreachable"
    assert "does not let us in" in fault.value.message
    assert "has the database" in fault.value.remedy


async def test_a_takeover_waits_for_the_step_in_its_middle(ledger: SqlLedger, postgres_dsn: str) -> None:
    """While a fenced step is being taken nobody gets its lease; the step that comes after the takeover writes nothing."""
    house = House(ledger)
    conn, fence = await house.connection()
    await ledger.commit(fence, Commit(conn=conn, positions={"f": b"0"}))
    await ledger.leases_drop("p1", [fence.lease])
    async with straight(postgres_dsn) as db:
        await db.execute("SELECT 1 FROM positions FOR UPDATE")
        step = asyncio.create_task(ledger.commit(fence, Commit(conn=conn, positions={"f": b"1"})))
        await until_blocked(postgres_dsn, 1)
        takeover = asyncio.create_task(ledger.leases_take([fence.lease], "p2", 1, 100))
        await until_blocked(postgres_dsn, 2)
    await step
    assert await takeover == {fence.lease: fence.epoch + 1}
    with pytest.raises(LeaseLost):
        await ledger.commit(fence, Commit(conn=conn, positions={"f": b"2"}))
    assert await ledger.positions(conn) == {"f": b"1"}


async def test_a_slow_step_does_not_hold_up_the_renewal_of_leases(ledger: SqlLedger, postgres_dsn: str) -> None:
    """One account's step waits for a lock: the process renews that lease and all its others meanwhile, with one statement."""
    house = House(ledger)
    conn, fence = await house.connection()
    await ledger.commit(fence, Commit(conn=conn, positions={"f": b"0"}))
    others = await ledger.leases_take(["another", "process/p1"], fence.holder, 1, 100)
    async with straight(postgres_dsn) as db:
        await db.execute("SELECT 1 FROM positions FOR UPDATE")
        step = asyncio.create_task(ledger.commit(fence, Commit(conn=conn, positions={"f": b"1"})))
        await until_blocked(postgres_dsn, 1)
        renewed = await asyncio.wait_for(ledger.leases_renew(fence.holder, 2, 200), 30)
        assert not step.done()
    assert renewed == {fence.lease: fence.epoch, **others}
    await step
    assert await ledger.positions(conn) == {"f": b"1"}


async def test_a_command_that_comes_while_the_one_before_it_ends_is_not_forgotten(
    ledger: SqlLedger, postgres_dsn: str
) -> None:
    """The step that finishes a lead's only command and the one that brings the next do not miss each other."""
    house = House(ledger)
    conn, fence = await house.connection()
    await ledger.commit(fence, Commit(conn=conn, positions={"f": b"0"}))
    await house.intents(conn, "L")
    ((_, seq),) = await house.ready(conn)
    async with straight(postgres_dsn) as db:
        await db.execute("SELECT 1 FROM positions FOR UPDATE")
        change = CommandChange(seq=seq, state=CommandState.DONE, finished_us=1)
        ending = asyncio.create_task(ledger.commit(fence, Commit(conn=conn, commands=[change], positions={"f": b"1"})))
        await until_blocked(postgres_dsn, 1)
        coming = asyncio.create_task(house.intents(conn, "L"))
        await until_blocked(postgres_dsn, 2)
    await asyncio.gather(ending, coming)
    ((lead, following),) = await house.ready(conn)
    assert lead == "L"
    assert following != seq


async def test_a_step_that_waits_too_long_for_a_lock_is_not_taken(postgres_dsn: str) -> None:
    """LedgerBusy after the named time; the next try succeeds."""
    ledger = await open_ledger(postgres_dsn, migrate=True, busy_s=0.05)
    house = House(ledger)
    conn, fence = await house.connection()
    async with straight(postgres_dsn) as db:
        await db.execute("SELECT 1 FROM leases FOR UPDATE")
        with pytest.raises(LedgerBusy):
            await ledger.commit(fence, Commit(conn=conn, positions={"f": b"1"}))
    assert await ledger.positions(conn) == {}
    await ledger.commit(fence, Commit(conn=conn, positions={"f": b"1"}))
    await ledger.close()


async def test_a_deadlock_is_taken_again(ledger: SqlLedger, postgres_dsn: str) -> None:
    """The server ends one of two steps that wait for each other; ours is begun again and is taken."""
    house = House(ledger)
    conn, fence = await house.connection()
    await ledger.commit(fence, Commit(conn=conn, positions={"f": b"0"}))
    async with straight(postgres_dsn) as db:
        await db.execute("SET deadlock_timeout = '1h'")  # theirs is the session that does not look for deadlocks
        await db.execute("SELECT 1 FROM connections FOR UPDATE")
        # A session looks once, a second after it began to wait. So the circle must be closed by ours: it is held up before.
        async with straight(postgres_dsn) as holder:
            await holder.execute("SELECT 1 FROM positions FOR UPDATE")
            step = asyncio.create_task(ledger.commit(fence, Commit(conn=conn, positions={"f": b"1"}, facts=7)))
            await until_blocked(postgres_dsn, 1)
            theirs = asyncio.create_task(db.execute("SELECT 1 FROM leases FOR UPDATE"))
            await until_blocked(postgres_dsn, 2)
        await theirs
        assert not step.done()
    await step
    assert await ledger.positions(conn) == {"f": b"1"}


async def test_a_cancelled_step_leaves_nothing_behind(ledger: SqlLedger, postgres_dsn: str) -> None:
    """Not its rows, not its locks, not a connection that nobody gives back."""
    house = House(ledger)
    conn, fence = await house.connection()
    for _ in range(6):  # more than there are connections
        async with straight(postgres_dsn) as db:
            await db.execute("SELECT 1 FROM leases FOR UPDATE")
            step = asyncio.create_task(ledger.commit(fence, Commit(conn=conn, positions={"f": b"1"})))
            await until_blocked(postgres_dsn, 1)
            step.cancel()
            with pytest.raises(asyncio.CancelledError):
                await step
    assert await ledger.positions(conn) == {}
    await ledger.commit(fence, Commit(conn=conn, positions={"f": b"2"}))


class Cutter:
    """Stands between the ledger and the server, and cuts the line at a COMMIT: before it gets there, or before its answer does."""

    def __init__(self, dsn: str) -> None:
        self._parts = urlsplit(dsn)
        self._open: set[asyncio.StreamWriter] = set()
        self.cuts: list[str] = []
        self.made = 0

    async def __aenter__(self) -> Self:
        self._server = await asyncio.start_server(self._serve, "127.0.0.1", 0)
        port = self._server.sockets[0].getsockname()[1]
        user = f"{self._parts.username}@" if self._parts.username else ""
        self.dsn = urlunsplit(self._parts._replace(netloc=f"{user}127.0.0.1:{port}"))
        return self

    async def __aexit__(self, *_: object) -> None:
        for writer in self._open:
            writer.close()
        self._server.close()
        await self._server.wait_closed()

    async def _serve(self, client: asyncio.StreamReader, back: asyncio.StreamWriter) -> None:
        server, forth = await asyncio.open_connection(self._parts.hostname, self._parts.port)
        self._open |= {back, forth}
        deaf: list[str] = []
        async with asyncio.TaskGroup() as group:
            group.create_task(self._ask(client, forth, deaf))
            group.create_task(self._answer(server, back, deaf))

    async def _ask(self, client: asyncio.StreamReader, forth: asyncio.StreamWriter, deaf: list[str]) -> None:
        while data := await client.read(65536):
            if b"COMMIT" in data and self.cuts:
                deaf.append(self.cuts.pop(0))
                if deaf == ["question"]:
                    break
            forth.write(data)
        forth.close()

    async def _answer(self, server: asyncio.StreamReader, back: asyncio.StreamWriter, deaf: list[str]) -> None:
        while data := await server.read(65536):
            if deaf == ["answer"] and b"COMMIT\0" in data:
                break
            back.write(data)
        self.made += len(deaf)
        back.close()


@pytest.mark.parametrize("cuts", [["question"], ["answer"], ["question", "answer"], ["answer", "answer"]], ids=str)
async def test_a_commit_whose_answer_is_lost_is_taken_once(postgres_dsn: str, cuts: list[str]) -> None:
    """The server is asked what became of it: taken is taken, not taken is done again; and its bells ring."""
    await migrate(postgres_dsn)
    async with Cutter(postgres_dsn) as line:
        ledger = await open_ledger(line.dsn)
        house = House(ledger)
        conn, fence = await house.connection()
        for n in range(len(cuts)):
            line.cuts = cuts[n : n + 1]
            row = OutboxRow(message_id=f"m{n}", fact=b"f", created_us=1)
            await ledger.commit(fence, Commit(conn=conn, outbox=[row]))
            assert line.made == n + 1
            await asyncio.wait_for(ledger.wait(["outbox"], 1000.0), 30)
        rows = await ledger.outbox_read(0, 99)
        await ledger.close()
    assert [row.message_id for row in rows] == [f"m{n}" for n in range(len(cuts))]


async def test_a_value_beyond_the_servers_limits_is_no_server_that_is_away(ledger: SqlLedger) -> None:
    """The server names its limit at once: a bug of ours, told at once, and not taken for an outage that passes by waiting."""
    conn, fence = await House(ledger).connection()
    key = base64.b64encode(random.Random(1).randbytes(6000)).decode()
    binding = Binding(conn=conn, lead_id=key, crm_id="1", state=LeadState.LIVE, aggregate_version=1)
    async with asyncio.timeout(10):  # the time that a server may be away is 15 s
        with pytest.raises(Bug) as bug:
            await ledger.commit(fence, Commit(conn=conn, bindings=[binding]))
    assert bug.value.code == "bug.ledger-sql"
