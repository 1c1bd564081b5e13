"""What a conversation can rely on: nothing is done twice, nothing is lost in silence, a busy CRM is not stampeded."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from itertools import pairwise
from typing import Any

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sales_crm_bridge.crm_http import AnswerLost, NotSent
from sales_crm_bridge.errors import (
    Bug,
    ConnectionStopped,
    CrmUnavailable,
    LeaseLost,
    LedgerBusy,
    QuotaExhausted,
)
from sales_crm_bridge.model import Account, HttpReply, NoReply
from tests.core.rim_kit import EPOCH_US, Answer, S, Seen, World, get, ok, one_by_one, play, post, saying


class Script:
    """Answers in turn from a list (an exception is raised); the last one for ever."""

    def __init__(self, *answers: Answer | Exception) -> None:
        self._answers = list(answers)

    def __call__(self, seen: Seen) -> Answer:
        """The next answer."""
        answer = self._answers.pop(0) if len(self._answers) > 1 else self._answers[0]
        if isinstance(answer, Exception):
            raise answer
        return answer


def test_a_write_whose_answer_was_lost_is_never_repeated() -> None:
    """The talk is told that nobody knows; the CRM has seen the request once."""

    async def scene(world: World) -> None:
        (reply,) = await world.rim.converse(saying(post()), purpose="push")
        assert isinstance(reply, NoReply)
        assert reply.sent
        assert reply.reason == "http.read-timeout"
        assert reply.retry_at_us >= world.clock.now_us()
        assert len(world.far.seen) == 1

    play(scene, Script(AnswerLost("http.read-timeout")))


@pytest.mark.parametrize(
    "first",
    [NotSent("http.connect-error"), (429, {"retry-after": "3"}, b""), (423, {}, b""), (401, {}, b"")],
    ids=["not sent", "too many", "locked", "stale token"],
)
def test_a_write_that_took_no_effect_is_repeated(first: Answer | Exception) -> None:
    """Never sent, turned away, or not signed in: the same request is made again and its answer given to the talk."""

    async def scene(world: World) -> None:
        (reply,) = await world.rim.converse(saying(post()), purpose="push")
        assert isinstance(reply, HttpReply)
        assert reply.status == 201
        assert [seen.body for seen in world.far.seen] == [b'{"a":1}'] * 2

    play(scene, Script(first, (201, {}, b"{}")))


def test_a_write_that_a_server_fault_may_have_carried_out_is_not_repeated() -> None:
    """A 500 says nothing about the effect: one request, and NoReply that says sent."""

    async def scene(world: World) -> None:
        (reply,) = await world.rim.converse(saying(post()), purpose="push")
        assert isinstance(reply, NoReply)
        assert reply.sent
        assert len(world.far.seen) == 1

    play(scene, Script((500, {}, b"oops")))


def test_a_read_is_repeated_after_any_fault_with_growing_waits() -> None:
    """Lost answer, server fault, no connection: three waits, each about twice the last, then the answer."""

    async def scene(world: World) -> None:
        (reply,) = await world.rim.converse(saying(get()), purpose="pull")
        assert isinstance(reply, HttpReply)
        times = [(seen.at_us - EPOCH_US) / S for seen in world.far.seen]
        waits = [later - sooner - 0.05 for sooner, later in pairwise(times)]
        assert waits == pytest.approx([0.75, 1.5, 3.0], abs=1e-3)

    play(scene, Script(AnswerLost("http.read-error"), (502, {}, b""), NotSent("http.connect-error"), ok()))


def test_the_crms_own_wish_wins_when_it_is_longer() -> None:
    """Retry-After of 20 s beats the doubling wait; a wish of 0 does not shorten it."""

    async def scene(world: World) -> None:
        await world.rim.converse(saying(get()), purpose="pull")
        times = [(seen.at_us - EPOCH_US) / S for seen in world.far.seen]
        assert times[1] - times[0] == pytest.approx(20.05)
        assert times[2] - times[1] == pytest.approx(1.55)

    play(scene, Script((503, {"retry-after": "20"}, b""), (503, {"retry-after": "0"}, b""), ok()))


def test_when_the_tries_are_over_a_read_ends_its_talk_and_a_write_hears_why() -> None:
    """Four tries each; the read raises with a time to come back, the write gets NoReply with sent False."""

    async def scene(world: World) -> None:
        closed: list[str] = []

        def talk() -> Any:
            try:
                yield (get(),)
            finally:
                closed.append("closed")

        with pytest.raises(CrmUnavailable) as caught:
            await world.rim.converse(talk(), purpose="pull")
        assert caught.value.code == "http.connect-error"
        assert caught.value.place == "acme/crm"
        assert caught.value.retry_at_us > world.clock.now_us()
        assert closed == ["closed"]
        assert len(world.far.seen) == 4
        (reply,) = await world.rim.converse(saying(post()), purpose="push")
        assert isinstance(reply, NoReply)
        assert not reply.sent
        assert len(world.far.seen) == 8

    play(scene, Script(NotSent("http.connect-error")))


def test_a_wish_longer_than_a_conversation_ends_it_until_then() -> None:
    """An account that moves for six hours (477) is not waited for inside a call."""

    async def scene(world: World) -> None:
        with pytest.raises(CrmUnavailable) as caught:
            await world.rim.converse(saying(get()), purpose="pull")
        assert caught.value.retry_at_us == world.clock.now_us() + 21_600 * S
        assert len(world.far.seen) == 1

    play(scene, Script((503, {"retry-after": "21600"}, b"")))


def test_an_answer_that_would_be_too_large_again_is_not_asked_for_again() -> None:
    """One request; the error says what to change; the breaker does not count it, since the CRM answered."""

    async def scene(world: World) -> None:
        for _ in range(3):
            with pytest.raises(CrmUnavailable, match="no whole answer") as caught:
                await world.rim.converse(saying(get()), purpose="pull")
            assert "body_bytes_max" in caught.value.remedy
        assert len(world.far.seen) == 3
        assert world.rim.state().breaker == "closed"

    play(scene, Script(AnswerLost("http.body-too-large", hopeless=True)), breaker_faults=2)


def test_calls_of_one_tuple_are_made_at_the_same_time_and_answered_in_order() -> None:
    """The slowest call bounds the whole, and replies come in the order of the calls whatever order they arrive in."""

    async def scene(world: World) -> None:
        async def answer(seen: Seen) -> Answer:
            await world.clock.sleep(4.0 - int(seen.path[-1]))
            return 200, {}, seen.path.encode()

        await world.rim.converse(one_by_one(*(get() for _ in range(8))), purpose="pull")  # the window has opened
        started_us, world.far.answer = world.clock.now_us(), answer
        replies = await world.rim.converse(saying(*(get(f"/{n}") for n in range(4))), purpose="pull")
        assert [reply.body for reply in replies if isinstance(reply, HttpReply)] == [b"/0", b"/1", b"/2", b"/3"]
        assert world.clock.now_us() - started_us < 4.2 * S
        assert world.far.most_in_flight == 4

    play(scene, ok)


def test_a_stop_before_anything_was_written_is_raised_and_no_write_took_effect() -> None:
    """Missing rights end the conversation; rooms may rely on nothing having been written."""

    async def scene(world: World) -> None:
        with pytest.raises(ConnectionStopped) as caught:
            await world.rim.converse(one_by_one(get(), post()), purpose="push")
        assert (caught.value.code, caught.value.remedy) == ("MISSING_SCOPES", "grant it")
        assert [seen.method for seen in world.far.seen] == ["GET"]

    play(scene, Script((403, {}, b"")))


def test_a_stop_names_what_the_call_shows_to_be_missing() -> None:
    """A call that is made to find out about a right says which one, and the operator reads it."""

    async def scene(world: World) -> None:
        with pytest.raises(ConnectionStopped, match="needed for: read leads"):
            await world.rim.converse(one_by_one(msgspec.structs.replace(get(), shows="read leads")), purpose="check")

    play(scene, Script((403, {}, b"")))


def test_a_stop_after_a_write_lets_the_talk_finish_and_is_raised_by_the_next() -> None:
    """What the first write did is not thrown away; the stop is not forgotten either."""

    async def scene(world: World) -> None:
        first, second = await world.rim.converse(one_by_one(post("/1"), post("/2")), purpose="push")
        assert isinstance(first, HttpReply)
        assert isinstance(second, NoReply)
        assert (second.sent, second.reason) == (False, "MISSING_SCOPES")
        with pytest.raises(ConnectionStopped):
            await world.rim.converse(saying(get()), purpose="pull")
        assert len(world.far.seen) == 2
        await world.rim.converse(saying(get()), purpose="pull")

    play(scene, Script(ok(), (403, {}, b""), ok()))


def test_a_stop_on_a_read_after_a_write_is_no_connection_stopped() -> None:
    """ConnectionStopped promises that nothing was written, so a talk that had written ends with CrmUnavailable."""

    async def scene(world: World) -> None:
        with pytest.raises(CrmUnavailable, match="no right"):
            await world.rim.converse(one_by_one(post(), get()), purpose="push")
        with pytest.raises(ConnectionStopped):
            await world.rim.converse(saying(get()), purpose="pull")

    play(scene, Script(ok(), (403, {}, b"")))


def test_every_call_is_numbered_the_same_in_equal_runs() -> None:
    """Conversation and ordinal name a call; the hook sees what the talk was answered, tries counted, and no credentials."""

    async def scene(world: World) -> list[tuple[str, int, int, str]]:
        await asyncio.gather(
            world.rim.converse(one_by_one(get("/1"), get("/2")), purpose="pull"),
            world.rim.converse(saying(post("/3"), post("/4")), purpose="push"),
        )
        assert "static-token-1" not in repr(world.exchanges)
        return [(x.conversation, x.ordinal, x.tries, x.call.path) for x in world.exchanges]

    def crm() -> Callable[[Seen], Answer]:
        first = Script(NotSent("http.connect-error"), ok())
        return lambda seen: first(seen) if seen.path == "/1" else ok()

    found = play(scene, crm())
    assert sorted(found) == [
        ("pull-1", 0, 2, "/1"),
        ("pull-1", 1, 1, "/2"),
        ("push-2", 0, 1, "/3"),
        ("push-2", 1, 1, "/4"),
    ]
    assert play(scene, crm()) == found


class Throttled:
    """A CRM that serves ``allowed`` calls in each clock second and turns the others away."""

    def __init__(self, allowed: int, retry_after: str = "") -> None:
        self.allowed = allowed
        self.retry_after = retry_after
        self.served: dict[int, int] = {}
        self.refused = 0

    def __call__(self, seen: Seen) -> Answer:
        """Serve or refuse."""
        second = seen.at_us // S
        if self.served.get(second, 0) >= self.allowed:
            self.refused += 1
            return 429, {"retry-after": self.retry_after} if self.retry_after else {}, b""
        self.served[second] = self.served.get(second, 0) + 1
        return ok()


@pytest.mark.parametrize("allowed", [4, 10, 25])
@pytest.mark.parametrize("retry_after", ["", "1"])
@pytest.mark.parametrize("calls", [50, 400])
def test_a_storm_of_too_many_calls_costs_at_most_a_fifth_more(allowed: int, retry_after: str, calls: int) -> None:
    """Concurrent calls against a CRM that allows far less than we think: all are served, with at most 1.2 × the requests."""
    crm = Throttled(allowed, retry_after)

    async def scene(world: World) -> None:
        talks = [world.rim.converse(saying(get(f"/{n}")), purpose="pull") for n in range(calls)]
        replies = await asyncio.gather(*talks)
        assert all(isinstance(reply, HttpReply) for (reply,) in replies)
        assert len(world.far.seen) <= 1.2 * calls
        assert (world.clock.now_us() - EPOCH_US) / S < 4 * calls / allowed + 5

    play(scene, crm, tries_max=20, per_second=50.0)
    assert sum(crm.served.values()) == calls


def test_after_too_many_calls_the_whole_account_waits_and_one_call_goes_first() -> None:
    """During the pause nobody calls; at its end a single probe is made, and the others follow its success."""

    async def scene(world: World) -> None:
        await asyncio.gather(*(world.rim.converse(saying(get(f"/{n}")), purpose="pull") for n in range(12)))
        after = [seen.at_us for seen in world.far.seen if seen.at_us >= EPOCH_US + 1 * S]
        pause_end_us = EPOCH_US + 5 * S
        assert after[0] >= pause_end_us
        assert len([at for at in after if at < after[0] + 0.05 * S]) == 1

    play(scene, Script((429, {"retry-after": "5"}, b""), ok()))


def test_a_paused_account_does_not_hold_calls_for_longer_than_a_conversation_may_wait() -> None:
    """A wish of ten minutes: those who wait and those who come are told when to come back, without a request."""

    async def scene(world: World) -> None:
        results = await asyncio.gather(
            *(world.rim.converse(saying(get(f"/{n}")), purpose="pull") for n in range(30)), return_exceptions=True
        )
        assert all(isinstance(result, CrmUnavailable) for result in results)
        assert len(world.far.seen) <= 8
        (reply,) = await world.rim.converse(saying(post()), purpose="push")
        assert isinstance(reply, NoReply)
        assert not reply.sent
        assert reply.retry_at_us >= EPOCH_US + 600 * S

    play(scene, Script((429, {"retry-after": "600"}, b"")))


def test_commands_go_before_pulls_before_audits_before_backfills() -> None:
    """With one call in flight, waiting calls go by rank, and within a rank as they came."""

    async def scene(world: World) -> None:
        purposes = ["backfill", "audit", "pull", "pull", "push", "backfill", "push"]
        talks = [world.rim.converse(saying(get(f"/{n}")), purpose=purpose) for n, purpose in enumerate(purposes)]
        await asyncio.gather(*talks)
        assert [seen.path for seen in world.far.seen] == ["/0", "/4", "/6", "/2", "/3", "/1", "/5"]

    play(scene, ok, in_flight=1)


def test_a_day_used_up_stops_the_account_until_its_midnight() -> None:
    """After the CRM's word nobody calls before midnight in the account's zone; then it goes on."""

    async def scene(world: World) -> None:
        world.rim.learn(Account(account_id="1", name="", time_zone="UTC", fields={}))
        with pytest.raises(QuotaExhausted) as caught:
            await world.rim.converse(saying(get()), purpose="pull")
        assert caught.value.retry_at_us == EPOCH_US + (18 * 3600 + 60) * S
        (reply,) = await world.rim.converse(saying(post()), purpose="push")
        assert reply == NoReply(sent=False, reason="crm.quota-day", retry_at_us=caught.value.retry_at_us)
        assert len(world.far.seen) == 1
        await world.clock.sleep(18 * 3600 + 61)
        await world.rim.converse(saying(get()), purpose="pull")

    play(scene, Script((429, {"x-quota": "day"}, b""), ok()))


def test_a_dead_crm_is_left_alone_and_probed_once() -> None:
    """Open after n faults in a row: no request until the pause is over, then one; its success closes the breaker."""

    async def scene(world: World) -> None:
        for _ in range(2):
            with pytest.raises(CrmUnavailable):
                await world.rim.converse(saying(get()), purpose="pull")
        assert world.rim.state().breaker == "open"
        asked = len(world.far.seen)
        (reply,) = await world.rim.converse(saying(post()), purpose="push")
        assert isinstance(reply, NoReply)
        assert not reply.sent
        assert reply.reason == "crm.suspended"
        assert len(world.far.seen) == asked == 6
        await world.clock.sleep((reply.retry_at_us - world.clock.now_us()) / S)
        world.far.answer = ok
        results = await asyncio.gather(
            *(world.rim.converse(saying(get()), purpose="pull") for _ in range(5)), return_exceptions=True
        )
        # One went as the probe; those that came while it was under way were told to come back.
        assert sum(isinstance(result, CrmUnavailable) for result in results) == 4
        assert world.rim.state().breaker == "closed"

    play(scene, Script(NotSent("http.connect-error")), breaker_faults=6, breaker_open_s=100.0)


def test_a_probe_that_is_cancelled_leaves_the_way_to_the_next() -> None:
    """The half-open breaker does not wait for ever for a probe that nobody waits for."""

    async def scene(world: World) -> None:
        with pytest.raises(CrmUnavailable):
            await world.rim.converse(saying(get()), purpose="pull")
        await world.clock.sleep(100)
        world.far.answer = ok
        probe = asyncio.ensure_future(world.rim.converse(saying(get()), purpose="pull"))
        await world.clock.sleep(0.01)
        assert world.rim.state().breaker == "half-open"
        probe.cancel()
        await asyncio.gather(probe, return_exceptions=True)
        await world.rim.converse(saying(get()), purpose="pull")
        assert world.rim.state().breaker == "closed"

    play(scene, Script(NotSent("http.connect-error")), breaker_faults=4, breaker_open_s=50.0)


def test_a_lost_lease_goes_through_and_a_busy_ledger_costs_a_write_nothing() -> None:
    """LeaseLost ends the work at once; LedgerBusy before a write means that it was not sent."""

    async def scene(world: World) -> None:
        world.store.fault = LedgerBusy("ledger.busy", "busy")
        (reply,) = await world.rim.converse(saying(post()), purpose="push")
        assert isinstance(reply, NoReply)
        assert (reply.sent, reply.reason) == (False, "ledger.busy")
        with pytest.raises(LedgerBusy):
            await world.rim.converse(saying(get()), purpose="pull")
        world.store.fault = LeaseLost("lease.lost", "lost")
        with pytest.raises(LeaseLost):
            await world.rim.converse(saying(post()), purpose="push")
        assert not world.far.seen

    play(scene, ok)


def test_a_call_that_names_an_unknown_budget_or_purpose_is_a_bug() -> None:
    """Said at once, not silently unlimited."""

    async def scene(world: World) -> None:
        with pytest.raises(Bug, match="budget"):
            await world.rim.converse(saying(get(budget="serach")), purpose="pull")
        with pytest.raises(Bug, match="purpose"):
            await world.rim.converse(saying(get()), purpose="pulls")

    play(scene, ok, budgets={"search": 4.0})


def test_a_named_budget_has_its_own_rate() -> None:
    """Searches keep to 4 a second while other calls pass them."""

    async def scene(world: World) -> None:
        talks = [world.rim.converse(saying(get(f"/s{n}", budget="search")), purpose="pull") for n in range(12)]
        talks += [world.rim.converse(saying(get(f"/g{n}")), purpose="backfill") for n in range(12)]
        await asyncio.gather(*talks)
        searches = [seen.at_us for seen in world.far.seen if "/s" in seen.path]
        others = [seen.at_us for seen in world.far.seen if "/g" in seen.path]
        assert all(later - sooner >= S // 4 for sooner, later in pairwise(searches))
        assert max(others) < EPOCH_US + S

    play(scene, ok, budgets={"search": 4.0})


def test_the_crms_clock_is_a_lower_bound_and_a_caches_answer_is_not_believed() -> None:
    """The Date header is cut to seconds and old by the time it arrives: what we say is never ahead of the CRM's clock."""

    async def scene(world: World) -> None:
        assert world.rim.crm_now_us() == world.clock.now_us()
        await world.rim.converse(saying(get()), purpose="pull")
        ahead_us = 3600 * S  # the CRM's clock is an hour ahead of ours
        assert world.clock.now_us() + ahead_us - 2 * S <= world.rim.crm_now_us() <= world.clock.now_us() + ahead_us
        before_us = world.rim.state().skew_us
        await world.rim.converse(saying(get()), purpose="pull")
        assert world.rim.state().skew_us == before_us
        await world.rim.converse(saying(get()), purpose="pull")
        assert world.rim.state().skew_us == before_us

    hour = "Sun, 01 Mar 2026 07:00:00 GMT"
    old = "Sun, 01 Mar 2020 01:00:00 GMT"
    play(scene, Script(ok(date=hour), ok(date=old, age="77"), ok(date="not a date")))


