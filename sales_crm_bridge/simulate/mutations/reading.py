"""Bugs of whoever reads the CRM, and of what is committed of it."""

from __future__ import annotations

from typing import Any

import msgspec

from sales_crm_bridge.desk import Desk
from sales_crm_bridge.model import Keyset, Window
from sales_crm_bridge.policy import fields, sight, walks
from sales_crm_bridge.state import Commit

Swap = tuple[Any, str, Any]
"""Where something stands, its name there, and what stands there instead."""


def strict_cursor() -> list[Swap]:
    """A window begins after the last moment of the one before."""
    real = walks.begin

    def begin(walk: Any, standing: Any, crm_now_us: int, step_us: int) -> Any:
        begun: Any = real(walk, standing, crm_now_us, step_us)
        match begun.position if begun is not None else None:
            case Window() as window if standing.run:
                position: Any = msgspec.structs.replace(window, lo_us=window.lo_us + step_us)
            case Keyset() as keyset if standing.run:
                position = msgspec.structs.replace(keyset, modified_us=keyset.modified_us + step_us)
            case _:
                return begun
        return msgspec.structs.replace(begun, position=position)

    return [(walks, "begin", begin)]


def no_second_pass() -> list[Swap]:
    """What shows up late is not looked for."""
    real = walks.walks

    def firsts(feeds: Any, pace: Any) -> Any:
        return [walk for walk in real(feeds, pace) if walk.turn is not walks.Pass.LATE]

    return [(walks, "walks", firsts)]


def echo_window() -> list[Swap]:
    """Changes within a minute after our own write are taken for its echo."""
    real = fields.look

    def look(keyring: Any, states: Any, sources: Any, stamp: Any, only: Any = None) -> Any:
        seen = real(keyring, states, sources, stamp, only)
        ours = [one.time_us for one in states.stamps if one.origin is fields.Origin.SALES]
        if ours and only is None and 0 <= stamp.time_us - max(ours) < 60_000_000:  # noqa: PLR2004 - a minute
            return fields.Seen(seen.states, ())
        return seen

    return [(sight, "look", look)]


def order_by_arrival() -> list[Swap]:
    """What is read last counts as newest."""
    return [(sight._Page, "is_old", lambda _self, _record, _binding: False)]


def binding_stays_behind() -> list[Swap]:
    """A merge does not move the binding."""

    def owner_of(self: Any, record: Any) -> Any:
        binding = self.by_crm.get(record.id)
        if binding is not None and binding.crm_id == record.id:
            return binding
        named = self.by_lead.get(record.key) if record.key else None
        return named if named is not None and not named.crm_id else None

    return [(sight._Page, "owner_of", owner_of)]


def merges_overlooked() -> list[Swap]:
    """What was merged away stays."""
    return [(sight._Page, "absorb", lambda *_: None)]


def position_first() -> list[Swap]:
    """A position moves before its page is committed."""
    real = Desk.commit

    async def commit(self: Desk, done: Commit) -> None:
        if done.positions and (done.bindings or done.outbox):
            await real(self, Commit(conn=done.conn, positions=done.positions))
            await real(self, msgspec.structs.replace(done, positions={}))
        else:
            await real(self, done)

    return [(Desk, "commit", commit)]


def outbox_apart() -> list[Swap]:
    """Facts are committed after what they tell."""
    real = Desk.commit

    async def commit(self: Desk, done: Commit) -> None:
        await real(self, msgspec.structs.replace(done, outbox=()))
        if done.outbox:
            await real(self, Commit(conn=done.conn, outbox=done.outbox))

    return [(Desk, "commit", commit)]
