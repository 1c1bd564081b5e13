"""Writes that are several calls, cut off at each of them: what has taken effect in part is neither called done nor lost."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from pathlib import Path

import pytest

from sales_crm_bridge import contract
from sales_crm_bridge.sandbox import Fault, FaultKind
from sales_crm_bridge.sandbox.hubspot import Vices
from sales_crm_bridge.simulate.loop import VirtualLoop, run
from sales_crm_bridge.simulate.world import World
from tests.flow.flow_kit import View, view, world

HEAD = """
tenant: acme
leads: [{owner: crm, from: 2026-01-01T00:00:00Z}]
connection:
  adapter: hubspot
  address: https://crm.example
  account: "4242"
  credentials: {kind: token, token: env:ACME_TOKEN}
  limits: {per_second: 50, in_flight: 4}
"""
LEADS = """
  options: {object: leads}
fields: {last_name: hs_lead_name, email: contact.email, phone: contact.phone}
qualify: unsupported
disqualify: unsupported
pull: {every: 30s, horizon: 60s, second_pass: 15m, audit_every: 2h}
"""
STAGES = """
fields:
  email: email
  phone: phone
  status:
    crm: lifecyclestage
    values: {lead: new, marketingqualifiedlead: working, opportunity: qualified, other: disqualified}
