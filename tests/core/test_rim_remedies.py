"""Whoever hears that a CRM cannot be reached hears why, and what to do about it."""

from __future__ import annotations

from collections.abc import Callable, Generator
from typing import Any, cast

import pytest

from sales_crm_bridge.crm_http import AnswerLost, NotSent
from sales_crm_bridge.errors import BridgeError, CrmUnavailable, EnvironmentFault, LedgerBusy
from sales_crm_bridge.rim.remedies import REMEDIES, remedy_of
from sales_crm_bridge.wiring import Fenced
from tests.core.rim_kit import Answer, Seen, World, get, ok, play, saying

WAYS: dict[str, Answer | Exception] = {
    "no connection": NotSent("http.connect-error"),
    "forbidden": NotSent("http.private-address", forbidden=True),
    "the lease is over": NotSent("lease.lost"),
    "lost": AnswerLost("http.read-timeout"),
    "too large": AnswerLost("http.body-too-large", hopeless=True),
    "a code that nobody knows": AnswerLost("http.no-such-code"),
    "down": (503, {}, b""),
    "locked for long": (423, {"retry-after": "7200"}, b""),
    "too many calls": (429, {"retry-after": "2"}, b""),
    "a long pause": (429, {"retry-after": "7200"}, b""),
    "the day is used up": (429, {"x-quota": "day"}, b""),
    "not accepted": (401, {}, b""),
    "no rights": (403, {}, b""),
}
"""What a CRM may do with every call, by what a person would call it."""


def always(answer: Answer | Exception) -> Callable[[Seen], Answer]:
    def crm(_: Seen) -> Answer:
        if isinstance(answer, Exception):
            raise answer
        return answer

    return crm


async def fault_of(world: World, talk: Any = None) -> BridgeError:
    """What a conversation ends with."""
    with pytest.raises(BridgeError) as caught:
        await world.rim.converse(talk if talk is not None else saying(get()), purpose="check")
    return caught.value


@pytest.mark.parametrize("way", WAYS)
@pytest.mark.parametrize("static", [True, False], ids=["token", "sign-in"])
def test_every_fault_of_the_rim_says_what_to_do(way: str, static: bool) -> None:
    """Whatever keeps a call from its answer, at the first time and while the account is left alone for it."""

    async def scene(world: World) -> None:
        world.adapter.remedies = False
        for _ in range(4):
            fault = await fault_of(world)
            assert fault.code
            assert fault.message
            assert fault.remedy

    play(scene, always(WAYS[way]), static=static, breaker_faults=6)


@pytest.mark.parametrize(
    "fault",
    [
        LedgerBusy("ledger.busy", "busy"),
        EnvironmentFault("ledger.unreachable", "away"),
        CrmUnavailable("crm.record-unreadable", "odd", retry_at_us=0),
    ],
    ids=lambda fault: str(fault.code),
)
def test_a_fault_that_comes_from_elsewhere_says_what_to_do_as_well(fault: BridgeError) -> None:
    """The ledger's, met on the way, and an adapter's own, which ends its talk."""

    def talk() -> Generator[Any, Any, None]:
        yield (get(),)
        raise fault

    async def scene(world: World) -> None:
        assert (await fault_of(world, talk())).remedy
        world.store.fault = fault
        world.restart()
        assert (await fault_of(world)).remedy

    play(scene, ok)


def test_an_account_that_is_left_alone_says_why() -> None:
    """The breaker's fault has the last cause's code, words and remedy, redacted; a new cause replaces it, a success ends it."""

    async def scene(world: World) -> None:
        await fault_of(world)
        suspended = await fault_of(world, saying(get("/leads/jane@doe.example")))
        assert suspended.code == "crm.suspended"
        assert "http.connect-error: GET /leads: no connection" in suspended.message
        assert suspended.remedy == REMEDIES["http.connect-error"]
        await world.clock.sleep(60)
        world.far.answer = always((503, {}, b""))
        await fault_of(world, saying(get("/leads/jane@doe.example")))
        suspended = await fault_of(world)
        assert "SERVER: GET ***: answer 503" in suspended.message
        assert "jane" not in suspended.message
        await world.clock.sleep(120)
        world.far.answer = ok
        await world.rim.converse(saying(get()), purpose="check")
        assert world.rim.state().breaker == "closed"

    play(scene, always(NotSent("http.connect-error")), breaker_faults=4)


@pytest.mark.parametrize(
    ("code", "word"),
    [
        ("http.no-such", "network"),
        ("ledger.no-such", "database"),
        ("bug.no-such", "report"),
        ("NO_SUCH", "documentation"),
    ],
)
def test_a_code_that_the_table_lacks_is_answered_by_its_area(code: str, word: str) -> None:
    """A transport can raise any of its library's errors, and a CRM has codes of its own."""
    assert word in remedy_of(code)


async def test_a_call_that_comes_after_the_lease_has_a_code_like_any_other() -> None:
    """It stands in logs and in ``status``, so it is one that the operations page explains."""
    with pytest.raises(NotSent) as caught:
        await Fenced(cast("Any", None), lambda: False).send("GET", "https://crm.example/", [], b"", 1.0)
    assert caught.value.reason in REMEDIES
