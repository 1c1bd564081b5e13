"""When it makes sense to call again, by what is known: the command's own time, the CRM's pause, quota and breaker, the lease.

gRPC's ``RetryInfo`` tells it to the caller. Where a person must act first nobody knows, and nothing is told.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from sales_crm_bridge.observe import sight_of
from sales_crm_bridge.push import KEY_NOT_KEPT
from sales_crm_bridge.units import time_us

if TYPE_CHECKING:
    from sales_crm_bridge.state import Standing

AGAIN_S = 1.0
"""When a caller should come again at the earliest, and where nothing more is known."""

STOPPED = "stopped"


@dataclass(frozen=True, slots=True, kw_only=True)
class Tenure:
    """How leases are kept: see the settings under ``lease``."""

    ttl_s: float
    renew_s: float


def wait_s(*times_us: int, now_us: int) -> float:
    """Seconds until the last of these times (0: not known), and never less than ``AGAIN_S``."""
    return max(AGAIN_S, (max(times_us, default=0) - now_us) / 1e6)


def open_us(standing: Standing, tenure: Tenure, now_us: int) -> int:
    """From when on the account can be asked again, as far as the ledger tells; 0: nothing is known to stand in the way."""
    return max(_crm_us(standing), _lease_us(standing, tenure, now_us))


def needs_a_person(standing: Standing | None) -> bool:
    """Whether nobody knows when the account can be asked again: rights, consent or account are wrong.

    An account whose CRM does not keep our key goes on all the same.
    """
    return standing is not None and standing.row.state == STOPPED and standing.row.code != KEY_NOT_KEPT


def _crm_us(standing: Standing) -> int:
    """Until when the holder will not call, as it has written down last: quota, pause, breaker."""
    if standing.glance is None:
        return 0
    seen = sight_of(standing.glance.state)
    return max(time_us(text) if text else 0 for text in (seen.quota_until, seen.paused_until, seen.breaker_until))


def _lease_us(standing: Standing, tenure: Tenure, now_us: int) -> int:
    """When another process will have taken the account over; 0: its holder lives, as far as one can see.

    A holder renews every ``renew_s``. Who has missed two of these is taken for gone, and its lease for free from its end on;
    the processes look for free ones as often.
    """
    until_us = standing.lease.until_us if standing.lease is not None else 0
    if until_us >= now_us + (tenure.ttl_s - 2 * tenure.renew_s) * 1e6:
        return 0
    return max(until_us, now_us) + round(tenure.renew_s * 1e6)
