"""The meter: what this process has done since it began, as counters and one histogram.

It keeps its numbers itself: the client library's own counters hold locks and can be switched process-wide, and nothing here is
global. The label values are bounded: tenants by the configuration, feeds by the adapters, everything else by this program.
"""

from __future__ import annotations

from bisect import bisect_left
from typing import TYPE_CHECKING

from prometheus_client.core import CounterMetricFamily, HistogramMetricFamily

if TYPE_CHECKING:
    from collections.abc import Iterator

    from prometheus_client import Metric

    from sales_crm_bridge.gate import Reason
    from sales_crm_bridge.model import Category
    from sales_crm_bridge.observer import IntentResult, Outcome, Step
    from sales_crm_bridge.policy.sight import Book

PREFIX = "sales_crm_bridge_"

BUCKETS_S = (0.01, 0.05, 0.25, 1.0, 5.0, 30.0)
"""Upper bounds of the histogram's buckets, in seconds."""

COUNTERS: dict[str, tuple[str, tuple[str, ...]]] = {
    "intents": (
        "Lead intents read or brought by calls, by what was decided, and why if passed over.",
        ("result", "reason"),
    ),
    "command_outcomes": ("Tries of commands, by what came of them.", ("tenant", "connection", "outcome", "category")),
    "records": ("Records of the CRM looked at, by what they meant.", ("tenant", "connection", "feed", "result")),
    "sweeps_unsettled": ("Sweeps ended though no two of their passes agreed.", ("tenant", "connection", "feed")),
    "facts": ("Facts that left the outbox.", ("result",)),
    "calls": ("Calls of the command service, by how they ended.", ("method", "status")),
    "webhook_deliveries": (
        "Webhook deliveries, by the status they were answered with.",
        ("tenant", "connection", "status"),
    ),
    "http_connections_cut": (
        "Connections to this process that were cut off, because they were too slow or others needed the room.",
        ("why",),
    ),
    "notices_heard": ("Notices of webhooks put into the ledger.", ("tenant", "connection")),
}
"""Every counter that is kept here: its meaning and its labels."""

Labels = tuple[str, ...]


class Meter:
    """``observer.Observer``, and what the HTTP side itself counts."""

    def __init__(self) -> None:
        self._counts: dict[str, dict[Labels, int]] = {name: {} for name in COUNTERS}
        self._counts["http_connections_cut"] = {("slow",): 0, ("room",): 0}
        self._times: dict[str, list[int]] = {}
        self._sums: dict[str, float] = {}

    # --- what the rooms tell ------------------------------------------------------------------------------------------

    def account(self, tenant: str, connection: str) -> AccountMeter:
        """See ``observer.Observer``."""
        return AccountMeter(self, tenant, connection)

    def intents(self, result: IntentResult, number: int, reason: Reason | None = None) -> None:
        """See ``observer.Observer``."""
        self.count("intents", (result, reason.value if reason is not None else ""), number)

    def facts(self, published: int, refused: int) -> None:
        """See ``observer.Observer``."""
        self.count("facts", ("published",), published)
        self.count("facts", ("refused",), refused)

    def called(self, method: str, status: str) -> None:
        """See ``observer.Observer``."""
        self.count("calls", (method, status))

    def took(self, step: Step, seconds: float) -> None:
        """See ``observer.Observer``."""
        counts = self._times.setdefault(step, [0] * (len(BUCKETS_S) + 1))
        counts[bisect_left(BUCKETS_S, seconds)] += 1
        self._sums[step] = self._sums.get(step, 0.0) + seconds

    # --- what the HTTP side tells -------------------------------------------------------------------------------------

    def delivery(self, tenant: str, connection: str, status: int) -> None:
        """A delivery was answered; the names are "" where there is no such connection."""
        self.count("webhook_deliveries", (tenant, connection, str(status)))

    def cut(self, why: str) -> None:
        """A connection was cut off: it was too ``slow``, or others needed the ``room``."""
        self.count("http_connections_cut", (why,))

    def heard(self, tenant: str, connection: str, notices: int) -> None:
        """So many notices are in the ledger."""
        self.count("notices_heard", (tenant, connection), notices)

    def count(self, name: str, labels: Labels, number: int = 1) -> None:
        """Add to a counter of ``COUNTERS``."""
        counts = self._counts[name]
        counts[labels] = counts.get(labels, 0) + number

    # --- what is read -------------------------------------------------------------------------------------------------

    def families(self) -> Iterator[Metric]:
        """Everything counted, for the exposition."""
        for name, (text, labels) in COUNTERS.items():
            family = CounterMetricFamily(PREFIX + name, text, labels=labels)
            for values, number in sorted(self._counts[name].items()):
                family.add_metric(values, number)
            yield family
        steps = HistogramMetricFamily(PREFIX + "step_seconds", "How long the steps of the work took.", labels=("step",))
        for step, counts in sorted(self._times.items()):
            total = 0
            buckets = []
            for bound, number in zip((*map(str, BUCKETS_S), "+Inf"), counts, strict=True):
                total += number
                buckets.append((bound, total))
            steps.add_metric((step,), buckets, self._sums[step])
        yield steps


class AccountMeter:
    """``observer.AccountObserver``."""

    def __init__(self, meter: Meter, tenant: str, connection: str) -> None:
        self._meter = meter
        self._account = (tenant, connection)

    def ended(self, outcome: Outcome, category: Category | None) -> None:
        """See ``observer.AccountObserver``."""
        why = category.value if category is not None else ""
        self._meter.count("command_outcomes", (*self._account, outcome, why))

    def saw(self, feed: str, book: Book, unchanged: int) -> None:
        """See ``observer.AccountObserver``."""
        numbers = {
            "changed": book.changed,
            "unchanged": book.unchanged + unchanged,
            "removed": book.removed,
            "stale": book.stale,
        }
        for result, number in numbers.items():
            self._meter.count("records", (*self._account, feed, result), number)

    def unsettled(self, feed: str) -> None:
        """See ``observer.AccountObserver``."""
        self._meter.count("sweeps_unsettled", (*self._account, feed))

    def took(self, step: Step, seconds: float) -> None:
        """See ``observer.AccountObserver``."""
        self._meter.took(step, seconds)
