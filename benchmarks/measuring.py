"""One measurement: CPU seconds of this process and wall time of a piece of work, in a process of its own."""

from __future__ import annotations

import gc
import resource
import time
from dataclasses import asdict, dataclass
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable


@dataclass(frozen=True, slots=True, kw_only=True)
class Measured:
    """What a piece of work cost. ``count``: how many things it did; ``peak_mb``: the process's largest memory so far."""

    count: int
    cpu_s: float
    wall_s: float
    peak_mb: float

    def to_json(self) -> dict[str, float]:
        """For the process that asked."""
        return asdict(self)


async def measured(work: Callable[[], Awaitable[int]]) -> Measured:
    """Do ``work``, which says how many things it did, and measure it alone."""
    gc.collect()
    cpu, wall = time.process_time(), time.perf_counter()
    count = await work()
    cpu_s, wall_s = time.process_time() - cpu, time.perf_counter() - wall
    peak_mb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    return Measured(count=count, cpu_s=cpu_s, wall_s=wall_s, peak_mb=peak_mb)
