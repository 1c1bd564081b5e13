"""The whole flow on four declared CRMs: people at work, intents, lost answers, processes that die; in the end both sides agree."""

from __future__ import annotations

import asyncio
import random
import re
from collections import Counter
from collections.abc import Mapping
from pathlib import Path

import pytest

from sales_crm_bridge import contract
from sales_crm_bridge.model import Operation
from sales_crm_bridge.sandbox import Fault, FaultKind
from sales_crm_bridge.sandbox.dialects.counter import Value
from sales_crm_bridge.sandbox.dialects.plain import Person, Plain
from sales_crm_bridge.settings import Settings
from sales_crm_bridge.simulate.loop import VirtualClock, VirtualLoop, run
from sales_crm_bridge.simulate.world import World
from tests.contract.declared_worlds import (
    DECLARED,
    CloudWorld,
    DeclaredWorld,
    MiserlyWorld,
    PlainWorld,
    RpcWorld,
)
from tests.contract.world import Clock
from tests.flow.flow_kit import EPOCH_US, View, view

DIALECTS = (CloudWorld, MiserlyWorld, PlainWorld, RpcWorld)
COMPARED = {"full_name": "name", "email": "email", "phone": "phone"}
PULL = "pull: {every: 30s, page_size: 10, horizon: 60s, second_pass: 15m, removed_every: 10m, audit_every: 2h}\n"
PEACE_S = 3 * 3_600.0


class Virtual(Clock):
    """The virtual loop's time, in seconds."""

    def __init__(self, clock: VirtualClock) -> None:
        super().__init__()
        self._virtual = clock

    def __call__(self) -> float:
        return self._virtual.now_us() / 1e6


class Story:
    """One declared CRM with its people, and a bridge beside it."""

    def __init__(self, loop: VirtualLoop, folder: Path, make: type[DeclaredWorld], seed: str) -> None:
        self.rng = random.Random(seed)
        clock = VirtualClock(loop, EPOCH_US)
        self.crm = make(clock=Virtual(clock))
        self.crm.dice.seed(seed)
        tenants = folder / "tenants"
        tenants.mkdir()
        name = make.declaration
        (tenants / f"{name}.yaml").write_text((DECLARED / f"{name}.yaml").read_text() + PULL)
        settings = Settings.model_validate(
            {
                "hash_keys": ["a key of the tests, long enough"],
                "seal_key": "another key of the tests",
                "tenants": {"folder": str(tenants)},
            }
        )
        self.home = World(
            settings=settings,
            folder=folder,
            clock=clock,
            portal=self.crm.crm,  # type: ignore[arg-type]  # any sandbox does: the world calls nothing else of it
            seed=seed,
        )
        self.uttered: dict[str, str] = {}
        self.born = 0

    async def people(self, turns: int) -> None:
        """Persons edit, make and delete; clients utter creates, revisions and qualifications, at times of chance."""
        rng, crm = self.rng, self.crm
        for turn in range(turns):
            await self.home.clock.sleep(rng.uniform(1, 30))
            ids = crm.live()
            chance = rng.random()
            if chance < 0.35 and ids:
                crm.edit(rng.choice(ids), {"phone": f"+1 {rng.randrange(10**6)}"})
            elif chance < 0.5 and ids:
                crm.delete(rng.choice(ids))
            elif chance < 0.6:
                crm.create(1_000 + turn)
            elif chance < 0.8 or not self.born:
                self.born += 1
                lead = contract.Lead(lead_id=f"L-{self.born}", full_name="N", email=f"n{self.born}@sales.example")
                self._utter(contract.CreateLeadRequested(lead=lead), f"L-{self.born}", f"create-{self.born}")
            else:
                lead_id = f"L-{rng.randrange(1, self.born + 1)}"
                self._utter(contract.QualifyLeadRequested(), lead_id, f"qualify-{turn}")

    def _utter(self, body: object, lead_id: str, message_id: str) -> None:
        self.uttered[message_id] = lead_id
        tenant = self.crm.declaration
        self.home.utter(body, tenant=tenant, lead_id=lead_id, message_id=message_id)  # type: ignore[arg-type]

    async def live(self, seconds: float, steps: int | None = None) -> View:
        """Let a process work for so long, or until it is killed; what the topic then says."""
        await self.home.live(lambda _service: asyncio.ensure_future(self.home.clock.sleep(seconds)), steps=steps)
        return view(self.home.topics.facts)

    def disagreements(self, told: View) -> list[str]:
        """Where Sales' view and the CRM's truth differ, field by field."""
        crm, found = self.crm, list(told.wrong)
        records = {record: lead_id for lead_id, record in told.records.items() if lead_id in told.leads}
        for record in sorted({*crm.live(), *records}):
            if record not in records or record not in crm.live():
                found.append(f"record {record} (lead {records.get(record)}) is on one side only")
                continue
            lead = told.leads[records[record]]
            for ours, theirs in COMPARED.items():
                if (getattr(lead, ours) or "") != crm.holds(record, theirs):
                    found.append(
                        f"{record} {ours}: {getattr(lead, ours)!r}, the CRM says {crm.holds(record, theirs)!r}"
                    )
        made = Counter(crm.holds(record, "email") for record in crm.live())
        found += [f"{made[mail]} records were made for {mail}" for mail in made if "@sales." in mail and made[mail] > 1]
        return found


