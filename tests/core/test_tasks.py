"""Tasks that are run together: all to their end, and each failure looked at."""

from __future__ import annotations

import asyncio
import gc
from typing import Any

import pytest

from sales_crm_bridge.tasks import together


async def test_of_two_failures_the_first_is_raised_and_none_is_left_unseen() -> None:
    """The event loop reports a failure that nobody has looked at, in words of its own and at any time."""
    reported: list[dict[str, Any]] = []
    asyncio.get_running_loop().set_exception_handler(lambda _loop, context: reported.append(context))

    async def fails(name: str) -> None:
        raise LookupError(name)

    with pytest.raises(LookupError, match="one"):
        await together([lambda: fails("one"), lambda: fails("two")], 2)
    gc.collect()
    await asyncio.sleep(0)
    assert reported == []
