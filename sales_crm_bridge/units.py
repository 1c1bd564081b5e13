"""How people write durations and points in time in the bridge's files, and what the bridge makes of them."""

from __future__ import annotations

import math
import re
from datetime import UTC, datetime, timedelta

FOREVER = "forever"
"""How people write a duration without an end."""

_UNITS_MS = {"d": 86_400_000, "h": 3_600_000, "m": 60_000, "s": 1_000, "ms": 1}
DURATION_PATTERN = r"^(?=.)([0-9]+d)?([0-9]+h)?([0-9]+m(?!s))?([0-9]+(\.[0-9]{1,3})?s)?([0-9]+ms)?$"
TIME_PATTERN = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ][0-9]{2}:[0-9]{2}:[0-9]{2}(\.[0-9]+)?([Zz]|[+-][0-9]{2}:[0-9]{2})$"
_DURATION = re.compile(DURATION_PATTERN.strip("^$"))
_PART = re.compile(r"([0-9.]+)(ms|[dhms])")
_TIME = re.compile(TIME_PATTERN.strip("^$"), re.ASCII)
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_FIRST_US = (datetime.min.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND
_LAST_US = (datetime.max.replace(tzinfo=UTC) - _EPOCH) // _MICROSECOND


def seconds(text: str) -> float:
    """Seconds in a duration such as ``500ms``, ``30s``, ``1h30m`` or ``7d``, exact to the millisecond. Raises ``ValueError``."""
    if _DURATION.fullmatch(text) is None:
        raise ValueError(text)
    total = 0.0
    for number, unit in _PART.findall(text):
        total += float(number) * _UNITS_MS[unit]
    return round(total) / 1000


def duration_text(value_s: float) -> str:
    """The duration as a person writes it (``math.inf``: ``FOREVER``); ``seconds`` reads any other back."""
    if value_s == math.inf:
        return FOREVER
    rest = round(value_s * 1000)
    if rest == 0:
        return "0s"
    parts = []
    for unit, size in _UNITS_MS.items():
        count, rest = divmod(rest, size)
        if count:
            parts.append(f"{count}{unit}")
    return "".join(parts)


def ago_us(now_us: int, value_s: float) -> int:
    """The instant so many seconds (``math.inf``: without end) before ``now_us``, at the earliest 0."""
    return now_us - round(value_s * 1e6) if value_s * 1e6 < now_us else 0


def time_us(text: str) -> int:
    """Epoch microseconds of an RFC 3339 time with a zone; digits past the microsecond are cut.

    Raises ``ValueError``, also for a time that its zone moves out of the years 1 to 9999 of UTC: nobody could write it back.
    """
    if _TIME.fullmatch(text) is None:
        raise ValueError(text)
    value_us = (datetime.fromisoformat(text.upper().replace(" ", "T")) - _EPOCH) // _MICROSECOND
    if not _FIRST_US <= value_us <= _LAST_US:
        raise ValueError(text)
    return value_us


def time_text(value_us: int) -> str:
    """The RFC 3339 time in UTC, for whatever ``time_us`` gives; ``time_us`` reads it back."""
    return (_EPOCH + value_us * _MICROSECOND).isoformat().replace("+00:00", "Z")