disqualify: {set: {lifecyclestage: lead, phone: none}}
pull: {every: 30s, horizon: 60s, second_pass: 15m, audit_every: 2h}
"""


@dataclass
class Told:
    """What Sales was told, what the CRM holds, and how often a lead was told as changed by somebody else."""

    view: View
    lead: Mapping[str, str]
    contact: Mapping[str, str]
    observed: int


def play(folder: Path, tenant: str, story: Callable[[World], Awaitable[None]]) -> Told:
    """Create a lead with a tenant of its own, tell the story, and let everything come to rest."""
    loop = VirtualLoop()

    async def main() -> Told:
        home = world(loop, folder, "halves", vices=Vices(search_lag_s=(0, 0)))
        (folder / "tenants" / "acme.yaml").write_text(HEAD.rstrip() + tenant)
        home.portal.add_property("leads", "bridge_lead_id", unique=True)
        lead = contract.Lead(lead_id="L-1", email="one@sales.example", last_name="Old", phone="1")
        home.utter(contract.CreateLeadRequested(lead=lead), tenant="acme", lead_id="L-1", message_id="m-1")
        await live(home, 120)
        quiet = view(home.topics.facts).kinds["crm_lead_observed"]
        await story(home)
        await live(home, 1500)
        told, truth = view(home.topics.facts), home.portal.truth().live
        return Told(
            view=told,
            lead=next((lead for lead in truth["leads"].values()), {}),
            contact=next(iter(truth["contacts"].values())),
            observed=told.kinds["crm_lead_observed"] - quiet,
        )

    return run(main(), loop)


async def live(home: World, seconds: float) -> None:
    assert not await home.live(lambda _service: asyncio.ensure_future(home.clock.sleep(seconds)))


def revise(home: World, **fields: str) -> None:
    body = contract.ReviseLeadRequested(lead=contract.Lead(lead_id="L-1", **fields))  # type: ignore[arg-type]
    body.update_mask.paths.extend(sorted(fields))
    home.utter(body, tenant="acme", lead_id="L-1", message_id="m-2")


def fault(kind: FaultKind, path: str, *, body: bytes | None = None, times: int | None = 1, status: int = 503) -> Fault:
    return Fault(kind, method="POST", path=path, body=body, times=times, status=status)


@pytest.mark.parametrize("path", ["*/contacts/batch/update", "*/leads/batch/update"])
@pytest.mark.parametrize("kind", [FaultKind.CUT_BEFORE, FaultKind.CUT_AFTER, FaultKind.STATUS])
def test_a_revise_of_a_lead_and_its_contact_takes_effect_whole(tmp_path: Path, kind: FaultKind, path: str) -> None:
    """Whichever of the two calls gets lost, before or after its work: done when both show, and no echo of the half."""

    async def story(home: World) -> None:
        home.portal.faults.add(fault(kind, path))
        revise(home, last_name="New", phone="2")

    told = play(tmp_path, LEADS, story)
    assert (told.lead["hs_lead_name"], told.contact["phone"]) == ("New", "2")
    assert (told.view.done["m-2"], told.view.refused, told.observed, told.view.wrong) == (1, {}, 0, [])


def test_a_half_that_waits_for_long_is_no_echo(tmp_path: Path) -> None:
    """The lead cannot be written for twenty minutes; pulls show its contact meanwhile, and nobody is said to have changed it."""

    async def story(home: World) -> None:
        home.portal.faults.add(fault(FaultKind.STATUS, "*/leads/batch/update", times=None))
        revise(home, last_name="New", phone="2")
        await live(home, 1200)
        assert not view(home.topics.facts).done["m-2"]
        home.portal.faults.clear()

    told = play(tmp_path, LEADS, story)
    assert (told.lead["hs_lead_name"], told.contact["phone"]) == ("New", "2")
    assert (told.view.done["m-2"], told.view.refused, told.observed, told.view.wrong) == (1, {}, 0, [])


def test_a_half_of_a_command_that_is_refused_in_the_end_is_told_by_the_pull(tmp_path: Path) -> None:
    """The contact's half has taken effect, then the lead's is refused: the failure is told, and what the CRM now holds too."""

    async def story(home: World) -> None:
        home.portal.faults.add(fault(FaultKind.CUT_BEFORE, "*/leads/batch/update"))
        home.portal.faults.add(fault(FaultKind.STATUS, "*/leads/batch/update", times=None, status=400))
        revise(home, last_name="New", phone="2")

    told = play(tmp_path, LEADS, story)
    assert "m-2" in told.view.refused
    assert not told.view.done["m-2"]
    assert (told.lead["hs_lead_name"], told.contact["phone"]) == ("Old", "2")
    assert (told.view.leads["L-1"].last_name, told.view.leads["L-1"].phone) == ("Old", "2")
    assert told.observed == 1


def test_a_persons_edit_of_the_other_half_is_not_written_over(tmp_path: Path) -> None:
    """She wrote the name while the answer was lost and the contact alone had changed: hers stays, and each is told what became."""

    async def story(home: World) -> None:
        home.portal.faults.add(fault(FaultKind.CUT_AFTER, "*/contacts/batch/update"))
        revise(home, last_name="New", phone="2")
        lead = next(iter(home.portal.truth().live["leads"]))

        async def meanwhile() -> None:
            while not home.portal.faults.hits:
                await home.clock.sleep(0.5)
            home.portal.person.edit(lead, {"hs_lead_name": "Hers"})
            await home.clock.sleep(600)

        await home.live(lambda _service: asyncio.ensure_future(meanwhile()))

    told = play(tmp_path, LEADS, story)
    assert told.lead["hs_lead_name"] == "Hers"
    assert (told.view.leads["L-1"].last_name, told.view.leads["L-1"].phone) == ("Hers", "2")
    assert told.view.done["m-2"] == 1


@pytest.mark.parametrize("body", [b'"phone":"none"', b'"lifecyclestage":""', b'"lifecyclestage":"lead"'])
@pytest.mark.parametrize("kind", [FaultKind.CUT_BEFORE, FaultKind.CUT_AFTER, FaultKind.STATUS])
def test_a_stage_that_is_set_back_is_never_left_empty(tmp_path: Path, kind: FaultKind, body: bytes) -> None:
    """Update, clear, set: whichever is lost, before or after its work, the stage ends as asked for, and nobody is blamed."""

    async def story(home: World) -> None:
        home.utter(contract.QualifyLeadRequested(), tenant="acme", lead_id="L-1", message_id="m-1b")
        await live(home, 120)
        skip = 1 if body == b'"lifecyclestage":"lead"' else 0
        home.portal.faults.add(
            Fault(kind, method="POST", path="*/contacts/batch/update", body=body, times=1, status=503, skip=skip)
        )
        home.utter(contract.DisqualifyLeadRequested(reason="no"), tenant="acme", lead_id="L-1", message_id="m-2")
        await live(home, 600)
        assert home.portal.faults.hits

    told = play(tmp_path, STAGES, story)
    assert (told.contact["lifecyclestage"], told.contact["phone"]) == ("lead", "none")
    assert (told.view.done["m-2"], told.view.refused, told.observed, told.view.wrong) == (1, {}, 0, [])
