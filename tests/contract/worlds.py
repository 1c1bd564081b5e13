"""Where the contract suite runs: each CRM's sandbox behind one set of verbs, and a line on which talks are held.

The line is the rim reduced to what the port says of it: no retries, no waiting, no threads. So a talk is driven call by call.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterator, Mapping
from typing import ClassVar, Protocol, TypeVar
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
from sales_crm_bridge.sandbox.hubspot import CONTACTS, LEADS, Link, Portal, Vices
from sales_crm_bridge.sandbox.memory import MemoryCrm
from tests.sandbox.openapi import check_request

T = TypeVar("T")

START_S = 1_790_000_000.0
PRIMARY = 578


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
    statuses = ("", "")
    """Two values that the status field accepts, the later one second."""

    def __init__(self, **build: object) -> None:
        self.clock = Clock()
        self.dice = random.Random(7)
        self.entry = CATALOGUE[self.name]
        self.adapter: CrmAdapter = self.entry.make(self.options, tuple(sorted(self.fields.values())))
        self.crm: Crm = self.found(**build)
        self.calls: list[HttpCall] = []
        self.secrets_now = dict(self.secrets)
        self.spoil: Callable[[HttpCall, Answer], Answer] | None = None
        self._credentials: Credentials | None = None

    # --- for each CRM -------------------------------------------------------------------------------------------------

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
        target = call.path + (f"?{urlencode(call.query, quote_via=quote)}" if call.query else "")
        headers = {"content-type": call.content_type, **dict(call.headers)}
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


UNDESCRIBED = re.compile(r"/account-info/|/crm/associations/")
"""The documents lack the account's details, and the date-versioned paths of associations."""


class HubSpotContacts(World):
    """Contacts that are leads. Every request is held against HubSpot's API description."""

    name = "hubspot"
    fields: ClassVar[Mapping[str, str]] = {
        "name": "lastname",
        "email": "email",
        "phone": "phone",
        "status": "hs_lead_status",
        "stage": "lifecyclestage",
        "read_only": "hs_email_domain",
    }
    secrets: ClassVar[Mapping[str, str]] = {
        "client_id": "client",
        "client_secret": "app-secret",
        "refresh_token": "refresh-1",
    }
    statuses = ("NEW", "OPEN")
    kind = "contacts"

    def found(self, **build: object) -> Portal:
        self.portal = Portal(clock=self.clock, rng=self.dice, vices=Vices(**build))  # type: ignore[arg-type]
        self.portal.tokens.oauth_app("client", "app-secret", "refresh-1")
        for kind in ("contacts", "leads"):
            self.portal.add_property(kind, "bridge_lead_id", unique=True)
        return self.portal

    def check(self, call: HttpCall, target: str) -> None:
        if not UNDESCRIBED.match(target):
            check_request(call.method, target, call.content_type, call.body)

    def create(self, number: int, key: str = "") -> str:
        values = {self.fields[name]: str(value) for name, value in person(number).items()}
        return self.portal.person.create(self.kind, values | ({"bridge_lead_id": key} if key else {}))

    def edit(self, crm_id: str, values: Mapping[str, str]) -> None:
        self.portal.person.edit(crm_id, {self.fields[name]: value for name, value in values.items()})

    def delete(self, crm_id: str) -> None:
        self.portal.person.delete(crm_id)

    def restore(self, crm_id: str) -> None:
        self.portal.person.restore(crm_id)

    def erase(self, crm_id: str) -> None:
        self.portal.person.erase(crm_id)

    def merge(self, primary: str, other: str) -> str:
        return self.portal.person.merge(primary, other)

    def expire(self) -> None:
        self.portal.tokens.expire_all()

    def forbid_reading(self) -> None:
        self.portal.tokens.static("pat-poor", scopes={"crm.objects.owners.read"})
        self.secrets_now = {"token": "pat-poor"}

    def holds(self, crm_id: str, field: str) -> str:
        return self.portal.truth().live[self.kind][crm_id].get(self.fields[field], "")

    def count(self) -> int:
        return len(self.portal.truth().live[self.kind])


