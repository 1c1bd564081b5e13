"""Leads read by calls: through the holder of the account's lease, whichever process was asked, and nothing left behind."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
from typing import Any

import grpc
import pytest

from sales_crm_bridge import contract
from sales_crm_bridge.sandbox import Fault, FaultKind
from sales_crm_bridge.state import CommandChange, CommandState, Commit, Fence
from tests.rpc.shop import Client, Shop, Texts, refusal, until


async def test_a_client_reads_what_it_wrote(shop: Shop) -> None:
    """A read waits for the lead's commands; it shows what the CRM holds, and the number of the newest fact."""
    async with shop.open(work=True) as server, shop.client(server) as client:
        await client.create("L-1", "m-1", email="Ada@Example.com", first_name="Ada")
        found = await client.get("L-1")
        assert (found.lead.lead_id, found.lead.email, found.lead.first_name) == ("L-1", "ada@example.com", "Ada")
        assert found.aggregate_version == 1
        assert client.state(await client.create("L-1", "m-1")) == "DONE"
        await client.qualify("L-1", "m-2")
        found = await client.get("L-1")
        assert (found.lead.status, found.aggregate_version) == (client.texts.sales.LEAD_STATUS_QUALIFIED, 2)


async def test_a_persons_edit_is_seen_at_once(shop: Shop) -> None:
    """A read is of the CRM as it is, not of what a pull has found."""
    async with shop.open(work=True) as server, shop.client(server) as client:
        await client.create("L-1", "m-1", email="a@b.example")
        await client.get("L-1")
        (record,) = shop.portal.truth().live["contacts"]
        shop.portal.person.edit(record, {"firstname": "Grace"})
        assert (await client.get("L-1")).lead.first_name == "Grace"


async def test_what_is_not_there_is_said_so(shop: Shop) -> None:
    """Unknown, deleted and merged leads are NOT_FOUND, each by its code; a merged one names the lead it went into."""
    async with shop.open(work=True) as server, shop.client(server) as client:
        for number in (1, 2, 3):
            await client.create(f"L-{number}", f"m-{number}", email=f"a{number}@b.example")
            await client.get(f"L-{number}")
        record = {one["bridge_lead_id"]: name for name, one in shop.portal.truth().live["contacts"].items()}
        shop.portal.person.delete(record["L-1"])
        shop.portal.person.merge(record["L-2"], record["L-3"])
        unknown = await refusal(client.get("L-9"))
        gone = await refusal(client.get("L-1"))
        merged = await refusal(client.get("L-3"))
        assert (await client.get("L-2")).lead.lead_id == "L-2"
    assert [(one.status, one.reason) for one in (unknown, gone, merged)] == [
        (grpc.StatusCode.NOT_FOUND, "lead-unknown-in-crm"),
        (grpc.StatusCode.NOT_FOUND, "lead-removed"),
        (grpc.StatusCode.NOT_FOUND, "lead-merged"),
    ]
    assert merged.facts == {"into_lead_id": "L-2"}


async def test_a_lead_that_was_made_in_the_crm_is_read_by_its_id(shop: Shop) -> None:
    """The id that the facts give it is the one to ask for."""
    async with shop.open(work=True) as server, shop.client(server) as client:
        record = shop.portal.person.create("contacts", {"email": "p@people.example", "firstname": "P"})
        lead_id = contract.lead_id_for("acme", "4242", str(record))

        async def known() -> bool:
            async with shop.ledger() as ledger:
                return lead_id in await ledger.bindings_by_lead(1, [lead_id])

        await until(known)
        assert (await client.get(lead_id)).lead.email == "p@people.example"


async def test_many_reads_at_once_are_few_calls_to_the_crm(shop: Shop) -> None:
    """What is asked for while a read is under way is read together."""
    async with shop.open(work=True) as server, shop.client(server) as client:
        names = [f"L-{number}" for number in range(40)]
        await asyncio.gather(*(client.create(name, f"m-{name}", email=f"{name}@b.example") for name in names))
        await asyncio.gather(*(client.get(name) for name in names))
        before = reads(shop)
        shop.portal.faults.add(Fault(FaultKind.DELAY, path="*/batch/read", times=None, delay_s=0.3))
        found = await asyncio.gather(*(client.get(name) for name in names))
        assert [one.lead.lead_id for one in found] == names
        shop.portal.faults.clear()
        assert reads(shop) - before < 12


def reads(shop: Shop) -> int:
    return len([url for url in shop.sent if "/batch/read" in url])


