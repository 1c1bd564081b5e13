"""Studies: how a cost grows with a size. What is measured at each size is a point; from the points come figures like the cases'."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from benchmarks import growth, neighbours, replicas, tenants

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine, Sequence

    from benchmarks.growth import Point
    from benchmarks.place import Place

MEMORY_MB = 150.0
"""What a process may hold at the most."""
IDLE_CPU = 0.1
"""The share of a core that a process may take when none of its tenants has anything to do."""
TENANT_KB = 500.0
"""What a tenant without work may hold."""
START_MS = 60.0
"""The CPU until a tenant without leads is at rest."""
TENANT_LEADS = 20_000
"""Leads of the busy tenant, and of each tenant of several processes."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Study:
    """``run`` measures at some sizes; ``apart``: each size in a process of its own. ``leads``: the most that the CRM must have.

    ``figures``: from points to (ratio, the least that is wanted) by name. ``chart``: what is drawn over the size.
    """

    run: Callable[[Place, Sequence[int]], Coroutine[Any, Any, list[Point]]]
    figures: Callable[[Sequence[Point]], dict[str, tuple[float, float]]]
    sizes: tuple[int, ...]
    quick: tuple[int, ...]
    chart: tuple[str, ...]
    of: str
    adapter: str = "rest"
    page: int = 1000
    leads: int = 0
    apart: bool = False
    needs: tuple[str, ...] = ()


async def _tenants(place: Place, sizes: Sequence[int]) -> list[Point]:
    return [await tenants.crowd(replace(place, count=TENANT_LEADS), size) for size in sizes]


async def _replicas(place: Place, sizes: Sequence[int]) -> list[Point]:
    return [await replicas.crowd(replace(place, count=TENANT_LEADS), size) for size in sizes]


async def _neighbours(place: Place, sizes: Sequence[int]) -> list[Point]:
    return [await neighbours.trouble(replace(place, postgres=""), size) for size in sizes]


async def _neighbours_postgres(place: Place, sizes: Sequence[int]) -> list[Point]:
    return [await neighbours.trouble(place, size) for size in sizes]


def _steady(name: str) -> Callable[[Sequence[Point]], float]:
    return lambda points: points[0][name] / points[-1][name]


def _pulled(points: Sequence[Point]) -> dict[str, tuple[float, float]]:
    return {
        "growth.page": (_steady("lead_us")(points), 0.8),
        "growth.poll": (_steady("poll_ms")(points), 0.8),
        "memory.pull": (MEMORY_MB / max(point["memory_mb"] for point in points), 1.0),
    }


def _pushed(points: Sequence[Point]) -> dict[str, tuple[float, float]]:
    return {"growth.push": (_steady("command_us")(points), 0.8)}


def _crowded(points: Sequence[Point]) -> dict[str, tuple[float, float]]:
    most = points[-1]
    return {
        "tenants.rate": (most["rate"] / points[0]["rate"], 0.9),
        "tenants.idle": (IDLE_CPU / most["idle_cpu"], 1.0),
        "tenants.memory": (TENANT_KB / most["tenant_kb"], 1.0),
        "tenants.start": (START_MS / most["start_ms"], 1.0),
    }


def _undisturbed(ledger: str) -> Callable[[Sequence[Point]], dict[str, tuple[float, float]]]:
    def figures(points: Sequence[Point]) -> dict[str, tuple[float, float]]:
        kinds = sorted(name.removesuffix("_ratio") for name in points[-1] if name.endswith("_ratio"))
        return {f"neighbours.{ledger}.{kind}": (1 / points[-1][f"{kind}_ratio"], 0.9) for kind in kinds}

    return figures


def _shared(points: Sequence[Point]) -> dict[str, tuple[float, float]]:
    rates = {int(point["size"]): point["rate"] for point in points}
    more = {f"replicas.{size}": (rate / rates[1], 0.0) for size, rate in rates.items() if size > 1}
    return more | {"replicas.fair": (min(point["fairness"] for point in points), 0.5)}


NEIGHBOURS = ("alone_p99", "queue_p99", "import_p99", "outbox_p99", "dead_p99", "breaker_p99")

STUDIES: dict[str, Study] = {
    "growth-pull": Study(
        run=growth.pull,
        figures=_pulled,
        sizes=(1_000, 10_000, 100_000, 1_000_000),
        quick=(1_000, 10_000, 50_000),
        chart=("lead_us", "poll_ms", "memory_mb"),
        of="leads that are bound",
    ),
    "growth-push": Study(
        run=growth.push,
        figures=_pushed,
        sizes=(1_000, 10_000, 100_000),
        quick=(1_000, 5_000),
        chart=("command_us", "memory_mb"),
        of="commands that are done",
        adapter="hubspot",
        page=100,
    ),
    "tenants": Study(
        run=_tenants,
        figures=_crowded,
        sizes=(1, 10, 100, 1_000),
        quick=(1, 10),
        chart=("rate", "idle_cpu", "tenant_kb", "start_ms"),
        of="tenants in one process",
        leads=TENANT_LEADS,
        apart=True,
    ),
    "neighbours-sqlite": Study(
        run=_neighbours,
        figures=_undisturbed("sqlite"),
        sizes=(20_000, 200_000),
        quick=(20_000,),
        chart=NEIGHBOURS,
        of="commands or leads of the neighbour",
        adapter="hubspot",
        page=100,
        leads=1,
        apart=True,
    ),
    "neighbours-postgres": Study(
        run=_neighbours_postgres,
        figures=_undisturbed("postgres"),
        sizes=(20_000, 200_000),
        quick=(20_000,),
        chart=NEIGHBOURS,
        of="commands or leads of the neighbour",
        adapter="hubspot",
        page=100,
        leads=1,
        apart=True,
        needs=("postgres",),
    ),
    "replicas": Study(
        run=_replicas,
        figures=_shared,
        sizes=(1, 2, 3),
        quick=(1, 2),
        chart=("rate", "fairness"),
        of="processes",
        leads=TENANT_LEADS,
        apart=True,
        needs=("kafka", "postgres"),
    ),
}
