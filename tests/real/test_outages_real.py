"""What a process lives through: broker and database killed and started again, a full disk, a sleep longer than its lease."""

from __future__ import annotations

import asyncio
import resource
import signal
import time
from collections.abc import Callable
from pathlib import Path

import pytest

from sales_crm_bridge.kafka import KafkaSettings, ensure_topics
from tests.real.crash_kit import FAST, Stage, carried_on, show, stage
from tests.real.real_kit import LIMIT_S, until_answered

QUOTA = 400_000
"""Bytes that no file of the process may exceed: less than the ledger needs for these leads and their write-ahead log."""


async def heard(world: Stage, process: str, word: str) -> None:
    """Wait until ``word`` stands in the log of ``process``."""
    began = time.monotonic()
    while word not in world.bridge.log(process):
        assert time.monotonic() - began < LIMIT_S, f"{process} never said {word}\n{world.bridge.logs()}"
        await asyncio.sleep(0.2)


async def lived_through(world: Stage, outage: Callable[[], None], end: Callable[[], None], away_s: float) -> None:
    """One process works; something that it needs is gone for a while; the same process answers everything in the end."""
    process = await world.bridge.start("lives", "run")
    try:
        await world.work(range(8))
        await until_answered(world.clients, world.uttered[:2])
        await asyncio.to_thread(outage)
        began = time.monotonic()
        await world.work(range(8, 16), reading=False)
        await asyncio.sleep(max(0.0, away_s - (time.monotonic() - began)))
        await asyncio.to_thread(end)
        await until_answered(world.clients, world.uttered)
        assert process.returncode is None, world.bridge.logs()
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 30) == 0, world.bridge.logs()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    await carried_on(world)


def clean(world: Stage, name: str) -> None:
    """Judge, and show the row."""
    row = world.judge(name)
    show([row])
    assert not [*row.lost, *row.doubled, *row.wrong], row


async def test_a_broker_that_is_killed_and_comes_back(
    own_broker: Callable[[str], str], tmp_path: Path, postgres_dsn: str
) -> None:
    """Intents wait in their client, facts in the outbox; nothing is lost or doubled when it is back."""
    kafka = own_broker("start")
    await ensure_topics(KafkaSettings(servers=kafka))
    async with stage(tmp_path / "row", kafka, postgres_dsn, 1) as world:
        await lived_through(world, lambda: void(own_broker("kill")), lambda: void(own_broker("start")), 5.0)
    clean(world, "broker killed")


async def test_a_database_that_is_killed_and_comes_back(
    own_postgres: Callable[[str], str], tmp_path: Path, kafka_bootstrap: str
) -> None:
    """Every process waits for it; leases that ran out meanwhile are taken anew; nothing is lost or doubled."""
    dsn = own_postgres("start")
    await ensure_topics(KafkaSettings(servers=kafka_bootstrap))
    async with stage(tmp_path / "row", kafka_bootstrap, dsn, 2) as world:
        await lived_through(world, lambda: void(own_postgres("kill")), lambda: void(own_postgres("start")), 6.0)
    clean(world, "PostgreSQL killed")


def void(_: object) -> None:
    """For a call of which nobody wants the answer."""


async def test_a_disk_that_is_full_for_a_while(tmp_path: Path, kafka_bootstrap: str) -> None:
    """A quota: SQLite's files may not grow, so the bridge says what is wrong and waits; when there is room, it goes on."""
    await ensure_topics(KafkaSettings(servers=kafka_bootstrap))
    unlimited = resource.getrlimit(resource.RLIMIT_FSIZE)

    def small() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (QUOTA, unlimited[1]))

    async with stage(tmp_path / "row", kafka_bootstrap, f"sqlite:///{tmp_path / 'row' / 'bridge.db'}", 3) as world:
        process = await world.bridge.start("full", "run", limits=small)
        try:
            await world.work(range(16))
            await heard(world, "full", "code=ledger.unreachable")
            resource.prlimit(process.pid, resource.RLIMIT_FSIZE, unlimited)
            await until_answered(world.clients, world.uttered)
            assert process.returncode is None, world.bridge.logs()
        finally:
            process.kill()
            await process.wait()
        await carried_on(world)
    clean(world, "disk full")


@pytest.mark.parametrize("step", ["write …", "commit answer …", "commit page …", "outbox_done …"])
async def test_a_process_that_sleeps_longer_than_its_lease(
    step: str, tmp_path: Path, kafka_bootstrap: str, postgres_dsn: str
) -> None:
    """Stopped at a step, another one takes over and does its work; woken again, it writes nothing with its old epoch.

    Stopped with a call on its way, it makes that one call late: at HubSpot a create of it meets the unique key.
    """
    await ensure_topics(KafkaSettings(servers=kafka_bootstrap))
    async with stage(tmp_path / "row", kafka_bootstrap, postgres_dsn, 4, FAST) as world:
        sleeper = await world.bridge.start("sleeper", step, "1", "STOP", "run", module="tests.real.mortal")
        try:
            await world.work(range(8))
            await heard(world, "sleeper", "at its end")
            other = await world.bridge.start("awake", "run")
            try:
                await world.work(range(8, 16))
                await until_answered(world.clients, world.uttered)
                sleeper.send_signal(signal.SIGCONT)
                await heard(world, "sleeper", "lease.lost" if step != "outbox_done …" else "relay.elsewhere")
                sleeper.send_signal(signal.SIGTERM)
                assert await asyncio.wait_for(sleeper.wait(), 30) == 0, world.bridge.logs()
            finally:
                other.kill()
                await other.wait()
        finally:
            if sleeper.returncode is None:
                sleeper.kill()
                await sleeper.wait()
        await carried_on(world)
    clean(world, f"asleep at {step}")
