"""Housekeeping forgets what the settings say, and nothing of what they say is kept for ever."""

from __future__ import annotations

import asyncio
import math
from typing import Any, cast

import pytest

from sales_crm_bridge.service import Limits, Service

NOW_US = 1_790_000_000_000_000


@pytest.mark.parametrize(("keep_s", "before_us"), [(60.0, NOW_US - 60_000_000), (math.inf, 0)])
async def test_the_inbox_forgets_what_is_older_than_it_remembers(keep_s: float, before_us: int) -> None:
    """Ids of intents that were taken before then go; with ``forever`` none are that old."""
    asked: list[int] = []

    class Parts:
        """Keeper, ledger and clock in one."""

        def holds(self, _lease: str) -> str:
            return "a fence"

        def now_us(self) -> int:
            return NOW_US

        async def sleep(self, _seconds: float) -> None:
            await asyncio.sleep(0)

        async def forget(self, _commands: int, inbox_us: int, _runs: int, _limit: int, *, now_us: int) -> int:
            assert now_us == NOW_US
            asked.append(inbox_us)
            service.stop()
            return 0

    limits = Limits(
        lease_s=20,
        renew_s=5,
        drain_s=25,
        reload_s=10,
        relay_idle_s=5,
        house_s=600,
        keep_commands_s=60,
        keep_inbox_s=keep_s,
        keep_runs_s=60,
        forget_batch=100,
    )
    parts = cast("Any", Parts())
    service = Service(
        roster=parts,
        keeper=parts,
        ledger=parts,
        clock=parts,
        source=None,
        intaker=None,
        sink=parts,
        relay=parts,
        limits=limits,
    )
    await service._house()
    assert asked == [before_us]
