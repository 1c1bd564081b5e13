"""What people see on a terminal: tables and progress, plain where it is piped. Nothing here holds a person's data."""

from __future__ import annotations

from contextlib import contextmanager
from itertools import groupby
from typing import TYPE_CHECKING, Any

from rich.console import Console as RichConsole
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from sales_crm_bridge.gate import decision_table
from sales_crm_bridge.units import time_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sales_crm_bridge.errors import Finding
    from sales_crm_bridge.operate import CheckReport, SyncOutcome
    from sales_crm_bridge.tenants import Tenant

_COLOURS = {"ok": "green", "quota": "yellow", "unavailable": "yellow", "stopped": "red", "new": "dim"}


class Told:
    """Progress of long work: ``tell`` shows how many records of a feed have been read; nothing where nobody looks."""

    def __init__(self, progress: Progress | None) -> None:
        self._progress = progress
        self._tasks: dict[tuple[str, str], TaskID] = {}

    def tell(self, tenant: str, feed: str, read: int, total: int | None = None) -> None:
        """``read`` records of ``feed`` have been read in this run, of ``total`` if that is known."""
        if self._progress is None:
            return
        key = (tenant, feed)
        if key not in self._tasks:
            self._tasks[key] = self._progress.add_task(f"{tenant} {feed}", total=total)
        self._progress.update(self._tasks[key], completed=read)


class Console:
    """Prints for people on standard output; ``as_json``: prints nothing but what machines are given elsewhere."""

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json
        self._out = RichConsole(highlight=False, quiet=as_json)
        self._err = RichConsole(stderr=True, highlight=False)

    def say(self, text: str, style: str = "") -> None:
        """One line of text."""
        self._out.print(Text(text, style=style), soft_wrap=True)

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """A table of short texts; on a pipe, tab-separated lines under a heading."""
        if not self._out.is_terminal:
            self._out.print(Text(title), soft_wrap=True)
            for row in (columns, *rows):
                self._out.print(Text("\t".join(str(cell) for cell in row)), soft_wrap=True)
            return
        table = Table(title=title, title_justify="left", header_style="bold")
        for column in columns:
            table.add_column(column, overflow="fold")
        for row in rows:
            table.add_row(*(cell if isinstance(cell, Text) else str(cell) for cell in row))
        self._out.print(table)

    @contextmanager
    def progress(self) -> Iterator[Told]:
        """A place to tell progress; drawn on standard error where that is a terminal."""
        if self.as_json or not self._err.is_terminal:
            yield Told(None)
            return
        columns = (TextColumn("{task.description}"), BarColumn(), MofNCompleteColumn(), TimeElapsedColumn())
        with Progress(*columns, console=self._err, transient=False) as progress:
            yield Told(progress)

    # --- the verbs ----------------------------------------------------------------------------------------------------

    def check(self, report: CheckReport) -> None:
        """What ``check`` looked at and found."""
        for one in report.tenants:
            self.table(f"tenant {one.tenant}", ("what", "how it is"), one.lines)
        self.findings(report.findings)
        if not report.findings:
            self.say("no problems found", "green")

    def findings(self, findings: Sequence[Finding]) -> None:
        """Every finding with its place and remedy, file by file."""
        ordered = sorted(findings, key=lambda one: (one.place, one.code))
        for _, group in groupby(ordered, key=lambda one: one.place.file):
            for one in group:
                self._out.print(
                    Text.assemble((f"[{one.code}]", "bold red"), f" {one.place}: {one.message}"), soft_wrap=True
                )
                self._out.print(Text(f"  Fix: {one.remedy}"), soft_wrap=True)
        if ordered:
            self.say(f"{len(ordered)} problem{'s' if len(ordered) > 1 else ''}", "bold")

    def sync(self, outcome: SyncOutcome) -> None:
        """What ``sync --once`` did."""
        rows = [
            (one.tenant, one.read, one.changed, one.removed, one.trouble or "read to the end")
            for one in outcome.tenants
        ]
        self.table("sync", ("tenant", "read", "changed", "removed", "outcome"), rows)
        self.say(f"{outcome.published} facts published, {outcome.waiting} waiting")

    def status(self, report: Mapping[str, Any], *, clear: bool = False) -> None:
        """How every connection stands."""
        if clear and self._out.is_terminal:
            self._out.clear()
        rows = []
        for one in report["connections"]:
            failing = [name for name, feed in one["feeds"].items() if feed.get("failures")]
            commands = one["commands"]
            rows.append(
                (
                    one["tenant"],
                    f"{one['crm']}/{one['account']}",
                    Text(one["state"], style=_COLOURS.get(one["state"], "")),
                    one["since"][:19],
                    one["holder"][:8] or "nobody",
                    f"{commands['open']} open, {commands['unknown']} unknown, {commands['parked']} parked",
                    ", ".join(failing) or "all read",
                    f"{one['dead_letters']} / {one['gaps']}",
                )
            )
        columns = ("tenant", "account", "state", "since", "held by", "commands", "feeds", "dead letters / gaps")
        self.table(f"connections at {report['at'][:19]}Z", columns, rows)
        outbox = report["outbox"]
        self.say(
            f"outbox: {outbox['facts']} facts, oldest {outbox['oldest_s']} s; processes: {len(report['processes'])}"
        )
        for one in report["connections"]:
            if one["code"]:
                self.say(f"[{one['code']}] {one['tenant']}: {one['message']}")
                self.say(f"  Fix: {one['remedy'] or 'none is needed: it is tried again by itself'}")

    def gate(self, tenants: Sequence[Tenant]) -> None:
        """Who handles which Lead intents."""
        for tenant in tenants:
            rows = [
                (
                    "the beginning" if row.from_us is None else time_text(row.from_us),
                    "open end" if row.until_us is None else time_text(row.until_us),
                    "this bridge" if row.owner == "crm" else "the Sales domain",
                    row.why,
                )
                for row in decision_table(tenant.ownership)
            ]
            self.table(
                f"Lead intents of {tenant.tenant}, by their own time",
                ("from", "until", "handled by", "because of"),
                rows,
            )

    def tenants(self, rows: Sequence[Mapping[str, object]]) -> None:
        """The tenants that the ledger has accepted."""
        columns = ("tenant", "connection", "crm", "account", "accepted", "retired")
        self.table("tenants", columns, [[row[name] for name in columns] for row in rows])
