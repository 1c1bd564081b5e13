"""Replicas share the leases out: each takes its fair share, gives what is too much back, and takes over what a dead one held."""

from __future__ import annotations

from collections.abc import AsyncIterator, Sequence
from typing import Any, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from sales_crm_bridge.errors import BridgeError, EnvironmentFault, LedgerBusy
from sales_crm_bridge.keeper import PROCESS, Keeper
from sales_crm_bridge.ledger import SqlLedger, open_ledger
from sales_crm_bridge.state import HOLD, Fence

TTL_S = 20.0
RENEW_US = 5_000_000
WANTED = [f"connection/t{number}" for number in range(6)]


class Away:
    """A ledger of which the steps in ``faults`` raise."""

    def __init__(self, ledger: SqlLedger) -> None:
        self._ledger = ledger
        self.faults: dict[str, BridgeError] = {}

    def __getattr__(self, name: str) -> Any:
        async def step(*args: Any) -> Any:
            if name in self.faults:
                raise self.faults[name]
            return await getattr(self._ledger, name)(*args)

        return step


class Replicas:
    """Processes on one ledger, whose clocks agree; time stands still but for ``pass_us``."""

    def __init__(self, ledger: SqlLedger) -> None:
        self.ledger = ledger
        self.now = 1_000_000_000
        self.keepers: dict[str, Keeper] = {}
        self.away: dict[str, Away] = {}

    def now_us(self) -> int:
        return self.now

    def start(self, *names: str) -> None:
        for name in names:
            self.away[name] = Away(self.ledger)
            self.keepers[name] = Keeper(cast("Any", self.away[name]), cast("Any", self), name, TTL_S)

    async def turn(self, name: str, wanted: Sequence[str] = WANTED) -> list[str]:
        """One turn of a process that ends the work under what is too much at once; what it holds then."""
        keeper = self.keepers[name]
        await keeper.turn(wanted)
        await keeper.give_back(keeper.surplus)
        return self.held(name, wanted)

    async def turns(self, rounds: int = 2, wanted: Sequence[str] = WANTED) -> dict[str, int]:
        """Let everybody have so many turns, and some time pass between them; how many leases each holds in the end."""
        for _ in range(rounds):
            self.now += RENEW_US
            for name in self.keepers:
                await self.turn(name, wanted)
        return {name: len(self.held(name, wanted)) for name in self.keepers}

    def held(self, name: str, wanted: Sequence[str] = WANTED) -> list[str]:
        return [lease for lease in wanted if self.keepers[name].holds(lease) is not None]

    async def holders(self) -> dict[str, str]:
        """Who holds what by the ledger."""
        return {lease.name: lease.holder for lease in await self.ledger.leases() if lease.until_us > self.now}

    def die(self, name: str) -> None:
        """It makes no further turn, and gives nothing back."""
        del self.keepers[name]


@pytest.fixture
async def replicas() -> AsyncIterator[Replicas]:
    """Give a deployment without a process."""
    ledger = await open_ledger("sqlite://:memory:")
    yield Replicas(ledger)
    await ledger.close()


async def test_one_replica_takes_everything_in_its_first_turn(replicas: Replicas) -> None:
    """Nobody else is alive; nothing of it is too much."""
    replicas.start("p1")
    assert await replicas.turn("p1") == WANTED
    assert replicas.keepers["p1"].surplus == []


async def test_a_newcomer_gets_its_share_from_those_who_have_too_much(replicas: Replicas) -> None:
    """6 leases: 6; then 3 and 3; then 2, 2 and 2; no more is moved than that takes, and nothing after that."""
    replicas.start("p1")
    assert await replicas.turns() == {"p1": 6}
    replicas.start("p2")
    assert await replicas.turns() == {"p1": 3, "p2": 3}
    replicas.start("p3")
    assert await replicas.turns() == {"p1": 2, "p2": 2, "p3": 2}
    settled = await replicas.holders()
    await replicas.turns(5)
    assert await replicas.holders() == settled
    moves = [lease.epoch - 1 for lease in await replicas.ledger.leases() if lease.name in WANTED]
    assert sum(moves) == 3 + 2


