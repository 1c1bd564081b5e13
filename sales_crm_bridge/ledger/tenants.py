"""Tenants, their connections, and what belongs to a connection as a whole: kept sign-ins, counted calls, how it is."""

from __future__ import annotations

from datetime import date, timedelta
from typing import TYPE_CHECKING

from sales_crm_bridge.ledger import leases
from sales_crm_bridge.ledger.steps import Ask, Columns, Step
from sales_crm_bridge.state import ConnectionRow, TenantRow

if TYPE_CHECKING:
    from sales_crm_bridge.state import Fence

TENANT = Columns(
    "tenant text, text text, digest text, accepted_us int, connection text, adapter text, account text, retired_us int, conn int"
)
CONNECTION = Columns(
    "conn int, tenant text, name text, adapter text, account text, facts int, state text, code text, message text, remedy text,"
    "since_us int"
)

TENANTS = f"SELECT {TENANT.listed} FROM tenants ORDER BY tenant"  # noqa: S608 - constants
ACCEPT_CONNECTION = """
    INSERT INTO connections (tenant, name, adapter, account) VALUES (?, ?, ?, ?)
    ON CONFLICT (tenant, name) DO UPDATE SET adapter = excluded.adapter, account = excluded.account
    RETURNING conn
"""
FIND_CONNECTION = "SELECT conn FROM connections WHERE tenant = ? AND name = ?"
ACCEPT = f"""
    INSERT INTO tenants ({TENANT.listed}) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
    ON CONFLICT (tenant) DO UPDATE SET {", ".join(f"{name} = excluded.{name}" for name in TENANT.names[1:])}
"""  # noqa: S608 - constants
NUMBER = "SELECT value FROM meta WHERE name = 'tenancy' {share}"
MOVE = "UPDATE meta SET value = value + 1 WHERE name = 'tenancy'"
RETIRE = "UPDATE tenants SET retired_us = ? WHERE tenant = ? AND retired_us = 0 RETURNING tenant"
CONNECTIONS = f"""
    SELECT {CONNECTION.listed_of("c")} FROM connections c JOIN tenants t ON t.conn = c.conn
    WHERE t.retired_us = 0 ORDER BY c.conn
"""  # noqa: S608 - constants
CONNECTION_ALONE = f"""
    SELECT {CONNECTION.listed_of("c")} FROM connections c JOIN tenants t ON t.tenant = c.tenant AND t.conn = c.conn
    WHERE c.conn = ? AND t.retired_us = 0
"""  # noqa: S608 - constants
LEFT = """
    SELECT c.conn, c.tenant, c.name, c.adapter, c.account, CASE WHEN t.conn = c.conn THEN t.retired_us ELSE 0 END
    FROM connections c JOIN tenants t ON t.tenant = c.tenant WHERE t.retired_us > 0 OR t.conn <> c.conn ORDER BY c.conn
"""
SAY = """
    UPDATE connections SET since_us = CASE WHEN state = ? AND code = ? THEN since_us ELSE ? END,
        state = ?, code = ?, message = ?, remedy = ?
    WHERE conn = ?
"""
KEEP = "INSERT INTO keeps (conn, sealed) VALUES (?, ?) ON CONFLICT (conn) DO UPDATE SET sealed = excluded.sealed"
COUNT = """
    INSERT INTO calls (conn, day, made) VALUES (?, ?, ?)
    ON CONFLICT (conn, day) DO UPDATE SET made = calls.made + excluded.made
    RETURNING made
"""
COUNTED_BEFORE = "DELETE FROM calls WHERE conn = ? AND day < ?"


def every() -> Step[list[TenantRow]]:
    """All accepted files, by tenant."""
    (rows,) = yield (Ask(TENANTS),)
    return [TenantRow(**dict(zip(TENANT.names, row, strict=True))) for row in rows]


def number() -> Step[int]:
    """How often it has changed what is in force."""
    (((value,),),) = yield (Ask(NUMBER),)
    return int(value)


def accept(row: TenantRow) -> Step[int]:
    """Keep a file and its connection."""
    yield (Ask(MOVE),)  # first: ``commands.take`` locks it before the connections, too
    conn = yield from make_connection(row)
    file = (row.tenant, row.text, row.digest, row.accepted_us, row.connection, row.adapter, row.account, row.retired_us)
    yield (Ask(ACCEPT, (*file, conn)),)
    return conn


def make_connection(row: TenantRow) -> Step[int]:
    """Its number, before the file is accepted."""
    (((conn,),),) = yield (Ask(ACCEPT_CONNECTION, (row.tenant, row.connection, row.adapter, row.account)),)
    return int(conn)


def find_connection(tenant: str, name: str) -> Step[int]:
    """Its number; 0: there is none."""
    (rows,) = yield (Ask(FIND_CONNECTION, (tenant, name)),)
    return int(rows[0][0]) if rows else 0


def retire(tenant: str, retired_us: int) -> Step[bool]:
    """Put out of force."""
    _, rows = yield (Ask(MOVE), Ask(RETIRE, (retired_us, tenant)))
    return bool(rows)


def connections(conn: int) -> Step[list[ConnectionRow]]:
    """Those of tenants in force, by number; ``conn`` > 0: that one alone."""
    (rows,) = yield (Ask(CONNECTION_ALONE, (conn,)) if conn else Ask(CONNECTIONS),)
    return [ConnectionRow(**dict(zip(CONNECTION.names, row, strict=True))) for row in rows]


def say(conn: int, state: str, code: str, message: str, remedy: str, now_us: int) -> Step[None]:
    """Write down how a connection is; the same word again does not move its time."""
    yield (Ask(SAY, (state, code, now_us, state, code, message, remedy, conn)),)


def keep_load(conn: int) -> Step[bytes]:
    """What was kept, sealed."""
    (rows,) = yield (Ask("SELECT sealed FROM keeps WHERE conn = ?", (conn,)),)
    return bytes(rows[0][0]) if rows else b""


def keep_save(fence: Fence, conn: int, sealed: bytes) -> Step[None]:
    """Keep it."""
    fenced, _ = yield (leases.check(fence), Ask(KEEP, (conn, sealed)))
    leases.proven(fence, fenced)


def calls_count(fence: Fence, conn: int, day: str, more: int) -> Step[int]:
    """Count calls of a day. The two days before it are kept: who does not know the account's time zone yet may be ahead of it."""
    over = (date.fromisoformat(day) - timedelta(days=2)).isoformat()
    fenced, ((made,),), _ = yield (
        leases.check(fence),
        Ask(COUNT, (conn, day, more)),
        Ask(COUNTED_BEFORE, (conn, over)),
    )
    leases.proven(fence, fenced)
    return int(made)
