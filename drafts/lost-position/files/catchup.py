"""Positions that a CRM has lost: a gap is opened, everything is read again from the CRM's own data, and the gap is closed.

A feed whose place is a token goes on from a new one, which it gets first; the sweep that begins after that meets whatever changed in
between. Known leads that are as they were cost no fact, and records that are gone are found by the sweep's end.
"""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING

from sales_crm_bridge import gaps
from sales_crm_bridge.policy import walks
from sales_crm_bridge.state import Commit, Gap, Run

if TYPE_CHECKING:
    from sales_crm_bridge.desk import Desk
    from sales_crm_bridge.policy.walks import Standing, Walk

log = logging.getLogger(__name__)

LOST = "position-lost"
"""Why such a gap is open, and how the run ended that has met it."""
WHO, WHY = "sales-crm-bridge", "everything was read again since"


class CatchUp:
    """Works on one desk; make one per lease."""

    def __init__(self, desk: Desk) -> None:
        self._desk = desk
        self._open: dict[str, Gap] = {}
        self._restarted_us: dict[str, int] = {}

    async def open(self) -> None:
        """Take up the gaps that the ledger knows; whether a feed went on before this session nobody knows, so it counts from now."""
        self._open = {gap.id: gap for gap in await self._desk.ledger.gaps(self._desk.conn) if gap.cause == LOST}

    @property
    def due(self) -> bool:
        """Whether a sweep is wanted: a gap is open, and its feed goes on from a new place."""
        return any(gap.feed in self._restarted_us for gap in self._open.values())

    async def lost(self, walk: Walk, standing: Standing, run: Run | None) -> Standing:
        """The CRM knows the place of ``walk`` no more: one transaction opens the gap and forgets the place. Gives where it stands now."""
        desk = self._desk
        now_us = desk.clock.now_us()
        run = run or Run(conn=desk.conn, feed=walk.name, number=standing.run, state="running", started_us=now_us)
        gap = Gap(
            id=desk.scribe.run_id(run),
            conn=desk.conn,
            feed=walk.name,
            from_us=standing.begun_us,
            to_us=now_us,
            cause=LOST,
            opened_us=now_us,
        )
        after = walks.restarted(standing)
        await desk.commit(
            Commit(conn=desk.conn, positions={walk.name: walks.encode(after)}, gaps=[gap], runs=[walks.lost(run, LOST, now_us)])
        )
        self._open[gap.id] = gap
        self._restarted_us.pop(walk.name, None)
        extra = {"event": "pull.gap-opened", "tenant": desk.tenant, "feed": walk.name, "code": LOST}
        log.error("the CRM no longer knows the place of a feed: everything is read again", extra=extra)
        desk.books.facts = await gaps.tell(desk, desk.books.facts)
        return after

    async def ended(self, walk: Walk, began_us: int) -> None:
        """A run that began then has been read to its end: the feed's own shows that it goes on, a sweep's closes what came before it."""
        desk = self._desk
        now_us = desk.clock.now_us()
        if walk.turn is not walks.Pass.SWEEP:
            if any(gap.feed == walk.name for gap in self._open.values()):
                self._restarted_us.setdefault(walk.name, now_us)
            return
        for gap in list(self._open.values()):
            if 0 < self._restarted_us.get(gap.feed, 0) < began_us:
                await desk.ledger.gap_close(gap.id, WHO, WHY, now_us)
                del self._open[gap.id]
        desk.books.facts = await gaps.tell(desk, desk.books.facts)
