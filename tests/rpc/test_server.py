"""The server itself: reflection, health, its port, its end, and a process that dies between booking and answer."""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
from typing import Any

import grpc
import pytest
from google.protobuf import descriptor_pb2
from google.protobuf.descriptor_pool import DescriptorPool
from google.protobuf.message_factory import GetMessageClass
from grpc_health.v1 import health_pb2, health_pb2_grpc
from grpc_reflection.v1alpha import reflection_pb2, reflection_pb2_grpc

from sales_crm_bridge import contract
from sales_crm_bridge.errors import EnvironmentFault
from sales_crm_bridge.rpc import server as serving
from tests.rpc.shop import ROOT, Client, Shop, refusal, until

SERVING = health_pb2.HealthCheckResponse.SERVING
NOT_SERVING = health_pb2.HealthCheckResponse.NOT_SERVING


async def health(client: Client, service: str) -> int:
    stub: Any = health_pb2_grpc.HealthStub(client.channel)
    answer: Any = await stub.Check(health_pb2.HealthCheckRequest(service=service), timeout=20)
    return int(answer.status)


async def reflected(client: Client, **request: Any) -> Any:
    stub: Any = reflection_pb2_grpc.ServerReflectionStub(client.channel)  # type: ignore[arg-type]  # the stubs know no aio
    call = stub.ServerReflectionInfo(iter([reflection_pb2.ServerReflectionRequest(**request)]), timeout=20)
    return await anext(aiter(call))


async def test_reflection_tells_enough_to_call(shop: Shop) -> None:
    """The services are listed, and a client that has nothing but the reflected files makes a command from them."""
    async with shop.open() as server, shop.client(server) as client:
        listed = await reflected(client, list_services="")
        names = [one.name for one in listed.list_services_response.service]
        assert names == [contract.SERVICE, "grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"]
        found = await reflected(client, file_containing_symbol=contract.SERVICE)
        pool = DescriptorPool()
        files = [
            descriptor_pb2.FileDescriptorProto.FromString(raw)
            for raw in found.file_descriptor_response.file_descriptor_proto
        ]
        added: set[str] = set()
        while len(added) < len(files):
            for file in files:
                if file.name not in added and added.issuperset(file.dependency):
                    pool.AddSerializedFile(file.SerializeToString())
                    added.add(file.name)
        method = pool.FindServiceByName(contract.SERVICE).methods_by_name["CreateLead"]
        request: Any = GetMessageClass(method.input_type)()
        request.context.tenant_id, request.context.correlation_id = "acme", "c-1"
        request.context.idempotency_key = "m-1"
        request.subject.aggregate_type, request.subject.aggregate_id = "Lead", "L-1"
        request.command.lead.email = "a@b.example"
        call: Any = client.channel.unary_unary(f"/{contract.SERVICE}/CreateLead")
        raw = await call(request.SerializeToString(), metadata=client.metadata(), timeout=20)
        assert client.texts.service.CreateLeadResponse.FromString(raw).message_id == "m-1"
        for symbol in ("grpc.health.v1.Health", "grpc.reflection.v1alpha.ServerReflection"):
            assert (await reflected(client, file_containing_symbol=symbol)).HasField("file_descriptor_response")
        assert (await reflected(client, file_containing_symbol="no.such.Thing")).HasField("error_response")


async def test_reflection_can_be_switched_off(shop: Shop) -> None:
    """Then the service is not there."""
    async with shop.open(shop.settings(reflection=False)) as server, shop.client(server) as client:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await reflected(client, list_services="")
        assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED


class Sick:
    """A ledger that is away when told so."""

    sick = False

    def __init__(self, ledger: Any) -> None:
        self._ledger = ledger

    def __getattr__(self, name: str) -> Any:
        if self.sick and name in {"tenants", "places"}:
            raise EnvironmentFault("ledger.unreachable", "away", place="ledger")
        return getattr(self._ledger, name)


