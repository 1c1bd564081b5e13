"""A CRM in the process, on virtual time, and a rim that talks to it."""

from __future__ import annotations

import json
from collections.abc import Awaitable, Callable, Coroutine, Generator, Mapping
from dataclasses import dataclass, field, replace
from typing import Any, TypeVar, cast

from sales_crm_bridge.crm_http import Exchange, Rim, Seal, Terms
from sales_crm_bridge.model import (
    Answered,
    Call,
    Capabilities,
    Category,
    Credentials,
    Effect,
    HttpCall,
    HttpReply,
    Quota,
    Reply,
    Secrets,
    SignInAgain,
    SignInRefused,
    Stop,
    TryAgain,
    Verdict,
)
from sales_crm_bridge.ports import CrmAdapter, Talk, ask
from sales_crm_bridge.simulate.loop import VirtualClock, VirtualLoop, run

T = TypeVar("T")

S = 1_000_000
EPOCH_US = 1_772_344_800 * S  # 2026-03-01T06:00:00Z

TERMS = Terms(
    per_second=1000.0,
    in_flight=8,
    tries_max=4,
    retry_first_s=1.0,
    retry_max_s=60.0,
    breaker_faults=1000,
)

Answer = tuple[int, dict[str, str], bytes]


@dataclass(slots=True)
class Seen:
    """One request as the CRM saw it, and when."""

    at_us: int
    method: str
    url: str
    headers: dict[str, str]
    body: bytes

    @property
    def path(self) -> str:
        """The part after the host."""
        return self.url.removeprefix("https://crm.example")


