"""The declared CRMs of the simulation: one dialect each, told in a tenant's file."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, ClassVar

from sales_crm_bridge.sandbox import dialects
from sales_crm_bridge.simulate.crm import COMMON, Crm, Post
from sales_crm_bridge.simulate.plan import Menu

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable, Mapping


class Declared(Crm):
    """A CRM that nobody wrote an adapter for: its sandbox is one of the dialects."""

    connection = "rest"
    key: ClassVar[str] = ""
    """Where our key stands among the values ("": nowhere)."""

    def moves(self) -> int:
        moves: int = self.sandbox.moves
        return moves

    def shown(self) -> Iterable[tuple[str, Mapping[str, Any], str]]:
        for crm_id, fields in self.sandbox.live().items():
            yield crm_id, fields, str(fields.get(self.key) or "") if self.key else ""

    def theirs(self, values: Mapping[str, str]) -> dict[str, str]:
        back = {word: theirs for theirs, word in self.words.items()}
        return {
            self.named[name]: back.get(value, value) if name == "status" else value for name, value in values.items()
        }

    def create(self, values: Mapping[str, str]) -> str:
        crm_id: str = self.sandbox.create(self.theirs(values))
        return crm_id

    def edit(self, crm_id: str, values: Mapping[str, str]) -> None:
        self.sandbox.edit(crm_id, self.theirs(values))

    def delete(self, crm_id: str) -> None:
        self.sandbox.delete(crm_id)


class Plain(Declared):
    """Offsets, whole seconds, ETags, a list of what was deleted."""

    file = "plain"
    key = "externalId"
    named: ClassVar = {"name": "fullName", "email": "email", "phone": "phone", "status": "status"}
    words: ClassVar = {"New": "new", "Contacted": "working", "Qualified": "qualified", "Lost": "disqualified"}
    secrets: ClassVar = {"KEY": "plain-key"}
    menu = Menu(
        acts=(*COMMON, "restore"),
        reads=(
            "GET /api/v1/people",
            "GET /api/v1/people/*",
            "GET /api/v1/people/deleted",
            "GET /api/v1/account",
        ),
        writes=("POST /api/v1/people", "PATCH /api/v1/people/*"),
    )

    def found(self, clock: Callable[[], float], rng: random.Random) -> None:
        self.sandbox = dialects.Plain(clock=clock, rng=rng)

    def binned(self) -> list[str]:
        return [str(one.id) for one in self.sandbox.people.values() if one.deleted]

    def restore(self, crm_id: str) -> None:
        self.sandbox.restore(crm_id)


class Cloud(Declared):
    """Batches answered in any order, cursors that expire, signed webhooks, milliseconds."""

    file = "cloud"
    named: ClassVar = {"name": "title", "email": "contact.email", "phone": "contact.phone", "status": "stage"}
    words: ClassVar = {"open": "new", "won": "qualified", "lost": "disqualified"}
    secrets: ClassVar = {"CLIENT": "cloud-client", "SECRET": "cloud-secret", "HOOK": "hook-secret"}
    menu = Menu(
        acts=(*COMMON, "restore"),
        reads=("GET /v2/leads", "POST /oauth/token", "GET /v2/me"),
        writes=("POST /v2/leads/batch",),
        vices=("hooks", "cursor-expired"),
    )

    def found(self, clock: Callable[[], float], rng: random.Random) -> None:
        self.sandbox = dialects.Cloud(clock=clock, rng=rng)

    def forget_cursors(self) -> None:
        self.sandbox.forget_cursors()

    def deliveries(self) -> list[Post]:
        due = self.sandbox.delivery("hook-secret")
        return [Post(headers=due[0], body=due[1], answered=lambda _status: None)] if due is not None else []

    def shown(self) -> Iterable[tuple[str, Mapping[str, Any], str]]:
        for one in self.sandbox.leads.values():
            if not one.deleted:
                yield one.id, one.values, one.key

    def binned(self) -> list[str]:
        return [one.id for one in self.sandbox.leads.values() if one.deleted]

    def restore(self, crm_id: str) -> None:
        self.sandbox.restore(crm_id)

    def expire(self) -> None:
        self.sandbox.expire()


class Rpc(Declared):
    """JSON-RPC over POST, a session, no conditional writes."""

    file = "rpc"
    bin_is_writable = True
    key = "x_bridge_ref"
    named: ClassVar = {"name": "name", "email": "email_from", "phone": "phone", "status": "stage"}
    words: ClassVar = {"proposition": "working", "lost": "disqualified"}
    secrets: ClassVar = {"LOGIN": "bridge", "PASSWORD": "rpc-secret"}
    menu = Menu(
        acts=(*COMMON, "restore"),
        reads=("POST /jsonrpc search_read", "POST /jsonrpc read", "POST /jsonrpc session.open"),
        writes=("POST /jsonrpc create", "POST /jsonrpc write"),
    )

    def found(self, clock: Callable[[], float], rng: random.Random) -> None:
        self.sandbox = dialects.Rpc(clock=clock, rng=rng)

    def delete(self, crm_id: str) -> None:
        self.sandbox.archive(crm_id)

    def binned(self) -> list[str]:
        return [str(row.id) for row in self.sandbox.rows.values() if not row.active]

    def restore(self, crm_id: str) -> None:
        self.sandbox.unarchive(crm_id)

    def expire(self) -> None:
        self.sandbox.expire()


class Miserly(Declared):
    """Page numbers and nothing else: no order, no time, no version, no room for our key, no bin."""

    file = "miserly"
    named: ClassVar = {"name": "Name", "email": "Mail", "phone": "Tel", "status": "State"}
    words: ClassVar = {"A": "new", "B": "working", "C": "qualified", "D": "disqualified", "": "new"}
    secrets: ClassVar = {"USER": "bridge", "PASSWORD": "miser-secret"}
    menu = Menu(
        acts=COMMON,
        reads=("GET /crm/leads", "GET /crm/leads/*", "GET /crm/whoami"),
        writes=("POST /crm/leads", "POST /crm/leads/*"),
    )

    def found(self, clock: Callable[[], float], rng: random.Random) -> None:
        self.sandbox = dialects.Miserly(clock=clock, rng=rng)


class Harbour(Declared):
    """Leads become deals there; what is deleted stays readable."""

    file = "harbour"
    key = "keel"
    named: ClassVar = {"name": "skipper.name", "email": "skipper.mail", "phone": "skipper.phone", "status": "phase"}
    words: ClassVar = {"talking": "working", "ready": "working", "launched": "converted", "lost": "disqualified"}
    secrets: ClassVar = {"USER": "bridge", "PASSWORD": "harbour-secret"}
    menu = Menu(
        acts=(*COMMON, "convert"),
        reads=("POST /v3/berths/search", "GET /v3/berths/*", "POST /v3/session", "GET /v3/organisation"),
        writes=("POST /v3/berths", "PUT /v3/berths/*"),
    )

    def found(self, clock: Callable[[], float], rng: random.Random) -> None:
        self.sandbox = dialects.Harbour(clock=clock, rng=rng)

    def shown(self) -> Iterable[tuple[str, Mapping[str, Any], str]]:
        for one in self.sandbox.berths.values():
            if not one.sunk and not one.deal:
                yield f"B-{one.no}", one.values, str(one.values.get("keel") or "")

    def delete(self, crm_id: str) -> None:
        self.sandbox.sink(crm_id)

    def convert(self, crm_id: str) -> None:
        if self.sandbox.live()[crm_id].get("phase") != "lost":  # which the page does not offer
            self.sandbox.launch(crm_id)
