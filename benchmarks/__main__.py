"""Run the cases: ``python -m benchmarks [--quick] [--only PART] [--json FILE]``.

Rounds are interleaved (A B C A B C): a case is compared with its floor of the same round, and the median of these ratios is told.
A ratio of 0.5 says: twice the floor's CPU seconds for the same things (its wall time, where the CRM takes 50 ms for a write).
A poll is held against 5 ms of CPU: there a ratio of 2 says 2.5 ms.
Cases that need a real Kafka or PostgreSQL take them from BRIDGE_TEST_KAFKA and BRIDGE_TEST_POSTGRES, and are left out without.
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
import subprocess
import sys
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from benchmarks.cases import CASES

if TYPE_CHECKING:
    from collections.abc import Iterator

ROOT = Path(__file__).parent.parent
say = Console(stderr=True, highlight=False).print


@contextlib.contextmanager
def crm(leads: int, page: int, latency_s: float = 0.0) -> Iterator[str]:
    """The address of a CRM with so many leads, that takes so long for a write."""
    serving = subprocess.Popen(  # noqa: S603 - ourselves
        [sys.executable, "-m", "benchmarks.server", str(leads), str(page), str(latency_s)],
        cwd=ROOT,
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )
    assert serving.stdin is not None
    assert serving.stdout is not None
    try:
        yield serving.stdout.readline().strip()
    finally:
        serving.stdin.close()
        serving.wait(30)


def child(name: str, place: dict[str, object]) -> dict[str, float]:
    """What a case costs, measured in a process of its own."""
    done = subprocess.run(  # noqa: S603 - ourselves
        [sys.executable, "-m", "benchmarks.child", name, json.dumps(place)],
        cwd=ROOT,
        check=True,
        stdout=subprocess.PIPE,
        text=True,
    )
    cost: dict[str, float] = json.loads(done.stdout)
    return cost


def rounds(names: list[str], count: int, times: int) -> dict[str, list[dict[str, float]]]:
    """Every case's cost in every round."""
    costs: dict[str, list[dict[str, float]]] = defaultdict(list)
    services = {
        "kafka": os.environ.get("BRIDGE_TEST_KAFKA", ""),
        "postgres": os.environ.get("BRIDGE_TEST_POSTGRES", ""),
    }
    with contextlib.ExitStack() as stack:
        kinds = sorted({(CASES[name].page, CASES[name].latency_s) for name in names})
        addresses = {kind: stack.enter_context(crm(count, *kind)) for kind in kinds}
        for number in range(times):
            for name in names:
                case = CASES[name]
                address = addresses[case.page, case.latency_s]
                place = {"page": case.page, "crm": address, "adapter": case.adapter, **services}
                costs[name].append(child(name, {"count": max(1, count // case.share), **place}))
                last = costs[name][-1]
                say(f"round {number + 1}/{times}  {name:28} {last['cpu_s']:7.2f} s CPU {last['wall_s']:7.2f} s wall")
    return costs


def told(costs: dict[str, list[dict[str, float]]]) -> dict[str, dict[str, Any]]:
    """The figures of each case: the median ratio to its floor, and how far apart the rounds were."""
    figures: dict[str, dict[str, Any]] = {}
    for name, rounds_of in costs.items():
        case = CASES[name]
        time = "wall_s" if case.latency_s else "cpu_s"  # where the CRM takes its time, that is what is waited for
        wanted = [case.cpu_ms_max / 1000] * len(rounds_of)
        if not case.cpu_ms_max:
            wanted = [bare[time] / bare["count"] for bare in costs[case.floor or name]]
        ratios = [bare / (cost[time] / cost["count"]) for cost, bare in zip(rounds_of, wanted, strict=True)]
        figures[name] = {
            "ratio": round(statistics.median(ratios), 3),
            "floor": case.at_least,
            "rounds": len(ratios),
            "spread": round(max(ratios) - min(ratios), 3),
            "per_cpu_s": round(statistics.median(cost["count"] / cost["cpu_s"] for cost in rounds_of)),
            "per_wall_s": round(statistics.median(cost["count"] / cost["wall_s"] for cost in rounds_of)),
            "peak_mb": round(max(cost["peak_mb"] for cost in rounds_of)),
        }
    return figures


def main() -> None:
    """The command line."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer leads and rounds: about two minutes")
    parser.add_argument("--only", default="", help="only cases whose name contains this, and their floors")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--count", type=int, help="how many leads")
    parser.add_argument("--rounds", type=int, help="how many rounds")
    options = parser.parse_args()
    there = {name for name in ("kafka", "postgres") if os.environ.get(f"BRIDGE_TEST_{name.upper()}")}
    wanted = [name for name, case in CASES.items() if options.only in name and there.issuperset(case.needs)]
    names = [name for name in CASES if name in wanted or name in {CASES[one].floor for one in wanted}]
    count = options.count or (20_000 if options.quick else 100_000)
    figures = told(rounds(names, count, options.rounds or (3 if options.quick else 5)))
    table = Table("case", "× floor", "wanted", "spread", "a CPU second", "a second", "MB", title=f"{count} leads")
    for name, one in figures.items():
        wanted_ratio = f"≥ {one['floor']}" if one["floor"] else ""
        table.add_row(
            name,
            f"{one['ratio']:.2f}",
            wanted_ratio,
            f"{one['spread']:.2f}",
            f"{one['per_cpu_s']:,}",
            f"{one['per_wall_s']:,}",
            str(one["peak_mb"]),
        )
    Console(width=110).print(table)
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    for name in CASES:
        if name not in names and options.only in name:
            say(f"left out: {name} (it needs {' and '.join(CASES[name].needs)}; see scripts/services)")


if __name__ == "__main__":
    main()
