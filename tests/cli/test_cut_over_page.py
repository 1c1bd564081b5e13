"""docs/cut-over.md: its commands, run as they stand and in their order, switch a tenant over and back."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from sales_crm_bridge import contract, operate
from sales_crm_bridge.cli.kit import NO_LEDGERS
from sales_crm_bridge.kafka.embedded import EmbeddedKafka
from sales_crm_bridge.sandbox import SandboxApp, serve
from sales_crm_bridge.sandbox.hubspot import Portal, Vices
from sales_crm_bridge.settings import load
from sales_crm_bridge.units import time_text
from tests.cli.test_online import SECRETS, TENANT

PAGE = (Path(__file__).parents[2] / "docs" / "cut-over.md").read_text(encoding="utf-8")
BLOCK = re.compile(r"^(#+ [^\n]*)$|^```(\w+)\n(.*?)^```", re.DOTALL | re.MULTILINE)
PAIRED, UNPAIRED = 40, 20
AHEAD_S = 10
"""How far ahead the dates lie that the page sets."""


def steps() -> list[tuple[str, str]]:
    """Every block of commands of the page, under its headings."""
    found, above = [], {1: "", 2: "", 3: ""}
    for heading, language, text in BLOCK.findall(PAGE):
        if heading:
            marks, _, title = heading.partition(" ")
            above[len(marks)] = title
        elif language == "sh":
            found.append((f"{above[2]}: {above[3]}", text))
    return found


class Place:
    """The folder of a deployment, with a HubSpot, a Kafka, and the bridge at work for nobody yet."""

    def __init__(self, folder: Path, portal: Portal, kafka: EmbeddedKafka, address: str) -> None:
        self.folder, self.portal, self._kafka = folder, portal, kafka
        settings = {
            "ledger": f"sqlite:///{folder / 'bridge.db'}",
            "kafka": {"bootstrap.servers": kafka.servers},
            "hash_keys": ["env:HASH_KEY"],
            "seal_key": "env:SEAL_KEY",
            "tenants": {"folder": "config/tenants", "poll": "1s"},
            "http": {"retry_first": "10ms"},
        }
        for name in ("config/tenants", "cut-over", "bin"):
            (folder / name).mkdir(parents=True)
        (folder / "config" / "bridge.yaml").write_text(json.dumps(settings))
        text = TENANT.format(
            address=address, account="4242", city="city", credentials="{kind: token, token: env:ACME_TOKEN}"
        )
        leads = re.search(r"```yaml\n(leads:.*?)```", PAGE, re.DOTALL)
        assert leads is not None
        draft = re.sub(r"^leads:.*\n", lambda _: leads[1], text, flags=re.MULTILINE)
        (folder / "cut-over" / "acme.yaml").write_text(draft)
        self.records = sorted(portal.truth().live["contacts"], key=int)
        head = re.search(r"```csv\n(.*?)\n", PAGE)
        assert head is not None
        lines = [head[1], *(f"L-{name},{name}" for name in self.records[:PAIRED])]
        (folder / "cut-over" / "pairs.csv").write_text("\n".join(lines))
        program = folder / "bin" / "sales-crm-bridge"
        program.write_text(f'#!/bin/sh\nexec {shlex.quote(sys.executable)} -m sales_crm_bridge "$@"\n')
        program.chmod(0o755)
        self.env = {**os.environ, **SECRETS, "PORT_HTTP": "0", "PATH": f"{folder / 'bin'}:{os.environ['PATH']}"}

    async def sh(self, commands: str, code: int = 0) -> str:
        """Run commands as the page says them; the first that fails ends them."""
        process = await asyncio.create_subprocess_exec(
            "bash", "-euo", "pipefail", "-c", commands,
            cwd=self.folder, env=self.env, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE,
        )  # fmt: skip
        out, err = await asyncio.wait_for(process.communicate(), 90)
        assert process.returncode == code, (commands, out.decode(), err.decode())
        return out.decode()

    async def until(self, done: Callable[[dict[str, Any]], object]) -> None:
        """Look at the tenant's connection in `status` until it is as the page says."""
        settings = load(self.folder / "config" / "bridge.yaml", None, without=NO_LEDGERS)
        connections: list[dict[str, Any]] = []
        for _ in range(300):
            connections = (await operate.status(settings))["connections"]
            if connections and done(connections[0]):
                return
            await asyncio.sleep(0.2)
        raise AssertionError(connections)

    async def utter(self, lead_id: str, occurred_us: int) -> None:
        envelope = contract.intent(
            contract.CreateLeadRequested(lead=contract.Lead(lead_id=lead_id, email=f"{lead_id}@sales.example".lower())),
            tenant_id="acme",
            aggregate_id=lead_id,
            message_id=f"m-{lead_id}",
            correlation_id="c",
            occurred_us=occurred_us,
            producer="sales-ui",
        )
        await self._kafka.ask([contract.record_of(envelope)])

    def created(self) -> set[str]:
        return {
            one["bridge_lead_id"] for one in self.portal.truth().live["contacts"].values() if one.get("bridge_lead_id")
        }

    async def told(self) -> list[contract.SalesIntegrationFact]:
        """Every fact about a lead that stands on the topic."""
        facts = [contract.SalesIntegrationFact.FromString(value) for _, value, _ in await self._kafka.facts({})]
        return [fact for fact in facts if (fact.WhichOneof("fact") or "").startswith("crm_lead_")]


