"""What people see on a terminal: tables and progress, plain where it is piped. Nothing here holds a person's data.

On a terminal: tables as wide as it is, or one block a row where it is too narrow for them; colours unless ``NO_COLOR`` is set.
Elsewhere: one line a row with tabs between the cells, for grep, cut and awk.
"""

from __future__ import annotations

from contextlib import contextmanager
from datetime import datetime
from itertools import groupby
from typing import TYPE_CHECKING, Any

from rich.cells import cell_len
from rich.console import Console as RichConsole
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TaskID, TextColumn, TimeElapsedColumn
from rich.table import Table
from rich.text import Text

from sales_crm_bridge.gate import decision_table
from sales_crm_bridge.observe import plain
from sales_crm_bridge.units import duration_text, time_text

if TYPE_CHECKING:
    from collections.abc import Iterator, Mapping, Sequence

    from sales_crm_bridge.checkup import CheckReport
    from sales_crm_bridge.errors import Finding
    from sales_crm_bridge.gate import Ownership
    from sales_crm_bridge.once import SyncOutcome
    from sales_crm_bridge.trying.shown import ShownCall, ShownRecord, Trial

_COLOURS = {
    "ok": "green",
    "quota": "yellow",
    "paused": "yellow",
    "unavailable": "yellow",
    "stopped": "red",
    "new": "dim",
}


NO_REMEDY = "none is needed: it is tried again by itself"

_WORD = 16
"""Cells: a longer word (a digest, an id) may be folded."""


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
            self._tasks[key] = self._progress.add_task(plain(f"{tenant} {feed}"), total=total)
        self._progress.update(self._tasks[key], completed=read)


