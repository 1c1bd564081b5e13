"""The verb that simulates."""

from __future__ import annotations

import secrets
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import TYPE_CHECKING, Any

import click

from sales_crm_bridge import observe
from sales_crm_bridge.cli.kit import AS_JSON, examples, print_json
from sales_crm_bridge.errors import EXIT_OK, EXIT_RUNTIME

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from sales_crm_bridge.simulate.plan import Plan
    from sales_crm_bridge.simulate.tally import Tally

MEMORY = Path("/dev/shm")  # noqa: S108 - a run's files are thrown away, and need no disk
SHOWN = 20
LOT = 4
"""Runs that a process is given at a time."""


class Seeds(click.ParamType[range]):
    """``A..B``, both included, or one number."""

    name = "seeds"

    def convert(self, value: object, param: click.Parameter | None, ctx: click.Context | None) -> range:
        """See click."""
        first, _, last = str(value).partition("..")
        try:
            found = range(int(first), int(last or first) + 1)
        except ValueError:
            self.fail(f"{value!r} is neither a number nor two of them as in 1..20", param, ctx)
        return found


@click.command(
    epilog=examples(
        "simulate",
        "simulate --seeds 1..200 --steps 2000 --jobs 2",
        "simulate --adapter memory --mutate list",
        "simulate --mutate blind-retry",
        "simulate --mutate all --seeds 1..8",
        "simulate --plan failed.json --trace",
    )
)
@click.option("--seeds", type=Seeds(), default="1..5", show_default=True, help="Which seeds, of each CRM.")
@click.option(
    "--fresh", type=click.IntRange(0, 100_000), default=0, help="So many seeds by chance besides; they are printed."
)
@click.option(
    "--steps", type=click.IntRange(1, 1_000_000), default=2000, show_default=True, help="Steps before the faults end."
)
@click.option("--adapter", "crms", multiple=True, help="This CRM alone (may be repeated) [default: every one].")
@click.option(
    "--mutate", default="", help="Plant this bug, which must be found; `all`: each in turn; `list` lists them."
)
@click.option(
    "--plan", type=click.Path(path_type=Path, dir_okay=False), help="Run this plan, as a failing seed has printed it."
)
@click.option("--save", type=click.Path(path_type=Path, dir_okay=False), help="Write the first failing plan there.")
@click.option(
    "--minimise",
    type=click.FloatRange(0, 3600),
    default=20.0,
    show_default=True,
    help="Seconds to make a failing plan smaller.",
)
@click.option(
    "--jobs", type=click.IntRange(1, 64), default=1, show_default=True, help="Processes that share the seeds."
)
@click.option("--full", is_flag=True, help="Fail also if a fault has never hit one of its steps.")
@click.option("--trace", is_flag=True, help="Of a plan: print every step.")
@AS_JSON
def simulate(
    *,
    seeds: range,
    fresh: int,
    steps: int,
    crms: tuple[str, ...],
    mutate: str,
    plan: Path | None,
    save: Path | None,
    minimise: float,
    jobs: int,
    full: bool,
    trace: bool,
    as_json: bool,
) -> None:
    """Run the whole bridge in a world of faults, and check what must always hold.

    Every run is one deployment on virtual time: processes of the bridge that die between any two of their steps, a CRM in memory
    whose people work all the while, a Kafka that goes away, lost answers, late and doubled messages. A seed gives the same run
    every time.

    The faults end after --steps; then everything must settle, and Sales' view must be the CRM's. Exit code 1 if anything did not
    hold: then the smallest plan that shows it is printed, and can be run again with --plan.
    """
    from sales_crm_bridge.simulate import crms as worlds  # noqa: PLC0415 - not for production, and slow to load
    from sales_crm_bridge.simulate import mutations  # noqa: PLC0415 - the same
    from sales_crm_bridge.simulate import plan as plans  # noqa: PLC0415 - the same
    from sales_crm_bridge.simulate.tally import Tally  # noqa: PLC0415 - the same

    observe.log_to_stderr("error", "text")
    if mutate == "list":
        _list(as_json=as_json)
        return
    if mutate == "all":
        _hunt(seeds, steps, as_json=as_json)
        return
    for known, asked in ((worlds.CRMS, crms), (mutations.MUTATIONS, (mutate,) if mutate else ())):
        for name in asked:
            if name not in known:
                raise click.UsageError(f"unknown name {name!r}; use one of: {', '.join(sorted(known))}")
    began = time.monotonic()
    names = list(crms) or ([mutations.MUTATIONS[mutate].crm] if mutate else list(worlds.CRMS))
    if plan is not None:
        todo = [plans.load(plan)]
        names = [todo[0].crm]
    else:
        chosen = [*seeds, *(secrets.randbelow(2**31) for _ in range(fresh))]
        todo = [
            mutations.drawn(mutate, name, seed, steps)
            if mutate
            else plans.draw(name, worlds.CRMS[name].menu, seed, steps)
            for seed in chosen
            for name in names
        ]
    tally = Tally(hits={}, windows={}, failures=[], seeds={})
    for part in _shared(todo, jobs, mutate, minimise, trace=trace):
        tally.join(part)
    tally.failures.sort(key=lambda one: (one.crm, one.seed))
    if save is not None and tally.failures:
        save.write_text(tally.failures[0].plan, encoding="utf-8")
    if as_json:
        print_json(tally.to_json(names))
    else:
        _tell(tally, names, time.monotonic() - began, trace=trace)
    holes = full and bool(tally.untouched(names))
    sys.exit(EXIT_RUNTIME if tally.failures or holes else EXIT_OK)


