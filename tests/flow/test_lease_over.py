"""A process that can no longer renew its lease makes no call to the CRM once it is over, whatever it was in the middle of."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from sales_crm_bridge import contract
from sales_crm_bridge.errors import LedgerBusy
from sales_crm_bridge.ledger import SqlLedger
from sales_crm_bridge.sandbox import Fault, FaultKind
from sales_crm_bridge.simulate.loop import VirtualLoop, run
from sales_crm_bridge.simulate.world import World
from tests.flow.flow_kit import EPOCH_US, View, disagreements, view, world

HELD_S = 120.0
"""How long leases can be renewed."""
CREATE = "*/contacts/batch/upsert"
SEARCH = "*/contacts/search"


def requests(home: World) -> list[float]:
    """When requests have left the process, in seconds."""
    lines = [line.split(" ") for line in home.trace]
    return [(int(line[0]) - EPOCH_US) / 1e6 for line in lines if line[2] in ("GET", "POST", "PATCH")]


@pytest.mark.parametrize("path", [CREATE, SEARCH])
def test_a_call_under_way_is_not_repeated_once_the_lease_is_over(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, path: str
) -> None:
    """The CRM asks again and again for a pause of seven seconds: it gets its calls until the lease ends, and none after that.

    What was not carried out is carried out, once, by the next holder.
    """
    renew = SqlLedger.leases_renew

    async def story(home: World) -> tuple[list[float], View, list[str]]:
        async def busy(ledger: SqlLedger, holder: str, now_us: int, until_us: int) -> dict[str, int]:
            if now_us > EPOCH_US + round(HELD_S * 1e6):
                raise LedgerBusy("ledger.busy", "busy")
            return await renew(ledger, holder, now_us, until_us)

        async def work() -> None:
            await home.clock.sleep(HELD_S - 5)
            later = (("retry-after", "7"),)
            home.portal.faults.add(Fault(FaultKind.STATUS, path=path, times=None, status=423, headers=later))
            lead = contract.Lead(lead_id="L-1", email="one@sales.example")
            home.utter(contract.CreateLeadRequested(lead=lead), tenant="acme", lead_id="L-1", message_id="m-1")
            await home.clock.sleep(180)

        monkeypatch.setattr(SqlLedger, "leases_renew", busy)
        assert not await home.live(lambda _service: asyncio.ensure_future(work()))
        made = requests(home)
        monkeypatch.setattr(SqlLedger, "leases_renew", renew)
        home.portal.faults.clear()
        assert not await home.live(lambda _service: asyncio.ensure_future(home.clock.sleep(600)))
        told = view(home.topics.facts)
        return made, told, disagreements(told, home.portal)

    loop = VirtualLoop()

    async def main() -> tuple[list[float], View, list[str]]:
        home = world(loop, tmp_path, "lease", leads=3)
        ttl_s = home.settings.lease.ttl_s
        made, told, wrong = await story(home)
        assert not [at for at in made if at >= HELD_S + ttl_s], "a call was made without a lease"
        assert [at for at in made if at > HELD_S + ttl_s - 8], "nothing was under way when it ended"
        return made, told, wrong

    _, told, wrong = run(main(), loop)
    assert told.done == {"m-1": 1}
    assert (told.refused, wrong) == ({}, [])
