"""Calls on real parts: Apache Kafka, PostgreSQL, HTTP, TLS, processes of the command line, one of them killed under its callers."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import time
from pathlib import Path

import grpc

from sales_crm_bridge import contract
from sales_crm_bridge.kafka import KafkaSettings, ensure_topics
from sales_crm_bridge.sandbox import SandboxApp, serve
from sales_crm_bridge.sandbox.hubspot import Portal, Vices
from tests.flow.flow_kit import disagreements, view
from tests.real.real_kit import LIMIT_S, Clients, Deployment, running, until_answered
from tests.real.test_flow_real import TENANT
from tests.rpc.shop import AUDIENCE, ISSUER, Authority, Client, Issuer, compile_texts, until

LEADS = 40


def settings_of(folder: Path, authority: Authority, issuer: Issuer) -> dict[str, object]:
    """Write the server's files; the settings of calls."""
    certificate, key = authority.server()
    (folder / "tls.crt").write_bytes(certificate)
    (folder / "tls.key").write_bytes(key)
    issuer.publish(folder / "keys.json")
    rpc = {
        "transport": "tls",
        "host": "127.0.0.1",
        "certificate_file": str(folder / "tls.crt"),
        "key_file": str(folder / "tls.key"),
        "tokens": {"keys_file": str(folder / "keys.json"), "issuer": ISSUER, "audience": AUDIENCE},
        "callers": [{"token": "sales-ui", "tenants": ["*"]}],
    }
    return {"rpc": rpc, "port_grpc": 0}


def crm() -> Portal:
    """A sandbox HubSpot without leads."""
    vices = Vices(search_lag_s=(0.0, 0.5), burst_per_10_s=10_000, search_per_s=50)
    portal = Portal.seeded(seed=3, leads=0, clock=time.time, vices=vices)
    portal.add_property("contacts", "bridge_lead_id", unique=True)
    return portal


async def port_of(folder: Path, name: str) -> int:
    """The port on which a process takes calls, from its log."""
    found: list[int] = []

    def said() -> bool:
        match = re.search(r"calls are taken on port (\d+)", (folder / f"{name}.log").read_text())
        found[:] = [int(match[1])] if match else []
        return bool(found)

    await asyncio.wait_for(until(said), LIMIT_S)
    return found[0]


AGAIN = (grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.DEADLINE_EXCEEDED)


async def created(client: Client, number: int) -> str:
    """Make a lead, with the same key until there is an answer, as a client does; its state ("" if the process is no more)."""
    while True:
        try:
            answer = await client.create(f"L-{number}", f"create-{number}", 5.0, email=f"n{number}@sales.example")
        except grpc.aio.AioRpcError as error:
            if error.code() not in AGAIN:
                raise
            if client.channel.get_state() is not grpc.ChannelConnectivity.READY:
                return ""
        else:
            return client.state(answer)


async def test_calls_outlive_the_process_that_took_them(
    tmp_path: Path, kafka_bootstrap: str, postgres_dsn: str
) -> None:
    """Leads made by calls, many by the topic as well; the process is killed meanwhile. Each intent takes effect once."""
    tenant = f"calls-{os.getpid()}-{time.time_ns() % 1_000_000}"
    texts = compile_texts(tmp_path)
    authority, issuer = Authority(), Issuer()
    await ensure_topics(KafkaSettings(servers=kafka_bootstrap))
    portal = crm()
    keys = [f"create-{number}" for number in range(LEADS)]

    def client_of(channel: grpc.aio.Channel) -> Client:
        return Client(texts=texts, channel=channel, token=issuer.token(time.time()), tenant=tenant)

    async with serve(SandboxApp(portal)) as address:
        files = {tenant: TENANT.format(tenant=tenant, address=address)}
        secrets = {"ACME_TOKEN": "pat-na1-sandbox"}
        more = settings_of(tmp_path, authority, issuer)
        bridge = Deployment(tmp_path, kafka_bootstrap, postgres_dsn, files, secrets, more)
        await bridge.do("migrate")
        readers = Clients(kafka_bootstrap, tenant)
        try:
            async with running(bridge, "first") as (first,):
                port = await port_of(tmp_path, "first")
                async with grpc.aio.secure_channel(
                    f"localhost:{port}", grpc.ssl_channel_credentials(authority.pem)
                ) as channel:
                    client = client_of(channel)
                    assert await created(client, 0)
                    for number in range(0, LEADS, 2):
                        body = contract.CreateLeadRequested(lead=contract.Lead(email=f"n{number}@sales.example"))
                        readers.utter(body, f"L-{number}", keys[number])
                    calls = [asyncio.ensure_future(created(client, number)) for number in range(LEADS)]
                    await asyncio.wait(calls, return_when=asyncio.FIRST_COMPLETED)
                    first.kill()
                    await first.wait()
                    await asyncio.wait(calls)
            async with running(bridge, "second") as (second,):
                port = await port_of(tmp_path, "second")
                async with grpc.aio.secure_channel(
                    f"localhost:{port}", grpc.ssl_channel_credentials(authority.pem)
                ) as channel:
                    client = client_of(channel)
                    states = await asyncio.gather(*(created(client, number) for number in range(LEADS)))
                    assert set(states) <= {"PENDING", "UNDER_WAY", "DONE"}
                    await until_answered(readers, keys)
                    leads = await asyncio.gather(*(client.get(f"L-{number}") for number in range(LEADS)))
                    assert [one.lead.email for one in leads] == [f"n{number}@sales.example" for number in range(LEADS)]
                    assert {await created(client, number) for number in range(LEADS)} == {"DONE"}
                    second.send_signal(signal.SIGTERM)
                    assert await asyncio.wait_for(second.wait(), 30) == 0
            readers.read()
        except BaseException:
            print(bridge.logs())  # noqa: T201 - shown with the failure
            raise
        finally:
            readers.close()
    told = view(readers.facts)
    assert not disagreements(told, portal)
    assert {key: told.done[key] for key in keys} == dict.fromkeys(keys, 1)
