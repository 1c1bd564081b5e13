"""What the bridge lets be seen of itself: its log, and the report behind ``status``. Neither holds a person's data."""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any, Literal

from sales_crm_bridge.policy import walks

if TYPE_CHECKING:
    from collections.abc import Mapping

    from sales_crm_bridge.ports import Ledger

_PLAIN = frozenset(logging.makeLogRecord({}).__dict__) | {"message", "asctime", "taskName"}


class JsonLines(logging.Formatter):
    """One JSON object a line: time, level, logger, message, and what the call put into ``extra``, but for what is empty.

    ``event`` names what happened and stays the same from version to version: docs/operations.md lists all of them.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line."""
        line: dict[str, object] = {
            "time": iso(round(record.created * 1e6)),
            "level": record.levelname.lower(),
            "logger": record.name,
            "message": record.getMessage(),
        }
        line |= _extra(record)
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str, ensure_ascii=False)


class TextLines(logging.Formatter):
    """For a terminal: level, logger and message, then the fields of ``extra`` as ``name=value``."""

    def format(self, record: logging.LogRecord) -> str:
        """The record as one line, and the traceback under it if there is one."""
        extra = _extra(record)
        traceback = str(extra.pop("traceback", ""))
        fields = "".join(f"  {name}={value}" for name, value in extra.items())
        text = f"{record.levelname:7} {record.name}: {record.getMessage()}{fields}"
        if record.exc_info:
            traceback += self.formatException(record.exc_info)
        return f"{text}\n{traceback.rstrip()}" if traceback else text


def _extra(record: logging.LogRecord) -> dict[str, object]:
    return {name: value for name, value in record.__dict__.items() if name not in _PLAIN and value not in (None, "")}


def log_to_stderr(level: str, form: Literal["auto", "json", "text"]) -> None:
    """Send the log to standard error: text on a terminal, JSON lines elsewhere, unless ``form`` says which."""
    handler = logging.StreamHandler(sys.stderr)
    text = form == "text" or (form == "auto" and sys.stderr.isatty())
    handler.setFormatter(TextLines() if text else JsonLines())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(level.upper())
    for noisy in ("httpx", "httpcore", "uvicorn", "asyncio"):
        logging.getLogger(noisy).setLevel(max(logging.WARNING, root.level))


def iso(at_us: int) -> str:
    """An instant as RFC 3339 in UTC with microseconds; "" for 0."""
    if not at_us:
        return ""
    seconds, micros = divmod(at_us, 1_000_000)
    return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%S}.{micros:06d}Z"


async def report(ledger: Ledger, now_us: int) -> dict[str, Any]:
    """How everything stands, from the ledger alone: a JSON object that ``status --json`` prints as it is."""
    depth, oldest_us = await ledger.outbox_depth()
    leases = {lease.name: lease for lease in await ledger.leases()}
    counts = {count.conn: count for count in await ledger.command_counts()}
    letters = await ledger.dead_letters("", 10_000)
    gaps = await ledger.gaps(0)
    connections = []
    for row in await ledger.connections():
        positions = await ledger.positions(row.conn)
        count = counts.get(row.conn)
        holder = next((one for name, one in leases.items() if name == lease_name(row.tenant, row.name)), None)
        connections.append(
            {
                "tenant": row.tenant,
                "connection": row.name,
                "crm": row.adapter,
                "account": row.account,
                "state": row.state,
                "since": iso(row.since_us),
                "code": row.code,
                "message": row.message,
                "remedy": row.remedy,
                "holder": holder.holder if holder is not None and holder.until_us > now_us else "",
                "commands": {
                    "open": count.open if count else 0,
                    "unknown": count.unknown if count else 0,
                    "parked": count.parked if count else 0,
                    "oldest_s": _age_s(count.oldest_us if count else 0, now_us),
                },
                "feeds": {name: _feed(state, now_us) for name, state in sorted(positions.items())},
                "dead_letters": sum(letter.tenant == row.tenant for letter in letters),
                "gaps": sum(gap.conn == row.conn for gap in gaps),
            }
        )
    return {
        "at": iso(now_us),
        "outbox": {"facts": depth, "oldest_s": _age_s(oldest_us, now_us)},
        "processes": sorted(
            name.removeprefix("process/")
            for name, lease in leases.items()
            if name.startswith("process/") and lease.until_us > now_us
        ),
        "connections": connections,
        "dead_letters": len(letters),
        "gaps": len(gaps),
    }


def lease_name(tenant: str, connection: str) -> str:
    """The lease of one connection, and so of its CRM account, since no two tenants share one: its holder makes all calls."""
    return f"connection/{tenant}/{connection}"


def _feed(state: bytes, now_us: int) -> Mapping[str, object]:
    standing = walks.decode(state)
    if standing is None:
        return {}
    return {
        "run": standing.run,
        "running": standing.position is not None or standing.absent is not None,
        "read_to": iso(standing.begun_us),
        "due_in_s": max(0.0, round((standing.due_us - now_us) / 1e6, 1)),
        "failures": standing.failures,
    }


def _age_s(since_us: int, now_us: int) -> float:
    return round(max(0, now_us - since_us) / 1e6, 1) if since_us else 0.0
