"""Gauges: the ledger's census, and this process's own state, as metrics.

What comes from the census is the same in every process; what comes from a worker is told by the one that holds the lease.
``docs/operations.md`` lists them all.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily

from sales_crm_bridge.keeper import PROCESS
from sales_crm_bridge.observe import age_s, holders_of
from sales_crm_bridge.policy import walks
from sales_crm_bridge.state import lease_name
from sales_crm_bridge.web.meter import PREFIX

if TYPE_CHECKING:
    from collections.abc import Iterable, Iterator, Mapping, Sequence

    from prometheus_client import Metric

    from sales_crm_bridge.errors import Finding
    from sales_crm_bridge.rim.terms import RimState
    from sales_crm_bridge.state import Census, ConnectionRow

CONNECTION_STATES = ("new", "ok", "quota", "paused", "unavailable", "stopped")
BREAKER_STATES = ("closed", "half-open", "open")
SHARED_LEASES = ("relay", "house")
RETIRED, OTHER_CONNECTION = "retired", "other-connection"
"""Why a connection is out of force: its tenant is retired, or has another connection now."""

Sample = tuple[tuple[str, ...], float]

_ACCOUNT = ("tenant", "connection")
_FEED = (*_ACCOUNT, "feed")


def _gauge(name: str, text: str, labels: Sequence[str] = (), samples: Iterable[Sample] = ()) -> GaugeMetricFamily:
    family = GaugeMetricFamily(PREFIX + name, text, labels=labels)
    for values, number in samples:
        family.add_metric(values, number)
    return family


def alone(name: str, text: str, value: float) -> GaugeMetricFamily:
    """A gauge without labels."""
    return _gauge(name, text, samples=[((), value)])


def of_process(*, version: str, ready: bool, kafka: bool, findings: Iterable[Finding]) -> Iterator[Metric]:
    """What this process says of itself."""
    codes: dict[str, int] = {}
    for finding in findings:
        codes[finding.code] = codes.get(finding.code, 0) + 1
    yield _gauge("build_info", "The program's version.", ("version",), [((version,), 1)])
    yield alone("ready", "Whether /readyz answers 200.", ready)
    yield alone("kafka_up", "Whether Kafka answered when it was asked last.", kafka)
    refused = [((code,), float(number)) for code, number in sorted(codes.items())]
    yield _gauge("config_findings", "Problems of tenant files that this process refuses.", ("code",), refused)


def of_rims(rims: Mapping[tuple[str, str], RimState], now_us: int) -> Iterator[Metric]:
    """How the CRMs of the accounts that this process works for are found."""
    found = sorted(rims.items())

    def each(value: str, *, scale: float = 1.0) -> list[Sample]:
        return [(account, getattr(rim, value) * scale) for account, rim in found]

    yield _gauge("crm_signed_in", "Whether a sign-in holds.", _ACCOUNT, each("signed_in"))
    breakers = [((*account, state), float(rim.breaker == state)) for account, rim in found for state in BREAKER_STATES]
    yield _gauge("crm_breaker", "The breaker: 1 for the state it is in.", (*_ACCOUNT, "state"), breakers)
    paused = [(account, float(rim.paused_until_us > now_us)) for account, rim in found]
    yield _gauge("crm_paused", "Whether the account pauses because the CRM said: too many calls.", _ACCOUNT, paused)
    yield _gauge("crm_calls_today", "Calls used of the account's day.", _ACCOUNT, each("calls_today"))
    left = [(account, float(rim.calls_left_day)) for account, rim in found if rim.calls_left_day is not None]
    yield _gauge("crm_calls_left_day", "Calls left of the account's day, where its limit is known.", _ACCOUNT, left)
    yield _gauge("crm_calls_in_flight", "Calls under way.", _ACCOUNT, each("in_flight"))
    yield _gauge("crm_calls_waiting", "Calls that wait for their turn.", _ACCOUNT, each("waiting"))
    skew = each("skew_us", scale=1e-6)
    yield _gauge("crm_clock_skew_seconds", "How far the CRM's clock is ahead of ours.", _ACCOUNT, skew)
    for name, text, value in (
        ("crm_calls", "Requests sent to the CRM.", "calls"),
        ("crm_call_repeats", "Requests that repeated an earlier one.", "repeats"),
    ):
        counter = CounterMetricFamily(PREFIX + name, text, labels=_ACCOUNT)
        for account, rim in found:
            counter.add_metric(account, getattr(rim, value))
        yield counter


def of_census(census: Census, now_us: int) -> Iterator[Metric]:
    """How everything stands in the ledger."""
    holders = holders_of(census.leases, now_us)
    yield alone("processes", "Live processes of the deployment.", sum(name.startswith(PROCESS) for name in holders))
    shared = [((name,), float(name in holders)) for name in SHARED_LEASES]
    yield _gauge("lease_held", "Whether some live process does the deployment's common work.", ("lease",), shared)
    yield from _connections(census, holders, now_us)
    yield from _feeds(census, now_us)
    yield from _queues(census, now_us)
    yield from _out_of_force(census, now_us)
    yield from _wrongs(census, now_us)


def _connections(census: Census, holders: Mapping[str, str], now_us: int) -> Iterator[Metric]:
    rows = census.connections
    held = [(_of(row), float(lease_name(row.tenant, row.name) in holders)) for row in rows]
    yield _gauge("connection_held", "Whether some live process works for the account.", _ACCOUNT, held)
    states = [
        ((*_of(row), row.adapter, state), float(row.state == state)) for row in rows for state in CONNECTION_STATES
    ]
    yield _gauge("connection_state", "1 for the state the connection is in.", (*_ACCOUNT, "crm", "state"), states)
    ages = [(_of(row), age_s(row.since_us, now_us)) for row in rows]
    yield _gauge("connection_state_age_seconds", "Since when it is in that state.", _ACCOUNT, ages)


def _feeds(census: Census, now_us: int) -> Iterator[Metric]:
    found = [
        ((*_of(row), name), standing)
        for row in census.connections
        for name, data in sorted(census.positions.get(row.conn, {}).items())
        if (standing := walks.decode(data)) is not None
    ]
    lag = [(feed, age_s(standing.begun_us, now_us)) for feed, standing in found]
    yield _gauge("feed_lag_seconds", "How long ago that is up to which the feed is read.", _FEED, lag)
    overdue = [(feed, age_s(standing.due_us, now_us)) for feed, standing in found]
    yield _gauge("feed_overdue_seconds", "How long ago the feed's next step was due.", _FEED, overdue)
    failures = [(feed, float(standing.failures)) for feed, standing in found]
    yield _gauge("feed_failures", "Failures of the feed in a row.", _FEED, failures)
    running = [(feed, float(standing.position is not None or standing.absent is not None)) for feed, standing in found]
    yield _gauge("feed_running", "Whether the feed is in the middle of a run.", _FEED, running)


def _queues(census: Census, now_us: int) -> Iterator[Metric]:
    rows = census.connections
    states: list[Sample] = []
    oldest: list[Sample] = []
    for row in rows:
        count = census.commands.get(row.conn)
        numbers = {
            "waiting": count.open - count.unknown if count else 0,
            "unknown": count.unknown if count else 0,
            "parked": count.parked if count else 0,
            "held": census.held.get(row.conn, 0),
        }
        states += [((*_of(row), state), float(number)) for state, number in numbers.items()]
        oldest.append((_of(row), age_s(count.oldest_us if count else 0, now_us)))
    yield _gauge("commands", "Commands that are not final.", (*_ACCOUNT, "state"), states)
    yield _gauge("commands_oldest_age_seconds", "Since when the oldest open intent was uttered.", _ACCOUNT, oldest)
    for name, what, queues in (
        ("outbox_facts", "Facts that Kafka has not acknowledged.", census.outbox),
        ("notices", "Notices of webhooks that are not read back yet.", census.notices),
        ("matches", "Creates that wait until a person has decided whether a record is their lead.", census.matches),
    ):
        waiting = {row: queues.get(row.conn) for row in rows}
        numbers_of = [(_of(row), float(queue.number if queue else 0)) for row, queue in waiting.items()]
        ages = [(_of(row), age_s(queue.since_us if queue else 0, now_us)) for row, queue in waiting.items()]
        yield _gauge(name, what, _ACCOUNT, numbers_of)
        yield _gauge(
            f"{name.removesuffix('_facts')}_oldest_age_seconds", "Since when the oldest of them waits.", _ACCOUNT, ages
        )


def _out_of_force(census: Census, now_us: int) -> Iterator[Metric]:
    """Commands that nobody carries out, since their connection is out of force. ``status`` names them.

    Not by tenant: there may be any number of retired ones, and a series for each would be kept for ever.
    """
    names: list[Sample] = []
    states: list[Sample] = []
    oldest: list[Sample] = []
    for why in (RETIRED, OTHER_CONNECTION):
        conns = [row.conn for row in census.left if (why == RETIRED) == bool(row.since_us)]
        counts = [census.commands[conn] for conn in conns if conn in census.commands]
        numbers = {
            "waiting": sum(count.open - count.unknown for count in counts),
            "unknown": sum(count.unknown for count in counts),
            "parked": sum(count.parked for count in counts),
        }
        names.append(((why,), float(len(counts))))
        states += [((why, state), float(number)) for state, number in numbers.items()]
        since_us = min((count.oldest_us for count in counts if count.open), default=0)
        oldest.append(((why,), age_s(since_us, now_us)))
    text = "Connections out of force for which there are commands that are not final."
    yield _gauge("out_of_force_connections", text, ("why",), names)
    text = "Commands of connections out of force that are not final."
    yield _gauge("out_of_force_commands", text, ("why", "state"), states)
    text = "Since when the oldest open intent of them was uttered."
    yield _gauge("out_of_force_oldest_age_seconds", text, ("why",), oldest)


def _wrongs(census: Census, now_us: int) -> Iterator[Metric]:
    known = frozenset(census.tenants)
    letters: dict[tuple[str, str], float] = {}
    for letter in census.letters:
        # A message may name a tenant that there is not: such names are not ours to bound.
        key = (letter.tenant if letter.tenant in known else "", letter.code)
        letters[key] = letters.get(key, 0.0) + letter.number
    yield _gauge(
        "dead_letters", "Messages and commands that need a person.", ("tenant", "code"), sorted(letters.items())
    )
    names = {row.conn: row for row in census.connections}
    gaps: dict[tuple[str, ...], list[int]] = {}
    for gap in census.gaps:
        if gap.conn in names:
            gaps.setdefault((*_of(names[gap.conn]), gap.feed), []).append(gap.opened_us)
    numbers = [(feed, float(len(opened))) for feed, opened in sorted(gaps.items())]
    yield _gauge("gaps_open", "Intervals that are not proven read.", _FEED, numbers)
    fields: dict[tuple[str, ...], float] = {}
    for one in census.quarantines:
        if one.conn in names:
            what = (*_of(names[one.conn]), one.field, one.cause.value)
            fields[what] = fields.get(what, 0.0) + 1
    text = "Fields, or values of them, that no longer fit the tenant's file."
    yield _gauge("fields_quarantined", text, (*_ACCOUNT, "field", "cause"), sorted(fields.items()))
    ages = [(feed, age_s(min(opened), now_us)) for feed, opened in sorted(gaps.items())]
    yield _gauge("gaps_oldest_age_seconds", "Since when the oldest of them is open.", _FEED, ages)


def _of(row: ConnectionRow) -> tuple[str, str]:
    return (row.tenant, row.name)
