"""The CRMs of the simulation, by name: HubSpot's contacts, the teaching CRM, and those that are declared."""

from __future__ import annotations

from collections.abc import Mapping
from functools import partial
from typing import TYPE_CHECKING, Any, ClassVar

from sales_crm_bridge.sandbox.hubspot import CONTACTS, HookApp, Link, Portal, Vices
from sales_crm_bridge.sandbox.hubspot.portal import PRIMARY_CONTACT
from sales_crm_bridge.sandbox.memory import MemoryCrm
from sales_crm_bridge.simulate.crm import HOOKS_AT, Crm, Post
from sales_crm_bridge.simulate.declared_crms import Cloud, Harbour, Miserly, Plain, Rpc
from sales_crm_bridge.simulate.plan import PEOPLE, Menu

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Iterable


class HubSpot(Crm):
    """Contacts that are leads, by OAuth."""

    file = "hubspot"
    connection = "hubspot"
    sales = "last_name"
    named: ClassVar = {"name": "lastname", "email": "email", "phone": "phone", "status": "hs_lead_status"}
    words: ClassVar = {"NEW": "new", "OPEN": "working", "CONNECTED": "qualified", "UNQUALIFIED": "disqualified"}
    secrets: ClassVar = {"CLIENT": "client", "SECRET": "app-secret", "REFRESH": "refresh-1"}
    menu = Menu(
        acts=tuple(kind for kind in PEOPLE if kind != "convert"),
        reads=(
            "GET /crm/v3/objects/contacts",
            "POST /crm/v3/objects/contacts/search",
            "POST /crm/v3/objects/contacts/batch/read",
            "POST /oauth/v1/token",
            "GET /account-info/v3/details",
        ),
        writes=("POST /crm/v3/objects/contacts/batch/upsert", "POST /crm/v3/objects/contacts/batch/update"),
        vices=("search-late", "hooks"),
    )

    def found(self, clock: Callable[[], float], rng: random.Random) -> None:
        """An account with the vices of the real one."""
        spice = self.spice
        vices = Vices(
            search_lag_s=(0.0, spice.lag_s),
            latency_s=(spice.latency_s / 4, spice.latency_s),
            merge_makes_new_id=spice.new_ids,
            partial_missing=spice.refuse_behind,
            rotate_refresh_tokens=False,
        )
        self.sandbox = self._portal = Portal(clock=clock, rng=rng, vices=vices)
        self._portal.tokens.oauth_app("client", "app-secret", "refresh-1")
        self._portal.add_property("contacts", "bridge_lead_id", unique=True)
        url = f"{HOOKS_AT}/webhooks/acme/hubspot"
        secret = self.secrets["SECRET"]
        self._portal.webhooks.register(
            HookApp(app_id=99, client_secret=secret, target_url=url, duplicates=0.2, disorder=0.3, repeated_ids=0.1)
        )

    def deliveries(self) -> list[Post]:
        hooks = self._portal.webhooks
        return [
            Post(headers=one.headers, body=one.body, answered=partial(hooks.answered, one)) for one in hooks.due()
        ]  # fmt: skip

    def moves(self) -> int:
        return self._portal.moves

    def shown(self) -> Iterable[tuple[str, Mapping[str, Any], str]]:
        for crm_id, fields in self._portal.truth().live["contacts"].items():
            yield crm_id, fields, fields.get("bridge_lead_id", "")

    def create(self, values: Mapping[str, str]) -> str:
        return self._portal.person.create("contacts", self.theirs(values))

    def edit(self, crm_id: str, values: Mapping[str, str]) -> None:
        self._portal.person.edit(crm_id, self.theirs(values))

    def delete(self, crm_id: str) -> None:
        self._portal.person.delete(crm_id)

    def binned(self) -> list[str]:
        return sorted(self._portal.truth().archived["contacts"], key=int)

    def restore(self, crm_id: str) -> None:
        self._portal.person.restore(crm_id)

    def merge(self, primary: str, other: str) -> str:
        return self._portal.person.merge(primary, other)

    def erase(self, crm_id: str) -> None:
        self._portal.person.erase(crm_id)

    def expire(self) -> None:
        self._portal.tokens.expire_all()

    def lag(self, crm_id: str, seconds: float | None) -> None:
        self._portal.search_lag(crm_id, seconds)

    def theirs(self, values: Mapping[str, str]) -> dict[str, str]:
        back = {word: theirs for theirs, word in self.words.items()}
        return {
            self.named[name]: back.get(value, value) if name == "status" else value for name, value in values.items()
        }


