"""A write that was accepted with an answer that does not show the lead: nothing is told before a read has shown it."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from pathlib import Path

import msgspec
import pytest
from sales_crm_adapters.hubspot import HubSpot

from sales_crm_bridge import contract
from sales_crm_bridge.model import Accepted, Outcome, Write
from sales_crm_bridge.ports import Talk
from sales_crm_bridge.sandbox import Fault, FaultKind
from sales_crm_bridge.sandbox.hubspot import Vices
from sales_crm_bridge.simulate.loop import VirtualLoop, run
from sales_crm_bridge.simulate.world import World
from tests.flow.flow_kit import View, disagreements, view, world

READ = "*/contacts/batch/read"
KINDS = (FaultKind.STATUS, FaultKind.TIMEOUT_BEFORE)


@pytest.fixture(autouse=True)
def writes(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Give what was written, in order, by its operation. The CRM accepts it and shows nothing of L-1, as many do."""
    full = HubSpot.push
    written: list[str] = []

    def push(self: HubSpot, batch: Sequence[Write]) -> Talk[list[Outcome]]:
        written.extend(one.operation.value for one in batch)
        outcomes = yield from full(self, batch)
        return [
            msgspec.structs.replace(one, record=None) if isinstance(one, Accepted) and write.key == "L-1" else one
            for write, one in zip(batch, outcomes, strict=True)
        ]

    monkeypatch.setattr(HubSpot, "push", push)
    return written


def play(folder: Path, story: Callable[[World], Awaitable[View]]) -> tuple[View, list[str], Mapping[str, str]]:
    """Run ``story``; what the topic says then, where both sides differ, and the record of L-1."""
    loop = VirtualLoop()

    async def main() -> tuple[View, list[str], Mapping[str, str]]:
        home = world(loop, folder, "read-back", vices=Vices(search_lag_s=(0, 0)))
        told = await story(home)
        record = next(one for one in home.portal.truth().live["contacts"].values() if one["bridge_lead_id"] == "L-1")
        return told, disagreements(told, home.portal), record

    return run(main(), loop)


async def live(home: World, seconds: float) -> View:
    """Let a process work for so long, and drain; what the topic then says."""
    assert not await home.live(lambda _service: asyncio.ensure_future(home.clock.sleep(seconds)))
    return view(home.topics.facts)


def create(home: World, lead_id: str = "L-1", message_id: str = "m-1") -> None:
    lead = contract.Lead(lead_id=lead_id, email=f"{lead_id.lower()}@sales.example", phone="1")
    home.utter(contract.CreateLeadRequested(lead=lead), tenant="acme", lead_id=lead_id, message_id=message_id)


def revise(home: World, lead_id: str = "L-1", message_id: str = "m-2", **fields: str) -> None:
    body = contract.ReviseLeadRequested(lead=contract.Lead(lead_id=lead_id, **fields))  # type: ignore[arg-type]
    body.update_mask.paths.extend(sorted(fields))
    home.utter(body, tenant="acme", lead_id=lead_id, message_id=message_id)


async def fail_to_read(home: World, kind: FaultKind) -> None:
    """No record can be read by its id or key for ten minutes; the command that was accepted meanwhile waits, and is not told."""
    home.portal.faults.add(Fault(kind, method="POST", path=READ, times=None, status=503))
    before = view(home.topics.facts)
    during = await live(home, 600)
    assert home.portal.faults.hits
    (counts,) = await home.look(lambda ledger: ledger.command_counts())
    assert (counts.open, counts.unknown, counts.parked) == (1, 1, 0)
    assert (during.done, during.refused, during.leads) == (before.done, before.refused, before.leads)
    home.portal.faults.clear()


