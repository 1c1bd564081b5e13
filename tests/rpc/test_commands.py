"""Commands by calls, with a real gRPC client made of the texts: taken once, told where they stand, refused with every reason."""

from __future__ import annotations

import asyncio
import logging
from typing import Any

import grpc
import msgspec
import pytest

from sales_crm_bridge import contract
from sales_crm_bridge.errors import EnvironmentFault
from sales_crm_bridge.model import LeadState
from sales_crm_bridge.state import Binding, CommandChange, CommandState, Commit, Fence
from tests.rpc.shop import Client, Shop, refusal, until


async def commands(shop: Shop, *leads: str) -> list[tuple[str, str, str]]:
    async with shop.ledger() as ledger:
        found = await ledger.commands_open(1, list(leads))
    return [(one.message_id, one.operation.value, one.state.value) for one in found]


async def test_a_command_is_in_the_ledger_when_the_call_returns(shop: Shop) -> None:
    """The answer holds the command's id and its state; the ledger holds the intent that the topic would have brought."""
    async with shop.open() as server, shop.client(server) as client:
        answer = await client.create("L-1", "m-1", email="a@b.example")
        assert (answer.message_id, client.state(answer), answer.reason) == ("m-1", "PENDING", "")
        assert not answer.HasField("lead")
        async with shop.ledger() as ledger:
            (command,) = await ledger.commands_open(1, ["L-1"])
    asked = contract.decode_command(command.payload)
    assert (asked.tenant_id, asked.lead_id, asked.message_id, asked.correlation_id) == ("acme", "L-1", "m-1", "c-1")
    assert asked.lead.email == "a@b.example"
    read = contract.read_intent(command.payload)
    assert not isinstance(read, contract.Unreadable)
    assert (read.name, read.envelope.meta.producer) == ("CreateLeadRequested", "sales-ui")
    assert shop.counted("calls") == {("CreateLead", "OK"): 1}
    assert shop.counted("intents") == {("taken", ""): 1}


async def test_every_lead_command_has_its_method(shop: Shop) -> None:
    """Create, qualify and disqualify become the commands of these names, with their reasons and notes."""
    async with shop.open() as server, shop.client(server) as client:
        await client.create("L-1", "m-1")
        await client.qualify("L-1", "m-2")
        request = client.texts.service.DisqualifyLeadRequest(
            context=client.context("m-3"),
            subject=client.subject("L-1"),
            command=client.texts.intents.DisqualifyLeadRequested(reason="budget", note="next year"),
        )
        await client.call("DisqualifyLead", request)
        async with shop.ledger() as ledger:
            found = await ledger.commands_open(1, ["L-1"])
    assert [one.operation.value for one in found] == ["create", "qualify", "disqualify"]
    last = contract.decode_command(found[-1].payload)
    assert (last.reason, last.note) == ("budget", "next year")


async def test_a_call_in_the_first_moment_of_a_process_is_not_sent_to_the_domain(shop: Shop) -> None:
    """Before a process has looked at the tenants it does not know whose the leads are, and finds out; so do reads."""
    async with shop.unaware() as server, shop.client(server) as client:
        assert client.state(await client.create("L-1", "m-1")) == "PENDING"
    async with shop.unaware() as server, shop.client(server) as client:
        assert (await refusal(client.get("L-1", 0.5))).status is not grpc.StatusCode.FAILED_PRECONDITION


async def test_a_call_is_judged_by_what_another_process_has_put_in_force(shop: Shop) -> None:
    """Leads change hands while a process has not looked at the files: no command is taken, and none sent away, by the old ones."""
    shop.tenant("acme", "domain")
    async with shop.unaware() as server, shop.client(server) as client:
        assert (await refusal(client.create("L-1", "m-1"))).reason == "rpc.not-ours"
        await _put_in_force(shop, "acme", "crm")
        assert client.state(await client.create("L-1", "m-1")) == "PENDING"
        await _put_in_force(shop, "acme", "domain")
        assert (await refusal(client.create("L-2", "m-2"))).reason == "rpc.not-ours"
    assert await commands(shop, "L-2") == []
    assert shop.counted("intents") == {("passed_over", "domain-owns"): 2, ("taken", ""): 1}


