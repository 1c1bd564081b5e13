"""The breaker: an account that fails again and again is left alone for a while, then tried with one call."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, Literal

if TYPE_CHECKING:
    from sales_crm_bridge.errors import BridgeError
    from sales_crm_bridge.ports import Clock
    from sales_crm_bridge.rim.terms import Terms

log = logging.getLogger(__name__)

PROBE_US = 5_000_000
"""When to ask again while a probe is under way."""


class Breaker:
    """Opens after ``breaker_faults`` faults in a row; lets one probe through when its pause is over; closes on any success.

    A probe that fails doubles the pause, up to ``breaker_open_max_s``. ``cause`` is the newest fault (None: a success
    came after). ``name``: the account's, for the log.
    """

    def __init__(self, clock: Clock, terms: Terms, name: str) -> None:
        self._clock = clock
        self._name = name
        self._terms = terms
        self._faults = 0
        self._pause_s = terms.breaker_open_s
        self._until_us = 0
        self._probe = 0
        self.cause: BridgeError | None = None

    def state(self) -> tuple[Literal["closed", "open", "half-open"], int]:
        """Its state, and until when it is open (0: it is not)."""
        if not self._until_us:
            return "closed", 0
        return ("half-open", 0) if self._probe else ("open", self._until_us)

    def refusal(self) -> int:
        """When to come back (epoch microseconds), or 0: a call would be let through now."""
        now_us = self._clock.now_us()
        if now_us < self._until_us:
            return self._until_us
        return now_us + PROBE_US if self._probe else 0

    def enter(self, call: int) -> int:
        """As ``refusal``. Every call (> 0) that is let through must end with ``worked``, ``failed`` or ``gave_up``."""
        refused = self.refusal()
        if not refused and self._until_us:
            self._probe = call
        return refused

    def worked(self) -> None:
        """The CRM answered."""
        self._faults = 0
        self._pause_s = self._terms.breaker_open_s
        self._until_us = 0
        self._probe = 0
        self.cause = None

    def failed(self, call: int, cause: BridgeError) -> None:
        """The CRM did not answer ``call``, or with a fault of its own: ``cause``."""
        self._faults += 1
        self.cause = cause
        if self._until_us:
            if call != self._probe:
                return  # it was sent before the breaker opened and tells nothing new
            self._pause_s = min(self._pause_s * 2, self._terms.breaker_open_max_s)
        elif self._faults < self._terms.breaker_faults:
            return
        self._probe = 0
        self._until_us = self._clock.now_us() + round(self._pause_s * 1e6)
        extra = {
            "event": "crm.suspended",
            "account": self._name,
            "faults": self._faults,
            "for_s": self._pause_s,
            "code": cause.code,
        }
        log.warning("calls are suspended", extra=extra)

    def gave_up(self, call: int) -> None:
        """``call`` ended without telling anything about the CRM (no effect after the two above); the next one may probe."""
        if call == self._probe:
            self._probe = 0
