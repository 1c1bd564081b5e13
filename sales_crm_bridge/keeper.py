"""Keep leases: which accounts this process owns, under which epoch, and until when by its own clock."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from sales_crm_bridge.errors import EnvironmentFault, LedgerBusy
from sales_crm_bridge.state import HOLD, Fence

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sales_crm_bridge.ports import Clock, Ledger

log = logging.getLogger(__name__)

PROCESS = "process/"
"""How the lease begins that each live process holds for itself."""


class Keeper:
    """Holds a fair share of the leases that are wanted, renews them together, gives up what it could not renew in time.

    A lease lasts ``ttl_s``; ``turn`` is to be called about every third of it. Between turns ``holds`` tells, by our own
    clock, whether a lease may still be acted under: after its end no call is made under it, even if nobody has taken it yet.
    """

    def __init__(self, ledger: Ledger, clock: Clock, holder: str, ttl_s: float) -> None:
        self._ledger = ledger
        self._clock = clock
        self._ttl_us = round(ttl_s * 1e6)
        self.holder = holder
        self._held: dict[str, int] = {}
        self._until_us = 0
        self.surplus: list[str] = []

    def holds(self, name: str) -> Fence | None:
        """The fence of lease ``name`` if this process holds it now."""
        epoch = self._held.get(name)
        if epoch is None or self._clock.now_us() >= self._until_us:
            return None
        return Fence(lease=name, holder=self.holder, epoch=epoch)

    def still(self, fence: Fence) -> bool:
        """Whether ``fence`` may still be acted under."""
        return self.holds(fence.lease) == fence

    async def turn(self, wanted: Sequence[str], *, leaving: bool = False) -> dict[str, Fence]:
        """Renew what we hold and take what is free up to our share; gives what is held now.

        The share is the number of ``wanted`` leases over the number of live processes, rounded up. What is too much, or asked for
        by a lease that begins with ``HOLD``, stands in ``surplus`` afterwards: it is ours until ``give_back``, so that work under
        it can end first. A ledger that is busy or away costs a lease only when its time is over. ``leaving``: this process no
        longer counts as live, so the others take up what it gives back.
        """
        now_us = self._clock.now_us()
        until_us = now_us + self._ttl_us
        me = PROCESS + self.holder
        try:
            held = await self._ledger.leases_renew(self.holder, now_us, until_us)
            if leaving:
                await self._ledger.leases_drop(self.holder, [me])
            elif me not in held:
                held |= await self._ledger.leases_take([me], self.holder, now_us, until_us)
            everything = await self._ledger.leases()
            asked = {
                one.name.removeprefix(HOLD) for one in everything if one.name.startswith(HOLD) and one.until_us > now_us
            }
            wanted = [name for name in wanted if name not in asked]
            alive = sum(lease.name.startswith(PROCESS) and lease.until_us > now_us for lease in everything)
            share = -(-len(wanted) // max(1, alive))
            mine = [name for name in wanted if name in held]
            taken = {lease.name for lease in everything if lease.until_us > now_us}
            if len(mine) < share:
                free = [name for name in wanted if name not in taken][: share - len(mine)]
                if free:
                    held |= await self._ledger.leases_take(free, self.holder, now_us, until_us)
        except (LedgerBusy, EnvironmentFault) as fault:
            log.warning("leases could not be renewed", extra={"event": "lease.not-renewed", "code": fault.code})
            return self._now()
        known = {*wanted, me}
        self.surplus = [name for name in sorted(held) if name not in known] + mine[share:]
        self._held, self._until_us = held, until_us
        return self._now()

    async def give_back(self, names: Sequence[str]) -> None:
        """Let others have these: no work is under way under them any more."""
        for name in names:
            self._held.pop(name, None)
        self.surplus = [name for name in self.surplus if name not in names]
        if names:
            await self._ledger.leases_drop(self.holder, names)

    def _now(self) -> dict[str, Fence]:
        fences = {name: self.holds(name) for name in sorted(self._held) if not name.startswith(PROCESS)}
        return {name: fence for name, fence in fences.items() if fence is not None}

    async def drop_all(self) -> None:
        """Give everything back: the last thing before a process ends."""
        names = sorted(self._held)
        self._held = {}
        if names:
            await self._ledger.leases_drop(self.holder, names)
