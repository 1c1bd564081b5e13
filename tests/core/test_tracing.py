"""Trace contexts by the W3C's rules, and spans as values: whose child, in which trace, recorded or passed through."""

from __future__ import annotations

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sales_crm_bridge.simulate.world import SeededDice
from sales_crm_bridge.tracing import NOTHING, Context, Kind, Open, Span, Tracer, parse

TRACE = "4bf92f3577b34da6a3ce929d0e0e4736"
SPAN = "00f067aa0ba902b7"
PARENT = f"00-{TRACE}-{SPAN}-01"
UNSAMPLED = f"00-{TRACE}-{SPAN}-00"


class Spans:
    def __init__(self) -> None:
        self.all: list[Span] = []

    def ended(self, span: Span) -> None:
        self.all.append(span)


class Clock:
    def __init__(self) -> None:
        self.us = 0

    def now_us(self) -> int:
        self.us += 1
        return self.us

    async def sleep(self, seconds: float) -> None:
        raise AssertionError(seconds)


def tracer(spans: Spans | None, ratio: float = 1.0, seed: str = "s") -> Tracer:
    return Tracer(Clock(), SeededDice(seed), spans, ratio)


def cause(parent: str = PARENT, state: str = "") -> Context:
    context = parse(parent, state)
    assert context is not None
    return context


@pytest.mark.parametrize(
    "text",
    [
        "",
        "00",
        PARENT.upper(),
        PARENT + "-x",
        PARENT + "\n",
        "\n" + PARENT,
        PARENT[:-1],
        f"ff-{TRACE}-{SPAN}-01",
        f"00-{'0' * 32}-{SPAN}-01",
        f"00-{TRACE}-{'0' * 16}-01",
        f"00-{TRACE}-{SPAN}-0x",
        f"cc-{TRACE}-{SPAN}-01x",
        PARENT.replace("4", "\uff14", 1),
    ],
)
def test_what_is_no_traceparent_is_no_context(text: str) -> None:
    """Anything but the W3C's form is passed over: nothing of it goes into a header or a fact."""
    assert parse(text, "a=b") is None


def test_a_later_version_is_read_as_far_as_we_know_it() -> None:
    """Version cc with more behind is read like 00, and unknown flags are not handed on."""
    context = parse(f"cc-{TRACE}-{SPAN}-fd-what-comes-later")
    assert context == Context(trace_id=TRACE, span_id=SPAN, flags=1)


@pytest.mark.parametrize(
    ("text", "kept"),
    [
        ("congo=t61rcWkgMzE,rojo=00f067aa0ba902b7", "congo=t61rcWkgMzE,rojo=00f067aa0ba902b7"),
        (" a=1 ,, b=2\t", "a=1,b=2"),
        ("fw529a3039@dt=FfffFC1", "fw529a3039@dt=FfffFC1"),
        ("a=1,a=2", ""),
        ("a", ""),
        ("A=1", ""),
        ("a=1\r\nx-evil: 1", ""),
        ("a=é", ""),
        ("a=" + "x" * 257, ""),
        (",".join(f"k{n}=1" for n in range(33)), ""),
        (",".join(f"k{n}={'x' * 60}" for n in range(9)), ""),
    ],
)
def test_a_tracestate_that_breaks_a_rule_is_left_out(text: str, kept: str) -> None:
    """The trace goes on without it; above all, no line end ever gets into a header."""
    assert cause(PARENT, text).state == kept


@given(st.text(), st.text())
def test_no_text_makes_a_header_that_cannot_be_sent(traceparent: str, tracestate: str) -> None:
    """Whatever stands in an intent: no context, or headers of printable ASCII."""
    context = parse(traceparent, tracestate) or cause(PARENT, tracestate)
    for _, value in context.headers:
        assert value.isascii()
        assert value.isprintable()


def test_without_a_sink_the_context_passes_through_unchanged() -> None:
    """No span, no draw of the dice; what the intent said is what the CRM and the fact are told."""
    quiet = tracer(None)
    context = cause(PARENT, "a=1")
    turn = quiet.of_intent(context, "m", "push", {})
    call = quiet.of([turn], "POST", {})
    call.end()
    turn.end()
    assert turn.context == call.context == context
    assert quiet.root("pull", {}) is NOTHING
    assert quiet.of_intent(None, "m", "push", {}).context is None
    assert quiet._dice.name() == SeededDice("s").name()


