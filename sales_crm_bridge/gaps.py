"""Gaps are told by whoever holds the account's lease, since they are opened and closed by those who do not."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from sales_crm_bridge.state import Commit

if TYPE_CHECKING:
    from sales_crm_bridge.desk import Desk


async def tell(desk: Desk, facts: int) -> int:
    """Tell of gaps that were opened or closed since; gives how many facts there are then.

    ``facts``: how many the connection has told of itself so far.
    """
    now_us = desk.clock.now_us()
    untold = await desk.ledger.gaps_untold(desk.conn)
    if not untold:
        return facts
    rows, told = [], []
    for gap in untold:
        if not gap.told_us:
            facts += 1
            rows.append(desk.scribe.gap_opened(gap, version=facts, now_us=now_us))
        if gap.closed_us:
            facts += 1
            rows.append(desk.scribe.gap_closed(gap, version=facts, now_us=now_us))
        told.append(
            msgspec.structs.replace(gap, told_us=gap.told_us or now_us, close_told_us=now_us if gap.closed_us else 0)
        )
    await desk.commit(Commit(conn=desk.conn, outbox=rows, gaps=told, facts=facts))
    return facts