class HubSpotLeads(HubSpot):
    """The Lead object: a lead is two records, and a contact may have several leads."""

    file = "hubspot-leads"
    in_parts = True
    named: ClassVar = {
        "name": "hs_lead_name",
        "email": "contact.email",
        "phone": "contact.phone",
        "status": "hs_pipeline_stage",
    }
    words: ClassVar = {
        "new-stage-id": "new",
        "attempting-stage-id": "working",
        "connected-stage-id": "working",
        "qualified-stage-id": "qualified",
        "unqualified-stage-id": "disqualified",
    }
    menu = Menu(
        acts=("edit", "burst", "same", "create", "delete", "restore", "merge"),
        reads=(
            "GET /crm/v3/objects/leads",
            "POST /crm/v3/objects/leads/search",
            "POST /crm/v3/objects/contacts/search",
            "POST /crm/v3/objects/leads/batch/read",
            "POST /crm/v3/objects/contacts/batch/read",
            "POST /oauth/v1/token",
        ),
        writes=(
            "POST /crm/v3/objects/leads/batch/create",
            "POST /crm/v3/objects/contacts/batch/create",
            "POST /crm/v3/objects/leads/batch/update",
            "POST /crm/v3/objects/contacts/batch/update",
        ),
        vices=("hooks",),
    )

    def found(self, clock: Callable[[], float], rng: random.Random) -> None:
        super().found(clock, rng)
        self._portal.add_property("leads", "bridge_lead_id", unique=True)

    def shown(self) -> Iterable[tuple[str, Mapping[str, Any], str]]:
        live = self._portal.truth().live
        for crm_id, lead in live["leads"].items():
            contact = live["contacts"].get(self._portal.contact_of(crm_id), {})
            fields = {**lead, **{f"contact.{name}": value for name, value in contact.items()}}
            yield crm_id, fields, lead.get("bridge_lead_id", "")

    def _parts(self, values: Mapping[str, str]) -> tuple[dict[str, str], dict[str, str]]:
        """What of these values is the lead's, and what its contact's."""
        theirs = self.theirs(values)
        lead = {name: value for name, value in theirs.items() if not name.startswith("contact.")}
        contact = {name.removeprefix("contact."): value for name, value in theirs.items() if name not in lead}
        return lead, contact

    def create(self, values: Mapping[str, str]) -> str:
        lead, contact = self._parts(values)
        person = self._portal.person.create("contacts", contact)
        link = Link(to=CONTACTS, id=int(person), types=(PRIMARY_CONTACT,))
        return self._portal.person.create("leads", lead, [link])

    def edit(self, crm_id: str, values: Mapping[str, str]) -> None:
        lead, contact = self._parts(values)
        if lead:
            self._portal.person.edit(crm_id, lead)
        if contact and (person := self._portal.contact_of(crm_id)):
            self._portal.person.edit(person, contact)

    def binned(self) -> list[str]:
        return sorted(self._portal.truth().archived["leads"], key=int)

    def merge(self, primary: str, other: str) -> str:
        """Merge the contacts of two leads: both leads stay, and have one contact."""
        parts = self._portal.contact_of(primary), self._portal.contact_of(other)
        if all(parts) and parts[0] != parts[1]:
            self._portal.person.merge(*parts)
        return primary


class Memory(Crm):
    """The teaching CRM: conditional writes, merges, whole seconds."""

    file = "memory"
    connection = "memory"
    named: ClassVar = {"name": "name", "email": "email", "phone": "phone", "status": "status"}
    words: ClassVar = {"open": "working"}
    secrets: ClassVar = {"PASSWORD": "open-sesame"}
    menu = Menu(
        acts=tuple(kind for kind in PEOPLE if kind != "convert"),
        reads=("GET /leads", "GET /leads/*", "POST /sign-in", "GET /about"),
        writes=("PUT /leads/by-key/*", "PATCH /leads/*"),
    )

    def found(self, clock: Callable[[], float], rng: random.Random) -> None:
        """An account; nothing is ever under way."""
        self.sandbox = self._memory = MemoryCrm(clock=clock, rng=rng)

    def moves(self) -> int:
        return self._memory.moves

    def shown(self) -> Iterable[tuple[str, Mapping[str, Any], str]]:
        for record in self._memory.records.values():
            if record.id and not record.removed:
                yield str(record.id), record.values, record.key

    def theirs(self, values: Mapping[str, str]) -> dict[str, str]:
        return {name: "open" if value == "working" else value for name, value in values.items()}

    def create(self, values: Mapping[str, str]) -> str:
        return self._memory.create(self.theirs(values))

    def edit(self, crm_id: str, values: Mapping[str, str]) -> None:
        self._memory.edit(crm_id, self.theirs(values))

    def delete(self, crm_id: str) -> None:
        self._memory.delete(crm_id)

    def binned(self) -> list[str]:
        return [str(one.id) for one in self._memory.records.values() if one.id and one.removed]

    def restore(self, crm_id: str) -> None:
        self._memory.restore(crm_id)

    def merge(self, primary: str, other: str) -> str:
        return self._memory.merge(primary, other)

    def erase(self, crm_id: str) -> None:
        self._memory.erase(crm_id)

    def expire(self) -> None:
        self._memory.expire()


CRMS: Mapping[str, type[Crm]] = {
    "hubspot": HubSpot,
    "hubspot-leads": HubSpotLeads,
    "memory": Memory,
    "plain": Plain,
    "cloud": Cloud,
    "rpc": Rpc,
    "harbour": Harbour,
    "miserly": Miserly,
}
"""Every world of the simulation, by name."""
