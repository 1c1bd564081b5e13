"""Storms of "too many calls", counted at the CRM: at most a fifth more requests than served ones, and nothing lost or doubled."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from sales_crm_bridge import contract
from sales_crm_bridge.sandbox.hubspot import Vices
from sales_crm_bridge.sandbox.wire import Answer
from sales_crm_bridge.simulate.loop import VirtualLoop, run
from tests.contract.declared_worlds import CloudWorld
from tests.flow.flow_kit import disagreements, view, world
from tests.flow.test_declared import Story

COMMANDS = 60
LEADS = 200
LIMITS = "limits: {per_second: 50, in_flight: 16}"


def counted(crm: Any, *, mute: bool) -> Counter[int]:
    """What ``crm`` answers from now on, by status; ``mute``: it never says how long to wait."""
    handle, answered = crm.handle, Counter[int]()

    def through(method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        answer: Answer = handle(method, target, headers, body)
        answered[answer.status] += 1
        if mute:
            answer = answer._replace(headers=[one for one in answer.headers if one[0].lower() != "retry-after"])
        return answer

    crm.handle = through
    return answered


def ratio(answered: Counter[int]) -> float:
    """Requests for each one that was served."""
    return answered.total() / (answered.total() - answered[429])


def busy(file: Path, limits: str) -> None:
    """Write commands one by one and read small pages, many at the same time: a storm needs many calls."""
    text = file.read_text().replace("page_size: 100", "page_size: 5").replace("page_size: 10,", "page_size: 5,")
    text = text.replace(limits, LIMITS) if limits else text.replace("  options:\n", f"  {LIMITS}\n  options:\n", 1)
    file.write_text(text + "push: {batch: 1}\n")


@pytest.mark.parametrize("per_10_s", [20, 100])
def test_a_storm_at_hubspot(tmp_path: Path, per_10_s: int) -> None:
    """An account that allows 2 or 10 calls a second where the file says 50, and says nothing of when to come back."""

    async def story(loop: VirtualLoop) -> None:
        vices = replace(Vices.typical(), burst_per_10_s=per_10_s, search_per_s=1)
        home = world(loop, tmp_path, "storm", leads=LEADS, vices=vices)
        busy(tmp_path / "tenants" / "acme.yaml", "limits: {per_second: 50, in_flight: 4}")
        answered = counted(home.portal, mute=False)
        for number in range(COMMANDS):
            lead = contract.Lead(lead_id=f"L-{number}", email=f"n{number}@sales.example")
            body = contract.CreateLeadRequested(lead=lead)
            home.utter(body, tenant="acme", lead_id=lead.lead_id, message_id=f"m-{number}")
        await home.live(lambda _service: asyncio.ensure_future(home.clock.sleep(600)))
        told = view(home.topics.facts)
        assert told.done == {f"m-{number}": 1 for number in range(COMMANDS)}
        assert not disagreements(told, home.portal)
        assert answered[429] > 0
        assert ratio(answered) <= 1.2

    loop = VirtualLoop()
    run(story(loop), loop)


@pytest.mark.parametrize("mute", [False, True], ids=["with Retry-After", "without"])
@pytest.mark.parametrize("per_10_s", [20, 100])
def test_a_storm_at_a_declared_crm(tmp_path: Path, per_10_s: int, mute: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    """The same at a CRM that counts what it refuses, too, whether it says how long to wait or not."""
    for name, value in (("CLIENT", "cloud-client"), ("SECRET", "cloud-secret"), ("HOOK", "hook-secret")):
        monkeypatch.setenv(f"CLOUD_{name}", value)

    async def story(loop: VirtualLoop) -> None:
        it = Story(loop, tmp_path, CloudWorld, "storm")
        busy(tmp_path / "tenants" / "cloud.yaml", "")
        for number in range(LEADS):
            it.crm.create(number)
        it.crm.cloud.calls_per_window = per_10_s  # type: ignore[attr-defined]
        answered = counted(it.crm.crm, mute=mute)
        for number in range(COMMANDS):
            lead = contract.Lead(lead_id=f"L-{number}", full_name="N", email=f"n{number}@sales.example")
            body = contract.CreateLeadRequested(lead=lead)
            it.home.utter(body, tenant="cloud", lead_id=lead.lead_id, message_id=f"m-{number}")
        told = await it.live(600)
        assert told.done == {f"m-{number}": 1 for number in range(COMMANDS)}
        assert not it.disagreements(told)
        assert answered[429] > 0
        assert ratio(answered) <= 1.2

    loop = VirtualLoop()
    run(story(loop), loop)
