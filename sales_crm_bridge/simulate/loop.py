"""An event loop on virtual time: a sleep costs nothing, and the same program does the same things in the same order."""

from __future__ import annotations

import asyncio
from typing import TYPE_CHECKING, Any, TypeVar

from sales_crm_bridge.errors import Bug

if TYPE_CHECKING:
    from collections.abc import Coroutine

T = TypeVar("T")


class _Leap:
    """Stands where a loop has its selector: instead of waiting for sockets, it moves the clock to the next timer."""

    def __init__(self, loop: VirtualLoop) -> None:
        self._loop = loop

    def select(self, timeout: float | None) -> list[Any]:
        if timeout is None:
            raise Bug("bug.simulation-stuck", "every task waits and no timer is set: nothing can happen any more")
        if timeout > 0:
            self._loop.leap(timeout)
        return []


class VirtualLoop(asyncio.BaseEventLoop):
    """Runs tasks and timers; knows no sockets, threads or signals, and raises ``Bug`` when nothing can happen any more."""

    def __init__(self) -> None:
        super().__init__()
        self._virtual_s = 0.0
        self._selector = _Leap(self)

    def time(self) -> float:
        """Virtual seconds since the loop was made."""
        return self._virtual_s

    def leap(self, seconds: float) -> None:
        """Move the clock on."""
        self._virtual_s += seconds

    def _process_events(self, event_list: list[Any]) -> None:
        """Nothing to do: there are no sockets."""

    def _write_to_self(self) -> None:
        """Nothing to wake: the loop never waits."""


class VirtualClock:
    """``ports.Clock`` on a virtual loop; ``epoch_us`` is the time of day at the loop's second 0."""

    def __init__(self, loop: asyncio.AbstractEventLoop, epoch_us: int) -> None:
        self._loop = loop
        self._epoch_us = epoch_us

    def now_us(self) -> int:
        """Now, in epoch microseconds."""
        return self._epoch_us + round(self._loop.time() * 1_000_000)

    async def sleep(self, seconds: float) -> None:
        """Come back after ``seconds`` of virtual time."""
        done: asyncio.Future[None] = self._loop.create_future()
        timer = self._loop.call_later(max(0.0, seconds), _wake, done)
        try:
            await done
        finally:
            timer.cancel()


def _wake(done: asyncio.Future[None]) -> None:
    if not done.done():
        done.set_result(None)


def run(main: Coroutine[Any, Any, T], loop: VirtualLoop) -> T:
    """Run ``main`` to its end on ``loop``, then cancel what it left behind, and close the loop."""
    try:
        return loop.run_until_complete(main)
    finally:
        left = sorted(asyncio.all_tasks(loop), key=lambda task: task.get_name())
        for task in left:
            task.cancel()
        if left:
            loop.run_until_complete(asyncio.gather(*left, return_exceptions=True))
        loop.run_until_complete(loop.shutdown_asyncgens())
        loop.close()