def test_a_batch_passes_no_single_intents_context_on() -> None:
    """Where nothing is recorded, a call for two intents is told of neither trace: each would be a lie about the other."""
    quiet = tracer(None)
    turns = [quiet.of_intent(cause(), "a", "push", {}), quiet.of_intent(cause(), "b", "push", {})]
    assert quiet.of(turns, "POST", {}).context is None


def test_a_call_is_the_child_of_the_one_command_it_is_made_for() -> None:
    """Intent → turn → call: one trace, each the child of the one before, with the vendors' state."""
    spans = Spans()
    live = tracer(spans)
    turn = live.of_intent(cause(PARENT, "a=1"), "m", "push", {"sales.tenant": "acme"})
    call = live.of([turn], "POST", {}, Kind.CLIENT)
    call.end("503", {"http.response.status_code": 503})
    turn.end()
    turn.end("a second time does nothing")
    inner, outer = spans.all
    assert (outer.parent, inner.parent) == (SPAN, outer.context.span_id)
    assert {span.context.trace_id for span in spans.all} == {TRACE}
    assert {span.context.state for span in spans.all} == {"a=1"}
    assert (inner.fault, inner.attributes, inner.kind) == ("503", {"http.response.status_code": 503}, Kind.CLIENT)
    assert (outer.fault, outer.attributes) == ("", {"sales.tenant": "acme"})
    assert outer.begun_us < inner.begun_us < inner.ended_us < outer.ended_us


def test_a_batchs_call_has_a_trace_of_its_own_and_is_linked_both_ways() -> None:
    """Two commands in one call: neither trace swallows the other, and each leads to the call and back."""
    spans = Spans()
    live = tracer(spans)
    turns = [live.of_intent(None, "a", "push", {}), live.of_intent(cause(), "b", "push", {})]
    call = live.of(turns, "POST", {})
    for one in (call, *turns):
        one.end()
    made, first, second = spans.all
    assert len({span.context.trace_id for span in spans.all}) == 3
    assert made.parent == ""
    assert made.links == (first.context, second.context)
    assert first.links == second.links == (made.context,)


def test_an_intents_own_sampling_decides() -> None:
    """An unsampled intent is not recorded, whatever our ratio, and its context goes on; a sampled one is, at ratio 0."""
    spans = Spans()
    live = tracer(spans, ratio=0.0)
    unsampled = live.of_intent(cause(UNSAMPLED), "m", "push", {})
    assert not unsampled.recorded
    assert live.of([unsampled], "POST", {}).context == cause(UNSAMPLED)
    assert live.of_intent(cause(PARENT), "m", "push", {}).recorded
    assert live.root("pull", {}) is NOTHING
    assert live.of([NOTHING], "GET", {}).context is None


def test_every_try_of_an_intent_without_a_trace_is_in_the_same_one() -> None:
    """Another process, another life: the trace's id comes of the intent, and so does whether it is recorded."""
    one, other = tracer(Spans(), seed="one"), tracer(Spans(), seed="other")
    first, again = one.of_intent(None, "acme\x1fm-1", "push", {}), other.of_intent(None, "acme\x1fm-1", "push", {})
    assert first.trace_id == again.trace_id
    assert first.context != again.context
    assert first.trace_id != one.of_intent(None, "acme\x1fm-2", "push", {}).trace_id


def test_the_ratio_is_the_share_that_is_recorded() -> None:
    """Of ten thousand traces about a quarter, and the same ones in every process."""
    chance = random.Random(7)
    seeds = [f"{chance.random()}" for _ in range(10_000)]
    taken = [[tracer(Spans(), 0.25, seed).of_intent(None, one, "push", {}).recorded for one in seeds] for seed in "ab"]
    assert taken[0] == taken[1]
    assert 2_300 < sum(taken[0]) < 2_700


def test_nothing_has_no_end() -> None:
    """The absence of a span takes everything and says nothing."""
    NOTHING.end("fault", {"sales.read": 1})
    assert (NOTHING.trace_id, NOTHING.recorded) == ("", False)
    assert Open(cause()).trace_id == TRACE
