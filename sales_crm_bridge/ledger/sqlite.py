"""The embedded ledger: one SQLite file, one connection, no thread and no await inside a transaction.

What another process locks is not waited for inside SQLite, where the whole process would wait: the step is begun again and again
from its start, and between the tries everything else goes on.

WAL with ``synchronous=FULL``: what was committed survives ``kill -9`` and a power cut. ``secure_delete``: what leaves the
outbox is overwritten in the file, since nothing personal stays once its work is done.
"""

from __future__ import annotations

import os
import sqlite3
from functools import cache
from itertools import chain
from typing import TYPE_CHECKING, Any, NoReturn, TypeVar

import msgspec

from sales_crm_bridge.errors import Bug, EnvironmentFault, LedgerBusy
from sales_crm_bridge.ledger.bells import Bells
from sales_crm_bridge.ledger.steps import Collision, Many, P, Ring, Set

if TYPE_CHECKING:
    from collections.abc import Callable

    from sales_crm_bridge.errors import BridgeError
    from sales_crm_bridge.ledger.steps import Ask, Columns, Rows, Step

T = TypeVar("T")

MEMORY = ":memory:"

LOTS = (64, 8, 1)
"""Rows that go into one statement; few sizes, so that each statement is prepared once for each."""

PAUSE_MIN_S, PAUSE_MAX_S = 0.005, 0.05
"""Seconds between two tries at a file that another process holds: it doubles from try to try."""

OLDEST_SQLITE = (3, 35, 0)  # RETURNING
PRAGMAS = (
    "journal_mode = WAL",
    "synchronous = FULL",
    "secure_delete = ON",
    "temp_store = MEMORY",
    "cache_size = -32768",  # KiB; it is full from a hundred thousand leads on, and more of it made no page faster
    "wal_autocheckpoint = 4000",
    "journal_size_limit = 67108864",
)

_AWAY = frozenset({sqlite3.SQLITE_CANTOPEN, sqlite3.SQLITE_IOERR, sqlite3.SQLITE_PERM, sqlite3.SQLITE_READONLY})
_BROKEN = frozenset({sqlite3.SQLITE_CORRUPT, sqlite3.SQLITE_NOTADB})


