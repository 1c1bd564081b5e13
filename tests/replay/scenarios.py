"""The sandbox scenarios of tests/bundles: what happens in each, and how it is recorded (``make bundles`` records all).

Everything runs on virtual time and from seeds, so a recording is the same bytes each time, until the bridge or a sandbox changes.
"""

from __future__ import annotations

import asyncio
import os
import random
import re
import shutil
import sys
import tempfile
from collections.abc import Awaitable, Callable
from pathlib import Path

from sales_crm_bridge import contract, wiring
from sales_crm_bridge.crm_http import HttpxTransport
from sales_crm_bridge.ledger import open_ledger
from sales_crm_bridge.replay import bundle as bundles
from sales_crm_bridge.replay.bundle import Bundle
from sales_crm_bridge.replay.live import Ears, one_tenant
from sales_crm_bridge.sandbox import SandboxTransport
from sales_crm_bridge.simulate.loop import VirtualLoop, run
from sales_crm_bridge.simulate.topic import TopicSink, TopicSource
from sales_crm_bridge.simulate.world import SeededDice, World
from tests.contract.declared_worlds import DECLARED, CloudWorld, DeclaredWorld, MiserlyWorld, PlainWorld, RpcWorld
from tests.flow.flow_kit import people, world
from tests.flow.test_declared import Story

FOLDER = Path(__file__).parents[1] / "bundles"
KEY = b"of the bundles in tests: nothing in them is anybody's"
WORLDS: tuple[type[DeclaredWorld], ...] = (PlainWorld, CloudWorld, RpcWorld, MiserlyWorld)


def surroundings() -> dict[str, str]:
    """The environment's variables in which the scenarios' tenant files look for their secrets."""
    found = {"ACME_TOKEN": "pat-na1-sandbox"}
    for make in WORLDS:
        text = (DECLARED / f"{make.declaration}.yaml").read_text()
        for name, value in {**make.secrets, "webhook_secret": "hook-secret"}.items():
            found |= dict.fromkeys(re.findall(rf"\b{name}: env:(\w+)", text), value)
    return found


def hear(home: World, happens: Callable[[], Awaitable[object]], after_s: float) -> Awaitable[Ears]:
    """A service beside which ``happens`` happens, and then nothing for ``after_s``."""

    async def main() -> Ears:
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
        source, sink = TopicSource(home.topics), ears.sink(TopicSink(home.topics))
        service = wiring.assemble(home.settings, outside, source=source, sink=sink)
        working = asyncio.ensure_future(service.run())
        await clock.sleep(120)
        await happens()
        await clock.sleep(after_s)
        ears.end()
        service.stop()
        await working
        await ledger.close()
        return ears

    return main()


def _hubspot(folder: Path, leads: int, turns: int, seed: int) -> Bundle:
    loop = VirtualLoop()

    async def main() -> Ears:
        home = world(loop, folder, "service", leads=leads)
        return await hear(home, lambda: people(home, random.Random(seed), turns), 900)

    return run(main(), loop).bundle("service", KEY)


def hubspot_work(folder: Path) -> Bundle:
    """People edit, make, delete and merge contacts, and the domain creates and qualifies leads."""
    return _hubspot(folder, leads=6, turns=16, seed=2)


def hubspot_merge(folder: Path) -> Bundle:
    """Two contacts of three are merged, and the survivor is edited."""
    loop = VirtualLoop()

    async def main() -> Ears:
        home = world(loop, folder, "merge", leads=3)

        async def happens() -> None:
            first, second, _ = sorted(home.portal.truth().live["contacts"], key=int)
            survivor = home.portal.person.merge(first, second)
            await home.clock.sleep(60)
            home.portal.person.edit(survivor, {"city": "Lisbon"})

        return await hear(home, happens, 900)

    return run(main(), loop).bundle("service", KEY)


def hubspot_lead_object(folder: Path) -> Bundle:
    """Leads are records of the Lead object; a person gives one's contact another city, and the domain creates one."""
    loop = VirtualLoop()

    async def main() -> Ears:
        home = world(loop, folder, "lead-object", leads=3, kind="leads", lead_objects=3)

        async def happens() -> None:
            contact = min(home.portal.truth().live["contacts"], key=int)
            home.portal.person.edit(contact, {"city": "Lisbon"})
            lead = contract.Lead(lead_id="L-1", last_name="Hopper", email="grace@sales.example")
            home.utter(contract.CreateLeadRequested(lead=lead), tenant="acme", lead_id="L-1", message_id="create-1")
            await home.clock.sleep(60)

        return await hear(home, happens, 900)

    return run(main(), loop).bundle("service", KEY)


def declared(make: type[DeclaredWorld]) -> Callable[[Path], Bundle]:
    """People and the domain work with a CRM that a tenant's file declares."""

    def record(folder: Path) -> Bundle:
        loop = VirtualLoop()

        async def main() -> Ears:
            story = Story(loop, folder, make, "bundles")
            for number in range(1, 6):
                story.crm.create(number)
            return await hear(story.home, lambda: story.people(12), 3_600)

        return run(main(), loop).bundle("service", KEY)

    return record


SCENARIOS: dict[str, Callable[[Path], Bundle]] = {
    "hubspot-work": hubspot_work,
    "hubspot-merge": hubspot_merge,
    "hubspot-lead-object": hubspot_lead_object,
    **{f"rest-{make.declaration}": declared(make) for make in WORLDS},
}


def record(name: str, place: Path) -> None:
    """Record one into ``place``, which must not be there; the environment has ``surroundings``."""
    with tempfile.TemporaryDirectory() as folder:
        bundles.write(SCENARIOS[name](Path(folder)), place)


def main() -> None:
    """Record all of them, or those that are named, into tests/bundles."""
    os.environ.update(surroundings())
    FOLDER.mkdir(exist_ok=True)
    for name in sys.argv[1:] or SCENARIOS:
        shutil.rmtree(FOLDER / name, ignore_errors=True)
        record(name, FOLDER / name)


if __name__ == "__main__":
    main()
