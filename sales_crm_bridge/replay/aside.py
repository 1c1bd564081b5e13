"""A virtual loop run to its end inside a test that has a loop of its own."""

from __future__ import annotations

from asyncio import _get_running_loop, _set_running_loop
from contextlib import contextmanager
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterator


@contextmanager
def loop_aside() -> Iterator[None]:
    """Put the loop that runs in this thread aside: what is played has its own time, and nothing of it waits for the world.

    The test's loop stands still meanwhile, as it does for any function that computes.
    """
    running = _get_running_loop()
    _set_running_loop(None)
    try:
        yield
    finally:
        _set_running_loop(running)
