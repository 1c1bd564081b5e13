"""HubSpot's ways to write a moment, from and to epoch milliseconds."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from email.utils import format_datetime
from functools import lru_cache

DAY_MS = 86_400_000
_DIGITS = re.compile(r"-?\d{1,15}")


@lru_cache(maxsize=8192)
def iso(ms: int) -> str:
    """ISO 8601 in UTC with milliseconds, as every answer writes it."""
    return datetime.fromtimestamp(ms // 1000, UTC).strftime("%Y-%m-%dT%H:%M:%S") + f".{ms % 1000:03d}Z"


@lru_cache(maxsize=1024)
def http_date(seconds: int) -> str:
    """The form of the ``Date`` header (RFC 9110, section 5.6.7)."""
    return format_datetime(datetime.fromtimestamp(seconds, UTC), usegmt=True)


def moment_ms(text: str) -> int | None:
    """Read epoch milliseconds or ISO 8601 (a date alone is its midnight in UTC); None if it is neither."""
    if _DIGITS.fullmatch(text):
        return int(text)
    try:
        when = datetime.fromisoformat(text)
    except ValueError:
        return None
    if when.tzinfo is None:
        when = when.replace(tzinfo=UTC)
    return round(when.timestamp() * 1000)


def date_text(ms: int) -> str:
    """The date in UTC, as a ``date`` property holds it."""
    return iso(ms)[:10]