class FarSide:
    """``ports.Transport``: asks ``answer``, which may raise what a transport may, ``latency_s`` after the request."""

    def __init__(self, clock: VirtualClock, answer: Callable[[Seen], Answer | Awaitable[Answer]]) -> None:
        self._clock = clock
        self.answer = answer
        self.latency_s = 0.05
        self.seen: list[Seen] = []
        self.now_in_flight = 0
        self.most_in_flight = 0

    async def send(
        self, method: str, url: str, headers: Any, body: bytes, timeout_s: float
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        """Record the request, take its time, and answer."""
        seen = Seen(self._clock.now_us(), method, url, dict(headers), body)
        self.seen.append(seen)
        self.now_in_flight += 1
        self.most_in_flight = max(self.most_in_flight, self.now_in_flight)
        try:
            await self._clock.sleep(self.latency_s)
            found = self.answer(seen)
            status, said, content = found if isinstance(found, tuple) else await found
            return status, list(said.items()), content
        finally:
            self.now_in_flight -= 1


class Adapter:
    """The least adapter: statuses mean what HTTP says, ``x-quota`` says which budget, sign-in trades a refresh token.

    ``remedies`` False: it does not say what to do about what it refuses.
    """

    name = "test"

    def __init__(self, *, budgets: Mapping[str, float] | None = None, static: bool = False) -> None:
        self.capabilities = Capabilities(batch_max=10, unique_key=True, read_by_key=True, budgets=budgets or {})
        self.static = static
        self.remedies = True

    def authenticate(self, secrets: Secrets, keep: dict[str, str], now_us: int) -> Talk[Credentials | SignInRefused]:
        """A static token, or one exchange of a refresh token that rotates."""
        if self.static:
            return Credentials(headers=(("Authorization", f"Bearer {secrets['token']}"),))
        refresh = keep.get("refresh") or secrets["refresh"]
        reply = yield from ask(
            HttpCall(
                method="POST", path="/oauth/token", effect=Effect.SIGN_IN, body=f"refresh_token={refresh}".encode()
            )
        )
        if reply.status != 200:
            return SignInRefused(code="invalid_grant", remedy="authorise the app again" if self.remedies else "")
        said = json.loads(reply.body)
        return Credentials(
            headers=(("Authorization", f"Bearer {said['access']}"),),
            expires_us=now_us + said["expires_in"] * S if said["expires_in"] else 0,
            keep={"refresh": said["refresh"]} if said.get("refresh") else {},
        )

    def classify(self, reply: HttpReply, effect: Effect) -> Verdict:
        """By the status."""
        after = reply.headers.get("retry-after")
        wait_s = float(after) if after else None
        left = reply.headers.get("x-left")
        match reply.status:
            case 401:
                return SignInAgain(code="EXPIRED")
            case 403:
                remedy = "grant it" if self.remedies else ""
                return Stop(category=Category.PERMISSION, code="MISSING_SCOPES", message="no right", remedy=remedy)
            case 423:
                return TryAgain(wait_s=wait_s, executed=False, code="LOCKED")
            case 429:
                quota = Quota(reply.headers.get("x-quota", "burst"))
                return TryAgain(wait_s=wait_s, quota=quota, executed=False, code="RATE_LIMIT")
            case status if status >= 500:
                return TryAgain(wait_s=wait_s, code="SERVER")
            case _:
                return Answered(calls_left_day=int(left) if left else None)


class Dice:
    """No jitter: every fraction is one half."""

    def fraction(self) -> float:
        """One half."""
        return 0.5

    def name(self) -> str:
        """A name."""
        return "0123456789abcdef"


@dataclass(slots=True)
class Store:
    """What the ledger keeps for one account."""

    kept: bytes = b""
    calls: dict[str, int] = field(default_factory=dict)
    saves: int = 0
    transactions: int = 0
    fault: BaseException | None = None

    async def load(self) -> bytes:
        """What was kept."""
        return self.kept

    async def save(self, sealed: bytes) -> None:
        """Keep it, unless a fault is set."""
        if self.fault is not None:
            raise self.fault
        self.kept = sealed
        self.saves += 1

    async def count(self, day: str, more: int) -> int:
        """Add to a day's calls, unless a fault is set."""
        if self.fault is not None:
            raise self.fault
        self.transactions += 1
        self.calls[day] = self.calls.get(day, 0) + more
        return self.calls[day]


@dataclass(slots=True)
class World:
    """One account: its far side, its store, its rim."""

    clock: VirtualClock
    far: FarSide
    store: Store
    rim: Rim
    exchanges: list[Exchange]
    terms: Terms
    adapter: Adapter

    def restart(self) -> Rim:
        """A new process: what was in memory is gone, the store is what it was."""
        self.rim = _rim(self.clock, self.far, self.store, self.exchanges, self.terms, self.adapter, "seal" * 8)
        return self.rim


def _rim(
    clock: VirtualClock,
    far: FarSide,
    store: Store,
    exchanges: list[Exchange],
    terms: Terms,
    adapter: Adapter,
    seal: str,
) -> Rim:
    return Rim(
        name="acme/crm",
        adapter=cast("CrmAdapter", adapter),
        address="https://crm.example",
        transport=far,
        secrets=Secrets(values={"token": "static-token-1", "refresh": "configured-refresh"}),
        clock=clock,
        dice=Dice(),
        terms=terms,
        count=store.count,
        keep_load=store.load,
        keep_save=store.save,
        seal=Seal((seal,), bound_to="acme/crm") if seal else None,
        on_exchange=exchanges.append,
    )


def play(
    scene: Callable[[World], Coroutine[Any, Any, T]],
    answer: Callable[[Seen], Answer | Awaitable[Answer]],
    *,
    static: bool = True,
    budgets: Mapping[str, float] | None = None,
    seal: str = "seal" * 8,
    **changed: Any,
) -> T:
    """Run ``scene`` on a virtual loop with a CRM that answers as ``answer`` says; ``changed`` are terms."""
    loop = VirtualLoop()
    clock = VirtualClock(loop, EPOCH_US)

    async def main() -> T:
        far, store, exchanges = FarSide(clock, answer), Store(), list[Exchange]()
        terms, adapter = replace(TERMS, **changed), Adapter(budgets=budgets, static=static)
        rim = _rim(clock, far, store, exchanges, terms, adapter, seal)
        world = World(clock, far, store, rim, exchanges, terms, adapter)
        try:
            return await scene(world)
        finally:
            await world.rim.close()

    return run(main(), loop)


def ok(seen: Seen | None = None, **headers: str) -> Answer:
    """A good answer."""
    return 200, {name.replace("_", "-"): value for name, value in headers.items()}, b"{}"


def get(path: str = "/leads", *, budget: str = "") -> HttpCall:
    """A reading call."""
    return HttpCall(method="GET", path=path, effect=Effect.READ, budget=budget)


def post(path: str = "/leads", body: bytes = b'{"a":1}') -> HttpCall:
    """A writing call."""
    return HttpCall(method="POST", path=path, effect=Effect.WRITE, body=body)


def saying(*calls: Call) -> Generator[tuple[Call, ...], tuple[Reply, ...], tuple[Reply, ...]]:
    """A talk that makes these calls at the same time and returns their replies."""
    return (yield calls)


def one_by_one(*calls: Call) -> Generator[tuple[Call, ...], tuple[Reply, ...], list[Reply]]:
    """A talk that makes these calls one after the other."""
    replies: list[Reply] = []
    for call in calls:
        (reply,) = yield (call,)
        replies.append(reply)
    return replies