class HubSpotDated(HubSpotContacts):
    """The same under a date-versioned API, with a static token."""

    options: ClassVar[Mapping[str, object]] = {"api_version": "2026-09", "portal_id": "4242"}
    secrets: ClassVar[Mapping[str, str]] = {"token": "pat-na1-sandbox"}


class HubSpotLeads(HubSpotContacts):
    """The Lead object; e-mail and phone are the contact's."""

    options: ClassVar[Mapping[str, object]] = {"object": "leads"}
    fields: ClassVar[Mapping[str, str]] = {
        "name": "hs_lead_name",
        "email": "contact.email",
        "phone": "contact.phone",
        "status": "hs_pipeline_stage",
        "read_only": "hs_lead_is_open",
    }
    statuses = ("new-stage-id", "qualified-stage-id")
    kind = "leads"

    def create(self, number: int, key: str = "") -> str:
        values = {name: str(value) for name, value in person(number).items()}
        contact = self.portal.person.create("contacts", {"email": values["email"], "phone": values["phone"]})
        lead = {"hs_lead_name": values["name"]} | ({"bridge_lead_id": key} if key else {})
        return self.portal.person.create("leads", lead, [Link(to=CONTACTS, id=int(contact), types=(PRIMARY,))])

    def contact_of(self, crm_id: str) -> str:
        record = self.portal._crm.books[LEADS.name].records[int(crm_id)]
        return str(self.portal._crm.links.of(record, CONTACTS)[0][1])

    def edit(self, crm_id: str, values: Mapping[str, str]) -> None:
        for name, value in values.items():
            prefix, _, field = self.fields[name].rpartition(".")
            self.portal.person.edit(self.contact_of(crm_id) if prefix else crm_id, {field: value})

    def holds(self, crm_id: str, field: str) -> str:
        prefix, _, name = self.fields[field].rpartition(".")
        if prefix:
            return self.portal.truth().live["contacts"][self.contact_of(crm_id)].get(name, "")
        return self.portal.truth().live["leads"][crm_id].get(name, "")


class MemoryWorld(World):
    """The teaching CRM."""

    name = "memory"
    fields: ClassVar[Mapping[str, str]] = {
        "name": "name",
        "email": "email",
        "phone": "phone",
        "status": "status",
        "read_only": "score",
    }
    secrets: ClassVar[Mapping[str, str]] = {"password": "open-sesame"}
    statuses = ("new", "open")

    def found(self, **build: object) -> MemoryCrm:
        self.memory = MemoryCrm(clock=self.clock, rng=self.dice)
        return self.memory

    def create(self, number: int, key: str = "") -> str:
        return self.memory.create(person(number), key)

    def edit(self, crm_id: str, values: Mapping[str, str]) -> None:
        self.memory.edit(crm_id, values)

    def delete(self, crm_id: str) -> None:
        self.memory.delete(crm_id)

    def restore(self, crm_id: str) -> None:
        self.memory.restore(crm_id)

    def erase(self, crm_id: str) -> None:
        self.memory.erase(crm_id)

    def merge(self, primary: str, other: str) -> str:
        return self.memory.merge(primary, other)

    def expire(self) -> None:
        self.memory.expire()

    def forbid_reading(self) -> None:
        self.memory.rights.remove("leads:read")

    def holds(self, crm_id: str, field: str) -> str:
        return str(self.memory.records[int(crm_id)].values.get(field) or "")

    def count(self) -> int:
        return sum(1 for record in self.memory.records.values() if record.id and not record.removed)


WORLDS: Mapping[str, type[World]] = {
    "hubspot": HubSpotContacts,
    "hubspot-2026-09": HubSpotDated,
    "hubspot-leads": HubSpotLeads,
    "memory": MemoryWorld,
}
