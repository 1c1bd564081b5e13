"""Crash matrix: a real process dies at each named step between consume, CRM call, ledger write, produce and offset commit.

Each row is a deployment of its own on the shared broker: people edit, clients of the domain utter intents, the process kills itself
at the row's step, another one goes on. Then nothing may be lost and nothing doubled. Rows mostly wait, so several run side by side.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

import pytest

from sales_crm_bridge.kafka import KafkaSettings, ensure_topics
from tests.real.crash_kit import Row, carried_on, killed_at, show, stage

SIDE_BY_SIDE = 4

STEPS = [
    ("take …", 2),  # consumed, not in the ledger
    ("… take", 2),  # in the ledger, its place not told to the group
    ("mark …", 2),
    ("… mark", 2),
    ("sending …", 1),  # about to be marked
    ("… sending", 1),  # marked, not written
    ("write …", 1),  # on its way to the CRM
    ("… write", 1),  # the CRM has it, nobody has noted it
    ("commit answer …", 1),
    ("… commit answer", 1),
    ("read …", 3),  # a page is asked for
    ("… read", 3),
    ("commit page …", 2),  # a page's bindings, facts and place
    ("… commit page", 2),
    ("publish …", 2),
    ("… publish", 2),  # Kafka has the facts, the ledger does not know
    ("outbox_done …", 2),
    ("… outbox_done", 2),
    ("leases_renew …", 2),
]


async def matrix(folder: Path, kafka: str, ledger: Callable[[int], str]) -> list[Row]:
    """Play every row, a few of them at a time."""
    await ensure_topics(KafkaSettings(servers=kafka))
    free = asyncio.Semaphore(SIDE_BY_SIDE)

    async def one(number: int, step: str, times: int) -> Row:
        async with free:
            async with stage(folder / f"row-{number}", kafka, ledger(number), number) as world:
                await killed_at(world, step, times)
                await carried_on(world)
            return world.judge(step)

    async with asyncio.TaskGroup() as group:
        rows = [group.create_task(one(number, step, times)) for number, (step, times) in enumerate(STEPS)]
    return [one.result() for one in rows]


@pytest.mark.timeout(300)
@pytest.mark.parametrize("kind", ["sqlite", "postgres"])
async def test_a_process_killed_at_any_step_loses_and_doubles_nothing(
    kind: str, tmp_path: Path, kafka_bootstrap: str, postgres_database: Callable[[], str]
) -> None:
    """Nineteen steps on each ledger: every intent has one outcome, the CRM one record a lead, and both sides agree."""

    def ledger(number: int) -> str:
        return postgres_database() if kind == "postgres" else f"sqlite:///{tmp_path / f'row-{number}' / 'bridge.db'}"

    rows = await matrix(tmp_path, kafka_bootstrap, ledger)
    show(rows)
    assert not [one for one in rows if one.lost or one.doubled or one.wrong]
