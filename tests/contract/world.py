"""What every world of the contract suite is: a CRM's sandbox behind one set of verbs, and a line on which talks are held.

The line is the rim reduced to what the port says of it: no retries, no waiting, no threads. So a talk is driven call by call.
"""

from __future__ import annotations

import hashlib
import hmac
import json
import random
from collections.abc import Callable, Iterator, Mapping
from typing import ClassVar, NamedTuple, Protocol, TypeVar
from urllib.parse import quote, urlencode

from sales_crm_adapters import CATALOGUE

from sales_crm_bridge.errors import CrmUnavailable
from sales_crm_bridge.model import (
    Answered,
    Credentials,
    Cursor,
    Effect,
    Feed,
    FeedKind,
    Hook,
    HttpCall,
    HttpReply,
    Keyset,
    NoReply,
    Operation,
    Page,
    Paging,
    Position,
    Raw,
    Record,
    Ref,
    Reply,
    Scalar,
    Secrets,
    SignInAgain,
    Stop,
    TryAgain,
    Window,
    Write,
)
from sales_crm_bridge.ports import CrmAdapter, Talk
from sales_crm_bridge.sandbox import Answer, ConnectionCut, Cut, Faults

T = TypeVar("T")

START_S = 1_790_000_000.0
HOOK_URL = "https://bridge.example/webhooks/acme/crm"


class Clock:
    """Epoch seconds that move when they are told to."""

    def __init__(self) -> None:
        self.now_s = START_S

    def __call__(self) -> float:
        return self.now_s

    @property
    def now_us(self) -> int:
        return int(self.now_s * 1e6)

    def advance(self, seconds: float) -> None:
        self.now_s += seconds


class Stopped(Exception):
    """The verdict was that a person must act."""

    def __init__(self, verdict: Stop) -> None:
        super().__init__(verdict.code)
        self.verdict = verdict


class Writing(NamedTuple):
    """The request that decides about a write: its method, its path, and what its body contains."""

    method: str
    path: str
    body: bytes | None = None


class Crm(Protocol):
    """What every sandbox has."""

    faults: Faults

    def handle(self, method: str, target: str, headers: Mapping[str, str], body: bytes) -> Answer: ...


