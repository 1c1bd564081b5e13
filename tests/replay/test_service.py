"""A service that ran while people and the domain worked is recorded and lived through again, pushes and all."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest

from sales_crm_bridge import contract, wiring
from sales_crm_bridge.crm_http import HttpxTransport
from sales_crm_bridge.errors import ConfigError
from sales_crm_bridge.ledger import open_ledger
from sales_crm_bridge.model import Operation
from sales_crm_bridge.replay.bundle import Bundle
from sales_crm_bridge.replay.comparing import compare, kind_of
from sales_crm_bridge.replay.live import Ears, need_quiet, one_tenant
from sales_crm_bridge.replay.player import play
from sales_crm_bridge.replay.recorder import facts_of
from sales_crm_bridge.sandbox import SandboxTransport
from sales_crm_bridge.simulate.loop import VirtualLoop, run
from sales_crm_bridge.simulate.topic import TopicSink, TopicSource
from sales_crm_bridge.simulate.world import SeededDice
from sales_crm_bridge.state import InboxRow, Intake, NewCommand
from tests.flow.flow_kit import EPOCH_US, people, world
from tests.replay.replay_kit import KEY


def lived(folder: Path, seed: int, turns: int, *, before: bool = False, webhook: bool = False) -> Bundle:
    """The bundle of a service beside which ``turns`` things happened by chance.

    ``webhook``: and then a webhook names a contact that a person has edited, and a call brings an intent.

    ``before``: another one has lived on the same ledger, with as many things, and was not heard.
    """
    loop = VirtualLoop()

    async def main() -> Ears:
        home = world(loop, folder, "service", leads=10)
        clock = home.clock
        ledger = await open_ledger("sqlite://:memory:")
        rng = random.Random(seed)
        unheard = wiring.Outside(
            clock=clock,
            dice=SeededDice("service"),
            ledger=ledger,
            transport=lambda _: HttpxTransport(SandboxTransport(home.portal, sleep=clock.sleep)),
        )
        if before:
            source, sink = TopicSource(home.topics), TopicSink(home.topics)
            service = wiring.assemble(home.settings, unheard, source=source, sink=sink)
            working = asyncio.ensure_future(service.run())
            await clock.sleep(120)
            await people(home, rng, 5)
            await clock.sleep(3_600)
            service.stop()
            await working
        tenant = one_tenant(home.settings, frozenset())
        await need_quiet(ledger, tenant)
        ears = Ears(settings=home.settings, tenant=tenant)
        outside = ears.outside(unheard)
        heard, told = TopicSource(home.topics), ears.sink(TopicSink(home.topics))
        service = wiring.assemble(home.settings, outside, source=heard, sink=told)
        working = asyncio.ensure_future(service.run())
        await clock.sleep(120)
        await people(home, rng, turns)
        if webhook:
            contact = min(home.portal.truth().live["contacts"], key=int)
            home.portal.person.edit(contact, {"city": "Lisbon"})
            await outside.ledger.hear(1, [contact], clock.now_us(), 1_000)  # as the web side does
            row = _create("by-call")
            await outside.ledger.take(Intake(rows=[row], dead=(), offsets={}, now_us=clock.now_us()))  # as a call does
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


@pytest.mark.parametrize("seed", [4, 6, 17])
def test_a_service_is_recorded_in_the_middle_of_its_life(tmp_path: Path, seed: int) -> None:
    """With what the ledger knew of leads, feeds and facts: versions go on where they were."""
    made = lived(tmp_path, seed, turns=10, before=True)
    assert compare(made.facts, facts_of(play(made).facts)).same
    assert {row.table for row in made.ledger} >= {"bindings", "positions", "connection"}
    versions = [int(one.fact["subject"]["aggregate_version"]) for one in made.facts if "crm_lead_observed" in one.fact]
    assert max(versions) > 1


def test_a_recording_does_not_begin_while_commands_wait(tmp_path: Path) -> None:
    """A create that a person must look at is in the ledger: a bundle cannot hold it, so it is refused with what to do."""
    with pytest.raises(ConfigError) as caught:
        lived(tmp_path, 14, turns=0, before=True)
    assert caught.value.code == "replay.ledger-busy"
    assert caught.value.message.startswith("1 commands and 0 facts of 'acme' wait")


def _create(message_id: str) -> InboxRow:
    lead = contract.Lead(lead_id="L-by-call", email="call@sales.example", first_name="C")
    envelope = contract.intent(
        contract.CreateLeadRequested(lead=lead),
        tenant_id="acme",
        aggregate_id=lead.lead_id,
        message_id=message_id,
        correlation_id="c",
        occurred_us=EPOCH_US,
        producer="sales-ui",
    )
    command = NewCommand(
        conn=1,
        lead_id=lead.lead_id,
        operation=Operation.CREATE,
        payload=contract.record_of(envelope).value,
        occurred_us=EPOCH_US,
    )
    return InboxRow(tenant="acme", message_id=message_id, command=command)


def test_what_webhooks_name_and_calls_bring_is_recorded_too(tmp_path: Path) -> None:
    """The contact is read by its id, and the lead is created: in the replay as in the run."""
    made = lived(tmp_path, 1, turns=0, webhook=True)
    assert compare(made.facts, facts_of(play(made).facts)).same
    (notice,) = made.notices
    reads = [one for one in made.exchanges if "/batch/read" in one.url and notice.crm_ids[0] in one.body.text]
    soon = [one for one in reads if 0 <= one.asked_us - notice.at_us < 5_000_000]
    assert soon, "for the notice, not by a feed"
    assert len(made.intents) == 1
    assert "crm_lead_pushed" in [kind_of(one) for one in made.facts]