async def _put_in_force(shop: Shop, tenant: str, owner: str) -> None:
    """What another process does that has the changed file."""
    async with shop.ledger() as ledger:
        (row,) = await ledger.tenants()
        shop.tenant(tenant, owner)
        text = (shop.folder / "tenants" / f"{tenant}.yaml").read_text()
        await ledger.tenant_accept(msgspec.structs.replace(row, text=text, digest=f"{owner} now"))


async def test_the_same_key_is_one_command_and_tells_where_it_stands(shop: Shop) -> None:
    """A retry takes no second effect; it says pending, under way, parked, done, refused or forgotten, and why."""
    async with shop.open() as server, shop.client(server) as client, shop.ledger() as ledger:
        await client.create("L-1", "m-1")
        assert client.state(await client.create("L-1", "m-1")) == "PENDING"
        epochs = await ledger.leases_take(["here"], "p", 0, 10**17)
        fence = Fence(lease="here", holder="p", epoch=epochs["here"])
        (command,) = await ledger.commands_open(1, ["L-1"])
        told = []
        await ledger.sending(fence, 1, [command.seq])
        told.append(await client.create("L-1", "m-1"))
        for state in (CommandState.UNKNOWN, CommandState.PARKED, CommandState.REFUSED):
            ended_us = 5 if state is CommandState.REFUSED else 0
            change = CommandChange(seq=command.seq, state=state, reason="lead-exists", finished_us=ended_us)
            await ledger.commit(fence, Commit(conn=1, commands=[change]))
            told.append(await client.create("L-1", "m-1"))
        await client.create("L-2", "m-2")
        (second,) = await ledger.commands_open(1, ["L-2"])
        done = CommandChange(seq=second.seq, state=CommandState.DONE, finished_us=5)
        await ledger.commit(fence, Commit(conn=1, commands=[done]))
        told.append(await client.create("L-2", "m-2"))
        await ledger.forget(10, 0, 0, 10)
        told.append(await client.create("L-1", "m-1"))
    assert [(client.state(one), one.reason) for one in told] == [
        ("UNDER_WAY", ""),
        ("UNDER_WAY", ""),
        ("PARKED", "lead-exists"),
        ("REFUSED", "lead-exists"),
        ("DONE", ""),
        ("FORGOTTEN", ""),
    ]


async def test_a_command_that_follows_a_merge_is_told_of_under_its_own_key(shop: Shop) -> None:
    """It is the survivor's by now: the retry that names the merged lead finds it, under way and done; another lead's does not."""
    async with shop.open() as server, shop.client(server) as client, shop.ledger() as ledger:
        await client.qualify("L-1", "m-1")
        epochs = await ledger.leases_take(["here"], "p", 0, 10**17)
        fence = Fence(lease="here", holder="p", epoch=epochs["here"])
        (command,) = await ledger.commands_open(1, ["L-1"])
        gone = Binding(conn=1, lead_id="L-1", crm_id="", state=LeadState.MERGED, aggregate_version=1)
        await ledger.commit(fence, Commit(conn=1, bindings=[gone]))
        await ledger.carry(fence, 1, {"L-1": "L-9"})
        assert client.state(await client.qualify("L-1", "m-1")) == "PENDING"
        assert (await refusal(client.qualify("L-9", "m-1"))).reason == "rpc.key-reused"
        done = CommandChange(seq=command.seq, state=CommandState.DONE, finished_us=5)
        await ledger.commit(fence, Commit(conn=1, commands=[done]))
        assert client.state(await client.qualify("L-1", "m-1")) == "DONE"
        assert (await refusal(client.qualify("L-2", "m-1"))).reason == "rpc.key-reused"


