"""What clients of the Sales domain utter: intents on the topic, and calls for a lead."""

from __future__ import annotations

from typing import TYPE_CHECKING

import msgspec

from sales_crm_bridge import contract

if TYPE_CHECKING:
    import random
    from collections.abc import Callable, Sequence

    from google.protobuf.message import Message

    from sales_crm_bridge.simulate.deployment import Deployment
    from sales_crm_bridge.simulate.plan import Event

TENANT = "acme"
SOME = 40
"""So many of the newest leads of Sales are still spoken of."""

NAMED_TOO = 0.3
"""How often a revision changes the name as well."""


class Utterance(msgspec.Struct, frozen=True, kw_only=True):
    """An intent: what was asked, of which lead; ``asked``: the values, by neutral names; ``place``: partition and offset."""

    message_id: str
    lead_id: str
    operation: str
    asked: dict[str, str]
    place: tuple[int, int]
    occurred_us: int


class Clients:
    """Utters intents. ``uttered``: every one that is one, by message id."""

    def __init__(self, town: Deployment) -> None:
        self._town = town
        self.uttered: dict[str, Utterance] = {}
        self._leads: list[str] = []
        self._raw: list[tuple[bytes, bytes, Sequence[tuple[str, bytes]]]] = []
        self._ways: dict[str, Callable[[str, random.Random], None]] = {
            "new-lead": self._new,
            "new-lead-taken": self._taken,
            "new-lead-revised": self._revised,
            "revise": lambda mark, rng: self._revise(self._some(rng), mark, rng),
            "revise-theirs": lambda mark, rng: self._revise(self._theirs(rng), mark, rng),
            "late-intent": lambda mark, rng: self._revise(self._some(rng), mark, rng, rng.randrange(60, 600)),
            "qualify": lambda mark, rng: self._qualify(self._some(rng), mark),
            "disqualify": lambda mark, rng: self._disqualify(self._some(rng), mark),
            "unknown-lead": lambda mark, _: self._qualify(f"U-{mark}", mark),
            "again": self._again,
            "garbage": self._garbage,
            "ask": lambda _, rng: self._ask(self._some(rng) or self._theirs(rng)),
        }

    def do(self, event: Event, rng: random.Random) -> None:
        """One intent; of a lead that is not there yet, none."""
        self._ways[event.kind](f"{event.step}{event.n:06d}", rng)

    def _some(self, rng: random.Random) -> str:
        """A lead of Sales; "" there is none."""
        return rng.choice(self._leads[-SOME:]) if self._leads else ""

    def _theirs(self, rng: random.Random) -> str:
        """A lead that the CRM's people have made, and that Sales was told of."""
        born = sorted(self._town.reader.born)
        return rng.choice(born) if born else ""

    def _ask(self, lead_id: str) -> None:
        """A call that wants to see a lead as it is now."""
        if lead_id:
            self._town.callers.ask(lead_id)

    def _garbage(self, _mark: str, _rng: random.Random) -> None:
        self._town.group.put(f"{TENANT}/x".encode(), b"\xff\xff not an intent", ())

    def _again(self, _mark: str, rng: random.Random) -> None:
        """A client that got no answer says it again."""
        if self._raw:
            self._town.group.put(*rng.choice(self._raw))

    def _taken(self, mark: str, rng: random.Random) -> None:
        """A new lead with an address that somebody has."""
        live = self._town.journal.live
        self._new(mark, rng, live[rng.choice(list(live))]["email"] if live else "")

    def _revised(self, mark: str, rng: random.Random) -> None:
        """A new lead, and at once what its first form has left out."""
        self._new(f"{mark}0", rng)
        self._revise(f"L-{mark}0", f"{mark}1", rng)

    def _new(self, mark: str, _rng: random.Random, email: str = "") -> None:
        values = {"name": f"N {mark}", "email": email or f"n{mark}@Sales.example", "phone": f"+8 {mark}"}
        lead_id = f"L-{mark}"
        self._leads.append(lead_id)
        body = contract.CreateLeadRequested(lead=self._lead(lead_id, values))
        self._say(body, lead_id, f"create-{mark}", "create", values)

    def _qualify(self, lead_id: str, mark: str) -> None:
        self._say(contract.QualifyLeadRequested(), lead_id, f"qualify-{mark}", "qualify", {"status": "qualified"})

    def _disqualify(self, lead_id: str, mark: str) -> None:
        body = contract.DisqualifyLeadRequested(reason="too small")
        self._say(body, lead_id, f"disqualify-{mark}", "disqualify", {"status": "disqualified"})

    def _revise(self, lead_id: str, mark: str, rng: random.Random, ago_s: int = 0) -> None:
        values = {"phone": f"+8 {mark}"}
        if rng.random() < NAMED_TOO:
            values["name"] = f"R {mark}"
        names = {"name": self._town.crm.sales, "phone": "phone"}
        body = contract.ReviseLeadRequested(lead=self._lead(lead_id, values))
        body.update_mask.paths.extend(names[name] for name in values)
        self._say(body, lead_id, f"revise-{mark}", "revise", values, ago_s)

    def _lead(self, lead_id: str, values: dict[str, str]) -> contract.Lead:
        lead = contract.Lead(lead_id=lead_id)
        for name, value in values.items():
            if name == "status":
                lead.status = contract.LeadStatus.Value(f"LEAD_STATUS_{value.upper()}")
            else:
                setattr(lead, self._town.crm.sales if name == "name" else name, value)
        return lead

    def _say(
        self, body: Message, lead_id: str, message_id: str, operation: str, asked: dict[str, str], ago_s: int = 0
    ) -> None:
        if not lead_id:
            return
        town = self._town
        occurred_us = town.clock.now_us() - ago_s * 1_000_000
        envelope = contract.intent(
            body,
            tenant_id=TENANT,
            aggregate_id=lead_id,
            message_id=message_id,
            correlation_id=f"c-{message_id}",
            occurred_us=occurred_us,
            producer="sales-ui",
        )
        record = contract.record_of(envelope)
        place = town.group.put(record.key, record.value, record.headers)
        self._raw.append((record.key, record.value, record.headers))
        town.reader.asked[message_id] = self._lead(lead_id, asked)
        self.uttered[message_id] = Utterance(
            message_id=message_id,
            lead_id=lead_id,
            operation=operation,
            asked=asked,
            place=place,
            occurred_us=occurred_us,
        )
