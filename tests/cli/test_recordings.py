"""``sync --once --record``, ``replay`` and ``bundle check`` as processes, against a HubSpot over real HTTP."""

from __future__ import annotations

import asyncio
import json
import sys
import time
from pathlib import Path

from sales_crm_bridge.sandbox.hubspot import Portal, Vices
from tests.cli.test_online import shop


async def test_a_sync_is_recorded_and_replayed(tmp_path: Path) -> None:
    """A bundle is made, looked through, and played: the same facts; under another mapping, what it alters; changed: refused."""
    portal = Portal.seeded(seed=1, leads=120, clock=time.time, vices=Vices(search_per_s=100))
    portal.add_property("contacts", "bridge_lead_id", unique=True)
    folder = tmp_path / "acme-import"
    async with shop(tmp_path, portal) as deployment:
        code, said = await deployment.call("sync", "--once", "--record", str(folder), "--json")
        assert code == 0, said
        told = json.loads(said)
        assert (told["ok"], told["published"] > 120) == (True, True)
        assert told["bundle"]["lines"]["facts.jsonl"] == told["published"]
        code, said = await deployment.call("sync", "--once", "--record", str(folder))
        assert (code, "[replay.folder-exists]" in said) == (2, True)
        contact = min(portal.truth().live["contacts"], key=int)
        portal.person.edit(contact, {"city": "Lisbon"})
        await asyncio.sleep(2)  # what is younger than the horizon is not read
        again = tmp_path / "again"
        code, said = await deployment.call("sync", "--once", "--record", str(again), "--json")
        assert code == 0, said
        code, said = await deployment.call("replay", str(again))
        assert (code, "byte for byte" in said) == (0, True), said
        assert '"changed_fields":["city"]' in (again / "facts.jsonl").read_text()

        assert await deployment.call("bundle", "check", str(folder)) == (0, "nothing was found\n")
        code, said = await deployment.call("replay", str(folder))
        assert (code, said) == (0, f"the same {told['published']} facts, byte for byte\n")

        file = tmp_path / "tenants" / "acme.yaml"
        file.write_text(file.read_text().replace("  city: city\n", "  region: city\n"))
        code, said = await deployment.call("replay", str(folder), "--tenant", str(file), "--json")
        found = json.loads(said)
        assert (code, found["same"], found["altered_keys"]) == (1, False, 120)
        assert {"lead.city", "lead.region"} <= found["fields"].keys()
        code, said = await deployment.call("replay", str(folder), "--tenant", str(file))
        assert (code, "alters 120 of 121 leads" in said) == (1, True), said

        facts = folder / "facts.jsonl"
        facts.write_text(facts.read_text().replace("crm_lead_observed", "crm_lead_restored", 1))
        for verb in (["replay"], ["bundle", "check"]):
            code, said = await deployment.call(*verb, str(folder))
            assert (code, "[replay.tampered]" in said, "facts.jsonl" in said) == (2, True, True)


async def test_the_demo_is_recorded_and_replayed(tmp_path: Path) -> None:
    """A running service with intents, a lost answer and a merge: its bundle tells the same again, and holds nothing personal."""
    folder = tmp_path / "demo"
    code, said = await verb("demo", "--record", str(folder), "--json")
    assert code == 0, said
    told = json.loads(said)
    assert told["agree"]
    assert await verb("bundle", "check", str(folder)) == (0, "nothing was found\n")
    code, said = await verb("replay", str(folder), "--json")
    found = json.loads(said)
    assert (code, found["same"]) == (0, True)
    assert found["facts"] >= sum(told["facts"].values()) - told["facts"]["crm_sync_completed"]
    text = "".join(file.read_text() for file in folder.iterdir()).casefold()
    assert not [word for word in ("ada@sales", "byron", "countess", "walk.in", "30 901820") if word in text]


async def verb(*words: str) -> tuple[int, str]:
    """A verb in a process of its own: its exit code, and what it said."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "sales_crm_bridge", *words),
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    out, err = await asyncio.wait_for(process.communicate(), 120)
    return process.returncode or 0, out.decode() or err.decode()