async def test_a_key_names_one_command(shop: Shop) -> None:
    """The key of another command, of the same one about another lead, or with other words, is a mistake that is told."""
    async with shop.open() as server, shop.client(server) as client:
        await client.create("L-1", "m-1")
        other_lead = await refusal(client.create("L-2", "m-1"))
        other_deed = await refusal(client.qualify("L-1", "m-1"))
        other_words = await refusal(client.create("L-1", "m-1", email="another@b.example"))
        assert [(no.status, no.reason) for no in (other_lead, other_deed, other_words)] == [
            (grpc.StatusCode.ALREADY_EXISTS, "rpc.key-reused")
        ] * 3
    assert await commands(shop, "L-1", "L-2") == [("m-1", "create", "pending")]


async def test_a_lead_that_leaves_its_id_to_the_subject_is_the_same_lead(shop: Shop) -> None:
    """The id stands in the lead or not, as the client likes: the key is answered as the same command's."""
    async with shop.open() as server, shop.client(server) as client:
        request = client.to_create("L-1", "m-1", email="one@sales.example")
        request.command.lead.lead_id = ""
        await client.call("CreateLead", request)
        await client.create("L-1", "m-1", email="one@sales.example")
    assert await commands(shop, "L-1") == [("m-1", "create", "pending")]


async def test_by_topic_and_by_call_at_once_it_takes_effect_once(shop: Shop) -> None:
    """Whichever comes first, the other finds it taken: one command, one record, one fact."""
    async with shop.open(work=True) as server, shop.client(server) as client:
        shop.utter(contract.CreateLeadRequested(lead=contract.Lead(email="a@b.example")), "L-1", "m-1")
        calls = [client.create("L-1", "m-1", email="a@b.example") for _ in range(20)]
        answers = await asyncio.gather(*calls)
        assert {one.message_id for one in answers} == {"m-1"}
        await client.create("L-2", "m-2", email="c@d.example")
        shop.utter(contract.CreateLeadRequested(lead=contract.Lead(email="c@d.example")), "L-2", "m-2")
        shop.utter(contract.QualifyLeadRequested(), "L-2", "m-3")

        async def qualified() -> bool:
            return bool((await client.get("L-2")).lead.status == client.texts.sales.LEAD_STATUS_QUALIFIED)

        await until(qualified)
        await client.get("L-1")
    assert sorted(one["bridge_lead_id"] for one in shop.portal.truth().live["contacts"].values()) == ["L-1", "L-2"]
    pushed = [
        fact.meta.causation_id
        for value in shop.topics.facts
        if (fact := contract.SalesIntegrationFact.FromString(contract.outgoing(value).value)).HasField(
            "crm_lead_pushed"
        )
    ]
    assert sorted(pushed) == ["m-1", "m-2", "m-3"]


async def test_everything_that_is_wrong_is_told_at_once(shop: Shop) -> None:
    """Each violation names its place in the request, its code, and what mends it; nothing is booked."""
    async with shop.open() as server, shop.client(server) as client:
        request = client.texts.service.CreateLeadRequest(
            context=client.context("", correlation_id="x" * 513),
            subject=client.texts.sales.SalesSubject(aggregate_type="Quote", aggregate_id="L\0"),
            command=client.texts.intents.CreateLeadRequested(lead=client.texts.opportunity.Lead(lead_id="L-9")),
        )
        no = await refusal(client.call("CreateLead", request))
        empty = await refusal(client.call("QualifyLead", client.texts.service.QualifyLeadRequest()))
        read = await refusal(client.call("GetLead", client.texts.service.GetLeadRequest(context=client.context())))
    assert no.status is grpc.StatusCode.INVALID_ARGUMENT
    assert no.fields == {
        "context.idempotency_key": "contract.missing",
        "context.correlation_id": "contract.bad-text",
        "subject.aggregate_id": "contract.bad-text",
        "subject.aggregate_type": "contract.other-aggregate",
        "command.lead.lead_id": "contract.other-lead",
    }
    assert empty.fields == dict.fromkeys(
        [
            *("context.tenant_id", "context.correlation_id", "context.idempotency_key"),
            *("subject.aggregate_type", "subject.aggregate_id", "command"),
        ],
        "contract.missing",
    )
    assert (read.status, read.fields) == (grpc.StatusCode.INVALID_ARGUMENT, {"lead_id": "contract.missing"})
    assert await commands(shop, "L-9", "L\0") == []


