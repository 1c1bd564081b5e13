"""Tasks in order: asyncio's own groups keep theirs in sets, whose order differs from run to run (rule 4)."""

from __future__ import annotations

import asyncio
from types import coroutine
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Generator, Sequence


async def together(works: Sequence[Callable[[], Coroutine[Any, Any, None]]], at_once: int) -> None:
    """Run all ``works``, at most ``at_once`` at the same time, begun in order.

    Each is carried to its end even if another fails, since cutting off a write makes it unknown; the first failure, in order, is
    raised when all have ended. Cancelled itself, it cancels them in order.
    """
    if len(works) == 1:
        await works[0]()
        return
    gate = asyncio.Semaphore(at_once)

    async def one(work: Callable[[], Coroutine[Any, Any, None]]) -> None:
        async with gate:
            await work()

    tasks = [asyncio.ensure_future(one(work)) for work in works]
    await settle(tasks)
    for task in tasks:
        if not task.cancelled():
            task.exception()  # all are looked at: the event loop reports as lost what nobody has looked at
    for task in tasks:
        task.result()


async def settle(tasks: Sequence[asyncio.Future[Any]]) -> None:
    """Wait for all to end; cancelled meanwhile, cancel them in order, wait again, and pass the cancellation on."""
    try:
        for task in tasks:
            if not task.done():
                await asyncio.wait((task,))
    except asyncio.CancelledError:
        await end(tasks)
        raise


async def end(tasks: Sequence[asyncio.Future[Any]]) -> None:
    """Cancel what has not ended, in order, and wait until all have."""
    for task in tasks:
        task.cancel()
    for task in tasks:
        if not task.done():
            await asyncio.wait((task,))


@coroutine
def one_turn() -> Generator[None, None, None]:
    """Let everything go on once that is ready now; no time passes."""
    yield


async def first(tasks: Sequence[asyncio.Future[Any]], limit_s: float | None = None) -> None:
    """Come back when one of ``tasks`` has ended, or after ``limit_s``."""
    await asyncio.wait(tuple(tasks), timeout=limit_s, return_when=asyncio.FIRST_COMPLETED)


async def all_ended(tasks: Sequence[asyncio.Future[Any]], limit_s: float) -> None:
    """Come back when all of ``tasks`` have ended, or after ``limit_s``."""
    left = [task for task in tasks if not task.done()]
    if left:
        await asyncio.wait(left, timeout=limit_s)
