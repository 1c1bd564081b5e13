"""Opening a ledger by its address, and bringing its schema up to date."""

from __future__ import annotations

from typing import TYPE_CHECKING

from sales_crm_bridge.errors import EnvironmentFault
from sales_crm_bridge.ledger import schema
from sales_crm_bridge.ledger.sql_ledger import SqlLedger
from sales_crm_bridge.ledger.sqlite import MEMORY, SqliteDriver

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sales_crm_bridge.ledger.postgres import PostgresDriver

BUSY_S = 5.0
STATEMENT_S = 30.0


async def open_ledger(
    address: str, *, migrate: bool = False, connections_max: int = 4, busy_s: float = BUSY_S, away_s: float = 15.0
) -> SqlLedger:
    """Open the ledger at ``address``; ``migrate``: bring its schema up to date first.

    ``sqlite:///path`` (``sqlite:////path`` from the root), ``sqlite://:memory:`` (always with its schema), or
    ``postgresql://…`` as libpq takes it. ``connections_max``: to PostgreSQL at the same time. ``busy_s``: how long a step waits
    for another one's locks before it is ``LedgerBusy``. ``away_s``: how long the server may be away before that is an
    ``EnvironmentFault``. Raises ``EnvironmentFault`` when the ledger is not there or its schema does not fit this program.
    """
    if migrate and not _memory(address):
        await _upgrade(address, schema.shipped(), busy_s)
    driver = _driver(address, connections_max=connections_max, busy_s=busy_s, away_s=away_s)
    try:
        if _memory(address):
            await driver.run(schema.upgrade, driver.dialect, schema.shipped())
        (await driver.look(schema.inspect, driver.dialect, schema.shipped())).check()
    except BaseException:
        await driver.close()
        raise
    return SqlLedger(driver)


async def migrate(
    address: str, *, migrations: Sequence[schema.Migration] | None = None, busy_s: float = BUSY_S
) -> list[str]:
    """Bring the schema at ``address`` up to date, in one transaction; gives the names of what was applied.

    The previous version of the program may be at work meanwhile. Raises ``LedgerBusy`` when its locks cannot be had in
    ``busy_s``, having changed nothing. ``migrations`` None: those of the package.
    """
    return await _upgrade(address, schema.shipped() if migrations is None else migrations, busy_s)


async def schema_state(address: str, *, busy_s: float = BUSY_S) -> schema.SchemaState:
    """What the database at ``address`` has of the schema. Raises ``EnvironmentFault`` when it is not there."""
    driver = _driver(address, connections_max=1, busy_s=busy_s, away_s=busy_s)
    try:
        return await driver.look(schema.inspect, driver.dialect, schema.shipped())
    finally:
        await driver.close()


async def _upgrade(address: str, migrations: Sequence[schema.Migration], busy_s: float) -> list[str]:
    driver = _driver(address, connections_max=1, busy_s=busy_s, away_s=busy_s, statement_s=0.0)
    try:
        return await driver.run(schema.upgrade, driver.dialect, migrations)
    finally:
        await driver.close()


def _memory(address: str) -> bool:
    return address == f"sqlite://{MEMORY}"


def _driver(
    address: str, *, connections_max: int, busy_s: float, away_s: float, statement_s: float = STATEMENT_S
) -> SqliteDriver | PostgresDriver:
    if _memory(address):
        return SqliteDriver(MEMORY, busy_s=busy_s)
    if address.startswith("sqlite:///"):
        return SqliteDriver(address.removeprefix("sqlite:///"), busy_s=busy_s)
    if address.startswith(("postgresql://", "postgres://")):
        from sales_crm_bridge.ledger import postgres  # noqa: PLC0415 - psycopg costs an embedded ledger 0.1 s at its start

        limits = postgres.Limits(connections_max=connections_max, busy_s=busy_s, away_s=away_s, statement_s=statement_s)
        return postgres.PostgresDriver(address, limits)
    raise EnvironmentFault(
        "ledger.bad-address",
        "the ledger's address is neither sqlite:///… nor postgresql://…",
        place="ledger",
        remedy="see `ledger` in docs/config.md",
    )