def work(todo: Sequence[Plan], mutate: str, minimise_s: float, *, trace: bool) -> Tally:
    """Run these plans; a process of its own may do it."""
    from sales_crm_bridge.simulate import mutations, plan, runs  # noqa: PLC0415 - not for production
    from sales_crm_bridge.simulate.tally import Failure, Tally  # noqa: PLC0415 - the same

    tally = Tally(hits={}, windows={}, failures=[], seeds={})
    memory = MEMORY if MEMORY.is_dir() else None
    with mutations.planted(mutate), TemporaryDirectory(prefix="sales-crm-bridge-", dir=memory) as name:
        folder = Path(name) / "run"
        for one in todo:
            result = runs.play(one, folder, trace=trace)
            tally.add(result)
            if not result.wrong:
                if trace:
                    for line in result.trace:
                        click.echo(line)
                continue
            best, tried = runs.minimise(
                result, lambda smaller: runs.play(smaller, folder), _timer(time.monotonic() + minimise_s)
            )
            shown = runs.play(best.plan, folder, trace=True)
            tally.failures.append(
                Failure(
                    crm=one.crm,
                    seed=one.seed,
                    wrong=best.wrong,
                    plan=plan.save(best.plan),
                    events=len(best.plan.events),
                    of=len(one.events),
                    runs=tried,
                    trace=shown.trace,
                )
            )
    return tally


def _timer(until: float) -> Callable[[], bool]:
    """Says when it is time to stop."""
    return lambda: time.monotonic() > until


def _shared(todo: Sequence[Plan], jobs: int, mutate: str, minimise_s: float, *, trace: bool) -> list[Tally]:
    if jobs == 1 or len(todo) == 1:
        return [work(todo, mutate, minimise_s, trace=trace)]
    lots = [todo[at : at + LOT] for at in range(0, len(todo), LOT)]
    with ProcessPoolExecutor(jobs, mp_context=get_context("spawn")) as pool:
        return [each.result() for each in [pool.submit(work, lot, mutate, minimise_s, trace=trace) for lot in lots]]


def _hunt(seeds: range, steps: int, *, as_json: bool) -> None:
    """Plant each bug in turn, until a seed shows it."""
    from sales_crm_bridge.simulate import mutations  # noqa: PLC0415 - not for production

    told = []
    for name, one in mutations.MUTATIONS.items():
        row: dict[str, Any] = {"name": name, "adapter": one.crm, "caught": False, "seeds": len(seeds), "by": []}
        for number, seed in enumerate(seeds, 1):
            found = work([mutations.drawn(name, one.crm, seed, steps)], name, 0.0, trace=False).failures
            if found:
                row |= {"caught": True, "seeds": number, "by": sorted({broken for broken, _ in found[0].wrong})}
                break
        told.append(row)
        if not as_json:
            by = ", ".join(row["by"]) if row["caught"] else "nothing: the checker has a hole"
            click.echo(
                f"{name:<22} {'caught after' if row['caught'] else 'not caught by'} {row['seeds']} seeds, by {by}"
            )
    if as_json:
        print_json(told)
    sys.exit(EXIT_OK if all(row["caught"] for row in told) else EXIT_RUNTIME)


def _list(*, as_json: bool) -> None:
    from sales_crm_bridge.simulate.mutations import MUTATIONS  # noqa: PLC0415 - not for production

    if as_json:
        print_json([{"name": name, "what": one.what, "adapter": one.crm} for name, one in MUTATIONS.items()])
        return
    for name, one in MUTATIONS.items():
        click.echo(f"{name:<22} {one.what} (shown with --adapter {one.crm})")


def _tell(tally: Tally, crms: Sequence[str], seconds: float, *, trace: bool) -> None:
    seeds = sorted({seed for found in tally.seeds.values() for seed in found})
    shown = ", ".join(map(str, seeds[:SHOWN])) + (f" … {seeds[-1]}" if len(seeds) > SHOWN else "")
    click.echo(f"{tally.runs} runs of {', '.join(crms)} in {seconds:.1f} s; seeds {shown}")
    click.echo(
        f"{tally.steps + tally.peace:,} steps ({tally.peace:,} of them in peace; at most {tally.settled:,} to settle), "
        f"{tally.virtual_s / 3600:.0f} virtual hours, {tally.intents:,} intents, {tally.facts:,} facts"
    )
    faults = tally.faults()
    click.echo(
        f"{sum(faults.values()):,} faults: " + ", ".join(f"{kind} {times:,}" for kind, times in faults.items() if times)
    )
    met, every = tally.covered(crms)
    click.echo(f"coverage: {met} of {every} pairs of fault and step")
    untouched = tally.untouched(crms)
    for cell in untouched[:SHOWN]:
        click.echo(f"  never: {cell}")
    if len(untouched) > SHOWN:
        click.echo(f"  and {len(untouched) - SHOWN} more (--json names them)")
    for window, times in sorted(tally.windows.items()):
        click.echo(f"window: {window}: {times}")
    for one in tally.failures:
        click.echo(
            f"\n{one.crm} seed {one.seed} fails; {one.events} of its {one.of} events show it ({one.runs} runs to find them):"
        )
        for name, text in one.wrong[:SHOWN]:
            click.echo(f"  {name}: {text}")
        click.echo(one.plan.rstrip())
        if trace:
            for line in one.trace:
                click.echo(line)
        click.echo("run it again: save the plan, then `sales-crm-bridge simulate --plan FILE --trace`")
    click.echo(f"{len(tally.failures)} of {tally.runs} runs fail" if tally.failures else "everything held")
