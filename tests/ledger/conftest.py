"""One suite, every driver: a test that asks for ``ledger`` runs on SQLite, and on a real PostgreSQL."""

from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from sales_crm_bridge.ledger import SqlLedger, open_ledger
from tests.ledger.house import House, Opener


@pytest.fixture(params=["sqlite", pytest.param("postgresql", marks=pytest.mark.real)])
def address(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    """Give the address of an empty database of the test's own."""
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path / 'ledger.db'}"
    dsn: str = request.getfixturevalue("postgres_dsn")
    return dsn


@pytest.fixture
async def opened(address: str) -> AsyncIterator[Opener]:
    """Give a function that opens one more ledger on the database, as another process would; all are closed."""
    ledgers: list[SqlLedger] = []

    async def one_more() -> SqlLedger:
        ledgers.append(await open_ledger(address, migrate=True))
        return ledgers[-1]

    yield one_more
    for ledger in ledgers:
        await ledger.close()


@pytest.fixture
async def ledger(opened: Opener) -> SqlLedger:
    """Give an open ledger with the newest schema."""
    return await opened()


@pytest.fixture
def house(ledger: SqlLedger) -> House:
    """Give the usual beginning."""
    return House(ledger)
