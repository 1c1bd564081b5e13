"""What the tests on real parts share: a deployment of the bridge as its operator makes one, and what stands around it."""

from __future__ import annotations

import asyncio
import json
import os
import sys
import time
from collections.abc import AsyncIterator, Callable, Mapping
from contextlib import asynccontextmanager
from pathlib import Path

from confluent_kafka import Consumer, Producer, TopicPartition

from sales_crm_bridge import contract
from tests.flow.flow_kit import view

ROOT = Path(__file__).parents[2]
LIMIT_S = 90.0
"""Longest wait for anything that must come."""


class Deployment:
    """The bridge as a platform engineer deploys it: a settings file, a tenant file, processes of the command line."""

    def __init__(
        self,
        folder: Path,
        kafka: str,
        dsn: str,
        tenants: Mapping[str, str],
        secrets: Mapping[str, str],
        settings: Mapping[str, object] | None = None,
    ) -> None:
        """``tenants``: name → text of its file. ``secrets``: variables that the files refer to. ``settings``: more of them."""
        (folder / "tenants").mkdir()
        for name, text in tenants.items():
            (folder / "tenants" / f"{name}.yaml").write_text(text)
        self._config = folder / "bridge.yaml"
        whole = {
            "ledger": "env:BRIDGE_LEDGER",
            "kafka": {"bootstrap.servers": kafka, "session.timeout.ms": 6000},
            "consumer_group": f"bridge-{next(iter(tenants))}",
            "hash_keys": ["env:BRIDGE_HASH_KEY"],
            "seal_key": "env:BRIDGE_SEAL_KEY",
            "tenants": {"folder": str(folder / "tenants")},
            "lease": {"ttl": "6s", "renew": "1s"},
            "push": {"retry_first": "500ms", "settle_first": "500ms"},
            "http": {"timeout": "10s"},  # as long a lost call is waited for before it is said to have failed
            "log": {"level": "info", "form": "text"},
            "port_http": 0,
            **(settings or {}),
        }
        self._config.write_text(json.dumps(whole))  # JSON is YAML
        self._env = {
            **os.environ,
            "BRIDGE_LEDGER": dsn,
            "BRIDGE_HASH_KEY": "a hash key of the tests",
            "BRIDGE_SEAL_KEY": "a seal key of the tests",
            **secrets,
        }
        self._folder = folder

    async def start(
        self, name: str, *verb: str, module: str = "sales_crm_bridge", limits: Callable[[], None] | None = None
    ) -> asyncio.subprocess.Process:
        """Start a process of the command line, or of ``module`` around it. ``limits``: called in the process before it begins."""
        with (self._folder / f"{name}.log").open("w") as log, (self._folder / f"{name}.out").open("w") as out:
            return await asyncio.create_subprocess_exec(
                *(sys.executable, "-m", module, *verb, "--config", str(self._config)),
                cwd=ROOT,  # where `tests` is a package
                env=self._env,
                preexec_fn=limits,
                stdout=out,
                stderr=log,
            )

    async def do(self, *verb: str) -> str:
        """Run a verb to its end; its output."""
        name = verb[0]
        process = await self.start(name, *verb)
        code = await asyncio.wait_for(process.wait(), LIMIT_S)
        assert code == 0, self.logs()
        return (self._folder / f"{name}.out").read_text()

    def log(self, name: str) -> str:
        """What process ``name`` has logged."""
        return (self._folder / f"{name}.log").read_text()

    def logs(self) -> str:
        return "\n".join(f"--- {log.name}\n{log.read_text()[-3000:]}" for log in sorted(self._folder.glob("*.???")))


@asynccontextmanager
async def running(bridge: Deployment, *names: str) -> AsyncIterator[list[asyncio.subprocess.Process]]:
    """Processes that run until the end of the block at the latest."""
    processes = [await bridge.start(name, "run") for name in names]
    try:
        yield processes
    finally:
        for process in processes:
            if process.returncode is None:
                process.kill()
            await process.wait()


class Clients:
    """What stands around the bridge: a client of the domain, and a reader of the facts from now on."""

    def __init__(self, kafka: str, tenant: str) -> None:
        self._tenant = tenant
        self._producer = Producer({"bootstrap.servers": kafka, "partitioner": "murmur2_random"})
        self._consumer = Consumer(
            {"bootstrap.servers": kafka, "group.id": f"reader-{tenant}", "enable.auto.commit": False}
        )
        topic = self._consumer.list_topics(contract.FACT_TOPIC, timeout=10).topics[contract.FACT_TOPIC]
        ends = []
        for partition in sorted(topic.partitions):
            _, high = self._consumer.get_watermark_offsets(TopicPartition(contract.FACT_TOPIC, partition), timeout=10)
            ends.append(TopicPartition(contract.FACT_TOPIC, partition, high))
        self._consumer.assign(ends)
        self.facts: list[bytes] = []

    def utter(self, body: object, lead_id: str, message_id: str) -> None:
        envelope = contract.intent(
            body,  # type: ignore[arg-type]
            tenant_id=self._tenant,
            aggregate_id=lead_id,
            message_id=message_id,
            correlation_id=f"c-{message_id}",
            occurred_us=time.time_ns() // 1000,
            producer="sales-ui",
        )
        record = contract.record_of(envelope)
        self._producer.produce(contract.INTENT_TOPIC, record.value, record.key, headers=list(record.headers))
        self._producer.poll(0)

    def read(self, wait_s: float = 0.2) -> None:
        """Take what has come; only this tenant's facts are ours."""
        self._producer.flush(10)
        while messages := self._consumer.consume(500, timeout=wait_s):
            for message in messages:
                if (message.key() or b"").startswith(self._tenant.encode() + b"/"):
                    self.facts.append(message.value() or b"")

    def close(self) -> None:
        self._consumer.close()


async def until_answered(clients: Clients, uttered: list[str]) -> None:
    """Wait until every intent has an outcome on the topic."""
    began = time.monotonic()
    while True:
        clients.read()
        told = view(clients.facts)
        if all(told.done[name] or name in told.refused for name in uttered):
            return
        assert time.monotonic() - began < LIMIT_S, "an intent has no outcome"
        await asyncio.sleep(0.3)
