"""Plays a recorded run again: the very rooms and rim of the bridge, on virtual time, its CRM and its topics made of the bundle.

Nothing here opens a socket or asks the machine's clock or chance: the loop is ``simulate.loop``, the ledger is in memory, answers
come at the times at which they were recorded. So the same bundle gives the same facts, byte for byte.
"""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

from google.protobuf.json_format import ParseDict

from sales_crm_bridge import contract, once, tenants, wiring
from sales_crm_bridge.crm_http import AnswerLost, NotSent
from sales_crm_bridge.errors import ConfigError, RuntimeFault
from sales_crm_bridge.ledger import open_ledger
from sales_crm_bridge.replay.matching import Tape, Unmatched
from sales_crm_bridge.replay.start import Start, WatchedLedger, put
from sales_crm_bridge.settings import Settings
from sales_crm_bridge.simulate.loop import VirtualClock, VirtualLoop, run
from sales_crm_bridge.simulate.topic import Topics, TopicSink, TopicSource
from sales_crm_bridge.simulate.world import SeededDice
from sales_crm_bridge.tasks import end, first

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sales_crm_bridge.replay.bundle import Bundle, Draw, Exchange, Round
    from sales_crm_bridge.replay.matching import Said
    from sales_crm_bridge.service import Service
    from sales_crm_bridge.state import Binding, Command
    from sales_crm_bridge.tenants import Tenant

PARTITIONS = 1
"""Of the intents' topic: intents come in the order in which they were heard, whatever partitions they were in."""

LATE_US = 5_000_000
"""How much later than recorded a round of push may still come."""

SECTIONS = ("http", "intake", "lease", "pull", "push", "relay", "service")
"""Parts of the deployment's settings that decide what a run does."""

SECRET = "env:REPLAY_"  # noqa: S105 - where a bundle's tenant file says that a secret was


def settings_of(settings: Settings) -> dict[str, Any]:
    """What of a deployment's settings a bundle holds, as a file has it."""
    return {name: _written(getattr(settings, name).model_dump()) for name in SECTIONS}


def _written(values: dict[str, Any]) -> dict[str, Any]:
    """Durations with their unit, under the keys that a file has for them."""
    return {
        name.removesuffix("_s") if name.endswith("_s") else name: f"{round(value * 1000)}ms"
        if name.endswith("_s")
        else value
        for name, value in values.items()
    }


class RecordedDice:
    """``ports.Dice``: what chance gave in the recording, in that order, then what a seed gives."""

    def __init__(self, draws: Sequence[Draw], seed: str) -> None:
        self._names = [draw.name for draw in draws if draw.name]
        self._fractions = [draw.fraction for draw in draws if not draw.name]
        self._more = SeededDice(seed)

    def fraction(self) -> float:
        """A number in [0, 1)."""
        return self._fractions.pop(0) if self._fractions else self._more.fraction()

    def name(self) -> str:
        """16 hexadecimal characters."""
        return self._names.pop(0) if self._names else self._more.name()


class PacedLedger:
    """The ledger, in which push finds those commands ready that it found in the recording, and when it did.

    How many commands go into one request depends on moments that no border shows. A round that cannot be had any more, since
    another answer or another mapping has made something else of a command, is passed over.
    """

    def __init__(self, inner: Any, rounds: Sequence[Round], clock: VirtualClock, began_us: int) -> None:
        self._inner = inner
        self._rounds = [one for one in rounds if one.commands]
        self._clock = clock
        self._began_us = began_us

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def commands_ready(self, conn: int, now_us: int, limit: int, *, behind_parked: bool) -> list[Command]:
        """As the inner one, at the time of the next recorded round, and no more than that has."""
        while self._rounds:
            at_us = self._began_us + self._rounds[0].at_us
            await self._clock.sleep((at_us - self._clock.now_us()) / 1e6)
            now_us = self._clock.now_us()
            ready = await self._ready(conn, now_us, limit, behind_parked=behind_parked)
            wanted = self._rounds[0].commands
            found = [one for one in ready if one.message_id in wanted]
            if len(found) == len(wanted):
                del self._rounds[0]
                return found
            if now_us <= at_us + LATE_US:
                return []
            del self._rounds[0]
        return await self._ready(conn, now_us, limit, behind_parked=behind_parked)

    async def _ready(self, conn: int, now_us: int, limit: int, *, behind_parked: bool) -> list[Command]:
        found: list[Command] = await self._inner.commands_ready(conn, now_us, limit, behind_parked=behind_parked)
        return found


