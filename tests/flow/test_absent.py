"""A record that a list no longer shows is read by its id before anybody is told that it is gone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path

import msgspec
import pytest
from sales_crm_adapters.hubspot import HubSpot
from sales_crm_adapters.hubspot.pages import LIST

from sales_crm_bridge.model import Feed, Page, Position
from sales_crm_bridge.ports import Talk
from sales_crm_bridge.sandbox import Answer, Fault, FaultKind
from sales_crm_bridge.simulate.loop import VirtualLoop, run
from sales_crm_bridge.simulate.world import World
from tests.flow.flow_kit import View, disagreements, view, world

READ = "*/contacts/batch/read"


@dataclass
class List:
    """A CRM that has nothing but a list: ``hidden`` records are left out of it. ``reads``: each asking by id."""

    hidden: set[str] = field(default_factory=set)
    reads: list[str] = field(default_factory=list)


@pytest.fixture
def sweeps(monkeypatch: pytest.MonkeyPatch) -> List:
    """Give the list to which the CRM is reduced."""
    told, full = List(), HubSpot.pull

    def pull(self: HubSpot, which: Feed, position: Position, limit: int) -> Talk[Page]:
        page = yield from full(self, which, position, limit)
        return msgspec.structs.replace(page, raws=[raw for raw in page.raws if raw.id not in told.hidden])

    monkeypatch.setattr(HubSpot, "feeds", lambda _self: (replace(LIST, drifts=False),))
    monkeypatch.setattr(HubSpot, "pull", pull)
    return told


async def live(home: World, seconds: float) -> View:
    """Let a process work for so long, and drain; what the topic then says."""
    assert not await home.live(lambda _service: asyncio.ensure_future(home.clock.sleep(seconds)))
    return view(home.topics.facts)


def play(
    folder: Path,
    sweeps: List,
    monkeypatch: pytest.MonkeyPatch,
    story: Callable[[World, str], Awaitable[View]],
) -> tuple[View, list[str]]:
    """Import three leads, tell the story of the first one; what the topic says then, and where both sides differ."""
    loop = VirtualLoop()

    async def main() -> tuple[View, list[str]]:
        home = world(loop, folder, "absent", leads=3)
        answer = home.portal.handle

        def handle(method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
            sweeps.reads.extend([target] if "/batch/read" in target else [])
            return answer(method, target, headers, body)

        monkeypatch.setattr(home.portal, "handle", handle)
        told = await live(home, 60)
        assert told.kinds["crm_lead_observed"] == 3
        assert sweeps.reads == [], "what a list shows costs no read"
        told = await story(home, min(home.portal.truth().live["contacts"], key=int))
        return told, disagreements(told, home.portal)

    return run(main(), loop)


def test_a_removal_is_told_once_it_was_read(tmp_path: Path, sweeps: List, monkeypatch: pytest.MonkeyPatch) -> None:
    """The sweep does not find it: asked for by its id, then told, once, and asked for no more."""

    async def story(home: World, one: str) -> View:
        home.portal.person.delete(one)
        begun = len(home.trace)
        told = await live(home, 600)
        crossings = [line.split(" ", 2)[2] for line in home.trace[begun:]]
        read = next(at for at, what in enumerate(crossings) if "/batch/read 2" in what)
        published = next(at for at, what in enumerate(crossings) if what.startswith("publish 1"))
        assert read < published
        return told

    told, wrong = play(tmp_path, sweeps, monkeypatch, story)
    assert told.kinds["crm_lead_removed"] == 1
    assert len(sweeps.reads) == 2  # the record, and the one in the archive
    assert not wrong


def test_a_record_that_the_list_left_out_is_not_removed(
    tmp_path: Path, sweeps: List, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The read finds it alive: nothing is told of it, however many sweeps leave it out, but what a person changed meanwhile."""

    async def story(home: World, one: str) -> View:
        sweeps.hidden.add(one)
        told = await live(home, 300)
        assert (told.kinds["crm_lead_observed"], told.kinds["crm_lead_removed"]) == (3, 0)
        assert len(sweeps.reads) > 3
        home.portal.person.edit(one, {"city": "Lisbon"})
        return await live(home, 300)

    told, wrong = play(tmp_path, sweeps, monkeypatch, story)
    assert told.kinds["crm_lead_removed"] == 0
    assert told.kinds["crm_lead_observed"] == 4
    assert not wrong


@pytest.mark.parametrize("gone", [True, False])
@pytest.mark.parametrize("kind", [FaultKind.STATUS, FaultKind.TIMEOUT_BEFORE, FaultKind.TRUNCATED])
def test_where_the_read_fails_nothing_is_believed(
    tmp_path: Path, sweeps: List, monkeypatch: pytest.MonkeyPatch, kind: FaultKind, gone: bool
) -> None:
    """No answer is no absence: the sweep stays where it is and does not end, and asks again; only then the removal is told."""

    async def story(home: World, one: str) -> View:
        before = view(home.topics.facts).kinds["crm_sync_completed"]
        if gone:
            home.portal.person.delete(one)
        else:
            sweeps.hidden.add(one)
        home.portal.faults.add(Fault(kind, method="POST", path=READ, times=None, status=503))
        during = await live(home, 1_800)
        assert home.portal.faults.hits
        assert during.kinds["crm_lead_removed"] == 0
        assert during.kinds["crm_sync_completed"] == before
        assert during.kinds["crm_sync_failed"] == 1
        home.portal.faults.clear()
        told = await live(home, 1_800)
        assert told.kinds["crm_sync_completed"] > before
        return told

    told, wrong = play(tmp_path, sweeps, monkeypatch, story)
    assert told.kinds["crm_lead_removed"] == gone
    assert not wrong
