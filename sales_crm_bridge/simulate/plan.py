"""What is to happen in a run, written down before it begins: events at steps, drawn from a seed.

A *step* is one crossing of a process's border: a call of the ledger, a request, a publication, before it is made or after it is
answered. A plan can be printed, run again, and made smaller by leaving events out: what an event needs besides its step is its own
number ``n``, from which it draws, so that no event changes what another one does.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import TYPE_CHECKING

import msgspec

from sales_crm_bridge.errors import ConfigError, Finding, Place

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

NUMBERS = 1_000_000
LEFT_OUT = 0.25
"""How likely a kind of fault is left out of a run."""

COVERING = 8
"""Faults in 1,000 steps that are there for the table of coverage alone."""

LEDGER_WRITES = (
    "answer",
    "answers_take",
    "calls_count",
    "commit",
    "connection_say",
    "forget",
    "glance",
    "hear",
    "inquire",
    "leases_drop",
    "leases_renew",
    "leases_take",
    "orphans",
    "outbox_done",
    "refuse",
    "sending",
    "take",
    "tenant_accept",
)
"""Steps of the ledger that write."""

LEDGER_READS = (
    "bindings_by_crm_id",
    "bindings_by_lead",
    "bindings_unseen",
    "commands_next_us",
    "commands_ready",
    "connections",
    "inquiries",
    "layouts",
    "leases",
    "notices",
    "outbox_depth",
    "outbox_read",
    "places",
    "positions",
    "runs",
    "tenancy",
    "tenants",
)
"""Steps of the ledger that only look."""


class Event(msgspec.Struct, frozen=True, kw_only=True):
    """Something that happens at ``step``, or, with ``at``, at the first step of that name from then on.

    ``kind``: see ``RATES``. ``n``: what it draws from. ``at`` is ``before …`` or ``after …`` a step of a process, or a request's
    place at the CRM.
    """

    step: int
    kind: str
    n: int
    at: str = ""

    def __str__(self) -> str:
        return f"{self.step:>6} {self.kind}{f' {self.at}' if self.at else ''} #{self.n}"


class Spice(msgspec.Struct, frozen=True, kw_only=True):
    """How a run's world is, for all of it.

    ``processes``: of the bridge. ``leads``: records at the beginning. ``lag_s``: how late lists show a write, at most.
    ``latency_s``: how long a request is under way, at most. ``audits``: everything is compared again and again, so records may
    vanish without a trace; otherwise nothing but the walks over changes finds them. ``second_pass_s``: see the tenant's ``pull``.
    ``new_ids``: a merge makes a third record. ``refuse_behind``: see ``push.after_parked``. ``batch``: writes in one call.
    ``hooks``: webhooks are posted, where the CRM has any. ``page_size``: records read at a time.
    """

    processes: int = 1
    leads: int = 20
    lag_s: float = 0.0
    latency_s: float = 0.0
    audits: bool = False
    second_pass_s: int = 90
    new_ids: bool = True
    refuse_behind: bool = False
    batch: int = 100
    hooks: bool = True
    page_size: int = 100


class Plan(msgspec.Struct, frozen=True, kw_only=True):
    """One run: world ``crm`` with its ``spice``, chance by ``seed``, ``steps`` steps with these events, and then peace."""

    crm: str
    seed: int
    steps: int
    spice: Spice
    events: tuple[Event, ...] = ()


class Menu(msgspec.Struct, frozen=True, kw_only=True):
    """What can happen in a world: ``acts`` of its people, ``reads`` and ``writes`` (places of requests), its ``vices``.

    ``vices``: faults that it knows beside those of every CRM.
    """

    acts: tuple[str, ...]
    reads: tuple[str, ...]
    writes: tuple[str, ...]
    vices: tuple[str, ...] = ()


PEOPLE = {
    "edit": 22.0,
    "burst": 3.0,
    "same": 1.0,
    "create": 4.0,
    "delete": 4.0,
    "restore": 3.0,
    "merge": 3.0,
    "convert": 2.0,
    "erase": 1.5,
}
"""What people do in the CRM, and how often in 1,000 steps."""

INTENTS = {
    "new-lead": 9.0,
    "new-lead-taken": 1.0,
    "new-lead-revised": 3.0,
    "revise": 9.0,
    "qualify": 3.0,
    "disqualify": 2.0,
    "revise-theirs": 3.0,
    "unknown-lead": 0.5,
    "late-intent": 1.5,
    "again": 2.0,
    "garbage": 0.5,
    "ask": 4.0,
}
"""What clients of the domain utter and ask, and how often."""

DEATHS = {"kill": 7.0, "restart": 1.5, "rebalance": 1.5}
LEDGER = {"ledger-busy": 3.0, "ledger-unknown": 3.0, "ledger-held": 1.0, "pause": 2.0}
LINE = {"refused": 1.5, "cut-before": 3.0, "timeout-before": 1.0, "503": 2.0, "429": 2.5, "truncated": 2.0, "slow": 1.5}
"""Faults of the line at any request."""
LOST = {"cut-after": 5.0, "timeout-after": 2.5, "502-after": 2.5, "late-commit": 2.5}
"""Faults of the line at a write that is carried out all the same."""
BROKER = {"broker-away": 1.0, "ack-lost": 1.5, "ack-part": 1.5, "redelivery": 1.5, "held-back": 1.0, "trim": 0.15}
REST = {"token-expired": 1.5, "skew": 0.7, "file": 0.7, "file-broken": 0.3}
VICES = {"search-late": 4.0, "hooks": 5.0, "cursor-expired": 1.5}
"""Faults of some CRMs."""

RATES = {**PEOPLE, **INTENTS, **DEATHS, **LEDGER, **LINE, **LOST, **BROKER, **REST, **VICES}
FAULTS = tuple({**DEATHS, **LEDGER, **LINE, **LOST, **BROKER, **REST, **VICES})
"""The kinds of events that are faults."""


def at_ledger(name: str) -> str:
    """The name of a step of the ledger."""
    return f"ledger.{name}"


def ledger_steps(menu: Menu, *, writes: bool = False) -> list[str]:
    """The ledger's steps that processes take in a world, those that write alone or all of them."""
    found = [*LEDGER_WRITES, *([] if writes else LEDGER_READS)]
    return found if "hooks" in menu.vices else [name for name in found if name != "hear"]


