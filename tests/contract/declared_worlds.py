"""Worlds of the declared adapter: four CRMs that nobody wrote an adapter for, each told in a tenant's file."""

from __future__ import annotations

import functools
from collections.abc import Mapping
from pathlib import Path
from typing import ClassVar
from urllib.parse import urlsplit

from sales_crm_adapters import CATALOGUE

from sales_crm_bridge import tenants
from sales_crm_bridge.model import FeedKind, Hook, Scalar, Write
from sales_crm_bridge.sandbox.dialects import Cloud, Miserly, Plain, Rpc
from tests.contract.world import Clock, World, Writing, person

DECLARED = Path(__file__).parent / "declared"


@functools.cache  # a value: a world for each of a thousand examples reads the file once
def tenant_of(name: str) -> tenants.Tenant:
    """The tenant of a declaration, by the loader that production has."""
    file = DECLARED / f"{name}.yaml"
    tenant, findings = tenants.parse(file.read_bytes(), file.name, CATALOGUE, secrets=False)
    assert tenant is not None, findings
    return tenant


class DeclaredWorld(World):
    """A CRM behind ``adapter: rest``. The mapping of its file asks for exactly the fields that the suite speaks of."""

    name = "rest"
    declaration = ""

    def __init__(self, *, clock: Clock | None = None, **build: object) -> None:
        self.tenant = self.declared()
        assert sorted(self.fields.values()) == sorted(self.tenant.mapping.crm_fields)
        self.base = urlsplit(self.tenant.connection.address).path
        super().__init__(clock=clock, **build)

    def declared(self) -> tenants.Tenant:
        """The tenant whose file declares the CRM."""
        return tenant_of(self.declaration)

    def settings(self) -> Mapping[str, object]:
        return self.tenant.connection.options

    def restore(self, crm_id: str) -> None:
        raise NotImplementedError

    def merge(self, primary: str, other: str) -> str:
        raise NotImplementedError

    def live(self) -> list[str]:
        """The ids of what is really there."""
        raise NotImplementedError

    def named(self, values: Mapping[str, Scalar]) -> dict[str, Scalar]:
        """``values`` under the CRM's names."""
        return {self.fields[name]: value for name, value in values.items()}


class PlainWorld(DeclaredWorld):
    """Offsets, whole seconds, ETags, problem details, a list of what was deleted."""

    declaration = "plain"
    fields: ClassVar[Mapping[str, str]] = {
        "name": "fullName", "email": "email", "phone": "phone", "status": "status", "read_only": "score",
    }  # fmt: skip
    secrets: ClassVar[Mapping[str, str]] = {"token": "plain-key"}
    statuses = ("New", "Contacted")
    feeds = (FeedKind.SWEEP, FeedKind.CHANGES, FeedKind.REMOVED)

    def found(self, **build: object) -> Plain:
        self.plain = Plain(clock=self.clock, rng=self.dice)
        return self.plain

    def create(self, number: int, key: str = "") -> str:
        return self.plain.create({**self.named(person(number)), "externalId": key})

    def edit(self, crm_id: str, values: Mapping[str, str]) -> None:
        self.plain.edit(crm_id, self.named(values))

    def delete(self, crm_id: str) -> None:
        self.plain.delete(crm_id)

    def restore(self, crm_id: str) -> None:
        self.plain.restore(crm_id)

    def erase(self, crm_id: str) -> None:
        self.plain.purge(crm_id)

    def forbid_reading(self) -> None:
        self.plain.rights.remove("people:read")

    def holds(self, crm_id: str, field: str) -> str:
        return str(self.plain.people[int(crm_id)].values.get(self.fields[field]) or "")

    def count(self) -> int:
        return len(self.live())

    def live(self) -> list[str]:
        return list(self.plain.live())

    def writing(self, write: Write) -> Writing:
        return Writing("PATCH", "*/people/*") if write.crm_id else Writing("POST", "*/people")


