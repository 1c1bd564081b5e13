"""What webhooks hint at, through the whole flow: read back at once, believed never, forgotten with what it brought."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import TypeVar

import pytest

from sales_crm_bridge.sandbox import Fault, FaultKind
from sales_crm_bridge.service import Service
from sales_crm_bridge.simulate.loop import VirtualLoop, run
from sales_crm_bridge.simulate.world import World
from tests.flow.flow_kit import View, disagreements, view, world

T = TypeVar("T")

READ = "*/contacts/batch/read"
SOON_S = 15.0
"""Less than the horizon of one minute that every walk over changes stays behind."""

Told = tuple[int, int]


def play(folder: Path, story: Callable[[World, list[str]], Awaitable[T]]) -> T:
    """Import three leads, and tell a story of their records."""
    loop = VirtualLoop()

    async def main() -> T:
        home = world(loop, folder, "notices", leads=3)
        await live(home, lambda _service: home.clock.sleep(120))
        return await story(home, sorted(home.portal.truth().live["contacts"], key=int))

    return run(main(), loop)


async def live(home: World, work: Callable[[Service], Awaitable[None]]) -> View:
    """Let a process live until ``work`` has ended, and drain; what the topic then says."""
    assert not await home.live(lambda service: asyncio.ensure_future(work(service)))
    return view(home.topics.facts)


async def hear(home: World, service: Service, *ids: str) -> None:
    """What the HTTP side does with a delivery that is signed well."""
    await service._ledger.hear(1, ids, home.clock.now_us(), 1_000)


async def waiting(home: World) -> list[str]:
    """The notices that nobody has heeded yet."""
    return [notice.crm_id for notice in await home.look(lambda ledger: ledger.notices(1, 100))]


def told(home: World) -> Told:
    """How many leads were told as seen, and how many as removed."""
    kinds = view(home.topics.facts).kinds
    return kinds["crm_lead_observed"], kinds["crm_lead_removed"]


def test_a_hint_is_read_back_at_once_and_told_once(tmp_path: Path) -> None:
    """An edit and a removal, each hinted at many times: told before a walk could meet them, and not again by the walks."""

    async def story(home: World, ids: list[str]) -> tuple[Told, Told, list[str], list[str]]:
        soon: list[Told] = []

        async def work(service: Service) -> None:
            await home.clock.sleep(60)
            home.portal.person.edit(ids[0], {"city": "Lisbon"})
            home.portal.person.delete(ids[1])
            for _ in range(3):
                await hear(home, service, ids[0], ids[1])
                await home.clock.sleep(SOON_S / 3)
            soon.append(told(home))
            await home.clock.sleep(1_800)

        seen = await live(home, work)
        return soon[0], told(home), await waiting(home), disagreements(seen, home.portal)

    assert play(tmp_path, story) == ((4, 1), (4, 1), [], [])


def test_a_hint_is_not_believed(tmp_path: Path) -> None:
    """Nothing has changed, or there is no such record: nothing is told, nobody is bound, and the hint is forgotten."""

    async def story(home: World, ids: list[str]) -> tuple[Told, list[str], list[str], int]:
        async def work(service: Service) -> None:
            await home.clock.sleep(60)
            await hear(home, service, ids[0], "999999", "no id")
            await home.clock.sleep(SOON_S)

        await live(home, work)
        bound = await home.look(lambda ledger: ledger.bindings_by_crm_id(1, ["999999", "no id"]))
        letters = await home.look(lambda ledger: ledger.dead_letters("", 10))
        return told(home), await waiting(home), sorted(bound), len(letters)

    assert play(tmp_path, story) == ((3, 0), [], [], 0)


def test_a_hint_that_names_no_record_hurries_the_walks(tmp_path: Path) -> None:
    """Who was removed would be met after ten minutes; the walk over the removed is made at once. The rest is not disturbed."""

    async def story(home: World, ids: list[str]) -> tuple[Told, Told, list[str]]:
        soon: list[Told] = []

        async def work(service: Service) -> None:
            await home.clock.sleep(60)
            home.portal.person.delete(ids[0])
            await home.clock.sleep(30)
            soon.append(told(home))
            await hear(home, service, "")
            await home.clock.sleep(SOON_S)
            soon.append(told(home))

        await live(home, work)
        return soon[0], soon[1], await waiting(home)

    assert play(tmp_path, story) == ((3, 0), (3, 1), [])


def test_a_read_that_finds_no_answer_leaves_the_hint_where_it_is(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """It is tried again after pauses that grow; the walks go on meanwhile, and the removal is told when it could be read."""

    async def story(home: World, ids: list[str]) -> tuple[Told, bool, int, Told, list[str]]:
        locked = Fault(FaultKind.STATUS, method="POST", path=READ, times=None, status=423)
        during: list[Told] = []
        waited: list[bool] = []

        async def work(service: Service) -> None:
            await home.clock.sleep(60)
            home.portal.faults.add(locked)
            home.portal.person.delete(ids[0])
            home.portal.person.edit(ids[1], {"city": "Lisbon"})
            await hear(home, service, ids[0])
            await home.clock.sleep(300)
            during.append(told(home))
            waited.append(await waiting(home) == ids[:1])
            home.portal.faults.clear()
            await home.clock.sleep(200)

        seen = await live(home, work)
        tries = len(home.portal.faults.hits)
        assert not await waiting(home)
        return during[0], waited[0], tries, told(home), disagreements(seen, home.portal)

    during, waited, tries, after, wrong = play(tmp_path, story)
    assert (during, waited) == ((4, 0), True)
    assert 5 < tries < 60
    assert (after, wrong) == ((4, 1), [])
    events = {getattr(one, "event", "") for one in caplog.records}
    assert "notices.interrupted" in events
    assert "worker.interrupted" not in events


def test_a_flood_of_hints_holds_up_no_walk(tmp_path: Path) -> None:
    """They come faster than they can be read; what nobody hints at is told when its walk is due, as ever."""

    async def story(home: World, ids: list[str]) -> tuple[Told, int]:
        left: list[int] = []

        async def work(service: Service) -> None:
            home.portal.person.edit(ids[0], {"city": "Lisbon"})
            for number in range(120):
                await hear(home, service, *(str(one) for one in range(number * 200, (number + 1) * 200)))
                await home.clock.sleep(1)
                # The queue grows and collapses again: what shows that they come too fast is its length in between.
                left.append(len(await waiting(home)))

        await live(home, work)
        return told(home), max(left)

    assert play(tmp_path, story) == ((4, 0), 100)


def test_a_process_that_dies_before_it_has_told_leaves_the_hint_to_the_next(tmp_path: Path) -> None:
    """Killed on the answer to the read: the next one reads again, and tells once."""

    async def story(home: World, ids: list[str]) -> tuple[Told, bool, Told, list[str]]:
        async def work(service: Service) -> None:
            await home.clock.sleep(60)
            home.portal.person.edit(ids[0], {"city": "Lisbon"})
            await hear(home, service, ids[0])
            await home.clock.sleep(SOON_S)

        answered = "… POST https://crm.example/crm/v3/objects/contacts/batch/read 200"
        assert await home.live(lambda service: asyncio.ensure_future(work(service)), last=answered)
        left, before = await waiting(home) == ids[:1], told(home)
        await home.clock.sleep(30)
        await live(home, lambda _service: home.clock.sleep(SOON_S))
        return before, left, told(home), await waiting(home)

    assert play(tmp_path, story) == ((3, 0), True, (4, 0), [])