def crossings(menu: Menu) -> tuple[str, ...]:
    """The names of the steps at which a process can be killed."""
    inner = [*(f"ledger.{name}" for name in ledger_steps(menu)), "publish", *menu.reads, *menu.writes]
    return tuple(f"{when} {name}" for name in inner for when in ("before", "after"))


def cells(menu: Menu) -> list[tuple[str, str]]:
    """Every pair of a fault and a step that it can hit, "" for a fault that hits no step in particular."""
    found: list[tuple[str, str]] = []
    for kind in FAULTS:
        if kind in VICES and kind not in menu.vices:
            continue
        found += [(kind, at) for at in places(kind, menu)]
    return found


def places(kind: str, menu: Menu) -> Sequence[str]:
    """Where a fault of this kind can happen."""
    if kind == "kill":
        return crossings(menu)
    if kind in ("ledger-busy", "pause"):
        return [f"ledger.{name}" for name in ledger_steps(menu)]
    if kind == "ledger-unknown":
        return [f"ledger.{name}" for name in ledger_steps(menu, writes=True)]
    if kind in LINE:
        return (*menu.reads, *menu.writes)
    if kind in LOST:
        return menu.writes
    return ("",)


def draw(
    crm: str,
    menu: Menu,
    seed: int,
    steps: int,
    *,
    tilt: Mapping[str, object] | None = None,
    often: Mapping[str, float] | None = None,
    aims: Sequence[tuple[str, str]] = (),
) -> Plan:
    """The plan of a seed: the same for the same program.

    ``tilt``: values of ``Spice`` that are not left to chance. ``often``: rates that are others than in ``RATES``; nothing
    is done for coverage then. ``aims``: faults with their steps that come besides, in the first quarter.
    """
    rng = random.Random(f"{crm}/{seed}")
    spice = msgspec.structs.replace(_spice(rng), **(tilt or {}))
    rates = {**_swarm(rng), **(often or {})}
    kinds = [
        kind
        for kind in RATES
        if (kind not in PEOPLE or kind in menu.acts)
        and (kind not in VICES or kind in menu.vices)
        and (kind != "erase" or spice.audits)
        and (kind != "hooks" or spice.hooks)
    ]
    events: list[Event] = []
    for kind in kinds:
        expected = rates[kind] * steps / 1000
        times = int(expected) + (rng.random() < expected % 1)
        for _ in range(times):
            step = rng.randrange(steps)
            at = rng.choice(places(kind, menu)) if kind in FAULTS else ""
            events.append(Event(step=step, kind=kind, n=rng.randrange(NUMBERS), at=at))
    if not often:
        events += _covering(menu, seed, steps, spice)
    events += [
        Event(step=rng.randrange(1 + steps // 4), kind=kind, n=rng.randrange(NUMBERS), at=at) for kind, at in aims
    ]
    events.sort(key=lambda event: event.step)
    return Plan(crm=crm, seed=seed, steps=steps, spice=spice, events=tuple(events))


def _swarm(rng: random.Random) -> dict[str, float]:
    """Rates of one run: some kinds of faults are left out, and some runs are calm, so that what the others hide can show."""
    density = rng.choice((0.2, 0.7, 1.2))
    return {
        kind: rate * density * (rng.random() >= LEFT_OUT) / (1 - LEFT_OUT) if kind in FAULTS else rate
        for kind, rate in RATES.items()
    }


def _covering(menu: Menu, seed: int, steps: int, spice: Spice) -> list[Event]:
    """Faults at the next few steps of the table: over enough seeds, at every one of it.

    They wait from the very beginning, also for what happens there alone; the others come at any time.
    """
    rng = random.Random(f"cover/{seed}")
    every = [cell for cell in cells(menu) if cell[1] and (cell[0] in DEATHS or cell[0] in LEDGER or cell[0] in LINE)]
    random.Random("cover").shuffle(every)
    times = COVERING * steps // 1000
    chosen = [every[(seed * times + number) % len(every)] for number in range(times)]
    return [
        Event(step=0, kind=kind, n=rng.randrange(NUMBERS), at=at)
        for kind, at in chosen
        if spice.hooks or "hear" not in at
    ]


def _spice(rng: random.Random) -> Spice:
    audits = rng.random() < 0.4  # noqa: PLR2004 - two runs of five
    return Spice(
        processes=rng.choice((1, 1, 2, 3)),
        leads=rng.choice((6, 15, 30)),
        lag_s=rng.choice((0.0, 0.0, 5.0, 12.0)),
        latency_s=rng.choice((0.0, 0.05, 0.4)),
        audits=audits,
        second_pass_s=rng.choice((20, 90)),
        new_ids=rng.random() < 0.5,  # noqa: PLR2004 - a coin
        refuse_behind=rng.random() < 0.5,  # noqa: PLR2004 - the same
        batch=rng.choice((1, 3, 100)),
        hooks=rng.random() < 0.5,  # noqa: PLR2004 - the same
        page_size=rng.choice((4, 10, 100)),
    )


def save(plan: Plan) -> str:
    """A plan as text, an event a line."""
    head = msgspec.json.encode(msgspec.structs.replace(plan, events=())).decode()
    lines = ",\n  ".join(msgspec.json.encode(event).decode() for event in plan.events)
    return head.replace('"events":[]', f'"events":[\n  {lines}\n]') + "\n"


def load(path: Path) -> Plan:
    """A plan from a file. Raises ``ConfigError`` for what is none."""
    try:
        return msgspec.json.decode(path.read_bytes(), type=Plan)
    except (OSError, msgspec.MsgspecError) as error:
        place = Place(file=str(path))
        remedy = "give a file that `sales-crm-bridge simulate` has written"
        found = Finding(code="config.bad-value", message=f"not a plan: {error}", place=place, remedy=remedy)
        raise ConfigError([found]) from error