async def test_what_is_the_domains_names_its_owner(shop: Shop) -> None:
    """The gate's refusal is FAILED_PRECONDITION, a method of the domain UNIMPLEMENTED; both say whose it is.

    The metrics count the commands among them by the gate's reason.
    """
    shop.tenant("theirs", owner="domain")
    async with shop.open() as server, shop.client(server) as client:
        client.tenant = "theirs"
        no = await refusal(client.create("L-1", "m-1"))
        read = await refusal(client.get("L-1"))
        client.tenant = "nobody"
        unknown = await refusal(client.create("L-1", "m-1"))
        request = client.texts.service.ApproveQuoteRequest()
        quote = await refusal(client.call("ApproveQuote", request))
        opportunity = await refusal(client.call("GetOpportunity", client.texts.service.GetOpportunityRequest()))
    assert [(one.status, one.reason, one.facts) for one in (no, read, unknown)] == [
        (grpc.StatusCode.FAILED_PRECONDITION, "rpc.not-ours", {"owner": "domain", "why": why})
        for why in ("domain-owns", "domain-owns", "unknown-tenant")
    ]
    assert [(one.status, one.reason, one.facts["owner"]) for one in (quote, opportunity)] == [
        (grpc.StatusCode.UNIMPLEMENTED, "rpc.not-here", "domain")
    ] * 2
    assert shop.counted("intents") == {("passed_over", "domain-owns"): 1, ("passed_over", "unknown-tenant"): 1}


