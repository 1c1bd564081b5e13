"""Bugs of whoever writes to the CRM."""

from __future__ import annotations

from dataclasses import replace
from typing import TYPE_CHECKING, Any

import msgspec

from sales_crm_bridge import clerk, keeper, wiring
from sales_crm_bridge.ledger import leases
from sales_crm_bridge.model import Accepted, Category, Effect, HttpCall, HttpReply, NoReply, Rejected, Unknown
from sales_crm_bridge.policy import booking, commands
from sales_crm_bridge.rim import caller
from sales_crm_bridge.rim.terms import Miss
from sales_crm_bridge.simulate.mutations.reading import Swap
from sales_crm_bridge.state import Fence

if TYPE_CHECKING:
    from collections.abc import Callable


def blind_retry() -> list[Swap]:
    """A write whose answer was lost is made again."""
    real = commands.after

    def after(command: Any, outcome: Any, patience: Any, now_us: int) -> Any:
        if isinstance(outcome, Unknown):
            return commands.Retry(not_before_us=now_us + 1_000_000, reason=outcome.reason, counted=False)
        return real(command, outcome, patience, now_us)

    return [(commands, "after", after)]


def retry_in_the_rim() -> list[Swap]:
    """The rim repeats writes that may have taken effect."""
    real = caller.Caller._send

    async def send(self: Any, job: Any, headers: Any) -> HttpReply | Miss:
        result = await real(self, job, headers)
        if isinstance(result, Miss):
            return replace(result, sent=False)
        return result

    return [(caller.Caller, "_send", send)]


def settled_at_once() -> list[Swap]:
    """What is not there yet counts as not carried out."""
    return [(commands, "settle", commands._shown)]


def never_read_back() -> list[Swap]:
    """An update whose answer was lost counts as refused."""
    real = commands.after

    def after(command: Any, outcome: Any, patience: Any, now_us: int) -> Any:
        if isinstance(outcome, Unknown) and not command.creates:
            return commands.Refuse(category=Category.UNKNOWN_OUTCOME, code="lost")
        return real(command, outcome, patience, now_us)

    return [(commands, "after", after)]


def our_form() -> list[Swap]:
    """What we wrote is remembered as we wrote it."""
    real = booking.accept

    def accept(*args: Any, accepted: Accepted, wire: Any, **more: Any) -> Any:
        record = accepted.record
        if record is not None:
            record = msgspec.structs.replace(record, fields={**record.fields, **wire})
        ours = msgspec.structs.replace(accepted, record=record)
        return real(*args, accepted=ours, wire=wire, **more)

    return [(booking, "accept", accept)]


def no_fence() -> list[Swap]:
    """A process that lost its lease goes on."""
    return [
        (leases, "proven", lambda _fence, _rows: None),
        (keeper.Keeper, "still", lambda _self, _fence: True),
        (keeper.Keeper, "holds", _holds_for_ever),
    ]


def _holds_for_ever(self: Any, name: str) -> Any:
    epoch = self._held.get(name)
    return None if epoch is None else Fence(lease=name, holder=self.holder, epoch=epoch)


def any_version() -> list[Swap]:
    """Writes are not tied to a version."""
    real = clerk.Job.write

    def write(self: Any) -> Any:
        return msgspec.structs.replace(real(self), version="")

    return [(clerk.Job, "write", write)]


def key_per_try() -> list[Swap]:
    """Every try has a key of its own."""
    real = clerk.Job.write

    def write(self: Any) -> Any:
        made = real(self)
        return made if made.crm_id else msgspec.structs.replace(made, key=f"{made.key}.{self.command.attempt}")

    return [(clerk.Job, "write", write)]


class _Instead:
    """An adapter with another ``push``."""

    def __init__(self, adapter: Any, pushed: Callable[[Any, Any], Any]) -> None:
        self._adapter = adapter
        self._pushed = pushed

    def __getattr__(self, name: str) -> Any:
        return getattr(self._adapter, name)

    def push(self, batch: Any) -> Any:
        """See ``ports.CrmAdapter``."""
        return self._pushed(self._adapter, batch)


def _adapters_with(pushed: Callable[[Any, Any], Any]) -> list[Swap]:
    real = wiring.adapter_of
    return [(wiring, "adapter_of", lambda tenant: _Instead(real(tenant), pushed))]


def search_then_create() -> list[Swap]:
    """HubSpot's: look for the address in the search, and create without our key."""

    def pushed(adapter: Any, batch: Any) -> Any:
        rest = [write for write in batch if write.crm_id]
        outcomes = (yield from adapter.push(rest)) if rest else []
        told = {write.trace: outcome for write, outcome in zip(rest, outcomes, strict=True)}
        for write in batch:
            if write.crm_id:
                continue
            body: dict[str, Any] = {
                "filters": [{"propertyName": "email", "operator": "EQ", "value": write.fields.get("email")}]
            }
            body = {"filterGroups": [body], "properties": ["email"], "limit": 1}
            (found,) = yield (_hubspot("/search", Effect.READ, body),)
            rows = msgspec.json.decode(found.body)["results"]
            if rows:
                (told[write.trace],) = yield from adapter.push([msgspec.structs.replace(write, crm_id=rows[0]["id"])])
                continue
            (reply,) = yield (_hubspot("", Effect.WRITE, {"properties": write.fields}),)
            told[write.trace] = _made(reply)
        return [told[write.trace] for write in batch]

    return _adapters_with(pushed)


def _hubspot(path: str, effect: Effect, body: dict[str, Any]) -> HttpCall:
    return HttpCall(
        method="POST", path=f"/crm/v3/objects/contacts{path}", effect=effect, body=msgspec.json.encode(body)
    )


def _made(reply: HttpReply | NoReply) -> Accepted | Rejected | Unknown:
    if isinstance(reply, NoReply):
        return Unknown(reason=reply.reason)
    if reply.status >= 500:  # noqa: PLR2004 - a server's fault
        return Unknown(reason="server")
    if reply.status >= 400:  # noqa: PLR2004 - a refusal
        return Rejected(category=Category.DUPLICATE, code="CONFLICT")
    return Accepted(crm_id=msgspec.json.decode(reply.body)["id"], record=None)


def adopts_by_address() -> list[Swap]:
    """A create that meets a record with its address writes to that one."""

    def pushed(adapter: Any, batch: Any) -> Any:
        outcomes = yield from adapter.push(batch)
        told = []
        for write, outcome in zip(batch, outcomes, strict=True):
            if (
                isinstance(outcome, Rejected)
                and outcome.category is Category.DUPLICATE
                and outcome.other_id
                and not write.crm_id
            ):
                (one,) = yield from adapter.push([msgspec.structs.replace(write, crm_id=outcome.other_id)])
                told.append(one)
            else:
                told.append(outcome)
        return told

    return _adapters_with(pushed)
