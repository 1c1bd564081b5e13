"""What stands in the ledger beside the work that goes on: letters, gaps, matches and pairs for people, quarantined fields."""

from __future__ import annotations

from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sales_crm_bridge.drift import Drift, Kinds, Quarantine
    from sales_crm_bridge.model import LeadState
    from sales_crm_bridge.state import ClosedLetter, Closing, Command, DeadLetter, Fence, Gap, Match


class Review(Protocol):
    """A part of ``ports.Ledger``, with its promises."""

    async def gaps_closed(self, limit: int) -> list[Gap]:
        """The gaps that were closed last, the newest first."""
        ...

    async def gap_close(self, name: str, who: str, why: str, now_us: int) -> bool:
        """Close an open gap; False if there is none of that id. The holder of its account tells of it."""
        ...

    async def dead_letters(self, tenant: str, limit: int, *, code: str = "", after: int = 0) -> list[DeadLetter]:
        """The oldest dead letters with an id above ``after`` (``tenant``, ``code`` "": of all)."""
        ...

    async def dead_letters_named(self, ids: Sequence[int]) -> list[DeadLetter]:
        """Those of these that are still there, by id."""
        ...

    async def dead_letters_from(self, sources: Sequence[str]) -> list[DeadLetter]:
        """Those that came from these sources and are still there, by id."""
        ...

    async def dead_letters_last(self) -> int:
        """The id of the newest dead letter; 0: there is none."""
        ...

    async def dead_letters_closed(self, limit: int) -> list[ClosedLetter]:
        """What became of the letters that were closed last, the newest first."""
        ...

    async def dead_letters_close(self, closing: Closing) -> list[int]:
        """Close those letters that are still there, in one transaction with what becomes of what they keep; gives their ids.

        Raises ``TenancyMoved``, and nothing is done, if other tenants are in force than those by which its intents were judged.
        """
        ...

    async def commands_parked(self, seqs: Sequence[int]) -> list[Command]:
        """Those of these commands that are parked, by number."""
        ...

    async def matches(self, tenant: str, limit: int, *, after: int = 0, decided: bool = False) -> list[Match]:
        """The oldest matches with an id above ``after`` that wait for a person (``tenant`` "": of all).

        ``decided``: instead those that wait no more, the ones first that were decided or withdrawn last.
        """
        ...

    async def matches_named(self, ids: Sequence[int]) -> list[Match]:
        """Those of these that there are, by id. They are decided by ``dead_letters_close`` of the letters of their commands."""
        ...

    async def bindings_bound(self, conn: int, after: str, limit: int) -> list[tuple[str, str, LeadState]]:
        """The next ``limit`` leads after ``after`` that have a record: lead id, record id, state; by lead id."""
        ...


class Drifts(Protocol):
    """A part of ``ports.Ledger``, with its promises: fields that no longer fit the mapping, and what waits for them."""

    async def drift(self, fence: Fence, drift: Drift) -> None:
        """Everything that one step about quarantines decided, at once, as ``commit`` does it; rings ``bell_commands``."""
        ...

    async def quarantines(self, conn: int) -> list[Quarantine]:
        """Every quarantine that a connection has or had, by the time when it was opened last."""
        ...

    async def field_kinds(self, conn: int) -> Kinds | None:
        """Of which kind the fields were when a mapping met them; None: no mapping has."""
        ...

    async def commands_held(self, conn: int, after: int, limit: int) -> list[Command]:
        """The oldest held commands with a number above ``after``."""
        ...

    async def commands_held_of(self, conn: int, lead_ids: Sequence[str]) -> list[Command]:
        """The held commands of these leads, by number."""
        ...
