"""Traces through the whole flow on virtual time: from the intent over the CRM's calls to the facts, with nothing personal."""

from __future__ import annotations

import asyncio
import json
import logging
import random
from collections.abc import Awaitable, Callable
from pathlib import Path

import msgspec
import pytest

from sales_crm_bridge import contract
from sales_crm_bridge.observe import JsonLines
from sales_crm_bridge.sandbox import Fault, FaultKind
from sales_crm_bridge.simulate.loop import VirtualLoop, run
from sales_crm_bridge.simulate.process import MortalTransport
from sales_crm_bridge.simulate.world import World
from sales_crm_bridge.tracing import ATTRIBUTES, Context, Kind, Span, parse
from tests.flow.flow_kit import TOKEN, people, world

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
PARENT = f"00-{TRACE}-00f067aa0ba902b7-01"
STATE = "congo=t61rcWkgMzE"


class Spans:
    def __init__(self) -> None:
        self.all: list[Span] = []

    def ended(self, span: Span) -> None:
        self.all.append(span)

    def of(self, kind: Kind) -> list[Span]:
        return [span for span in self.all if span.kind is kind]


@pytest.fixture
def sent(monkeypatch: pytest.MonkeyPatch) -> list[tuple[str, str, dict[str, str]]]:
    """Give method, address and headers of every request to the CRM, as they leave the process."""
    seen: list[tuple[str, str, dict[str, str]]] = []
    send = MortalTransport.send

    async def note(
        self: MortalTransport, method: str, url: str, headers: list[tuple[str, str]], body: bytes, timeout_s: float
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        seen.append((method, url, dict(headers)))
        return await send(self, method, url, headers, body, timeout_s)

    monkeypatch.setattr(MortalTransport, "send", note)
    return seen


def play(folder: Path, story: Callable[[World], Awaitable[None]], *, spans: Spans | None, leads: int = 3) -> World:
    loop = VirtualLoop()

    async def main() -> World:
        home = world(loop, folder, "traces", leads=leads)
        home.spans = spans
        await story(home)
        return home

    return run(main(), loop)


async def live(home: World, seconds: float) -> None:
    assert not await home.live(lambda _service: asyncio.ensure_future(home.clock.sleep(seconds)))


def create(home: World, number: int, *, traceparent: str = "", tracestate: str = "") -> None:
    lead = contract.Lead(lead_id=f"L-{number}", email=f"n{number}@sales.example", first_name="Nina")
    home.utter(
        contract.CreateLeadRequested(lead=lead),
        tenant="acme",
        lead_id=f"L-{number}",
        message_id=f"m-{number}",
        traceparent=traceparent,
        tracestate=tracestate,
    )


def facts(home: World, kind: str) -> list[contract.SalesIntegrationFact]:
    found = []
    for value in home.topics.facts:
        record = contract.outgoing(value)
        received = contract.read(contract.SalesIntegrationFact, record.value, record.headers)
        assert not isinstance(received, contract.Unreadable)
        if received.envelope.WhichOneof("fact") == kind:
            found.append(received.envelope)
    return found


def context_of(fact: contract.SalesIntegrationFact) -> Context | None:
    return parse(fact.meta.traceparent, fact.meta.tracestate)


Sent = list[tuple[str, str, dict[str, str]]]


def test_one_trace_from_the_intent_over_the_call_to_the_fact(tmp_path: Path, sent: Sent) -> None:
    """The intent's span causes the turn, that the requests, whose ids the CRM is told; the fact goes on from the turn."""
    spans = Spans()

    async def story(home: World) -> None:
        await live(home, 120)
        sent.clear()
        create(home, 1, traceparent=PARENT, tracestate=STATE)
        await live(home, 60)

    home = play(tmp_path, story, spans=spans)
    (turn,) = spans.of(Kind.CONSUMER)
    assert (turn.context.trace_id, turn.parent, turn.fault) == (TRACE, "00f067aa0ba902b7", "")
    assert turn.attributes["messaging.message.id"] == "m-1"
    assert turn.attributes["messaging.message.conversation_id"] == "c-m-1"
    assert turn.attributes["sales.outcome"] == "done"
    calls = [span for span in spans.of(Kind.CLIENT) if span.parent == turn.context.span_id]
    assert calls
    assert all(span.attributes["http.response.status_code"] < 400 for span in calls)  # type: ignore[operator]
    told = [headers for _, _, headers in sent if TRACE in headers.get("traceparent", "")]
    assert [headers["traceparent"] for headers in told] == [span.context.parent for span in calls]
    assert {headers["tracestate"] for headers in told} == {STATE}
    (pushed,) = facts(home, "crm_lead_pushed")
    assert context_of(pushed) == turn.context


def test_where_nothing_is_recorded_the_intents_context_passes_through(tmp_path: Path, sent: Sent) -> None:
    """No endpoint: the CRM and the fact are told exactly what the intent said, and a pull is told of nothing."""

    async def story(home: World) -> None:
        await live(home, 120)
        create(home, 1, traceparent=PARENT, tracestate=STATE)
        await live(home, 60)

    home = play(tmp_path, story, spans=None)
    told = [(headers["traceparent"], headers["tracestate"]) for _, _, headers in sent if "traceparent" in headers]
    assert told
    assert set(told) == {(PARENT, STATE)}
    (pushed,) = facts(home, "crm_lead_pushed")
    assert (pushed.meta.traceparent, pushed.meta.tracestate) == (PARENT, STATE)
    assert not any(fact.meta.traceparent for fact in facts(home, "crm_lead_observed"))


def test_an_intents_broken_trace_goes_no_further(tmp_path: Path, sent: Sent) -> None:
    """What is no traceparent gets into no header and no fact, and the command is carried out."""

    async def story(home: World) -> None:
        create(home, 1, traceparent=PARENT + "\r\nx-evil: 1", tracestate=STATE)
        await live(home, 120)

    home = play(tmp_path, story, spans=None)
    assert not any("traceparent" in headers or "x-evil" in headers for _, _, headers in sent)
    (pushed,) = facts(home, "crm_lead_pushed")
    assert not pushed.meta.traceparent


def test_the_settings_can_keep_traces_from_the_crm(tmp_path: Path, sent: Sent) -> None:
    """With `telemetry: {to_crm: false}` no request carries a trace; spans and facts do."""
    spans = Spans()

    async def story(home: World) -> None:
        telemetry = home.settings.telemetry.model_copy(update={"to_crm": False})
        home.settings = home.settings.model_copy(update={"telemetry": telemetry})
        create(home, 1, traceparent=PARENT)
        await live(home, 120)

    home = play(tmp_path, story, spans=spans)
    assert not any("traceparent" in headers for _, _, headers in sent)
    assert {span.context.trace_id for span in spans.of(Kind.CONSUMER)} == {TRACE}
    assert facts(home, "crm_lead_pushed")[0].meta.traceparent.startswith(f"00-{TRACE}-")


def test_a_batch_links_the_traces_of_its_commands(tmp_path: Path) -> None:
    """Three creates in one call: three traces and the call's own, linked both ways; each fact stays in its intent's trace."""
    spans = Spans()
    traces = [f"{number:032x}" for number in (1, 2, 3)]

    async def story(home: World) -> None:
        await live(home, 120)
        for number, trace in enumerate(traces, start=1):
            create(home, number, traceparent=f"00-{trace}-00f067aa0ba902b7-01")
        await live(home, 60)

    home = play(tmp_path, story, spans=spans)
    turns = {span.context: span for span in spans.of(Kind.CONSUMER)}
    assert sorted(context.trace_id for context in turns) == traces
    batch = [span for span in spans.of(Kind.CLIENT) if len(span.links) == 3]
    assert batch
    for call in batch:
        assert {*call.links} == {*turns}
        assert call.parent == ""
        assert call.context.trace_id not in traces
        assert all(call.context in turn.links for turn in turns.values())
    assert {context_of(fact) for fact in facts(home, "crm_lead_pushed")} == {*turns}


def test_a_pulled_change_carries_the_trace_of_the_page_that_showed_it(tmp_path: Path) -> None:
    """Nothing caused a pull: its page begins a trace, the calls for it are in that trace, the facts of the page go on from it."""
    spans = Spans()

    async def story(home: World) -> None:
        await live(home, 300)

    home = play(tmp_path, story, spans=spans)
    pages = {span.context: span for span in spans.of(Kind.INTERNAL)}
    observed = facts(home, "crm_lead_observed")
    assert len(observed) == 3
    for fact in observed:
        context = context_of(fact)
        assert context in pages
        assert pages[context].parent == ""
        calls = [span for span in spans.of(Kind.CLIENT) if span.parent == context.span_id]
        assert calls


def test_a_refusal_is_a_fault_of_its_turn(tmp_path: Path) -> None:
    """A bad address is refused by the CRM: the turn and the call say so by their codes, the fact is in the trace."""
    spans = Spans()

    async def story(home: World) -> None:
        lead = contract.Lead(lead_id="L-1", email="no address")
        home.utter(
            contract.CreateLeadRequested(lead=lead),
            tenant="acme",
            lead_id="L-1",
            message_id="m-1",
            traceparent=PARENT,
        )
        await live(home, 120)

    home = play(tmp_path, story, spans=spans)
    (turn,) = spans.of(Kind.CONSUMER)
    assert (turn.fault, turn.attributes["sales.outcome"]) == ("INVALID_EMAIL", "parked")
    (call,) = (span for span in spans.of(Kind.CLIENT) if span.parent == turn.context.span_id)
    assert call.attributes["http.response.status_code"] == 207  # one command of a batch, refused in its answer
    (failed,) = facts(home, "crm_lead_push_failed")
    assert context_of(failed) == turn.context


def test_a_lost_answer_and_its_settling_are_two_turns_of_one_trace(tmp_path: Path) -> None:
    """The write took effect and its answer was lost: the first turn ends in doubt, the second reads back and is told."""
    spans = Spans()

    async def story(home: World) -> None:
        await live(home, 120)
        home.portal.faults.add(Fault(FaultKind.CUT_AFTER, method="POST", path="*/batch/upsert"))
        create(home, 1)  # no trace of its own: both turns must find the same one
        await live(home, 120)

    home = play(tmp_path, story, spans=spans)
    doubt, settled = spans.of(Kind.CONSUMER)
    assert doubt.context.trace_id == settled.context.trace_id
    assert [turn.attributes["sales.outcome"] for turn in (doubt, settled)] == ["unknown", "done"]
    calls = {span.parent: span for span in spans.of(Kind.CLIENT)}
    assert calls[doubt.context.span_id].fault.startswith("http.")
    assert "http.response.status_code" not in calls[doubt.context.span_id].attributes
    assert calls[settled.context.span_id].fault == ""
    (pushed,) = facts(home, "crm_lead_pushed")
    assert context_of(pushed) == settled.context


async def busy(home: World) -> None:
    """Two lives among people, intents with and without a trace; every kind of thing happens."""
    rng = random.Random("busy")

    def until(_service: object) -> asyncio.Future[None]:
        async def work() -> None:
            for number in range(100, 110):
                create(home, number, traceparent=PARENT if number % 2 else "")
            await people(home, rng, 40)
            await home.clock.sleep(600)

        return asyncio.ensure_future(work())

    await home.live(until, last="… commit")
    await home.live(until)


def test_two_equal_runs_make_equal_spans(tmp_path: Path) -> None:
    """Ids are drawn from the dice and times from the clock: the same seed gives the same spans, in the same order."""
    runs = []
    for name in ("one", "two"):
        spans = Spans()
        (tmp_path / name).mkdir()
        play(tmp_path / name, busy, spans=spans, leads=30)
        runs.append(spans.all)
    assert len(runs[0]) > 100
    assert runs[0] == runs[1]


def test_no_span_and_no_line_of_the_log_holds_a_person_or_a_secret(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """After much has happened: only the named attributes, and no value of a lead, no token and no path in span or log."""
    caplog.set_level(logging.DEBUG)
    spans = Spans()
    home = play(tmp_path, busy, spans=spans, leads=30)
    assert {name for span in spans.all for name in span.attributes} <= ATTRIBUTES.keys()
    lines = [JsonLines().format(record) for record in caplog.records if record.name.startswith("sales_crm_bridge")]
    live_records = home.portal.truth().live["contacts"].values()
    personal = {str(value) for record in live_records for name, value in record.items() if name in PERSONAL and value}
    assert len(personal) > 30
    for text in (msgspec.json.encode(spans.all).decode(), "\n".join(lines)):
        assert "m-101" in text
        assert [value for value in personal if len(value) > 3 and value in text] == []
        assert TOKEN not in text
        assert "/crm/" not in text


def test_the_log_tells_each_commands_end_with_its_ids(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    """One line for what became of a command: tenant, message id, correlation id, and the trace that shows how."""
    caplog.set_level(logging.INFO)
    spans = Spans()

    async def story(home: World) -> None:
        create(home, 1, traceparent=PARENT)
        await live(home, 120)

    play(tmp_path, story, spans=spans)
    (line,) = (record for record in caplog.records if getattr(record, "event", "") == "command.done")
    told = json.loads(JsonLines().format(line))
    wanted = {
        "tenant": "acme",
        "message_id": "m-1",
        "correlation_id": "c-m-1",
        "operation": "create",
        "attempt": 1,
        "trace_id": TRACE,
    }
    assert wanted.items() <= told.items()


PERSONAL = {"email", "firstname", "lastname", "phone", "company", "city"}
