"""Many runs put together: what was done, which fault has hit which step, and what did not hold."""

from __future__ import annotations

from collections import Counter
from typing import TYPE_CHECKING, Any

import msgspec

from sales_crm_bridge.simulate.crms import CRMS
from sales_crm_bridge.simulate.plan import FAULTS, cells

if TYPE_CHECKING:
    from collections.abc import Sequence

    from sales_crm_bridge.simulate.runs import Result


class Failure(msgspec.Struct, frozen=True, kw_only=True):
    """A run in which something did not hold: the smallest plan found, as JSON, and what it breaks."""

    crm: str
    seed: int
    wrong: list[tuple[str, str]]
    plan: str
    events: int
    of: int
    runs: int
    trace: list[str]


class Tally(msgspec.Struct, kw_only=True):
    """The sum over runs. ``hits``: CRM, fault, step → times. ``settled``: the most steps that any run took to settle."""

    runs: int = 0
    steps: int = 0
    peace: int = 0
    settled: int = 0
    facts: int = 0
    intents: int = 0
    virtual_s: float = 0.0
    hits: dict[str, dict[str, int]] = {}
    windows: dict[str, int] = {}
    failures: list[Failure] = []
    seeds: dict[str, list[int]] = {}

    def add(self, result: Result) -> None:
        """One run more."""
        self.runs += 1
        self.steps += result.steps
        self.peace += result.peace
        self.settled = max(self.settled, result.peace)
        self.facts += result.facts
        self.intents += result.intents
        self.virtual_s += result.virtual_s
        self.seeds.setdefault(result.plan.crm, []).append(result.plan.seed)
        known = self.hits.setdefault(result.plan.crm, {})
        for (kind, at), times in result.hits.items():
            cell = f"{kind}|{at}"
            known[cell] = known.get(cell, 0) + times
        for window, times in result.windows.items():
            self.windows[window] = self.windows.get(window, 0) + times

    def join(self, other: Tally) -> None:
        """What another process has counted."""
        self.runs += other.runs
        self.steps += other.steps
        self.peace += other.peace
        self.settled = max(self.settled, other.settled)
        self.facts += other.facts
        self.intents += other.intents
        self.virtual_s += other.virtual_s
        self.failures += other.failures
        for crm, seeds in other.seeds.items():
            self.seeds.setdefault(crm, []).extend(seeds)
        for crm, found in other.hits.items():
            known = self.hits.setdefault(crm, {})
            for cell, times in found.items():
                known[cell] = known.get(cell, 0) + times
        for window, times in other.windows.items():
            self.windows[window] = self.windows.get(window, 0) + times

    def faults(self) -> Counter[str]:
        """How often each kind of fault has happened."""
        found = Counter(dict.fromkeys(FAULTS, 0))
        for hits in self.hits.values():
            for cell, times in hits.items():
                found[cell.partition("|")[0]] += times
        return found

    def untouched(self, crms: Sequence[str]) -> list[str]:
        """Pairs of a fault and a step that no run of these CRMs has met."""
        return [
            f"{crm}: {kind}{f' at {at}' if at else ''}"
            for crm in crms
            for kind, at in cells(CRMS[crm].menu)
            if not self.hits.get(crm, {}).get(f"{kind}|{at}")
        ]

    def covered(self, crms: Sequence[str]) -> tuple[int, int]:
        """How many pairs were met, of how many there are."""
        every = sum(len(cells(CRMS[crm].menu)) for crm in crms)
        return every - len(self.untouched(crms)), every

    def table(self, crms: Sequence[str]) -> dict[str, dict[str, int]]:
        """Which fault has hit which step, how often: by CRM and step, over its kinds."""
        return {crm: dict(sorted(self.hits.get(crm, {}).items())) for crm in crms}

    def to_json(self, crms: Sequence[str]) -> dict[str, Any]:
        """For machines."""
        met, every = self.covered(crms)
        return {
            "runs": self.runs,
            "steps": self.steps,
            "steps_of_peace": self.peace,
            "steps_to_settle_most": self.settled,
            "virtual_s": round(self.virtual_s),
            "facts": self.facts,
            "intents": self.intents,
            "faults": dict(self.faults()),
            "coverage": {"met": met, "of": every, "at_zero": self.untouched(crms), "table": self.table(crms)},
            "windows": self.windows,
            "failures": [
                {
                    "adapter": one.crm,
                    "seed": one.seed,
                    "broken": [{"invariant": name, "what": text} for name, text in one.wrong],
                    "events": one.events,
                    "of_events": one.of,
                    "runs_to_minimise": one.runs,
                    "plan": msgspec.json.decode(one.plan),
                    "trace": one.trace,
                }
                for one in self.failures
            ],
        }
