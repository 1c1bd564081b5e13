"""A CRM that a test scripts, with the bridge beside it: for cases that nobody has recorded.

The CRM is the sandbox HubSpot, the bridge is the bridge, time is virtual, and nothing opens a socket.
"""

from __future__ import annotations

import asyncio
import json
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from sales_crm_bridge import contract, tenants, wiring
from sales_crm_bridge.crm_http import HttpxTransport
from sales_crm_bridge.errors import ConfigError
from sales_crm_bridge.ledger import open_ledger
from sales_crm_bridge.replay.aside import loop_aside
from sales_crm_bridge.replay.bundle import Body, Exchange
from sales_crm_bridge.replay.recorder import HearingTransport, Recording
from sales_crm_bridge.replay.told import Facts
from sales_crm_bridge.sandbox import SandboxTransport
from sales_crm_bridge.sandbox.hubspot import Portal
from sales_crm_bridge.settings import Settings
from sales_crm_bridge.simulate.loop import VirtualClock, VirtualLoop
from sales_crm_bridge.simulate.topic import Topics, TopicSink, TopicSource
from sales_crm_bridge.simulate.world import SeededDice
from sales_crm_bridge.units import seconds

if TYPE_CHECKING:
    from collections.abc import Coroutine

    from google.protobuf.message import Message

    from sales_crm_bridge.service import Service
    from sales_crm_bridge.tenants import Tenant

BEGINS_US = 1_790_000_000_000_000
"""The time at which every scripted world begins: 21 September 2026."""

TENANT = """\
tenant: acme
leads: [{owner: crm, from: 2026-01-01T00:00:00Z}]
connection:
  adapter: hubspot
  address: https://crm.example
  account: "4242"
  credentials: {kind: token, token: "file:FOLDER/token"}
  limits: {per_second: 19, in_flight: 4}
fields:
  email: email
  first_name: firstname
  last_name: lastname
  phone: phone
  company_name: company
  job_title: jobtitle
  city: city
  status:
    crm: hs_lead_status
    values: {NEW: new, OPEN: working, IN_PROGRESS: working, CONNECTED: qualified, UNQUALIFIED: disqualified}
    write_values: {working: IN_PROGRESS}
    otherwise: working
pull: {every: 10s, horizon: 10s, second_pass: 1m, removed_every: 1m, audit_every: 1h}
"""
"""The tenant of a scripted CRM, unless a test brings another one; ``FOLDER/token`` holds the sandbox's token."""


@dataclass(frozen=True, slots=True)
class CrmCall:
    """A request that the bridge has made: its ``path``, what it carried (``said``) and what it was answered, read as JSON."""

    method: str
    path: str
    said: Any
    status: int
    answered: Any


