"""Signing in: one exchange for many, nothing rotated is lost, no credential is used before it is safe."""

from __future__ import annotations

import asyncio
import json
import logging
from typing import Any

import pytest

from sales_crm_bridge.crm_http import NotSent
from sales_crm_bridge.errors import ConnectionStopped, CrmUnavailable, LedgerBusy
from sales_crm_bridge.model import HttpReply
from tests.core.rim_kit import EPOCH_US, Answer, S, Seen, World, get, ok, one_by_one, play, post, saying


class Tokens:
    """A CRM with rotating refresh tokens: each exchange makes the one before useless, access tokens live ``life_s``."""

    def __init__(self, life_s: int = 1800) -> None:
        self.life_s = life_s
        self.refresh = "configured-refresh"
        self.access: dict[str, int] = {}
        self.exchanges = 0
        self.down = False
        self.accepts = True

    def __call__(self, seen: Seen) -> Answer:
        """Exchange a token, or check one."""
        if seen.path != "/oauth/token":
            token = seen.headers.get("authorization", "").removeprefix("Bearer ")
            return ok() if self.accepts and self.access.get(token, 0) > seen.at_us else (401, {}, b"")
        if self.down:
            raise NotSent("http.connect-error")
        if seen.body != f"refresh_token={self.refresh}".encode():
            return 400, {}, b'{"error":"invalid_grant"}'
        self.exchanges += 1
        access, self.refresh = f"access-{self.exchanges}", f"refresh-{self.exchanges}"
        self.access[access] = seen.at_us + self.life_s * S
        said = {"access": access, "refresh": self.refresh, "expires_in": self.life_s}
        return 200, {}, json.dumps(said).encode()


def oauth(scene: Any, crm: Any, **more: Any) -> None:
    """Play with rotating tokens."""
    play(scene, crm, static=False, **more)


def test_many_calls_make_one_exchange() -> None:
    """However many calls find no token, one of them signs in and all use what it brought."""
    crm = Tokens()

    async def scene(world: World) -> None:
        await asyncio.gather(*(world.rim.converse(saying(get()), purpose="pull") for _ in range(20)))
        assert crm.exchanges == 1
        assert world.store.saves == 1

    oauth(scene, crm)


@pytest.mark.parametrize("static", [True, False])
def test_only_an_exchange_is_told_as_a_sign_in(caplog: pytest.LogCaptureFixture, *, static: bool) -> None:
    """A token that is only handed on is none: whoever looks for sign-ins in the log finds those that were made."""
    caplog.set_level(logging.INFO, logger="sales_crm_bridge")

    async def scene(world: World) -> None:
        await world.rim.converse(saying(get()), purpose="pull")

    play(scene, (lambda _: ok()) if static else Tokens(), static=static)
    told = [one for one in caplog.records if vars(one).get("event") == "sign-in.done"]
    assert len(told) == (0 if static else 1)


def test_two_concurrent_401s_make_one_refresh() -> None:
    """Two calls that were refused with the same token: one exchange, two replays, two answers."""
    crm = Tokens()

    async def scene(world: World) -> None:
        await world.rim.converse(one_by_one(*(get() for _ in range(4))), purpose="pull")
        crm.access.clear()  # the CRM forgets our token mid-life
        replies = await world.rim.converse(saying(get("/a"), post("/b")), purpose="push")
        assert [isinstance(reply, HttpReply) for reply in replies] == [True, True]
        assert crm.exchanges == 2
        assert [seen.path for seen in world.far.seen].count("/b") == 2

    oauth(scene, crm)


def test_a_401_for_a_token_that_was_renewed_meanwhile_makes_no_second_refresh() -> None:
    """The slow call's refusal arrives when the quick one has renewed: it is replayed with the new token as it is."""
    crm = Tokens()

    async def scene(world: World) -> None:
        await world.rim.converse(one_by_one(*(get() for _ in range(4))), purpose="pull")
        crm.access.clear()

        async def answer(seen: Seen) -> Answer:
            found = crm(seen)
            await world.clock.sleep(5.0 if seen.path == "/slow" else 0.0)
            return found

        world.far.answer = answer
        await world.rim.converse(saying(get("/quick"), get("/slow")), purpose="pull")
        assert crm.exchanges == 2
        assert [seen.path for seen in world.far.seen].count("/slow") == 2

    oauth(scene, crm)


