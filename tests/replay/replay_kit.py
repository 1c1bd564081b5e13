"""What the replay tests share: a sync of the flow tests' world, recorded on virtual time."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from pathlib import Path

from sales_crm_bridge import wiring
from sales_crm_bridge.crm_http import HttpxTransport
from sales_crm_bridge.ledger import open_ledger
from sales_crm_bridge.replay import live
from sales_crm_bridge.replay.bundle import Bundle
from sales_crm_bridge.replay.live import Heard
from sales_crm_bridge.sandbox import SandboxTransport
from sales_crm_bridge.simulate.loop import VirtualLoop, run
from sales_crm_bridge.simulate.topic import Topics, TopicSink
from sales_crm_bridge.simulate.world import SeededDice, World
from tests.flow.flow_kit import world

KEY = b"the key of a recording"


class Silent:
    def tell(self, tenant: str, feed: str, read: int) -> None: ...


def heard(
    folder: Path,
    *,
    leads: int = 20,
    before: Callable[[World], None] | None = None,
    between: Sequence[Callable[[World], None]] = (),
) -> tuple[World, Heard]:
    """One ``sync --once`` of a world with ``leads``, heard; ``before`` prepares the world.

    ``between``: what happens between this one and another, an hour later and in the same ledger, and so on: the last one counts.
    """
    loop = VirtualLoop()

    async def main() -> tuple[World, Heard]:
        home = world(loop, folder, "replay", leads=leads)
        if before is not None:
            before(home)
        clock = home.clock
        outside = wiring.Outside(
            clock=clock,
            dice=SeededDice("replay"),
            ledger=await open_ledger("sqlite://:memory:"),
            transport=lambda _: HttpxTransport(SandboxTransport(home.portal, sleep=clock.sleep)),
        )
        topics = Topics(1, clock.now_us)
        runs = []
        for happens in (None, *between):
            if happens is not None:
                happens(home)
                await clock.sleep(3_600)
            runs.append(await live.hear_sync(home.settings, outside, lambda: TopicSink(topics), frozenset(), Silent()))
        await outside.ledger.close()
        return home, runs[-1]

    return run(main(), loop)


def recorded(
    folder: Path,
    *,
    leads: int = 20,
    before: Callable[[World], None] | None = None,
    between: Sequence[Callable[[World], None]] = (),
) -> tuple[World, Bundle]:
    """The same, as a bundle."""
    home, made = heard(folder, leads=leads, before=before, between=between)
    return home, made.ears.bundle("once", KEY)
