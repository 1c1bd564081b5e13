"""Talks with canned answers: what HubSpot said, byte for byte, to whatever is asked."""

import json
from collections.abc import Sequence
from typing import Any, TypeVar

from sales_crm_adapters import CATALOGUE

from sales_crm_bridge.model import HttpCall, HttpReply, NoReply, Reply
from sales_crm_bridge.ports import CrmAdapter, Talk

T = TypeVar("T")


def adapter(*fields: str, **options: object) -> CrmAdapter:
    """An adapter whose mapping reads ``fields``."""
    return CATALOGUE["hubspot"].make(options, fields)


def reply(body: Any = None, status: int = 200, **headers: str) -> HttpReply:
    """An answer; a text or bytes body goes out as it is, anything else as JSON."""
    raw = body if isinstance(body, bytes) else body.encode() if isinstance(body, str) else json.dumps(body).encode()
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    return HttpReply(status=status, headers=told, body=raw, asked_us=1_000_000, answered_us=2_000_000)


def hold(talk: Talk[T], *answers: Reply | Sequence[Reply]) -> tuple[T, list[HttpCall]]:
    """Answer each step of a talk with the next of ``answers``; gives its value and every call. All answers must be used."""
    calls: list[HttpCall] = []
    left = [[answer] if isinstance(answer, HttpReply | NoReply) else list(answer) for answer in answers]
    try:
        asked = next(talk)
        while True:
            calls += asked
            asked = talk.send(tuple(left.pop(0)))
    except StopIteration as end:
        assert not left, "the talk ended before its answers did"
        value: T = end.value
        return value, calls


def sent(call: HttpCall) -> Any:
    """A call's JSON."""
    return json.loads(call.body)


def row(crm_id: str, trace: str | None = None, **properties: str | None) -> dict[str, Any]:
    """A record as HubSpot shows it."""
    told: dict[str, Any] = {
        "id": crm_id,
        "properties": {"hs_object_id": crm_id, **properties},
        "createdAt": "2025-12-01T00:00:00.000Z",
        "updatedAt": "2026-01-01T00:00:00.120Z",
        "archived": False,
    }
    return told | ({"objectWriteTraceId": trace} if trace else {})