def test_a_token_that_dies_in_the_middle_of_a_page_walk_is_renewed_unseen() -> None:
    """The talk gets all its pages; one of them took a refresh and a replay."""
    crm = Tokens()

    async def scene(world: World) -> None:
        def walk() -> Any:
            for number in range(6):
                if number == 3:
                    crm.access.clear()
                (reply,) = yield (get(f"/page/{number}"),)
                assert reply.status == 200
            return "walked"

        assert await world.rim.converse(walk(), purpose="backfill") == "walked"
        assert crm.exchanges == 2

    oauth(scene, crm)


def test_a_replay_after_a_renewal_is_not_one_of_the_tries() -> None:
    """Even an account that allows a single try gets its replay."""
    crm = Tokens()

    async def scene(world: World) -> None:
        await world.rim.converse(saying(get()), purpose="pull")
        crm.access.clear()
        (reply,) = await world.rim.converse(saying(post()), purpose="push")
        assert isinstance(reply, HttpReply)

    oauth(scene, crm, tries_max=1)


def test_a_second_401_in_a_row_stops_the_connection() -> None:
    """One refresh, one replay, no loop; a person must act."""
    crm = Tokens()
    crm.accepts = False

    async def scene(world: World) -> None:
        with pytest.raises(ConnectionStopped) as caught:
            await world.rim.converse(saying(post()), purpose="push")
        assert caught.value.code == "sign-in.not-accepted"
        assert crm.exchanges == 2
        assert [seen.path for seen in world.far.seen].count("/leads") == 2

    oauth(scene, crm)


def test_a_token_is_renewed_ahead_of_its_end() -> None:
    """120 s before expiry the next call signs in first; no call ever meets a 401."""
    crm = Tokens(life_s=1800)

    async def scene(world: World) -> None:
        for _ in range(100):
            await world.rim.converse(saying(get()), purpose="pull")
            await world.clock.sleep(60)
        assert crm.exchanges == pytest.approx(100 * 60 / 1680, abs=1)
        assert len(world.far.seen) == 100 + crm.exchanges

    oauth(scene, crm)


def test_a_token_shorter_than_the_margin_does_not_sign_in_for_every_call() -> None:
    """The margin is at most half a token's life."""
    crm = Tokens(life_s=100)

    async def scene(world: World) -> None:
        await world.rim.converse(one_by_one(*(get() for _ in range(50))), purpose="pull")
        assert crm.exchanges == 1

    oauth(scene, crm)


def test_while_the_old_token_holds_a_sign_in_that_is_down_hurts_nobody() -> None:
    """Renewal ahead of time fails: calls go on with the old token until its last moment, then say so."""
    crm = Tokens(life_s=1800)

    async def scene(world: World) -> None:
        await world.rim.converse(saying(get()), purpose="pull")
        crm.down = True
        await world.clock.sleep(1700)
        await world.rim.converse(saying(get()), purpose="pull")
        await world.clock.sleep(100)
        with pytest.raises(CrmUnavailable):
            await world.rim.converse(saying(get()), purpose="pull")
        crm.down = False
        await world.rim.converse(saying(get()), purpose="pull")

    oauth(scene, crm)


def test_a_rotated_secret_is_in_the_ledger_before_its_token_is_used() -> None:
    """At the first call with the new token the sealed secret is already saved, and sealed it is."""
    crm = Tokens()

    async def scene(world: World) -> None:
        def answer(seen: Seen) -> Answer:
            assert seen.path == "/oauth/token" or world.store.saves == crm.exchanges
            return crm(seen)

        world.far.answer = answer
        await world.rim.converse(saying(get()), purpose="pull")
        assert world.store.kept
        assert b"refresh" not in world.store.kept
        assert world.far.seen[-1].path == "/leads"

    oauth(scene, crm)


def test_a_restart_goes_on_with_the_rotated_secret() -> None:
    """The configured refresh token is long dead; the kept one signs in."""
    crm = Tokens()

    async def scene(world: World) -> None:
        await world.rim.converse(saying(get()), purpose="pull")
        await world.restart().converse(saying(get()), purpose="pull")
        assert crm.exchanges == 2
        assert [seen.body for seen in world.far.seen if seen.path == "/oauth/token"] == [
            b"refresh_token=configured-refresh",
            b"refresh_token=refresh-1",
        ]

    oauth(scene, crm)


