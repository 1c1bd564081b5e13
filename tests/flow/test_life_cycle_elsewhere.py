"""The ends of leads in other CRMs than HubSpot: merges in the memory adapter's, conversions in a declared one."""

from __future__ import annotations

import asyncio
import random
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest

from sales_crm_bridge import contract
from sales_crm_bridge.sandbox import Fault, FaultKind
from sales_crm_bridge.sandbox.dialects.harbour import Harbour
from sales_crm_bridge.sandbox.memory import MemoryCrm
from sales_crm_bridge.settings import Settings
from sales_crm_bridge.simulate.loop import VirtualClock, VirtualLoop, run
from sales_crm_bridge.simulate.world import World
from tests.flow.flow_kit import EPOCH_US, View, view

PULL = "pull: {every: 30s, page_size: 100, horizon: 60s, second_pass: 15m, removed_every: 10m, audit_every: 2h}\n"
MEMORY = """
tenant: acme
leads: [{owner: crm, from: 2026-01-01T00:00:00Z}]
connection:
  adapter: memory
  address: https://crm.example
  account: memory-1
  credentials: {kind: password, password: env:MEMORY_SECRET}
fields: {full_name: name, email: email, phone: phone}
qualify: unsupported
disqualify: unsupported
"""
PAGE = Path(__file__).parents[2] / "docs" / "declare-a-crm.md"
HARBOUR = re.findall(r"```yaml\n(tenant: harbour.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)[-1].replace(
    "tenant: harbour", "tenant: acme"
)


@pytest.fixture(autouse=True)
def secrets(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the tenants' files refer to."""
    monkeypatch.setenv("MEMORY_SECRET", "open-sesame")
    monkeypatch.setenv("HARBOUR_USER", "bridge")
    monkeypatch.setenv("HARBOUR_PASSWORD", "harbour-secret")


def play(folder: Path, text: str, make: Callable[..., Any], story: Callable[[World, Any], Awaitable[None]]) -> None:
    """Run ``story`` beside a CRM that ``make`` makes, for the tenant of the file ``text``."""
    loop = VirtualLoop()

    async def main() -> None:
        tenants = folder / "tenants"
        tenants.mkdir()
        (tenants / "acme.yaml").write_text(text + PULL)
        clock = VirtualClock(loop, EPOCH_US)
        crm = make(clock=lambda: clock.now_us() / 1e6, rng=random.Random("elsewhere"))
        settings = Settings.model_validate(
            {
                "hash_keys": ["a key of the tests, long enough"],
                "seal_key": "another key of the tests",
                "tenants": {"folder": str(tenants)},
            }
        )
        await story(World(settings=settings, folder=folder, clock=clock, portal=crm, seed="elsewhere"), crm)

    run(main(), loop)


async def live(home: World, seconds: float = 600) -> View:
    """Let a process work for so long; what the topic then says."""
    assert not await home.live(lambda _service: asyncio.ensure_future(home.clock.sleep(seconds)))
    return view(home.topics.facts)


def revise(home: World, lead_id: str, message_id: str, phone: str) -> None:
    body = contract.ReviseLeadRequested(lead=contract.Lead(lead_id=lead_id, phone=phone))
    body.update_mask.paths.append("phone")
    home.utter(body, tenant="acme", lead_id=lead_id, message_id=message_id)


def failures(home: World) -> list[contract.CrmLeadPushFailed]:
    """What the facts tell of intents that did not take effect."""
    found = []
    for value in home.topics.facts:
        record = contract.outgoing(value)
        received = contract.read(contract.SalesIntegrationFact, record.value, record.headers)
        assert not isinstance(received, contract.Unreadable)
        if received.envelope.HasField("crm_lead_push_failed"):
            found.append(received.envelope.crm_lead_push_failed)
    return found


@pytest.mark.parametrize("seen", [True, False], ids=["pulled", "not pulled yet"])
@pytest.mark.parametrize("follow", [True, False], ids=["follow", "refuse"])
def test_a_merge_in_a_crm_that_answers_410_with_the_survivor(tmp_path: Path, *, follow: bool, seen: bool) -> None:
    """One record a call, ETags, whole seconds: the loser's command is refused with the survivor's names, or done there."""

    async def story(home: World, crm: MemoryCrm) -> None:
        one, two = (crm.create({"name": name, "email": f"{name}@x.example"}) for name in ("one", "two"))
        told = await live(home, 120)
        lead_of = {record: lead for lead, record in told.records.items()}

        async def person() -> None:
            await home.clock.sleep(30)
            crm.merge(one, two)
            await home.clock.sleep(300 if seen else 0)
            revise(home, lead_of[two], "m-1", "+1 loser")

        deed = asyncio.ensure_future(person())
        told = await live(home, 1200)
        await deed
        assert told.kinds["crm_lead_removed"] == 1
        if follow:
            assert told.done == {"m-1": 1}
            assert crm.records[int(one)].values["phone"] == "+1 loser"
        else:
            (failed,) = failures(home)
            assert (failed.crm_code, failed.other_record_id, failed.other_lead_id) == ("lead-merged", one, lead_of[one])
            assert "phone" not in crm.records[int(one)].values
        assert set(told.leads) == {lead_of[one]}
        assert not told.wrong

    policy = "push: {after_merge: follow}\n" if follow else ""
    play(tmp_path, MEMORY + policy, MemoryCrm, story)


@pytest.mark.parametrize("lost", [True, False], ids=["answer lost", ""])
@pytest.mark.parametrize("seen", [True, False], ids=["pulled", "not pulled yet"])
@pytest.mark.parametrize("follow", [True, False], ids=["follow", "refuse"])
def test_a_command_on_a_converted_lead_is_refused_once_with_its_successors(
    tmp_path: Path, *, follow: bool, seen: bool, lost: bool
) -> None:
    """Under either policy, also where the refusal of the write names no deal: the record does, and Sales hears of it once."""

    async def story(home: World, crm: Harbour) -> None:
        number = crm.create({"skipper.name": "Ada", "skipper.mail": "ada@x.example", "firm": "Ada"})
        (lead,) = (await live(home, 120)).leads

        async def person() -> None:
            await home.clock.sleep(30)
            berth = crm.berths[int(number[2:])]
            berth.deal = "D-7"
            crm.edit(number, {"phase": "launched"})
            await home.clock.sleep(300 if seen else 0)
            if lost:
                crm.faults.add(Fault(FaultKind.CUT_AFTER, method="PUT", path="*/berths/*"))
            revise(home, lead, "m-1", "+1 nobody")

        deed = asyncio.ensure_future(person())
        told = await live(home, 1200)
        await deed
        (failed,) = failures(home)
        assert failed.category == contract.CrmErrorCategory.CRM_ERROR_CATEGORY_CONVERTED
        assert [(one.record_type, one.record_id) for one in failed.successors] == [("deal", "D-7")]
        assert not failed.needs_person
        assert told.kinds["crm_lead_converted"] == 1
        assert not told.wrong

    policy = "push: {after_merge: follow}\n" if follow else ""
    play(tmp_path, HARBOUR + policy, Harbour, story)
