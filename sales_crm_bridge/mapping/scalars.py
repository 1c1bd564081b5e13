"""A CRM's scalars in a canonical form, and the conversions that both directions share."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from decimal import ROUND_FLOOR, Decimal, InvalidOperation
from typing import TYPE_CHECKING

from sales_crm_bridge.mapping.rules import Step, TimeForm

if TYPE_CHECKING:
    from sales_crm_bridge.model import Scalar

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_EXACT = 2**53
_NANO = Decimal("0.000000001")
_INT64 = 2**63


class Misread(Exception):
    """A value that cannot be converted; ``code`` is a misfit's. Never leaves the mapping."""

    def __init__(self, code: str) -> None:
        super().__init__(code)
        self.code = code


def text_of(value: Scalar) -> str:
    """The canonical text: None is "", a whole float loses its point, booleans are ``true`` and ``false``."""
    if isinstance(value, str):
        return value
    if value is None:
        return ""
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, float) and value.is_integer() and abs(value) < _EXACT:
        return str(int(value))
    return str(value)


def bytes_of(value: Scalar) -> bytes:
    """The canonical text in UTF-8; half a surrogate pair, which JSON can hold, is kept as it is."""
    return text_of(value).encode("utf-8", "surrogatepass")


def is_empty(value: Scalar) -> bool:
    """Whether the CRM's field holds nothing."""
    return value is None or value == ""


def number(text: str) -> Decimal:
    """A finite decimal number. Raises ``Misread``."""
    try:
        value = Decimal(text.strip())
    except InvalidOperation:
        raise Misread("bad-number") from None
    if not value.is_finite() or abs(value.adjusted()) > 30:  # noqa: PLR2004 - far outside any amount, and cheap to hold
        raise Misread("bad-number")
    return value


def json_number(value: Decimal) -> int | float:
    """The number as JSON carries it. Raises ``Misread`` when a reader of JSON would see another number."""
    if value == value.to_integral_value():
        return int(value)
    short = float(value)
    if Decimal(repr(short)) != value:
        raise Misread("not-writable-value")
    return short


def money(amount: Decimal) -> tuple[int, int]:
    """Units and billionths of an amount. Raises ``Misread`` when it is finer or larger than the contract's."""
    units = int(amount)
    nanos = (amount - units) / _NANO
    if nanos != nanos.to_integral_value() or not -_INT64 <= units < _INT64:
        raise Misread("bad-number")
    return units, int(nanos)


def amount(units: int, nanos: int) -> Decimal:
    """The amount of a contract's money."""
    return Decimal(units) + Decimal(nanos) * _NANO


def time_of(value: Scalar, form: TimeForm) -> tuple[int, int]:
    """Seconds and nanoseconds since 1970 of a CRM's time. Raises ``Misread``."""
    try:
        if form is TimeForm.RFC3339 or form is TimeForm.DATE:
            moment = datetime.fromisoformat(text_of(value).strip())
            if moment.tzinfo is None:
                if form is TimeForm.RFC3339:
                    raise Misread("bad-time")
                moment = moment.replace(tzinfo=UTC)
            past = moment - _EPOCH
            return past.days * 86_400 + past.seconds, past.microseconds * 1_000
        thousandths = number(text_of(value)) * (1 if form is TimeForm.EPOCH_MS else 1_000)
        seconds = int((thousandths / 1_000).to_integral_value(ROUND_FLOOR))
        _EPOCH + timedelta(seconds=seconds)  # raises if the contract's timestamp could not hold it
        return seconds, int((thousandths - seconds * 1_000) * 1_000_000)
    except (ValueError, OverflowError):
        raise Misread("bad-time") from None


def written_time(seconds: int, nanos: int, form: TimeForm) -> str | int:
    """A time as the CRM writes it, cut to the form's grain (RFC 3339: milliseconds). Raises ``Misread``."""
    if form is TimeForm.EPOCH_S:
        return seconds
    if form is TimeForm.EPOCH_MS:
        return seconds * 1_000 + nanos // 1_000_000
    try:
        moment = _EPOCH + timedelta(seconds=seconds, microseconds=nanos // 1_000)
    except OverflowError:
        raise Misread("not-writable-value") from None
    if form is TimeForm.DATE:
        return moment.date().isoformat()
    grain = "milliseconds" if moment.microsecond else "seconds"
    return moment.isoformat(timespec=grain).replace("+00:00", "Z")


def stepped(text: str, steps: tuple[Step, ...]) -> str:
    """The text after the steps, in order."""
    for step in steps:
        match step:
            case Step.TRIM:
                text = text.strip()
            case Step.LOWER:
                text = text.lower()
            case Step.UPPER:
                text = text.upper()
    return text