@asynccontextmanager
async def place(folder: Path) -> AsyncIterator[Place]:
    portal = Portal.seeded(seed=1, leads=PAIRED + UNPAIRED, clock=time.time, vices=Vices(search_per_s=100))
    portal.add_property("contacts", "bridge_lead_id", unique=True)
    with EmbeddedKafka() as kafka:
        async with serve(SandboxApp(portal)) as address:
            here = Place(folder, portal, kafka, address)
            bridge = await asyncio.create_subprocess_exec(
                sys.executable,
                "-m",
                "sales_crm_bridge",
                "run",
                cwd=folder,
                env=here.env,
                stderr=asyncio.subprocess.DEVNULL,
            )
            try:
                yield here
            finally:
                bridge.terminate()
                await bridge.wait()


DATE = re.compile(r"[0-9-]+T06:00:00Z")


def dated(text: str) -> tuple[str, int]:
    """A block of the page with a date that is soon, and that date."""
    at_us = (time.time_ns() // 1_000_000_000 + AHEAD_S) * 1_000_000
    assert len(DATE.findall(text)) == 1
    return DATE.sub(time_text(at_us), text), at_us


def owner_is(owner: str) -> Callable[[dict[str, Any]], bool]:
    return lambda one: one["leads"]["owner"] == owner


def next_is(owner: str) -> Callable[[dict[str, Any]], bool]:
    return lambda one: one["leads"].get("next") == owner


def first_pull_over(one: dict[str, Any]) -> bool:
    sweep = one["feeds"].get("list")
    return sweep is not None and sweep["run"] >= 1 and not sweep["running"] and not one["outbox"]["facts"]


class Walk:
    """The page's blocks, one after the other, each under the heading where it is looked for."""

    def __init__(self, part: str, blocks: Iterator[tuple[str, str]]) -> None:
        self._part, self._blocks = part, blocks

    def block(self, under: str) -> str:
        title, text = next(self._blocks, ("nothing", ""))
        assert title == f"{self._part}: {under}"
        return text


async def to_the_crm(here: Place, walk: Walk) -> None:
    """Step by step until the CRM has the leads; what is told, and whose creates are carried out."""
    assert "3 records" in await here.sh(walk.block("1. Write the tenant's file, outside the folder"))
    assert f"bound\t{PAIRED}" in await here.sh(walk.block("2. Pair leads and records"))
    assert f"bound\t{PAIRED}" in await here.sh(walk.block("3. Bind them"))
    assert "no problems found" in await here.sh(walk.block("4. Let the first pull run"))
    await here.until(first_pull_over)
    assert "acme\tlist\t1" in await here.sh(walk.block("4. Let the first pull run"))
    facts = await here.told()
    assert [fact.WhichOneof("fact") for fact in facts] == ["crm_lead_observed"] * UNPAIRED
    assert {fact.crm_lead_observed.external.record_id for fact in facts} == {*here.records[PAIRED:]}
    here.portal.person.edit(here.records[0], {"city": "Lisbon"})
    commands, at_us = dated(walk.block("5. Set the date"))
    await here.sh(commands)
    await here.until(next_is("crm"))
    rules = json.loads(await here.sh(walk.block("5. Set the date")))["tenants"]["acme"]
    assert rules[-1] == {"from": time_text(at_us), "until": None, "owner": "crm"}
    await here.utter("A-before", time.time_ns() // 1000)
    await here.until(owner_is("crm"))
    await here.utter("A-late", at_us - 1)
    await here.utter("A-after", time.time_ns() // 1000)
    await here.until(lambda _: "A-after" in here.created())
    assert "acme\t" in await here.sh(walk.block("6. See it change hands"))


async def back_to_the_domain(here: Place, walk: Walk) -> None:
    """Step by step until the tenant is retired; a late intent is carried out, and the pairs come out whole."""
    commands, at_us = dated(walk.block("1. Set the date"))
    await here.sh(commands)
    await here.until(next_is("domain"))
    rules = json.loads(await here.sh(walk.block("1. Set the date")))["tenants"]["acme"]
    assert rules[-1] == {"from": time_text(at_us), "until": None, "owner": "domain"}
    assert "nothing is under way" in await here.sh(walk.block("2. Wait for what is under way"))
    assert time.time_ns() // 1000 >= at_us
    await here.utter("B-late", at_us - 1)
    await here.utter("B-after", at_us)
    await here.until(lambda _: "B-late" in here.created())
    await here.sh(walk.block("3. Take the pairs"))
    pairs = (here.folder / "cut-over" / "pairs-back.csv").read_text().splitlines()
    assert len(pairs) == 1 + PAIRED + UNPAIRED + 2
    assert {f"L-{name},{name},live" for name in here.records[:PAIRED]} < {*pairs}
    await here.until(lambda one: not one["commands"]["open"] and not one["outbox"]["facts"])
    assert "acme is retired" in await here.sh(walk.block("4. Let go"))


@pytest.mark.timeout(400)
async def test_the_page_switches_a_tenant_over_and_back(tmp_path: Path) -> None:
    """Paired leads are told by no fact, the others once; each create is carried out by one side; the pairs come back out."""
    blocks = iter(steps())
    async with place(tmp_path) as here:
        await to_the_crm(here, Walk("To the CRM", blocks))
        await back_to_the_domain(here, Walk("Back to the domain", blocks))
        assert next(blocks, None) is None
        assert here.created() == {"A-after", "B-late"}
        facts = await here.told()
        pushed = [fact.subject.aggregate_id for fact in facts if fact.WhichOneof("fact") == "crm_lead_pushed"]
        assert sorted(pushed) == ["A-after", "B-late"]
        (changed,) = [fact for fact in facts if fact.subject.aggregate_id == f"L-{here.records[0]}"]
        assert (changed.crm_lead_observed.lead.city, changed.subject.aggregate_version) == ("Lisbon", 1)
        assert len(facts) == UNPAIRED + 1 + 2