def test_one_wrong_time_moves_no_clock_and_two_that_agree_do() -> None:
    """A gateway's refusal has the gateway's clock; a jump in a good answer is believed when the next one says so too."""

    async def scene(world: World) -> None:
        told = []
        for _ in range(5):
            await world.rim.converse(saying(get()), purpose="pull")
            told.append(round(world.rim.state().skew_us / 3600e6, 1))
        assert told == [1.0, 1.0, 1.0, 1.0, 2.0]

    one, two, ten = (f"Sun, 01 Mar 2026 {hour:02d}:00:00 GMT" for hour in (7, 8, 16))
    refused = (404, {"date": ten}, b"{}")
    play(scene, Script(ok(date=one), refused, ok(date=ten), ok(date=two), ok(date=two)))


BEHAVIOURS: dict[str, Answer | Exception] = {
    "ok": ok(),
    "lost": AnswerLost("http.read-error"),
    "late": AnswerLost("http.read-timeout"),
    "unsent": NotSent("http.connect-error"),
    "busy": (429, {"retry-after": "1"}, b""),
    "locked": (423, {}, b""),
    "stop": (403, {}, b""),
}
"""What a CRM may do with a write; the first two carry it out."""


@given(st.lists(st.sampled_from(list(BEHAVIOURS)), min_size=1, max_size=12))
def test_a_write_takes_effect_at_most_once_for_each_answer_the_talk_is_given(faults: list[str]) -> None:
    """Whatever the network and the CRM do: an effect that the talk is not told of is only ever one it is told nobody knows."""
    effects: list[str] = []
    turns = iter(faults)

    def crm(seen: Seen) -> Answer:
        fault = next(turns, "ok")
        if fault in {"ok", "lost"}:
            effects.append(seen.path)
        answer = BEHAVIOURS[fault]
        if isinstance(answer, Exception):
            raise answer
        return answer

    async def scene(world: World) -> None:
        for number in range(6):
            path = f"/{number}"
            try:
                (reply,) = await world.rim.converse(saying(post(path)), purpose="push")
            except ConnectionStopped:
                assert effects.count(path) == 0
                continue
            if isinstance(reply, HttpReply):
                assert effects.count(path) == 1
            else:
                assert effects.count(path) <= (1 if reply.sent else 0)

    play(scene, crm)
