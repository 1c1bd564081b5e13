"""The production ledger: PostgreSQL 13 or newer, through psycopg.

A step is one transaction in READ COMMITTED; what must not change under it is locked by row (see ``leases`` and ``commands``). Its
works travel in pipeline mode, so a commit is two round trips however many statements it has. When the answer to a COMMIT is
lost, the server is asked what became of that transaction: a step is never taken twice, and never reported as not taken when it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import time
from dataclasses import dataclass
from functools import cache
from typing import TYPE_CHECKING, Any, TypeVar

import psycopg
from psycopg import errors
from psycopg.conninfo import conninfo_to_dict

from sales_crm_bridge.errors import BridgeError, Bug, EnvironmentFault, LedgerBusy
from sales_crm_bridge.ledger.arrays import array, speak
from sales_crm_bridge.ledger.bells import Bells
from sales_crm_bridge.ledger.steps import Collision, Many, P, Ring, Set

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Awaitable, Callable

    from sales_crm_bridge.ledger.steps import Columns, Rows, Step, Work

T = TypeVar("T")
Connection = psycopg.AsyncConnection[tuple[Any, ...]]

log = logging.getLogger(__name__)

CHANNEL = "sales_crm_bridge"
DEFAULTS = {
    "application_name": "sales-crm-bridge",
    "client_encoding": "utf8",
    "target_session_attrs": "read-write",  # of several hosts, the one that is not a standby
    "connect_timeout": 5,
    "keepalives_idle": 15,
    "keepalives_interval": 5,
    "keepalives_count": 3,
    "tcp_user_timeout": 30_000,
}
# A plan made for an empty table must not live on, and a commit is a commit.
SESSION = """
    SELECT set_config('plan_cache_mode', 'force_custom_plan', false), set_config('jit', 'off', false),
        set_config('lock_timeout', %s, false), set_config('statement_timeout', %s, false),
        set_config('idle_in_transaction_session_timeout', %s, false),
        set_config('synchronous_commit', replace(current_setting('synchronous_commit'), 'off', 'on'), false)
