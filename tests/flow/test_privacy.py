"""What is left behind when work is done: nothing personal in the ledger, no secret anywhere that bytes are kept or shown."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

from sales_crm_bridge import contract
from sales_crm_bridge.sandbox import Fault, FaultKind
from sales_crm_bridge.simulate.loop import VirtualLoop, run
from sales_crm_bridge.simulate.world import World
from tests.flow.flow_kit import TOKEN, people, view, world

PERSONAL = ("email", "firstname", "lastname", "phone", "company", "city")


def test_the_ledger_holds_nothing_personal_once_nothing_is_under_way(tmp_path: Path) -> None:
    """Imports, edits, merges, pushes, lost answers, refusals, kills: then no value of a lead is in the file, free pages included.

    Creates that are refused for good are still under way: their dead letters keep the intents whole.
    """
    kept = "kept.whole@parked.example"

    async def busy(home: World) -> None:
        for number, kind in enumerate((FaultKind.CUT_AFTER, FaultKind.TIMEOUT_BEFORE, FaultKind.TRUNCATED)):
            home.portal.faults.add(Fault(kind, method="POST", path="*/contacts/batch/*", skip=number * 3))
        taken = next(iter(home.portal.truth().live["contacts"].values()))["email"]
        lead = contract.Lead(lead_id="L-parked", email=taken, first_name=kept)
        home.utter(contract.CreateLeadRequested(lead=lead), tenant="acme", lead_id="L-parked", message_id="m-parked")
        rng = random.Random(5)

        async def one_life(seconds: float) -> None:
            at_work = asyncio.ensure_future(people(home, rng, 25))
            await home.clock.sleep(seconds)
            await at_work

        for steps in (250, None, None):
            await home.live(lambda _service: asyncio.ensure_future(one_life(4_000)), steps)

    loop = VirtualLoop()

    async def main() -> World:
        home = world(loop, tmp_path, "privacy", leads=30)
        await busy(home)
        return home

    home = run(main(), loop)
    truth = home.portal.truth()
    ever = {value for entry in truth.log for name, value in entry.changes.items() if name in PERSONAL}
    ever |= {record[name] for record in truth.live["contacts"].values() for name in PERSONAL if record.get(name)}
    told = view(home.topics.facts)
    assert "m-parked" in told.refused
    # What is short may be found in a hash by chance.
    personal = {value.encode() for value in ever if len(value) >= 6}
    assert len(personal) > 60
    files = [path for path in tmp_path.iterdir() if path.is_file()]
    held = b"".join(path.read_bytes() for path in files)
    assert kept.encode() in held, "the dead letter does not keep its intent"
    parked = b"".join(
        record.value
        for partition in home.topics.intents
        for record in partition
        if any(name.encode() in record.value for name in told.refused)
    )
    assert [value for value in personal if value in held and value not in parked] == []
    assert TOKEN.encode() not in held
    assert not any(TOKEN.encode() in fact for fact in home.topics.facts)
