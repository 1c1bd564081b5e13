"""Durations and times as people write them."""

from __future__ import annotations

import math

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from sales_crm_bridge.units import FOREVER, TIME_PATTERN, ago_us, duration_text, seconds, time_text, time_us


@pytest.mark.parametrize(
    ("text", "value"),
    [
        ("500ms", 0.5),
        ("30s", 30),
        ("1.5s", 1.5),
        ("15m", 900),
        ("1h30m", 5400),
        ("7d", 604_800),
        ("1d2h3m4s5ms", 93_784.005),
    ],
)
def test_a_duration_is_a_number_with_a_unit(text: str, value: float) -> None:
    """Minutes are not milliseconds, and parts add up."""
    assert seconds(text) == value


@pytest.mark.parametrize("text", ["", "30", "s", "-1s", "1s1m", "1 s", "1.5m", "30S", "1e3s", "٣s", "5s\n"])
def test_what_is_no_duration_is_refused(text: str) -> None:
    """No unit, no number, a wrong order, another alphabet."""
    with pytest.raises(ValueError):  # noqa: PT011 - the text itself is the message
        seconds(text)


def test_what_has_no_end_reaches_back_to_the_beginning() -> None:
    """A stretch before now; one that is longer than all time, or has no end, begins at 0; and how the latter is written."""
    now_us = 1_790_000_000_000_000
    assert ago_us(now_us, 1.5) == now_us - 1_500_000
    assert ago_us(now_us, 1e12) == ago_us(now_us, math.inf) == 0
    assert duration_text(math.inf) == FOREVER


@given(st.integers(0, 10**12))
def test_a_duration_is_written_as_it_is_read(milliseconds: int) -> None:
    """seconds(duration_text(x)) == x."""
    assert seconds(duration_text(milliseconds / 1000)) == milliseconds / 1000


@pytest.mark.parametrize(
    "text",
    [
        "2026-01-01",
        "2026-01-01T00:00:00",
        "2026-01-01T00:00Z",
        "2026-13-01T00:00:00Z",
        "now",
        "2026-01-01T00:00:00+0100",
        "2026-01-01T00:00:00Z\n",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-05:00",
    ],
)
def test_what_is_no_time_is_refused(text: str) -> None:
    """RFC 3339, whole, with a zone, and in a year that UTC has too."""
    with pytest.raises(ValueError):  # noqa: PT011 - the text itself is the message
        time_us(text)


def test_zones_and_fractions_count() -> None:
    """One moment, written in three ways; digits past the microsecond are cut."""
    assert (
        time_us("2026-01-01T00:00:00Z") == time_us("2026-01-01T01:00:00+01:00") == time_us("2025-12-31t23:00:00-01:00")
    )
    assert time_us("2026-01-01T00:00:00.1234567Z") == 1_767_225_600_123_456


@given(st.integers(-(10**16), 2 * 10**17))
def test_a_time_is_written_as_it_is_read(value_us: int) -> None:
    """time_us(time_text(x)) == x, to the microsecond."""
    assert time_us(time_text(value_us)) == value_us


YEARS = st.one_of(
    st.sampled_from(["0000", "0001", "1969", "1970", "2026", "9998", "9999"]),
    st.from_regex(r"[0-9]{4}", fullmatch=True),
)
DAYS = st.sampled_from(["01-01", "02-28", "02-29", "12-31"])
HOURS = st.sampled_from(["00:00:00", "00:59:59.9999999", "12:30:00", "23:00:00", "23:59:59.999999", "24:00:00"])
ZONES = st.one_of(st.just("Z"), st.from_regex(r"[+-][0-9]{2}:[0-9]{2}", fullmatch=True))
TIMES = st.builds(lambda year, day, hour, zone: f"{year}-{day}T{hour}{zone}", YEARS, DAYS, HOURS, ZONES)


@given(st.one_of(TIMES, st.from_regex(TIME_PATTERN, fullmatch=True)))
@example("0001-01-01T00:00:00+00:01")
@example("9999-12-31T23:59:59.9999999Z")
def test_whatever_is_accepted_as_a_time_can_be_written(text: str) -> None:
    """At both ends of the calendar, in any zone: refused when it is read, or written and read back later."""
    try:
        value_us = time_us(text)
    except ValueError:
        return
    assert time_us(time_text(value_us)) == value_us