class World:
    """One CRM account in a sandbox, with what a person does in it, and the line to it."""

    name = ""
    fields: ClassVar[Mapping[str, str]] = {}
    """Neutral names → the CRM's: ``name``, ``email``, ``phone``, ``status``, and ``read_only``."""
    options: ClassVar[Mapping[str, object]] = {}
    secrets: ClassVar[Mapping[str, str]] = {}
    hook_secrets: ClassVar[Mapping[str, str]] = {"client_secret": "hook-secret", "webhook_secret": "hook-secret"}
    """What webhooks are signed with."""
    statuses = ("", "")
    """Two values that the status field accepts, the later one second."""
    zone = "Europe/Berlin"
    """What the CRM says of its time zone."""
    feeds: tuple[FeedKind, ...] = ()
    """The streams that the CRM must have, in order."""
    exchanged = False
    """Whether the secrets are exchanged for a token that runs out; a static one neither expires nor is asked for."""
    claims = True
    """Whether an update can put our key into a record."""
    archived_are_writable = False
    """Whether the CRM lets one write to what is archived."""
    base = ""
    """What paths begin with at the CRM: that of the connection's address."""

    def __init__(self, *, clock: Clock | None = None, **build: object) -> None:
        self.clock = clock or Clock()
        self.dice = random.Random(7)
        self.entry = CATALOGUE[self.name]
        self.adapter: CrmAdapter = self.entry.make(self.settings(), tuple(sorted(self.fields.values())))
        self.crm: Crm = self.found(**build)
        self.calls: list[HttpCall] = []
        self.secrets_now = dict(self.secrets)
        self.spoil: Callable[[HttpCall, Answer], Answer] | None = None
        self._credentials: Credentials | None = None

    # --- for each CRM -------------------------------------------------------------------------------------------------

    def settings(self) -> Mapping[str, object]:
        """The connection's options."""
        return self.options

    def writing(self, write: Write) -> Writing:
        """The call that decides about ``write``."""
        raise NotImplementedError

    def found(self, **build: object) -> Crm:
        raise NotImplementedError

    def create(self, number: int, key: str = "") -> str:
        """A person makes lead ``number``, without looking at the clock."""
        raise NotImplementedError

    def edit(self, crm_id: str, values: Mapping[str, str]) -> None:
        """``values`` by neutral names."""
        raise NotImplementedError

    def delete(self, crm_id: str) -> None:
        raise NotImplementedError

    def restore(self, crm_id: str) -> None:
        raise NotImplementedError

    def erase(self, crm_id: str) -> None:
        raise NotImplementedError

    def merge(self, primary: str, other: str) -> str:
        raise NotImplementedError

    def expire(self) -> None:
        raise NotImplementedError

    def forbid_reading(self) -> None:
        raise NotImplementedError

    def holds(self, crm_id: str, field: str) -> str:
        """What the CRM really holds in a field by its neutral name, "" if empty."""
        raise NotImplementedError

    def count(self) -> int:
        """Live records."""
        raise NotImplementedError

    def deliver(self, crm_id: str) -> Hook:
        """What the CRM posts when a person renames the lead.

        A CRM that has no webhooks posts nothing: then it is what somebody else might post in its name, who knows the secrets.
        """
        self.edit(crm_id, {"name": "New name"})
        body = json.dumps([{"id": crm_id, "event": "changed"}]).encode()
        signature = hmac.digest(b"hook-secret", body, hashlib.sha256).hex()
        return self.posted({"x-signature": signature, "authorization": "Bearer hook-secret"}, body)

    # --- the line -----------------------------------------------------------------------------------------------------

    def converse(self, talk: Talk[T]) -> T:
        """Hold a talk. Raises ``CrmUnavailable`` as the core would, and ``Stopped``; the talk is closed then."""
        try:
            calls = next(talk)
            while True:
                calls = talk.send(tuple(self._reply(call) for call in calls))
        except StopIteration as end:
            value: T = end.value
            return value
        finally:
            talk.close()

    def sign_in(self) -> Credentials:
        signed = self.converse(self.adapter.authenticate(Secrets(values=self.secrets_now), {}, self.clock.now_us))
        assert isinstance(signed, Credentials), signed
        self._credentials = signed
        return signed

    def _reply(self, call: HttpCall) -> Reply:
        self.calls.append(call)
        for again in (True, False):
            if call.effect is not Effect.SIGN_IN and self._credentials is None:
                self.sign_in()
            try:
                reply = self._send(call)
            except ConnectionCut as cut:
                return self._without(call, sent=cut.how is not Cut.REFUSED)
            match self.adapter.classify(reply, call.effect):
                case Answered():
                    return reply
                case TryAgain(executed=executed):
                    return self._without(call, sent=executed)
                case SignInAgain():
                    assert again, "signed in anew, and the token is refused again"
                    self._credentials = None
                case Stop() as verdict:
                    raise Stopped(verdict)
        raise AssertionError

    def _without(self, call: HttpCall, *, sent: bool) -> NoReply:
        """What a talk hears of a call without a usable answer; a reading talk hears nothing any more."""
        if call.effect is not Effect.WRITE:
            raise CrmUnavailable("test.line", "no answer", retry_at_us=self.clock.now_us)
        return NoReply(sent=sent, reason="line", retry_at_us=self.clock.now_us + 1)

    def _send(self, call: HttpCall) -> HttpReply:
        target = self.base + call.path + (f"?{urlencode(call.query, quote_via=quote)}" if call.query else "")
        headers = {"content-type": call.content_type, **{name.lower(): value for name, value in call.headers}}
        if call.effect is not Effect.SIGN_IN and self._credentials is not None:
            headers |= dict(self._credentials.headers)
        self.check(call, target)
        asked_us = self.clock.now_us
        self.clock.advance(0.25)  # below every limit per second, so that a limit is met only on purpose
        answer = self.crm.handle(call.method, target, headers, call.body)
        if self.spoil is not None:
            answer = self.spoil(call, answer)
        return HttpReply(
            status=answer.status,
            headers={name.lower(): value for name, value in answer.headers},
            body=answer.body,
            asked_us=asked_us,
            answered_us=self.clock.now_us,
        )

    def check(self, call: HttpCall, target: str) -> None:
        """Hold a request against the CRM's own description, where there is one."""

    def posted(self, headers: Mapping[str, str], body: bytes) -> Hook:
        """A delivery that arrives now."""
        return Hook(method="POST", url=HOOK_URL, headers=headers, body=body, received_us=self.clock.now_us)

    # --- shorthands ---------------------------------------------------------------------------------------------------

    def feed(self, kind: FeedKind) -> Feed:
        return next(feed for feed in self.adapter.feeds() if feed.kind is kind)

    def window(self, feed: Feed, lo_us: int, hi_us: int) -> Position:
        """Where a walk over [``lo_us``, ``hi_us``) begins; a walk that knows no times begins at its start."""
        match feed.paging:
            case Paging.WINDOW:
                return Window(lo_us=lo_us, hi_us=hi_us)
            case Paging.KEYSET:
                return Keyset(modified_us=lo_us, hi_us=hi_us)
            case _:
                return Cursor()

    def pages(self, feed: Feed, start: Position, limit: int) -> Iterator[Page]:
        """Walk a feed from ``start`` to its end."""
        position = start
        for _ in range(2_000):
            page = self.converse(self.adapter.pull(feed, position, limit))
            yield page
            if page.done:
                return
            position = page.next
        raise AssertionError("a walk without an end")

    def raws(self, kind: FeedKind, *, limit: int = 50, since_us: int = 0, until_us: int = 0) -> list[Raw]:
        feed = self.feed(kind)
        start = self.window(feed, since_us, until_us or self.clock.now_us + 60_000_000)
        return [raw for page in self.pages(feed, start, min(limit, feed.page_max)) for raw in page.raws]

    @property
    def timed(self) -> bool:
        """Whether the CRM tells what changed since a time."""
        return FeedKind.CHANGES in self.feeds

    def ref(self, key: str) -> list[Ref]:
        """A question by our key, where the CRM can be asked so."""
        return [Ref(key=key)] if self.adapter.capabilities.read_by_key else []

    def records(self, kind: FeedKind) -> list[Record]:
        return self.adapter.decode(self.raws(kind))

    def write(
        self,
        number: int,
        operation: Operation = Operation.CREATE,
        crm_id: str = "",
        values: Mapping[str, Scalar] | None = None,
        version: str = "",
    ) -> Write:
        """A write about lead ``number``; ``values`` by neutral names (None: what a create would set)."""
        given = person(number) if values is None else values
        return Write(
            trace=f"trace-{number}",
            operation=operation,
            key=f"L-{number}",
            fields={self.fields[name]: value for name, value in given.items()},
            crm_id=crm_id,
            version=version,
        )


def person(number: int) -> dict[str, Scalar]:
    """Values of lead ``number`` by neutral names."""
    return {"name": f"Lead {number}", "email": f"lead{number}@corp.example", "phone": f"+49 30 {number:06d}"}
