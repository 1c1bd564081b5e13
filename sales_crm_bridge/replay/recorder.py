"""Records a run at the rim: requests and answers, intents, chance and time; then makes a bundle of it.

Only inputs are replaced by stand-ins. What the bridge itself says, its requests and its facts, is derived from them by a replay at
the end: so no value of it can have been forgotten, and a recording that does not replay is refused before anything is written.
"""

from __future__ import annotations

from collections import Counter, defaultdict
from dataclasses import dataclass, field
from hashlib import sha256
from importlib.metadata import version
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import urlsplit

import msgspec

from sales_crm_bridge import contract
from sales_crm_bridge.crm_http import AnswerLost, NotSent
from sales_crm_bridge.errors import RuntimeFault
from sales_crm_bridge.replay import bundle as bundles
from sales_crm_bridge.replay.bundle import Body, Bundle, Draw, Exchange, Fact, Manifest, Notice, Round, Utterance
from sales_crm_bridge.replay.matching import Said, alike
from sales_crm_bridge.replay.player import play, settings_of
from sales_crm_bridge.replay.redact import Allowed, Redactor
from sales_crm_bridge.replay.standins import StandIns
from sales_crm_bridge.replay.start import Start, rows_of
from sales_crm_bridge.replay.trial import hidden
from sales_crm_bridge.replay.words import places_of, words_of

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sales_crm_bridge.model import Published
    from sales_crm_bridge.ports import Clock, Dice, FactSink, Transport
    from sales_crm_bridge.replay.player import Played
    from sales_crm_bridge.settings import Settings
    from sales_crm_bridge.state import Command, Intake, OutboxRow
    from sales_crm_bridge.tenants import Tenant

CONNECTION = "CrmConnection"
"""The aggregate type of facts about a connection: how many sync runs a service makes depends on when it is stopped."""


_IDS = (("meta", "message_id"), ("subject", "aggregate_id"))


@dataclass(slots=True, kw_only=True)
class Recording:
    """What has been heard of a run so far, as it was: it is never written in this form. ``secrets``: the connection's."""

    began_us: int = 0
    secrets: dict[str, str] = field(default_factory=dict, repr=False)
    exchanges: list[Exchange] = field(default_factory=list)
    intents: list[tuple[int, bytes]] = field(default_factory=list)
    notices: list[Notice] = field(default_factory=list)
    draws: list[Draw] = field(default_factory=list)
    rounds: list[Round] = field(default_factory=list)
    start: Start = field(default_factory=Start)
    facts: list[bytes] = field(default_factory=list)
    ended_us: int = 0


class HearingTransport:
    """``ports.Transport``: the inner one, and everything that goes through it is heard."""

    def __init__(self, inner: Transport, recording: Recording, clock: Clock) -> None:
        self._inner = inner
        self._recording = recording
        self._clock = clock

    async def send(
        self, method: str, url: str, headers: Sequence[tuple[str, str]], body: bytes, timeout_s: float
    ) -> tuple[int, list[tuple[str, str]], bytes]:
        """As the inner one."""
        asked_us = self._now_us()
        heard = Exchange(asked_us=asked_us, answered_us=asked_us, method=method, url=url, body=Body.of(body))
        try:
            answer = await self._inner.send(method, url, headers, body, timeout_s)
        except AnswerLost as fault:
            heard = msgspec.structs.replace(heard, fault=fault.reason, sent=True, final=fault.hopeless)
            raise
        except NotSent as fault:
            heard = msgspec.structs.replace(heard, fault=fault.reason, final=fault.forbidden)
            raise
        else:
            status, found, data = answer
            heard = msgspec.structs.replace(heard, status=status, headers=tuple(found), answer=Body.of(data))
            return answer
        finally:
            if heard.status or heard.fault:  # a call that was cut off has no end that could be played
                self._recording.exchanges.append(msgspec.structs.replace(heard, answered_us=self._now_us()))

    def _now_us(self) -> int:
        return self._clock.now_us() - self._recording.began_us

    async def close(self) -> None:
        """Close the inner one, if it can be closed."""
        close = getattr(self._inner, "close", None)
        if close is not None:
            await close()