async def test_health_follows_the_ledger_and_the_end(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """SERVING while calls can be taken, NOT_SERVING while the ledger is away and from the beginning of the end on."""
    monkeypatch.setattr(serving, "LOOK_S", 0.05)
    async with shop.open(wrap=Sick) as server, shop.client(server) as client:
        for service in ("", contract.SERVICE):
            await until(lambda: asked(client, service, SERVING))  # noqa: B023 - awaited before the next turn
        with pytest.raises(grpc.aio.AioRpcError) as unknown:
            await health(client, "no.such.Service")
        assert unknown.value.code() is grpc.StatusCode.NOT_FOUND
        stub: Any = health_pb2_grpc.HealthStub(client.channel)
        watch = stub.Watch(health_pb2.HealthCheckRequest(service=""))
        seen = [(await watch.read()).status]
        monkeypatch.setattr(Sick, "sick", True)
        seen.append((await watch.read()).status)
        monkeypatch.setattr(Sick, "sick", False)
        seen.append((await watch.read()).status)
        draining = asyncio.ensure_future(server.drain(1.0))
        seen.append((await watch.read()).status)
        await draining
        assert seen == [SERVING, NOT_SERVING, SERVING, NOT_SERVING]


async def asked(client: Client, service: str, wanted: int) -> bool:
    return await health(client, service) == wanted


class Slow:
    """A ledger that takes nothing until it is let go."""

    def __init__(self, ledger: Any) -> None:
        self._ledger = ledger
        self.asked, self.go = asyncio.Event(), asyncio.Event()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    async def take(self, intake: Any) -> Any:
        self.asked.set()
        await self.go.wait()
        return await self._ledger.take(intake)


async def test_calls_under_way_are_finished_and_no_new_ones_taken(shop: Shop) -> None:
    """A drain waits for what has begun; whoever comes meanwhile must go to another process."""
    slow: list[Slow] = []

    def hold(ledger: Any) -> Slow:
        slow.append(Slow(ledger))
        return slow[0]

    async with shop.open(wrap=hold) as server, shop.client(server) as client, shop.client(server) as late:
        await health(late, "")
        begun = asyncio.ensure_future(client.create("L-1", "m-1"))
        await slow[0].asked.wait()
        draining = asyncio.ensure_future(server.drain(20.0))
        await until(lambda: server._draining)
        no = await refusal(late.create("L-2", "m-2"))
        assert no.status is grpc.StatusCode.UNAVAILABLE
        assert not begun.done()
        slow[0].go.set()
        assert client.state(await begun) == "PENDING"
        await draining


async def test_a_drain_has_an_end_though_the_ledger_hangs(shop: Shop) -> None:
    """What cannot be finished in time is cut off; the caller does not know, and its retry finds out."""
    async with shop.open(wrap=Slow) as server, shop.client(server) as client:
        call = asyncio.ensure_future(client.create("L-1", "m-1"))
        await until(lambda: server._counter._seats[""] == 1)
        await server.drain(0.2)
        assert (await refusal(call)).status in {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED}
    async with shop.open() as server, shop.client(server) as client:
        assert client.state(await client.create("L-1", "m-1")) == "PENDING"


async def test_a_port_is_nobody_elses(shop: Shop) -> None:
    """A second process on the same port is told at its start, and does not share it silently."""
    async with shop.open() as server:
        settings = shop.settings().model_copy(update={"port_grpc": server.port})
        with pytest.raises(EnvironmentFault) as taken:
            async with shop.open(settings):
                pass
    assert taken.value.code == "rpc.port-taken"
    assert "PORT_GRPC" in taken.value.remedy


async def test_a_process_that_dies_between_booking_and_answer_loses_and_doubles_nothing(shop: Shop) -> None:
    """The caller hears nothing; the same key, at the next process, is the same command, once."""
    async with shop.ledger():
        pass
    process = subprocess.Popen(  # noqa: ASYNC220 - it is read one line
        [sys.executable, "-m", "tests.rpc.mortal", str(shop.folder)],
        cwd=ROOT,
        env={**os.environ, "PYTHONPATH": f"{ROOT}:{ROOT / 'adapters'}"},
        stdout=subprocess.PIPE,
        text=True,
    )
    try:
        assert process.stdout is not None
        port = await asyncio.to_thread(process.stdout.readline)
        async with grpc.aio.insecure_channel(f"127.0.0.1:{int(port)}") as channel:
            client = Client(texts=shop.texts, channel=channel, token=shop.token())
            lost = await refusal(client.create("L-1", "m-1", email="a@b.example"))
        assert lost.status is grpc.StatusCode.UNAVAILABLE
        assert await asyncio.to_thread(process.wait) == 9
    finally:
        process.kill()
        process.wait()
        assert process.stdout is not None
        process.stdout.close()
    async with shop.open(work=True) as server, shop.client(server) as again:
        assert again.state(await again.create("L-1", "m-1", email="a@b.example")) in {"PENDING", "UNDER_WAY", "DONE"}
        assert (await again.get("L-1")).lead.email == "a@b.example"
        assert again.state(await again.create("L-1", "m-1", email="a@b.example")) == "DONE"
    assert len(shop.portal.truth().live["contacts"]) == 1
