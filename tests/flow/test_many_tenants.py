"""What a process costs that has many tenants: counted, never timed."""

from __future__ import annotations

import asyncio
from collections import Counter
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import pytest

from sales_crm_bridge import wiring
from sales_crm_bridge.ledger import open_ledger
from sales_crm_bridge.ledger.sqlite import SqliteDriver
from sales_crm_bridge.settings import Settings
from sales_crm_bridge.simulate.loop import VirtualClock, VirtualLoop, run
from sales_crm_bridge.simulate.topic import Topics, TopicSink
from sales_crm_bridge.simulate.world import SeededDice

if TYPE_CHECKING:
    from collections.abc import Sequence
    from pathlib import Path

    from sales_crm_bridge.service import Service

EPOCH_US = 1_790_000_000_000_000
MINUTES = 15
TENANT = """tenant: {tenant}
leads: [{{owner: crm, from: 2026-01-01T00:00:00Z}}]
connection:
  adapter: rest
  address: https://crm.example
  account: "{tenant}"
  credentials: {{kind: token, token: env:ACME_TOKEN}}
  options:
    crm: trial
    sign_in: {{token: {{}}}}
    record: {{id: id, modified: changed, created: made}}
    lists:
      all: {{path: /leads, records: rows, page: {{by: none}}}}
      changes:
        path: /changes
        query: {{since: "{{since}}"}}
        records: rows
        page: {{by: none}}
    read: {{one: {{path: "/leads/{{id}}"}}}}
    write:
      create: {{path: /leads, body: "{{fields}}", record: ""}}
      update: {{method: PATCH, path: "/leads/{{id}}", body: "{{fields}}", record: ""}}
fields: {{email: email}}
qualify: unsupported
disqualify: unsupported
pull: {{every: 5m, audit_every: 24h}}
"""


class Empty:
    """A CRM without leads."""

    async def send(
        self, _method: str, _url: str, _headers: Sequence[tuple[str, str]], _body: bytes, _timeout_s: float
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        return 200, [("content-type", "application/json")], b'{"rows": []}'


@dataclass
class Cost:
    """SQLite's instructions and the ledger's steps until every tenant's CRM was read once, and its steps while all are at rest."""

    start: int = 0
    first: Counter[str] = field(default_factory=Counter)
    steps: Counter[str] = field(default_factory=Counter)


async def cost_of(loop: VirtualLoop, folder: Path, tenants: int) -> Cost:
    """Run a process with so many tenants for a while."""
    (folder / "tenants").mkdir(parents=True)
    for number in range(tenants):
        (folder / "tenants" / f"t{number:03d}.yaml").write_text(TENANT.format(tenant=f"t{number:03d}"))
    clock = VirtualClock(loop, EPOCH_US)
    settings = Settings.model_validate(
        {"hash_keys": ["a key of the tests, long enough"], "tenants": {"folder": str(folder / "tenants")}}
    )
    ledger = await open_ledger(f"sqlite:///{folder / 'ledger.db'}", migrate=True)
    driver: Any = ledger._driver
    assert isinstance(driver, SqliteDriver)
    cost = Cost()

    def instructions() -> None:
        cost.start += 10

    def counted(real: Any) -> Any:
        async def step(*args: Any, **more: Any) -> Any:
            place = args[0].__module__.rpartition(".")[2]
            cost.steps[f"{place}.{args[0].__name__}"] += 1
            return await real(*args, **more)

        return step

    driver._db.set_progress_handler(instructions, 10)
    for kind in ("run", "look"):
        setattr(driver, kind, counted(getattr(driver, kind)))
    outside = wiring.Outside(clock=clock, dice=SeededDice("many"), ledger=ledger, transport=lambda _tenant: Empty())
    service = wiring.assemble(settings, outside, source=None, sink=TopicSink(Topics(1, clock.now_us)))
    running = asyncio.create_task(service.run())
    async with asyncio.timeout(600):
        while len(service.workers) < tenants or not all(imported(service)):
            await clock.sleep(1)
    driver._db.set_progress_handler(None, 10)
    cost.first = cost.steps.copy()
    cost.steps.clear()
    await clock.sleep(60 * MINUTES)
    service.stop()
    await running
    await ledger.close()
    return cost


def imported(service: Service) -> list[bool]:
    """Tell of each worker whether it has read its CRM once."""
    return [bool(one.puller.standings) and one.puller.imported() for one in service.workers.values()]


@pytest.fixture(scope="module")
def costs(tmp_path_factory: pytest.TempPathFactory) -> dict[int, Cost]:
    """Give the costs of a few tenants and of many."""
    found = {}
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("ACME_TOKEN", "a token")
        for tenants in (5, 40):
            loop = VirtualLoop()
            found[tenants] = run(cost_of(loop, tmp_path_factory.mktemp("many"), tenants), loop)
    return found


def test_a_start_costs_a_tenant_the_same_among_many(costs: dict[int, Cost]) -> None:
    """Nothing that one account asks of the ledger grows with the number of the others."""
    few, many = costs[5], costs[40]
    assert many.start / 40 < 1.1 * few.start / 5
    assert many.first["house.layout"] == 1
    assert many.first["tenants.every"] <= 3


def test_a_tenant_at_rest_asks_the_ledger_a_few_times_a_minute(costs: dict[int, Cost]) -> None:
    """Bells say when there is work; each lane looks once in half a minute beside them, and the pull keeps its own time."""
    few, many = costs[5].steps, costs[40].steps
    assert (many.total() - few.total()) / 35 / MINUTES < 12
    of_process = {name for name in many if many[name] < 2 * few[name]}
    assert sum(many[name] for name in of_process) / MINUTES < 60
    assert many["tenants.every"] + many["tenants.connections"] <= 2