class SqliteDriver:
    """Runs steps on one SQLite file; a step holds the event loop until it is done, but not while another process holds the file."""

    dialect = "sqlite"

    def __init__(self, path: str, *, busy_s: float) -> None:
        """Open or make the file at ``path``. Opening, and a step that finds another process writing, wait ``busy_s`` at most."""
        self.bells = Bells()
        self._path = path
        self._busy_s = busy_s
        if sqlite3.sqlite_version_info < OLDEST_SQLITE:
            raise EnvironmentFault(
                "ledger.sqlite-old",
                f"this Python is linked with SQLite {sqlite3.sqlite_version}",
                place=path,
                remedy="use a Python with SQLite 3.35 or newer, or a PostgreSQL ledger",
            )
        try:
            if path != MEMORY:  # it holds leads under way: for its owner alone
                os.close(os.open(path, os.O_RDWR | os.O_CREAT, 0o600))
            self._db = sqlite3.connect(path, timeout=busy_s, isolation_level=None, cached_statements=256)
        except (OSError, sqlite3.Error) as error:
            raise EnvironmentFault(
                "ledger.unreachable",
                f"cannot open the file: {type(error).__name__}",
                place=path,
                remedy="let its folder exist and be writable for this process",
            ) from error
        try:
            for pragma in PRAGMAS:
                self._db.execute(f"PRAGMA {pragma}")
            self._db.execute("PRAGMA busy_timeout = 0")
        except sqlite3.Error as error:
            self._db.close()
            self._fail(error)

    async def run(self, step: Callable[P, Step[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """See ``steps.Driver``."""

        def once() -> T:
            rung: list[str] = []
            try:
                self._db.execute("BEGIN IMMEDIATE")
                value = self._drive(step(*args, **kwargs), rung)
                self._db.execute("COMMIT")
            except sqlite3.Error as error:
                self._roll_back()
                self._fail(error)
            except BaseException:
                self._roll_back()
                raise
            for bell in rung:
                self.bells.ring(bell)
            return value

        return await self._until_free(once)

    async def look(self, step: Callable[P, Step[T]], /, *args: P.args, **kwargs: P.kwargs) -> T:
        """See ``steps.Driver``."""

        def once() -> T:
            try:
                return self._drive(step(*args, **kwargs), [])
            except sqlite3.Error as error:
                self._fail(error)

        return await self._until_free(once)

    async def listen(self) -> None:
        """Nothing: a file carries no bells to other processes, who come back when their wait is over."""

    async def close(self) -> None:
        """Let go of the file."""
        self._db.close()

    async def _until_free(self, once: Callable[[], T]) -> T:
        """``once``, again while another process holds the file, for ``busy_s`` at most. Cancelled meanwhile, nothing was done."""
        waited_s, pause_s = 0.0, PAUSE_MIN_S
        while True:
            try:
                return once()
            except LedgerBusy:
                if waited_s >= self._busy_s:
                    raise
            await self.bells.wait((), pause_s)
            waited_s += pause_s
            pause_s = min(2 * pause_s, PAUSE_MAX_S)

    def _drive(self, step: Step[T], rung: list[str]) -> T:
        try:
            works = next(step)
            while True:
                answers: list[Rows] = []
                for work in works:
                    if isinstance(work, Many):
                        answers.append(self._many(work) if work.rows else [])
                    elif isinstance(work, Ring):
                        rung.append(work.bell)
                        answers.append([])
                    else:
                        answers.append(self._ask(work))
                works = step.send(tuple(answers))
        except StopIteration as end:
            value: T = end.value
            return value

    def _ask(self, work: Ask) -> Rows:
        args = [_json(one) if isinstance(one, Set) else one for one in work.args]
        return self._db.execute(_sql(work.sql, None), args).fetchall()

    def _many(self, work: Many) -> Rows:
        if not work.returning and "{values}" in work.sql:
            rows = [(*row, *work.args) for row in work.rows] if work.args else work.rows
            self._db.executemany(_sql(work.sql, work.columns), rows)
            return []
        # Preparing a join anew for each row would cost more than the join, and so would fetching each row's answer by itself.
        answers: Rows = []
        start = 0
        while left := len(work.rows) - start:
            lot = next(size for size in LOTS if size <= left)
            args = (*chain.from_iterable(work.rows[start : start + lot]), *work.args)
            answers += self._db.execute(_sql(work.sql, work.columns, lot), args).fetchall()
            start += lot
        return answers

    def _roll_back(self) -> None:
        if self._db.in_transaction:
            self._db.execute("ROLLBACK")

    def _fail(self, error: sqlite3.Error) -> NoReturn:
        raise _fault(error, self._path) from error


@cache
def _sql(text: str, columns: Columns | None, lot: int = 1) -> str:
    text = text.replace("{in}", "IN (SELECT value FROM json_each(?))")
    text = text.replace("{share}", "").replace("{hold}", "").replace("{update}", "")
    if columns is not None:
        row = ", ".join("?" * len(columns.names))
        values = f"VALUES {', '.join([f'({row})'] * lot)}"
        names = ", ".join(f"column{number} AS {name}" for number, name in enumerate(columns.names, 1))
        text = text.replace("{columns}", columns.listed)
        text = text.replace("{values}", values).replace("{rows}", f"(SELECT {names} FROM ({values})) AS r")  # noqa: S608
    return text


def _json(some: Set) -> str:
    return msgspec.json.encode(some.values).decode()


def _fault(error: sqlite3.Error, path: str) -> BridgeError | Collision:
    """What ``error`` means to the bridge. SQLite's own words name tables and columns, never values."""
    code: Any = getattr(error, "sqlite_errorcode", 0) & 0xFF
    if isinstance(error, sqlite3.IntegrityError):
        return Collision(str(error))
    if code in {sqlite3.SQLITE_BUSY, sqlite3.SQLITE_LOCKED}:
        return LedgerBusy("ledger.busy", "another process is writing to the ledger", place=path)
    if code in _AWAY:
        return EnvironmentFault(
            "ledger.unreachable", str(error), place=path, remedy="see to the disk and to the file's rights"
        )
    if code == sqlite3.SQLITE_FULL:
        return EnvironmentFault("ledger.full", str(error), place=path, remedy="make room on the disk")
    if code in _BROKEN:
        return EnvironmentFault(
            "ledger.broken", str(error), place=path, remedy="restore the ledger from a backup (docs/operations.md)"
        )
    return Bug("bug.ledger-sql", f"{type(error).__name__}: {error}", place=path)