@pytest.mark.parametrize("kind", KINDS)
def test_a_create_that_cannot_be_read_back_is_settled_later_and_told_once(
    tmp_path: Path, writes: list[str], kind: FaultKind
) -> None:
    """Made once; the fact comes when a read has shown the record, with the lead as the CRM holds it, and no echo follows."""

    async def story(home: World) -> View:
        await live(home, 60)
        create(home)
        await fail_to_read(home, kind)
        told = await live(home, 1_200)
        assert writes == ["create"]
        return told

    told, wrong, record = play(tmp_path, story)
    assert (told.done, told.refused) == ({"m-1": 1}, {})
    assert told.kinds["crm_lead_observed"] == 0
    assert record["bridge_lead_id"] == "L-1"
    assert not wrong


@pytest.mark.parametrize("kind", KINDS)
def test_a_revision_that_cannot_be_read_back_is_settled_later_and_told_once(
    tmp_path: Path, writes: list[str], kind: FaultKind
) -> None:
    """The same for a record that is known already."""

    async def story(home: World) -> View:
        create(home)
        told = await live(home, 60)
        assert told.done == {"m-1": 1}
        revise(home, phone="2")
        await fail_to_read(home, kind)
        told = await live(home, 1_200)
        assert writes == ["create", "revise"]
        return told

    told, wrong, record = play(tmp_path, story)
    assert (told.done, told.refused) == ({"m-1": 1, "m-2": 1}, {})
    assert told.kinds["crm_lead_observed"] == 0
    assert record["phone"] == "2"
    assert not wrong


def test_what_the_crm_makes_of_an_accepted_value_is_no_persons_change(tmp_path: Path, writes: list[str]) -> None:
    """It writes the address in lower case, and that cannot be read back at first: it took effect, and is told so."""

    async def story(home: World) -> View:
        create(home)
        await live(home, 60)
        revise(home, email=" Three@Sales.EXAMPLE ")
        await fail_to_read(home, FaultKind.STATUS)
        told = await live(home, 1_200)
        assert writes == ["create", "revise"]
        return told

    told, wrong, record = play(tmp_path, story)
    assert record["email"] == "three@sales.example"
    assert (told.done, told.refused) == ({"m-1": 1, "m-2": 1}, {})
    assert not wrong


def test_what_cannot_be_read_back_holds_up_no_other_command_of_its_batch(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """The one that the answer has shown whole is told at once; that the other waits is said, and is no fault of the worker."""
    caplog.set_level(logging.INFO)

    async def story(home: World) -> View:
        for name in ("L-1", "L-2"):
            create(home, name, f"create {name}")
        before = await live(home, 60)
        home.portal.faults.add(Fault(FaultKind.STATUS, method="POST", path=READ, times=None, status=503))
        for name in ("L-1", "L-2"):
            revise(home, name, f"revise {name}", phone="2")
        told = await live(home, 600)
        assert (told.done - before.done, told.refused) == ({"revise L-2": 1}, {})
        home.portal.faults.clear()
        return await live(home, 1_200)

    told, _, _ = play(tmp_path, story)
    assert told.done == {f"{verb} {name}": 1 for verb in ("create", "revise") for name in ("L-1", "L-2")}
    assert (told.refused, told.wrong) == ({}, [])
    events = [getattr(one, "event", "") for one in caplog.records]
    assert events.count("push.settled-later") == 1
    assert "worker.interrupted" not in events


def test_a_process_that_dies_before_the_read_back_leaves_it_to_the_next(tmp_path: Path, writes: list[str]) -> None:
    """Killed while it waits: the next one reads the record and tells of it, and writes nothing again."""

    async def story(home: World) -> View:
        await live(home, 60)
        create(home)
        home.portal.faults.add(Fault(FaultKind.STATUS, method="POST", path=READ, times=None, status=503))
        asked = "… POST https://crm.example/crm/v3/objects/contacts/batch/read 503"
        assert await home.live(lambda _service: asyncio.ensure_future(home.clock.sleep(600)), last=asked)
        home.portal.faults.clear()
        await home.clock.sleep(60)
        told = await live(home, 1_200)
        assert writes == ["create"]
        return told

    told, wrong, _ = play(tmp_path, story)
    assert (told.done, told.refused) == ({"m-1": 1}, {})
    assert told.kinds["crm_lead_observed"] == 0
    assert not wrong
