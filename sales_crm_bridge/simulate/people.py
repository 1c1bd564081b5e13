"""What people do in the CRM, all the while."""

from __future__ import annotations

from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import random
    from collections.abc import Callable

    from sales_crm_bridge.simulate.deployment import Deployment
    from sales_crm_bridge.simulate.plan import Event

BURST_MAX = 5


class People:
    """Colleagues with every right. What they write occurs once, so that it can be known again. ``merges``: see ``Acts``."""

    def __init__(self, town: Deployment) -> None:
        self._town = town
        self.merges: dict[str, tuple[str, str]] = {}
        self._ways: dict[str, Callable[[list[str], str, random.Random], None]] = {
            "edit": self._edit,
            "burst": self._burst,
            "same": self._same,
            "create": self._create,
            "delete": lambda ids, _, rng: town.crm.delete(rng.choice(ids)),
            "restore": self._restore,
            "merge": self._merge,
            "convert": lambda ids, _, rng: town.crm.convert(rng.choice(ids)),
            "erase": lambda ids, _, rng: town.crm.erase(rng.choice(ids)),
        }

    def do(self, event: Event, rng: random.Random) -> None:
        """One act; raises what the CRM's page would show as an error, and ``LookupError`` where there is nothing to act on."""
        self._ways[event.kind](list(self._town.journal.live), f"{event.step}{event.n:06d}", rng)

    def _create(self, _ids: list[str], mark: str, _rng: random.Random) -> None:
        self._town.crm.create({"name": f"P {mark}", "email": f"p{mark}@people.example", "phone": f"+9 {mark}"})

    def _restore(self, _ids: list[str], _mark: str, rng: random.Random) -> None:
        self._town.crm.restore(rng.choice(self._town.crm.binned()))

    def _edit(self, ids: list[str], mark: str, rng: random.Random) -> None:
        (kind,) = rng.choices(("phone", "name", "status", "both"), (6, 2, 1, 1))
        values = {
            "phone": {"phone": f"+9 {mark}"},
            "name": {"name": f"Named {mark}"},
            "status": {"status": rng.choice(("new", "working", "disqualified"))},
            "both": {"phone": f"+9 {mark}", "name": f"Both {mark}"},
        }
        self._town.crm.edit(rng.choice(ids), values[kind])

    def _burst(self, ids: list[str], mark: str, rng: random.Random) -> None:
        """Several edits in one moment."""
        for number in range(rng.randrange(2, BURST_MAX + 1)):
            self._town.crm.edit(rng.choice(ids), {"phone": f"+9 {mark}{number}"})

    def _same(self, ids: list[str], _mark: str, rng: random.Random) -> None:
        """A page is saved, and nothing in it has changed."""
        one = rng.choice(ids)
        self._town.crm.edit(one, {"name": self._town.journal.live[one]["name"]})

    def _merge(self, ids: list[str], _mark: str, rng: random.Random) -> None:
        primary, other = rng.sample(ids, min(2, len(ids))) if len(ids) > 1 else ("", "")
        if not primary:
            return
        survivor = self._town.crm.merge(primary, other)
        if survivor not in (primary, other):
            self.merges[survivor] = (primary, other)
