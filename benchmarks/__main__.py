"""Run the cases: ``python -m benchmarks [--quick] [--studies] [--peers] [--only PART] [--json FILE] [--charts FOLDER]``.

Rounds are interleaved (A B C A B C): a case is compared with its floor of the same round, and the median of these ratios is told.
A ratio of 0.5 says: twice the floor's CPU seconds for the same things (its wall time, where the CRM takes 50 ms for a write).
A poll is held against 5 ms of CPU: there a ratio of 2 says 2.5 ms. Studies (``--studies``) measure how a cost grows with a size;
their ratios are told in docs/performance.md. What needs a real Kafka or PostgreSQL takes them from BRIDGE_TEST_KAFKA and
BRIDGE_TEST_POSTGRES, and is left out without. With ``--peers`` the pull to SQLite and its floors run beside other tools, which
have an environment of their own (``make bench-peers`` builds it).
"""

from __future__ import annotations

import argparse
import contextlib
import json
import os
import statistics
from collections import defaultdict
from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.table import Table

from benchmarks import beside
from benchmarks.cases import CASES
from benchmarks.charts import chart
from benchmarks.running import child, crm
from benchmarks.studies import STUDIES

if TYPE_CHECKING:
    from collections.abc import Sequence

    from benchmarks.growth import Point

Figures = dict[str, dict[str, Any]]
say = Console(stderr=True, highlight=False).print


def services() -> dict[str, str]:
    """The real ones, by name, and the Python of the other tools; "" where there is none."""
    real = {name: os.environ.get(f"BRIDGE_TEST_{name.upper()}", "") for name in ("kafka", "postgres")}
    return real | {"peers": str(beside.PYTHON) if beside.PYTHON.exists() else ""}


# --- cases ------------------------------------------------------------------------------------------------------------


def rounds(names: Sequence[str], count: int, times: int) -> dict[str, list[dict[str, float]]]:
    """Every case's cost in every round."""
    costs: dict[str, list[dict[str, float]]] = defaultdict(list)
    with contextlib.ExitStack() as stack:
        kinds = sorted({(CASES[name].page, CASES[name].latency_s) for name in names})
        addresses = {kind: stack.enter_context(crm(count, *kind)) for kind in kinds}
        for number in range(times):
            for name in names:
                case = CASES[name]
                address = addresses[case.page, case.latency_s]
                place = {"page": case.page, "crm": address, "adapter": case.adapter, **services()}
                last = child("case", name, {"count": max(1, count // case.share), **place})
                costs[name].append(last)
                say(f"round {number + 1}/{times}  {name:28} {last['cpu_s']:7.2f} s CPU {last['wall_s']:7.2f} s wall")
    return costs


def told(costs: dict[str, list[dict[str, float]]]) -> Figures:
    """The figures of each case: the median ratio to its floor, and how far apart the rounds were."""
    figures: Figures = {}
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


# --- studies ----------------------------------------------------------------------------------------------------------


def studied(name: str, *, quick: bool) -> list[Point]:
    """The points of one study."""
    study = STUDIES[name]
    sizes = study.quick if quick else study.sizes
    leads = study.leads or max(sizes)
    points: list[Point] = []
    with crm(leads, study.page) as address:
        place = {"count": leads, "page": study.page, "crm": address, "adapter": study.adapter, **services()}
        for some in [[size] for size in sizes] if study.apart else [list(sizes)]:
            points += child("study", name, place, some)
            for point in points[-len(some) :]:
                rest = "  ".join(f"{key} {value:,.4g}" for key, value in point.items() if key != "size")
                say(f"{name:12} {point['size']:>9,.0f}  {rest}")
    return points


def figures_of(name: str, points: Sequence[Point]) -> Figures:
    """A study's figures, in the form of the cases'."""
    return {
        figure: {"ratio": round(ratio, 3), "floor": wanted, "rounds": 1, "spread": 0.0}
        for figure, (ratio, wanted) in STUDIES[name].figures(points).items()
    }


# --- the command line -------------------------------------------------------------------------------------------------


def table_of(figures: Figures, title: str) -> Table:
    """For people."""
    table = Table("case", "ratio", "wanted", "spread", "a CPU second", "a second", "MB", title=title)
    for name, one in figures.items():
        rates = [f"{one[key]:,}" if key in one else "" for key in ("per_cpu_s", "per_wall_s", "peak_mb")]
        wanted = f"≥ {one['floor']}" if one["floor"] else ""
        table.add_row(name, f"{one['ratio']:.2f}", wanted, f"{one['spread']:.2f}", *rates)
    return table


def part(options: argparse.Namespace) -> dict[str, tuple[str, ...]]:
    """The studies, the other tools with what stands beside them, or the cases: what each needs, by name."""
    if options.studies:
        return {name: study.needs for name, study in STUDIES.items()}
    return {
        name: case.needs
        for name, case in CASES.items()
        if ("peers" in case.needs or (options.peers and name in beside.OURS)) == options.peers
    }


def main() -> None:
    """Parse, measure, tell."""
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="fewer leads, rounds and sizes: about two minutes")
    parser.add_argument("--studies", action="store_true", help="the studies instead of the cases")
    parser.add_argument(
        "--peers", action="store_true", help="other tools beside the pull to SQLite, instead of the cases"
    )
    parser.add_argument("--only", default="", help="only what has this in its name, and its floors")
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the figures there too")
    parser.add_argument("--charts", type=Path, metavar="FOLDER", help="draw the studies there, as SVG")
    parser.add_argument("--count", type=int, help="how many leads")
    parser.add_argument("--rounds", type=int, help="how many rounds")
    options = parser.parse_args()
    if options.studies and options.peers:
        parser.error("--studies and --peers are two different runs")
    there = {name for name, address in services().items() if address}
    if options.peers and "peers" not in there:
        say(beside.MISSING)
        raise SystemExit(3)
    every = {name: needs for name, needs in part(options).items() if options.only in name}
    wanted = [name for name, needs in every.items() if there.issuperset(needs)]
    figures: Figures = {}
    if options.studies:
        for name in wanted:
            points = studied(name, quick=options.quick)
            figures |= figures_of(name, points)
            if options.charts:
                study = STUDIES[name]
                options.charts.mkdir(parents=True, exist_ok=True)
                (options.charts / f"{name}.svg").write_text(chart(points, study.chart, study.of))
        title = "studies"
    else:
        floors = {CASES[name].floor for name in wanted}
        names = [name for name in CASES if name in wanted or name in floors]
        count = options.count or (20_000 if options.quick else 100_000)
        figures = told(rounds(names, count, options.rounds or (3 if options.quick else 5)))
        title = f"{count:,} leads{beside.versions_told() if options.peers else ''}"
    Console(width=110).print(table_of(figures, title))
    if options.json:
        options.json.write_text(json.dumps(figures, indent=2) + "\n")
    for name, needs in every.items():
        if name not in wanted:
            say(f"left out: {name} (it needs {' and '.join(needs)}; see scripts/services)")


if __name__ == "__main__":
    main()