@dataclass(slots=True, kw_only=True)
class Played:
    """What came of a replay: the facts in the order in which they were published, and the requests with what answered them.

    ``taken``: the number of the exchange that answered each request, in their order; ``asked``: those requests. ``later``: what
    the commits made of each lead's binding.
    """

    facts: list[bytes] = field(default_factory=list)
    taken: list[int] = field(default_factory=list)
    asked: list[tuple[str, str, bytes]] = field(default_factory=list)
    later: dict[str, list[Binding]] = field(default_factory=dict)
    unmatched: str = ""


class TapeTransport:
    """``ports.Transport`` over a tape: each answer at its recorded time, or as soon as its request is made after that."""

    def __init__(
        self, tape: Tape, exchanges: Sequence[Exchange], played: Played, clock: VirtualClock, began_us: int
    ) -> None:
        self._tape = tape
        self._exchanges = exchanges
        self._played = played
        self._clock = clock
        self._began_us = began_us
        self.stuck = asyncio.Event()
        self.lingers = False
        """Whether requests after the last recorded one wait, as they would have at its end, instead of being unmatched."""

    async def send(
        self, method: str, url: str, headers: Sequence[tuple[str, str]], body: bytes, timeout_s: float
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        """The recorded answer, or the recorded fault; a request that nothing answers ends the replay."""
        if self.lingers and not self._tape.left:
            await self._clock.sleep(timeout_s)
            raise AnswerLost("http.timeout")
        try:
            number = self._tape.take(method, url, body)
        except Unmatched as why:
            self._played.unmatched = self._played.unmatched or str(why)
            self.stuck.set()
            raise NotSent("replay.unmatched", forbidden=True) from None
        self._played.taken.append(number)
        self._played.asked.append((method, url, body))
        found = self._exchanges[number]
        await self._clock.sleep((self._began_us + found.answered_us - self._clock.now_us()) / 1e6)
        if found.fault:
            raise (
                AnswerLost(found.fault, hopeless=found.final)
                if found.sent
                else NotSent(found.fault, forbidden=found.final)
            )
        return found.status, [(name, value) for name, value in found.headers], found.answer.bytes()


class _Silent:
    """Nobody looks how far it is."""

    def tell(self, tenant: str, feed: str, read: int) -> None:
        """Say nothing."""


def play(bundle: Bundle, *, tenant: str | None = None, same: Callable[[Said, Said], bool] | None = None) -> Played:
    """Live through ``bundle`` again; must not be called while an event loop runs in this thread.

    ``tenant``: the text of another tenant file (None: the bundle's own). ``same``: when a value of a request is what was recorded.
    Raises ``ConfigError`` when that file cannot be used, ``RuntimeFault`` (``replay.unmatched``) when a request finds no answer.
    """
    loop = VirtualLoop()
    tape = Tape(bundle.exchanges, same) if same is not None else Tape(bundle.exchanges)
    with tempfile.TemporaryDirectory(prefix="sales-crm-bridge-replay-") as name:
        settings = _deployment(bundle, Path(name), bundle.tenant if tenant is None else tenant)
        played = run(_played(bundle, settings, tape, loop), loop)
    if played.unmatched:
        remedy = "record anew what this version, or this tenant file, asks; line numbers are those of exchanges.jsonl"
        raise RuntimeFault("replay.unmatched", played.unmatched, place="exchanges.jsonl", remedy=remedy)
    return played


def _deployment(bundle: Bundle, folder: Path, text: str) -> Settings:
    """The settings of a replay, with the tenant's file and its secrets in ``folder``."""
    tenants, secrets = folder / "tenants", folder / "secrets"
    tenants.mkdir()
    secrets.mkdir()
    manifest = bundle.manifest
    for name, value in manifest.settings["secrets"].items():
        (secrets / name).write_text(value, encoding="utf-8")
        text = text.replace(f"{SECRET}{name.upper()}", f"file:{secrets / name}")
    (tenants / f"{manifest.tenant}.yaml").write_text(text, encoding="utf-8")
    parts = {name: manifest.settings[name] for name in SECTIONS}
    keys = {"hash_keys": [manifest.hash_key], "seal_key": manifest.hash_key}
    return Settings.model_validate({**parts, **keys, "tenants": {"folder": str(tenants)}})


async def _played(bundle: Bundle, settings: Settings, tape: Tape, loop: VirtualLoop) -> Played:
    manifest, played = bundle.manifest, Played()
    clock = VirtualClock(loop, manifest.began_us)
    topics = Topics(PARTITIONS, clock.now_us)
    transport = TapeTransport(tape, bundle.exchanges, played, clock, manifest.began_us)
    ledger = await open_ledger("sqlite://:memory:")
    start = Start()

    def transport_of(_: Tenant) -> TapeTransport:
        return transport

    outside = wiring.Outside(
        clock=clock,
        dice=RecordedDice(bundle.ids, manifest.hash_key),
        ledger=PacedLedger(WatchedLedger(ledger, start), bundle.rounds, clock, manifest.began_us),
        transport=transport_of,
    )
    try:
        loaded = tenants.load(Path(settings.tenants.folder), wiring.catalogue())
        if manifest.tenant not in loaded.tenants:
            raise ConfigError(loaded.findings)
        await put(ledger, loaded.tenants[manifest.tenant], bundle.ledger, clock.now_us())
        if manifest.mode == "once":
            only = frozenset({manifest.tenant})
            await once.sync_in(settings, outside, lambda: TopicSink(topics), only, _Silent())
        else:
            await _serve(bundle, settings, outside, topics, transport)
    finally:
        await ledger.close()
    played.facts, played.later = topics.facts, start.later
    return played


async def _serve(
    bundle: Bundle, settings: Settings, outside: wiring.Outside, topics: Topics, transport: TapeTransport
) -> None:
    """Run the service for as long as it ran, with what happened beside it at its times."""
    transport.lingers = True
    service = wiring.assemble(settings, outside, source=TopicSource(topics), sink=TopicSink(topics))
    working = asyncio.ensure_future(service.run())
    beside = _Beside(bundle, outside, topics, service)
    happening = [asyncio.ensure_future(work) for work in (beside.uttered(), beside.hurried(), beside.named())]
    ends = [asyncio.ensure_future(work) for work in (beside.until(bundle.manifest.lasted_us), _set(transport.stuck))]
    await first((working, *ends))
    service.stop()
    await end((*happening, *ends))
    await working


class _Beside:
    """What happened beside a service, each at its time."""

    def __init__(self, bundle: Bundle, outside: wiring.Outside, topics: Topics, service: Service) -> None:
        self._bundle = bundle
        self._outside = outside
        self._topics = topics
        self._service = service

    async def until(self, at_us: int) -> None:
        """Come back so long after the beginning."""
        clock = self._outside.clock
        await clock.sleep((self._bundle.manifest.began_us + at_us - clock.now_us()) / 1e6)

    async def uttered(self) -> None:
        """Intents came."""
        for one in self._bundle.intents:
            await self.until(one.at_us)
            record = contract.record_of(ParseDict(one.intent, contract.SalesDomainIntent()))
            self._topics.put(record.key, record.value, record.headers)

    async def hurried(self) -> None:
        """Somebody hurried every feed."""
        for one in self._bundle.rounds:
            if not one.commands:
                await self.until(one.at_us)
                for worker in self._service.workers.values():
                    worker.puller.hurry(everything=True)

    async def named(self) -> None:
        """Webhooks named records."""
        ledger, clock = self._outside.ledger, self._outside.clock
        for one in self._bundle.notices:
            await self.until(one.at_us)
            for row in await ledger.connections():
                await ledger.hear(row.conn, one.crm_ids, clock.now_us(), one.rows_max)


async def _set(event: asyncio.Event) -> None:
    await event.wait()
