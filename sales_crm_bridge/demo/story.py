"""What happens in the demo, from the first import to the comparison of both sides."""

from __future__ import annotations

import asyncio
import json
import time
from dataclasses import dataclass
from typing import TYPE_CHECKING

import click

from sales_crm_bridge import contract
from sales_crm_bridge.demo import playing, wishes
from sales_crm_bridge.demo.compare import DONE
from sales_crm_bridge.demo.stage import LEADS, TENANT, Stage, stage
from sales_crm_bridge.errors import EXIT_OK, EXIT_RUNTIME
from sales_crm_bridge.sandbox import Fault, FaultKind
from sales_crm_bridge.tasks import end, first

if TYPE_CHECKING:
    from sales_crm_bridge.console import Console
    from sales_crm_bridge.demo.wishes import Wish
    from sales_crm_bridge.replay.live import Ears

ASKED: tuple[tuple[Wish, int], ...] = (
    (wishes.create("create-1", "L-1", email="ada@sales.example", first_name="Ada", last_name="Byron"), 1),
    (wishes.create("create-2", "L-2", email="eve@sales.example", first_name="Eve", last_name="Stone"), 2),
    (wishes.create("create-3", "L-3", email="not an address", first_name="Bob"), 1),
    (wishes.revise("revise-1", "L-1", job_title="Countess", city="London"), 1),
    (wishes.qualify("qualify-1", "L-1", "wants a quote"), 1),
    (wishes.disqualify("disqualify-2", "L-2", "no budget"), 1),
    (wishes.opportunity("opportunity-1", "O-1"), 1),
)
"""What the Sales domain's clients ask for, and how often they say it: an intent of every kind that is about leads, one of them
said twice, one that the CRM will refuse, and one that is none of the bridge's business."""

PASSED_OVER = "passed over"
OPEN = "open"


@dataclass(frozen=True, slots=True, kw_only=True)
class Ending:
    """How the story ended: what became of each intent, where the sides differ, and how long it took."""

    outcomes: dict[str, str]
    wrong: list[str]
    seconds: float


async def play(console: Console, *, keep: bool, stop: asyncio.Event, record: bool = False) -> tuple[int, Ears | None]:
    """Play the whole story; 0 when both sides agree in the end, 1 when they do not or ``stop`` came first.

    ``keep``: everything then goes on until ``stop``. ``record``: give the ears, too, which have heard all of it. Raises what the
    service raises, should it end.
    """
    began = time.monotonic()
    async with stage(record=record) as (here, running):
        acts = asyncio.create_task(_acts(console, here), name="acts")
        stopping = asyncio.create_task(stop.wait(), name="stop")
        try:
            await first((acts, running, stopping))
            if not acts.done():
                if running.done():
                    await running
                return EXIT_RUNTIME, None
            outcomes, wrong = acts.result()
            ending = Ending(outcomes=outcomes, wrong=wrong, seconds=time.monotonic() - began)
            _tell(console, here, ending)
            if console.as_json:
                click.echo(json.dumps(_counts(here, ending, keep=keep), indent=None if keep else 2))
            if keep:
                await playing.go_on(console, here, (running, stopping))
        finally:
            await end((acts, stopping))
    return (EXIT_RUNTIME if wrong else EXIT_OK), here.ears


async def _acts(console: Console, here: Stage) -> tuple[dict[str, str], list[str]]:
    """Import, people, intents, comparison: what became of the intents, and the differences that are left."""
    console.say(
        f"A HubSpot with {LEADS} leads, a Kafka and a SQLite ledger are inside this process. The bridge reads them in:"
    )
    wrong = await _import(console, here)
    console.say("Now a person works in the CRM: edits a lead, changes a status, creates one, merges two, deletes one.")
    _work_in_the_crm(here)
    console.say("And clients of the Sales domain utter intents, while HubSpot once cuts the line after it has written.")
    if not await here.listening():
        wrong.append("the bridge does not read the intent topic")
    here.portal.faults.add(Fault(FaultKind.CUT_AFTER, body=ASKED[0][0].asked.email.encode()))
    for wish, times in ASKED:
        await here.utter(wish, times)
    if not await here.taken():
        wrong.append("not every intent was taken")
    outcomes = here.view.outcomes
    ours = [wish.message_id for wish, _ in ASKED if type(wish.body) in _LEAD_INTENTS]
    await here.until(lambda: all(name in outcomes for name in ours))
    if not await here.everything_read():
        wrong.append("the bridge did not read every feed to its end")
    wrong += here.differences()
    wrong += [f"intent {name} has no outcome" for name in ours if name not in outcomes]
    wrong += [f"told twice: {what}" for what in here.view.doubled]
    done = sum(outcome == DONE for outcome in outcomes.values())
    if here.writes != done:
        wrong.append(f"{done} intents took effect, and the bridge wrote {here.writes} times")
    became = {
        wish.message_id: outcomes.get(wish.message_id, OPEN if wish.message_id in ours else PASSED_OVER)
        for wish, _ in ASKED
    }
    return became, wrong


