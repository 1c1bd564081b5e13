"""HubSpot's words for what goes wrong outside the account's own rules, and ready-made faults."""

from __future__ import annotations

from http import HTTPStatus

from sales_crm_bridge.sandbox.faults import Fault, FaultKind
from sales_crm_bridge.sandbox.hubspot.api import JSON_HEADER
from sales_crm_bridge.sandbox.hubspot.limits import BURST, DAY, limit_reached
from sales_crm_bridge.sandbox.hubspot.refusals import Refusal

_EDGE = (502, 504, 520, 521, 522, 523, 524)
"""Statuses that come from the network's edge, as a page."""


def worded(fault: Fault, correlation: str) -> tuple[int, list[tuple[str, str]], bytes]:
    """Status, headers and body of a fault of a STATUS kind; ``fault.reply`` wins."""
    status = fault.status
    if fault.reply is not None:
        return status, [JSON_HEADER], fault.reply
    if status in _EDGE:
        page = f"<html>\r\n<head><title>{status}</title></head>\r\n<body><center><h1>{status}</h1></center></body>\r\n</html>\r\n"
        return status, [("content-type", "text/html")], page.encode()
    refusal = {
        401: Refusal(401, "INVALID_AUTHENTICATION", "Authentication credentials not found."),
        423: Refusal(423, "LOCKED", "The record is locked by another operation."),
        429: limit_reached(BURST),
        477: Refusal(477, "MIGRATION_IN_PROGRESS", "This account is being migrated to another data centre."),
    }.get(
        status,
        Refusal(
            status, None, "internal error" if status == HTTPStatus.INTERNAL_SERVER_ERROR else "service unavailable"
        ),
    )
    return status, [JSON_HEADER], refusal.body(correlation)


def throttled(times: int | None = 1, path: str = "*", policy: str = BURST) -> Fault:
    """429 of one policy, whatever the counters say."""
    reply = limit_reached(policy).body("00000000-5a4d-4b0c-8f00-000000000000")
    return Fault(FaultKind.STATUS, path=path, times=times, status=429, reply=reply)


def daily_limit(times: int | None = 1) -> Fault:
    """429 because the day's calls are used up."""
    return throttled(times, policy=DAY)


def locked(times: int | None = 1, path: str = "*") -> Fault:
    """423: bulk work holds the record."""
    return Fault(FaultKind.STATUS, path=path, times=times, status=423)


def moving(retry_after_s: int, times: int | None = 1) -> Fault:
    """477: the account is moving to another data centre."""
    return Fault(FaultKind.STATUS, times=times, status=477, headers=(("retry-after", str(retry_after_s)),))
