"""Instants: epoch microseconds in the house, ``Timestamp`` in messages, RFC 3339 text in headers."""

from __future__ import annotations

import re
from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from google.protobuf.timestamp_pb2 import Timestamp

SECONDS_MIN, SECONDS_MAX = -62_135_596_800, 253_402_300_799  # 0001-01-01 … 9999-12-31, what a Timestamp may hold
_NANOS_MAX = 999_999_999
_EPOCH = date(1970, 1, 1)
_RFC3339 = re.compile(
    r"(\d{4}-\d\d-\d\d)[Tt](\d\d:\d\d:\d\d)(?:\.(\d{1,18}))?([Zz]|[+-]\d\d:\d\d)", re.ASCII
)  # more than 9 digits of a second are cut


def set_time(stamp: Timestamp, us: int) -> None:
    """Set a message's timestamp to ``us`` epoch microseconds."""
    seconds, rest = divmod(us, 1_000_000)
    stamp.seconds = seconds
    stamp.nanos = rest * 1000


def us_of(stamp: Timestamp) -> int:
    """Epoch microseconds of a timestamp; what is finer is cut."""
    return stamp.seconds * 1_000_000 + stamp.nanos // 1000


def is_valid(stamp: Timestamp) -> bool:
    """Whether a timestamp is in the range that the type allows."""
    return SECONDS_MIN <= stamp.seconds <= SECONDS_MAX and 0 <= stamp.nanos <= _NANOS_MAX


_TWO = [f"{number:02d}" for number in range(60)]


@lru_cache(maxsize=1024)
def _minute(number: int) -> str:
    day, minute = divmod(number, 1440)
    return f"{_EPOCH + timedelta(days=day)}T{_TWO[minute // 60]}:{_TWO[minute % 60]}:"


def rfc3339(seconds: int, nanos: int) -> str:
    """The instant as text in UTC, with as many digits of a second as it needs: none, 3, 6 or 9."""
    minute, second = divmod(seconds, 60)
    if not nanos:
        digits = ""
    elif nanos % 1_000_000 == 0:
        digits = f".{nanos // 1_000_000:03d}"
    elif nanos % 1000 == 0:
        digits = f".{nanos // 1000:06d}"
    else:
        digits = f".{nanos:09d}"
    return f"{_minute(minute)}{_TWO[second]}{digits}Z"


def parse_rfc3339(text: str) -> tuple[int, int] | None:
    """(seconds, nanos) of an RFC 3339 text; None if it is none, or names no instant of the calendar."""
    match = _RFC3339.fullmatch(text)
    if match is None:
        return None
    day, clock, digits, zone = match.groups()
    try:
        moment = datetime.fromisoformat(f"{day}T{clock}{'+00:00' if zone in 'Zz' else zone}")
        seconds = (moment - datetime(1970, 1, 1, tzinfo=UTC)) // timedelta(seconds=1)
    except (ValueError, OverflowError):
        return None
    return seconds, int((digits or "").ljust(9, "0")[:9])