async def test_what_is_too_much_is_held_until_it_is_given_back(replicas: Replicas) -> None:
    """The work under it may end first: it is renewed as ever, and nobody else can have it before."""
    replicas.start("p1", "p2")
    await replicas.turn("p1")
    assert await replicas.turn("p2") == []
    keeper = replicas.keepers["p1"]
    for _ in range(10):
        replicas.now += RENEW_US
        held = await keeper.turn(WANTED)
        assert keeper.surplus == WANTED[3:]
        assert sorted(held) == WANTED
        assert await replicas.turn("p2") == []
    await keeper.give_back([WANTED[4]])
    assert (keeper.surplus, keeper.holds(WANTED[4])) == ([WANTED[3], WANTED[5]], None)
    assert await replicas.turn("p2") == [WANTED[4]]


async def test_more_replicas_than_leases_leave_some_with_none(replicas: Replicas) -> None:
    """One each for as many as there are; the others stand by, and one of them takes over what becomes free."""
    replicas.start("p1", "p2", "p3", "p4")
    wanted = WANTED[:2]
    assert await replicas.turns(3, wanted) == {"p1": 1, "p2": 1, "p3": 0, "p4": 0}
    replicas.die("p1")
    assert await replicas.turns(6, wanted) == {"p2": 1, "p3": 1, "p4": 0}


async def test_where_nothing_is_wanted_nothing_is_held(replicas: Replicas) -> None:
    """A process without a tenant is alive all the same, and counts for the shares of the others."""
    replicas.start("p1")
    assert await replicas.turn("p1", []) == []
    assert await replicas.holders() == {PROCESS + "p1": "p1"}


async def test_a_dead_replicas_leases_are_shared_among_those_who_live(replicas: Replicas) -> None:
    """Not before its time is over, and then all of them, whoever looks first; each under an epoch above the dead one's."""
    replicas.start("p1", "p2", "p3")
    assert await replicas.turns(3) == {"p1": 2, "p2": 2, "p3": 2}
    lost, before = replicas.held("p3"), replicas.keepers["p3"]
    fences = {name: before.holds(name) for name in lost}
    replicas.die("p3")
    for _ in range(3):
        assert await replicas.turns(1) == {"p1": 2, "p2": 2}
    assert await replicas.turns(2) == {"p1": 3, "p2": 3}
    holders = await replicas.holders()
    assert {holders[name] for name in lost} == {"p1", "p2"}
    for name, fence in fences.items():
        assert fence is not None
        now = replicas.keepers[holders[name]].holds(name)
        assert now is not None
        assert now.epoch > fence.epoch
        assert not before.still(fence), "the dead one would still make calls"


async def test_one_that_leaves_makes_room_at_once(replicas: Replicas) -> None:
    """What it gives back at its end is free before its time is over, and it counts no more."""
    replicas.start("p1", "p2")
    assert await replicas.turns() == {"p1": 3, "p2": 3}
    await replicas.keepers["p1"].drop_all()
    assert replicas.held("p1") == []
    replicas.die("p1")
    assert await replicas.turn("p2") == WANTED


async def test_one_that_is_leaving_counts_no_more_and_keeps_what_it_still_wants(replicas: Replicas) -> None:
    """The others take up all that it gives back, beyond their share while it lived; what it works under is its own to the end."""
    replicas.start("p1", "p2")
    assert await replicas.turns() == {"p1": 3, "p2": 3}
    keeper = replicas.keepers["p1"]
    mine = replicas.held("p1")
    for _ in range(2):
        replicas.now += RENEW_US
        assert sorted(await keeper.turn(mine[:1], leaving=True)) == mine[: 1 + len(keeper.surplus)]
        await keeper.give_back(keeper.surplus)
        await replicas.turn("p2")
    assert (replicas.held("p1"), len(replicas.held("p2"))) == (mine[:1], 5)
    assert PROCESS + "p1" not in await replicas.holders()


async def test_a_lease_that_is_no_longer_wanted_is_too_much(replicas: Replicas) -> None:
    """A tenant that is gone: its lease goes back, and the others stay."""
    replicas.start("p1")
    await replicas.turn("p1")
    await replicas.keepers["p1"].turn(WANTED[1:])
    assert replicas.keepers["p1"].surplus == WANTED[:1]
    await replicas.turn("p1", WANTED[1:])
    assert replicas.keepers["p1"].holds(WANTED[0]) is None
    assert WANTED[0] not in await replicas.holders()


