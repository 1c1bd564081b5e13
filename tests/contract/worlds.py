"""Where the contract suite runs: every adapter of the catalogue, in each form that its options or its declaration give it."""

from __future__ import annotations

import re
from collections.abc import Mapping
from typing import ClassVar

from sales_crm_bridge.model import FeedKind, Hook, HttpCall, Write
from sales_crm_bridge.sandbox.hubspot import CONTACTS, LEADS, HookApp, Link, Portal, Vices
from sales_crm_bridge.sandbox.memory import MemoryCrm
from tests.contract.declared_worlds import DECLARED_WORLDS
from tests.contract.world import HOOK_URL, World, Writing, person
from tests.sandbox.openapi import check_request

PRIMARY = 578

UNDESCRIBED = re.compile(r"/account-info/|/crm/associations/")
"""The documents lack the account's details, and the date-versioned paths of associations."""


class HubSpotContacts(World):
    """Contacts that are leads. Every request is held against HubSpot's API description."""

    name = "hubspot"
    feeds: tuple[FeedKind, ...] = (FeedKind.SWEEP, FeedKind.CHANGES, FeedKind.REMOVED)
    exchanged = True
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
    hook_secrets: ClassVar[Mapping[str, str]] = {"client_secret": "app-secret"}
    statuses = ("NEW", "OPEN")
    kind = "contacts"

    def found(self, **build: object) -> Portal:
        self.portal = Portal(clock=self.clock, rng=self.dice, vices=Vices(**build))  # type: ignore[arg-type]
        self.portal.tokens.oauth_app("client", "app-secret", "refresh-1")
        for kind in ("contacts", "leads"):
            self.portal.add_property(kind, "bridge_lead_id", unique=True)
        return self.portal

    def writing(self, write: Write) -> Writing:
        return Writing("POST", f"*/{self.kind}/batch/*[!d]")

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

    def deliver(self, crm_id: str) -> Hook:
        self.portal.webhooks.register(HookApp(app_id=99, client_secret="app-secret", target_url=HOOK_URL))
        self.edit(crm_id, {"name": "New name"})
        (delivery,) = self.portal.webhooks.due()
        return self.posted(delivery.headers, delivery.body)

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
    exchanged = False
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
    feeds = (FeedKind.SWEEP, FeedKind.CHANGES, FeedKind.CHANGES, FeedKind.REMOVED)
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
    feeds = (FeedKind.SWEEP, FeedKind.CHANGES, FeedKind.REMOVED)
    exchanged = True
    fields: ClassVar[Mapping[str, str]] = {
        "name": "name",
        "email": "email",
        "phone": "phone",
        "status": "status",
        "read_only": "score",
    }
    secrets: ClassVar[Mapping[str, str]] = {"password": "open-sesame"}
    statuses = ("new", "open")

    def writing(self, write: Write) -> Writing:
        return Writing("PATCH" if write.crm_id else "PUT", "/leads/*")

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
    **DECLARED_WORLDS,
}