"""
XID = "SELECT pg_current_xact_id()::text"
FATE = "SELECT pg_xact_status(CAST(%s AS xid8))"
NOTIFY = "SELECT pg_notify(%s, %s)"
OLDEST_SERVER = 130_000  # pg_current_xact_id, pg_xact_status
IDLE_MS = 10_000  # in the middle of a step: a stopped process must not keep its locks
PAUSES_S = (0.02, 0.05, 0.1, 0.2, 0.5, 1.0)

_CLASH = (errors.SerializationFailure, errors.DeadlockDetected)
_LATE = (errors.LockNotAvailable, errors.QueryCanceled, errors.IdleInTransactionSessionTimeout)
_RIGHTS = (errors.InsufficientPrivilege, errors.ReadOnlySqlTransaction)
_SCHEMA = (errors.UndefinedTable, errors.UndefinedColumn, errors.UndefinedFunction)


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """``connections_max``: at the same time, the listener's apart. ``busy_s``: how long a statement waits for a lock.

    ``statement_s``: how long one statement may take (0: as long as it likes).
    ``clashes_max``: tries of a step that the server asks to begin again. ``away_s``: how long the server may be away.
    """

    connections_max: int = 4
    busy_s: float = 10.0
    statement_s: float = 30.0
    clashes_max: int = 10
    away_s: float = 15.0


class _Doubt(Exception):
    """The connection broke between COMMIT and its answer."""

    def __init__(self, xid: str, value: Any, rung: list[str]) -> None:
        super().__init__(xid)
        self.xid, self.value, self.rung = xid, value, rung


class PostgresDriver:
    """Runs steps on one PostgreSQL database."""

    dialect = "postgresql"

    def __init__(self, address: str, limits: Limits) -> None:
        """``address``: as libpq takes it. Connects when it is first needed."""
        self.bells = Bells()
        self._limits = limits
        self._params: dict[str, Any] = DEFAULTS | conninfo_to_dict(address)
        self._place = f"{self._params.get('host', 'local')}/{self._params.get('dbname', '')}"
        self._seats = asyncio.Semaphore(limits.connections_max)
        self._idle: list[Connection] = []
        self._pids: set[int] = set()
        self._listener: asyncio.Task[None] | None = None
        self._listening = asyncio.Event()

    async def run(self, step: Callable[P, Step[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """See ``steps.Driver``."""

        async def once(conn: Connection) -> T:
            return await self._transaction(conn, step(*args, **kwargs))

        return await self._patiently(once)

    async def look(self, step: Callable[P, Step[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """See ``steps.Driver``."""

        async def once(conn: Connection) -> T:
            return await self._drive(conn, step(*args, **kwargs), [])

        return await self._patiently(once)

    async def listen(self) -> None:
        """Hear NOTIFY on a connection of its own, from the first call on; while it is lost, waits end by their time."""
        if self._listener is None:
            self._listener = asyncio.create_task(self._hear(), name="ledger-listener")
            # However it ends, nobody waits for it to begin.
            self._listener.add_done_callback(lambda _: self._listening.set())
        if not self._listening.is_set():
            await self._listening.wait()

    async def close(self) -> None:
        """Hang up."""
        if self._listener is not None:
            self._listener.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._listener
        while self._idle:
            await self._hang_up(self._idle.pop())

    # --- one step -----------------------------------------------------------------------------------------------------

    async def _transaction(self, conn: Connection, step: Step[T]) -> T:
        rung: list[str] = []
        async with conn.pipeline() as pipe:
            await conn.execute("BEGIN")
            xid = await conn.execute(XID)
            value = await self._drive(conn, step, rung, pipe)
            for bell in dict.fromkeys(rung):
                await conn.execute(NOTIFY, (CHANNEL, bell))
            numbered = await xid.fetchone()
            assert numbered is not None
            try:
                await conn.execute("COMMIT")
                await pipe.sync()
            except psycopg.OperationalError as error:
                if not conn.closed:
                    raise
                raise _Doubt(numbered[0], value, rung) from error
        self._ring(rung)
        return value

    async def _drive(
        self, conn: Connection, step: Step[T], rung: list[str], pipe: psycopg.AsyncPipeline | None = None
    ) -> T:
        """Run the works of ``step``; without a pipeline each is a transaction of its own."""
        try:
            works = next(step)
            while True:
                cursors = [await _start(conn, work, rung) for work in works]
                if pipe is not None:
                    await pipe.sync()
                answers = [await _rows(cursor) for cursor in cursors]
                works = step.send(tuple(answers))
        except StopIteration as end:
            value: T = end.value
            return value
        finally:
            step.close()

    def _ring(self, rung: list[str]) -> None:
        for bell in rung:
            self.bells.ring(bell)

    # --- when it does not go smoothly ---------------------------------------------------------------------------------

    async def _patiently(self, once: Callable[[Connection], Awaitable[T]]) -> T:
        """Take a step; again when the server asks for it, or comes back within its time and the step was not taken."""
        clashes = 0
        away = _Away(self._limits.away_s)
        while True:
            try:
                async with self._lent() as conn:
                    return await once(conn)
            except _Doubt as doubt:
                if await self._committed(doubt.xid):
                    self._ring(doubt.rung)
                    value: T = doubt.value
                    return value
            except _CLASH as error:
                clashes += 1
                if clashes == self._limits.clashes_max:
                    raise LedgerBusy(
                        "ledger.contention", "others kept changing the same rows", place=self._place
                    ) from error
            except psycopg.Error as error:
                fault = _fault(error, self._place)
                if fault is not None:
                    raise fault from error
                await away.pause(self._unreachable(error))

    async def _committed(self, xid: str) -> bool:
        """What became of a transaction whose answer was lost."""
        away = _Away(self._limits.away_s)
        unknown = EnvironmentFault(
            "ledger.outcome-unknown",
            "the connection broke during a commit, and the server cannot say what became of it",
            place=self._place,
            remedy="nothing is lost: start the bridge again, it goes on from the ledger",
        )
        while True:
            with contextlib.suppress(psycopg.OperationalError):
                async with self._lent() as conn:
                    row = await (await conn.execute(FATE, (xid,))).fetchone()
                if row is not None and row[0] in {"committed", "aborted"}:
                    return bool(row[0] == "committed")
            await away.pause(unknown)

    def _unreachable(self, error: psycopg.Error) -> EnvironmentFault:
        fault = EnvironmentFault(
            "ledger.unreachable",
            f"PostgreSQL does not answer, or does not let us in ({type(error).__name__})",
            place=self._place,
            remedy="see that the server runs and has the database, and that address, user, password and pg_hba.conf let us in",
        )
        fault.__cause__ = error
        return fault

    # --- connections --------------------------------------------------------------------------------------------------

    @contextlib.asynccontextmanager
    async def _lent(self) -> AsyncIterator[Connection]:
        """One connection, for this step alone. It is kept for the next one only when it is known to be in order."""
        async with self._seats:
            conn = self._idle.pop() if self._idle else await self._connect()
            try:
                yield conn
            except Exception:
                if await self._in_order(conn):
                    self._idle.append(conn)
                raise
            except BaseException:
                await self._hang_up(conn)
                raise
            self._idle.append(conn)

    async def _in_order(self, conn: Connection) -> bool:
        """Roll back what is left of a step; a connection that cannot do that is hung up, with its idle sisters."""
        try:
            await conn.rollback()
        except psycopg.Error:
            await self._hang_up(conn)
            while self._idle:  # a restart of the server breaks all of them at once
                await self._hang_up(self._idle.pop())
            return False
        return True

    async def _connect(self) -> Connection:
        conn = await psycopg.AsyncConnection.connect(**self._params, autocommit=True)
        self._pids.add(conn.info.backend_pid)
        try:
            _refuse_older(conn.info.server_version, self._place)
            speak(conn)
            lock_ms, statement_ms = round(self._limits.busy_s * 1000), round(self._limits.statement_s * 1000)
            await conn.execute(SESSION, (str(lock_ms), str(statement_ms), str(IDLE_MS)))
        except BaseException:
            await self._hang_up(conn)
            raise
        return conn

    async def _hang_up(self, conn: Connection) -> None:
        self._pids.discard(conn.info.backend_pid)
        await conn.close()

    # --- bells --------------------------------------------------------------------------------------------------------

    async def _hear(self) -> None:
        failures = 0
        while True:
            conn: Connection | None = None
            try:
                conn = await self._connect()
                await conn.execute(f"LISTEN {CHANNEL}")
                self._listening.set()
                if failures:
                    self.bells.ring_waited()
                failures = 0
                async for note in conn.notifies():
                    if note.pid not in self._pids:  # our own rang here when they were committed
                        self.bells.ring(note.payload)
            except (psycopg.Error, OSError, EnvironmentFault) as error:
                log.warning(
                    "bells of other processes are not heard for now: %s",
                    type(error).__name__,
                    extra={"event": "ledger.no-bells"},
                )
                self._listening.set()
            finally:
                if conn is not None:
                    await self._hang_up(conn)
            await asyncio.sleep(PAUSES_S[min(failures, len(PAUSES_S) - 1)])
            failures += 1


class _Away:
    """How long the server has been away in one step."""

    def __init__(self, limit_s: float) -> None:
        self._limit_s = limit_s
        self._since_s: float | None = None
        self._count = 0

    async def pause(self, fault: EnvironmentFault) -> None:
        """Wait a little; raise ``fault`` when it has been too long."""
        now_s = time.monotonic()
        self._since_s = now_s if self._since_s is None else self._since_s
        if now_s - self._since_s >= self._limit_s:
            raise fault
        await asyncio.sleep(PAUSES_S[min(self._count, len(PAUSES_S) - 1)])
        self._count += 1


def _refuse_older(server_version: int, place: str) -> None:
    if server_version < OLDEST_SERVER:
        raise EnvironmentFault(
            "ledger.postgresql-old",
            f"the server is PostgreSQL {server_version // 10000}",
            place=place,
            remedy="use PostgreSQL 13 or newer",
        )


async def _start(conn: Connection, work: Work, rung: list[str]) -> psycopg.AsyncCursor[tuple[Any, ...]] | None:
    if isinstance(work, Ring):
        rung.append(work.bell)
        return None
    if isinstance(work, Many):
        if not work.rows:
            return None
        columns = [
            array(kind, column) for kind, column in zip(work.columns.kinds, zip(*work.rows, strict=True), strict=True)
        ]
        return await conn.execute(_sql(work.sql, work.columns), (*columns, *work.args), binary=True)
    args = [array(one.kind, one.values) if isinstance(one, Set) else one for one in work.args]
    return await conn.execute(_sql(work.sql, None), args, binary=True)


async def _rows(cursor: psycopg.AsyncCursor[tuple[Any, ...]] | None) -> Rows:
    return await cursor.fetchall() if cursor is not None and cursor.description is not None else []


@cache
def _sql(text: str, columns: Columns | None) -> str:
    text = text.replace("{in}", "= ANY(?)").replace("{share}", "FOR SHARE")
    text = text.replace("{hold}", "FOR KEY SHARE").replace("{update}", "FOR UPDATE")
    if columns is not None:
        rows = f"unnest({', '.join('?' * len(columns.names))}) AS r({columns.listed})"
        text = text.replace("{columns}", columns.listed)
        text = text.replace("{values}", f"SELECT * FROM {rows}").replace("{rows}", rows)  # noqa: S608 - constants
    return text.replace("?", "%s")


def _fault(error: psycopg.Error, place: str) -> BridgeError | Collision | None:
    """What ``error`` means to the bridge; None: the server is away. Its message may hold values, so it is not passed on."""
    if isinstance(error, errors.UniqueViolation):
        return Collision(error.diag.constraint_name or "")
    if isinstance(error, _LATE):
        return LedgerBusy("ledger.busy", "the ledger could not take a step in time", place=place)
    if isinstance(error, _RIGHTS):
        return EnvironmentFault(
            "ledger.rights",
            f"PostgreSQL refuses: {type(error).__name__}",
            place=place,
            remedy="grant the role its rights",
        )
    if isinstance(error, _SCHEMA):
        return EnvironmentFault(
            "ledger.schema-old",
            "the ledger's tables are not there",
            place=place,
            remedy="run `sales-crm-bridge migrate`",
        )
    if isinstance(error, errors.DiskFull):
        return EnvironmentFault("ledger.full", "the server's disk is full", place=place, remedy="make room on it")
    # A value beyond one of the server's limits (class 54) comes as trouble with the server; it will not pass by waiting.
    beyond = (error.sqlstate or "").startswith("54")
    if isinstance(error, psycopg.OperationalError) and not beyond:
        return None
    return Bug("bug.ledger-sql", f"{type(error).__name__} {error.sqlstate or ''}", place=place)
