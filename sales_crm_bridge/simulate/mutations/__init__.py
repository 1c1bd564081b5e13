"""Classic bugs, each behind a name: swapped in for the time of a run, and unknown to every other module.

The checker must catch each of them. A bug that is not caught is a hole in the checker, not a harmless bug.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING

import msgspec

from sales_crm_bridge.simulate.crms import CRMS
from sales_crm_bridge.simulate.mutations import passing, reading, writing
from sales_crm_bridge.simulate.mutations.reading import Swap
from sales_crm_bridge.simulate.plan import DEATHS, LEDGER, LINE, LOST, at_ledger, draw

if TYPE_CHECKING:
    from collections.abc import Iterator

    from sales_crm_bridge.simulate.plan import Plan


class Mutation(msgspec.Struct, frozen=True, kw_only=True):
    """A bug: ``what`` it does, in which CRM it shows soonest, and in which world (the rest as in ``plan.draw``)."""

    what: str
    crm: str
    swaps: Callable[[], list[Swap]]
    tilt: Mapping[str, object] = {}
    often: Mapping[str, float] = {}
    aims: Sequence[tuple[str, str]] = ()


@contextmanager
def planted(name: str) -> Iterator[None]:
    """Have the bug in the program; "" has none."""
    swaps = MUTATIONS[name].swaps() if name else []
    before = [(where, attribute, getattr(where, attribute)) for where, attribute, _ in swaps]
    for where, attribute, value in swaps:
        setattr(where, attribute, value)
    try:
        yield
    finally:
        for where, attribute, value in reversed(before):
            setattr(where, attribute, value)


def drawn(name: str, crm: str, seed: int, steps: int) -> Plan:
    """The plan of a seed in a world in which the bug shows."""
    one = MUTATIONS[name]
    return draw(crm, CRMS[crm].menu, seed, steps, tilt=one.tilt, often=one.often, aims=one.aims)


QUICK = {"audits": False}
CALM = dict.fromkeys((*LINE, *LOST, *LEDGER, *DEATHS, "broker-away", "token-expired", "new-lead", "revise"), 0.5)
"""Rates of a world in which little goes wrong, so that more virtual time goes by."""

MUTATIONS: Mapping[str, Mutation] = {
    "strict-cursor": Mutation(
        what="a window begins after the last moment of the one before",
        crm="memory",
        swaps=reading.strict_cursor,
        tilt={"audits": False, "second_pass_s": 20, "leads": 30},
        often={**CALM, "edit": 60.0},
    ),
    "no-second-pass": Mutation(
        what="what shows up late is not looked for",
        crm="hubspot",
        swaps=reading.no_second_pass,
        tilt={"audits": False, "hooks": False, "second_pass_s": 90, "leads": 30},
        often={"search-late": 15.0, "edit": 8.0, "kill": 2.0},
    ),
    "position-first": Mutation(
        what="a position moves before the page is committed",
        crm="memory",
        swaps=reading.position_first,
        tilt={"audits": False, "leads": 90, "page_size": 4},
        often={**CALM, "edit": 5.0, "new-lead-revised": 0.5},
        aims=[("ledger-unknown", at_ledger("commit"))] * 4,
    ),
    "outbox-apart": Mutation(what="facts are committed after what they tell", crm="memory", swaps=reading.outbox_apart),
    "echo-window": Mutation(
        what="changes within a minute after our own write are taken for its echo",
        crm="memory",
        swaps=reading.echo_window,
    ),
    "order-by-arrival": Mutation(
        what="what is read last counts as newest", crm="hubspot", swaps=reading.order_by_arrival, tilt={"lag_s": 12.0}
    ),
    "binding-stays-behind": Mutation(
        what="a merge does not move the binding",
        crm="hubspot",
        swaps=reading.binding_stays_behind,
        tilt={"audits": False, "new_ids": True},
        often={"merge": 10.0},
    ),
    "merges-overlooked": Mutation(
        what="what was merged away stays", crm="hubspot", swaps=reading.merges_overlooked, tilt=QUICK
    ),
    "ack-before-ledger": Mutation(
        what="an offset is committed before its intents",
        crm="memory",
        swaps=passing.ack_before_ledger,
        often={**CALM, "new-lead": 30.0, "kill": 0.0},
        aims=[("kill", "after ledger.take")] * 6,
    ),
    "no-inbox": Mutation(what="an intent that comes again is new", crm="memory", swaps=passing.no_inbox),
    "outbox-emptied-first": Mutation(
        what="facts leave the ledger before Kafka has them", crm="memory", swaps=passing.outbox_emptied_first
    ),
    "gap-passed-over": Mutation(
        what="lost intents open no gap", crm="memory", swaps=passing.gap_passed_over, often={"trim": 3.0}
    ),
    "blind-retry": Mutation(
        what="a write whose answer was lost is made again", crm="memory", swaps=writing.blind_retry
    ),
    "retry-in-the-rim": Mutation(
        what="the rim repeats writes that may have taken effect", crm="memory", swaps=writing.retry_in_the_rim
    ),
    "settled-at-once": Mutation(
        what="what is not there yet counts as not carried out",
        crm="hubspot",
        swaps=writing.settled_at_once,
        often={**CALM, "late-commit": 25.0, "new-lead-revised": 25.0, "new-lead": 5.0},
    ),
    "lost-is-refused": Mutation(
        what="an update whose answer was lost counts as refused", crm="memory", swaps=writing.never_read_back
    ),
    "our-form": Mutation(what="what we wrote is remembered as we wrote it", crm="plain", swaps=writing.our_form),
    "no-fence": Mutation(
        what="a process that lost its lease goes on",
        crm="memory",
        swaps=writing.no_fence,
        tilt={"processes": 3},
        often={"pause": 12.0, "kill": 1.0},
    ),
    "any-version": Mutation(what="writes are not tied to a version", crm="memory", swaps=writing.any_version),
    "key-per-try": Mutation(what="every try has a key of its own", crm="memory", swaps=writing.key_per_try),
    "search-then-create": Mutation(
        what="a create searches first, and has no key", crm="hubspot", swaps=writing.search_then_create
    ),
    "adopts-by-address": Mutation(
        what="a create writes to whoever has its address", crm="hubspot", swaps=writing.adopts_by_address
    ),
}
"""Every bug by its name."""
