"""The real world behind the ports of time and chance."""

from __future__ import annotations

import asyncio
import random
import secrets
import time


class WallClock:
    """``ports.Clock``: the machine's time of day, kept from running backwards."""

    def __init__(self) -> None:
        self._offset_ns = time.time_ns() - time.monotonic_ns()
        self._checked_ns = time.monotonic_ns()

    def now_us(self) -> int:
        """Now, in epoch microseconds; follows the machine's clock forwards, and stands still while that is set back."""
        mono_ns = time.monotonic_ns()
        drift_ns = time.time_ns() - mono_ns
        # A clock set forward is followed at once; one set back is caught up by letting our time stand still.
        if drift_ns > self._offset_ns:
            self._offset_ns = drift_ns
        elif drift_ns < self._offset_ns:
            self._offset_ns = max(drift_ns, self._offset_ns - (mono_ns - self._checked_ns))
        self._checked_ns = mono_ns
        return (mono_ns + self._offset_ns) // 1000

    async def sleep(self, seconds: float) -> None:
        """Come back after ``seconds``."""
        await asyncio.sleep(max(0.0, seconds))


class RealDice:
    """``ports.Dice``: the machine's randomness."""

    def __init__(self) -> None:
        self._random = random.SystemRandom()

    def fraction(self) -> float:
        """A number in [0, 1)."""
        return self._random.random()

    def name(self) -> str:
        """16 hexadecimal characters."""
        return secrets.token_hex(8)
