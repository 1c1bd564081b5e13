"""What the events of a plan do, by kind: people at the CRM, clients of the domain, and what goes wrong around the bridge."""

from __future__ import annotations

import random
from typing import TYPE_CHECKING

from sales_crm_bridge.sandbox.hubspot.refusals import Refusal
from sales_crm_bridge.simulate.clients import Clients
from sales_crm_bridge.simulate.people import People
from sales_crm_bridge.simulate.plan import INTENTS, PEOPLE
from sales_crm_bridge.simulate.troubles import Troubles

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sales_crm_bridge.simulate.border import Border
    from sales_crm_bridge.simulate.clients import Utterance
    from sales_crm_bridge.simulate.deployment import Deployment
    from sales_crm_bridge.simulate.plan import Event


class Acts:
    """Carries out events. ``uttered``: every intent that is one, by message id; ``merges``: third records, and of which two."""

    def __init__(self, town: Deployment) -> None:
        self._town = town
        self._people = People(town)
        self._clients = Clients(town)
        self._troubles = Troubles(town)

    @property
    def uttered(self) -> Mapping[str, Utterance]:
        """Every intent that is one, by message id."""
        return self._clients.uttered

    @property
    def merges(self) -> Mapping[str, tuple[str, str]]:
        """Records that two others became, with these."""
        return self._people.merges

    def do(self, event: Event, process: Border) -> None:
        """Carry out one event; what cannot be done now (no record is there, say) is left undone."""
        rng = random.Random(event.n * 1009 + event.step)
        if event.kind in PEOPLE:
            try:
                self._people.do(event, rng)
            except (Refusal, LookupError):
                self._town.note("refused by the CRM")
        elif event.kind in INTENTS:
            self._clients.do(event, rng)
        else:
            self._troubles.do(event, process, rng)

    def peace(self) -> None:
        """No more faults."""
        self._troubles.end()
