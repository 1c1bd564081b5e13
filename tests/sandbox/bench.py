"""A portal on a workbench: a clock that a test turns, calls in one line, every exchange checked against the documents."""

import json
import random
from typing import Any, NamedTuple

from sales_crm_bridge.sandbox.hubspot import Portal, Vices
from tests.sandbox.openapi import check_answer, check_request

START_S = 1_767_225_600.0
"""2026-01-01T00:00:00Z."""


class Reply(NamedTuple):
    """An answer: ``json`` is None where the body is not JSON."""

    status: int
    headers: dict[str, str]
    body: bytes
    json: Any


class Bench:
    """One account and one caller with a static token of every scope."""

    def __init__(self, seeded: dict[str, Any] | None = None, **vices: Any) -> None:
        """``seeded``: what ``Portal.seeded`` is to be asked for; otherwise the account is empty."""
        self.now_s = START_S
        self.token = "pat-na1-sandbox"
        self.checked = True
        how = Vices(**vices)
        if seeded is None:
            rng = random.Random(7)
            self.portal = Portal(clock=lambda: self.now_s, rng=rng, vices=how)
        else:
            self.portal = Portal.seeded(clock=lambda: self.now_s, vices=how, **seeded)

    def call(
        self,
        method: str,
        target: str,
        body: Any = None,
        *,
        form: str | None = None,
        headers: dict[str, str] | None = None,
        documented: bool = True,
    ) -> Reply:
        """Call; ``documented=False``: the service is more generous here than its documents."""
        media = "application/x-www-form-urlencoded" if form is not None else "application/json"
        sent = {"authorization": f"Bearer {self.token}", "content-type": media, **(headers or {})}
        raw = form.encode() if form is not None else b"" if body is None else json.dumps(body).encode()
        answer = self.portal.handle(method, target, sent, raw)
        told = dict(answer.headers)
        assert len(told) == len(answer.headers)
        if self.checked and answer.status < 400 and documented:
            check_request(method, target, sent["content-type"], raw)
        if self.checked:
            check_answer(method, target, answer.status, told.get("content-type", ""), answer.body)
        is_json = told.get("content-type", "").startswith("application/json")
        return Reply(answer.status, told, answer.body, json.loads(answer.body) if is_json else None)

    def create(self, kind: str = "contacts", associations: Any = None, **properties: str) -> str:
        """Create a record and give its id."""
        body: dict[str, Any] = {"properties": properties}
        if associations:
            body["associations"] = associations
        reply = self.call("POST", f"/crm/v3/objects/{kind}", body)
        assert reply.status == 201, reply
        return str(reply.json["id"])

    def lead(self, contact: str, **properties: str) -> str:
        """Create a lead whose primary contact is ``contact``."""
        return self.create("leads", [primary(contact)], **{"hs_lead_name": "A lead", **properties})

    def read(self, record: str, *names: str, kind: str = "contacts") -> dict[str, Any]:
        """Read properties of a record."""
        reply = self.call("GET", f"/crm/v3/objects/{kind}/{record}?properties={','.join(names)}")
        assert reply.status == 200, reply
        told: dict[str, Any] = reply.json["properties"]
        return told

    def search(self, *filters: tuple[Any, ...], kind: str = "contacts", **more: Any) -> Reply:
        """Search with one group of ``(property, operator, value)``; a tuple value is a list, a fourth member ``highValue``."""
        group = []
        for name, operator, *values in filters:
            told: dict[str, Any] = {"propertyName": name, "operator": operator}
            if values:
                told["values" if isinstance(values[0], tuple) else "value"] = values[0]
            if len(values) > 1:
                told["highValue"] = values[1]
            group.append(told)
        body = {**({"filterGroups": [{"filters": group}]} if group else {}), **more}
        return self.call("POST", f"/crm/v3/objects/{kind}/search", body)

    def found(self, *filters: tuple[Any, ...], kind: str = "contacts", **more: Any) -> list[str]:
        """The ids that a search finds, in its order."""
        reply = self.search(*filters, kind=kind, **more)
        assert reply.status == 200, reply
        self.now_s += 1  # so that a test never meets the limit of search by accident
        return [each["id"] for each in reply.json["results"]]

    def batch(self, verb: str, inputs: list[Any], kind: str = "contacts", **more: Any) -> Reply:
        """Call a batch endpoint."""
        return self.call("POST", f"/crm/v3/objects/{kind}/batch/{verb}", {"inputs": inputs, **more})


def primary(contact: str, type_id: int = 578) -> dict[str, Any]:
    """The association of a lead that is to be created."""
    return {"to": {"id": contact}, "types": [{"associationCategory": "HUBSPOT_DEFINED", "associationTypeId": type_id}]}


def ids(reply: Reply) -> list[str]:
    """The ids of an answer's results."""
    return [each["id"] for each in reply.json["results"]]
