"""One HubSpot account behind one function: request in, answer out."""

from __future__ import annotations

import random
import re
from typing import TYPE_CHECKING

import msgspec

from sales_crm_bridge.sandbox.faults import Fault, FaultKind, Faults
from sales_crm_bridge.sandbox.hubspot.administrator import Administrator
from sales_crm_bridge.sandbox.hubspot.api import JSON_HEADER, Call
from sales_crm_bridge.sandbox.hubspot.crm import Crm
from sales_crm_bridge.sandbox.hubspot.entries import Entry
from sales_crm_bridge.sandbox.hubspot.faults import worded
from sales_crm_bridge.sandbox.hubspot.kinds import KINDS
from sales_crm_bridge.sandbox.hubspot.limits import Limits
from sales_crm_bridge.sandbox.hubspot.person import Person
from sales_crm_bridge.sandbox.hubspot.records import Source
from sales_crm_bridge.sandbox.hubspot.refusals import Refusal
from sales_crm_bridge.sandbox.hubspot.routes import route, without_token
from sales_crm_bridge.sandbox.hubspot.seeding import seed_records
from sales_crm_bridge.sandbox.hubspot.settings import Account, Vices
from sales_crm_bridge.sandbox.hubspot.times import http_date
from sales_crm_bridge.sandbox.hubspot.tokens import Tokens
from sales_crm_bridge.sandbox.hubspot.webhooks import Webhooks
from sales_crm_bridge.sandbox.wire import Answer, ConnectionCut, Cut, Request

if TYPE_CHECKING:
    from collections.abc import Callable, Mapping

URI_MAX = 8192
_DATED = re.compile(r"20\d\d-(?:03|09)")
_STRICT_FROM = "2026-09"
"""From this version on, the administrator's validation rules bind API writes (changelog of 2026)."""

_CUTS = {
    FaultKind.REFUSED: Cut.REFUSED,
    FaultKind.CUT_BEFORE: Cut.CLOSED,
    FaultKind.CUT_AFTER: Cut.CLOSED,
    FaultKind.TIMEOUT_BEFORE: Cut.TIMEOUT,
    FaultKind.TIMEOUT_AFTER: Cut.TIMEOUT,
}
_BEFORE = frozenset({FaultKind.REFUSED, FaultKind.CUT_BEFORE, FaultKind.TIMEOUT_BEFORE})
_AFTER = frozenset({FaultKind.CUT_AFTER, FaultKind.TIMEOUT_AFTER})


class Truth(msgspec.Struct, frozen=True, kw_only=True):
    """What is really there, for whoever checks. Ids are text.

    ``live`` and ``archived``: properties that are not empty, by object type and id. ``merged``: ids that were merged away, and the
    last survivor. ``erased``: ids that nothing may be known of any more. ``log``: every committed write in its order.
    """

    live: dict[str, dict[str, Mapping[str, str]]]
    archived: dict[str, dict[str, Mapping[str, str]]]
    merged: dict[str, str]
    erased: tuple[str, ...]
    log: tuple[Entry, ...]