@pytest.fixture(autouse=True)
def surroundings(monkeypatch: pytest.MonkeyPatch) -> None:
    """Each declaration's secrets stand where its file says."""
    for make in DIALECTS:
        text = (DECLARED / f"{make.declaration}.yaml").read_text()
        for name, value in {**make.secrets, "webhook_secret": "hook-secret"}.items():
            for variable in re.findall(rf"\b{name}: env:(\w+)", text):
                monkeypatch.setenv(variable, value)


async def tell(loop: VirtualLoop, folder: Path, make: type[DeclaredWorld], seed: str) -> tuple[Story, View]:
    """Kills and faults while people work, then peace."""
    story = Story(loop, folder, make, seed)
    for number in range(25):
        story.crm.create(number)
    await story.home.clock.sleep(86_400)  # so that the import alone can find them
    for write in (story.crm.write(1), story.crm.write(1, Operation.REVISE, story.crm.live()[0])):
        method, path, body = story.crm.writing(write)
        story.crm.crm.faults.add(
            Fault(FaultKind.CUT_AFTER, method=method, path=path, body=body, times=None, chance=0.25)
        )
    for fault in (
        Fault(FaultKind.TIMEOUT_AFTER, path="*", times=None, chance=0.02),
        Fault(FaultKind.CUT_BEFORE, path="*", times=None, chance=0.02),
        Fault(FaultKind.STATUS, path="*", times=None, chance=0.03, status=503),
    ):
        story.crm.crm.faults.add(fault)
    busy = asyncio.ensure_future(story.people(50))
    for _ in range(6):
        await story.live(600, steps=story.rng.randrange(20, 400))
        await story.home.clock.sleep(story.rng.uniform(0, 40))
    await busy
    story.crm.crm.faults.clear()
    return story, await story.live(PEACE_S)


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("make", DIALECTS, ids=lambda make: make.declaration)
def test_nothing_is_lost_or_doubled_on_a_declared_crm(tmp_path: Path, make: type[DeclaredWorld], seed: int) -> None:
    """Both sides agree field by field, no intent takes effect twice, and each has an outcome.

    Where the CRM has no room for our key, a create whose answer was lost waits for a person, and its lead's later commands too.
    """
    loop = VirtualLoop()
    story, told = run(tell(loop, tmp_path, make, f"declared {seed}"), loop)
    wrong = story.disagreements(told)
    # A create whose record a person removes before its lost answer is settled is refused for good: nobody waits.
    waiting = {
        f"L-{name.removeprefix('create-')}"
        for name, code in told.refused.items()
        if name.startswith("create-") and code != "lead-removed"
    }
    wrong += [
        f"{name} has no outcome"
        for name, lead_id in story.uttered.items()
        if not told.done[name] and name not in told.refused and lead_id not in waiting
    ]
    if story.crm.adapter.capabilities.unique_key:
        wrong += [f"{lead_id} waits for a person" for lead_id in sorted(waiting)]
    wrong += [f"{name} took effect {count} times" for name, count in told.done.items() if count > 1]
    assert not wrong, "\n".join(wrong[:20])
    assert told.kinds["crm_lead_removed"] > 0
    assert told.kinds["crm_lead_pushed"] > 0


@pytest.mark.parametrize("keeps_later", [False, True])
def test_a_crm_that_does_not_keep_our_key_is_told_and_makes_no_doubles(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, keeps_later: bool
) -> None:
    """What it made is bound and the connection says so; a create whose answer is lost then waits for a person.

    It is over when a record that it makes shows our key.
    """
    create = Plain._create
    keeps = [False]

    def forgets(self: Plain, values: Mapping[str, Value]) -> Person:
        return create(self, values if keeps[0] else {**values, "externalId": None})

    monkeypatch.setattr(Plain, "_create", forgets)
    loop = VirtualLoop()

    async def main() -> tuple[Story, View, str]:
        story, told = Story(loop, tmp_path, PlainWorld, "keys"), View()
        for number in (1, 2):
            lead = contract.Lead(lead_id=f"L-{number}", full_name="N", email=f"n{number}@sales.example")
            story._utter(contract.CreateLeadRequested(lead=lead), f"L-{number}", f"create-{number}")
            told = await story.live(600)
            keeps[0] = keeps_later
            if not keeps_later:
                method, path, body = story.crm.writing(story.crm.write(1))
                story.crm.crm.faults.add(Fault(FaultKind.CUT_AFTER, method=method, path=path, body=body))
        (row,) = await story.home.look(lambda ledger: ledger.connections())
        return story, told, row.code

    story, told, code = run(main(), loop)
    assert len(story.crm.live()) == 2
    assert told.done["create-1"] == 1
    assert told.records["L-1"] in story.crm.live()
    if keeps_later:
        assert (code, told.done["create-2"]) == ("", 1)
    else:
        assert code == "crm.key-not-kept"
        assert told.refused["create-2"] == "create-unproven"
