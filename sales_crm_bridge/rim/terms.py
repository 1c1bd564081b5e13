"""The rim's limits by name, and the values its parts hand to one another."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

from sales_crm_bridge.errors import BridgeError, Bug, CrmUnavailable, QuotaExhausted

if TYPE_CHECKING:
    from sales_crm_bridge.model import Call, HttpReply, NoReply

MESSAGE_MAX = 300
"""Characters of a CRM's own words that an error keeps."""

REDIRECTS_MAX = 3
"""Redirects of one reading call that are followed, all to the same origin."""

COUNT_BLOCK = 50
"""Calls that a worker claims in the ledger at a time, where nothing else is said."""

RANKS = {"push": 0, "check": 0, "pull": 1, "audit": 2, "backfill": 3}
"""Purpose → rank: a lower one goes first wherever calls wait."""


def rank(purpose: str) -> int:
    """The rank of ``purpose``; raises ``Bug`` for one that is not in ``RANKS``."""
    if purpose not in RANKS:
        raise Bug("bug.purpose", f"no such purpose: {purpose!r}")
    return RANKS[purpose]


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What one account may cost, and how patient we are with it. Times in seconds.

    ``per_second``: calls a second, evenly spaced. ``in_flight``: calls at the same time. ``per_day``: calls of the account's
    calendar day (None: not known, not limited); the last ``reserve`` are for others (``policy.shares``). ``count_block``: calls
    claimed in the ledger at a time; a crash forgets at most so many unused ones, and never one that was made.
    ``timeout_s``: longest wait for one answer. ``tries_max``: tries of one call; ``retry_first_s`` doubles up to
    ``retry_max_s``, and a longer wish of the CRM ends the conversation until then. ``burst_wait_s``: pause after a "too many
    calls" that names none. ``breaker_faults`` in a row leave the account alone for ``breaker_open_s``, doubling up to
    ``breaker_open_max_s``. ``sign_in_ahead_s``: how long before its end a token is renewed.
    """

    per_second: float
    in_flight: int = 8
    per_day: int | None = None
    reserve: int = 0
    count_block: int = COUNT_BLOCK
    timeout_s: float = 30.0
    tries_max: int = 5
    retry_first_s: float = 0.5
    retry_max_s: float = 60.0
    burst_wait_s: float = 1.0
    breaker_faults: int = 10
    breaker_open_s: float = 30.0
    breaker_open_max_s: float = 900.0
    sign_in_ahead_s: float = 120.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Exchange:
    """One call of one conversation with the answer that the talk was given, for recorders and simulations.

    ``conversation`` is unique in the rim and the same in an equal run; ``ordinal`` counts its calls from 0. ``tries``: requests
    that it took. The credentials are in neither part, and sign-in is never shown.
    """

    conversation: str
    ordinal: int
    call: Call
    reply: HttpReply | NoReply
    tries: int


@dataclass(frozen=True, slots=True, kw_only=True)
class RimState:
    """How an account's rim is now, for status and metrics; times are epoch microseconds, 0: none.

    ``pace``: share of the allowed rate that is used since the CRM last said "too many"; ``window``: calls that may be in flight.
    ``calls``: requests sent; ``repeats``: those that repeated an earlier one. ``calls_left_day`` None: not known.
    """

    signed_in: bool
    signed_in_until_us: int
    breaker: Literal["closed", "open", "half-open"]
    breaker_until_us: int
    paused_until_us: int
    pace: float
    window: int
    in_flight: int
    waiting: int
    calls: int
    repeats: int
    calls_today: int
    calls_left_day: int | None
    quota_until_us: int
    skew_us: int


class NotSent(Exception):
    """A transport's word: nothing of the request left us.

    ``reason`` is a code; ``forbidden``: our own rules keep it back, so trying again is no use.
    """

    def __init__(self, reason: str, *, forbidden: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.forbidden = forbidden


class AnswerLost(Exception):
    """A transport's word: the request may have arrived, and no whole answer came.

    ``reason`` is a code; ``hopeless``: the same call would end the same way (its answer is too large, say).
    """

    def __init__(self, reason: str, *, hopeless: bool = False) -> None:
        super().__init__(reason)
        self.reason = reason
        self.hopeless = hopeless


@dataclass(frozen=True, slots=True, kw_only=True)
class Miss:
    """One try of a call brought no usable answer.

    ``sent``: it may have taken effect. ``wait_s``: the least wait before another try; None: no other try now, the fault stands.
    ``counted`` False: the try does not count as one (the sign-in was stale).
    """

    fault: BridgeError
    sent: bool = False
    wait_s: float | None = None
    counted: bool = True


def retry_at_us(fault: BridgeError, now_us: int) -> int:
    """When it makes sense to try again after ``fault``."""
    return max(now_us, fault.retry_at_us) if isinstance(fault, CrmUnavailable) else now_us


def gravity(fault: BridgeError) -> int:
    """How much a fault matters beside others of the same moment: a later wish outlasts an earlier one, a stop everything."""
    if isinstance(fault, CrmUnavailable):
        return 1 if isinstance(fault, QuotaExhausted) else 0
    return 2