_LEAD_INTENTS = (
    contract.CreateLeadRequested,
    contract.ReviseLeadRequested,
    contract.QualifyLeadRequested,
    contract.DisqualifyLeadRequested,
)


async def _import(console: Console, here: Stage) -> list[str]:
    with console.progress() as progress:

        def imported() -> bool:
            progress.tell(TENANT, "import", here.view.imported, LEADS)
            return here.view.imported >= LEADS

        if not await here.until(imported):
            return [f"{LEADS - here.view.imported} leads were not imported"]
    return []


def _work_in_the_crm(here: Stage) -> None:
    """What people do in HubSpot's own pages."""
    person = here.portal.person
    edited, called, merged, into, deleted, *_ = sorted(here.live, key=int)
    person.edit(edited, {"phone": "+49 30 901820", "city": "Berlin"})
    person.edit(called, {"hs_lead_status": "CONNECTED"})
    person.create("contacts", {"email": "walk.in@shop.example", "firstname": "Walk", "lastname": "In"})
    person.merge(into, merged)
    person.delete(deleted)


def _tell(console: Console, here: Stage, ending: Ending) -> None:
    """Print what was told, what became of the intents, and whether both sides agree."""
    imported = ("crm_lead_observed", f"{here.view.imported} leads", "imported", "the first reading")
    told = [imported, *((one.kind, _short(one.lead), one.what, one.cause) for one in here.lines)]
    console.table(f"facts on {contract.FACT_TOPIC}", ("fact", "lead", "what changed", "because of"), told)
    said = [
        (wish.message_id, wish.kind, wish.lead_id, "once" if times == 1 else f"{times} times", _became(ending, wish))
        for wish, times in ASKED
    ]
    console.table(
        f"intents on {contract.INTENT_TOPIC}", ("intent", "asks", "about", "uttered", "what became of it"), said
    )
    for _, method, path in here.portal.faults.hits:
        console.say(
            f"The answer to {method} {path} was lost after the write; the bridge read back what had become of it."
        )
    for difference in ending.wrong:
        console.say(difference, "red")
    if ending.wrong:
        console.say(f"The two sides do not agree: {len(ending.wrong)} differences.", "bold red")
    else:
        agreed = (
            f"Both sides agree: {len(here.live)} leads, field by field, one record each, nothing written or told twice."
        )
        console.say(f"{agreed} ({ending.seconds:.1f} s)", "bold green")


def _became(ending: Ending, wish: Wish) -> str:
    outcome = ending.outcomes[wish.message_id]
    if outcome == PASSED_OVER:
        return f"{PASSED_OVER}: the Sales domain handles it"
    return outcome if outcome in (DONE, OPEN) else f"refused: {outcome}"


def _short(lead: str, width: int = 13) -> str:
    return lead if len(lead) <= width else f"{lead[:width]}…"


def _counts(here: Stage, ending: Ending, *, keep: bool) -> dict[str, object]:
    """The counts, for machines; with ``keep`` also where everything is."""
    view = here.view
    tally = {"uttered": here.uttered, "done": 0, "refused": 0, "passed_over": 0, "open": 0}
    for outcome in ending.outcomes.values():
        tally[{DONE: "done", PASSED_OVER: "passed_over", OPEN: "open"}.get(outcome, "refused")] += 1
    places = {"hubspot": here.address, "token": here.token, "kafka": here.kafka.servers, "folder": str(here.folder)}
    return {
        "agree": not ending.wrong,
        "differences": ending.wrong,
        "leads": {"imported": view.imported, "in_crm": len(here.live), "in_sales": len(view.leads)},
        "facts": dict(sorted(view.kinds.items())),
        "facts_repeated": view.repeated,
        "intents": tally,
        "outcomes": ending.outcomes,
        "crm_writes": here.writes,
        "answers_lost": len(here.portal.faults.hits),
        "seconds": round(ending.seconds, 1),
        **(places if keep else {}),
    }