async def test_a_command_taken_before_the_leads_changed_hands_is_still_told_of(shop: Shop) -> None:
    """A retry that arrives after the switch finds its command; a new one is the domain's."""
    file = shop.folder / "tenants" / "acme.yaml"
    entry = "  - {owner: crm, from: 2026-01-01T00:00:00Z}\n"
    switch = contract.rfc3339(shop.clock.now_us() // 1_000_000 + 3600, 0)
    file.write_text(file.read_text().replace(entry, f"{entry}  - {{owner: domain, from: {switch}}}\n"))
    async with shop.open() as server, shop.client(server) as client:
        await client.create("L-1", "m-1")
        shop.clock.moved_s = 3700
        client.token = shop.token()
        no = await refusal(client.create("L-2", "m-2"))
        assert (no.status, no.facts["why"]) == (grpc.StatusCode.FAILED_PRECONDITION, "domain-owns")
        assert client.state(await client.create("L-1", "m-1")) == "PENDING"
        assert (await refusal(client.qualify("L-1", "m-1"))).reason == "rpc.key-reused"
    assert shop.counted("intents") == {("taken", ""): 1, ("passed_over", "domain-owns"): 1, ("repeated", ""): 2}


async def test_fields_of_a_newer_client_are_kept(shop: Shop) -> None:
    """What this version does not know in a command travels on with it."""
    async with shop.open() as server, shop.client(server) as client:
        request = client.to_create("L-1", "m-1")
        command = request.command.SerializeToString() + b"\xfa\x3e\x03new"  # field 1007, text
        whole = client.texts.service.CreateLeadRequest(context=request.context, subject=request.subject)
        raw = whole.SerializeToString() + b"\x1a" + bytes([len(command)]) + command
        call: Any = client.channel.unary_unary(f"/{contract.SERVICE}/CreateLead")
        await call(raw, metadata=client.metadata(), timeout=20)
        async with shop.ledger() as ledger:
            (booked,) = await ledger.commands_open(1, ["L-1"])
    assert b"\xfa\x3e\x03new" in booked.payload


async def test_garbage_and_giants_are_refused(shop: Shop) -> None:
    """Bytes that are no request, and more of them than the limit says, do not reach the gate."""
    settings = shop.settings(message_bytes_max=4096)
    async with shop.open(settings) as server, shop.client(server) as client:
        call: Any = client.channel.unary_unary(f"/{contract.SERVICE}/CreateLead")
        garbage = await refusal(call(b"\xff\xff\xff", metadata=client.metadata(), timeout=20))
        giant = await refusal(client.create("L-1", "m-1", email="x" * 5000))
        assert (await client.create("L-2", "m-2", email="x" * 3000)).message_id == "m-2"
    assert (garbage.status, garbage.reason) == (grpc.StatusCode.INVALID_ARGUMENT, "contract.unreadable")
    assert giant.status is grpc.StatusCode.RESOURCE_EXHAUSTED
    assert await commands(shop, "L-1") == []


class Held:
    """A ledger that takes nothing until it is let go."""

    def __init__(self, ledger: Any) -> None:
        self._ledger = ledger
        self.go = asyncio.Event()
        self.asked = 0

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    async def take(self, intake: Any) -> Any:
        self.asked += 1
        await self.go.wait()
        return await self._ledger.take(intake)


async def test_past_its_deadline_nothing_more_is_booked(shop: Shop) -> None:
    """A call whose turn has not come when its time is over books nothing; one whose turn had come is found by its retry."""
    held: list[Held] = []

    def hold(ledger: Any) -> Held:
        held.append(Held(ledger))
        return held[0]

    async with shop.open(wrap=hold) as server, shop.client(server) as client:
        began = await refusal(client.create("L-1", "m-1", timeout_s=0.5))
        waiting = await refusal(client.create("L-2", "m-2", timeout_s=0.5))
        assert (began.status, waiting.status) == (grpc.StatusCode.DEADLINE_EXCEEDED,) * 2
        assert held[0].asked == 1
        held[0].go.set()
        assert client.state(await client.create("L-1", "m-1")) == "PENDING"
        assert await commands(shop, "L-1", "L-2") == [("m-1", "create", "pending")]
        assert client.state(await client.create("L-2", "m-2")) == "PENDING"


async def test_the_servers_own_limit_holds_where_a_client_has_none(shop: Shop) -> None:
    """A client without a deadline is told to come again, and that its command may have been taken."""
    async with shop.open(shop.settings(timeout="300ms"), wrap=Held) as server, shop.client(server) as client:
        no = await refusal(client.create("L-1", "m-1", timeout_s=None))
    assert (no.status, no.reason, no.retry_s) == (grpc.StatusCode.UNAVAILABLE, "rpc.timed-out", 1.0)


async def test_there_are_as_many_calls_at_once_as_the_settings_say(shop: Shop) -> None:
    """One tenant's calls do not take the seats of another's."""
    shop.tenant("other")
    settings = shop.settings(in_flight=3, in_flight_per_tenant=2)
    held: list[Held] = []

    def hold(ledger: Any) -> Held:
        held.append(Held(ledger))
        return held[0]

    async with shop.open(settings, wrap=hold) as server, shop.client(server) as client:
        first = [asyncio.ensure_future(client.create(f"L-{n}", f"m-{n}")) for n in range(2)]
        await until(lambda: server._counter._seats[""] == 2)
        third = await refusal(client.create("L-3", "m-3"))
        assert (third.status, third.reason, third.retry_s) == (grpc.StatusCode.RESOURCE_EXHAUSTED, "rpc.too-many", 1.0)
        other = Client(texts=shop.texts, channel=client.channel, token=client.token, tenant="other")
        theirs = asyncio.ensure_future(other.create("L-1", "m-1"))
        await until(lambda: server._counter._seats[""] == 3)
        nobody = Client(texts=shop.texts, channel=client.channel, token=client.token, tenant="third")
        assert (await refusal(nobody.create("L-1", "m-1"))).reason == "rpc.too-many"
        held[0].go.set()
        answers = await asyncio.gather(*first, theirs)
        assert {client.state(one) for one in answers} == {"PENDING"}
        assert client.state(await client.create("L-3", "m-3")) == "PENDING"


class Away:
    """A ledger whose database is away, and then is not."""

    away = True

    def __init__(self, ledger: Any) -> None:
        self._ledger = ledger

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    async def take(self, intake: Any) -> Any:
        if self.away:
            raise EnvironmentFault("ledger.unreachable", "PostgreSQL does not answer", place="ledger")
        return await self._ledger.take(intake)


async def test_without_the_ledger_nothing_is_promised(shop: Shop, monkeypatch: pytest.MonkeyPatch) -> None:
    """UNAVAILABLE with the ledger's code and when to come again; then it is taken."""
    async with shop.open(wrap=Away) as server, shop.client(server) as client:
        no = await refusal(client.create("L-1", "m-1"))
        assert (no.status, no.reason, no.retry_s) == (grpc.StatusCode.UNAVAILABLE, "ledger.unreachable", 1.0)
        monkeypatch.setattr(Away, "away", False)
        assert client.state(await client.create("L-1", "m-1")) == "PENDING"


class Poisoned:
    """A ledger that cannot bear one message id, as a database may that refuses one row."""

    def __init__(self, ledger: Any) -> None:
        self._ledger = ledger

    def __getattr__(self, name: str) -> Any:
        return getattr(self._ledger, name)

    async def take(self, intake: Any) -> Any:
        await asyncio.sleep(0)
        if any(row.message_id == "bad" for row in intake.rows):
            raise ValueError(next(row.command.lead_id for row in intake.rows if row.message_id == "bad"))
        return await self._ledger.take(intake)


async def test_a_refused_call_is_found_in_the_log_by_its_ids(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    """Who called for whom with which key; what cannot be an id stays out of the log."""
    shop.tenant("acme", "domain")
    with caplog.at_level(logging.INFO):
        async with shop.open() as server, shop.client(server) as client:
            await refusal(client.create("L-1", "m-1"))
            await refusal(client.create("L-1", "m-2 ada@corp.example"))
    first, second = (one.__dict__ for one in caplog.records if getattr(one, "event", "") == "call.refused")
    told = ("code", "caller", "tenant", "message_id", "correlation_id")
    assert [first[name] for name in told] == ["rpc.not-ours", "sales-ui", "acme", "m-1", "c-1"]
    assert second["tenant"] == "acme"
    assert "message_id" not in second


async def test_one_callers_fault_costs_nobody_else_theirs(shop: Shop, caplog: pytest.LogCaptureFixture) -> None:
    """Commands that are booked together fall apart when one is at fault; neither its caller nor the log learns the values."""
    async with shop.open(wrap=Poisoned) as server, shop.client(server) as client:
        keys = [f"m-{n}" for n in range(9)] + ["bad"] + [f"k-{n}" for n in range(9)]
        calls = [asyncio.ensure_future(client.create(f"Jane Doe {key}", key)) for key in keys]
        await asyncio.wait(calls)
        no = await refusal(calls[9])
        assert all(client.state(call.result()) == "PENDING" for call in calls if call is not calls[9])
    assert (no.status, no.reason) == (grpc.StatusCode.INTERNAL, "bug.rpc")
    assert "Jane Doe" not in no.message + caplog.text


async def test_a_trace_is_taken_from_the_request_or_from_the_metadata(shop: Shop) -> None:
    """What the request names counts; else what the client's tracing library has put beside it."""
    trace = "00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01"
    async with shop.open() as server, shop.client(server) as client:
        request = client.to_create("L-1", "m-1")
        beside = (*client.metadata(), ("traceparent", trace), ("tracestate", "a=b"))
        await client.stub.CreateLead(request, metadata=beside, timeout=20)
        request = client.to_create("L-2", "m-2")
        request.context.traceparent = trace.replace("0af", "1af")
        await client.stub.CreateLead(request, metadata=beside, timeout=20)
        async with shop.ledger() as ledger:
            found = [contract.decode_command(one.payload) for one in await ledger.commands_open(1, ["L-1", "L-2"])]
    assert [(one.traceparent, one.tracestate) for one in found] == [(trace, "a=b"), (trace.replace("0af", "1af"), "")]