class CloudWorld(DeclaredWorld):
    """Client credentials, cursors in links, batches in any order, marks for what was deleted, signed webhooks."""

    declaration = "cloud"
    claims = False  # only a create names the external id
    fields: ClassVar[Mapping[str, str]] = {
        "name": "title", "email": "contact.email", "phone": "contact.phone", "status": "stage", "read_only": "rating",
    }  # fmt: skip
    secrets: ClassVar[Mapping[str, str]] = {"client_id": "cloud-client", "client_secret": "cloud-secret"}
    statuses = ("open", "working")
    feeds = (FeedKind.SWEEP, FeedKind.CHANGES, FeedKind.REMOVED)
    exchanged = True

    def found(self, **build: object) -> Cloud:
        self.cloud = Cloud(clock=self.clock, rng=self.dice)
        return self.cloud

    def create(self, number: int, key: str = "") -> str:
        return self.cloud.create(self.named(person(number)), key)

    def edit(self, crm_id: str, values: Mapping[str, str]) -> None:
        self.cloud.edit(crm_id, self.named(values))

    def delete(self, crm_id: str) -> None:
        self.cloud.delete(crm_id)

    def restore(self, crm_id: str) -> None:
        self.cloud.restore(crm_id)

    def erase(self, crm_id: str) -> None:
        self.cloud.purge(crm_id)

    def deliver(self, crm_id: str) -> Hook:
        self.edit(crm_id, {"name": "New name"})
        delivery = self.cloud.delivery("hook-secret")
        assert delivery is not None
        return self.posted(*delivery)

    def expire(self) -> None:
        self.cloud.expire()

    def forbid_reading(self) -> None:
        self.cloud.scopes.remove("leads:read")

    def holds(self, crm_id: str, field: str) -> str:
        return str(self.cloud.leads[crm_id].values.get(self.fields[field]) or "")

    def count(self) -> int:
        return len(self.live())

    def live(self) -> list[str]:
        return list(self.cloud.live())

    def writing(self, write: Write) -> Writing:
        return Writing("POST", "/v2/leads/batch")


class RpcWorld(DeclaredWorld):
    """JSON-RPC over POST, a session, search domains, every error with a good status."""

    declaration = "rpc"
    fields: ClassVar[Mapping[str, str]] = {
        "name": "name", "email": "email_from", "phone": "phone", "status": "stage", "read_only": "probability",
    }  # fmt: skip
    secrets: ClassVar[Mapping[str, str]] = {"username": "bridge", "password": "rpc-secret"}
    statuses = ("new", "qualified")
    feeds = (FeedKind.SWEEP, FeedKind.CHANGES, FeedKind.REMOVED)
    exchanged = True
    archived_are_writable = True

    def found(self, **build: object) -> Rpc:
        self.rpc = Rpc(clock=self.clock, rng=self.dice)
        return self.rpc

    def create(self, number: int, key: str = "") -> str:
        return self.rpc.create({**self.named(person(number)), "x_bridge_ref": key})

    def edit(self, crm_id: str, values: Mapping[str, str]) -> None:
        self.rpc.edit(crm_id, self.named(values))

    def delete(self, crm_id: str) -> None:
        self.rpc.archive(crm_id)

    def restore(self, crm_id: str) -> None:
        self.rpc.unarchive(crm_id)

    def erase(self, crm_id: str) -> None:
        self.rpc.unlink(crm_id)

    def expire(self) -> None:
        self.rpc.expire()

    def forbid_reading(self) -> None:
        self.rpc.rights.remove("read")

    def holds(self, crm_id: str, field: str) -> str:
        return str(self.rpc.rows[int(crm_id)].values.get(self.fields[field]) or "")

    def count(self) -> int:
        return len(self.live())

    def live(self) -> list[str]:
        return list(self.rpc.live())

    def writing(self, write: Write) -> Writing:
        return Writing("POST", "/jsonrpc", b'"method":"write"' if write.crm_id else b'"method":"create"')


class MiserlyWorld(DeclaredWorld):
    """Page numbers and nothing else: no order, no time, no version, no room for our key, no bin."""

    declaration = "miserly"
    fields: ClassVar[Mapping[str, str]] = {
        "name": "Name", "email": "Mail", "phone": "Tel", "status": "State", "read_only": "Points",
    }  # fmt: skip
    secrets: ClassVar[Mapping[str, str]] = {"username": "bridge", "password": "miser-secret"}
    statuses = ("A", "B")
    zone = "UTC"
    feeds = (FeedKind.SWEEP,)

    def found(self, **build: object) -> Miserly:
        self.miserly = Miserly(clock=self.clock, rng=self.dice)
        return self.miserly

    def create(self, number: int, key: str = "") -> str:
        return self.miserly.create(self.named(person(number)))

    def edit(self, crm_id: str, values: Mapping[str, str]) -> None:
        self.miserly.edit(crm_id, self.named(values))

    def delete(self, crm_id: str) -> None:
        self.miserly.delete(crm_id)

    def erase(self, crm_id: str) -> None:
        assert crm_id not in self.miserly.live(), "what is deleted is gone"

    def forbid_reading(self) -> None:
        self.miserly.rights.remove("read")

    def holds(self, crm_id: str, field: str) -> str:
        return self.miserly.rows[int(crm_id)].values.get(self.fields[field], "")

    def count(self) -> int:
        return len(self.live())

    def live(self) -> list[str]:
        return list(self.miserly.live())

    def writing(self, write: Write) -> Writing:
        return Writing("POST", "*/leads/*" if write.crm_id else "*/leads")


DECLARED_WORLDS: Mapping[str, type[DeclaredWorld]] = {
    "declared-cloud": CloudWorld,
    "declared-miserly": MiserlyWorld,
    "declared-plain": PlainWorld,
    "declared-rpc": RpcWorld,
}
