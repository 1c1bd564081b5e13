"""One run of a plan from beginning to end, and the smallest plan that still fails."""

from __future__ import annotations

import logging
import shutil
from collections import Counter
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

import msgspec

from sales_crm_bridge.contract import INTENT_TOPIC
from sales_crm_bridge.simulate import checker
from sales_crm_bridge.simulate.deployment import Deployment, Ear
from sales_crm_bridge.simulate.loop import VirtualLoop, run
from sales_crm_bridge.simulate.plan import Plan
from sales_crm_bridge.tenants import loading

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator, Sequence
    from pathlib import Path

    from sales_crm_bridge.simulate.plan import Event

PEACE_LOOK_S = 30.0
FRESH_US = 8_000_000
PEACE_S = 3_600.0
"""Virtual time in which everything must have settled when the faults are over."""

READ_MAX = 1_000
"""Texts of tenants' files that are remembered."""

PEACE_STEPS = 12_000
"""Steps in which it must have."""


class Result(msgspec.Struct, frozen=True, kw_only=True):
    """What came of a run: ``wrong`` (invariant, words), faults by (kind, step), how often each step was taken, windows.

    ``steps`` and ``peace`` are the steps until the faults were over and from then until all had settled.
    """

    plan: Plan
    wrong: list[tuple[str, str]]
    steps: int
    peace: int
    virtual_s: float
    hits: Counter[tuple[str, str]]
    crossings: Counter[str]
    windows: Counter[str]
    facts: int
    intents: int
    trace: list[str]


def play(plan: Plan, folder: Path, *, trace: bool = False) -> Result:
    """Run a plan in ``folder``, which is emptied first; in memory it goes fastest."""
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir(parents=True)
    loop = VirtualLoop()
    town = Deployment(plan, folder, loop, trace=trace)
    with _heard(town.wrong), _read_once():
        return run(_live(town, loop), loop)


_READ: dict[tuple[bytes, str, bool, bool], Any] = {}


@contextmanager
def _read_once() -> Iterator[None]:
    """Have each text of a tenant's file be read once: its meaning does not change, and YAML takes most of a run's time."""
    real = loading.read_one

    def read_one(raw: bytes, file: str, catalogue: Any, environ: Any, *, accepted: bool = False) -> Any:
        key = (raw, file, environ is None, accepted)
        if key not in _READ:
            if len(_READ) > READ_MAX:
                _READ.clear()
            _READ[key] = real(raw, file, catalogue, environ, accepted=accepted)
        return _READ[key]

    loading.read_one = read_one
    try:
        yield
    finally:
        loading.read_one = real


@contextmanager
def _heard(wrong: list[tuple[str, str]]) -> Iterator[None]:
    """Hear what the program says of bugs, and nothing else of what it says: a simulated outage is no news."""
    log = logging.getLogger("sales_crm_bridge")
    ear, before, handlers = Ear(wrong), log.propagate, list(log.handlers)
    log.propagate = False
    log.handlers[:] = [ear]
    try:
        yield
    finally:
        log.propagate = before
        log.handlers[:] = handlers


async def _live(town: Deployment, loop: VirtualLoop) -> Result:
    await town.play()
    steps, begun_s = town.step, loop.time()
    least_s = 60.0 + town.plan.spice.second_pass_s + 90.0 + (330.0 if town.plan.spice.audits else 0.0)
    await town.clock.sleep(least_s)
    rest = await _rest(town)
    while not await _settled(town, rest):
        if loop.time() - begun_s > PEACE_S or town.step - steps > PEACE_STEPS:
            town.wrong.append(
                ("settles", f"not within {PEACE_S:.0f} s and {PEACE_STEPS} steps after the faults were over")
            )
            break
        await town.clock.sleep(PEACE_LOOK_S)
        rest = await _rest(town)
    peace = town.step - steps
    await town.stop()
    rest = await _rest(town)
    wrong = [*town.wrong, *town.reader.wrong]
    wrong += checker.violations(rest, checker.AT_REST) + checker.violations(rest, checker.ALWAYS)
    return Result(
        plan=town.plan,
        wrong=wrong,
        steps=steps,
        peace=peace,
        virtual_s=loop.time(),
        hits=town.hits,
        crossings=town.crossings,
        windows=rest.windows,
        facts=len(town.topics.facts),
        intents=len(town.acts.uttered),
        trace=town.trace or [],
    )


async def _rest(town: Deployment) -> checker.Rest:
    town.reader.take(town.topics.facts)
    bound = await town.look(lambda ledger: ledger.bindings_bound(1, "", 100_000))
    places = await town.look(lambda ledger: ledger.places(INTENT_TOPIC))
    return checker.Rest(town, bound, places, town.adapter.capabilities)


async def _settled(town: Deployment, rest: checker.Rest) -> bool:
    """Whether nothing is under way any more, and both sides agree."""
    _, since_us = await town.look(lambda ledger: ledger.outbox_depth())
    fresh = not since_us or since_us > town.clock.now_us() - FRESH_US  # every run of a feed ends with a fact
    return fresh and checker.agrees(rest)


# --- minimising -------------------------------------------------------------------------------------------------------


class _Search:
    """The best plan so far, and what is tried next."""

    def __init__(self, result: Result, again: Callable[[Plan], Result], spent: Callable[[], bool]) -> None:
        self.best = result
        self.runs = 0
        self.spent = spent
        self._again = again
        self._names = {name for name, _ in result.wrong}

    def fails(self, events: Sequence[Event], steps: int = 0) -> bool:
        """Whether it fails as well with these events alone; it is the best then. Out of time, it does not."""
        if self.spent():
            return False
        self.runs += 1
        plan = self.best.plan
        tried = self._again(msgspec.structs.replace(plan, events=tuple(events), steps=steps or plan.steps))
        if not self._names.intersection(name for name, _ in tried.wrong):
            return False
        self.best = tried
        return True

    def without_a_lot(self, size: int) -> bool:
        """Leave out a lot of this size, the first without which it fails."""
        events = self.best.plan.events
        return any(
            self.fails([*events[:start], *events[start + size :]]) for start in range(0, len(events), size)
        )  # fmt: skip


def minimise(result: Result, again: Callable[[Plan], Result], spent: Callable[[], bool]) -> tuple[Result, int]:
    """The smallest run found that breaks one of the invariants that ``result`` breaks, and how many runs it took.

    ``again`` runs a plan; ``spent`` says that there is no more time. Whole kinds of events are left out first, then ever smaller
    lots of them (delta debugging), and at last the steps after the last one.
    """
    search = _Search(result, again, spent)
    for kind in sorted({event.kind for event in result.plan.events}):
        search.fails([event for event in search.best.plan.events if event.kind != kind])
    lots = 2
    while not spent() and search.best.plan.events:
        size = max(1, -(-len(search.best.plan.events) // lots))
        if search.without_a_lot(size):
            lots = max(2, lots - 1)
        elif size == 1:
            break
        else:
            lots *= 2
    if events := search.best.plan.events:
        search.fails(events, events[-1].step + 1)
    return search.best, search.runs