class HearingDice:
    """``ports.Dice``: the inner ones, and every draw is heard."""

    def __init__(self, inner: Dice, recording: Recording) -> None:
        self._inner = inner
        self._recording = recording

    def fraction(self) -> float:
        """A number in [0, 1)."""
        found = self._inner.fraction()
        self._recording.draws.append(Draw(fraction=found))
        return found

    def name(self) -> str:
        """A name that no other process has."""
        found = self._inner.name()
        self._recording.draws.append(Draw(name=found))
        return found


class HearingLedger:
    """The ledger, and what is taken into it is heard: intents, whether by the topic or by a call, and what webhooks name.

    So is which commands push finds ready, since that depends on moments that no border shows.
    """

    def __init__(self, inner: Any, recording: Recording, clock: Clock) -> None:
        self._inner = inner
        self._recording = recording
        self._clock = clock

    def __getattr__(self, name: str) -> Any:
        return getattr(self._inner, name)

    async def take(self, intake: Intake) -> Sequence[bool]:
        """As the inner one; an intent that had been taken before has no second effect, and is not heard again."""
        new: Sequence[bool] = await self._inner.take(intake)
        at_us = self._clock.now_us() - self._recording.began_us
        fresh = [row.command.payload for row, is_new in zip(intake.rows, new, strict=True) if is_new]
        self._recording.intents += [(at_us, payload) for payload in fresh]
        return new

    async def hear(self, conn: int, crm_ids: Sequence[str], now_us: int, rows_max: int) -> bool:
        """As the inner one."""
        at_us = self._clock.now_us() - self._recording.began_us
        self._recording.notices.append(Notice(at_us=at_us, crm_ids=tuple(crm_ids), rows_max=rows_max))
        collapsed: bool = await self._inner.hear(conn, crm_ids, now_us, rows_max)
        return collapsed

    async def commands_ready(self, conn: int, now_us: int, limit: int, *, behind_parked: bool) -> list[Command]:
        """As the inner one."""
        found: list[Command] = await self._inner.commands_ready(conn, now_us, limit, behind_parked=behind_parked)
        if found:
            at_us = self._clock.now_us() - self._recording.began_us
            self._recording.rounds.append(Round(at_us=at_us, commands=tuple(one.message_id for one in found)))
        return found


class HearingSink:
    """``ports.FactSink``: the inner one, and every fact that it has acknowledged is heard."""

    def __init__(self, inner: FactSink, recording: Recording) -> None:
        self._inner = inner
        self._recording = recording

    async def publish(self, rows: Sequence[OutboxRow]) -> Published:
        """As the inner one."""
        published = await self._inner.publish(rows)
        acked = frozenset(published.acked)
        self._recording.facts += [row.fact for row in rows if row.seq in acked]
        return published

    async def close(self) -> None:
        """As the inner one."""
        await self._inner.close()


# --- from what was heard to a bundle ----------------------------------------------------------------------------------


def bundle_of(recording: Recording, tenant: Tenant, settings: Settings, mode: str, key: bytes) -> Bundle:
    """The bundle of a run that has ended; ``key``: of its stand-ins, of chance, to be forgotten. No event loop may run.

    Raises ``RuntimeFault`` (``replay.not-reproduced``) when the run, lived through again, tells other facts than it did.
    """
    allowed = Allowed(words_of(tenant), places_of(tenant))
    redactor = Redactor(StandIns(key), allowed, _hosts(tenant))
    raw = _inputs(recording, tenant, settings, mode, key, redactor)

    def same(recorded: Said, asked: Said) -> bool:
        return alike(recorded, asked) or redactor.agrees(recorded.text, asked.text, recorded.name)

    derived = play(raw, same=same)
    if recording.start.bindings:
        rows = rows_of(recording.start, tenant, raw.manifest.hash_key, redactor, derived.later)
        raw = msgspec.structs.replace(raw, ledger=rows)
        derived = play(raw, same=same)
    _compare(recording.facts, derived.facts, mode)
    made = msgspec.structs.replace(raw, exchanges=_requests(raw, derived), facts=facts_of(derived.facts))
    again = facts_of(play(made).facts)
    if again != made.facts:
        raise _not_reproduced("played twice, it tells different facts")
    return made


def facts_of(facts: Sequence[bytes]) -> list[Fact]:
    """Facts as a bundle has them, by partition key, in the order of each."""
    found: dict[str, list[Fact]] = defaultdict(list)
    for value in facts:
        record = contract.outgoing(value)
        told = contract.shown(record.value, fact=True) or {}
        key = record.key.decode()
        found[key].append(
            Fact(key=key, message_id=told["meta"]["message_id"], sha256=sha256(record.value).hexdigest(), fact=told)
        )
    return [fact for key in sorted(found) for fact in found[key]]


