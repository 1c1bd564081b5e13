"""An embedded ledger that another process holds: a step waits for it, the process does not."""

from __future__ import annotations

import asyncio
import sqlite3
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, TypeVar

import pytest

from sales_crm_bridge.errors import LedgerBusy
from sales_crm_bridge.ledger import SqlLedger, open_ledger
from sales_crm_bridge.ledger.sqlite import PAUSE_MAX_S, SqliteDriver
from sales_crm_bridge.simulate.loop import VirtualLoop, run
from sales_crm_bridge.state import TenantRow
from tests.core.web_kit import LIMITS, House, event, signed

T = TypeVar("T")
ROW = TenantRow(tenant="acme", text="", digest="d", accepted_us=1, connection="main", adapter="hubspot", account="4242")
BUSY_S = 5.0


def with_another(folder: Path, story: Callable[[SqlLedger, sqlite3.Connection], Awaitable[T]]) -> T:
    """Run ``story`` on virtual time with a ledger and another process's connection to its file."""
    file = folder / "bridge.db"

    async def main() -> T:
        ledger = await open_ledger(f"sqlite:///{file}", migrate=True, busy_s=BUSY_S)
        other = sqlite3.connect(file, isolation_level=None, timeout=0)
        try:
            return await story(ledger, other)
        finally:
            other.close()
            await ledger.close()

    return run(main(), VirtualLoop())


async def after(seconds: float) -> None:
    """Let virtual time pass."""
    gone = asyncio.get_running_loop().create_future()
    asyncio.get_running_loop().call_later(seconds, gone.set_result, None)
    await gone


def test_while_another_process_writes_everything_else_goes_on(tmp_path: Path) -> None:
    """A step that must wait is done as soon as the file is free; meanwhile looks are answered, and the loop turns."""

    async def story(ledger: SqlLedger, other: sqlite3.Connection) -> tuple[int, list[int], float, int]:
        loop = asyncio.get_running_loop()
        other.execute("BEGIN IMMEDIATE")
        accepting = asyncio.ensure_future(ledger.tenant_accept(ROW))
        looks = []
        for _ in range(20):
            await after(0.1)
            looks.append(len(await ledger.tenants()))
        assert not accepting.done()
        other.execute("ROLLBACK")
        freed = loop.time()
        conn = await accepting
        return conn, looks, loop.time() - freed, len(await ledger.tenants())

    conn, looks, late_s, tenants = with_another(tmp_path, story)
    assert (conn, looks, tenants) == (1, [0] * 20, 1)
    assert late_s <= PAUSE_MAX_S


def test_a_file_that_stays_held_is_given_up(tmp_path: Path) -> None:
    """LedgerBusy when the named time is over, having changed nothing; once it is free the same step is taken."""

    async def story(ledger: SqlLedger, other: sqlite3.Connection) -> tuple[float, int]:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(LedgerBusy) as told:
            await ledger.tenant_accept(ROW)
        assert told.value.code == "ledger.busy"
        given_up_s = asyncio.get_running_loop().time()
        other.execute("ROLLBACK")
        return given_up_s, await ledger.tenant_accept(ROW)

    given_up_s, conn = with_another(tmp_path, story)
    assert BUSY_S <= given_up_s <= BUSY_S + 2 * PAUSE_MAX_S
    assert conn == 1


def test_a_step_that_is_given_up_by_its_caller_was_not_taken(tmp_path: Path) -> None:
    """Who waits for a shorter time than the ledger's own finds nothing done, and the next step is as good as ever."""

    async def story(ledger: SqlLedger, other: sqlite3.Connection) -> tuple[float, int, int]:
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(1.0):
                await ledger.tenant_accept(ROW)
        gone_s = asyncio.get_running_loop().time()
        other.execute("ROLLBACK")
        await after(1.0)
        return gone_s, len(await ledger.tenants()), await ledger.tenant_accept(ROW)

    assert with_another(tmp_path, story) == (1.0, 0, 1)


def test_a_look_waits_in_the_same_way(tmp_path: Path) -> None:
    """Readers are rarely in a writer's way; where one is (the file is being recovered, say), it is read a little later."""

    async def story(ledger: SqlLedger, _other: sqlite3.Connection) -> tuple[int, float]:
        driver = ledger._driver
        assert isinstance(driver, SqliteDriver)
        real, tries = driver._db, 0

        class Held:
            def __getattr__(self, name: str) -> Any:
                return getattr(real, name)

            def execute(self, *args: Any) -> Any:
                nonlocal tries
                tries += 1
                if tries <= 3:
                    busy = sqlite3.OperationalError("database is locked")
                    busy.sqlite_errorcode = sqlite3.SQLITE_BUSY
                    raise busy
                return real.execute(*args)

        driver._db = Held()  # type: ignore[assignment]  # a connection of C takes no other methods
        found = await ledger.tenants()
        driver._db = real
        return len(found), asyncio.get_running_loop().time()

    found, read_s = with_another(tmp_path, story)
    assert found == 0
    assert read_s == pytest.approx(0.005 + 0.01 + 0.02)


def test_a_delivery_is_answered_in_its_time_and_a_probe_at_once(tmp_path: Path) -> None:
    """While another process holds the file: 503 within `web.answer`, before the CRM gives up, and probes as if nothing were."""

    async def story(ledger: SqlLedger, other: sqlite3.Connection) -> tuple[int, float, list[tuple[int, float]]]:
        loop = asyncio.get_running_loop()
        await ledger.tenant_accept(ROW)
        home = House(ledger)
        await home.face.pulse.look()
        await home.face.pulse.ask_kafka()
        other.execute("BEGIN IMMEDIATE")
        delivering = asyncio.ensure_future(home.post(signed([event()])))
        await after(1.0)
        probes = []
        for path in ("/healthz", "/readyz", "/metrics"):
            began = loop.time()
            status = (await home.client.get(path)).status_code
            probes.append((status, loop.time() - began))
        answer = await delivering
        answered_s = loop.time()
        other.execute("ROLLBACK")
        assert (await home.post(signed([event()]))).status_code == 200
        assert await home.heard() == ["512"]
        return answer.status_code, answered_s, probes

    assert with_another(tmp_path, story) == (503, LIMITS.answer_s, [(200, 0.0)] * 3)