class Console:
    """Prints for people on standard output; ``as_json``: prints nothing but what machines are given elsewhere."""

    def __init__(self, *, as_json: bool = False) -> None:
        self.as_json = as_json
        self._out = RichConsole(highlight=False, quiet=as_json)
        self._err = RichConsole(stderr=True, highlight=False)

    def say(self, text: str, style: str = "") -> None:
        """One line of text."""
        self._line(Text(plain(text), style=style))

    def heading(self, text: str) -> None:
        """The line above what belongs together."""
        self._line(Text(plain(text), style="bold"))

    def table(self, title: str, columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
        """A table of short texts under its title; a cell is a text, or a ``Text`` with its colour."""
        self.heading(title)
        cells = [[_cell(cell) for cell in row] for row in rows]
        if not self._out.is_terminal:
            for row in ([Text(name) for name in columns], *cells):
                self._line(Text("\t").join(row))
            return
        widths = [_readable([name, *(row[place].plain for row in cells)]) for place, name in enumerate(columns)]
        if sum(widths) + 3 * len(columns) + 1 > self._out.width:
            self._blocks(columns, cells)
            return
        table = Table(header_style="bold")
        for column, width in zip(columns, widths, strict=True):
            table.add_column(column, overflow="fold", min_width=width)
        for row in cells:
            table.add_row(*row)
        self._out.print(table)

    def _blocks(self, columns: Sequence[str], cells: Sequence[Sequence[Text]]) -> None:
        """The rows of a table for which the terminal is too narrow, each as a block of lines."""
        for row in cells:
            for number, (name, cell) in enumerate(zip(columns, row, strict=True)):
                self._out.print(Text.assemble("  " if number else "- ", (f"{name}: ", "dim"), cell))

    def _line(self, text: Text) -> None:
        if self._out.is_terminal:
            self._out.print(text, soft_wrap=True)
        elif not self._out.quiet:
            # rich makes blanks of tabs.
            self._out.file.write(f"{text.plain}\n")
            self._out.file.flush()

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
        asked = list(dict.fromkeys(what for one in report.tenants for what, _ in one.lines))
        if report.tenants:
            told = [(one.tenant, dict(one.lines)) for one in report.tenants]
            rows = [[tenant, *(lines.get(what, "") for what in asked)] for tenant, lines in told]
            self.table("tenants", ("tenant", *asked), rows)
        self.findings(report.findings)
        if not report.findings:
            self.say("no problems found", "green")

    def findings(self, findings: Sequence[Finding]) -> None:
        """Every finding with its code, place and remedy, under the file or thing in which it is."""
        ordered = sorted(findings, key=lambda one: (one.place, one.code))
        for file, group in groupby(ordered, key=lambda one: one.place.file):
            here = list(group)
            self.heading(f"{file}: {_count(len(here), 'problem')}")
            for one in here:
                self.fault(one.code, str(one.place), one.message, one.remedy)
        if ordered:
            self.heading(f"{_count(len(ordered), 'problem')} in all")

    def trial(self, trial: Trial) -> None:
        """What ``adapter try`` called, would call, and understood."""
        self.table("connection", ("what", "how it is"), trial.lines)
        notes = dict(trial.notes)
        for step, calls in groupby(trial.calls, key=lambda call: call.step):
            self.heading(step)
            for call in calls:
                self._call(call)
            if step in notes:
                self.say(f"  {notes.pop(step)}")
        for step, note in notes.items():
            self.say(f"{step}: {note}")
        for number, record in enumerate(trial.records, 1):
            self._record(number, record)
        for step, fault in trial.faults:
            self.fault(fault.code, step, fault.message, fault.remedy)
        self.findings(trial.findings)
        if not trial.findings and not trial.faults:
            self.say("no problems found; nothing was written", "green")

    def _call(self, call: ShownCall) -> None:
        self.say(f"  {call.method} {call.target} → {call.answer}", "" if call.made else "yellow")
        for name, value in call.headers:
            self.say(f"    {name}: {value}", "dim")
        if call.body:
            self.say(f"    {call.body}", "dim")

    def _record(self, number: int, record: ShownRecord) -> None:
        about = ", ".join(f"{what} {how}" for what, how in record.about)
        self.table(f"record {number}, from {record.feed}: {about}", ("field", "value", "in the CRM"), record.fields)
        for name, crm, code, meaning in record.misfits:
            self._line(Text.assemble((f"[{code}]", "bold yellow"), plain(f" {name} ({crm}): {meaning}")))
        if record.raw:
            self.say(f"  {record.raw}", "dim")

    def sync(self, outcome: SyncOutcome) -> None:
        """What ``sync --once`` did."""
        rows = [
            (
                one.tenant,
                one.read,
                one.changed,
                one.removed,
                Text("read to the end", "green") if one.trouble is None else one.trouble.code,
            )
            for one in outcome.tenants
        ]
        self.table("sync", ("tenant", "read", "changed", "removed", "outcome"), rows)
        self.say(f"{outcome.published} facts published, {outcome.waiting} waiting")
        for what, trouble in (*((one.tenant, one.trouble) for one in outcome.tenants), ("facts", outcome.trouble)):
            if trouble is not None:
                self.fault(trouble.code, what, trouble.message, trouble.remedy or "none is needed: try again later")

    def status(self, report: Mapping[str, Any], *, clear: bool = False) -> None:
        """How every connection stands, how far each of its feeds is read, and what a person must do."""
        if clear and self._out.is_terminal:
            self._out.clear()
        connections = report["connections"]
        rows = [
            (
                one["tenant"],
                f"{one['crm']}/{one['account']}",
                Text(one["state"], _COLOURS.get(one["state"], "")),
                _moment(one["since"]) if one["since"] else "",
                leads_text(one["leads"]),
                one["holder"][:8] or "nobody",
                *(_warned(one["commands"][name], name != "open") for name in ("open", "unknown", "parked")),
                _warned(one["dead_letters"]),
                _warned(one["gaps"]),
            )
            for one in connections
        ]
        counts = ("open", "unknown", "parked", "dead letters", "gaps")
        columns = ("tenant", "account", "state", "since", "leads", "held by", *counts)
        self.table(f"connections at {_moment(report['at'])}", columns, rows)
        feeds = [
            _feed(one["tenant"], name, feed, report["at"])
            for one in connections
            for name, feed in one["feeds"].items()
            if feed
        ]
        if feeds:
            self.table("feeds", ("tenant", "feed", "run", "now", "read up to", "next", "failures"), feeds)
        outbox, processes = report["outbox"], report["processes"]
        oldest = f", the oldest for {duration_text(outbox['oldest_s'])}" if outbox["facts"] else ""
        self.say(f"outbox: {_count(outbox['facts'], 'fact')}{oldest}")
        self.say(f"processes: {len(processes)}{''.join(f' {name[:8]}' for name in processes)}")
        self.say(f"dead letters: {report['dead_letters']}, matches: {report['matches']}, gaps: {report['gaps']}")
        self._wrong(report)

    def _wrong(self, report: Mapping[str, Any]) -> None:
        """What is wrong, worst first: stopped connections, refused files, dead letters by tenant and code, open gaps."""
        for one in report["connections"]:
            if one["code"]:
                self.fault(one["code"], one["tenant"], one["message"], one["remedy"] or NO_REMEDY)
        # Every process tells what it refuses: one file is one problem, however many look at it.
        files: dict[tuple[str, str, str, str], list[str]] = {}
        for one in report["refused"]:
            what = (one["code"], one["place"], one["message"], one["remedy"])
            files.setdefault(what, []).append(one["since"])
        if files:
            self.heading(
                f"refused tenant files: {_count(len(files), 'problem')}; what was accepted before stays in force"
            )
        for (code, place, message, remedy), since in files.items():
            by = _count(len(since), "process", "processes")
            self.fault(code, place, f"{message} (refused by {by} since {_moment(min(since))})", remedy)
        if report["letters"]:
            self.heading(f"{_count(report['dead_letters'], 'dead letter')}, the newest of each code")
        for one in report["letters"]:
            number = _count(one["count"], "dead letter")
            told = f"{number} since {_moment(one['since'])}: {one['message']}"
            self.fault(one["code"], one["tenant"] or "no known tenant", told, one["remedy"])
        if report["open_gaps"]:
            self.heading(_count(len(report["open_gaps"]), "open gap"))
        for one in report["open_gaps"]:
            place = f"{one['tenant']}/{one['connection']} {one['feed']}"
            self.fault(one["code"], place, f"open since {_moment(one['since'])}: {one['cause']}", one["remedy"])
        self._quarantines(report)

    def _quarantines(self, report: Mapping[str, Any]) -> None:
        """Fields that the CRM no longer has as the tenant's file maps them."""
        found = report["quarantines"]
        if found:
            self.heading(f"{_count(len(found), 'quarantined field')}: neither read nor written meanwhile")
        for one in found:
            told = f"{one['tenant']} {one['field']} since {_moment(one['since'])}: {one['message']}"
            self.fault(one["code"], one["place"], told, one["remedy"])

    def fault(self, code: str, place: str, message: str, remedy: str) -> None:
        """One problem with its code, place and remedy."""
        self._line(Text.assemble((f"[{plain(code)}]", "bold red"), plain(f" {place}: {message}")))
        if remedy:
            self.say(f"  Fix: {remedy}")

    def gate(self, owners: Sequence[Ownership]) -> None:
        """Who handles which Lead intents."""
        for ownership in owners:
            rows = [
                (
                    "the beginning" if row.from_us is None else time_text(row.from_us),
                    "open end" if row.until_us is None else time_text(row.until_us),
                    "this bridge" if row.owner == "crm" else "the Sales domain",
                    row.why,
                )
                for row in decision_table(ownership)
            ]
            self.table(
                f"Lead intents of {ownership.tenant}, by their own time",
                ("from", "until", "handled by", "because of"),
                rows,
            )

    def tenants(self, rows: Sequence[Mapping[str, object]]) -> None:
        """The tenants that the ledger has accepted."""
        columns = ("tenant", "connection", "crm", "account", "accepted", "retired")
        self.table("tenants", columns, [[row[name] for name in columns] for row in rows])


def _cell(cell: object) -> Text:
    return Text(plain(cell.plain), cell.style) if isinstance(cell, Text) else Text(plain(cell))


def _readable(texts: Sequence[str]) -> int:
    """The width at which a column can still be read: its longest word stands on one line, unless that word is very long."""
    return min(_WORD, max((cell_len(word) for text in texts for word in text.split()), default=1))


def _count(number: int, thing: str, things: str = "") -> str:
    return f"{number} {thing if number == 1 else things or thing + 's'}"


def _moment(time: str) -> str:
    """A time of a report, to the second."""
    return f"{time[:19]}Z"


def _warned(number: int, bad: bool = True) -> Text:  # noqa: FBT001, FBT002 - a colour, not a mode
    return Text(str(number), "yellow" if number and bad else "")


def leads_text(leads: Mapping[str, str]) -> str:
    """Whose the leads are and will be, as ``observe.report`` says: ``domain, crm from 2026-12-05T06:00:00Z``."""
    if not leads:
        return ""
    return leads["owner"] + (f", {leads['next']} from {leads['from']}" if leads["next"] else "")


def _feed(tenant: str, name: str, feed: Mapping[str, Any], at: str) -> tuple[object, ...]:
    behind_s = 0.0
    if feed["read_to"]:
        behind_s = (datetime.fromisoformat(at) - datetime.fromisoformat(feed["read_to"])).total_seconds()
    failures = feed["failures"]
    return (
        tenant,
        name,
        feed["run"],
        "reading" if feed["running"] else "at rest",
        f"{duration_text(max(0, round(behind_s)))} ago" if feed["read_to"] else "the beginning",
        f"in {duration_text(round(feed['due_in_s']))}" if feed["due_in_s"] else "now",
        _warned(failures),
    )
