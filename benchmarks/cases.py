"""The cases, each run in a process of its own by ``python -m benchmarks.child``; a floor does the bare work of those beside it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from benchmarks import beside, pulling, pushing, topics

if TYPE_CHECKING:
    from collections.abc import Callable, Coroutine

    from benchmarks.measuring import Measured
    from benchmarks.place import Place


@dataclass(frozen=True, slots=True, kw_only=True)
class Case:
    """A case: how it is run, the floor it is compared with ("" it is one), what it asks for of the real services.

    ``at_least``: the ratio that is wanted. ``cpu_ms_max``: it is held against so many CPU milliseconds for each thing, not against
    a floor. ``adapter`` and ``page``: how the CRM is read, and leads on a page or writes in a batch. ``latency_s``: how long the
    CRM takes for a write. ``share``: it does only one of so many things.
    """

    run: Callable[[Place], Coroutine[Any, Any, Measured]]
    floor: str = ""
    needs: tuple[str, ...] = ()
    at_least: float = 0.0
    cpu_ms_max: float = 0.0
    adapter: str = "hubspot"
    page: int = 100
    latency_s: float = 0.0
    share: int = 1


def _pulls(adapter: str, page: int, kafka: float) -> dict[str, Case]:
    """Reading through one adapter; ``kafka``: the ratio wanted to acknowledged messages."""
    floor = f"pull.{adapter}.floor"
    kinds: dict[str, tuple[Callable[[Place], Coroutine[Any, Any, Measured]], tuple[str, ...], float]] = {
        f"pull.{adapter}.floor-best": (pulling.floor_best, (), 0.0),
        f"pull.{adapter}.sqlite": (pulling.pull_sqlite, (), 0.5),
        f"pull.{adapter}.postgres": (pulling.pull_postgres, ("postgres",), 0.45),
        f"pull.{adapter}.kafka": (pulling.pull_kafka, ("kafka",), kafka),
        f"reread.{adapter}.sqlite": (pulling.reread_sqlite, (), 2.0),
        **{f"pull.{adapter}.{tool}": (beside.runs(tool), ("peers",), 0.0) for tool in beside.TOOLS},
    }
    cases = {floor: Case(run=pulling.floor_plain, adapter=adapter, page=page)}
    for name, (run, needs, at_least) in kinds.items():
        cases[name] = Case(run=run, floor=floor, needs=needs, at_least=at_least, adapter=adapter, page=page)
    poll = Case(run=pulling.poll_sqlite, cpu_ms_max=5.0, at_least=1.0, adapter=adapter, page=page, share=50)
    return cases | {f"poll.{adapter}.sqlite": poll}


CASES: dict[str, Case] = {
    **_pulls("hubspot", 100, 0.35),
    **_pulls("rest", 2000, 0.4),
    **{
        f"push.{name}.{milli}ms{bare}": Case(
            run=pushing.push_floor if bare else pushing.push_sqlite,
            floor="" if bare else f"push.{name}.{milli}ms.floor",
            at_least=0.0 if bare else 0.7,
            page=page,
            latency_s=milli / 1000,
            share=share,
        )
        for name, page, share in (("single", 1, 20), ("batch", 100, 10))
        for milli in (0, 50)
        for bare in (".floor", "")
    },
    "relay.floor": Case(run=topics.relay_floor, needs=("kafka",)),
    "relay.sqlite": Case(run=topics.relay_sqlite, floor="relay.floor", needs=("kafka",), at_least=0.5),
    "intake.floor": Case(run=topics.intake_floor, needs=("kafka",)),
    "intake.sqlite": Case(run=topics.intake_sqlite, floor="intake.floor", needs=("kafka",), at_least=0.4),
}
"""Every case by name, a floor before those that are compared with it."""
