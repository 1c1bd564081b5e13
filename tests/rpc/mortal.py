"""A bridge with calls in a process of its own, which dies right after a command is in the ledger, before the caller hears of it.

``python -m tests.rpc.mortal FOLDER``: prints its port; the folder is a shop's.
"""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path
from typing import Any

from tests.rpc.shop import Shop


class Last:
    """A ledger after whose first booking the process is no more."""

    def __init__(self, ledger: Any) -> None:
        self._ledger = ledger

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    async def take(self, intake: Any) -> Any:
        await self._ledger.take(intake)
        os._exit(9)


async def main(folder: Path) -> None:
    """Serve until the end."""
    shop = Shop.again(folder)
    async with shop.open(wrap=Last) as server:
        print(server.port, flush=True)  # noqa: T201 - the test reads it
        await asyncio.Event().wait()


if __name__ == "__main__":
    asyncio.run(main(Path(sys.argv[1])))
