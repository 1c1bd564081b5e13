"""What every CRM of the simulation is: a sandbox with what people do in it, and the truth that only the checker sees.

Field names are neutral here: ``name``, ``email``, ``phone``, ``status`` (Sales' word) and ``key``, our own.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING, Any, ClassVar

import msgspec

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable

    from sales_crm_bridge.simulate.plan import Menu, Spice

Values = dict[str, str]

HOOKS_AT = "https://bridge.example"


class Post(msgspec.Struct, frozen=True, kw_only=True):
    """A webhook's delivery; ``answered`` is to be told the status (None: no answer came)."""

    headers: Mapping[str, str]
    body: bytes
    answered: Callable[[int | None], None]


COMMON = ("edit", "burst", "same", "create", "delete")


class Crm(ABC):
    """One account. ``clock`` gives epoch seconds, ``rng`` every draw of the sandbox.

    ``file``: the tenant's file in ``simulate/tenants``. ``named``: neutral names → the CRM's. ``sales``: the Sales field of
    ``name``. ``words``: the CRM's words of the status → Sales'. ``secrets``: by file name. ``menu``: what can happen there.
    """

    file: ClassVar[str]
    named: ClassVar[Mapping[str, str]]
    words: ClassVar[Mapping[str, str]]
    secrets: ClassVar[Mapping[str, str]]
    menu: ClassVar[Menu]
    sales: ClassVar[str] = "full_name"

    connection: ClassVar[str]
    """The name of the tenant's connection."""

    bin_is_writable: ClassVar[bool] = False
    """Whether what is archived can be written to, out of the checker's sight."""
    in_parts: ClassVar[bool] = False
    """Whether a lead is several records there, read one after the other: what a look shows may be of two moments."""
    sandbox: Any

    def __init__(self, *, clock: Callable[[], float], rng: random.Random, spice: Spice) -> None:
        self.spice = spice
        self.found(clock, rng)

    @abstractmethod
    def found(self, clock: Callable[[], float], rng: random.Random) -> None:
        """Make the sandbox."""

    @abstractmethod
    def moves(self) -> int:
        """Grows with everything that is committed in the CRM."""

    @abstractmethod
    def shown(self) -> Iterable[tuple[str, Mapping[str, Any], str]]:
        """Every live lead: its id, its fields by the CRM's names, our key in it."""

    def live(self) -> dict[str, Values]:
        """What is there, by neutral names; an empty field is ""."""
        names = self.named
        found = {}
        for crm_id, fields, key in self.shown():
            values = {name: str(fields.get(theirs) or "") for name, theirs in names.items()}
            values["status"] = self.words.get(values["status"], values["status"])
            values["key"] = key
            found[crm_id] = values
        return found

    def theirs(self, values: Mapping[str, str]) -> dict[str, str]:
        """Values by the CRM's names."""
        return {self.named[name]: value for name, value in values.items()}

    # --- what people do -----------------------------------------------------------------------------------------------

    @abstractmethod
    def create(self, values: Mapping[str, str]) -> str:
        """Make a lead by hand; gives its id."""

    @abstractmethod
    def edit(self, crm_id: str, values: Mapping[str, str]) -> None:
        """Change a live lead."""

    @abstractmethod
    def delete(self, crm_id: str) -> None:
        """Delete a live lead, as a person does it."""

    def binned(self) -> list[str]:
        """What can be restored."""
        return []

    def restore(self, crm_id: str) -> None:
        """Bring a deleted one back."""
        raise NotImplementedError

    def merge(self, primary: str, other: str) -> str:
        """Merge the second into the first; gives the survivor."""
        raise NotImplementedError

    def convert(self, crm_id: str) -> None:
        """Make a deal of a lead: it is none any more."""
        raise NotImplementedError

    def erase(self, crm_id: str) -> None:
        """Have it vanish without a trace."""
        raise NotImplementedError

    def expire(self) -> None:
        """End every token, where there are any."""
        return

    def lag(self, crm_id: str, seconds: float | None) -> None:
        """Let lists show the next writes to this one so much later, where they lag; None: as ever."""
        return

    def deliveries(self) -> list[Post]:
        """The webhooks that are due now."""
        return []

    def forget_cursors(self) -> None:
        """Let every position in a list run out, where that happens."""
        return
