"""A service that ran while people and the domain worked is recorded and lived through again, pushes and all."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from sales_crm_bridge import wiring
from sales_crm_bridge.crm_http import HttpxTransport
from sales_crm_bridge.ledger import open_ledger
from sales_crm_bridge.replay.bundle import Bundle
from sales_crm_bridge.replay.comparing import compare, kind_of
from sales_crm_bridge.replay.live import Ears, one_tenant
from sales_crm_bridge.replay.player import play
from sales_crm_bridge.replay.recorder import facts_of
from sales_crm_bridge.sandbox import SandboxTransport
from sales_crm_bridge.simulate.loop import VirtualLoop, run
from sales_crm_bridge.simulate.topic import TopicSink, TopicSource
from sales_crm_bridge.simulate.world import SeededDice
from tests.flow.flow_kit import people, world
from tests.replay.replay_kit import KEY


def lived(folder: Path, seed: int, turns: int) -> Bundle:
    """The bundle of a service beside which ``turns`` things happened by chance."""
    loop = VirtualLoop()

    async def main() -> Ears:
        home = world(loop, folder, "service", leads=10)
        clock = home.clock
        ledger = await open_ledger("sqlite://:memory:")
        ears = Ears(settings=home.settings, tenant=one_tenant(home.settings, frozenset()))
        outside = ears.outside(
            wiring.Outside(
                clock=clock,
                dice=SeededDice("service"),
                ledger=ledger,
                transport=lambda _: HttpxTransport(SandboxTransport(home.portal, sleep=clock.sleep)),
            )
        )
        source, sink = ears.source(TopicSource(home.topics)), ears.sink(TopicSink(home.topics))
        service = wiring.assemble(home.settings, outside, source=source, sink=sink)
        working = asyncio.ensure_future(service.run())
        await clock.sleep(120)
        await people(home, random.Random(seed), turns)
        await clock.sleep(900)
        ears.end()
        service.stop()
        await working
        await ledger.close()
        return ears

    return run(main(), loop).bundle("service", KEY)


@pytest.mark.parametrize("seed", range(3))
def test_a_service_is_lived_through_again(tmp_path: Path, seed: int) -> None:
    """Creates, updates, deletions and merges of chance: the same facts byte for byte; and the CRM was really written to."""
    made = lived(tmp_path, seed, turns=25)
    again = facts_of(play(made).facts)
    assert compare(made.facts, again).same
    kinds = [kind_of(one) for one in made.facts]
    assert {"crm_lead_observed", "crm_lead_pushed"} <= {*kinds}
    assert made.intents
    assert made.rounds
    assert any("batch/upsert" in one.url for one in made.exchanges)
    assert not [one for one in made.exchanges if "sales.example" in one.body.text]
