"""What a try shows: calls, records, notes, findings and faults, as values."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from sales_crm_bridge.errors import BridgeError, Finding


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownCall:
    """One call: ``step`` says what for, ``answer`` what came of it (``not made``: it would write)."""

    step: str
    method: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: str
    made: bool
    answer: str


@dataclass(frozen=True, slots=True, kw_only=True)
class ShownRecord:
    """One record as the adapter and the mapping understand it.

    ``about``: (what, how it is); ``fields``: (Sales field, Sales value, the CRM fields and their values); ``misfits``: (Sales
    field, CRM field, code, meaning); ``raw``: the record as the CRM sent it.
    """

    feed: str
    about: tuple[tuple[str, str], ...]
    fields: tuple[tuple[str, str, str], ...]
    misfits: tuple[tuple[str, str, str, str], ...]
    raw: str


@dataclass(slots=True, kw_only=True)
class Trial:
    """What a try has shown so far. ``faults``: steps that met an obstacle at the CRM, with what it was."""

    tenant: str
    lines: list[tuple[str, str]] = field(default_factory=list)
    calls: list[ShownCall] = field(default_factory=list)
    records: list[ShownRecord] = field(default_factory=list)
    notes: list[tuple[str, str]] = field(default_factory=list)
    findings: list[Finding] = field(default_factory=list)
    faults: list[tuple[str, BridgeError]] = field(default_factory=list)

    def to_json(self) -> dict[str, object]:
        """For machines."""
        return {
            "ok": not self.findings and not self.faults,
            "tenant": self.tenant,
            **dict(self.lines),
            "calls": [
                {
                    "step": call.step,
                    "made": call.made,
                    "method": call.method,
                    "target": call.target,
                    "headers": dict(call.headers),
                    "body": call.body,
                    "answer": call.answer,
                }
                for call in self.calls
            ],
            "records": [
                {
                    "feed": one.feed,
                    **dict(one.about),
                    "fields": {name: {"value": value, "crm": crm} for name, value, crm in one.fields},
                    "misfits": [
                        {"field": name, "crm_field": crm, "code": code, "meaning": meaning}
                        for name, crm, code, meaning in one.misfits
                    ],
                    **({"raw": one.raw} if one.raw else {}),
                }
                for one in self.records
            ],
            "notes": [{"step": step, "note": note} for step, note in self.notes],
            "findings": [
                {
                    "code": one.code,
                    "message": one.message,
                    "file": one.place.file,
                    "line": one.place.line,
                    "column": one.place.column,
                    "remedy": one.remedy,
                }
                for one in self.findings
            ],
            "faults": [
                {"step": step, "code": fault.code, "message": fault.message, "remedy": fault.remedy}
                for step, fault in self.faults
            ],
        }
