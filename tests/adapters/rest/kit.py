"""A declaration to be changed by a test, the adapter that it makes, and talks held with answers written by hand."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import msgspec
from sales_crm_adapters.rest import Options, Rest

from sales_crm_bridge.model import HttpCall, HttpReply, NoReply, Operation, Reply, Scalar, Write
from sales_crm_bridge.ports import Talk

T = TypeVar("T")

ASKED_US, ANSWERED_US = 1_790_000_000_000_000, 1_790_000_000_250_000

PLAIN: Mapping[str, Any] = {
    "crm": "trial",
    "sign_in": {"token": {}},
    "record": {
        "id": "id",
        "modified": "changed",
        "created": "made",
        "version": "etag",
        "key": "ours",
    },
    "lists": {
        "all": {
            "path": "/leads",
            "query": {"cursor": "{cursor}", "limit": "{limit}"},
            "records": "rows",
            "page": {"by": "cursor", "size": 100, "next": "next"},
        }
    },
    "read": {
        "one": {"path": "/leads/{id}"},
        "key": {"path": "/leads", "query": {"ours": "{key}"}, "records": "rows"},
    },
    "write": {
        "create": {"path": "/leads", "body": "{fields}", "record": ""},
        "update": {"method": "PATCH", "path": "/leads/{id}", "body": "{fields}", "record": ""},
    },
}
"""A small CRM, whole and without a mistake."""

FIELDS = ("name", "email", "phone", "status")


def declared(changes: Mapping[str, Any] | None = None, base: Mapping[str, Any] = PLAIN) -> dict[str, Any]:
    """The small CRM with changes: ``{"write.update.path": …}``; None removes."""
    made: dict[str, Any] = copy.deepcopy(dict(base))
    for path, value in (changes or {}).items():
        *steps, last = path.split(".")
        target = made
        for step in steps:
            target = target.setdefault(step, {})
        if value is None:
            del target[last]
        else:
            target[last] = value
    return made


def adapter(changes: Mapping[str, Any] | None = None, fields: Sequence[str] = FIELDS) -> Rest:
    """The adapter of the small CRM with changes."""
    return Rest(msgspec.convert(declared(changes), Options), fields)


def reply(body: object = b"", status: int = 200, **headers: str) -> HttpReply:
    """An answer; anything but bytes is its JSON."""
    told = {name.replace("_", "-"): value for name, value in headers.items()}
    data = body if isinstance(body, bytes) else json.dumps(body).encode()
    return HttpReply(status=status, headers=told, body=data, asked_us=ASKED_US, answered_us=ANSWERED_US)


LOST = NoReply(sent=True, reason="line", retry_at_us=ANSWERED_US + 1)
TURNED_AWAY = NoReply(sent=False, reason="line", retry_at_us=ANSWERED_US + 1)


def hold(talk: Talk[T], *answers: Reply | Callable[[HttpCall], Reply]) -> tuple[T, list[HttpCall]]:
    """Hold a talk with these answers, in the order of its calls; gives its value, and the calls."""
    waiting = list(answers)
    made: list[HttpCall] = []
    try:
        calls = next(talk)
        while True:
            replies: list[Reply] = []
            for call in calls:
                made.append(call)
                answer = waiting.pop(0)
                replies.append(answer(call) if callable(answer) else answer)
            calls = talk.send(tuple(replies))
    except StopIteration as end:
        assert not waiting, "answers that nobody asked for"
        value: T = end.value
        return value, made
    finally:
        talk.close()


def row(number: int, **values: object) -> dict[str, object]:
    """A record of the small CRM."""
    return {
        "id": f"r{number}",
        "changed": "2026-01-01T00:00:00.000000Z",
        "made": "2025-12-31T23:59:59Z",
        "etag": f"e{number}",
        "ours": f"L-{number}",
        "name": f"Lead {number}",
        **values,
    }


def write(
    number: int, values: Mapping[str, Scalar], crm_id: str = "", version: str = "", operation: Operation | None = None
) -> Write:
    """A write about lead ``number``."""
    return Write(
        trace=f"t-{number}",
        operation=operation or (Operation.REVISE if crm_id else Operation.CREATE),
        key=f"L-{number}",
        fields=dict(values),
        crm_id=crm_id,
        version=version,
    )
