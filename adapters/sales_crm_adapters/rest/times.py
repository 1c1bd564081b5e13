"""How a CRM writes moments, and back."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta, timezone
from email.utils import format_datetime, parsedate_to_datetime
from typing import TYPE_CHECKING, Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

if TYPE_CHECKING:
    from datetime import tzinfo

    from sales_crm_adapters.rest.notions import Filter, Times

STEPS_US = {"us": 1, "ms": 1_000, "s": 1_000_000, "m": 60_000_000, "d": 86_400_000_000}
FINEST = {"rfc3339": "us", "datetime": "s", "date": "d", "epoch_s": "s", "epoch_ms": "ms", "http_date": "s"}
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_US = timedelta(microseconds=1)
_MAX_US = 253_402_300_799_999_999
"""The end of the year 9999."""


class TimeForm:
    """One way to write moments. ``step_us``: their grain."""

    def __init__(self, form: Times | Filter) -> None:
        self.format = form.format
        self.step = form.step or FINEST[form.format]
        self.step_us = STEPS_US[self.step]
        self._iso = form.format in ("rfc3339", "datetime", "date")
        self._zone: tzinfo = timezone.utc if form.zone == "UTC" else ZoneInfo(form.zone)  # noqa: UP017 - compared by name

    def read(self, value: Any) -> int:
        """A moment in epoch microseconds. Raises ``ValueError`` for what is not written this way."""
        if self._iso and type(value) is str:
            told = datetime.fromisoformat(value)
            us = _us_of(told if told.tzinfo is not None else told.replace(tzinfo=self._zone))
        elif isinstance(value, bool) or not isinstance(value, str | int | float):
            raise ValueError("not a moment")
        elif self.format in ("epoch_s", "epoch_ms"):
            us = round(float(value) * STEPS_US[self.format.removeprefix("epoch_")])
        elif not isinstance(value, str):
            raise ValueError("not a moment")
        else:
            us = _us_of(parsedate_to_datetime(value))
        if not 0 <= us <= _MAX_US:
            raise ValueError("a moment outside the centuries")
        return us

    def text(self, at_us: int) -> str | int:
        """As the CRM writes it, cut to the grain."""
        at_us -= at_us % self.step_us
        if self.format == "epoch_s":
            return at_us // 1_000_000 if self.step_us >= STEPS_US["s"] else f"{at_us / 1e6:.6f}"
        if self.format == "epoch_ms":
            return at_us // 1_000
        moment = _EPOCH + timedelta(microseconds=at_us)
        if self.format == "http_date":
            return format_datetime(moment, usegmt=True)
        if self.format == "rfc3339":
            spec = {"us": "microseconds", "ms": "milliseconds"}.get(self.step, "seconds")
            return moment.replace(tzinfo=None).isoformat(timespec=spec) + "Z"
        local = moment.astimezone(self._zone).replace(tzinfo=None)
        if self.format == "date":
            return local.date().isoformat()
        spec = {"us": "microseconds", "ms": "milliseconds"}.get(self.step, "seconds")
        return local.isoformat(sep=" ", timespec=spec)


def _us_of(moment: datetime) -> int:
    return (moment - _EPOCH) // _US


def known_zone(name: str) -> bool:
    """Whether there is a time zone of this name."""
    try:
        ZoneInfo(name)
    except (ZoneInfoNotFoundError, ValueError, OSError):
        return False
    return True