def test_a_crash_between_exchange_and_save_leaves_a_way_in() -> None:
    """The newest secret was lost with the process: the kept one, the one before, and the configured one are tried in turn."""
    crm = Tokens()

    async def scene(world: World) -> None:
        await world.rim.converse(saying(get()), purpose="pull")
        crm.access.clear()
        await world.rim.converse(saying(get()), purpose="pull")
        # A CRM that keeps the previous refresh token good until the new one is used, and a process that died in between.
        crm.refresh = "refresh-1"
        await world.restart().converse(saying(get()), purpose="pull")
        tried = [seen.body.decode() for seen in world.far.seen if seen.path == "/oauth/token"]
        assert tried[-2:] == ["refresh_token=refresh-2", "refresh_token=refresh-1"]
        # A person authorises the app anew, and puts the new token into the configuration: it is reached too.
        crm.refresh = "configured-refresh"
        await world.restart().converse(saying(get()), purpose="pull")

    oauth(scene, crm)


def test_a_sign_in_refused_with_everything_stops_with_a_remedy() -> None:
    """No way in is left: ConnectionStopped with the CRM's word and what to do."""
    crm = Tokens()
    crm.refresh = "nobody-knows"

    async def scene(world: World) -> None:
        with pytest.raises(ConnectionStopped, match="invalid_grant") as caught:
            await world.rim.converse(saying(post()), purpose="push")
        assert (caught.value.code, caught.value.remedy) == ("sign-in.refused", "authorise the app again")
        assert not world.rim.state().signed_in

    oauth(scene, crm)


def test_a_save_that_fails_is_made_up_before_the_token_is_used() -> None:
    """The ledger is busy after the exchange: no second exchange, and no call with a token whose secret is not safe."""
    crm = Tokens()

    async def scene(world: World) -> None:
        world.store.fault = LedgerBusy("ledger.busy", "busy")
        with pytest.raises(LedgerBusy):
            await world.rim.converse(saying(get()), purpose="pull")
        assert [seen.path for seen in world.far.seen] == ["/oauth/token"]
        world.store.fault = None
        await world.rim.converse(saying(get()), purpose="pull")
        assert crm.exchanges == 1

    oauth(scene, crm)


def test_a_cancelled_call_does_not_lose_the_exchange_it_began() -> None:
    """The conversation is cancelled while the CRM rotates the secret: what came back is saved all the same."""
    crm = Tokens()

    async def scene(world: World) -> None:
        task = asyncio.ensure_future(world.rim.converse(saying(get()), purpose="pull"))
        await world.clock.sleep(0.01)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        await world.rim.close()
        assert (crm.exchanges, world.store.saves) == (1, 1)
        await world.restart().converse(saying(get()), purpose="pull")

    oauth(scene, crm)


def test_without_a_seal_key_nothing_is_kept_in_the_clear() -> None:
    """A CRM that rotates its secret needs the key: the connection stops and says which setting is missing."""
    crm = Tokens()

    async def scene(world: World) -> None:
        with pytest.raises(ConnectionStopped, match="seal_key") as caught:
            await world.rim.converse(saying(get()), purpose="pull")
        assert caught.value.code == "sign-in.no-seal-key"
        assert not world.store.kept

    oauth(scene, crm, seal="")


def test_what_does_not_open_is_passed_over_and_the_configuration_signs_in() -> None:
    """The seal key was changed, or the bytes were: said in the log, and the configured secret is tried."""
    crm = Tokens()

    async def scene(world: World) -> None:
        world.store.kept = b"\x01 not ours at all"
        await world.rim.converse(saying(get()), purpose="pull")
        assert crm.exchanges == 1

    oauth(scene, crm)


def test_a_static_token_needs_no_request_and_the_adapter_cannot_override_it() -> None:
    """No exchange; the credentials' header wins over one of the same name in a call."""

    async def scene(world: World) -> None:
        call = get()
        await world.rim.converse(
            saying(type(call)(**{**_fields(call), "headers": (("AUTHORIZATION", "x"),)})), purpose="pull"
        )
        (seen,) = world.far.seen
        assert seen.headers["authorization"] == "Bearer static-token-1"
        assert seen.at_us >= EPOCH_US
        assert world.rim.state().signed_in

    play(scene, ok)


def _fields(call: Any) -> dict[str, Any]:
    return {name: getattr(call, name) for name in call.__struct_fields__}