class Portal:
    """One account with its records, credentials, limits, webhooks, and everything that can go wrong.

    ``clock`` gives epoch seconds and ``rng`` every random draw: the same calls at the same times get the same answers.
    """

    def __init__(
        self,
        *,
        clock: Callable[[], float],
        rng: random.Random,
        vices: Vices | None = None,
        account: Account | None = None,
    ) -> None:
        self.account = account or Account()
        self._clock = clock
        self._rng = rng
        self._crm = Crm(clock, rng, self.account, vices or Vices())
        self._limits = Limits(self.account)
        self._requests = 0
        self._moving_until_ms = 0
        self.tokens = Tokens(self.account)
        self.faults = Faults(rng)
        self.person = Person(self._crm)
        self.administrator = Administrator(self._crm)
        self.webhooks = Webhooks(self.account, clock, rng)
        self._crm.heard = self.webhooks.hear

    @classmethod
    def seeded(
        cls,
        seed: int,
        *,
        clock: Callable[[], float],
        leads: int = 500,
        lead_objects: int = 0,
        same_modified_ms: int | None = None,
        vices: Vices | None = None,
        account: Account | None = None,
    ) -> Portal:
        """An account with ``leads`` contacts, and with ``lead_objects`` records of the Lead object, each linked to one of them.

        They were created and changed over the year before now, or all at ``same_modified_ms`` (epoch milliseconds).
        """
        rng = random.Random(seed)  # noqa: S311 - a world that can be repeated, nothing secret
        portal = cls(clock=clock, rng=rng, vices=vices, account=account)
        seed_records(portal._crm, rng, leads, lead_objects, same_modified_ms)
        return portal

    @property
    def vices(self) -> Vices:
        """How the account misbehaves; may be replaced at any time."""
        return self._crm.vices

    @vices.setter
    def vices(self, vices: Vices) -> None:
        self._crm.vices = vices

    @property
    def requests(self) -> int:
        """How many requests have come so far, of every kind."""
        return self._requests

    # What an administrator does

    def add_property(self, object_type: str, name: str, *, unique: bool = False) -> None:
        """Define a text property; ``unique`` cannot be changed later. Raises ``Refusal`` if it is there already."""
        definition = self._crm.schema.plain(object_type, name, unique=unique, now_ms=self._crm.now_ms)
        self._crm.define(KINDS[object_type], definition)

    def archive_property(self, object_type: str, name: str) -> None:
        """Put one of the account's own properties away; the values stay, out of sight."""
        self._crm.schema.archive(object_type, name, self._crm.now_ms)

    def require(self, object_type: str, *names: str) -> None:
        """Make properties required, as the administrator's validation rules do."""
        self._crm.schema.required[object_type] = names

    def move_account(self, seconds: float) -> None:
        """Begin to move the account to another data centre: every call is answered 477 for so long."""
        self._moving_until_ms = self._crm.now_ms + round(seconds * 1000)

    def search_lag(self, record_id: str, seconds: float | None) -> None:
        """Make search hear of this record's next writes so much later; None: as the account's vices say."""
        record = self._crm.find(int(record_id))
        if record is None:
            raise LookupError(f"no record {record_id}")
        record.lag_s = seconds

    def truth(self) -> Truth:
        """What is really there."""
        live: dict[str, dict[str, Mapping[str, str]]] = {}
        archived: dict[str, dict[str, Mapping[str, str]]] = {}
        merged: dict[str, str] = {}
        for name, book in self._crm.books.items():
            live[name] = {str(each): book.records[each].props for each in book.live}
            archived[name] = {str(each): book.records[each].props for each in book.binned}
            for old in book.merged:
                last = old
                while last in book.merged:
                    last = book.merged[last]
                merged[str(old)] = str(last)
        return Truth(
            live=live, archived=archived, merged=merged, erased=tuple(self._crm.erased), log=tuple(self._crm.log)
        )

    # Requests

    def pause_s(self) -> float:
        """Seconds that a request, or an answer, is under way."""
        low, high = self.vices.latency_s
        return self._rng.uniform(low, high) if high > 0 else 0.0

    def handle(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer:
        """Answer one request; see ``Sandbox``."""
        request = Request.of(method, target, headers, body)
        self._requests += 1
        correlation = f"{self._requests:08x}-5a4d-4b0c-8f00-{self._requests:012x}"
        fault = self.faults.take(request)
        if fault is None:
            return self._answer(request, target, correlation)
        if fault.kind in _BEFORE:
            raise ConnectionCut(_CUTS[fault.kind], committed=False)
        if fault.kind is FaultKind.STATUS:
            return self._dated(self._spoilt(fault, correlation))
        written = len(self._crm.log)
        answer = self._answer(request, target, correlation)
        if fault.kind in _AFTER:
            raise ConnectionCut(_CUTS[fault.kind], committed=len(self._crm.log) > written)
        if fault.kind is FaultKind.STATUS_AFTER:
            return self._dated(self._spoilt(fault, correlation))
        if fault.kind is FaultKind.TRUNCATED:
            return answer._replace(body=answer.body[: len(answer.body) // 2])
        return answer._replace(delay_s=fault.delay_s)

    def _spoilt(self, fault: Fault, correlation: str) -> Answer:
        status, headers, body = worded(fault, correlation)
        return Answer(status, [*headers, *fault.headers], body, fault.delay_s)

    def _answer(self, request: Request, target: str, correlation: str) -> Answer:
        told: list[tuple[str, str]] = []
        try:
            self._check_open(target)
            open_answer = without_token(self.tokens, request, self._crm.now_ms, self.vices)
            if open_answer is not None:
                return self._dated(open_answer)
            grant = self.tokens.grant_of(request, self._crm.now_ms)
            segments, version = plain_path(request.segments())
            search = request.method == "POST" and segments[-1] == "search"
            self._limits.admit(grant, self.vices, self._crm.now_ms, search=search)
            told = self._limits.headers(grant, self.vices, search=search)
            answer = route(
                Call(
                    crm=self._crm,
                    tokens=self.tokens,
                    request=request,
                    segments=segments,
                    grant=grant,
                    source=Source("INTEGRATION", str(grant.app_id), correlation),
                    strict=version >= _STRICT_FROM,
                    used_today=self._limits.used_today,
                    per_day=self.vices.per_day,
                    day_ends_ms=self._limits.day_ends_ms(self._crm.now_ms),
                ),
            )
        except Refusal as refusal:
            kind = ("content-type", "text/html;charset=iso-8859-1") if refusal.html else JSON_HEADER
            answer = Answer(refusal.status, [kind, *refusal.headers], refusal.body(correlation))
            if refusal.bare:
                told = []
            elif refusal.extra.get("policyName") and not told:
                told = self._limit_headers(request)
        answer.headers.extend(told)
        return self._dated(answer)

    def _limit_headers(self, request: Request) -> list[tuple[str, str]]:
        grant = self.tokens.grant_of(request, self._crm.now_ms)
        return self._limits.headers(grant, self.vices, search=request.path.endswith("/search"))

    def _check_open(self, target: str) -> None:
        if len(target) > URI_MAX:
            raise Refusal(414, None, "URI Too Long", bare=True)
        left_ms = self._moving_until_ms - self._crm.now_ms
        if left_ms > 0:
            raise Refusal(
                477,
                "MIGRATION_IN_PROGRESS",
                "This account is being migrated to another data centre.",
                headers=(("retry-after", str(-(-left_ms // 1000))),),
                bare=True,
            )

    def _dated(self, answer: Answer) -> Answer:
        answer.headers.append(("date", http_date(int(self._clock()))))
        return answer


def plain_path(segments: list[str]) -> tuple[list[str], str]:
    """Bring both styles of path to one, ``crm/v3/objects`` and ``crm/objects/2026-03`` to ``crm/objects``, and give the version.

    That the dated style is the same for properties, pipelines, owners and associations is likely, not found in the guides.
    """
    match segments:
        case ["crm", "v3" | "v4", *rest]:
            return ["crm", *rest], ""
        case ["crm", area, version, *rest] if _DATED.fullmatch(version):
            return ["crm", area, *rest], version
        case _:
            return segments, ""