@pytest.mark.parametrize("step", ["leases_renew", "leases"])
@pytest.mark.parametrize("fault", [LedgerBusy("ledger.busy", "busy"), EnvironmentFault("ledger.unreachable", "away")])
async def test_a_ledger_that_is_away_costs_a_lease_only_when_its_time_is_over(
    replicas: Replicas, step: str, fault: BridgeError, caplog: pytest.LogCaptureFixture
) -> None:
    """Until then work goes on under it; from then on nothing is held by our own clock, though nobody has taken it yet."""
    replicas.start("p1")
    await replicas.turn("p1")
    fence = replicas.keepers["p1"].holds(WANTED[0])
    assert fence == Fence(lease=WANTED[0], holder="p1", epoch=1)
    replicas.away["p1"].faults[step] = fault
    replicas.now += round(TTL_S * 1e6) - 1
    assert sorted(await replicas.keepers["p1"].turn(WANTED)) == WANTED
    assert replicas.keepers["p1"].still(fence)
    replicas.now += 1
    assert await replicas.keepers["p1"].turn(WANTED) == {}
    assert not replicas.keepers["p1"].still(fence)
    assert {(vars(one)["event"], vars(one)["code"]) for one in caplog.records} == {("lease.not-renewed", fault.code)}
    replicas.away["p1"].faults.clear()
    assert await replicas.turn("p1") == WANTED


async def test_a_lease_that_is_ours_again_is_another_one(replicas: Replicas) -> None:
    """Who slept through its lease and takes it back does not go on with what was begun under the old epoch."""
    replicas.start("p1")
    keeper, name = replicas.keepers["p1"], WANTED[0]
    await replicas.turn("p1")
    before = keeper.holds(name)
    replicas.now += round(TTL_S * 1e6)
    await replicas.turn("p1")
    assert (before, keeper.holds(name)) == (
        Fence(lease=name, holder="p1", epoch=1),
        Fence(lease=name, holder="p1", epoch=2),
    )
    assert before is not None
    assert not keeper.still(before)


async def test_what_could_not_be_given_back_is_given_back_later(replicas: Replicas) -> None:
    """No work is done under it from the first try on; the ledger has it for ours until a later try."""
    replicas.start("p1")
    await replicas.turn("p1")
    keeper, away = replicas.keepers["p1"], replicas.away["p1"]
    away.faults["leases_drop"] = LedgerBusy("ledger.busy", "busy")
    with pytest.raises(LedgerBusy):
        await keeper.give_back([WANTED[0]])
    assert keeper.holds(WANTED[0]) is None
    away.faults.clear()
    await keeper.turn(WANTED[1:])
    assert keeper.surplus == WANTED[:1]
    await keeper.give_back(keeper.surplus)
    assert WANTED[0] not in await replicas.holders()


@given(st.integers(0, 12), st.lists(st.integers(0, 4), min_size=1, max_size=12))
async def test_whoever_comes_and_goes_every_lease_finds_one_holder(leases: int, comings: list[int]) -> None:
    """0: the oldest dies; else so many come. When it is quiet: each lease held by one, nobody above the share, rounded up."""
    ledger = await open_ledger("sqlite://:memory:")
    try:
        replicas, wanted, number = Replicas(ledger), [f"connection/{one:02}" for one in range(leases)], 0
        for coming in comings:
            if not coming and len(replicas.keepers) > 1:
                replicas.die(next(iter(replicas.keepers)))
            for _ in range(coming):
                number += 1
                replicas.start(f"p{number}")
            await replicas.turns(1, wanted)
            held = [lease for name in replicas.keepers for lease in replicas.held(name, wanted)]
            assert len(held) == len({*held}), "two hold one lease"
        if not replicas.keepers:
            return
        counts = await replicas.turns(8, wanted)
        assert sum(counts.values()) == leases
        assert max(counts.values()) <= -(-leases // len(counts))
    finally:
        await ledger.close()


async def test_a_lease_that_is_asked_for_is_given_back_and_left_alone(replicas: Replicas) -> None:
    """By whoever has it, however many processes there are, for as long as somebody asks; then one of them takes it again."""
    replicas.start("a", "b")
    await replicas.turns()
    wanted = WANTED[0]
    before = await replicas.holders()
    assert before[wanted] in ("a", "b")
    await replicas.ledger.leases_take([HOLD + wanted], "import", replicas.now, replicas.now + 4 * RENEW_US)
    await replicas.turns(1)
    lent = await replicas.holders()
    assert wanted not in lent
    assert {name: lent[name] for name in WANTED[1:]} == {name: before[name] for name in WANTED[1:]}
    assert wanted in await replicas.ledger.leases_take([wanted], "import", replicas.now, replicas.now + RENEW_US // 2)
    await replicas.turns(1)
    assert wanted not in await replicas.holders()
    await replicas.turns(4)
    assert (await replicas.holders())[wanted] in ("a", "b")
