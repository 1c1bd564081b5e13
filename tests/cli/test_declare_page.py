"""docs/declare-a-crm.md: its files work as they stand, on the CRM that the page names."""

from __future__ import annotations

import random
import re
import time
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar

import pytest
from sales_crm_adapters import CATALOGUE

from sales_crm_bridge import tenants
from sales_crm_bridge.model import (
    Accepted,
    Category,
    FeedKind,
    LeadState,
    Operation,
    Outcome,
    Ref,
    Rejected,
    Unknown,
    Write,
)
from sales_crm_bridge.sandbox import Fault, FaultKind, SandboxApp, serve
from sales_crm_bridge.sandbox.dialects import Harbour, fill
from sales_crm_bridge.settings import load
from sales_crm_bridge.trying import attempt, tenant_of
from tests.contract.declared_worlds import DeclaredWorld

PAGE = Path(__file__).parents[2] / "docs" / "declare-a-crm.md"
BLOCKS = re.findall(r"```yaml\n(.*?)```", PAGE.read_text(encoding="utf-8"), re.DOTALL)
FILES = [block for block in BLOCKS if block.startswith("tenant:")]
ADDRESS = "http://127.0.0.1:8700"


def test_the_pieces_of_the_page_are_those_of_the_whole_file() -> None:
    """Whoever puts the pieces together as they are read has the file at the end of the page."""
    assert (len(FILES), len(BLOCKS)) == (2, 7)
    whole = {line.strip() for line in FILES[-1].splitlines()}
    for block in BLOCKS:
        if block not in FILES:
            assert not {line.strip() for line in block.splitlines()} - whole


@pytest.mark.parametrize("number", [0, 1])
async def test_a_file_of_the_page_works_at_the_first_try(
    number: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The smallest file and the whole one: no finding, no fault, the list and the read agree, what is not there is gone."""
    monkeypatch.setenv("HARBOUR_USER", "bridge")
    monkeypatch.setenv("HARBOUR_PASSWORD", "harbour-secret")
    monkeypatch.chdir(tmp_path)
    crm = Harbour(clock=time.time, rng=random.Random(1))
    fill(crm, 20)
    moves = crm.moves
    file = tmp_path / "harbour.yaml"
    async with serve(SandboxApp(crm)) as address:
        file.write_text(FILES[number].replace(ADDRESS, address))
        trial = await attempt(load(None), tenant_of(file), 3)
    assert (trial.findings, trial.faults, crm.moves) == ([], [], moves)
    notes = dict(trial.notes)
    assert notes["list all, next page"] == "3 records, none of which the first page had"
    assert notes["read by id"] == "the same as in the list"
    assert notes["read what is not there"].endswith("understood as gone")
    launches = [call for call in trial.calls if call.target.endswith("/launch")]
    assert [(call.step, call.made) for call in launches] == [("would qualify", False)] * number


class HarbourWorld(DeclaredWorld):
    """The page's CRM behind the page's file."""

    fields: ClassVar[Mapping[str, str]] = {
        "name": "skipper.name", "email": "skipper.mail", "phone": "skipper.phone", "company": "firm",
        "status": "phase", "read_only": "tonnage",
    }  # fmt: skip
    secrets: ClassVar[Mapping[str, str]] = {"username": "bridge", "password": "harbour-secret"}

    def declared(self) -> tenants.Tenant:
        tenant, findings = tenants.parse(FILES[-1].encode(), "harbour.yaml", CATALOGUE, secrets=False)
        assert tenant is not None, findings
        return tenant

    def found(self, **build: object) -> Harbour:
        self.harbour = Harbour(clock=self.clock, rng=self.dice)
        return self.harbour


def push(world: HarbourWorld, write: Write) -> Outcome:
    (outcome,) = world.converse(world.adapter.push([write]))
    return outcome


def test_the_whole_file_carries_a_lead_through_its_life() -> None:
    """Made once under our key, changed, refused with the field's name, launched by the further request, and then left alone."""
    world = HarbourWorld()
    made = push(world, world.write(1))
    assert isinstance(made, Accepted)
    again = push(world, world.write(1))
    assert isinstance(again, Accepted)
    assert (again.crm_id, again.adopted, len(world.harbour.live())) == (made.crm_id, True, 1)
    (record,) = world.converse(world.adapter.read([Ref(key="L-1")]))
    assert (record.id, record.fields["skipper.name"]) == (made.crm_id, "Lead 1")
    changed = push(world, world.write(1, Operation.REVISE, made.crm_id, {"phone": "+1", "company": None}))
    assert isinstance(changed, Accepted)
    assert world.harbour.live()[made.crm_id]["skipper.phone"] == "+1"
    bad = push(world, world.write(1, Operation.REVISE, made.crm_id, {"status": "afloat"}))
    assert isinstance(bad, Rejected)
    assert (bad.category, bad.fields) == (Category.VALIDATION, ("phase",))
    world.crm.faults.add(Fault(FaultKind.CUT_AFTER, path="*/launch"))
    assert world.tenant.mapping.qualify_wire() == {"phase": "launched"}
    launch = world.write(1, Operation.QUALIFY, made.crm_id, {"status": "launched"})
    assert isinstance(push(world, launch), Unknown)
    (record,) = world.converse(world.adapter.read([Ref(id=made.crm_id)]))
    assert (record.state, record.successors) == (LeadState.CONVERTED, (("deal", "D-1"),))
    late = push(world, world.write(1, Operation.REVISE, made.crm_id, {"phone": "+2"}))
    assert isinstance(late, Rejected)
    assert late.category is Category.CONVERTED


def test_the_whole_file_tells_changes_and_the_end_of_records() -> None:
    """Only what changed since, ties of one second included; a sunk berth is archived in the list and in a read."""
    world = HarbourWorld()
    ids = [world.harbour.create(world.named({"name": f"Lead {number}"})) for number in range(5)]
    world.clock.advance(10)
    since_us = world.clock.now_us
    world.harbour.edit(ids[1], {"skipper.phone": "+1"})
    world.harbour.sink(ids[3])
    states = {raw.id: raw for raw in world.raws(FeedKind.CHANGES, since_us=since_us, limit=1)}
    assert sorted(states) == [ids[1], ids[3]]
    (record,) = world.converse(world.adapter.read([Ref(id=ids[3])]))
    assert record.state is LeadState.ARCHIVED