async def test_no_answer_is_told_with_the_reason(shop: Shop) -> None:
    """The CRM's trouble is UNAVAILABLE with its code; no worker at all is UNAVAILABLE with the connection's state."""
    async with shop.open(shop.settings(timeout="900ms")) as server, shop.client(server) as client:
        idle = await refusal(client.get("L-1"))
    async with shop.open(shop.settings(timeout="8s"), work=True) as server, shop.client(server) as client:
        await client.create("L-1", "m-1", email="a@b.example")
        await client.get("L-1")
        shop.portal.faults.add(Fault(FaultKind.STATUS, method="POST", path="*/batch/read", status=403, times=None))
        stuck = await refusal(client.get("L-1"))
        shop.portal.faults.clear()
    assert (idle.status, idle.reason, idle.retry_s) == (grpc.StatusCode.UNAVAILABLE, "rpc.no-answer", 5.0)
    assert idle.facts == {"connection_state": "new", "connection_code": ""}
    assert (stuck.status, stuck.reason) == (grpc.StatusCode.UNAVAILABLE, "HTTP_403")


async def test_a_read_does_not_show_the_time_before_a_command(shop: Shop) -> None:
    """While a command cannot be carried out a read says so; one that waits for a person holds nothing up."""
    async with shop.open(shop.settings(timeout="1s")) as server, shop.client(server) as client:
        await client.create("L-1", "m-1")
        no = await refusal(client.get("L-1"))
        assert (no.status, no.reason) == (grpc.StatusCode.UNAVAILABLE, "rpc.lead-under-way")
        async with shop.ledger() as ledger:
            epochs = await ledger.leases_take(["here"], "p", 0, 10**17)
            fence = Fence(lease="here", holder="p", epoch=epochs["here"])
            (command,) = await ledger.commands_open(1, ["L-1"])
            parked = CommandChange(seq=command.seq, state=CommandState.PARKED, reason="x")
            await ledger.commit(fence, Commit(conn=1, commands=[parked]))
        assert (await refusal(client.get("L-1"))).reason == "rpc.no-answer"


class Written:
    """A ledger that keeps every answer that passes it."""

    answers: list[Any]

    def __init__(self, ledger: Any) -> None:
        self._ledger = ledger
        self.answers = []

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    async def answer(self, fence: Any, answers: Any, now_us: int) -> None:
        self.answers += answers
        await self._ledger.answer(fence, answers, now_us)


async def test_no_lead_lies_readable_in_the_ledger_and_none_is_left(shop: Shop) -> None:
    """An answer is sealed while it is there, and gone when the caller has it, or has gone."""
    written: list[Written] = []

    def watch(ledger: Any) -> Written:
        written.append(Written(ledger))
        return written[0]

    async with shop.open(work=True, wrap=watch) as server, shop.client(server) as client:
        await client.create("L-1", "m-1", email="ada@example.com", first_name="Augusta")
        await client.get("L-1")
        (first, *_) = written[0].answers
        assert first.lead
        assert b"Augusta" not in first.lead
        assert b"ada@example.com" not in first.lead
        await until(lambda: not waiting(shop))
    async with shop.open() as server, shop.client(server) as client:
        asked = asyncio.ensure_future(client.get("L-1"))
        await until(lambda: waiting(shop) == 1)
        asked.cancel()
        await until(lambda: not waiting(shop))


def waiting(shop: Shop) -> int:
    with contextlib.closing(sqlite3.connect(shop.folder / "ledger.db")) as db:
        return int(db.execute("SELECT count(*) FROM inquiries").fetchone()[0])


@pytest.mark.real
async def test_two_processes_one_holder(
    tmp_path_factory: pytest.TempPathFactory, texts: Texts, postgres_dsn: str
) -> None:
    """Whichever process is called: commands are taken once, and leads are read by the one that holds the account."""
    shop = Shop(tmp_path_factory.mktemp("deployment"), texts, postgres_dsn)
    async with (
        shop.open(work=True) as one,
        shop.open(work=True) as two,
        shop.client(one) as first,
        shop.client(two) as second,
    ):
        both = [first, second]
        answers = await asyncio.gather(
            *(client.create("L-1", "m-1", email="a@b.example") for client in both * 10),
            *(
                client.create(f"K-{number}", f"k-{number}", email=f"k{number}@b.example")
                for number, client in turns(both)
            ),
        )
        assert {first.state(one) for one in answers} <= {"PENDING", "UNDER_WAY", "DONE"}
        found = await asyncio.gather(*(client.get("L-1") for client in both * 5))
        assert {(one.lead.email, one.aggregate_version) for one in found} == {("a@b.example", 1)}
        await asyncio.gather(*(client.get(f"K-{number}") for number, client in turns(both)))
    keys = sorted(one["bridge_lead_id"] for one in shop.portal.truth().live["contacts"].values())
    assert keys == sorted(["L-1", *(f"K-{number}" for number, _ in turns(both))])


def turns(clients: list[Client]) -> list[tuple[int, Client]]:
    return [(number, clients[number % len(clients)]) for number in range(10)]