def _hosts(tenant: Tenant) -> list[str]:
    addresses = (tenant.connection.address, tenant.connection.sign_in_address)
    return [host for address in addresses if address and (host := urlsplit(address).hostname)]


def _inputs(
    recording: Recording, tenant: Tenant, settings: Settings, mode: str, key: bytes, redactor: Redactor
) -> Bundle:
    """Everything that came from outside, in stand-ins; the requests are still as they were."""
    intents = [(at_us, told) for at_us, value in recording.intents if (told := contract.shown(value))]
    for _, told in intents:
        redactor.learn(told.get(part, {}).get(name, "") for part, name in _IDS)
    secrets = {name: redactor.text(value, name) for name, value in recording.secrets.items()}
    manifest = Manifest(
        format=bundles.FORMAT,
        bridge=version("sales-crm-bridge"),
        contract=contract.SCHEMA_VERSION,
        adapter=tenant.connection.adapter,
        tenant=tenant.tenant,
        tenant_file=Path(tenant.file).name,
        mode=mode,
        began_us=recording.began_us,
        lasted_us=recording.ended_us - recording.began_us,
        hash_key=sha256(b"hash key " + key).hexdigest()[:32],
        settings=settings_of(settings) | {"secrets": secrets},
        files={},
    )
    exchanges = [
        msgspec.structs.replace(
            one, headers=redactor.headers(one.headers, one.status), answer=Body.of(redactor.answer(one.answer.bytes()))
        )
        for one in recording.exchanges
    ]
    return Bundle(
        manifest=manifest,
        tenant=hidden(tenant),
        exchanges=exchanges,
        intents=[Utterance(at_us=at_us, intent=redactor.value(told, "")) for at_us, told in intents],
        notices=[
            msgspec.structs.replace(one, crm_ids=tuple(redactor.text(name, "id") for name in one.crm_ids))
            for one in recording.notices
        ],
        ids=recording.draws,
        ledger=rows_of(recording.start, tenant, manifest.hash_key, redactor, None),
        rounds=[
            Round(at_us=one.at_us, commands=tuple(redactor.text(name, "message_id") for name in one.commands))
            for one in recording.rounds
        ],
    )


def _requests(raw: Bundle, derived: Played) -> list[Exchange]:
    """The exchanges in the order in which the replay asked, with the requests that it made."""
    return [
        msgspec.structs.replace(raw.exchanges[number], method=method, url=url, body=Body.of(body))
        for number, (method, url, body) in zip(derived.taken, derived.asked, strict=True)
    ]


def _compare(real: Sequence[bytes], derived: Sequence[bytes], mode: str) -> None:
    """Raise ``RuntimeFault`` unless both runs told of as many leads the same kinds of facts in the same order.

    Which lead is which cannot be compared: its id may come of a record's id that has a stand-in.
    """
    before, after = _outline(real, mode), _outline(derived, mode)
    for kinds in sorted({*before, *after}):
        if before[kinds] != after[kinds]:
            raise _not_reproduced(
                f"of {before[kinds]} leads it told {_list(kinds)}, and played again of {after[kinds]}"
            )


def _outline(facts: Sequence[bytes], mode: str) -> Counter[tuple[str, ...]]:
    """How many aggregates have told just these kinds of facts."""
    found: dict[str, list[str]] = defaultdict(list)
    for value in facts:
        told: dict[str, Any] = contract.shown(contract.outgoing(value).value, fact=True) or {}
        subject = told["subject"]
        if mode == "once" or subject["aggregate_type"] != CONNECTION:
            found[subject["aggregate_id"]].append(next(iter(told.keys() - {"meta", "subject"}), ""))
    return Counter(tuple(kinds) for kinds in found.values())


def _list(kinds: Sequence[str], most: int = 6) -> str:
    shown = ", ".join(kinds[:most]) or "nothing"
    return shown if len(kinds) <= most else f"{shown} and {len(kinds) - most} more"


def _not_reproduced(said: str) -> RuntimeFault:
    remedy = "record again, with less happening at the same time; report it if it stays. Nothing was written"
    return RuntimeFault(
        "replay.not-reproduced", f"the recording does not replay: {said}", place="--record", remedy=remedy
    )