class ScriptedCrm:
    """A CRM that a test scripts. Nothing happens until time passes (``passes``, ``settles``)."""

    def __init__(self, folder: Path, tenant: str = TENANT) -> None:
        """``folder``: for the tenant's file, empty; ``tenant``: its text. Raises ``ConfigError`` with every finding of it."""
        self._loop = VirtualLoop()
        self._clock = VirtualClock(self._loop, BEGINS_US)
        self.portal = Portal.seeded(seed=1, leads=0, clock=lambda: self._clock.now_us() / 1e6)
        self.portal.add_property("contacts", "bridge_lead_id", unique=True)
        (folder / "tenants").mkdir()
        (folder / "token").write_text(self.portal.account.token, encoding="utf-8")
        self._tenant = _tenant(folder, tenant.replace("FOLDER", str(folder)))
        self._settings = Settings.model_validate(
            {
                "hash_keys": ["of a scripted world"],
                "seal_key": "of a scripted world",
                "tenants": {"folder": str(folder / "tenants")},
            }
        )
        self._topics = Topics(1, self._clock.now_us)
        self._recording = Recording(began_us=BEGINS_US)
        self._service: Service | None = None
        self._working: asyncio.Task[None] | None = None
        self._uttered = 0

    # --- what people do in the CRM ------------------------------------------------------------------------------------

    def lead(self, crm_fields: dict[str, str] | None = None, **values: str) -> ScriptedLead:
        """Somebody makes a lead in the CRM; values by Sales' names, as the mapping writes them, or by the CRM's own."""
        record = self.portal.person.create("contacts", self.written(values) | (crm_fields or {}))
        return ScriptedLead(self, record)

    def written(self, values: dict[str, str]) -> dict[str, str]:
        """Values by Sales' names as the CRM's fields hold them. Raises ``ValueError`` for one that the mapping does not write."""
        wire, misfits = self._tenant.mapping.to_wire(_lead(values), list(values), creating=False)
        if misfits:
            raise ValueError(f"the mapping does not write {misfits[0].field}: {misfits[0].code}")
        return {name: "" if value is None else str(value) for name, value in wire.items()}

    # --- what the domain asks for -------------------------------------------------------------------------------------

    def create(self, lead_id: str, **values: str) -> str:
        """The domain asks for a lead; gives the intent's message id."""
        return self.utter(contract.CreateLeadRequested(lead=_lead({"lead_id": lead_id, **values})), lead_id)

    def revise(self, lead_id: str, **values: str) -> str:
        """The domain asks for other values of a lead."""
        body = contract.ReviseLeadRequested(lead=_lead(values))
        body.update_mask.paths.extend(values)
        return self.utter(body, lead_id)

    def qualify(self, lead_id: str, note: str = "") -> str:
        """The domain asks for a lead to be qualified."""
        return self.utter(contract.QualifyLeadRequested(note=note), lead_id)

    def disqualify(self, lead_id: str, reason: str) -> str:
        """The domain asks for a lead to be disqualified."""
        return self.utter(contract.DisqualifyLeadRequested(reason=reason), lead_id)

    def utter(self, body: Message, lead_id: str) -> str:
        """An intent is put on its topic now; gives its message id."""
        self._uttered += 1
        name = f"intent-{self._uttered}"
        envelope = contract.intent(
            body,
            tenant_id=self._tenant.tenant,
            aggregate_id=lead_id,
            message_id=name,
            correlation_id=f"c-{name}",
            occurred_us=self._clock.now_us(),
            producer="test",
        )
        record = contract.record_of(envelope)
        self._topics.put(record.key, record.value, record.headers)
        return name

    # --- time, and what came of it ------------------------------------------------------------------------------------

    def passes(self, duration: str) -> Facts:
        """So much time passes (``30s``, ``2h``), and the bridge works; gives the facts that were told meanwhile."""
        before = len(self._topics.facts)
        self._run(self._clock.sleep(seconds(duration)))
        return Facts.of_values(self._topics.facts[before:])

    def settles(self) -> Facts:
        """Time passes until everything that has happened so far is told; gives the facts that were told meanwhile."""
        return self.passes("3m")

    @property
    def facts(self) -> Facts:
        """All facts so far."""
        return Facts.of_values(self._topics.facts)

    @property
    def calls(self) -> list[CrmCall]:
        """All requests that the bridge has made so far, in the order of their answers."""
        return [_call(one) for one in self._recording.exchanges]

    @property
    def writes(self) -> list[CrmCall]:
        """Those of them that create or change records."""
        words = ("/batch/create", "/batch/update", "/batch/upsert", "/batch/archive")
        return [one for one in self.calls if one.path.endswith(words) and one.said.get("inputs")]

    def _run(self, work: Coroutine[Any, Any, None]) -> None:
        async def beside() -> None:
            if self._working is None:
                self._service = await self._made()
                self._working = asyncio.create_task(self._service.run())
            await work
            if self._working.done():
                self._working.result()

        with loop_aside():
            self._loop.run_until_complete(beside())

    async def _made(self) -> Service:
        self._ledger = await open_ledger("sqlite://:memory:")
        outside = wiring.Outside(
            clock=self._clock,
            dice=SeededDice("scripted"),
            ledger=self._ledger,
            transport=lambda _: HearingTransport(
                HttpxTransport(SandboxTransport(self.portal, sleep=self._clock.sleep)), self._recording, self._clock
            ),
        )
        return wiring.assemble(self._settings, outside, source=TopicSource(self._topics), sink=TopicSink(self._topics))

    def close(self) -> None:
        """The bridge drains and ends. Again: nothing."""

        async def ended() -> None:
            if self._service is not None and self._working is not None:
                self._service.stop()
                await self._working
                await self._ledger.close()

        if not self._loop.is_closed():
            with loop_aside():
                self._loop.run_until_complete(ended())
                self._loop.close()


class ScriptedLead:
    """A lead in a scripted CRM; each deed gives the lead, so that deeds can follow one another."""

    def __init__(self, crm: ScriptedCrm, record: str) -> None:
        self._crm = crm
        self.record = record
        """Its id in the CRM."""

    def edited(self, crm_fields: dict[str, str] | None = None, **values: str) -> ScriptedLead:
        """Somebody gives it other values."""
        self._crm.portal.person.edit(self.record, self._crm.written(values) | (crm_fields or {}))
        return self

    def merged_into(self, other: ScriptedLead) -> ScriptedLead:
        """Somebody merges it into another one; gives the survivor, which has an id of its own in HubSpot."""
        other.record = self._crm.portal.person.merge(other.record, self.record)
        return other

    def deleted(self) -> ScriptedLead:
        """Somebody moves it to the bin."""
        self._crm.portal.person.delete(self.record)
        return self

    def restored(self) -> ScriptedLead:
        """Somebody brings it back."""
        self._crm.portal.person.restore(self.record)
        return self


def _lead(values: dict[str, str]) -> contract.Lead:
    lead = contract.Lead()
    for name, value in values.items():
        setattr(lead, name, value)
    return lead


def _tenant(folder: Path, text: str) -> Tenant:
    tenant, found = tenants.parse(text.encode(), str(folder / "tenants" / "tenant.yaml"), wiring.catalogue())
    if tenant is None:
        raise ConfigError(found)
    (folder / "tenants" / f"{tenant.tenant}.yaml").write_text(text, encoding="utf-8")
    return tenant


def _call(one: Exchange) -> CrmCall:
    path = one.url.removeprefix("https://").partition("/")[2].partition("?")[0]
    return CrmCall(one.method, f"/{path}", _json(one.body), one.status, _json(one.answer))


def _json(body: Body) -> Any:
    try:
        return json.loads(body.bytes() or b"{}")
    except ValueError:
        return body.text
